"""Whether guarantees hold: simulated exchangeable rows, and a modality that is absent for a reason.

    python benchmarks/guarantees.py --repeats 500

Prints coverage, harm and false discoveries beside what was promised, with standard errors over the repeats,
for 100, 300 and 1,000 calibration rows; then the same where absence depends on what is always known, without
and with weights; and what `certify` and all answers for 12,000 rows cost, beside one `predictive_impact`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import pandas as pd
import torch

from primo_pyro import PrimoClassifier
from primo_pyro.data import make_xor
from primo_pyro.studies.promises import selective_absence, simulated_promises


def show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n{table.to_string(index=False, float_format='{:.4f}'.format)}")


def costs(rows: int, certifying: int = 500) -> pd.DataFrame:
    """Seconds of one thread for new rows without the modality, medians of five turns.

    A model of a short fit answers as fast as any.
    """
    x, y = make_xor(4000, random_state=0)
    clf = PrimoClassifier(max_epochs=2, random_state=0).fit(x.drop_at_random("m", random_state=1), y)
    x, y = make_xor(rows + certifying, random_state=2)
    new = x[certifying:].drop("m")

    def answer() -> None:
        clf.certify(x[:certifying], y[:certifying])
        clf.change_at_most(new)
        clf.safe_to_skip(new)
        clf.safe_to_skip(new, confidence=0.9)
        clf.safe_to_skip(new, false_discovery=0.1)
        clf.label_sets(new)

    def seconds(call: Callable[[], object]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    calls = {"predictive_impact": lambda: clf.predictive_impact(new), "certify and all answers": answer}
    turns = pd.DataFrame([{what: seconds(call) for what, call in calls.items()} for _ in range(5)])
    ratios = turns["certify and all answers"] / turns["predictive_impact"]
    return pd.DataFrame([turns.median().to_dict() | {"ratio": ratios.median(), "most": ratios.max()}])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=500, help="calibration sets for each number of rows")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000], help="calibration rows")
    args = parser.parse_args()
    show("Exchangeable rows", simulated_promises(args.rows, args.repeats))
    torch.set_num_threads(1)
    show("Seconds for 12,000 rows", costs(12_000))
    show("Absent for a reason", selective_absence(repeats=max(2, args.repeats // 5)))


if __name__ == "__main__":
    main()
