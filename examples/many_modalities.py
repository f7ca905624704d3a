"""Many modalities, a latent each: the worth of each of them, alone, together, and once others are present.

    python examples/many_modalities.py --out out/many

Modalities are added one by one to two problems whose exact answers are known. A modality that may be absent
has a latent, which stands for what it would tell about the label; a question has in play the latents of what
it asks about, and no other absent ones.

*A copy.* The label is the xor of two signs, that of ``o``, which is always present, and that of ``m``. First
``m`` alone may be absent. Then ``twin`` is added, which repeats ``m``. Look at V of the twin: it is that of
``m`` as long as ``m`` is absent too, and 0 once ``m`` is present. Both together are worth no more than one.

*Three signs.* The label is the xor of three signs, those of ``o``, ``m1`` and ``m2``. First the model knows
of no ``m2``, and ``m1`` alone may be absent. Then ``m2`` is added. Look at rows with o near 1: there neither
of the two tells anything alone, and both together tell everything. So the worth of a set is not the sum of
its members, and what one of them is worth depends on whether the other one is present.

Printed is a line for each question: V and the exact V*, means over new rows, and by how much V of a row is
off on average. ``many_modalities.png`` shows single rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis.plots import impact_against_truth
from primo_pyro.analysis.plots.style import BLUE, GREEN, ORANGE, titled_axes
from primo_pyro.data import make_three_signs, make_xor_twins, three_signs_impact, xor_twins_impact
from primo_pyro.studies.figures import new_figure, save_figure

NEW_ROWS = 1000  # for the questions
SETTINGS = {"latent_dim": 2, "hidden_dim": 64, "batch_size": 128, "learning_rate": 1e-2, "patience": None}
V = "V: expected change of the prediction"

Question = tuple[Sequence[str], Sequence[str]]  # optional modalities that are present, and those asked about


def answers(
    make: Callable[..., tuple[Modalities, np.ndarray]],
    exact: Callable[[Modalities, Sequence[str]], np.ndarray],
    questions: Mapping[Sequence[str], Sequence[Question]],
    args: argparse.Namespace,
) -> pd.DataFrame:
    """Train with each set of optional modalities, and ask its questions: a line for each question and row.

    Parameters
    ----------
    make, exact
        Generate rows, and tell the exact impact of a set.
    questions
        Optional modalities to the questions that are asked of a model that has a latent for each of them.
    args
        Flags: ``rows`` and ``epochs``.
    """
    x, y = make(args.rows, random_state=0)
    new, _ = make(NEW_ROWS, random_state=1)
    parts = []
    for optional, of_model in questions.items():
        clf = PrimoClassifier(optional, max_epochs=args.epochs, random_state=0, **SETTINGS)
        clf.fit(x.select("o", *optional).drop_at_random(*optional, random_state=2), y)
        for present, asked in of_model:
            absent = [m for m in new.names if m not in ("o", *present)]
            rows = new.drop(*absent)
            part = clf.predictive_impact(rows.select("o", *optional), asked)[["impact"]]
            part["exact"], part["o"] = exact(rows, asked), new.values["o"][:, 0]
            labels = [" + ".join(names) for names in (optional, ("o", *present), asked)]
            parts.append(part.assign(**dict(zip(["optional", "present", "asked"], labels, strict=True))))
    return pd.concat(parts)


def print_answers(title: str, found: pd.DataFrame) -> None:
    """A line for each question."""
    found = found.assign(error=(found["impact"] - found["exact"]).abs())
    means = found.groupby(["optional", "present", "asked"], sort=False)[["impact", "exact", "error"]].mean()
    names = {"impact": "V", "exact": "exact V*", "error": "off by"}
    print(f"\n{title}\n{means.rename(columns=names).to_string(float_format='{:.3f}'.format)}")


def draw_over_o(found: pd.DataFrame, title: str, ax: Axes) -> None:
    """V of rows (points) and exact V* (lines) over ``o``, a colour for each question."""
    titled_axes(ax, title, "o", V)
    styles = zip((ORANGE, BLUE, GREEN), "osD", strict=True)
    for ((present, asked), part), (colour, marker) in zip(
        found.groupby(["present", "asked"], sort=False), styles, strict=False
    ):
        part = part.sort_values("o")
        ax.plot(part["o"], part["impact"], marker, color=colour, markersize=3, alpha=0.4, markeredgewidth=0)
        ax.plot(part["o"], part["exact"], color=colour, linewidth=1.5)
        ax.plot([], [], marker + "-", color=colour, label=f"{asked}, {present} present")
    ax.set_ylim(0, 0.62)
    ax.legend(frameon=False, loc="upper left", fontsize="small", title="points: V; lines: exact", ncols=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=8000, help="training rows of each problem")
    parser.add_argument("--epochs", type=int, default=10, help="of each training")
    parser.add_argument("--out", type=Path, default=Path("out/many"), help="folder for the picture")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    nothing: Sequence[str] = ()
    copies = answers(
        make_xor_twins,
        xor_twins_impact,
        {
            ("m",): [(nothing, ("m",))],
            ("m", "twin"): [
                (nothing, ("m",)),
                (nothing, ("twin",)),
                (nothing, ("m", "twin")),
                (("m",), ("twin",)),
            ],
        },
        args,
    )
    print_answers("A copy: worth as much as m while m is absent, and nothing once m is present", copies)
    signs = answers(
        make_three_signs,
        three_signs_impact,
        {
            ("m1",): [(nothing, ("m1",))],
            ("m1", "m2"): [
                (nothing, ("m1",)),
                (nothing, ("m2",)),
                (nothing, ("m1", "m2")),
                (("m2",), ("m1",)),
                (("m1",), ("m2",)),
            ],
        },
        args,
    )
    print_answers("Three signs: a set is not the sum of its members", signs)

    figure = new_figure(16, 5)
    axes = figure.subplots(1, 3)
    twin = copies[copies["asked"] == "twin"]
    draw_over_o(twin, "A copy of m: worth m while m is absent, else nothing", axes[0])
    signs = signs[signs["optional"] == "m1 + m2"]
    alone = signs["present"] == "o"
    draw_over_o(signs[alone], "Three signs: each alone, and both together", axes[1])
    given = signs[~alone]
    impact_against_truth(given["impact"], given["exact"], ax=axes[2])
    title = "Each of m1 and m2 with the other one present:\n" + axes[2].get_title(loc="left")
    axes[2].set_title(title, loc="left", fontsize="medium")
    save_figure(figure, args.out / "many_modalities.png")


if __name__ == "__main__":
    main()
