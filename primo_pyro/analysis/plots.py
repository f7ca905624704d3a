"""Pictures of impact: a frame and an ``Axes`` in, the ``Axes`` out.

Every function draws on ``ax``, or on the current axes, and returns what it drew on, for a title or a limit
of your own. The colours are those of Okabe and Ito, which colour-blind readers can tell apart; what matters
differs in line style, marker or label as well. Distances (V, gap, change) are total variation distances
between two predictions, from 0 to 1 and without unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from primo_pyro.analysis.acquisition import SHARE, acquisition_summary

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
    ax.legend(frameon=False)  # where it hides least: the curves may lie anywhere
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
            # Above the bar by the height of a marker, where a prediction may stand.
            ax.annotate(
                "true",
                (position, share),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                color=BLUE,
            )
    ax.set(ylim=(0, 1.15), xlabel="Label", ylabel=f"Share of {by}")
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


def method_scores(
    results: pd.DataFrame,
    metric: str,
    label: str,
    limits: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A score of each method without and with the modality (Figure 3, left).

    Parameters
    ----------
    results
        Tidy, from `primo_pyro.studies.comparison.compare`: a dot is the mean over seeds, its bar the standard
        deviation.
    metric
        Which of its metrics.
    label
        What that is, with its unit, for the axis.
    limits
        The best that can be reached, ``missing`` and ``complete``, where that is known.

    Examples
    --------
    >>> one = {"method": "unimodal", "metric": "accuracy"}
    >>> results = pd.DataFrame([one | {"scenario": "missing", "seed": 0, "value": 0.65},
    ...                         one | {"scenario": "complete", "seed": 0, "value": 0.66}])
    >>> ax = method_scores(results, "accuracy", "Accuracy", {"missing": 0.659}, ax=plt.figure().subplots())
    >>> ax.get_title(loc="left")
    'Accuracy: on its dashed line a dot is as good as can be'
    """
    limits = limits or {}
    what = label.split(" (")[0]
    title = f"{what}: on its dashed line a dot is as good as can be" if limits else f"{what} of each method"
    ax = _axes(ax, title, label, "")
    scores = results[results["metric"] == metric]
    methods = list(dict.fromkeys(scores["method"]))
    for scenario, colour, marker, shift in (
        ("missing", MISSING, "o", -0.15),
        ("complete", COMPLETE, "D", 0.15),
    ):
        of_method = scores[scores["scenario"] == scenario].groupby("method")["value"].agg(["mean", "std"])
        ax.errorbar(
            of_method["mean"].to_numpy(),
            [methods.index(method) + shift for method in of_method.index],
            xerr=of_method["std"].fillna(0).to_numpy(),
            color=colour, marker=marker, markersize=5, linestyle="none", capsize=3, label=scenario,
        )  # fmt: skip
        if scenario in limits:
            ax.axvline(limits[scenario], color=colour, linestyle="--", linewidth=1, zorder=0)
    ax.set_yticks(range(len(methods)), methods)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.grid(axis="y", color=GREY, alpha=0.2)
    ax.legend(frameon=False, title="modality", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def label_scatter(
    frame: pd.DataFrame, x: str, y: str, title: str, labels: Sequence | None = None, ax: Axes | None = None
) -> Axes:
    """Rows in a plane, each in the colour of a label: of inputs, or of latents (Figures 11, 12).

    Parameters
    ----------
    frame
        ``label``, as a rule the one that is predicted under a draw, and the two columns to show.
    x, y
        Names of these columns.
    title
        Whose labels they are.
    labels
        All labels in the order of their colours, for panels of which one may lack a label; None: those that
        the frame has.

    Examples
    --------
    >>> frame = pd.DataFrame({"o": [-1.0, 1.0], "m": [1.0, -1.0], "label": [0, 1]})
    >>> label_scatter(frame, "o", "m", "unimodal", ax=plt.figure().subplots()).get_xlabel()
    'o'
    """
    ax = _axes(ax, title, x, y)
    labels = sorted(frame["label"].unique()) if labels is None else list(labels)
    # Two labels get two hues; more are taken for an order, from dark to light.
    colours = [SKY, RED] if len(labels) <= 2 else sns.color_palette("viridis", len(labels))
    sns.scatterplot(
        frame, x=x, y=y, hue="label", hue_order=labels, palette=colours[: len(labels)], s=7, linewidth=0,
        ax=ax,
    )  # fmt: skip
    ax.legend(frameon=False, title="label", markerscale=2, loc="center left", bbox_to_anchor=(1.01, 0.5))
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


def impact_calibration(bins: pd.DataFrame, slope: float | None = None, ax: Axes | None = None) -> Axes:
    """What V foretold, and what happened when the modality was revealed.

    Parameters
    ----------
    bins
        From `primo_pyro.analysis.calibration.impact_calibration_bins`.
    slope
        Mean realised over mean predicted change, for the title; None: computed from the bins.

    Examples
    --------
    >>> bins = {"rows": 50, "predicted": [0.1, 0.3], "realised": [0.1, 0.2], "realised_se": 0.01}
    >>> impact_calibration(pd.DataFrame(bins), ax=plt.figure().subplots()).get_title(loc="left")
    'When revealed, predictions change 0.75 times as much as foretold'
    """
    if slope is None:
        slope = np.average(bins["realised"], weights=bins["rows"]) / np.average(
            bins["predicted"], weights=bins["rows"]
        )
    ax = _axes(
        ax,
        f"When revealed, predictions change {slope:.2f} times as much as foretold",
        "Foretold change, mean of a bin (total variation distance)",
        "Change when revealed, mean and 2 standard errors",
    )
    top = 1.1 * max(bins["predicted"].max(), (bins["realised"] + 2 * bins["realised_se"]).max())
    ax.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1, label="as foretold")
    ax.errorbar(
        bins["predicted"], bins["realised"], yerr=2 * bins["realised_se"], color=BLUE, marker="o",
        markersize=5, linewidth=1.5, capsize=3, label="change",
    )  # fmt: skip
    if "flip" in bins:
        label = "share of rows whose label changed"
        ax.plot(bins["predicted"], bins["flip"], color=ORANGE, marker="^", linestyle=":", label=label)
        top = max(top, 1.1 * bins["flip"].max())
    ax.set(xlim=(0, None), ylim=(0, top))
    ax.legend(frameon=False, loc="upper left")
    return ax


METRICS = {
    "log_loss": ("Log loss over all rows (nats; lower is better)", -1, "lower the log loss"),
    "auroc": ("AUROC over all rows (higher is better)", 1, "raise the AUROC"),
}
STYLES = {  # a colour, a line and a width for each order that a reader will meet again
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
    """How much better predictions get as the modality is revealed for more and more rows.

    Parameters
    ----------
    curves
        From `primo_pyro.analysis.acquisition.acquisition_curves`. The scores ``V``, ``information gain``, ``entropy``,
        ``gap``, ``calibrated`` and the added ``random`` and ``oracle`` keep their colour from picture to
        picture. The title is about the first, beside ``random``.
    metric
        ``"log_loss"`` or ``"auroc"``.
    modality
        Its name, for the axis.

    Examples
    --------
    >>> curves = pd.DataFrame({"score": "V", "metric": "log_loss", "revealed": [0.0, 0.5, 1.0],
    ...                        "value": [0.4, 0.1, 0.1]})
    >>> acquisition_curve(curves, modality="sound", ax=plt.figure().subplots()).get_title(loc="left")
    'Revealing 30% by V brings 60% of the gain'
    """
    label, sign, betters = METRICS[metric]
    curves = curves[curves["metric"] == metric].sort_values("revealed", kind="stable")
    if sign * curves["value"].iloc[-1] > sign * curves["value"].iloc[0]:
        recovered = acquisition_summary(curves).set_index("score")["recovered"]
        title = f"Revealing {SHARE:.0%} by {recovered.index[0]} brings {recovered.iloc[0]:.0%} of the gain"
        title += f", at random {recovered['random']:.0%}" if "random" in recovered else ""
    else:
        title = f"Revealing {modality} does not {betters} on the whole"
    spare = iter(sns.color_palette("colorblind", 10))
    for score, curve in curves.groupby("score", sort=False):
        colour, line, width = STYLES.get(score) or (next(spare), "-", 1.5)
        sns.lineplot(
            curve, x="revealed", y="value", ax=ax, color=colour, linestyle=line, linewidth=width, label=score,
            errorbar=None,
        )  # fmt: skip
    ax = _axes(ax, title, f"Share of rows with {modality} revealed", label)
    ax.set_xlim(0, 1)
    ax.legend(frameon=False, title="highest first by")
    return ax


def bias_map(distances: pd.DataFrame, modality: str = "the modality", ax: Axes | None = None) -> Axes:
    """Where PRIMO's averaged predictions lie between two oracles (Figure 10).

    Each point is one seed. Along x its distance from the oracle without the modality, along y from the oracle
    with it; a good model lies at the oracle of its scenario.

    Parameters
    ----------
    distances
        From `primo_pyro.studies.bias.bias_analysis`.
    modality
        Its name, for the legend.

    Examples
    --------
    >>> lines = [("primo_missing", "unimodal", 0.05), ("primo_missing", "multimodal", 0.3),
    ...          ("primo_complete", "unimodal", 0.3), ("primo_complete", "multimodal", 0.1),
    ...          ("unimodal", "multimodal", 0.3)]
    >>> frame = pd.DataFrame(lines, columns=["first", "second", "distance"]).assign(seed=0)
    >>> bias_map(frame, ax=plt.figure().subplots()).get_title(loc="left")
    'Bias 0.05 without the modality and 0.10 with it; the oracles lie 0.30 apart'
    """
    table = distances.assign(pair=distances["first"] + "|" + distances["second"])
    at = table.pivot_table(index="seed", columns="pair", values="distance")
    mean = at.mean()
    ax = _axes(
        ax,
        f"Bias {mean['primo_missing|unimodal']:.2f} without {modality} and "
        f"{mean['primo_complete|multimodal']:.2f} with it; the oracles lie "
        f"{mean['unimodal|multimodal']:.2f} apart",
        f"Distance from the oracle without {modality}",
        f"Distance from the oracle with {modality}",
    )

    def column(pair):
        return at[pair] if pair in at else pd.Series(0.0, index=at.index)

    gap = at["unimodal|multimodal"]
    without, with_it = f"without {modality}", f"with {modality}"
    points = {  # label: x, y, marker, colour
        f"oracle {without}, another seed": (column("unimodal|unimodal"), gap, "s", MISSING),
        f"oracle {with_it}, another seed": (gap, column("multimodal|multimodal"), "s", COMPLETE),
    }
    for scenario, name, colour in (("missing", without, MISSING), ("complete", with_it, COMPLETE)):
        x, y = (at[f"primo_{scenario}|{oracle}"] for oracle in ("unimodal", "multimodal"))
        points[f"PRIMO {name}"] = (x, y, "o", colour)
    for label, (x, y, marker, colour) in points.items():
        face = "none" if marker == "s" else colour
        ax.scatter(x, y, marker=marker, facecolors=face, edgecolors=colour, s=55, linewidths=1.5, label=label)
    top = 1.15 * max(line.max() for _, line in at.items())
    ax.plot([0, top], [0, top], color=GREY, linewidth=1, linestyle=":")
    ax.text(0.98 * top, 0.93 * top, "as far from both", color=GREY, ha="right", fontsize="small")
    ax.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def shares_by_group(
    shares: pd.DataFrame, groups, group: str = "Group", label: str = "label", ax: Axes | None = None
) -> Axes:
    """Plausible labels of groups of rows: the mean share of each label (Figure 7).

    Parameters
    ----------
    shares
        ``[N, C]``, from ``plausible_label_shares``.
    groups
        The group of each row ``[N]``, as of ``pandas.cut``.
    group, label
        What the groups and labels are, for the axis and the legend.

    Examples
    --------
    >>> shares = pd.DataFrame({"alive": [0.9, 0.7, 0.5], "dead": [0.1, 0.3, 0.5]})
    >>> ax = shares_by_group(shares, ["young", "young", "old"], "Age", "outcome", ax=plt.figure().subplots())
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['old\\n1 row', 'young\\n2 rows']
    """
    by = pd.Series(groups).reset_index(drop=True)
    grouped = shares.reset_index(drop=True).groupby(by, observed=True)
    means, rows = grouped.mean(), grouped.size()
    ax = _axes(
        ax, f"Plausible values of {label}, by {group.lower()}", group, "Mean share among plausible labels"
    )
    # Two labels get two hues; more are taken for an order, from dark to light.
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


def latent_completions(
    missing: pd.DataFrame, completions: pd.DataFrame, name: str = "", ax: Axes | None = None
) -> Axes:
    """The latent of one row before and after the modality is seen, in two dimensions.

    The grey ellipses hold one and two standard deviations of p(z | x_o). Every coloured one is
    p(z | x_o, x_m) for another x_m, one standard deviation, its colour and marker the label that it leads to.
    In a latent that works, grey covers all colours and the colours lie apart.

    Parameters
    ----------
    missing
        ``mean_1, mean_2, scale_1, scale_2`` of p(z | x_o), one line.
    completions
        The same of p(z | x_o, x_m), a line for each x_m, and ``label``.
    name
        Goes before the title.

    Examples
    --------
    >>> missing = pd.DataFrame({"mean_1": [0.0], "mean_2": 0.0, "scale_1": 1.0, "scale_2": 1.0})
    >>> completions = pd.DataFrame({"mean_1": [-1.0, 1.0], "mean_2": 0.0, "scale_1": 0.1, "scale_2": 0.1,
    ...                             "label": [0, 1]})
    >>> latent_completions(missing, completions, ax=plt.figure().subplots()).get_title(loc="left")
    'Completions of different labels lie 20.0 standard deviations apart'
    """
    means, scales = ["mean_1", "mean_2"], ["scale_1", "scale_2"]
    centres = completions.groupby("label")[means].mean().to_numpy()
    typical = np.sqrt(np.square(completions[scales]).mean()).to_numpy()
    pairs = [(a, b) for i, a in enumerate(centres) for b in centres[:i]]
    apart = np.mean([np.linalg.norm((a - b) / typical) for a, b in pairs]) if pairs else 0.0
    title = f"Completions of different labels lie {apart:.1f} standard deviations apart"
    title = f"{name}\n{title}" if name else title
    ax = _axes(ax, title, "First latent dimension (no unit)", "Second latent dimension (no unit)")

    def ellipse(line, deviations, **style):
        widths = [2 * deviations * line[scale] for scale in scales]
        ax.add_patch(Ellipse(tuple(line[means]), *widths, **style))

    before = missing.iloc[0]
    for deviations in (2, 1):
        ellipse(before, deviations, facecolor=GREY, alpha=0.15, edgecolor="none")
    ax.plot([], [], color=GREY, linewidth=8, alpha=0.4, label="before: p(z | x_o), 1 and 2 sd")
    styles = zip([BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW], "o^sDvPX", strict=True)
    for (label, lines), (colour, marker) in zip(completions.groupby("label"), styles, strict=False):
        for _, line in lines.iterrows():
            ellipse(line, 1, facecolor="none", edgecolor=colour, alpha=0.35)
        ax.scatter(
            *lines[means].to_numpy().T, color=colour, marker=marker, s=18,
            label=f"after: p(z | x_o, x_m), 1 sd, leads to label {label}",
        )  # fmt: skip
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15))
    return ax
