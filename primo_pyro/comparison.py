"""Methods side by side: the same rows, the same held-out part, the same epochs and batches for all."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import joblib
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from primo_pyro.baselines import (
    CMMDClassifier,
    FrequencyClassifier,
    I2M2Classifier,
    ImputationClassifier,
    LVAEClassifier,
    MMVAEClassifier,
    MultimodalClassifier,
    MVAEClassifier,
    NeighbourCompletions,
    StackingClassifier,
    UnimodalClassifier,
    prediction_entropy,
)
from primo_pyro.classifier import PrimoClassifier
from primo_pyro.errors import ModalityError, PrimoWarning
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
        The modality that is always there, and those that may be absent.
    rows
        From a seed to training, validation and test rows, each ``(x, y)``; validation may be None, and then
        every method holds out the same part of the training rows.
    rate
        Share of the training and validation rows that lose each optional modality, at random.
    impact
        From test rows to their exact impact V* ``[N]``, where there is such a thing.
    """

    name: str
    observed: str
    optional: tuple[str, ...]
    rows: Callable[[int], tuple[tuple, tuple | None, tuple]]
    rate: float = 0.5
    impact: Callable[[Modalities], np.ndarray] | None = None


def _primo(objective: str) -> Callable:
    return lambda task, **kw: PrimoClassifier(task.optional, objective=objective, **kw)


NEVER_DROPPED = "multimodal, never dropped"  # the upper reference: it alone saw every training row whole

# From a task and settings to an estimator. The first take the settings of networks, the others none.
NETWORKS: dict[str, Callable] = {
    "unimodal": lambda task, **kw: UnimodalClassifier(task.observed, **kw),
    "multimodal": lambda task, **kw: MultimodalClassifier(rows="complete", **kw),
    "multimodal, all rows": lambda task, **kw: MultimodalClassifier(rows="all", **kw),
    NEVER_DROPPED: lambda task, **kw: MultimodalClassifier(rows="complete", **kw),
    "i2m2": lambda task, **kw: I2M2Classifier(**kw),
    "mvae": lambda task, **kw: MVAEClassifier(**kw),
    "mmvae": lambda task, **kw: MMVAEClassifier(**kw),
    "cmmd": lambda task, **kw: CMMDClassifier(optional=task.optional, **kw),
    "lvae": lambda task, **kw: LVAEClassifier(optional=task.optional, **kw),
    "primo (paper)": _primo("paper"),
    "primo": _primo("calibrated"),
}
TREES: dict[str, Callable] = {
    "mean imputation": lambda task, **kw: ImputationClassifier(imputer="mean", **kw),
    "iterative imputation": lambda task, **kw: ImputationClassifier(imputer="iterative", **kw),
    "knn imputation": lambda task, **kw: ImputationClassifier(imputer="knn", **kw),
    "boosting with NaN": lambda task, **kw: ImputationClassifier(imputer=None, **kw),
    "stacking": lambda task, **kw: StackingClassifier(**kw),
}
FREQUENCIES = "class frequencies"  # what is known before any modality is looked at
METHODS = NETWORKS | TREES | {FREQUENCIES: lambda task, **kw: FrequencyClassifier(**kw)}


def _entropy(classifier, task: Task, x: Modalities, x_test: Modalities) -> pd.DataFrame:
    return prediction_entropy(classifier, x_test)


def _neighbours(classifier, task: Task, x: Modalities, x_test: Modalities) -> pd.DataFrame:
    return NeighbourCompletions(classifier, task.optional[0]).fit(x).predictive_impact(x_test)


# What one would use in place of V: from the method whose fitted classifier it borrows to name and estimate.
RIVALS = {"unimodal": ("entropy", _entropy), "multimodal": ("neighbours", _neighbours)}


def compare(
    task: Task,
    methods: Iterable[str] | Mapping[str, Callable],
    seeds: Iterable[int],
    settings: Mapping[str, object],
    primo_settings: Mapping[str, object] | None = None,
    own_settings: Mapping[str, Mapping[str, object]] | None = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> tuple[pd.DataFrame, dict]:
    """Fit and score methods on a task.

    Parameters
    ----------
    task
        What to compare on.
    methods
        Names out of ``METHODS``; or names of your own to functions that make an estimator with networks
        from the task and settings, as in ``METHODS``.
    seeds
        Each decides about data, held-out rows and networks.
    settings
        For all networks alike: ``max_epochs``, ``batch_size``, ``hidden_dim``, ``device``, ...
    primo_settings
        For PRIMO alone, under every objective (names that begin with ``primo``): ``latent_dim``,
        ``num_samples``, ...
    own_settings
        For single methods, by their names; they go before the others.
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
    seeds = list(seeds)
    if not isinstance(methods, Mapping):
        methods = {method: METHODS.get(method) for method in methods}
    unknown = [method for method, make in methods.items() if make is None]
    if unknown:
        raise ValueError(f"There is no method {unknown[0]!r}; choose among {', '.join(METHODS)}.")
    of_method = {
        method: _settings(method, settings, primo_settings or {}, own_settings or {}) for method in methods
    }
    jobs = [(method, seed) for seed in seeds for method in methods]
    tasks = (
        joblib.delayed(_fit_and_score)(task, method, methods[method], seed, of_method[method])
        for method, seed in jobs
    )
    running = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    parts = list(tqdm(running, total=len(jobs), unit="fit", disable=not progress))
    frame = pd.DataFrame([row for rows, _ in parts for row in rows]).assign(dataset=task.name)
    columns = ["dataset", "method", "scenario", "seed", "metric", "value"]
    return frame[columns], {job: clf for job, (_, clf) in zip(jobs, parts, strict=True)}


def _settings(method: str, of_networks: Mapping, of_primo: Mapping, own: Mapping[str, Mapping]) -> dict:
    general = [] if method in TREES or method == FREQUENCIES else [of_networks]
    if method.startswith("primo"):
        general.append(of_primo)
    return {name: value for part in (*general, own.get(method, {})) for name, value in part.items()}


def _fit_and_score(task: Task, method: str, make: Callable, seed: int, settings: Mapping[str, object]):
    torch.set_num_threads(1)
    train, validation, (x_test, y_test) = task.rows(seed)
    if method != NEVER_DROPPED:
        train, validation = (_dropped(part, task, seed) for part in (train, validation))
    classifier = make(task, random_state=seed, **settings)
    start = time.perf_counter()
    with warnings.catch_warnings():
        # What a fit has to say about itself is in the results.
        warnings.simplefilter("ignore", PrimoWarning)
        classifier.fit(*train) if validation is None else classifier.fit(*train, validation=validation)
        found = {("training", method, "fit_seconds"): time.perf_counter() - start}
        # The same rows in both scenarios: those whose optional modalities are known.
        known = np.logical_and.reduce([x_test.present[m] for m in task.optional])
        shown, y_test = x_test[known], np.asarray(y_test)[known]
        scenarios = {"missing": shown.drop(*task.optional), "complete": shown}
        found |= _scored(classifier, method, scenarios, y_test, task)
        # A rival's only scores are those against the exact impact.
        if method in RIVALS and task.impact is not None and len(task.optional) == 1:
            rival, estimate = RIVALS[method]
            score = estimate(classifier, task, train[0], shown)["impact"].to_numpy()
            found |= {("missing", rival, k): v for k, v in _against_truth(score, shown, task).items()}
    one = {"seed": seed}
    rows = [one | {"method": m, "scenario": s, "metric": k, "value": v} for (s, m, k), v in found.items()]
    return rows, classifier


def _dropped(part: tuple | None, task: Task, seed: int) -> tuple | None:
    if part is None:
        return None
    x, y = part
    return x.drop_at_random(*task.optional, rate=task.rate, random_state=seed), y


def _scored(classifier, method: str, scenarios: Mapping[str, Modalities], y, task: Task) -> dict:
    found, predicted, impacts = {}, {}, {}
    for scenario, x in scenarios.items():
        try:
            p = predicted[scenario] = classifier.predict_proba(x)
        except ModalityError:
            continue  # what a method cannot do has no score
        if hasattr(classifier, "predictive_impact"):
            impacts[scenario] = classifier.predictive_impact(x)["impact"].to_numpy()
        measured = scores(y, p, impacts.get(scenario), classifier.classes_)
        found |= {(scenario, method, k): v for k, v in measured.items()}
    if "missing" in impacts:
        change = total_variation(predicted["missing"], predicted["complete"])
        measured = impact_calibration(impacts["missing"], change)
        measured |= _against_truth(impacts["missing"], scenarios["complete"], task)
        found |= {("missing", method, k): v for k, v in measured.items()}
    return found


def _against_truth(impact: np.ndarray, x: Modalities, task: Task) -> dict[str, float]:
    if task.impact is None:
        return {}
    truth = task.impact(x)
    return {
        "impact_error": float(np.abs(impact - truth).mean()),
        "impact_correlation": float(np.corrcoef(impact, truth)[0, 1]),
        "impact_rank_correlation": float(spearmanr(impact, truth).statistic),
    }


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
