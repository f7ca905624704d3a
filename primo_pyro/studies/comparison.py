"""Methods side by side: the same rows, the same held-out part, the same epochs and batches for all."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator

from primo_pyro.analysis.calibration import FEW_ROWS, ImpactCalibrator, impact_calibration
from primo_pyro.analysis.scores import scores
from primo_pyro.errors import ModalityError, PrimoError, PrimoWarning
from primo_pyro.modalities import Modalities
from primo_pyro.program.outcomes import total_variation
from primo_pyro.progress import progress_bar
from primo_pyro.studies.methods import (
    IMPACT_RIVALS,
    METHODS,
    NETWORKS,
    NEVER_DROPPED,
    SLOW,
    Method,
    averaged,
    settings_of,
)
from primo_pyro.studies.tasks import Rows, Task

__all__ = ["Fit", "Fitted", "compare", "mean_table", "table"]

Fitted = dict[tuple[str, int], BaseEstimator]  # fitted estimators by method and seed


@dataclass
class Fit:
    """The results of one method with one seed. A rival is an estimate of impact that borrows its classifier.

    Attributes
    ----------
    scores
        Values by scenario, name of the method or rival, and metric.
    classifier
        The fitted estimator; None where it refused the task.
    predictions
        Scenario to the probabilities ``[N, C]`` of the test rows; ``complete`` has the complete ones alone.
    complete
        Booleans ``[N]``: test rows that have all optional modalities.
    impacts
        Name of the method or rival to its estimate of impact ``[N]``, with the optional modalities hidden.
    refused
        Name of the method or rival to the reason why it cannot do the task.
    """

    scores: dict[tuple[str, str, str], float] = field(default_factory=dict)
    classifier: BaseEstimator | None = None
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    complete: np.ndarray | None = None
    impacts: dict[str, np.ndarray] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def compare(
    task: Task,
    methods: Iterable[str] | Mapping[str, Method],
    seeds: Iterable[int],
    settings: Mapping[str, object],
    primo_settings: Mapping[str, object] | None = None,
    own_settings: Mapping[str, Mapping[str, object]] | None = None,
    members: int = 1,
    n_jobs: int = 1,
    progress: bool = False,
    keep: Callable[[pd.DataFrame], object] | None = None,
) -> tuple[pd.DataFrame, Fitted, dict[str, str]]:
    """Fit and score methods on a task, for each of the seeds.

    Estimates of impact are those of the methods that predict by draws, and two rivals where the method whose
    classifier they borrow is compared: ``entropy`` (of the unimodal prediction, in nats: a ranking, no V) and
    ``neighbours`` (the spread of the multimodal predictions over the nearest rows' completions).

    Each estimate is compared with two realised changes:

    - the change between a method's *own* predictions without and with the modality (``slope``,
      ``rank_correlation``, ...). It shows whether V is the change that it stands for. A method that learns
      nothing from the modality does well here with a V of 0, and a rival has no such pair of predictions.
      ``calibrated_slope`` is the same of the expected change, each half of the test rows being calibrated on
      the other one; with fewer than 100 it is left out;
    - the *reference* change, the same for all (``reference_slope``, ``reference_rank_correlation``, ...),
      from the unimodal prediction to that of the multimodal network whose training rows are all complete. It
      compares estimates with each other, where both networks are among the methods. Two networks also differ
      by chance, so that even the exact V would have a slope above 1 and a correlation below 1.

    Parameters
    ----------
    task
        What to compare on.
    methods
        Names in `primo_pyro.studies.methods.METHODS`; or names of your own to functions that make an
        estimator from the task and the settings of networks.
    seeds
        Each sets the data, the held-out rows and the networks.
    settings
        For all networks: ``max_epochs``, ``batch_size``, ``hidden_dim``, ``device``, ...
    primo_settings
        For PRIMO alone, under every objective (names that begin with ``primo``): ``latent_dim``,
        ``num_samples``, ...
    own_settings
        For single methods, by their names; they override the others.
    members
        Fits that PRIMO and each other network are an average of.
    n_jobs
        Number of fits at the same time, one thread each.
    progress
        Whether to show a progress bar over the fits.
    keep
        Called with the results so far whenever a seed's are complete, so that they outlive an interruption.

    Returns
    -------
    results : DataFrame
        Tidy: ``dataset, method, scenario, seed, metric, value``. Scenarios: ``missing`` (the optional
        modalities hidden in every test row that has some), ``complete`` (the rows that have all of them), and
        ``training`` (``fit_seconds``). Where optional modalities are really absent in some test rows, also
        ``present``: the rows of ``missing`` with what they have. The own change is then between these two,
        PRIMO's V about what they have, and V of other methods about all that is absent; the reference change
        is that of complete rows. Metrics: those of `primo_pyro.analysis.scores.scores`, and of methods that
        predict by draws ``spread``, which in complete rows is the paper's V_complete; for estimates of impact
        those of `primo_pyro.analysis.calibration.impact_calibration`, against the own change and, with
        ``reference_`` before the name, against the reference change; and ``impact_error``,
        ``impact_correlation`` and ``impact_rank_correlation`` against the exact impact.
    classifiers : dict
        The fitted estimator of each ``(method, seed)``.
    left_out : dict
        Methods and rivals that cannot do the task, and the reasons.

    Raises
    ------
    PrimoError
        For an unknown method.
    ModalityError
        Where no method can do the task.

    Examples
    --------
    >>> from primo_pyro.studies.generated import xor
    >>> settings = {"hidden_dim": 8, "max_epochs": 1}
    >>> methods = ["unimodal", "class frequencies"]
    >>> results, classifiers, left_out = compare(xor(200), methods, [0], settings)
    >>> list(results.columns)
    ['dataset', 'method', 'scenario', 'seed', 'metric', 'value']
    >>> list(classifiers), left_out
    ([('unimodal', 0), ('class frequencies', 0)], {})
    """
    seeds = list(seeds)
    if not isinstance(methods, Mapping):
        methods = list(methods)
        unknown = [method for method in methods if method not in METHODS]
        if unknown:
            raise PrimoError(
                f"method is {unknown[0]!r}; expected one of {', '.join(METHODS)}. Choose among them, or pass "
                "a mapping from names of your own to functions."
            )
        methods = {method: METHODS[method] for method in methods}
    if members > 1:
        primo_settings = {**(primo_settings or {}), "members": members}
        rivals = [name for name in methods if name in NETWORKS and not name.startswith("primo")]
        methods = {**methods, **{name: averaged(methods[name], members) for name in rivals}}
    of_method = {
        method: settings_of(method, settings, primo_settings or {}, own_settings or {}) for method in methods
    }
    # Fits that take longest start first, so that none runs alone at the end.
    jobs = sorted(methods, key=lambda method: method not in SLOW)
    parts: list[pd.DataFrame] = []
    classifiers: Fitted = {}
    left_out: dict[str, str] = {}
    with progress_bar(total=len(seeds) * len(jobs), unit="fit", shown=progress) as bar:
        # Of all seeds at once: a seed's last fits leave no core idle.
        running = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(
            joblib.delayed(_fit_and_score)(task, method, methods[method], seed, of_method[method])
            for seed in seeds
            for method in jobs
        )
        for seed in seeds:
            fits = {}
            for method in jobs:
                fits[method] = next(running)
                bar.update()
            fits = {method: fits[method] for method in methods}
            _compare_with_references(fits)
            parts.append(_tidy(task, seed, fits))
            classifiers |= {
                (method, seed): fit.classifier for method, fit in fits.items() if fit.classifier is not None
            }
            for fit in fits.values():
                left_out |= fit.refused
            if set(methods) <= set(left_out):
                raise ModalityError("No method can do this task. " + " ".join(left_out.values()))
            if keep is not None:
                keep(pd.concat(parts, ignore_index=True))
    return pd.concat(parts, ignore_index=True), classifiers, left_out


def _tidy(task: Task, seed: int, fits: Mapping[str, Fit]) -> pd.DataFrame:
    rows = [
        {
            "dataset": task.name,
            "method": name,
            "scenario": scenario,
            "seed": seed,
            "metric": metric,
            "value": v,
        }
        for fit in fits.values()
        for (scenario, name, metric), v in fit.scores.items()
    ]
    return pd.DataFrame(rows)


def _fit_and_score(task: Task, method: str, make: Method, seed: int, settings: Mapping[str, object]) -> Fit:
    torch.set_num_threads(1)
    train, validation, (x_test, y_test) = task.rows(seed)
    if method != NEVER_DROPPED:
        train = _dropped(train, task, seed)
        validation = None if validation is None else _dropped(validation, task, seed)
    with warnings.catch_warnings():
        # Warnings about poor fits: the results show how good they are.
        warnings.simplefilter("ignore", PrimoWarning)
        try:
            classifier = make(task, random_state=seed, **settings)
            start = time.perf_counter()
            classifier.fit(*train) if validation is None else classifier.fit(*train, validation=validation)
        except ModalityError as error:
            return Fit(refused={method: str(error)})
        fit = Fit({("training", method, "fit_seconds"): time.perf_counter() - start}, classifier)
        # The same rows in all scenarios: those that have something to hide.
        some = np.logical_or.reduce([x_test.present[m] for m in task.optional])
        x, y = x_test[some], np.asarray(y_test)[some]
        _score(fit, method, task, x, y)
        if method in IMPACT_RIVALS:
            rival, estimate = IMPACT_RIVALS[method]
            try:
                fit.impacts[rival] = estimate(classifier, task, train[0], x)["impact"].to_numpy()
                fit.scores["missing", rival, "mean_impact"] = float(fit.impacts[rival].mean())
            except ModalityError as error:
                fit.refused[rival] = str(error)
    if task.impact is not None:
        truth = task.impact(x)
        for name, impact in fit.impacts.items():
            _add(fit, name, _against_truth(impact, truth))
    return fit


def _dropped(part: Rows, task: Task, seed: int) -> Rows:
    x, y = part
    return x.drop_at_random(*task.optional, rate=task.rate, random_state=seed), y


def _score(fit: Fit, method: str, task: Task, x: Modalities, y: np.ndarray) -> None:
    classifier: Any = fit.classifier
    impact, spread = None, {}
    fit.complete = np.logical_and.reduce([x.present[m] for m in task.optional])
    revealed = "complete" if fit.complete.all() else "present"
    scenarios = {"missing": (x.drop(*task.optional), y), revealed: (x, y)}
    if revealed == "present" and fit.complete.any():
        scenarios["complete"] = x[fit.complete], y[fit.complete]
    for scenario, (rows, labels) in scenarios.items():
        try:
            if hasattr(classifier, "summarise"):
                summary = classifier.summarise(rows)
                p, impact = summary.probabilities, summary.impact
                # With a modality present its V is 0; the spread that remains is listed apart.
                spread = {"spread": float(summary.spread.mean())}
                if scenario == "missing" and revealed == "present" and hasattr(classifier, "impact_gap"):
                    # Of what the rows have; what is really absent is not revealed.
                    impact = classifier.impact_gap(x)["impact_missing"].to_numpy()
            else:
                p = classifier.predict_proba(rows)
        except ModalityError:
            continue  # a scenario that the method cannot predict has no score
        fit.predictions[scenario] = p
        if scenario == "missing" and impact is not None:
            fit.impacts[method] = impact
        _add(fit, method, scores(labels, p, impact, classifier.classes_) | spread, scenario)
    if method in fit.impacts and revealed in fit.predictions:
        change = total_variation(fit.predictions["missing"], fit.predictions[revealed])
        _add(fit, method, impact_calibration(fit.impacts[method], change))
        if len(change) >= 2 * FEW_ROWS:
            expected = _calibrated(fit.impacts[method], change)
            _add(fit, method, {"calibrated_slope": impact_calibration(expected, change)["slope"]})


def _calibrated(impact: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The expected change of each row ``[N]``, by a calibration on the other half of the rows."""
    expected = np.empty(len(impact))
    first = np.random.default_rng(0).permutation(len(impact)) < len(impact) / 2
    for half in first, ~first:
        expected[half] = ImpactCalibrator().fit(impact[~half], change[~half]).predict(impact[half])
    return expected


def _compare_with_references(fits: Mapping[str, Fit]) -> None:
    """Add to one seed's fits how well each estimate of impact predicts the reference change."""
    before, after = (fits[m].predictions if m in fits else {} for m in ("unimodal", NEVER_DROPPED))
    if "missing" not in before or "complete" not in after:
        return
    complete = fits[NEVER_DROPPED].complete
    change = total_variation(before["missing"][complete], after["complete"])
    for fit in fits.values():
        for name, impact in fit.impacts.items():
            measured = impact_calibration(impact[complete], change)
            _add(fit, name, {f"reference_{metric}": value for metric, value in measured.items()})


def _against_truth(impact: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {
        "impact_error": float(np.abs(impact - truth).mean()),
        "impact_correlation": float(np.corrcoef(impact, truth)[0, 1]),
        "impact_rank_correlation": float(spearmanr(impact, truth).statistic),
    }


def _add(fit: Fit, name: str, measured: Mapping[str, float], scenario: str = "missing") -> None:
    fit.scores |= {(scenario, name, metric): value for metric, value in measured.items()}


def table(results: pd.DataFrame, metrics: Mapping[str, str]) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row per method and scenario.

    Parameters
    ----------
    results
        As from `compare`.
    metrics
        Names of metrics to the heads of their columns, in order.

    Returns
    -------
    DataFrame
        Of texts, indexed by method and scenario; empty where nothing was measured.

    Examples
    --------
    >>> one = {"dataset": "d", "method": "unimodal", "scenario": "missing", "metric": "accuracy"}
    >>> results = pd.DataFrame([one | {"seed": 0, "value": 0.5}, one | {"seed": 1, "value": 0.6}])
    >>> table(results, {"accuracy": "accuracy"})
                            accuracy
    method   scenario
    unimodal missing   0.550 ± 0.071
    """
    frame = mean_table(results, metrics, ["method", "scenario"])
    return frame.sort_index(level="scenario", ascending=False, sort_remaining=False)


def mean_table(results: pd.DataFrame, metrics: Mapping[str, str], index: list[str]) -> pd.DataFrame:
    """As `table`, for tidy results of any kind: a row for each combination of the columns in ``index``."""

    def cell(values: pd.Series) -> str:
        if values.isna().all():
            return ""
        spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
        return f"{values.mean():.3f}{spread}"

    chosen = results[results["metric"].isin(metrics)]
    frame = chosen.pivot_table(index=index, columns="metric", values="value", aggfunc=cell, sort=False)
    frame = frame.reindex(columns=list(metrics)).rename(columns=metrics).fillna("")
    frame.columns.name = None
    return frame
