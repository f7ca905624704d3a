"""The picture and the page of a run."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from primo_pyro.analysis.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, titled_axes

__all__ = ["draw", "ratios", "slopes", "write"]

# What is compared with what: part, ours, rival, what the picture calls it, colour.
PAIRS = [
    ("step", "primo", "by hand", "training step / the same by hand", BLUE),
    ("step", "primo", "multimodal", "training step / plain multimodal network", GREY),
    ("epoch", "primo", "by hand", "epoch / the same by hand", GREEN),
    ("epoch", "primo", "multimodal", "epoch / plain multimodal network", PURPLE),
    ("prediction", "predict_proba", "by hand", "probabilities / V by hand", GREEN),
    ("prediction", "predictive_impact", "by hand", "V / the same by hand", BLUE),
    ("prediction", "predictive_impact", "Predictive, parallel", "V / Predictive(parallel=True)", ORANGE),
    ("prediction", "predictive_impact", "Predictive, one by one", "V / Predictive(parallel=False)", RED),
    ("prediction", "each", "all together", "V of each modality / of all together", PURPLE),
    ("labels", "primo", "scikit-learn", "plausible labels / scikit-learn", GREY),
    (
        "labels",
        "primo, elapsed",
        "scikit-learn, joblib, elapsed",
        "plausible labels / scikit-learn, two processes",
        "black",
    ),
]


def ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Ours over the rival's within each turn: columns part, case, comparison, colour, median, least, most.

    >>> lines = [("step", "XOR", what, 0, value, "ms") for what, value in (("primo", 3.0), ("by hand", 2.0))]
    >>> frame = pd.DataFrame(lines, columns=["part", "case", "what", "turn", "value", "unit"])
    >>> ratios(frame)[["comparison", "median"]].values.tolist()
    [['training step / the same by hand', 1.5]]
    """
    found = []
    for part, ours, rival, comparison, colour in PAIRS:
        lines = frame[(frame["part"] == part) & frame["what"].isin([ours, rival])]
        for case in lines["case"].unique():
            turns = lines[lines["case"] == case].pivot_table(index="turn", columns="what", values="value")
            if {ours, rival} <= set(turns):
                each = turns[ours] / turns[rival]
                found.append((part, case, comparison, colour, each.median(), each.min(), each.max()))
    return pd.DataFrame(found, columns=["part", "case", "comparison", "colour", "median", "least", "most"])


def medians(frame: pd.DataFrame, part: str) -> pd.DataFrame:
    """Median of the turns of a part: columns case, what, value, unit."""
    lines = frame[frame["part"] == part]
    return lines.groupby(["case", "what", "unit"], sort=False)["value"].median().reset_index()


def slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """Slope of the logarithm of time over that of each size, one column for V and one for a step."""
    lines = medians(frame, "growth")
    kind, value = lines["what"].str.split(": ", expand=True).to_numpy().T
    lines = lines.assign(kind=kind, x=value.astype(float))
    table = pd.DataFrame(
        {"size": size, "of": of, "slope": np.polyfit(np.log(part["x"]), np.log(part["value"]), 1)[0]}
        for (size, of), part in lines.groupby(["case", "kind"], sort=False)
    )
    return table.pivot_table(index="size", columns="of", values="slope", sort=False)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Ratios of training and of prediction, growth, and memory."""
    figure = Figure(figsize=(13, 10), layout="constrained")
    (training, prediction), (growth, memory) = figure.subplots(2, 2)
    table = ratios(frame)
    is_training = table["part"].isin(["step", "epoch"])
    _dots(training, table[is_training], "Training: times as long as the rival")
    _dots(prediction, table[~is_training], "Prediction: times as long as the rival")
    lines = medians(frame, "growth")
    titled_axes(
        growth, "How the time of a prediction with V grows", "times the smallest size", "times its time"
    )
    for colour, case in zip((BLUE, ORANGE, GREEN, RED, PURPLE), lines["case"].unique(), strict=False):
        of = lines[(lines["case"] == case) & lines["what"].str.startswith("V")]
        x = of["what"].str.removeprefix("V: ").astype(float).to_numpy()
        growth.plot(x / x[0], of["value"] / of["value"].iloc[0], "o-", color=colour, label=case)
    if len(lines):
        growth.plot([1, 8], [1, 8], ":", color=GREY, label="in proportion")
        growth.set(xscale="log", yscale="log")
        _plain_numbers(growth.xaxis)
        _plain_numbers(growth.yaxis)
        growth.legend(frameon=False)
    peaks = medians(frame, "memory").query("what == 'above before'")
    titled_axes(memory, "Peak memory above what the process had before", "MB", "")
    memory.barh(peaks["case"], peaks["value"], color=BLUE)
    memory.invert_yaxis()
    figure.savefig(path, dpi=110)


def _dots(ax: Axes, table: pd.DataFrame, title: str) -> None:
    titled_axes(ax, title, "left of the line: faster than the rival", "")
    cases = list(dict.fromkeys(table["case"]))
    comparisons = list(dict.fromkeys(table["comparison"]))
    for place, comparison in enumerate(comparisons):
        of = table[table["comparison"] == comparison]
        y = [cases.index(case) + 0.7 * (place + 0.5) / len(comparisons) - 0.35 for case in of["case"]]
        errors = [of["median"] - of["least"], of["most"] - of["median"]]
        ax.errorbar(of["median"], y, xerr=errors, fmt="o", color=of["colour"].iloc[0], label=comparison)
    ax.axvline(1, color="black", linewidth=1)
    ax.set(xscale="log", yticks=range(len(cases)), yticklabels=cases)
    _plain_numbers(ax.xaxis)
    ax.invert_yaxis()
    if len(table):
        ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _plain_numbers(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def write(frame: pd.DataFrame, path: Path, command: str, seconds: float, load: float) -> None:
    """The page of a run, by a command that took some seconds on a machine of some load."""
    table = ratios(frame)
    text = [
        "# Speed and memory",
        "",
        f"Written by `{command}` in {seconds:.0f} seconds, torch {torch.__version__} on one thread of "
        f"{platform.machine()}; load of the machine at the end {load:.1f}. Times are processor times, but "
        "where elapsed time is named, since processes work beside each other. Rivals take turns; a ratio is "
        "taken within a turn, and given as the median of the turns, with the least and the most in brackets. "
        "Below 1: faster than the rival. *By hand*: the same networks and the same numbers in plain PyTorch "
        "(`benchmarks/bench/plain.py`; a test holds both equal). *Plain multimodal network*: the same "
        "encoders, fused late, by cross-entropy; it has no latents and says no V.",
        "",
        "![Ratios of training and of prediction, growth, and memory](images/performance.png)",
    ]  # fmt: skip
    titles = {
        "step": "A training step",
        "epoch": "An epoch of `fit`, with all it does around the steps",
        "prediction": "Predictions and V",
        "labels": "Plausible labels",
    }
    for part, title in titles.items():
        of = table[table["part"] == part]
        if len(of):
            cells = [
                f"{m:.3g} ({a:.3g} to {b:.3g})" for m, a, b in of[["median", "least", "most"]].to_numpy()
            ]
            wide = of.assign(cell=cells).pivot_table(
                index="case", columns="comparison", values="cell", aggfunc="first", sort=False
            )
            text += ["", f"## {title}", "", *_markdown(wide.fillna("")), ""]
            numbers = medians(frame, part)
            named = numbers["what"] + ", " + numbers["unit"]
            wide = numbers.assign(named=named).pivot_table(
                index="case", columns="named", values="value", sort=False
            )
            text += _markdown(wide.map(lambda v: "" if np.isnan(v) else f"{v:.3g}"))
    if "fit" in set(frame["part"]):
        found = medians(frame, "fit").pivot_table(index="case", columns="what", values="value", sort=False)
        text += ["", "## A whole `fit` by default settings", "", *_markdown(found.map(lambda v: f"{v:.3g}"))]
    if (frame["what"] == "error of as many independent draws").any():
        errors = frame[frame["what"] == "error of as many independent draws"]["value"].iloc[0]
        faster = 1 / table[table["comparison"] == "V / Predictive(parallel=True)"]["median"].iloc[0]
        text += [
            "",
            f"As many independent draws, which `Predictive` makes, have {errors:.3g} times the squared error "
            f"of Sobol draws. At equal Monte Carlo error V is therefore {errors * faster:.3g} times as fast "
            "as `Predictive(parallel=True)`.",
        ]
    if "growth" in set(frame["part"]):
        growth = slopes(frame).map(lambda v: "" if np.isnan(v) else f"{v:.2f}")
        text += ["", "## Growth", "", "Slope of log time over log size; 1 is in proportion.", ""]
        text += _markdown(growth.rename_axis("size"))
    peaks = medians(frame, "memory")
    if len(peaks):
        text += [
            "",
            "## Memory",
            "",
            "Megabytes at the peak: above those of before, and in all.",
            "",
        ]
        table = peaks.pivot_table(index="case", columns="what", values="value", sort=False)
        text += _markdown(table.map(lambda v: f"{v:.3g}"))
    of = medians(frame, "rate")
    if len(of):
        text += ["", "## Share of the machine's rate", ""]
        table = of.set_index("what")[["value"]].rename(columns={"value": of["unit"].iloc[0]})
        table["share"] = table.iloc[:, 0] / table.iloc[0, 0]
        text += _markdown(table.map(lambda v: f"{v:.3g}"))
    if "checks" in set(frame["part"]):
        shares = medians(frame, "checks").pivot_table(
            index="case", columns="what", values="value", sort=False
        )
        text += [
            "",
            "## Checks",
            "",
            "Percent of the time of a call that goes into looking at what came in.",
            "",
        ]
        text += _markdown(shares.fillna(0).map(lambda v: f"{v:.2f}"))
    path.write_text("\n".join(text) + "\n")


def _markdown(table: pd.DataFrame) -> list[str]:
    head = [table.index.name or "", *map(str, table.columns)]
    rows = [[str(index), *map(str, row)] for index, row in zip(table.index, table.to_numpy(), strict=True)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
