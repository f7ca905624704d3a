"""Pictures of rows that were hidden and revealed, written to files; no window and no display is needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from primo_pyro.analysis import plots
from primo_pyro.analysis.calibration import impact_calibration, impact_calibration_bins
from primo_pyro.analysis.plots.style import titled_axes
from primo_pyro.analysis.report import rows_to_show
from primo_pyro.analysis.scores import standard_error
from primo_pyro.modalities import Modalities
from primo_pyro.studies.revealed import RevealedRows

__all__ = [
    "acquisition_picture",
    "bias_picture",
    "calibration_picture",
    "groups_picture",
    "impact_picture",
    "mark_hidden",
    "new_figure",
    "rows_picture",
    "save_figure",
    "sequences_picture",
]

CARDS = 4  # rows of highest V that are drawn one by one, and as many of lowest V
EDGE = {"markersize": 5, "markeredgecolor": "black", "markeredgewidth": 0.7}

DrawRow = Callable[[Axes, Modalities], None]  # draws a single row


def new_figure(
    width: float, height: float, layout: Literal["constrained", "compressed", "tight"] | None = "constrained"
) -> Figure:
    """An empty figure that renders to a file, whatever backend matplotlib is set to.

    Parameters
    ----------
    width, height
        In inches.
    layout
        As for ``matplotlib.figure.Figure``.

    Returns
    -------
    Figure
        It needs no closing.

    Examples
    --------
    >>> new_figure(4, 3).get_size_inches()
    array([4., 3.])
    """
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a picture and print where it is.

    Parameters
    ----------
    figure
        What to write.
    path
        Where to; the ending decides the format.
    dpi
        Dots per inch.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fonts without a glyph
        figure.savefig(path, dpi=dpi, bbox_inches="tight")
    print(f"wrote {path}")


def impact_picture(parts: Sequence[RevealedRows], path: Path) -> None:
    """The distribution of V in both scenarios, missing and complete; a panel for each task, on one scale."""
    figure = new_figure(7.5, 3.6 * len(parts))
    axes = figure.subplots(len(parts), sharex=True, squeeze=False)
    for rows, ax in zip(parts, axes[:, 0], strict=True):
        _add_head(plots.impact_ecdf(rows.gap, rows.optional, ax=ax), rows.task.name)
        ax.label_outer()
    largest = max(rows.gap[["impact_missing", "impact_complete"]].max(axis=None) for rows in parts)
    axes[0, 0].set_xlim(0, 1.03 * largest)
    save_figure(figure, path)


def calibration_picture(parts: Sequence[RevealedRows], path: Path) -> None:
    """Expected against realised change, before calibration and after; a line of panels for each task."""
    figure = new_figure(12, 4.4 * len(parts))
    axes = figure.subplots(len(parts), 2, sharex="row", squeeze=False)
    for rows, pair in zip(parts, axes, strict=True):
        realised, flip = rows.gap["realised_change"], rows.gap["flip"]
        for column, head, ax in zip(
            ("impact", "expected_change"), ("V", "V calibrated on validation rows"), pair, strict=True
        ):
            expected = rows.impact[column]
            slope = impact_calibration(expected, realised)["slope"]
            plots.impact_calibration(impact_calibration_bins(expected, realised, flip), slope, ax=ax)
            _add_head(ax, f"{rows.task.name}: {head}")
        top = max(ax.get_ylim()[1] for ax in pair)
        for ax in pair:
            ax.set_ylim(0, top)
    save_figure(figure, path)


def acquisition_picture(parts: Sequence[RevealedRows], curves: Sequence[pd.DataFrame], path: Path) -> None:
    """Log loss as rows are revealed in the order of several scores; a panel and a frame for each task."""
    figure = new_figure(6.5 * len(parts), 5)
    axes = figure.subplots(1, len(parts), squeeze=False)
    for rows, of_rows, ax in zip(parts, curves, axes[0], strict=True):
        _add_head(plots.acquisition_curve(of_rows, "log_loss", rows.optional, ax=ax), rows.task.name)
    save_figure(figure, path)


def rows_picture(
    rows: RevealedRows,
    path: Path,
    *,
    draw_observed: DrawRow | None = None,
    draw_optional: DrawRow | None = None,
    about: Sequence[str] | None = None,
    label: str = "Label",
    classes: Sequence[str] | None = None,
) -> None:
    """The rows of highest and of lowest V: what is observed, their plausible labels, and what was hidden.

    Bars are shares of plausible labels, markers the predictions with the optional modalities hidden and
    revealed.

    Parameters
    ----------
    rows
        Hidden and revealed rows of a task.
    path
        Where to write the picture.
    draw_observed, draw_optional
        Draw the observed and the optional modality of a single row ``x`` on ``ax``: ``draw(ax, x)``. None: no
        such panel.
    about
        A text about each of the N rows.
    label
        What the labels are.
    classes
        Names of the labels 0, 1, ...
    """
    impact = rows.impact["impact"].to_numpy()
    cards = rows_to_show(impact, CARDS)
    columns = len(cards) // 2
    shares = _named(rows.label_shares(cards), classes)
    names = list(shares.columns)
    truth = [names[c] for c in np.searchsorted(rows.classifier.classes_, rows.y[cards])]
    panels = 1 + sum(draw is not None for draw in (draw_observed, draw_optional))
    figure = new_figure(3.3 * columns, 2 * (0.7 + 2.9 * panels))
    halves = figure.subfigures(2, 1, squeeze=False, hspace=0.04)[:, 0]
    heads = (
        f"Highest V: the prediction depends most on {rows.optional}",
        f"Lowest V: it depends least on {rows.optional}",
    )
    for half, head in zip(halves, heads, strict=True):
        half.suptitle(f"{rows.task.name}. {head}", x=0.01, ha="left", weight="bold")
    axes = [half.subplots(panels, columns, squeeze=False) for half in halves]
    for i, row in enumerate(cards):
        column = iter(axes[i // columns][:, i % columns])
        if draw_observed is not None:
            draw_observed(next(column), rows.x[[row]])
        bars = next(column)
        plots.label_shares_bars(shares.iloc[i], impact=impact[row], truth=truth[i], ax=bars)
        for p, shift, marker, colour, name in (
            (rows.missing, -0.15, "o", plots.MISSING, f"prediction without {rows.optional}"),
            (rows.complete, 0.15, "D", plots.COMPLETE, f"prediction with {rows.optional}"),
        ):
            bars.plot(np.arange(len(names)) + shift, p[row], marker, color=colour, label=name, **EDGE)
        bars.set(xlabel=label, ylabel="Share of clusters (bars)\nprobability (points)")
        if classes is not None:  # words do not fit side by side
            bars.tick_params(axis="x", labelrotation=40)
        if about is not None:
            _add_head(bars, about[row])
        if draw_optional is not None:
            ax = next(column)
            draw_optional(ax, rows.x[[row]])
            p = rows.complete[row]
            mark_hidden(ax, f"hidden; once revealed: {names[p.argmax()]} ({p.max():.0%})")
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    save_figure(figure, path)


def mark_hidden(ax: Axes, title: str) -> None:
    """Give the axes of a hidden modality a title and a frame in the same colour."""
    ax.set_title(title, loc="left", fontsize="medium", color=plots.RED)
    for spine in ax.spines.values():
        spine.set(visible=True, color=plots.RED, linewidth=3)


def groups_picture(
    rows: RevealedRows,
    path: Path,
    groups: Mapping[str, Sequence | np.ndarray | pd.Categorical],
    label: str,
    classes: Sequence[str],
) -> None:
    """Plausible labels by groups of rows, a panel for each way to group them.

    Parameters
    ----------
    rows
        Hidden and revealed rows of a task.
    path
        Where to write the picture.
    groups
        What the groups are to the group of each of the N rows.
    label, classes
        As for `rows_picture`.
    """
    shares = _named(rows.label_shares(), classes)
    figure = new_figure(10, 4.2 * len(groups))
    axes = figure.subplots(len(groups), squeeze=False)
    for (name, group), ax in zip(groups.items(), axes[:, 0], strict=True):
        _add_head(plots.shares_by_group(shares, group, name, label, ax=ax), rows.task.name)
    save_figure(figure, path)


def bias_picture(distances: pd.DataFrame, path: Path) -> None:
    """The distances of AV-MNIST's predictions from oracles, as from `bias_analysis`."""
    figure = new_figure(6, 5.5, layout=None)
    plots.bias_map(distances, "the image", ax=figure.subplots())
    save_figure(figure, path)


def sequences_picture(curves: pd.DataFrame, colours: Mapping[str, str], path: Path) -> None:
    """Scores against what is spent: a column for each score, a line for each way to share the budget.

    Parameters
    ----------
    curves
        Of one data set, as from `primo_pyro.studies.sequences.compare_orders`. Lines are means over seeds;
        the band is the standard error of the first policy, over seeds, or of one seed the bootstrap's.
        (Policies share their rows: their differences have much smaller errors.)
    colours
        The policies to draw, in the order of the legend, and their colours.
    path
        Where to write the picture.
    """
    heads = {"log_loss": "Log loss (nats; lower is better)", "accuracy": "Accuracy", "auroc": "AUROC"}
    allocations = {"each row": "every row has the same budget", "shared": "all rows share the budget"}
    figure = new_figure(13, 7.5)
    axes = figure.subplots(len(allocations), len(heads), sharex=True, sharey="col")
    for line, (allocation, shared) in zip(axes, allocations.items(), strict=True):
        for ax, (metric, head) in zip(line, heads.items(), strict=True):
            chosen = curves[(curves["allocation"] == allocation) & (curves["metric"] == metric)]
            _add_spending(ax, chosen, colours)
            titled_axes(ax, f"{head.split(' (')[0]}, {shared}", "", head)
    for ax in axes[-1]:
        ax.set_xlabel("Mean cost of a row")
    figure.suptitle(f"{curves['dataset'].iloc[0]}: what is gained by what is spent")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    save_figure(figure, path)


def _add_spending(ax: Axes, curves: pd.DataFrame, colours: Mapping[str, str]) -> None:
    for number, (policy, colour) in enumerate(colours.items()):
        of_seeds = [curve for _, curve in curves[curves["policy"] == policy].groupby("seed")]
        share = np.linspace(0, 1, 50)  # of the cost of everything, which differs between seeds
        values, errors = (
            np.array([np.interp(share, c["cost"] / c["cost"].max(), c[column]) for c in of_seeds])
            for column in ("value", "error")
        )
        cost, mean = share * np.mean([c["cost"].max() for c in of_seeds]), values.mean(0)
        style = ("-", "--", "-.", ":")[number % 4]
        ax.plot(cost, mean, color=colour, linestyle=style, linewidth=2, label=policy)
        if number == 0:
            error = standard_error(values) if len(values) > 1 else errors[0]
            ax.fill_between(cost, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)


def _named(shares: pd.DataFrame, classes: Sequence[str] | None) -> pd.DataFrame:
    return shares if classes is None else shares.rename(columns=dict(enumerate(classes)))


def _add_head(ax: Axes, head: str) -> None:
    ax.set_title(f"{head}\n{ax.get_title(loc='left')}", loc="left", fontsize="medium")
