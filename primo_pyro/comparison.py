"""Methods side by side: the same rows, the same held-out part, the same epochs and batches for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import joblib
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from primo_pyro.baselines import MultimodalClassifier, UnimodalClassifier
from primo_pyro.classifier import PrimoClassifier
from primo_pyro.errors import ModalityError
from primo_pyro.evaluation import impact_calibration, scores
from primo_pyro.impact import total_variation
from primo_pyro.modalities import Modalities


@dataclass(frozen=True)
class Task:
    """Rows to compare on.

    Attributes
    ----------
    name
        What the column ``dataset`` says.
    observed, optional
        The modality that is always there, and the one that may be absent.
    rows
        From a seed to training rows and labels, test rows and labels, the optional modality in all of them.
    rate
        Share of the training rows that lose the optional modality, at random.
    impact
        From test rows to their exact impact V* ``[N]``, where there is such a thing.
    """

    name: str
    observed: str
    optional: str
    rows: Callable[[int], tuple[Modalities, np.ndarray, Modalities, np.ndarray]]
    rate: float = 0.5
    impact: Callable[[Modalities], np.ndarray] | None = None


# From a task and settings to an estimator.
METHODS: dict[str, Callable] = {
    "unimodal": lambda task, **kw: UnimodalClassifier(task.observed, **kw),
    "multimodal": lambda task, **kw: MultimodalClassifier(rows="complete", **kw),
    "multimodal, never dropped": lambda task, **kw: MultimodalClassifier(rows="complete", **kw),
    "primo (paper)": lambda task, **kw: PrimoClassifier((task.optional,), objective="paper", **kw),
    "primo": lambda task, **kw: PrimoClassifier((task.optional,), **kw),
}
NEVER_DROPPED = "multimodal, never dropped"  # the upper reference: it alone saw every training row whole


def compare(
    task: Task,
    methods: Iterable[str],
    seeds: Iterable[int],
    settings: Mapping[str, object],
    primo_settings: Mapping[str, object] | None = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> tuple[pd.DataFrame, dict]:
    """Fit and score methods on a task.

    Parameters
    ----------
    task
        What to compare on.
    methods
        Names out of ``METHODS``.
    seeds
        Each decides about data, held-out rows and networks.
    settings
        For all methods alike: ``max_epochs``, ``batch_size``, ``hidden_dim``, ``device``, ...
    primo_settings
        For PRIMO alone: ``latent_dim``, ``num_samples``, ...
    n_jobs
        Fits at a time, one thread each.
    progress
        Whether to show a progress bar over the fits.

    Returns
    -------
    results : DataFrame
        Tidy: ``dataset, method, scenario, seed, metric, value``. Scenarios: ``missing`` (the optional
        modality hidden in every test row), ``complete``, and ``training`` (``fit_seconds``). Metrics: those
        of `primo_pyro.evaluation.scores`, and for methods with an impact how it fits the realised change
        (`primo_pyro.evaluation.impact_calibration`) and the exact one.
    classifiers : dict
        The fitted estimator of each ``(method, seed)``.

    Raises
    ------
    ValueError
        For an unknown method.
    """
    methods, seeds = list(methods), list(seeds)
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise ValueError(f"There is no method {unknown[0]!r}; choose among {', '.join(METHODS)}.")
    jobs = [(method, seed) for seed in seeds for method in methods]
    tasks = (
        joblib.delayed(_fit_and_score)(
            task, method, seed, {**settings, **((primo_settings or {}) if "primo" in method else {})}
        )
        for method, seed in jobs
    )
    running = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    parts = list(tqdm(running, total=len(jobs), unit="fit", disable=not progress))
    frame = pd.DataFrame([row for rows, _ in parts for row in rows]).assign(dataset=task.name)
    columns = ["dataset", "method", "scenario", "seed", "metric", "value"]
    return frame[columns], {job: clf for job, (_, clf) in zip(jobs, parts, strict=True)}


def _fit_and_score(task: Task, method: str, seed: int, settings: Mapping[str, object]):
    torch.set_num_threads(1)
    x, y, x_test, y_test = task.rows(seed)
    if method != NEVER_DROPPED:
        x = x.drop_at_random(task.optional, rate=task.rate, random_state=seed)
    classifier = METHODS[method](task, random_state=seed, **settings)
    start = time.perf_counter()
    classifier.fit(x, y)
    found = {("training", "fit_seconds"): time.perf_counter() - start}
    predicted = {}
    for scenario, shown in ("missing", x_test.drop(task.optional)), ("complete", x_test):
        try:
            p = predicted[scenario] = classifier.predict_proba(shown)
        except ModalityError:
            continue  # what a method cannot do has no score
        found |= {(scenario, name): v for name, v in scores(y_test, p, classes=classifier.classes_).items()}
        if not hasattr(classifier, "predictive_impact"):
            continue
        impact = classifier.predictive_impact(shown)["impact"].to_numpy()
        found[scenario, "mean_impact"] = float(impact.mean())
        if scenario == "missing" and task.impact is not None:
            truth = task.impact(x_test)
            found[scenario, "impact_error"] = float(np.abs(impact - truth).mean())
            found[scenario, "impact_correlation"] = float(np.corrcoef(impact, truth)[0, 1])
            found[scenario, "impact_rank_correlation"] = float(spearmanr(impact, truth).statistic)
        if scenario == "missing":
            hidden_impact = impact
        else:
            change = total_variation(predicted["missing"], p)
            found |= {("missing", k): v for k, v in impact_calibration(hidden_impact, change).items()}
    one = {"method": method, "seed": seed}
    return [one | {"scenario": s, "metric": k, "value": v} for (s, k), v in found.items()], classifier


def table(results: pd.DataFrame, metrics: Mapping[str, str]) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row per method and scenario.

    Parameters
    ----------
    results
        As from `compare`.
    metrics
        Names of metrics to the heads of their columns, in order.

    Examples
    --------
    >>> one = {"dataset": "d", "method": "unimodal", "scenario": "missing", "metric": "accuracy"}
    >>> results = pd.DataFrame([one | {"seed": 0, "value": 0.5}, one | {"seed": 1, "value": 0.6}])
    >>> table(results, {"accuracy": "accuracy"})
                            accuracy
    method   scenario
    unimodal missing   0.550 ± 0.071
    """

    def cell(values):
        spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
        return "" if values.isna().all() else f"{values.mean():.3f}{spread}"

    chosen = results[results["metric"].isin(metrics)]
    frame = chosen.pivot_table(
        index=["method", "scenario"], columns="metric", values="value", aggfunc=cell, sort=False
    )
    frame = frame.reindex(columns=list(metrics)).rename(columns=metrics).fillna("")
    frame.columns.name = None
    return frame.sort_index(level="scenario", ascending=False, sort_remaining=False)
