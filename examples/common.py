"""Flags, table and results file that all examples share."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd

from primo_pyro.comparison import compare, table

METRICS = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
    "mean_impact": "mean V",
    "slope": "change / V",
}


def parser(description: str, *, out: str, seeds: int, rows: int, epochs: int) -> argparse.ArgumentParser:
    """The flags of every example, with its own defaults."""
    flags = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    flags.add_argument("--out", type=Path, default=Path(out), help="folder for results.csv and pictures")
    flags.add_argument("--seeds", type=int, default=seeds, help="repeats: data, networks and draws")
    flags.add_argument("--rows", type=int, default=rows, help="rows in all")
    flags.add_argument("--epochs", type=int, default=epochs, help="at most so many epochs")
    flags.add_argument(
        "--objective", choices=["both", "calibrated", "paper"], default="both", help="of PRIMO"
    )
    flags.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    return flags


def run(task, args: argparse.Namespace, settings: dict, primo_settings: dict):
    """Fit all methods, print the table, write ``results.csv``; the tidy results and the fitted estimators."""
    primo = {"both": ["primo (paper)", "primo"], "calibrated": ["primo"], "paper": ["primo (paper)"]}
    results, classifiers = compare(
        task,
        ["unimodal", "multimodal", "multimodal, never dropped", *primo[args.objective]],
        range(args.seeds),
        settings={**settings, "max_epochs": args.epochs, "device": args.device},
        primo_settings=primo_settings,
        n_jobs=args.jobs,
        progress=True,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    results.to_csv(args.out / "results.csv", index=False)
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(f"\n{task.name}, test rows, mean ± standard deviation over {args.seeds} seeds")
        print(table(results, METRICS).to_string())
    return results, classifiers


def save(figure: plt.Figure, path: Path) -> None:
    """Write a picture and say where it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fonts without a glyph
        figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
    print(f"wrote {path}")
