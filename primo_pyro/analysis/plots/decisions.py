"""Pictures of guarantees and decisions: what was promised and reached, harm of skipping, decision curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from primo_pyro.analysis.plots.style import BLUE, COMPLETE, GREEN, GREY, MISSING, RED, titled_axes

__all__ = ["decision_curve", "promises", "risk_draws", "skips"]


def promises(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What each guarantee reached on held-out rows, with two standard errors, beside what it promised.

    Parameters
    ----------
    table
        From `primo_pyro.analysis.certificates.promises_kept`.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> table = pd.DataFrame({"guarantee": ["change at most"], "promised": [0.9], "reached": [0.91],
    ...                       "error": [0.01], "at_least": [True]})
    >>> promises(table, ax=Figure().subplots()).get_xlabel()
    'Share of rows'
    """
    off = np.where(table["at_least"], 1, -1) * (table["promised"] - table["reached"])
    broken = off > 2 * table["error"].to_numpy()
    title = f"{(~broken).sum()} of {len(table)} promises kept within two standard errors"
    ax = titled_axes(ax, title, "Share of rows", "")
    places = np.arange(len(table))[::-1]
    ax.scatter(table["promised"], places, marker="|", s=300, color="black", label="promised", zorder=3)
    ax.errorbar(
        table["reached"], places, xerr=2 * table["error"], fmt="o", color=BLUE, capsize=3, label="reached"
    )
    ax.set_yticks(places, table["guarantee"])
    ax.set(xlim=(0, 1.02), ylim=(-0.6, len(table) - 0.4))
    ax.legend(frameon=False, loc="center")
    return ax


def skips(
    curve: pd.DataFrame, rate: float | None = None, modality: str = "the modality", ax: Axes | None = None
) -> Axes:
    """Harm against the share of rows that do without a modality.

    Parameters
    ----------
    curve
        From `primo_pyro.analysis.certificates.skip_curve`.
    rate
        The harm that is allowed, drawn as a line.
    modality
        Name of the modality.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primo_pyro.analysis.certificates import skip_curve
    >>> curve = skip_curve([0.1, 0.2, 0.3, 0.4], [False, False, False, True])
    >>> skips(curve, 0.05, "blood gas", ax=Figure().subplots()).get_title(loc="left")
    'On these rows 75% could do without blood gas at 5% harm'
    """
    title = f"Harm of doing without {modality}"
    if rate is not None:
        below = curve.loc[curve["harm_among_skipped"] <= rate, "skipped"].max()
        share = 0.0 if np.isnan(below) else below
        title = f"On these rows {share:.0%} could do without {modality} at {rate:.0%} harm"
    ax = titled_axes(ax, title, f"Share of rows that do without {modality}", "Share of rows with harm")
    ax.plot(curve["skipped"], curve["harm_among_skipped"], color=BLUE, linewidth=2, label="of the skipped")
    ax.plot(curve["skipped"], curve["harm_among_all"], color=GREEN, linestyle="--", label="of all rows")
    if rate is not None:
        ax.axhline(rate, color=GREY, linestyle=":", label="allowed")
    ax.set(xlim=(0, 1), ylim=(0, None))
    ax.legend(frameon=False, loc="best")
    return ax


POLICIES = {
    "nobody": (GREY, ":"),
    "everybody": (GREY, "--"),
    "without": (MISSING, "-"),
    "with": (COMPLETE, "-"),
    "where it pays": (GREEN, "-."),
}


def decision_curve(curves: pd.DataFrame, modality: str = "the modality", ax: Axes | None = None) -> Axes:
    """Net benefit against the risk from which one acts.

    Parameters
    ----------
    curves
        From `primo_pyro.analysis.decisions.decision_curves`.
    modality
        Name of the modality.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primo_pyro.analysis.decisions import decision_curves
    >>> curves = decision_curves([0, 1], np.full((2, 2), 0.5), np.eye(2), np.ones((2, 1)), thresholds=[0.2])
    >>> decision_curve(curves, "blood gas", ax=Figure().subplots()).get_title(loc="left")
    'Acting from a risk of 20%: revealing blood gas in 8 rows brings one more net true positive'
    """
    gained = curves[(curves["policy"] == "with") & np.isfinite(curves["tests_per_true_positive"])]
    title = f"{modality} adds no net benefit".capitalize()
    if len(gained):
        best = gained.loc[gained["gain"].idxmax()]
        tests = best["tests_per_true_positive"]
        title = (
            f"Acting from a risk of {best['threshold']:.0%}: revealing {modality} in {tests:.0f} rows brings "
            "one more net true positive"
        )
    ax = titled_axes(ax, title, "Risk from which one acts (threshold)", "Net benefit (per row)")
    for policy, (colour, line) in POLICIES.items():
        curve = curves[curves["policy"] == policy]
        ax.plot(curve["threshold"], curve["net_benefit"], color=colour, linestyle=line, label=policy)
    top = curves.loc[curves["policy"] != "everybody", "net_benefit"].max()
    ax.set_ylim(-0.1 * max(top, 0.01), 1.1 * max(top, 0.01))
    ax.legend(frameon=False, loc="best", title="act, or reveal")
    return ax


def risk_draws(
    draws: ArrayLike,
    threshold: float | None = None,
    event: object = 1,
    then: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """What one row's risk may become once what is absent is revealed: its distribution over draws.

    Parameters
    ----------
    draws
        Risks ``[K]`` of single draws.
    threshold
        The risk from which one acts.
    event
        What the risk is of, for the axis.
    then
        The risk once it was really revealed, where that is known.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> risk_draws([0.1, 0.1, 0.3, 0.1], 0.2, ax=Figure().subplots()).get_title(loc="left")
    'Risk 15% now; 25% of draws cross 20%'
    """
    draws = np.asarray(draws, float)
    now = draws.mean()
    title = f"Risk {now:.0%} now"
    if threshold is not None:
        crossed = ((draws >= threshold) != (now >= threshold)).mean()
        title += f"; {crossed:.0%} of draws cross {threshold:.0%}"
    ax = titled_axes(ax, title, f"Risk of {event} once revealed", "Share of draws")
    sns.histplot(x=draws, bins=np.linspace(0, 1, 26), stat="proportion", color=GREY, ax=ax)
    for value, colour, line, name in (
        (now, MISSING, "-", "now"),
        (threshold, RED, "--", "threshold"),
        (then, COMPLETE, "-", "revealed"),
    ):
        if value is not None:
            ax.axvline(value, color=colour, linestyle=line, label=name)
    ax.set(xlim=(0, 1), xlabel=f"Risk of {event} once revealed", ylabel="Share of draws")
    ax.set_ylim(top=1.5 * ax.get_ylim()[1])  # room for the legend above the bars
    ax.legend(frameon=False, loc="best")
    return ax
