"""Methods side by side: the same rows, the same held-out part, the same epochs and batches for all."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import joblib
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from primo_pyro.analysis.calibration import impact_calibration
from primo_pyro.analysis.scores import scores
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
from primo_pyro.modalities import Modalities
from primo_pyro.program.outcomes import total_variation


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


SLOW = frozenset({"lvae", "mvae", "mmvae", "primo (paper)", "primo"})


def _entropy(classifier, task: Task, x: Modalities, x_test: Modalities) -> pd.DataFrame:
    return prediction_entropy(classifier, x_test)


def _neighbours(classifier, task: Task, x: Modalities, x_test: Modalities) -> pd.DataFrame:
    if len(task.optional) > 1:
        raise ModalityError(
            f"Neighbours complete one modality, and here {' and '.join(task.optional)} may be absent. "
            "Compare on a task with one of them."
        )
    return NeighbourCompletions(classifier, task.optional[0]).fit(x).predictive_impact(x_test)


# What one would use in place of V: from the method whose fitted classifier it borrows to name and estimate.
RIVALS = {"unimodal": ("entropy", _entropy), "multimodal": ("neighbours", _neighbours)}


@dataclass
class Fit:
    """What one method came to with one seed.

    Attributes
    ----------
    scores
        By scenario, name of the method or rival, and metric.
    classifier
        The fitted estimator; None where it refused the task.
    predictions
        Scenario to the probabilities ``[N, C]`` of the test rows.
    impacts
        Name of the method or rival to its estimate of impact ``[N]``, the optional modality hidden.
    refused
        Name of the method or rival to why it cannot do the task.
    """

    scores: dict[tuple[str, str, str], float] = field(default_factory=dict)
    classifier: object = None
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    impacts: dict[str, np.ndarray] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def compare(
    task: Task,
    methods: Iterable[str] | Mapping[str, Callable],
    seeds: Iterable[int],
    settings: Mapping[str, object],
    primo_settings: Mapping[str, object] | None = None,
    own_settings: Mapping[str, Mapping[str, object]] | None = None,
    n_jobs: int = 1,
    progress: bool = False,
    keep: Callable[[pd.DataFrame], object] | None = None,
) -> tuple[pd.DataFrame, dict, dict[str, str]]:
    """Fit and score methods on a task, one seed after another.

    Estimates of impact are those of the methods that predict by draws, and two rivals where the method that
    they borrow is compared: ``entropy`` (of the unimodal prediction, in nats: a ranking, no V) and
    ``neighbours`` (the spread of the multimodal predictions over the nearest rows' completions).

    They are judged by two changes. By that between a method's *own* predictions without and with the modality
    (``slope``, ``rank_correlation``, ...): does V mean what it says? A method that learns nothing from the
    modality passes with a V of 0, and a rival has no such pair of predictions. Hence also by a change that
    is *the same for all* (``reference_slope``, ``reference_rank_correlation``, ...), between the unimodal
    prediction and that of the multimodal network that never lost the modality: this is what compares
    estimates. It holds what two networks differ in by chance as well, so that the exact V too would have a
    slope above 1 and a correlation below. It wants both references among the methods.

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
    keep
        Called after each seed with the results up to it, so that an interrupted comparison keeps them.

    Returns
    -------
    results : DataFrame
        Tidy: ``dataset, method, scenario, seed, metric, value``. Scenarios: ``missing`` (the optional
        modality hidden in every test row), ``complete``, and ``training`` (``fit_seconds``). Metrics: those
        of `primo_pyro.analysis.scores.scores`, and for estimates of impact those of
        `primo_pyro.analysis.calibration.impact_calibration` against the own change and, with ``reference_`` before the
        name, against the references', and ``impact_error``, ``impact_correlation`` and
        ``impact_rank_correlation`` against the exact impact.
    classifiers : dict
        The fitted estimator of each ``(method, seed)``.
    left_out : dict
        Methods and rivals that cannot do the task, and why.

    Raises
    ------
    ValueError
        For an unknown method.
    ModalityError
        Where no method can do the task.
    """
    seeds = list(seeds)
    if not isinstance(methods, Mapping):
        methods = {method: METHODS.get(method) for method in methods}
    unknown = [method for method, make in methods.items() if make is None]
    if unknown:
        raise ValueError(f"There is no method {unknown[0]!r}; choose among {', '.join(METHODS)}.")
    of_method = {
        method: settings_of(method, settings, primo_settings or {}, own_settings or {}) for method in methods
    }
    # Fits that take longest start first, so that none runs alone at the end.
    jobs = sorted(methods, key=lambda method: method not in SLOW)
    parts, classifiers, left_out = [], {}, {}
    with tqdm(total=len(seeds) * len(jobs), unit="fit", disable=not progress) as bar:
        for seed in seeds:
            fits = {}
            running = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(
                joblib.delayed(_fit_and_score)(task, method, methods[method], seed, of_method[method])
                for method in jobs
            )
            for method, fit in zip(jobs, running, strict=True):
                fits[method] = fit
                bar.update()
            fits = {method: fits[method] for method in methods}
            _judge_by_references(fits)
            parts.append(_tidy(task, seed, fits))
            classifiers |= {
                (method, seed): fit.classifier for method, fit in fits.items() if fit.classifier is not None
            }
            left_out |= {name: why for fit in fits.values() for name, why in fit.refused.items()}
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


def settings_of(method: str, of_networks: Mapping, of_primo: Mapping, own: Mapping[str, Mapping]) -> dict:
    """The settings of one method, out of those for networks, for PRIMO and for single methods.

    >>> settings_of("mvae", {"hidden_dim": 64, "dropout": 0.1}, {"latent_dim": 8}, {"mvae": {"dropout": 0.2}})
    {'hidden_dim': 64, 'dropout': 0.2}
    """
    general = [] if method in TREES or method == FREQUENCIES else [of_networks]
    if method.startswith("primo"):
        general.append(of_primo)
    return {name: value for part in (*general, own.get(method, {})) for name, value in part.items()}


def _fit_and_score(task: Task, method: str, make: Callable, seed: int, settings: Mapping[str, object]) -> Fit:
    torch.set_num_threads(1)
    train, validation, (x_test, y_test) = task.rows(seed)
    if method != NEVER_DROPPED:
        train, validation = (_dropped(part, task, seed) for part in (train, validation))
    classifier = make(task, random_state=seed, **settings)
    start = time.perf_counter()
    with warnings.catch_warnings():
        # What a fit has to say about itself is in the results.
        warnings.simplefilter("ignore", PrimoWarning)
        try:
            classifier.fit(*train) if validation is None else classifier.fit(*train, validation=validation)
        except ModalityError as error:
            return Fit(refused={method: str(error)})
        fit = Fit({("training", method, "fit_seconds"): time.perf_counter() - start}, classifier)
        # The same rows in both scenarios: those whose optional modalities are known.
        known = np.logical_and.reduce([x_test.present[m] for m in task.optional])
        shown, y_test = x_test[known], np.asarray(y_test)[known]
        _score(fit, method, {"missing": shown.drop(*task.optional), "complete": shown}, y_test)
        if method in RIVALS:
            rival, estimate = RIVALS[method]
            try:
                fit.impacts[rival] = estimate(classifier, task, train[0], shown)["impact"].to_numpy()
                fit.scores["missing", rival, "mean_impact"] = float(fit.impacts[rival].mean())
            except ModalityError as error:
                fit.refused[rival] = str(error)
    if task.impact is not None:
        truth = task.impact(shown)
        for name, impact in fit.impacts.items():
            _add(fit, name, _against_truth(impact, truth))
    return fit


def _dropped(part: tuple | None, task: Task, seed: int) -> tuple | None:
    if part is None:
        return None
    x, y = part
    return x.drop_at_random(*task.optional, rate=task.rate, random_state=seed), y


def _score(fit: Fit, method: str, scenarios: Mapping[str, Modalities], y: np.ndarray) -> None:
    classifier, impact = fit.classifier, None
    for scenario, x in scenarios.items():
        try:
            if hasattr(classifier, "summarise"):
                summary = classifier.summarise(x)
                p, impact = summary.probabilities, summary.impact
            else:
                p = classifier.predict_proba(x)
        except ModalityError:
            continue  # what a method cannot do has no score
        fit.predictions[scenario] = p
        if scenario == "missing" and impact is not None:
            fit.impacts[method] = impact
        _add(fit, method, scores(y, p, impact, classifier.classes_), scenario)
    if method in fit.impacts:
        change = total_variation(fit.predictions["missing"], fit.predictions["complete"])
        _add(fit, method, impact_calibration(fit.impacts[method], change))


def _judge_by_references(fits: Mapping[str, Fit]) -> None:
    """Add to one seed's fits how each estimate of impact foretells the change between the references."""
    now, then = (fits[m].predictions if m in fits else {} for m in ("unimodal", NEVER_DROPPED))
    if "missing" not in now or "complete" not in then:
        return
    change = total_variation(now["missing"], then["complete"])
    for fit in fits.values():
        for name, impact in fit.impacts.items():
            measured = impact_calibration(impact, change)
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
