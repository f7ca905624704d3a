"""Several modalities that may be missing: what each one is worth, for every pattern of absence.

    python examples/several_modalities.py --task three_signs --out out/several

PRIMO is trained once for each seed, and then asked about test rows. Printed, and written to ``several.csv``:

* log loss and Brier score of every pattern, beside a network that was trained for this pattern alone (with
  ``--no-networks`` without them, which takes much less time);
* for each modality, and for all together, the expected change V beside what revealing it really changed, from
  rows in which all others are hidden and from random patterns, before calibration and after;
* the distance of V from the exact impact, where that is known (generated rows);
* what should be small: the spread of draws in complete rows, and how far the averaged prediction depends on
  which absent modalities were asked about;
* seconds of the fit and of the questions.

Generated rows and ``breast_cancer`` need no files. The others are read from the folder that PRIMO_DATA names;
in them modalities are also really absent, in SUPPORT2 each in 15 to 62 % of the rows.
"""

from __future__ import annotations

from functools import partial

import pandas as pd

from primo_pyro.studies.generated import three_signs, weak_signals, xor_twins
from primo_pyro.studies.protocols import (
    BREAST_CANCER,
    PHYSIONET_2012_SEVERAL,
    SUPPORT2,
    THREE_SIGNS,
    WEAK_SIGNALS,
    XOR_TWINS,
)
from primo_pyro.studies.runner import PRIMO_METHODS, common_flags, network_settings
from primo_pyro.studies.several import several_modalities, several_tables
from primo_pyro.studies.tasks import breast_cancer, physionet2012, support2

TASKS = {
    "three_signs": (three_signs, THREE_SIGNS),
    "weak_signals": (weak_signals, WEAK_SIGNALS),
    "xor_twins": (xor_twins, XOR_TWINS),
    "breast_cancer": (breast_cancer, BREAST_CANCER),
    "physionet2012_three": (partial(physionet2012, view="three"), PHYSIONET_2012_SEVERAL),
    "physionet2012_five": (partial(physionet2012, view="five"), PHYSIONET_2012_SEVERAL),
    "support2": (support2, SUPPORT2),
}


def main() -> None:
    parser = common_flags(
        __doc__.splitlines()[0],
        out="out/several",
        rows=None,
        rows_help="training rows, or rows in all where a data set has no parts; all by default",
    )
    parser.add_argument("--task", choices=list(TASKS), default="three_signs", help="data set")
    parser.add_argument("--objective", choices=["calibrated", "paper"], default="calibrated")
    parser.add_argument("--no-networks", action="store_true", help="do not train a network for each pattern")
    args = parser.parse_args()
    make, protocol = TASKS[args.task]
    task = make() if args.rows is None else make(rows=args.rows)
    seeds = args.seeds or protocol.seeds
    args.out.mkdir(parents=True, exist_ok=True)

    def keep(results: pd.DataFrame) -> None:
        results.to_csv(args.out / "several.csv", index=False)

    results = several_modalities(
        task,
        range(seeds),
        settings=network_settings(protocol, args),
        primo_settings=protocol.primo,
        own_settings=protocol.own,
        method=PRIMO_METHODS[args.objective][0],
        networks=not args.no_networks,
        n_jobs=args.jobs,
        progress=True,
        keep=keep,
    )
    over = "one seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    print(f"\n{task.name}: test rows, {over}")
    for title, frame in several_tables(results).items():
        print(f"\n{title}\n{frame.to_string()}")


if __name__ == "__main__":
    main()
