"""PhysioNet 2012: 12,000 stays in intensive care, known from their first day or from admission alone.

    python examples/physionet2012.py --out out/physionet2012

The open stand-in for MIMIC-III: what is known at admission is always there, the hourly series of the first
24 hours may be missing. With ``--view three`` vital signs and laboratory values may be missing, each for
itself. The data come from the folder that PRIMO_DATA names. PRIMO is kept under ``models``;
``figures.py`` says what is drawn.
"""

from __future__ import annotations

from common import parser, primo_of, run
from figures import THREE, draw, keep

from primo_pyro.data.physionet2012 import CLASSES
from primo_pyro.studies.protocols import PHYSIONET_2012
from primo_pyro.studies.tasks import physionet2012


def main() -> None:
    flags = parser(__doc__.splitlines()[0], PHYSIONET_2012, out="out/physionet2012", rows=None)
    flags.add_argument(
        "--task", choices=[*CLASSES, "both"], default="in_hospital_death", help="what to predict"
    )
    flags.add_argument("--view", choices=["two", "three"], default="two", help="number of modalities")
    args = flags.parse_args()
    names = list(CLASSES) if args.task == "both" else [args.task]
    tasks = [physionet2012(name, args.view, args.rows) for name in names]
    fitted = run(tasks, args, PHYSIONET_2012)
    suffix = THREE if args.view == "three" else ""
    models = {name + suffix: primo_of(classifiers) for name, classifiers in zip(names, fitted, strict=True)}
    keep("physionet2012", models, args.out)
    draw("physionet2012", models, args.out)


if __name__ == "__main__":
    main()
