"""Pictures of V: its distribution, where it is high, whether it is right, and what it is good for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike

from primo_pyro.analysis.acquisition import SHARE, acquisition_summary
from primo_pyro.analysis.plots.style import (
    BLUE,
    COMPLETE,
    GREEN,
    GREY,
    MISSING,
    ORANGE,
    PURPLE,
    RED,
    titled_axes,
)
from primo_pyro.errors import DrawsError

__all__ = [
    "acquisition_curve",
    "gap_scatter",
    "impact_against_truth",
    "impact_calibration",
    "impact_ecdf",
]


def impact_ecdf(frame: pd.DataFrame, modality: str = "the modality", ax: Axes | None = None) -> Axes:
    """The share of rows with at most a given V, in both scenarios, missing and complete (Figures 4, 5, 8).

    Parameters
    ----------
    frame
        ``impact_missing`` and ``impact_complete``, as from ``PrimoClassifier.impact_gap``.
    modality
        Name of the optional modality.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> frame = pd.DataFrame({"impact_missing": [0.1, 0.4, 0.5], "impact_complete": [0.0, 0.1, 0.1]})
    >>> impact_ecdf(frame, "sound", ax=Figure().subplots()).get_title(loc="left")
    'Without sound, half of the rows have V above 0.40'
    """
    median = frame["impact_missing"].median()
    ax = titled_axes(
        ax,
        f"Without {modality}, half of the rows have V above {median:.2f}",
        "V: expected change of the prediction (total variation distance)",
        "Share of rows with at most this V",
    )
    for column, name, colour, style in (
        ("impact_complete", f"{modality} present", COMPLETE, "--"),
        ("impact_missing", f"{modality} missing", MISSING, "-"),
    ):
        mean = frame[column].mean()
        label = f"{name} (mean {mean:.2f})"
        sns.ecdfplot(x=frame[column], ax=ax, color=colour, linestyle=style, linewidth=2, label=label)
    ax.set_xlabel("V: expected change of the prediction (total variation distance)")
    ax.set_ylabel("Share of rows with at most this V")
    ax.plot([0, median, median], [0.5, 0.5, 0], color=GREY, linewidth=1, linestyle=":")
    ax.set_xlim(left=0)
    ax.legend(frameon=False, loc="best")  # where it covers least: the curves may lie anywhere
    return ax


def gap_scatter(
    frame: pd.DataFrame, x: str = "o", y: str = "m", optional: str | None = None, ax: Axes | None = None
) -> Axes:
    """Where in the plane of two numbers the prediction depends on the second one (Figure 3, right).

    Parameters
    ----------
    frame
        The two numbers, and ``gap``: V_missing - V_complete.
    x, y
        The columns of the observed and the optional number.
    optional
        Name of the optional modality in the title; None: ``y``.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> frame = pd.DataFrame({"o": [-1.0, 1.0], "m": [1.0, -1.0], "gap": [0.5, 0.1]})
    >>> gap_scatter(frame, ax=Figure().subplots()).get_xlabel()
    'o (observed)'
    """
    ax = titled_axes(ax, "", f"{x} (observed)", f"{y} (hidden, then revealed)")
    colours = Normalize(0, max(frame["gap"].max(), 1e-3))
    sns.scatterplot(
        frame,
        x=x,
        y=y,
        hue="gap",
        palette="viridis",
        hue_norm=colours,
        s=12,
        linewidth=0,
        legend=False,
        ax=ax,
    )
    ax.set(xlabel=f"{x} (observed)", ylabel=f"{y} (hidden, then revealed)")
    ax.set_title(f"Bright rows: the prediction depends on {optional or y}", loc="left", fontsize="medium")
    ax.axhline(0, color=GREY, linewidth=1, linestyle=":")
    ax.axvline(0, color=GREY, linewidth=1, linestyle=":")
    bar = ax.figure.colorbar(ScalarMappable(colours, "viridis"), ax=ax)
    bar.set_label("Gap: V missing - V complete")
    return ax


def impact_against_truth(impact: ArrayLike, truth: ArrayLike, ax: Axes | None = None) -> Axes:
    """Predicted V against the exact V* of generated rows.

    Parameters
    ----------
    impact, truth
        V and V* ``[N]``.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = impact_against_truth([0.1, 0.4], [0.1, 0.5], ax=Figure().subplots())
    >>> ax.get_title(loc="left")
    'V is off by 0.05 on average (mean V 0.25, exact 0.30)'
    """
    impact, truth = np.asarray(impact, float), np.asarray(truth, float)
    ax = titled_axes(
        ax,
        f"V is off by {abs(impact - truth).mean():.2f} on average "
        f"(mean V {impact.mean():.2f}, exact {truth.mean():.2f})",
        "Exact impact V* (total variation distance)",
        "Predicted impact V (total variation distance)",
    )
    top = max(impact.max(), truth.max()) * 1.05
    ax.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1, label="V = V*")
    sns.scatterplot(x=truth, y=impact, s=10, alpha=0.4, color=MISSING, linewidth=0, ax=ax, label="a row")
    ax.set(xlim=(0, top), ylim=(0, top))
    ax.legend(frameon=False, loc="upper left")
    return ax


def impact_calibration(bins: pd.DataFrame, slope: float | None = None, ax: Axes | None = None) -> Axes:
    """Expected against realised change, when the modality is revealed.

    Parameters
    ----------
    bins
        From `primo_pyro.analysis.calibration.impact_calibration_bins`.
    slope
        Mean realised over mean expected change, for the title; None: computed from the bins.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> bins = {"rows": 50, "predicted": [0.1, 0.3], "realised": [0.1, 0.2], "realised_se": 0.01}
    >>> impact_calibration(pd.DataFrame(bins), ax=Figure().subplots()).get_title(loc="left")
    'The realised change is 0.75 times the expected change'
    """
    if slope is None:
        slope = np.average(bins["realised"], weights=bins["rows"]) / np.average(
            bins["predicted"], weights=bins["rows"]
        )
    ax = titled_axes(
        ax,
        f"The realised change is {slope:.2f} times the expected change",
        "Expected change, mean of a bin (total variation distance)",
        "Realised change, mean and 2 standard errors",
    )
    top = 1.1 * max(bins["predicted"].max(), (bins["realised"] + 2 * bins["realised_se"]).max())
    ax.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1, label="realised = expected")
    ax.errorbar(
        bins["predicted"], bins["realised"], yerr=2 * bins["realised_se"], color=BLUE, marker="o",
        markersize=5, linewidth=1.5, capsize=3, label="realised change",
    )  # fmt: skip
    if "flip" in bins:
        label = "share of rows whose label changed"
        ax.plot(bins["predicted"], bins["flip"], color=ORANGE, marker="^", linestyle=":", label=label)
        top = max(top, 1.1 * bins["flip"].max())
    ax.set(xlim=(0, None), ylim=(0, top))
    ax.legend(frameon=False, loc="upper left")
    return ax


# Of each metric: the axis label, the sign of an improvement, and the improvement in words.
METRICS = {
    "log_loss": ("Log loss over all rows (nats; lower is better)", -1, "lower the log loss"),
    "auroc": ("AUROC over all rows (higher is better)", 1, "raise the AUROC"),
}
STYLES = {  # colour, line style and line width of the orders that several pictures show
    "oracle": ("black", (0, (1, 1)), 1.5),
    "random": (GREY, (0, (4, 2)), 1.5),
    "V": (BLUE, "-", 2.5),
    "information gain": (ORANGE, "-", 2),
    "entropy": (RED, "-.", 2),
    "gap": (GREEN, (0, (6, 1)), 1.5),
    "calibrated": (PURPLE, (0, (3, 1, 1, 1)), 1.5),
}


def acquisition_curve(
    curves: pd.DataFrame, metric: str = "log_loss", modality: str = "the modality", ax: Axes | None = None
) -> Axes:
    """The score of all predictions, as the modality is revealed for more and more rows.

    Parameters
    ----------
    curves
        From `primo_pyro.analysis.acquisition.acquisition_curves`. The scores ``V``, ``information gain``,
        ``entropy``, ``gap``, ``calibrated`` and the added ``random`` and ``oracle`` have the same colour in
        every picture. The title compares the first score with ``random``.
    metric
        ``"log_loss"`` or ``"auroc"``.
    modality
        Name of the modality.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Raises
    ------
    DrawsError
        For an unknown metric.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> curves = pd.DataFrame({"score": "V", "metric": "log_loss", "revealed": [0.0, 0.5, 1.0],
    ...                        "value": [0.4, 0.1, 0.1]})
    >>> acquisition_curve(curves, modality="sound", ax=Figure().subplots()).get_title(loc="left")
    'Revealing 30% by V brings 60% of the gain'
    """
    if metric not in METRICS:
        raise DrawsError(f"metric is {metric!r}; expected one of {', '.join(METRICS)}. Choose one of them.")
    label, sign, improvement = METRICS[metric]
    curves = curves[curves["metric"] == metric].sort_values("revealed", kind="stable")
    if sign * curves["value"].iloc[-1] > sign * curves["value"].iloc[0]:
        recovered = acquisition_summary(curves).set_index("score")["recovered"]
        title = f"Revealing {SHARE:.0%} by {recovered.index[0]} brings {recovered.iloc[0]:.0%} of the gain"
        title += f", at random {recovered['random']:.0%}" if "random" in recovered else ""
    else:
        title = f"Revealing {modality} does not {improvement} over all rows"
    spare = iter(sns.color_palette("colorblind", 10))
    for score, curve in curves.groupby("score", sort=False):
        colour, line, width = STYLES.get(score) or (next(spare), "-", 1.5)
        sns.lineplot(
            curve, x="revealed", y="value", ax=ax, color=colour, linestyle=line, linewidth=width, label=score,
            errorbar=None,
        )  # fmt: skip
    ax = titled_axes(ax, title, f"Share of rows with {modality} revealed", label)
    ax.set_xlim(0, 1)
    ax.legend(frameon=False, loc="best", title="highest first by")
    return ax
