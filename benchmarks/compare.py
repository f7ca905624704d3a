"""Every method on the same rows, with the same held-out rows, epochs and batches.

    python benchmarks/compare.py --methods all --seeds 4 --out out/compare

prints a table (method x scenario) and writes ``results.csv`` with the columns ``dataset, method, scenario,
seed, metric, value``. An example calls `run`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.baselines import (
    CMMDClassifier,
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
from primo_pyro.data import make_xor, xor_impact
from primo_pyro.errors import ModalityError
from primo_pyro.evaluation import scores


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
        From a seed to training rows and labels, test rows and labels. Training rows lack the optional
        modality where it is to be absent; test rows have it wherever it is known.
    impact
        From test rows to their exact impact V* ``[N]``, where there is such a thing.
    """

    name: str
    observed: str
    optional: str
    rows: Callable[[int], tuple[Modalities, np.ndarray, Modalities, np.ndarray]]
    impact: Callable[[Modalities], np.ndarray] | None = None


def xor(rows: int = 40_000, rate: float = 0.5) -> Task:
    """XOR, 70 % of the rows for training; of these ``rate`` lack ``m``."""

    def split(seed):
        x, y = make_xor(rows, random_state=seed)
        cut = int(0.7 * rows)
        return x[:cut].drop_at_random("m", rate=rate, random_state=seed), y[:cut], x[cut:], y[cut:]

    return Task("xor", "o", "m", split, lambda x: xor_impact(x.values["o"]))


# From a task and settings to an estimator; only networks take those of the training loop.
NETWORKS: dict[str, Callable] = {
    "primo": lambda task, **kw: PrimoClassifier(optional=(task.optional,), **kw),
    "unimodal": lambda task, **kw: UnimodalClassifier(task.observed, **kw),
    "multimodal": lambda task, **kw: MultimodalClassifier(rows="complete", **kw),
    "multimodal_all_rows": lambda task, **kw: MultimodalClassifier(rows="all", **kw),
    "i2m2": lambda task, **kw: I2M2Classifier(**kw),
    "mvae": lambda task, **kw: MVAEClassifier(**kw),
    "mmvae": lambda task, **kw: MMVAEClassifier(**kw),
    "cmmd": lambda task, **kw: CMMDClassifier(optional=(task.optional,), **kw),
    "lvae": lambda task, **kw: LVAEClassifier(optional=(task.optional,), **kw),
}
TREES: dict[str, Callable] = {
    "mean_imputation": lambda task, **kw: ImputationClassifier(imputer="mean", **kw),
    "iterative_imputation": lambda task, **kw: ImputationClassifier(imputer="iterative", **kw),
    "knn_imputation": lambda task, **kw: ImputationClassifier(imputer="knn", **kw),
    "boosting_with_nan": lambda task, **kw: ImputationClassifier(imputer=None, **kw),
    "stacking": lambda task, **kw: StackingClassifier(**kw),
}
METHODS = (*NETWORKS, *TREES)

# The metrics that the printed table has columns for.
SHOWN = ("accuracy", "log_loss", "brier", "mean_impact", "impact_error", "impact_correlation", "fit_seconds")


def make(method: str, task: Task, seed: int, settings: Mapping[str, object]):
    """The estimator of a method; ``settings`` of the training loop are for networks."""
    if method in NETWORKS:
        return NETWORKS[method](task, random_state=seed, **settings)
    return TREES[method](task, random_state=seed)


def run(
    task: Task,
    methods: Iterable[str] = METHODS,
    seeds: Iterable[int] = (0,),
    *,
    n_jobs: int = 1,
    verbose: int = 0,
    **settings,
) -> pd.DataFrame:
    """Fit and score methods on a task.

    Parameters
    ----------
    task
        For example ``xor()``.
    methods
        Names out of ``METHODS``.
    seeds
        Each decides about data, held-out rows and networks.
    n_jobs
        Fits at a time, one thread each.
    **settings
        For all networks alike: ``max_epochs``, ``batch_size``, ``patience``, ``device``, ...

    Returns
    -------
    DataFrame
        Columns ``dataset, method, scenario, seed, metric, value``. Scenarios: ``missing`` (the optional
        modality hidden in every test row) and ``complete`` (rows that have it). Metrics: those of
        `primo_pyro.evaluation.scores`; for estimates of impact where V* is known, ``impact_error`` (mean
        absolute error) and ``impact_correlation`` (rank correlation with V*); ``fit_seconds`` under scenario
        ``training``. The rivals of V, ``entropy`` (of the unimodal network) and ``neighbours`` (of the
        multimodal network), have the metrics of impact alone.

    Raises
    ------
    ValueError
        For an unknown method.
    """
    methods = list(methods)
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        raise ValueError(f"There is no method {', '.join(unknown)}; choose among {', '.join(METHODS)}.")
    jobs = [(method, seed) for seed in seeds for method in methods]
    parts = joblib.Parallel(n_jobs=n_jobs, verbose=verbose)(
        joblib.delayed(evaluate)(task, method, seed, settings) for method, seed in jobs
    )
    frame = pd.DataFrame([row for part in parts for row in part])
    return frame.assign(dataset=task.name)[["dataset", "method", "scenario", "seed", "metric", "value"]]


def evaluate(task: Task, method: str, seed: int, settings: Mapping[str, object]) -> list[dict]:
    """Rows of the result for one fit."""
    torch.set_num_threads(1)
    x, y, x_test, y_test = task.rows(seed)
    classifier = make(method, task, seed, settings)
    start = time.perf_counter()
    classifier.fit(x, y)
    found = {("training", method, "fit_seconds"): time.perf_counter() - start}
    there = x_test.present[task.optional]
    for scenario, shown, labels in (
        ("missing", x_test.drop(task.optional), y_test),
        ("complete", x_test[there], y_test[there]),
    ):
        try:
            p, impact = predictions(classifier, shown)
        except ModalityError:
            continue  # what a method cannot do has no score
        measured = scores(labels, p, impact, classifier.classes_)
        if impact is not None and task.impact is not None:
            measured |= impact_scores(impact, task.impact(shown) * (scenario == "missing"))
        found |= {(scenario, method, metric): value for metric, value in measured.items()}
    rival, estimate = RIVALS.get(method, (None, None))
    if rival:
        impact = estimate(classifier, task, x, x_test)["impact"]
        measured = {"mean_impact": impact.mean()}
        if task.impact is not None:
            measured |= impact_scores(impact, task.impact(x_test))
        found |= {("missing", rival, metric): value for metric, value in measured.items()}
    return [
        {"method": m, "scenario": s, "seed": seed, "metric": k, "value": v} for (s, m, k), v in found.items()
    ]


def predictions(classifier, x: Modalities) -> tuple[np.ndarray, np.ndarray | None]:
    """Probabilities ``[N, C]`` and, where the method has draws, V ``[N]``."""
    p = classifier.predict_proba(x)
    if not hasattr(classifier, "predictive_impact"):
        return p, None
    return p, classifier.predictive_impact(x)["impact"].to_numpy()


def impact_scores(impact, truth: np.ndarray) -> dict[str, float]:
    """Mean absolute error of V, and its rank correlation with V* where that varies."""
    found = {"impact_error": float(np.abs(impact - truth).mean())}
    if np.ptp(truth) > 0:
        found["impact_correlation"] = float(spearmanr(impact, truth).statistic)
    return found


def _entropy(classifier, task: Task, x: Modalities, x_test: Modalities) -> pd.DataFrame:
    return prediction_entropy(classifier, x_test)


def _neighbours(classifier, task: Task, x: Modalities, x_test: Modalities) -> pd.DataFrame:
    return NeighbourCompletions(classifier, task.optional).fit(x).predictive_impact(x_test)


# From the method whose fitted classifier it borrows to the rival's name and estimate.
RIVALS = {"unimodal": ("entropy", _entropy), "multimodal": ("neighbours", _neighbours)}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row per method and scenario."""

    def cell(v):
        return f"{v.mean():.4f}" + (f" +- {v.std():.4f}" if len(v) > 1 else "")

    return results.pivot_table(
        index=["method", "scenario"],
        columns="metric",
        values="value",
        aggfunc=cell,
        sort=False,
        fill_value="",
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["all"], help=f"all, or some of {', '.join(METHODS)}")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time")
    parser.add_argument("--out", type=Path, default=Path("out/compare"))
    args = parser.parse_args()
    results = run(
        xor(args.rows),
        METHODS if args.methods == ["all"] else args.methods,
        range(args.seeds),
        n_jobs=args.jobs,
        verbose=10,
        max_epochs=args.epochs,
        batch_size=args.batch_size,
        patience=args.patience,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    results.to_csv(args.out / "results.csv", index=False)
    shown = results[results["metric"].isin(SHOWN)]
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.max_rows", None):
        print(table(shown))


if __name__ == "__main__":
    main()
