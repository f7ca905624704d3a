"""Pictures of impact: a frame and an ``Axes`` in, the ``Axes`` out.

Every function draws on ``ax``, or on the current axes, and returns what it drew on, for a title or a limit
of your own. The colours are those of Okabe and Ito, which colour-blind readers can tell apart; what matters
differs in line style, marker or label as well. Distances (V, gap, change) are total variation distances
between two predictions, from 0 to 1 and without unit.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F",
)  # fmt: skip
MISSING, COMPLETE = ORANGE, BLUE  # the two scenarios, the same in every picture


def _axes(ax: Axes | None, title: str, xlabel: str, ylabel: str) -> Axes:
    ax = plt.gca() if ax is None else ax
    ax.set_title(title, loc="left", fontsize="medium")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def impact_ecdf(frame: pd.DataFrame, modality: str = "the modality", ax: Axes | None = None) -> Axes:
    """Share of rows whose V is at most so much, with the modality missing and with it (Figures 4, 5, 8).

    Parameters
    ----------
    frame
        ``impact_missing`` and ``impact_complete``, as of ``PrimoClassifier.impact_gap``.
    modality
        Its name, for the title.

    Examples
    --------
    >>> frame = pd.DataFrame({"impact_missing": [0.1, 0.4, 0.5], "impact_complete": [0.0, 0.1, 0.1]})
    >>> impact_ecdf(frame, "sound", ax=plt.figure().subplots()).get_title(loc="left")
    'Without sound, half of the rows have V above 0.40'
    """
    median = frame["impact_missing"].median()
    ax = _axes(
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
    ax.legend(frameon=False, loc="lower right")
    return ax


def label_shares_bars(
    shares: pd.Series,
    impact: float | None = None,
    truth=None,
    by: str = "clusters",
    ax: Axes | None = None,
) -> Axes:
    """The labels that one row could turn out to have, with its V in the title (Figures 6, 9).

    Parameters
    ----------
    shares
        Share of each label, a row of ``plausible_label_shares``.
    impact
        The row's V.
    truth
        The row's label, if known: its bar is drawn in blue and named.
    by
        What the shares count, for the axis: clusters of draws, or draws.

    Examples
    --------
    >>> shares = pd.Series([0.2, 0.8], index=["cat", "dog"])
    >>> ax = label_shares_bars(shares, impact=0.31, ax=plt.figure().subplots())
    >>> ax.get_title(loc="left")
    'V = 0.31: 2 plausible labels'
    """
    plausible = int((shares > 0).sum())
    many = f"{plausible} plausible labels" if plausible > 1 else "one plausible label"
    title = many.capitalize() if impact is None else f"V = {impact:.2f}: {many}"
    ax = _axes(ax, title, "Label", f"Share of {by}")
    names = [str(name) for name in shares.index]
    true = [truth is not None and name == truth for name in shares.index]
    colours = {n: BLUE if t else GREY for n, t in zip(names, true, strict=True)}
    sns.barplot(x=names, y=shares.to_numpy(), hue=names, palette=colours, legend=False, ax=ax, errorbar=None)
    for position, (share, is_true) in enumerate(zip(shares, true, strict=True)):
        if is_true:
            ax.annotate("true", (position, share), ha="center", va="bottom", color=BLUE)
    ax.set(ylim=(0, 1.08), xlabel="Label", ylabel=f"Share of {by}")
    return ax


def gap_scatter(
    frame: pd.DataFrame, x: str = "o", y: str = "m", optional: str | None = None, ax: Axes | None = None
) -> Axes:
    """Where in the plane of two numbers the prediction hangs on the second (Figure 3, right).

    Parameters
    ----------
    frame
        The two numbers, and ``gap``: V_missing - V_complete.
    x, y
        The columns of the observed and the hidden number.
    optional
        Name of the hidden modality in the title; None: ``y``.

    Examples
    --------
    >>> frame = pd.DataFrame({"o": [-1.0, 1.0], "m": [1.0, -1.0], "gap": [0.5, 0.1]})
    >>> gap_scatter(frame, ax=plt.figure().subplots()).get_xlabel()
    'o (observed)'
    """
    ax = _axes(ax, "", f"{x} (observed)", f"{y} (hidden, then revealed)")
    colours = plt.Normalize(0, max(frame["gap"].max(), 1e-3))
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
    ax.set_title(f"Bright rows: the prediction hangs on {optional or y}", loc="left", fontsize="medium")
    ax.axhline(0, color=GREY, linewidth=1, linestyle=":")
    ax.axvline(0, color=GREY, linewidth=1, linestyle=":")
    bar = ax.figure.colorbar(plt.cm.ScalarMappable(colours, "viridis"), ax=ax)
    bar.set_label("Gap: V missing - V complete")
    return ax


def impact_against_truth(impact, truth, ax: Axes | None = None) -> Axes:
    """Predicted V against the exact V* of generated rows.

    Parameters
    ----------
    impact, truth
        V and V* ``[N]``.

    Examples
    --------
    >>> ax = impact_against_truth([0.1, 0.4], [0.1, 0.5], ax=plt.figure().subplots())
    >>> ax.get_title(loc="left")
    'V is off by 0.05 on average (mean V 0.25, exact 0.30)'
    """
    impact, truth = np.asarray(impact, float), np.asarray(truth, float)
    ax = _axes(
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
