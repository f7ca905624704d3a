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

from primo_pyro.comparison import FREQUENCIES, NEVER_DROPPED, Task, compare, table
from primo_pyro.protocols import Protocol

METRICS = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "mean_impact": "mean V",
    "slope": "change / V",
}
PRIMO = {"both": ["primo (paper)", "primo"], "calibrated": ["primo"], "paper": ["primo (paper)"]}


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
    flags.add_argument("--objective", choices=list(PRIMO), default="both", help="of PRIMO")
    flags.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    return flags


def run(tasks: Sequence[Task], args: argparse.Namespace, protocol: Protocol) -> list[dict]:
    """Fit all methods on each task, print the tables, write ``results.csv``; each task's estimators."""
    args.out.mkdir(parents=True, exist_ok=True)
    parts, fitted = [], []
    for task in tasks:
        results, classifiers = compare(
            task,
            [FREQUENCIES, "unimodal", "multimodal", NEVER_DROPPED, *PRIMO[args.objective]],
            range(args.seeds),
            settings={**protocol.networks, "max_epochs": args.epochs, "device": args.device},
            primo_settings=protocol.primo,
            own_settings=protocol.own,
            n_jobs=args.jobs,
            progress=True,
        )
        parts.append(results)
        fitted.append(classifiers)
        # After each task: what is done is kept where a later one is interrupted.
        pd.concat(parts).to_csv(args.out / "results.csv", index=False)
        show(f"{task.name}: test rows, mean ± standard deviation over {args.seeds} seeds", results, METRICS)
    if len(tasks) > 1:
        accuracy = pd.concat(parts).query("metric == 'accuracy'")
        accuracy = accuracy.assign(metric=accuracy["dataset"], value=100 * accuracy["value"])
        show("Accuracy, %", accuracy, {task.name: task.name for task in tasks})
    return fitted


def show(title: str, results: pd.DataFrame, columns: dict[str, str]) -> None:
    """Print a table with its title."""
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
