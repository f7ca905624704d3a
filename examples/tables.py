"""Real tables: PRIMO beside boosted trees, logistic regression and a random forest.

    python examples/tables.py --out out/tables

Each table has ten folds: its rows are shuffled by the number of the fold and divided, each class alike, in
80 % for training and 20 % for testing. Rows are scored as they are. Printed are log loss, Brier score and
AUROC of every method with seconds a fit, and PRIMO less each rival on the same folds, with standard errors
that allow for the training rows which folds share (Nadeau and Bengio 2003). On tables with at least 300 test
rows PRIMO is also asked what revealing each modality would change, beside what it does change.

Every finished fit is kept in ``results.csv``. The same command goes on where it was stopped, and adds further
folds, tables and methods to the file; after a change of settings choose another ``--out``. From all that the
file holds ``differences_primo.csv`` and ``differences_primo.png`` are made.

Breast cancer and digits need no files. The others are read from the folder that PRIMO_DATA names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from primo_pyro.analysis.plots import paired_differences
from primo_pyro.studies.table_suite import METRICS, Record, differences, score_table, table_suite
from primo_pyro.studies.tables import METHODS, PRIMO, TABLES, load_tables


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for flag, known in {"--tables": list(TABLES), "--methods": list(METHODS)}.items():
        parser.add_argument(
            flag,
            nargs="+",
            choices=known,
            default=known,
            metavar=flag.strip("-s").upper(),
            help="some of " + ", ".join(map(repr, known)),
        )
    parser.add_argument("--folds", type=int, default=10, help="divisions, numbered from 0")
    parser.add_argument("--epochs", type=int, help="of PRIMO at most; None: its default")
    parser.add_argument("--no-changes", action="store_true", help="no realised over expected change")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("out/tables"), help="folder for all that is written")
    args = parser.parse_args()

    results = table_suite(
        load_tables(args.tables),
        args.methods,
        range(args.folds),
        Record(args.out / "results.csv"),
        settings={} if args.epochs is None else {"max_epochs": args.epochs},
        changes=not args.no_changes,
        n_jobs=args.jobs,
        progress=True,
    )
    print("\nTest rows as they are, mean ± standard deviation over folds")
    print(score_table(results).to_string())
    for method in (name for name in PRIMO if name in set(results["method"])):
        parts = {metric: differences(results, metric, method) for metric in METRICS}
        if parts["log_loss"].empty:  # no rival is on record
            continue
        frame = pd.concat(parts, names=["metric", "line"]).reset_index("metric").reset_index(drop=True)
        name = method.replace(" ", "_").replace(",", "")
        frame.to_csv(args.out / f"differences_{name}.csv", index=False)
        for metric, apart in parts.items():
            print(f"\n{method} less each rival on the same folds, {METRICS[metric]}")
            print(apart.round(4).to_string(index=False))
        for metric in ("log_loss", "brier"):
            best = parts[metric].query("rival == 'best'")["difference"]
            print(
                f"\n{method} less the best rival of each table, {METRICS[metric]}: at most 0.005 on "
                f"{(best <= 0.005).sum()} of {len(best)} tables, at most 0.02 on {(best <= 0.02).sum()}; "
                f"mean {best.mean():+.4f}"
            )
        figure = Figure(figsize=(8, 1.5 + 0.28 * len(parts["log_loss"])), layout="constrained")
        paired_differences(parts["log_loss"], "log loss (nats)", method, ax=figure.subplots())
        figure.savefig(args.out / f"differences_{name}.png", dpi=150)


if __name__ == "__main__":
    main()
