"""Flags, tables and results file that all examples share."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd

from primo_pyro.studies.comparison import FREQUENCIES, METHODS, NEVER_DROPPED, Task, compare, table
from primo_pyro.studies.protocols import Protocol

METRICS = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "mean_impact": "mean V",
    "slope": "change / V",
    "impact_error": "|V - V*|",
    "impact_correlation": "corr. V, V*",
}
OF_IMPACT = {
    "mean_impact": "mean",
    "impact_error": "error",
    "impact_correlation": "corr. with V*",
    "impact_rank_correlation": "rank corr. with V*",
    "reference_slope": "change / estimate",
    "reference_rank_correlation": "rank corr. with change",
}
PRIMO = {"both": ["primo (paper)", "primo"], "calibrated": ["primo"], "paper": ["primo (paper)"]}
OTHERS = [FREQUENCIES, *(name for name in METHODS if name != FREQUENCIES and name not in PRIMO["both"])]
SETS = {"default": [FREQUENCIES, "unimodal", "multimodal", NEVER_DROPPED], "all": OTHERS}


def parser(
    description: str, protocol: Protocol, *, out: str, rows: int | None, rows_help: str = "training rows"
) -> argparse.ArgumentParser:
    """The flags of every example, with its own defaults."""
    flags = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    flags.add_argument("--out", type=Path, default=Path(out), help="folder for results.csv and pictures")
    flags.add_argument("--seeds", type=int, default=protocol.seeds, help="repeats: data, networks and draws")
    flags.add_argument("--rows", type=int, default=rows, help=rows_help)
    flags.add_argument("--epochs", type=int, default=protocol.epochs, help="at most so many epochs")
    flags.add_argument(
        "--methods",
        nargs="+",
        choices=[*SETS, *METHODS],
        default=["default"],
        metavar="METHOD",
        help="to compare, beside PRIMO: default, all, or some of " + ", ".join(map(repr, OTHERS)),
    )
    flags.add_argument("--objective", choices=list(PRIMO), default="both", help="of PRIMO")
    flags.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    return flags


def methods_of(args: argparse.Namespace) -> list[str]:
    """What the flags ask for; PRIMO always is among them, since pictures are of it."""
    named = [method for name in args.methods for method in SETS.get(name, [name])]
    return list(dict.fromkeys([*named, *PRIMO[args.objective]]))


def run(tasks: Sequence[Task], args: argparse.Namespace, protocol: Protocol) -> list[dict]:
    """Fit all methods on each task, print the tables, write ``results.csv``; each task's estimators."""
    args.out.mkdir(parents=True, exist_ok=True)
    parts, fitted = [], []

    def keep(results: pd.DataFrame) -> None:
        pd.concat([*parts, results]).to_csv(args.out / "results.csv", index=False)

    for task in tasks:
        results, classifiers, left_out = compare(
            task,
            methods_of(args),
            range(args.seeds),
            settings={**protocol.networks, "max_epochs": args.epochs, "device": args.device},
            primo_settings=protocol.primo,
            own_settings=protocol.own,
            n_jobs=args.jobs,
            progress=True,
            keep=keep,
        )
        parts.append(results)
        fitted.append(classifiers)
        for name, why in left_out.items():
            print(f"left out, {name}: {why}")
        over = "one seed" if args.seeds == 1 else f"mean ± standard deviation over {args.seeds} seeds"
        of_methods, missing = results["method"].isin(METHODS), results["scenario"] == "missing"
        show(f"{task.name}: test rows, {over}", results[of_methods], METRICS)
        show(
            f"Estimates of impact, {' and '.join(task.optional)} missing, {over}.\n"
            f"Change: from the unimodal prediction to that of {NEVER_DROPPED!r}. Entropy: of the unimodal "
            "prediction, in nats.\nNeighbours: spread over completions from the nearest training rows.",
            results[missing],
            OF_IMPACT,
        )
    if len(tasks) > 1:
        accuracy = pd.concat(parts).query("metric == 'accuracy'")
        accuracy = accuracy.assign(metric=accuracy["dataset"], value=100 * accuracy["value"])
        show("Accuracy, %", accuracy, {task.name: task.name for task in tasks})
    return fitted


def show(title: str, results: pd.DataFrame, columns: dict[str, str]) -> None:
    """Print a table with its title; a metric that nothing has gets no column."""
    measured = set(results["metric"])
    columns = {metric: head for metric, head in columns.items() if metric in measured}
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(f"\n{title}\n{table(results, columns).to_string()}")


def primo_of(classifiers: dict):
    """PRIMO of the first seed, with the calibrated objective where it was fitted."""
    return classifiers.get(("primo", 0)) or classifiers["primo (paper)", 0]


def save(figure: plt.Figure, path: Path) -> None:
    """Write a picture and say where it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fonts without a glyph
        figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
    print(f"wrote {path}")
