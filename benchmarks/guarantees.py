"""Whether guarantees hold: simulated exchangeable rows, and a modality that is absent for a reason.

    python benchmarks/guarantees.py --repeats 500

Prints coverage, harm and false discoveries beside what was promised, with standard errors over the repeats,
for 100, 300 and 1,000 calibration rows; then the same where absence depends on what is always known, without
and with weights.
"""

from __future__ import annotations

import argparse

import pandas as pd

from primo_pyro.studies.promises import selective_absence, simulated_promises


def show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n{table.to_string(index=False, float_format='{:.4f}'.format)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=500, help="calibration sets for each number of rows")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000], help="calibration rows")
    args = parser.parse_args()
    show("Exchangeable rows", simulated_promises(args.rows, args.repeats))
    show("Absent for a reason", selective_absence(repeats=max(2, args.repeats // 5)))


if __name__ == "__main__":
    main()
