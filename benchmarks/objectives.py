"""From the paper's objective to the calibrated one, piece by piece, and the calibrated one less each piece.

    python benchmarks/objectives.py --datasets xor digits --out out/objectives

Every row of the table is an `Objective`; all are trained alike, with the settings of
`primo_pyro.studies.protocols`. A row ``+ piece`` has that piece and all those above it, ``calibrated`` has
all pieces, ``calibrated - piece`` all but one. Beside them stand networks whose scores a good latent comes
near: unimodal, multimodal on the complete rows, and multimodal on rows in which nothing was dropped.

Choose settings with ``--part validation``: it scores rows of the training part and does not read test rows.
``--picture FILE`` draws the latents of the paper's objective and the calibrated one on XOR.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from primo_pyro import Modalities, Objective, PrimoClassifier
from primo_pyro.analysis.plots import latent_completions
from primo_pyro.studies.comparison import Fitted, compare
from primo_pyro.studies.figures import new_figure, save_figure
from primo_pyro.studies.generated import xor
from primo_pyro.studies.methods import METHODS, NEVER_DROPPED, Method
from primo_pyro.studies.protocols import AV_MNIST, DIGIT_HALVES, PHYSIONET_2012, XOR, Protocol
from primo_pyro.studies.runner import print_table
from primo_pyro.studies.tasks import Rows, Task, av_mnist, digit_halves, physionet2012

PAPER, CALIBRATED = Objective.named("paper"), Objective.named("calibrated")
# The pieces in the order in which they are switched on, each with the settings that it changes.
PIECES = {
    "propose from prior": ("propose_from_prior",),
    "no tax": ("tie_on_complete",),
    "small anchor and tie": ("anchor", "tie"),
    "importance bound": ("elbo", "num_particles"),
    "forecast": ("forecast",),
    "auxiliary": ("auxiliary",),
    "spread penalty": ("spread_penalty",),
    "residual spread": ("residual_spread",),
    "agreement": ("agreement",),
}


def ablation() -> dict[str, Objective]:
    """Every objective of the table, by the name of its row."""
    rows = {"paper": PAPER, "paper, KL warm-up": replace(PAPER, warm_up=0.5)}
    sofar = PAPER
    for piece, fields in PIECES.items():
        sofar = replace(sofar, **{field: getattr(CALIBRATED, field) for field in fields})
        rows["calibrated" if sofar == CALIBRATED else f"+ {piece}"] = sofar
    for piece, fields in PIECES.items():
        # Without the bound of several draws there are still several draws: the forecast needs them.
        back = {field: getattr(PAPER, field) for field in fields if field != "num_particles"}
        rows[f"calibrated - {piece}"] = replace(CALIBRATED, **back)
    return rows


OBJECTIVES = ablation()
NETWORKS = ("unimodal", "multimodal", NEVER_DROPPED)
DATASETS: dict[str, tuple[Callable[..., Task], Protocol]] = {
    "xor": (xor, XOR),
    "digits": (digit_halves, DIGIT_HALVES),
    "avmnist_audio": (partial(av_mnist, "audio"), AV_MNIST),
    "avmnist_image": (partial(av_mnist, "image"), AV_MNIST),
    "physionet2012": (physionet2012, PHYSIONET_2012),
    "physionet2012_three": (partial(physionet2012, view="three"), PHYSIONET_2012),
}
METRICS = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
    "mean_impact": "mean V",
    "slope": "change / V",
    "rank_correlation": "rank corr.",
    "impact_error": "|V - V*|",
    "impact_correlation": "corr. V, V*",
}
HELD_OUT = 0.2  # of the training rows, where a task brings no validation part


def _primo(task: Task, objective: Objective, **settings: object) -> PrimoClassifier:
    return PrimoClassifier(task.optional, objective=objective, **settings)


def methods(objectives: Iterable[str]) -> dict[str, Method]:
    """Networks and objectives by the names of their rows; those of PRIMO begin with ``primo``."""
    made = {f"primo, {name}": partial(_primo, objective=OBJECTIVES[name]) for name in objectives}
    return {name: METHODS[name] for name in NETWORKS} | made


def scored_on_validation(task: Task) -> Task:
    """The same task, scored on its validation part, or else on the last fifth of its training rows.

    Fits then hold out training rows of their own to choose the epoch, and test rows are not used.
    """

    def rows(seed: int) -> tuple[Rows, None, Rows]:
        (x, y), validation, _ = task.rows(seed)
        if validation is not None:
            return (x, y), None, validation
        cut = len(y) - int(HELD_OUT * len(y))
        return (x[:cut], y[:cut]), None, (x[cut:], y[cut:])

    return replace(task, name=f"{task.name}, validation rows", rows=rows)


def run(args: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, Fitted]]:
    """Compare on all data sets: tidy results, written after each seed, and the estimators by data set."""
    args.out.mkdir(parents=True, exist_ok=True)
    parts: list[pd.DataFrame] = []
    fitted: dict[str, Fitted] = {}

    def keep(results: pd.DataFrame) -> None:
        pd.concat([*parts, results]).to_csv(args.out / "objectives.csv", index=False)

    for name in args.datasets:
        make, protocol = DATASETS[name]
        task = make() if args.rows is None else make(rows=args.rows)
        if args.part == "validation":
            task = scored_on_validation(task)
        results, fitted[name], _ = compare(
            task,
            methods(args.objectives),
            range(args.seeds),
            settings={**protocol.networks, "max_epochs": args.epochs or protocol.epochs},
            primo_settings=protocol.primo,
            n_jobs=args.jobs,
            progress=True,
            keep=keep,
        )
        parts.append(results)
        print_table(f"{task.name}: mean ± standard deviation over {args.seeds} seeds", results, METRICS)
    return pd.concat(parts), fitted


@torch.no_grad()
def priors(classifier: PrimoClassifier, x: Modalities) -> pd.DataFrame:
    """Mean and scale of the two latent dimensions of each row's prior."""
    model = classifier.model_
    prior = model.prior["m"](model.encoder(x)).base_dist
    values = torch.cat([prior.loc, prior.scale], dim=-1).cpu().numpy()
    return pd.DataFrame(values, columns=["mean_1", "mean_2", "scale_1", "scale_2"])


def picture(paper: PrimoClassifier, calibrated: PrimoClassifier, path: Path) -> None:
    """The latents of one row of XOR under both objectives, with 40 possible values of its m."""
    m = np.random.default_rng(0).choice([-1, 1], size=40) + np.random.default_rng(1).normal(0, 0.5, size=40)
    x = Modalities({"o": np.full(40, -1.0), "m": m})
    figure = new_figure(13, 7)
    axes = figure.subplots(1, 2)
    for ax, (name, classifier) in zip(axes, {"paper": paper, "calibrated": calibrated}.items(), strict=True):
        completions = priors(classifier, x).assign(label=(m > 0).astype(int))  # o < 0
        latent_completions(priors(classifier, x.drop("m")[:1]), completions, name, ax=ax)
    figure.suptitle(
        "XOR, o = -1: m alone decides the label. What does z know before and after m is revealed?"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), default=["xor", "digits"])
    parser.add_argument("--objectives", nargs="+", choices=list(OBJECTIVES), default=list(OBJECTIVES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rows", type=int, help="as in the task; default: all")
    parser.add_argument("--epochs", type=int, help="default: the protocol's")
    parser.add_argument("--part", choices=["test", "validation"], default="test", help="rows to score")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    parser.add_argument("--picture", type=Path, help="where to draw the latents of XOR")
    parser.add_argument("--out", type=Path, default=Path("out/objectives"))
    args = parser.parse_args(arguments)
    if args.picture and not ("xor" in args.datasets and {"paper", "calibrated"} <= set(args.objectives)):
        parser.error("--picture needs xor among --datasets, and paper and calibrated among --objectives")
    _, fitted = run(args)
    if args.picture:
        picture(*(fitted["xor"][f"primo, {name}", 0] for name in ("paper", "calibrated")), args.picture)


if __name__ == "__main__":
    main()
