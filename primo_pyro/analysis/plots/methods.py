"""Pictures that compare methods: their scores, and the distances between their predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from primo_pyro.analysis.plots.style import BLUE, COMPLETE, GREY, MISSING, RED, titled_axes

__all__ = ["bias_map", "method_scores", "paired_differences"]


def method_scores(
    results: pd.DataFrame,
    metric: str,
    label: str,
    limits: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A score of each method in both scenarios, missing and complete (Figure 3, left).

    Parameters
    ----------
    results
        ``method, scenario, seed, metric, value``, as from `primo_pyro.studies.comparison.compare`. A dot is
        the mean over seeds, its bar the standard deviation.
    metric
        Which metric to show.
    label
        Name of the metric, with its unit in brackets, for the axis.
    limits
        The best possible value for the scenarios ``missing`` and ``complete``, where it is known.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> one = {"method": "unimodal", "metric": "accuracy"}
    >>> results = pd.DataFrame([one | {"scenario": "missing", "seed": 0, "value": 0.65},
    ...                         one | {"scenario": "complete", "seed": 0, "value": 0.66}])
    >>> ax = method_scores(results, "accuracy", "Accuracy", {"missing": 0.659}, ax=Figure().subplots())
    >>> ax.get_title(loc="left")
    'Accuracy of each method; dashed line: best possible value'
    """
    limits = limits or {}
    title = f"{label.split(' (')[0]} of each method"
    title += "; dashed line: best possible value" if limits else ""
    ax = titled_axes(ax, title, label, "")
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
    ax.legend(frameon=False, title="scenario", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def bias_map(distances: pd.DataFrame, modality: str = "the modality", ax: Axes | None = None) -> Axes:
    """Distances of PRIMO's averaged predictions from two oracles (Figure 10).

    Each point is one seed. x is its distance from the oracle without the modality, y that from the oracle
    with it; a good model is near the oracle of its scenario.

    Parameters
    ----------
    distances
        From `primo_pyro.studies.bias.bias_analysis`.
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
    >>> lines = [("primo_missing", "unimodal", 0.05), ("primo_missing", "multimodal", 0.3),
    ...          ("primo_complete", "unimodal", 0.3), ("primo_complete", "multimodal", 0.1),
    ...          ("unimodal", "multimodal", 0.3)]
    >>> frame = pd.DataFrame(lines, columns=["first", "second", "distance"]).assign(seed=0)
    >>> bias_map(frame, ax=Figure().subplots()).get_title(loc="left")
    'Bias 0.05 without the modality and 0.10 with it; distance of the oracles 0.30'
    """
    table = distances.assign(pair=distances["first"] + "|" + distances["second"])
    at = table.pivot_table(index="seed", columns="pair", values="distance")
    mean = at.mean()
    ax = titled_axes(
        ax,
        f"Bias {mean['primo_missing|unimodal']:.2f} without {modality} and "
        f"{mean['primo_complete|multimodal']:.2f} with it; distance of the oracles "
        f"{mean['unimodal|multimodal']:.2f}",
        f"Distance from the oracle without {modality}",
        f"Distance from the oracle with {modality}",
    )

    def column(pair: str) -> pd.Series:
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
    ax.text(0.98 * top, 0.93 * top, "equal distance from both", color=GREY, ha="right", fontsize="small")
    ax.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def paired_differences(differences: pd.DataFrame, label: str, method: str, ax: Axes | None = None) -> Axes:
    """A method less each rival, table by table, with two standard errors to each side.

    Parameters
    ----------
    differences
        ``table, rival, difference, error``, of a loss: below 0 the method is better. A line whose rival is
        ``"best"`` is not drawn: it repeats another one.
    label
        Name of the loss, with its unit in brackets.
    method
        Name of the method.
    ax
        The axes to draw on; None: the current axes.

    Returns
    -------
    Axes
        Those that were drawn on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> frame = pd.DataFrame({"table": ["hearts"] * 2, "rival": ["forest", "logistic"],
    ...                       "difference": [-0.02, 0.01], "error": [0.005, 0.01]})
    >>> paired_differences(frame, "log loss (nats)", "primo", ax=Figure().subplots()).get_title(loc="left")
    'Left of 0 primo is better; 2 standard errors, coloured where they leave out 0'
    """
    frame = differences[differences["rival"] != "best"]
    title = f"Left of 0 {method} is better; 2 standard errors, coloured where they leave out 0"
    ax = titled_axes(ax, title, f"{method} less rival, {label}", "")
    names, at = [], []
    height = 0.0
    for table, lines in frame.groupby("table", sort=False):
        ax.text(
            -0.02, height, str(table).replace("_", " "), transform=ax.get_yaxis_transform(),
            ha="right", va="center", weight="bold",
        )  # fmt: skip
        for rival, difference, error in lines[["rival", "difference", "error"]].itertuples(index=False):
            height += 1
            error = 0 if np.isnan(error) else 2 * error
            clear = abs(difference) > error
            colour = GREY if not clear else BLUE if difference < 0 else RED
            marker = "o" if not clear else "<" if difference < 0 else ">"
            ax.errorbar(difference, height, xerr=error, color=colour, marker=marker, capsize=3)
            names.append(rival)
            at.append(height)
        height += 1.5
    ax.axvline(0, color="black", linewidth=1, zorder=0)
    ax.set_yticks(at, names)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(height - 0.5, -0.75)
    ax.grid(axis="x", color=GREY, alpha=0.2)
    return ax
