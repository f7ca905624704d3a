"""Expected against realised change, and a monotone map that corrects the scale of V."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from primo_pyro.analysis.scores import standard_error
from primo_pyro.errors import DrawsError, FewRowsWarning, warn

__all__ = [
    "FEW_ROWS",
    "ImpactCalibrator",
    "calibrator_of",
    "impact_calibration",
    "impact_calibration_bins",
    "paired",
]

FEW_ROWS = 50  # a calibration on fewer is mostly noise


def impact_calibration_bins(
    predicted: ArrayLike, realised: ArrayLike, flip: ArrayLike | None = None, bins: int = 10
) -> pd.DataFrame:
    """Mean expected and mean realised change, in groups of rows of equal size.

    Parameters
    ----------
    predicted
        V, or the expected change ``[N]``.
    realised
        Total variation distance between the predictions without and with the modality ``[N]``.
    flip
        Whether the label changed ``[N]``.
    bins
        Number of groups, at most one for each row.

    Returns
    -------
    DataFrame
        In order of ``predicted``: ``rows, predicted, realised, realised_se`` and, where given, ``flip``
        (share).

    Raises
    ------
    DrawsError
        Where the arrays do not have one finite number for each row.

    Examples
    --------
    >>> v = np.linspace(0, 0.5, 100)
    >>> impact_calibration_bins(v, 0.8 * v, bins=2).round(3)
       rows  predicted  realised  realised_se
    0    50      0.124     0.099        0.008
    1    50      0.376     0.301        0.008
    """
    predicted, realised = paired(predicted, realised)
    columns = {"predicted": predicted, "realised": realised}
    if flip is not None:
        columns["flip"] = paired(predicted, flip)[1]
    lines = []
    for rows in np.array_split(np.argsort(predicted, kind="stable"), min(bins, len(predicted))):
        line = {"rows": len(rows)} | {name: v[rows].mean() for name, v in columns.items()}
        lines.append(line | {"realised_se": float(standard_error(realised[rows]))})
    order = ["rows", "predicted", "realised", "realised_se", *(["flip"] if flip is not None else [])]
    return pd.DataFrame(lines)[order]


def impact_calibration(predicted: ArrayLike, realised: ArrayLike, bins: int = 10) -> dict[str, float]:
    """How well V predicts the realised change, in numbers.

    Parameters
    ----------
    predicted, realised, bins
        As for `impact_calibration_bins`.

    Returns
    -------
    dict
        ``slope``: mean realised over mean predicted; ``regression_slope``: of the realised change on V, by
        least squares with an intercept; ``calibration_error``: the mean distance of the bins' means, weighted
        by rows; ``rank_correlation`` (Spearman); ``lift``: mean realised change of the tenth of the rows with
        the highest V over that of all rows. NaN where V or the change does not vary.

    Raises
    ------
    DrawsError
        As for `impact_calibration_bins`.

    Examples
    --------
    >>> v = np.linspace(0, 0.5, 100)
    >>> {name: round(value, 3) for name, value in impact_calibration(v, 0.8 * v).items()}
    {'slope': 0.8, 'regression_slope': 0.8, 'calibration_error': 0.05, 'rank_correlation': 1.0, 'lift': 1.909}
    """
    predicted, realised = paired(predicted, realised)
    nan = float("nan")
    varies = np.ptp(predicted) > 0 and np.ptp(realised) > 0
    cells = impact_calibration_bins(predicted, realised, bins=bins)
    top = np.argsort(-predicted, kind="stable")[: max(1, len(predicted) // 10)]
    distance = abs(cells["predicted"] - cells["realised"])
    # Least squares; np.polyfit gives the same, and a warning where V hardly varies.
    slope = np.cov(predicted, realised)[0, 1] / predicted.var(ddof=1) if varies else nan
    return {
        "slope": float(realised.mean() / predicted.mean()) if predicted.mean() > 0 else nan,
        "regression_slope": float(slope),
        "calibration_error": float(np.average(distance, weights=cells["rows"])),
        "rank_correlation": float(spearmanr(predicted, realised).statistic) if varies else nan,
        "lift": float(realised[top].mean() / realised.mean()) if realised.mean() > 0 else nan,
    }


class ImpactCalibrator:
    """A monotone map from V to the expected change, learnt from rows whose realised change is known.

    Isotonic regression of the realised change on V, constant beyond the values of V that it was fitted on. On
    new rows like these, an expected change of 0.3 is then 0.3 on average.

    Examples
    --------
    >>> v = np.linspace(0, 0.5, 100)
    >>> ImpactCalibrator().fit(v, 0.8 * v).predict([0.25, 0.9]).round(3)
    array([0.2, 0.4])
    """

    def fit(self, impact: ArrayLike, realised: ArrayLike) -> ImpactCalibrator:
        """Learn from V and realised changes ``[N]``; `DrawsError` where they are not finite pairs."""
        impact, realised = paired(impact, realised)
        regression = IsotonicRegression(y_min=0).fit(impact, realised)
        self.impact_, self.change_ = regression.X_thresholds_, regression.y_thresholds_  # the map's knots
        return self

    def predict(self, impact: ArrayLike) -> np.ndarray:
        """Expected change ``[N]`` for V ``[N]``."""
        return np.interp(np.asarray(impact, float), self.impact_, self.change_)


def paired(predicted: ArrayLike, realised: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays ``[N]`` of finite numbers; `DrawsError` where they are not."""
    predicted, realised = np.asarray(predicted, float), np.asarray(realised, float)
    if predicted.ndim != 1 or predicted.shape != realised.shape or len(predicted) == 0:
        raise DrawsError(
            f"Arrays have shapes {list(predicted.shape)} and {list(realised.shape)}; expected one number for "
            "each row in both. Pass the same rows in both."
        )
    if not (np.isfinite(predicted).all() and np.isfinite(realised).all()):
        bad = ~(np.isfinite(predicted) & np.isfinite(realised))
        raise DrawsError(
            f"{int(bad.sum())} of {len(bad)} rows have values that are not finite (first: row "
            f"{int(bad.argmax())}); expected finite numbers. Leave these rows out."
        )
    return predicted, realised


def calibrator_of(gaps: Sequence[pd.DataFrame], what: str) -> ImpactCalibrator:
    """From frames of `primo_pyro.analysis.impact.impact_gap` of the same rows, which have ``what``.

    Warns
    -----
    FewRowsWarning
        Where they are fewer than 50.
    """
    if len(gaps[0]) < FEW_ROWS:
        warn(
            f"Few rows have {what}: {len(gaps[0])}; expected some hundreds. The expected change of so few is "
            "mostly chance. Pass more rows that have it.",
            FewRowsWarning,
        )
    gap = pd.concat(gaps)
    return ImpactCalibrator().fit(gap["impact_missing"], gap["realised_change"])
