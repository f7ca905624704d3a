"""What every example script does: read flags, fit methods, print tables and write ``results.csv``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.studies.comparison import Fitted, compare, table
from primo_pyro.studies.methods import FREQUENCIES, METHODS, NEVER_DROPPED
from primo_pyro.studies.protocols import Protocol
from primo_pyro.studies.tasks import Task

__all__ = [
    "METHOD_SETS",
    "PRIMO_METHODS",
    "chosen_methods",
    "common_flags",
    "first_primo",
    "make_parser",
    "network_settings",
    "print_table",
    "run",
]

SCORE_COLUMNS = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "mean_impact": "mean V",
    "spread": "spread",
    "slope": "change / V",
    "calibrated_slope": "calibrated",
    "impact_error": "|V - V*|",
    "impact_correlation": "corr. V, V*",
}
IMPACT_COLUMNS = {
    "mean_impact": "mean",
    "impact_error": "error",
    "impact_correlation": "corr. with V*",
    "impact_rank_correlation": "rank corr. with V*",
    "reference_slope": "change / estimate",
    "reference_rank_correlation": "rank corr. with change",
}
# The names of PRIMO among the methods, by the value of --objective.
PRIMO_METHODS = {"both": ["primo (paper)", "primo"], "calibrated": ["primo"], "paper": ["primo (paper)"]}
OTHERS = [FREQUENCIES, *(m for m in METHODS if m != FREQUENCIES and m not in PRIMO_METHODS["both"])]
METHOD_SETS = {"default": [FREQUENCIES, "unimodal", "multimodal", NEVER_DROPPED], "all": OTHERS}


def common_flags(
    description: str, *, out: str, rows: int | None, rows_help: str = "training rows"
) -> argparse.ArgumentParser:
    """The flags of everything that trains, as for `make_parser`; seeds and epochs have no defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for tables and pictures")
    parser.add_argument("--seeds", type=int, help="repeats: data, networks and draws")
    parser.add_argument("--rows", type=int, default=rows, help=rows_help)
    parser.add_argument("--epochs", type=int, help="at most so many epochs")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    return parser


def make_parser(
    description: str, protocol: Protocol, *, out: str, rows: int | None, rows_help: str = "training rows"
) -> argparse.ArgumentParser:
    """The flags that all comparisons have.

    Parameters
    ----------
    description
        What the script does, in a sentence.
    protocol
        Gives the defaults of ``--seeds`` and ``--epochs``.
    out, rows
        Defaults of ``--out`` and ``--rows``; None: all rows.
    rows_help
        Which rows ``--rows`` counts.

    Returns
    -------
    argparse.ArgumentParser
        To which a script may add flags of its own.

    Examples
    --------
    >>> from primo_pyro.studies.protocols import XOR
    >>> flags = make_parser("XOR.", XOR, out="out/xor", rows=40_000).parse_args(["--methods", "lvae"])
    >>> flags.rows, flags.epochs, flags.methods
    (40000, 30, ['lvae'])
    """
    parser = common_flags(description, out=out, rows=rows, rows_help=rows_help)
    parser.set_defaults(seeds=protocol.seeds, epochs=protocol.epochs)
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=[*METHOD_SETS, *METHODS],
        default=["default"],
        metavar="METHOD",
        help="methods to compare with PRIMO: default, all, or some of " + ", ".join(map(repr, OTHERS)),
    )
    parser.add_argument("--members", type=int, default=1, help="fits that each network is an average of")
    parser.add_argument("--objective", choices=list(PRIMO_METHODS), default="both", help="objective of PRIMO")
    return parser


def chosen_methods(args: argparse.Namespace) -> list[str]:
    """The methods that the flags ask for; PRIMO is always among them, since the pictures show it.

    >>> chosen_methods(argparse.Namespace(methods=["lvae", "unimodal"], objective="calibrated"))
    ['lvae', 'unimodal', 'primo']
    """
    named = [method for name in args.methods for method in METHOD_SETS.get(name, [name])]
    return list(dict.fromkeys([*named, *PRIMO_METHODS[args.objective]]))


def network_settings(protocol: Protocol, args: argparse.Namespace) -> dict[str, object]:
    """The protocol's settings of all networks, with the epochs and the device that the flags ask for."""
    return {**protocol.networks, "max_epochs": args.epochs or protocol.epochs, "device": args.device}


def run(tasks: Sequence[Task], args: argparse.Namespace, protocol: Protocol) -> list[Fitted]:
    """Fit all methods on each task, print the tables and write ``results.csv``.

    Parameters
    ----------
    tasks
        What to compare the methods on, one after the other.
    args
        Flags of `make_parser`.
    protocol
        Settings of the methods.

    Returns
    -------
    list of dict
        For each task its estimators, by method and seed, as from `compare`.
    """
    args.out.mkdir(parents=True, exist_ok=True)
    parts: list[pd.DataFrame] = []
    fitted = []

    def keep(results: pd.DataFrame) -> None:
        pd.concat([*parts, results]).to_csv(args.out / "results.csv", index=False)

    for task in tasks:
        results, classifiers, left_out = compare(
            task,
            chosen_methods(args),
            range(args.seeds),
            settings=network_settings(protocol, args),
            primo_settings=protocol.primo,
            own_settings=protocol.own,
            members=args.members,
            n_jobs=args.jobs,
            progress=True,
            keep=keep,
        )
        parts.append(results)
        fitted.append(classifiers)
        for name, reason in left_out.items():
            print(f"left out, {name}: {reason}")
        over = "one seed" if args.seeds == 1 else f"mean ± standard deviation over {args.seeds} seeds"
        of_methods, missing = results["method"].isin(METHODS), results["scenario"] == "missing"
        print_table(f"{task.name}: test rows, {over}", results[of_methods], SCORE_COLUMNS)
        print_table(
            f"Estimates of impact, {' and '.join(task.optional)} missing, {over}.\n"
            f"Change: from the unimodal prediction to that of {NEVER_DROPPED!r}. Entropy: of the unimodal "
            "prediction, in nats.\nNeighbours: spread over completions from the nearest training rows.",
            results[missing],
            IMPACT_COLUMNS,
        )
    if len(tasks) > 1:
        accuracy = pd.concat(parts).query("metric == 'accuracy'")
        accuracy = accuracy.assign(metric=accuracy["dataset"], value=100 * accuracy["value"])
        print_table("Accuracy, %", accuracy, {task.name: task.name for task in tasks})
    return fitted


def print_table(title: str, results: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Print a title and `table`, without the columns of metrics that no method has.

    Parameters
    ----------
    title
        Goes above the table.
    results
        Tidy, as from `compare`.
    columns
        Names of metrics to the heads of their columns, in order.
    """
    measured = set(results["metric"])
    heads = {metric: head for metric, head in columns.items() if metric in measured}
    print(f"\n{title}\n{table(results, heads).to_string()}")


def first_primo(classifiers: Fitted) -> PrimoClassifier:
    """PRIMO of the first seed: with the calibrated objective, or the paper's where that alone was fitted."""
    return classifiers.get(("primo", 0)) or classifiers["primo (paper)", 0]
