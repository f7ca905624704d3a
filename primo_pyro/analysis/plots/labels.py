"""Pictures of labels and latents: the plausible labels of rows, and where their latents lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from primo_pyro.analysis.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, YELLOW, titled_axes

__all__ = ["label_scatter", "label_shares_bars", "latent_completions", "shares_by_group"]


def label_shares_bars(
    shares: pd.Series,
    impact: float | None = None,
    truth: object = None,
    by: str = "clusters",
    ax: Axes | None = None,
) -> Axes:
    """The plausible labels of one row, with its V in the title (Figures 6, 9).

    Parameters
    ----------
    shares
        Share of each label, a row of ``plausible_label_shares``.
    impact
        The row's V.
    truth
        The row's label, if known: its bar is blue, with the word "true" below it.
    by
        What the shares count, for the axis: clusters of draws, or draws.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> shares = pd.Series([0.2, 0.8], index=["cat", "dog"])
    >>> ax = label_shares_bars(shares, impact=0.31, ax=Figure().subplots())
    >>> ax.get_title(loc="left")
    'V = 0.31: 2 plausible labels'
    """
    plausible = int((shares > 0).sum())
    many = f"{plausible} plausible labels" if plausible > 1 else "one plausible label"
    title = many.capitalize() if impact is None else f"V = {impact:.2f}: {many}"
    ax = titled_axes(ax, title, "Label", f"Share of {by}")
    names = [str(name) for name in shares.index]
    true = [truth is not None and name == truth for name in shares.index]
    colours = {n: BLUE if t else GREY for n, t in zip(names, true, strict=True)}
    sns.barplot(x=names, y=shares.to_numpy(), hue=names, palette=colours, legend=False, ax=ax, errorbar=None)
    # Below the axis, where no bar and no point of a prediction stands.
    ax.set_xticks(range(len(names)), [f"{n}\ntrue" if t else n for n, t in zip(names, true, strict=True)])
    for tick, is_true in zip(ax.get_xticklabels(), true, strict=True):
        if is_true:
            tick.set_color(BLUE)
    ax.set(ylim=(0, 1.05), xlabel="Label", ylabel=f"Share of {by}")
    return ax


def shares_by_group(
    shares: pd.DataFrame,
    groups: Sequence | pd.Categorical | pd.Series,
    group: str = "Group",
    label: str = "label",
    ax: Axes | None = None,
) -> Axes:
    """Plausible labels of groups of rows: the mean share of each label (Figure 7).

    Parameters
    ----------
    shares
        ``[N, C]``, from ``plausible_label_shares``.
    groups
        The group of each row ``[N]``, as from ``pandas.cut``.
    group, label
        What the groups and the labels are, for the axis and the legend.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> shares = pd.DataFrame({"alive": [0.9, 0.7, 0.5], "dead": [0.1, 0.3, 0.5]})
    >>> ax = shares_by_group(shares, ["young", "young", "old"], "Age", "outcome", ax=Figure().subplots())
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['old\\n1 row', 'young\\n2 rows']
    """
    by = pd.Series(groups).reset_index(drop=True)
    grouped = shares.reset_index(drop=True).groupby(by, observed=True)
    means, rows = grouped.mean(), grouped.size()
    ax = titled_axes(
        ax, f"Plausible values of {label}, by {group.lower()}", group, "Mean share among plausible labels"
    )
    # Two labels have two hues; more are taken to be ordered, from dark to light.
    several = len(means.columns) > 2
    colours = sns.color_palette("viridis", len(means.columns)) if several else [SKY, ORANGE]
    bottom = np.zeros(len(means))
    for i, (name, colour) in enumerate(zip(means.columns, colours, strict=False)):
        share = means[name].to_numpy()
        bars = ax.bar(
            range(len(means)), share, bottom=bottom, color=colour, edgecolor="white", label=str(name)
        )
        texts = [f"{s:.0%}" if s > 0.06 else "" for s in share]
        dark = several and i < len(means.columns) / 2
        ax.bar_label(bars, texts, label_type="center", fontsize="small", color="white" if dark else "black")
        bottom += share
    names = [f"{name}\n{n} row{'s' if n > 1 else ''}" for name, n in rows.items()]
    ax.set_xticks(range(len(means)), names)
    ax.set_ylim(0, 1)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(  # in the order of the stack
        handles[::-1], labels[::-1], frameon=False, title=label, loc="center left", bbox_to_anchor=(1.01, 0.5)
    )
    return ax


def label_scatter(
    frame: pd.DataFrame, x: str, y: str, title: str, labels: Sequence | None = None, ax: Axes | None = None
) -> Axes:
    """Rows as points in a plane of inputs or of latents, coloured by their labels (Figures 11, 12).

    Parameters
    ----------
    frame
        ``label``, as a rule the prediction under a draw, and the two columns to show.
    x, y
        Names of these columns.
    title
        Title of the axes.
    labels
        All labels in the order of their colours, so that panels with different labels have the same colours;
        None: those of the frame.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> frame = pd.DataFrame({"o": [-1.0, 1.0], "m": [1.0, -1.0], "label": [0, 1]})
    >>> label_scatter(frame, "o", "m", "unimodal", ax=Figure().subplots()).get_xlabel()
    'o'
    """
    ax = titled_axes(ax, title, x, y)
    labels = sorted(frame["label"].unique()) if labels is None else list(labels)
    # Two labels have two hues; more are taken to be ordered, from dark to light.
    colours = [SKY, RED] if len(labels) <= 2 else sns.color_palette("viridis", len(labels))
    sns.scatterplot(
        frame, x=x, y=y, hue="label", hue_order=labels, palette=colours[: len(labels)], s=7, linewidth=0,
        ax=ax,
    )  # fmt: skip
    ax.legend(frameon=False, title="label", markerscale=2, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def latent_completions(
    missing: pd.DataFrame, completions: pd.DataFrame, name: str = "", ax: Axes | None = None
) -> Axes:
    """The latent of one row before and after the modality is revealed, in two dimensions.

    The grey ellipses are one and two standard deviations of p(z | x_o). Each coloured ellipse is one standard
    deviation of p(z | x_o, x_m) for another x_m; its colour and marker stand for the label that it leads to.
    In a latent that works, grey covers all colours and the colours are separate.

    Parameters
    ----------
    missing
        ``mean_1, mean_2, scale_1, scale_2`` of p(z | x_o), one line.
    completions
        The same of p(z | x_o, x_m), a line for each x_m, and ``label``.
    name
        First line of the title.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> missing = pd.DataFrame({"mean_1": [0.0], "mean_2": 0.0, "scale_1": 1.0, "scale_2": 1.0})
    >>> completions = pd.DataFrame({"mean_1": [-1.0, 1.0], "mean_2": 0.0, "scale_1": 0.1, "scale_2": 0.1,
    ...                             "label": [0, 1]})
    >>> latent_completions(missing, completions, ax=Figure().subplots()).get_title(loc="left")
    'Completions of different labels lie 20.0 standard deviations apart'
    """
    means, scales = ["mean_1", "mean_2"], ["scale_1", "scale_2"]
    centres = completions.groupby("label")[means].mean().to_numpy()
    typical = np.sqrt(np.square(completions[scales]).mean()).to_numpy()
    pairs = [(a, b) for i, a in enumerate(centres) for b in centres[:i]]
    apart = np.mean([np.linalg.norm((a - b) / typical) for a, b in pairs]) if pairs else 0.0
    title = f"Completions of different labels lie {apart:.1f} standard deviations apart"
    title = f"{name}\n{title}" if name else title
    ax = titled_axes(ax, title, "First latent dimension (no unit)", "Second latent dimension (no unit)")

    def ellipse(line: pd.Series, deviations: float, **style: Any) -> None:
        width, height = (2 * deviations * line[scale] for scale in scales)
        ax.add_patch(Ellipse(tuple(line[means]), width, height, **style))

    before = missing.iloc[0]
    for deviations in (2, 1):
        ellipse(before, deviations, facecolor=GREY, alpha=0.15, edgecolor="none")
    ax.plot([], [], color=GREY, linewidth=8, alpha=0.4, label="before: p(z | x_o), 1 and 2 sd")
    styles = zip([BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW], "o^sDvPX", strict=True)
    for (label, lines), (colour, marker) in zip(completions.groupby("label"), styles, strict=False):
        for _, line in lines.iterrows():
            ellipse(line, 1, facecolor="none", edgecolor=colour, alpha=0.35)
        ax.scatter(
            lines["mean_1"], lines["mean_2"], color=colour, marker=marker, s=18,
            label=f"after: p(z | x_o, x_m), 1 sd, leads to label {label}",
        )  # fmt: skip
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15))
    return ax
