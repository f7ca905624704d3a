"""The picture at the top of README: two top halves of digits, what their bottom halves could change, and V.

    python docs/draw_hero.py

Fits `PrimoClassifier` to scikit-learn's digits, whose bottom half is missing in half of the training
rows, and draws two new rows: one whose missing half matters, and one whose missing half does not. All that
the picture says is of this fit; ``--model FOLDER`` keeps the fit, or draws from one that was kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE
from primo_pyro.data import load_digits_halves
from primo_pyro.data.digits import SIDE
from primo_pyro.studies.protocols import DIGIT_HALVES

PICTURE = Path(__file__).with_name("images") / "hero.png"
TRAINING = 1257  # rows; the others are new
SHOWN = 4  # draws
DARK, PALE = "#222222", "#FBF3E2"
HEADS = {  # of the columns, at their middle in inches
    1.2: "a row, and\nwhat is missing",
    4.12: "what the missing half could say:\npredictions by four draws of z",
    7.35: "the prediction:\naverage over draws",
    10.4: "V: how far the missing half\nis expected to move it",
}


def fitted(folder: Path | None) -> tuple[PrimoClassifier, Modalities, np.ndarray]:
    """The classifier, and rows and labels that it was not trained on."""
    x, y = load_digits_halves()
    order = np.random.default_rng(0).permutation(len(y))
    train, new = order[:TRAINING], order[TRAINING:]
    if folder is not None and folder.exists():
        return PrimoClassifier.load(folder), x[new], y[new]
    settings = DIGIT_HALVES.networks | DIGIT_HALVES.primo
    clf = PrimoClassifier(**settings, max_epochs=40, random_state=0)
    clf.fit(x[train].drop_at_random("bottom", random_state=0), y[train])
    if folder is not None:
        clf.save(folder)
    return clf, x[new], y[new]


def two_rows(clf: PrimoClassifier, x: Modalities) -> tuple[int, int]:
    """A row whose hidden half matters, with two candidates of nearly equal weight, and one where it does not.

    Of the latter the one whose top half is most like the first one's: alike rows may differ in V.
    """
    hidden = x.drop("bottom")
    p, v = np.sort(clf.predict_proba(hidden), axis=1), clf.predictive_impact(hidden)["impact"].to_numpy()
    matters = int(np.argmax(np.where(p[:, -3] < 0.05, v, 0.0)))
    top = x.values["top"]
    settled = np.flatnonzero((v < 0.02) & (p[:, -1] > 0.97))
    return matters, int(settled[np.square(top[settled] - top[matters]).sum(1).argmin()])


def draw_digit(ax: Axes, x: Modalities, *, revealed: bool) -> None:
    """The top half with the bottom half hatched, or revealed."""
    image = np.full((SIDE, SIDE), np.nan)
    image[: SIDE // 2] = x.values["top"].reshape(-1, SIDE)
    if revealed:
        image[SIDE // 2 :] = x.values["bottom"].reshape(-1, SIDE)
    ax.imshow(image, cmap="Greys", vmin=0, vmax=1.1)
    if not revealed:
        ax.axhspan(SIDE / 2 - 0.5, SIDE - 0.5, facecolor=PALE, edgecolor=ORANGE, hatch="//", linewidth=0)
        ax.text(SIDE / 2 - 0.5, SIDE * 0.75 - 0.5, "?", ha="center", va="center", fontsize=24, color=ORANGE,
                weight="bold")  # fmt: skip
    ax.set(xticks=[], yticks=[])


def draw_prediction(ax: Axes, p: np.ndarray, colours: Mapping[int, str]) -> None:
    """Ten bars, those of the likely digits in their colours."""
    ax.bar(range(10), p, color=[colours.get(c, GREY) for c in range(10)], width=0.8)
    ax.set(ylim=(0, 1.04), xlim=(-0.6, 9.6), yticks=[])
    ax.set_xticks(range(10), [str(c) for c in range(10)])
    ax.tick_params(labelsize=8, length=0, pad=2)
    ax.spines[["top", "right", "left"]].set_visible(False)


def typical_draws(p: np.ndarray) -> np.ndarray:
    """Of draws ``[K, C]`` a few, in the shares in which labels occur among all."""
    order = np.lexsort((p.max(1), p.argmax(1)))  # by label, and then by how sure they are
    return p[order[((np.arange(SHOWN) + 0.5) * len(p) / SHOWN).astype(int)]]


def verdict(p: np.ndarray, v: float) -> str:
    """What the prediction says in words."""
    likely = np.argsort(-p)[: 1 + int(v > 0.1)]
    names = " or ".join(str(label) for label in sorted(likely))
    return f"{names}: look at the missing half" if v > 0.1 else f"{names}, whatever is missing"


def draw(clf: PrimoClassifier, x: Modalities, y: np.ndarray) -> Figure:
    """The whole picture."""
    width, height = 12.0, 5.3
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)

    def axes(left: float, bottom: float, w: float, h: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, w / width, h / height))

    def say(x: float, y: float, text: str, **style: object) -> None:
        figure.text(x / width, y / height, text, **({"ha": "center", "va": "center", "color": DARK} | style))

    def line(start: tuple[float, float], end: tuple[float, float], **style: object) -> None:
        ends = [(x / width, y / height) for x, y in (start, end)]
        figure.add_artist(FancyArrowPatch(*ends, transform=figure.transFigure, **style))

    for place, text in HEADS.items():
        say(place, height - 0.4, text, fontsize=12, weight="bold", linespacing=1.25)
    chosen = two_rows(clf, x)
    hidden = x[list(chosen)].drop("bottom")
    draws, impact = clf.sample_predictions(hidden, 512), clf.predictive_impact(hidden)["impact"].to_numpy()
    likely = np.flatnonzero(draws.mean(0).max(0) > 0.1)
    colours = dict(zip(likely.tolist(), (BLUE, ORANGE, GREEN, PURPLE), strict=False))
    for band, row in enumerate(chosen):
        one, p, middle = x[[row]], draws[:, band], 3.55 - 2.3 * band
        draw_digit(axes(0.35, middle - 0.85, 1.7, 1.7), one, revealed=False)
        for i, of_draw in enumerate(typical_draws(p)):
            across, down = i % 2, i // 2
            draw_prediction(
                axes(2.75 + 1.45 * across, middle + 0.12 - 1.05 * down, 1.3, 0.78), of_draw, colours
            )
        draw_prediction(axes(6.3, middle - 0.8, 2.1, 1.6), p.mean(0), colours)
        for start, end in (2.15, 2.6), (5.65, 6.15), (8.5, 8.95):
            line(
                (start, middle), (end, middle), arrowstyle="-|>", mutation_scale=16, color=GREY, linewidth=1.5
            )
        say(10.4, middle + 0.55, f"V = {impact[band]:.2f}", fontsize=27, weight="bold")
        say(10.4, middle + 0.03, verdict(p.mean(0), impact[band]), fontsize=12)
        draw_digit(axes(9.5, middle - 0.98, 0.72, 0.72), one, revealed=True)
        say(10.35, middle - 0.62, f"revealed: it is a {y[row]}", fontsize=11, color="#555555", ha="left")
    line((0.3, 2.42), (width - 0.3, 2.42), arrowstyle="-", color="#DDDDDD")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of the fitted model")
    parser.add_argument("--out", type=Path, default=PICTURE)
    args = parser.parse_args()
    draw(*fitted(args.model)).savefig(args.out, dpi=150)


if __name__ == "__main__":
    main()
