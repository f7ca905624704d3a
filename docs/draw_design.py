"""The two pictures of docs/design.md: the rooms with their imports, and the path of a batch.

    python docs/draw_design.py

Rooms and imports are read off the code. The functions on the path are named by hand and looked up: a name
that no file defines, or a room without a description, ends the script with an error.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path as File
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from sklearn.isotonic import IsotonicRegression

PACKAGE = File(__file__).resolve().parents[1] / "primo_pyro"
PATH = File(__file__).with_name("batch.txt")
FRONT = "primo_pyro"  # the package's own __init__

# What each room is for, and its colour.
ROOMS = {
    "errors": ("what can be wrong with what a user brings", "grey"),
    "identity": ("which row is which, and which column", "grey"),
    "blocks": ("one block of values, read or refused", "grey"),
    "patterns": ("which rows have which modalities", "grey"),
    "cells": ("cells of a column as numbers", "grey"),
    "columns": ("what a column of a table is", "grey"),
    "table_files": ("tables of files", "grey"),
    "tables": ("tables as they are, made modalities", "grey"),
    "rows": ("rows that stay in files, by shards", "grey"),
    "row_files": ("Parquet, NumPy files, data sets", "grey"),
    "door": ("rows and labels checked together", "grey"),
    "arrays": ("tensors of any kind as arrays", "grey"),
    "parameters": ("what constructor parameters may be", "grey"),
    "locks": ("one thread at a time in Pyro", "grey"),
    "files": ("files that are old or new, never half", "grey"),
    "progress": ("progress bars", "green"),
    "processes": ("several processes that train as one", "green"),
    "lifecycle": ("fitted whole, or not fitted", "green"),
    "schedule": ("how long and how fast to train", "green"),
    "checkpoints": ("that know their training", "green"),
    "divergence": ("where training stops being finite", "green"),
    "model_files": ("the files of a saved model", "grey"),
    "saved_values": ("values that JSON does not know", "grey"),
    "modalities": ("rows: values and presence of each modality", "grey"),
    "data": ("data sets, one file each", "grey"),
    "program": ("the probabilistic program and its loss", "blue"),
    "labels": ("labels as users give them, and as codes", "grey"),
    "held_out": ("which rows choose the epoch", "green"),
    "weights": ("what rows and classes count", "grey"),
    "members": ("several programs as one model", "orange"),
    "training": ("the loop: AdamW, early stopping, resume", "green"),
    "summaries": ("what draws say of a row", "orange"),
    "direct": ("draws of the package's own story", "orange"),
    "draws": ("latents from noise that all rows share", "orange"),
    "prediction": ("averages over draws, and V", "orange"),
    "reading": ("rows as estimators read them", "green"),
    "estimator": ("one fit for PRIMO and the baselines", "green"),
    "analysis": ("scores, impact, calibration, pictures", "orange"),
    "baselines": ("other methods, one file each", "green"),
    "questions": ("questions about impact", "orange"),
    "revealing": ("what revealing is worth", "orange"),
    "certification": ("what can be promised", "orange"),
    "guarantees": ("decisions with a guarantee", "orange"),
    "diagnosis": ("checks of a fit for known failures", "green"),
    "out_of_fold": ("V and change on held-out rows", "orange"),
    "hiding": ("what rows have, hidden and revealed", "orange"),
    "ensemble": ("trains members, learns from their rows", "green"),
    "persistence": ("save and load, without pickle", "grey"),
    "primo": ("makes the programs, trains, draws, saves", "green"),
    "classifier": ("PRIMO for classes and binary labels", "green"),
    "regressor": ("PRIMO for numbers", "green"),
    "findings": ("what a report says of a classifier", "orange"),
    "scoring": ("frames by a saved model, on any engine", "orange"),
    "studies": ("comparisons of methods on tasks", "purple"),
    "cli": ("the command line", "purple"),
    FRONT: ("what users import", "purple"),
}
COLOURS = {  # face and edge
    "blue": ("#DCEBF7", "#0072B2"),
    "green": ("#DDF1EA", "#009E73"),
    "orange": ("#FCEFD6", "#B37A00"),
    "purple": ("#F5E4EE", "#A84B82"),
    "grey": ("#EFEFEF", "#7F7F7F"),
}
LEGEND = {
    "blue": "the program",
    "green": "fitting",
    "orange": "draws, predictions and impact",
    "purple": "studies and front",
    "grey": "values, files and errors",
}
MONO, SMALL = "DejaVu Sans Mono", 8.5


# --- What the code says --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Code:
    """The files of the package, and what they define and import."""

    trees: Mapping[str, ast.Module]  # by path within the package, as "program/model.py"

    @classmethod
    def read(cls) -> Code:
        files = sorted(PACKAGE.rglob("*.py"))
        return cls({f.relative_to(PACKAGE).as_posix(): ast.parse(f.read_text()) for f in files})

    def rooms(self) -> dict[str, list[str]]:
        """Room to the names of its files; for the front, the names that it exports."""
        rooms: dict[str, list[str]] = {}
        for path in self.trees:
            rooms.setdefault(_room(path), [])
            if "/" in path and not path.endswith("__init__.py"):
                rooms[_room(path)].append(path.partition("/")[2].removesuffix(".py"))
        rooms = {room: sorted({name.partition("/")[0] for name in names}) for room, names in rooms.items()}
        return rooms | {FRONT: self._exports()}

    def _exports(self) -> list[str]:
        """What users import of the package itself."""
        for node in self.trees["__init__.py"].body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return [name for name in ast.literal_eval(node.value) if not name.startswith("__")]
        return []

    def imports(self) -> dict[str, set[str]]:
        """Room to the rooms that its files import from."""
        found: dict[str, set[str]] = {room: set() for room in self.rooms()}
        for path, tree in self.trees.items():
            found[_room(path)] |= {room for room in _imported(tree, found) if room != _room(path)}
        return found

    def file_of(self, name: str) -> str:
        """The file that defines a function, a class, or ``Class.method``."""
        outer, _, inner = name.partition(".")
        for path, tree in self.trees.items():
            for node in tree.body:
                if getattr(node, "name", None) == outer and (not inner or inner in _members(node)):
                    return path
        raise SystemExit(f"No file of {PACKAGE.name} defines {name}. Correct the name in {PATH}.")


def _room(path: str) -> str:
    if path == "__main__.py":  # the command line under another name
        return "cli"
    return FRONT if path == "__init__.py" else path.partition("/")[0].removesuffix(".py")


def _imported(tree: ast.Module, rooms: Mapping[str, object]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            inner = node.module.split(".")[1:]
            names = inner[:1] or [alias.name for alias in node.names]
            yield from (name if name in rooms else FRONT for name in names)
        elif isinstance(node, ast.Import):
            named = [alias.name.split(".") for alias in node.names]
            yield from (parts[1] if len(parts) > 1 else FRONT for parts in named if parts[0] == PACKAGE.name)


def _members(node: ast.AST) -> set[str]:
    return {getattr(child, "name", "") for child in getattr(node, "body", [])}


# --- Boxes ---------------------------------------------------------------------------------------------


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose axes are in inches, without a frame."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return figure, ax


def draw_box(ax: Axes, x: float, top: float, width: float, height: float, colour: str) -> None:
    """A rounded box, centred at x."""
    face, edge = COLOURS[colour]
    box = FancyBboxPatch(
        (x - width / 2, top - height), width, height, boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=face, edgecolor=edge, linewidth=1.2, zorder=2,
    )  # fmt: skip
    ax.add_patch(box)


def write(ax: Axes, x: float, y: float, text: str, **style: object) -> None:
    """Text whose upper edge lies at y."""
    ax.text(x, y, text, **({"va": "top", "ha": "center", "fontsize": SMALL, "zorder": 3} | style))


def draw_arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From a box down to the next one."""
    style = {"arrowstyle": "-|>", "color": "#555555", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 1}
    ax.annotate("", end, start, arrowprops=style, zorder=1)


def draw_legend(ax: Axes, x: float, y: float, colours: Iterable[str] = LEGEND) -> None:
    """One line for each colour, downwards from y."""
    for i, colour in enumerate(colours):
        draw_box(ax, x, y - 0.24 * i, 0.22, 0.15, colour)
        write(ax, x + 0.2, y - 0.24 * i + 0.01, LEGEND[colour], ha="left")


# --- (a) The rooms and their imports -------------------------------------------------------------------

# In inches: widths of a room and of a passing arrow, heights of a line of text and of the gap between floors.
ROOM, LANE, LINE, GAP = 2.75, 0.3, 0.165, 0.48


def floors_of(imports: Mapping[str, set[str]]) -> dict[str, int]:
    """Room to its floor: one above the highest that it imports from."""
    floors: dict[str, int] = {}
    for room in TopologicalSorter(imports).static_order():  # a circle is an error
        floors[room] = max((floors[other] + 1 for other in imports[room]), default=0)
    return floors


def without_implied(imports: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that do not follow from others, as (room, room below)."""

    def reached(room: str) -> set[str]:
        return imports[room].union(*(reached(other) for other in imports[room]))

    return [
        (room, other)
        for room, others in imports.items()
        for other in sorted(others)
        if not any(other in reached(via) for via in others - {other})
    ]


def places(floors: Mapping[str, int], edges: list[tuple[str, str]]) -> tuple[dict, list[list]]:
    """Horizontal place of each room, and of each arrow on the floors that it passes.

    Rooms and passing arrows of a floor are put in the order of their neighbours' mean places, and then as
    near to these as their widths allow. A passing arrow is a triple: room, room below, floor.
    """
    chains = []
    for room, below in edges:
        passed = [(room, below, floor) for floor in range(floors[room] - 1, floors[below], -1)]
        chains.append([room, *passed, below])
    on_floor: list[list] = [[] for _ in range(max(floors.values()) + 1)]
    for node in dict.fromkeys(node for chain in chains for node in chain):
        on_floor[node[2] if isinstance(node, tuple) else floors[node]].append(node)
    neighbours: dict = {node: [] for nodes in on_floor for node in nodes}
    for chain in chains:
        for upper, lower in pairwise(chain):
            neighbours[upper].append(lower)
            neighbours[lower].append(upper)
    x = {node: float(i) for nodes in on_floor for i, node in enumerate(nodes)}
    for sweep in range(60):
        for nodes in on_floor if sweep % 2 else on_floor[::-1]:
            target = {node: np.mean([x[other] for other in neighbours[node]]) for node in nodes}
            if sweep < 40:
                nodes.sort(key=target.get)
            half = np.array([LANE if isinstance(node, tuple) else ROOM + 0.3 for node in nodes]) / 2
            offset = np.cumsum(half) + np.concatenate([[0], np.cumsum(half)[:-1]])
            fitted = IsotonicRegression().fit_transform(offset, [target[node] for node in nodes] - offset)
            x |= dict(zip(nodes, fitted + offset, strict=True))
    return x, chains


def draw_rooms(code: Code) -> Figure:
    """Every room on its floor, with an arrow to each room that it imports from."""
    rooms, imports = code.rooms(), code.imports()
    if rooms.keys() != ROOMS.keys():
        odd = sorted(rooms.keys() ^ ROOMS.keys())
        raise SystemExit(f"{odd} differ between {PACKAGE.name} and ROOMS. Correct ROOMS in {__file__}.")
    floors = floors_of(imports)
    x, chains = places(floors, without_implied(imports))
    files = {room: wrap("  ".join(names), 40) for room, names in rooms.items()}
    text = {room: wrap(ROOMS[room][0], 42) for room in rooms}
    height = {room: 0.4 + LINE * (len(text[room]) + len(files[room])) for room in rooms}
    tall = [max(height[room] for room in rooms if floors[room] == f) for f in range(max(floors.values()) + 1)]
    top = np.cumsum([t + GAP for t in tall]) + 0.25  # the upper edge of each floor's rooms
    left = min(x.values()) - ROOM / 2 - 0.75
    figure, ax = canvas(max(x.values()) - left + ROOM / 2 + 0.3, top[-1] + 1.0)
    x = {node: place - left for node, place in x.items()}
    for f, upper in enumerate(top):
        edges = upper - tall[f] - GAP / 2, upper + GAP / 2
        ax.axhspan(*edges, color="black", alpha=0.03 * (f % 2), linewidth=0)
        write(ax, 0.3, upper - tall[f] / 2, str(f), va="center", color="#999999", fontsize=14)
    for chain in chains:
        room, floor = chain[0], floors[chain[0]]
        at = [(x[room], top[floor] - height[room]), (x[room], top[floor] - tall[floor])]
        for node in chain[1:-1]:
            at += [(x[node], top[node[2]]), (x[node], top[node[2]] - tall[node[2]])]
        at.append((x[chain[-1]], top[floors[chain[-1]]]))
        draw_path(ax, at, COLOURS[ROOMS[room][1]][1])
    for room in rooms:
        upper = top[floors[room]]
        draw_box(ax, x[room], upper, ROOM, height[room], ROOMS[room][1])
        write(ax, x[room], upper - 0.07, room, family=MONO, fontsize=11, weight="bold")
        lines = [*text[room], *files[room]]
        for i, line in enumerate(lines):
            style = {} if i < len(text[room]) else {"family": MONO, "fontsize": 7, "color": "#555555"}
            write(ax, x[room], upper - 0.29 - LINE * i - 0.05 * (i >= len(text[room])), line, **style)
    write(ax, 0.3, top[-1] + 0.85, "Rooms of primo_pyro", ha="left", fontsize=15, weight="bold")
    write(
        ax, 0.3, top[-1] + 0.52,
        "An arrow points to what a room imports; imports that follow from others are left out. "
        "Each room stands one floor above the highest that it imports.",
        ha="left", fontsize=9.5,
    )  # fmt: skip
    draw_legend(ax, 0.8, top[1])
    return figure


def draw_path(ax: Axes, points: list[tuple[float, float]], colour: str) -> None:
    """A smooth line from above to below, with an arrow's head at its end."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        vertices += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
        codes += [Path.CURVE4] * 3
    path = Path(vertices, codes)
    style = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.1, "color": colour}
    ax.add_patch(FancyArrowPatch(path=path, **style, alpha=0.8, zorder=1))


# --- (b) The path of a batch ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A box on the path: names of functions, what happens there, and what flows on from there."""

    names: tuple[str, ...]
    text: str
    gives: str


def read_path() -> dict[str, list[Step]]:
    """The parts of the path, each a list of steps from above to below."""
    parts: dict[str, list[Step]] = {}
    for paragraph in PATH.read_text(encoding="utf-8").strip().split("\n\n")[1:]:
        names, _, rest = paragraph.partition("\n")
        if names.startswith("# "):
            chain = parts.setdefault(names[2:], [])
            continue
        text, _, gives = rest.partition("->")
        chain.append(Step(tuple(names.split(", ")), " ".join(text.split()), " ".join(gives.split())))
    return parts


WIDE, NARROW, BETWEEN = 5.4, 2.94, 0.5  # inches: widths of boxes, height of an arrow with its text
SIDES = {-1.53: "bound", 1.53: "terms"}  # the two branches of training, by their distance from the middle


def draw_chain(ax: Axes, code: Code, chain: list[Step], x: float, top: float, width: float) -> float:
    """Boxes from above to below, and what flows between them; returns the lower edge of the last."""
    for i, step in enumerate(chain):
        if i > 0:
            top = draw_flow(ax, chain[i - 1].gives, x, top, width)
        lines = wrap(step.text, int(width * 15.2))
        height = 0.17 + 0.2 * len(step.names) + LINE * len(lines)
        files = [code.file_of(name) for name in step.names]
        draw_box(ax, x, top, width, height, ROOMS[_room(files[0])][1])
        for n, (name, file) in enumerate(zip(step.names, files, strict=True)):
            at = top - 0.06 - 0.2 * n
            write(ax, x - width / 2 + 0.1, at, name, family=MONO, fontsize=8.8, weight="bold", ha="left")
            style = {"family": MONO, "fontsize": 6.3, "color": "#777777", "ha": "right"}
            file = file if width > NARROW else file.rpartition("/")[2]
            write(ax, x + width / 2 - 0.1, at - 0.02, file, **style)
        for n, line in enumerate(lines):
            write(ax, x - width / 2 + 0.1, top - 0.1 - 0.2 * len(step.names) - LINE * n, line, ha="left")
        top -= height
    return top


def draw_flow(ax: Axes, text: str, x: float, top: float, width: float, bottom: float | None = None) -> float:
    """An arrow down with what flows along it, as far as the text needs; returns its end."""
    lines = wrap(text, int(width / 2 * 15))
    if bottom is None:
        bottom = top - (0.32 + LINE * len(lines) if lines else 0.3)
    draw_arrow(ax, (x, top), (x, bottom))
    for n, line in enumerate(lines):
        write(ax, x + 0.1, top - 0.1 - LINE * n, line, ha="left", style="italic", color="#333333")
    return bottom


def draw_path_of_a_batch(code: Code) -> Figure:
    """From ``fit`` to the loss, and from ``predict_proba`` and ``predictive_impact`` to the frame."""
    width, height = 12.6, 13.6
    figure, ax = canvas(width, height)
    fit, predict = 0.3 + 3.05, width - 0.3 - WIDE / 2
    write(ax, 0.3, height - 0.2, "The path of a batch", ha="left", fontsize=15, weight="bold")
    write(
        ax, 0.3, height - 0.55,
        "Functions with the files that define them; between the boxes, what flows. N rows in all, B in a "
        "batch, K draws, H features of a representation,\nd dimensions of a latent, P parameters of the "
        "label's distribution, Q numbers of a prediction, C classes.",
        ha="left", fontsize=9.5,
    )  # fmt: skip
    start = height - 1.5
    heads = {fit: "Training: from fit to the loss", predict: "Prediction: from the question to the answer"}
    for x, text in heads.items():
        write(ax, x, start + 0.35, text, fontsize=12, weight="bold")
    path = read_path()

    def branch(x: float, fork: float, to: float, name: str, wide: float) -> float:
        """A part of the path that begins beside the last one; returns its lower edge."""
        draw_path(ax, [(x, fork), (to, fork - 0.35)], "#555555")
        return draw_chain(ax, code, path[name], to, fork - 0.35, wide)

    fork = draw_chain(ax, code, path["training"], fit, start, 6.0)
    ends = {fit + side: branch(fit, fork, fit + side, name, NARROW) for side, name in SIDES.items()}
    bottom = min(ends.values()) - BETWEEN
    for (x, end), name in zip(ends.items(), SIDES.values(), strict=True):
        draw_flow(ax, path[name][-1].gives, x, end, NARROW, bottom)
    end = draw_chain(ax, code, path["loss"], fit, bottom, 6.0)
    draw_flow(ax, path["loss"][-1].gives, fit, end, 6.0)

    end = draw_chain(ax, code, path["prediction"], predict, start, WIDE)
    fork = draw_flow(ax, path["prediction"][-1].gives, predict, end, WIDE, end - 0.75)
    for side, name, wide in (-1.42, "predictions", 2.56), (1.33, "impact", 2.74):
        end = branch(predict, fork, predict + side, name, wide)
        draw_flow(ax, path[name][-1].gives, predict + side, end, wide)
    draw_legend(ax, predict - WIDE / 2 + 0.2, 0.85, ("green", "blue", "orange"))
    return figure


# --- Command line --------------------------------------------------------------------------------------

PICTURES = {"rooms.png": draw_rooms, "batch.png": draw_path_of_a_batch}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    images = File(__file__).parent / "images"
    parser.add_argument("--out", type=File, default=images, help="folder for the pictures")
    args = parser.parse_args(arguments)
    code = Code.read()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw(code).savefig(args.out / name, dpi=110)
        print(f"wrote {args.out / name}")


if __name__ == "__main__":
    main()
