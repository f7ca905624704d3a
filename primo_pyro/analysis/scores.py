"""Scores of predictions by any method: arrays in, numbers and tidy frames out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from primo_pyro.errors import DrawsError

__all__ = [
    "auroc",
    "classwise_calibration_error",
    "codes_of",
    "log_losses",
    "over_classes",
    "scenario_scores",
    "scores",
    "standard_error",
]


def scores(
    y: ArrayLike,
    probabilities: ArrayLike,
    impact: ArrayLike | None = None,
    classes: ArrayLike | None = None,
) -> dict[str, float]:
    """Proper scores and ranking scores of predictions, by name.

    Parameters
    ----------
    y
        Labels ``[N]``.
    probabilities
        Predictions ``[N, C]``.
    impact
        V ``[N]``, whose mean is listed too.
    classes
        The C labels in the order of the columns; None: 0 to C - 1.

    Returns
    -------
    dict
        ``accuracy``; ``log_loss`` in nats; ``brier``, the squared distance to the label summed over classes,
        0 to 2; ``auroc`` and ``auprc``, the mean over classes against the rest (with two classes: of the
        second), over those classes that have both kinds of rows, NaN where none has; ``calibration_error``,
        see `classwise_calibration_error`; ``mean_impact`` where ``impact`` is given.

    Raises
    ------
    DrawsError
        Where shapes or labels do not fit together.

    Examples
    --------
    >>> s = scores([0, 1, 1], np.array([[0.8, 0.2], [0.4, 0.6], [0.6, 0.4]]))
    >>> {name: round(value, 3) for name, value in s.items()}
    {'accuracy': 0.667, 'log_loss': 0.55, 'brier': 0.373, 'auroc': 1.0, 'auprc': 1.0,
    'calibration_error': 0.4}
    """
    codes, p = codes_of(y, probabilities, classes)
    target = codes[:, None] == np.arange(p.shape[1])
    result = {
        "accuracy": float((p.argmax(1) == codes).mean()),
        "log_loss": float(log_losses(codes, p).mean()),
        "brier": float(np.square(p - target).sum(1).mean()),
        "auroc": over_classes(auroc, target, p),
        "auprc": over_classes(average_precision_score, target, p),
        "calibration_error": classwise_calibration_error(codes, p),
    }
    return result if impact is None else result | {"mean_impact": float(np.mean(np.asarray(impact)))}


def scenario_scores(
    y: ArrayLike,
    scenarios: Mapping[str, np.ndarray],
    impacts: Mapping[str, ArrayLike] | None = None,
    classes: ArrayLike | None = None,
) -> pd.DataFrame:
    """`scores` of the same rows under several patterns of missingness.

    Parameters
    ----------
    y
        Labels ``[N]``.
    scenarios
        Scenario to predictions ``[N, C]``, as in ``{"missing": ..., "complete": ...}``.
    impacts
        Scenario to V ``[N]``.
    classes
        As for `scores`.

    Returns
    -------
    DataFrame
        Tidy: ``scenario, metric, value``.

    Examples
    --------
    >>> p = np.array([[0.8, 0.2], [0.4, 0.6], [0.6, 0.4]])
    >>> frame = scenario_scores([0, 1, 1], {"missing": p, "complete": np.eye(2)[[0, 1, 1]]})
    >>> frame.query("metric == 'brier'").round(3)
        scenario metric  value
    2    missing  brier  0.373
    8   complete  brier  0.000
    """
    impacts = impacts or {}
    return pd.DataFrame(
        [
            {"scenario": scenario, "metric": metric, "value": value}
            for scenario, p in scenarios.items()
            for metric, value in scores(y, p, impacts.get(scenario), classes).items()
        ]
    )


def classwise_calibration_error(y: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """How far predicted probabilities lie from frequencies, averaged over classes and rows.

    For each class, rows are put in bins of equal width by its predicted probability; the
    distance of mean prediction and frequency is averaged over bins by their rows, and then over classes (Kull
    et al. 2019).

    >>> classwise_calibration_error([0, 1, 1, 1], np.tile([0.25, 0.75], (4, 1)))
    0.0
    """
    codes, p = codes_of(y, probabilities, None)
    total = 0.0
    for c in range(p.shape[1]):
        cell = np.minimum((p[:, c] * bins).astype(int), bins - 1)
        total += abs(np.bincount(cell, p[:, c] - (codes == c), bins)).sum()
    return float(total / p.size)


def codes_of(
    y: ArrayLike, probabilities: ArrayLike, classes: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels ``[N]`` as numbers of columns, and predictions ``[N, C]``.

    Raises
    ------
    DrawsError
        Where shapes or labels do not fit together.
    """
    y, p = np.asarray(y), np.asarray(probabilities, float)
    if p.ndim != 2 or p.shape[0] != len(y) or len(y) == 0:
        raise DrawsError(
            f"probabilities has shape {list(p.shape)} for {len(y)} labels; expected [rows, classes]. Pass "
            "one prediction a label."
        )
    classes = np.arange(p.shape[1]) if classes is None else np.asarray(classes)
    if len(classes) != p.shape[1] or not np.isin(y, classes).all():
        raise DrawsError(
            f"{int((~np.isin(y, classes)).sum())} of {len(y)} labels are not among the {len(classes)} "
            f"classes of the {p.shape[1]} columns. Pass classes, in the order of the columns."
        )
    order = np.argsort(classes)
    return order[np.searchsorted(classes, y, sorter=order)], p


def log_losses(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """-log p(y) ``[N]``, at most 36: the smallest probability is a rounding error, not certainty."""
    return -np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(float).eps))


def auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Probability that a positive row scores above a negative one, by ranks (Mann and Whitney 1947)."""
    count = positive.sum()
    above = rankdata(score)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def over_classes(
    score: Callable[[np.ndarray, np.ndarray], float], target: np.ndarray, p: np.ndarray
) -> float:
    """Mean over classes of a score of one class against the rest, see `scores`; NaN where none has one."""
    columns = [1] if p.shape[1] == 2 else range(p.shape[1])
    values = [score(target[:, c], p[:, c]) for c in columns if 0 < target[:, c].sum() < len(target)]
    return float(np.mean(values)) if values else float("nan")


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis; NaN for a single row."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return values.std(0, ddof=1) / np.sqrt(len(values))
