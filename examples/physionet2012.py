"""PhysioNet 2012: 12,000 stays in intensive care, known from their first day or from admission alone.

    python examples/physionet2012.py --out out/physionet2012

The open stand-in for MIMIC-III: what is known at admission is always present, the hourly series of the first
24 hours may be missing. With ``--view three`` vital signs and laboratory values may be missing, one by one.
The data are read from the folder that PRIMO_DATA names. PRIMO is kept under ``models``; ``figures.py`` says
what is drawn.
"""

from __future__ import annotations

from primo_pyro.data.physionet2012 import CLASSES
from primo_pyro.studies.dataset_figures import THREE, draw_figures, keep_models
from primo_pyro.studies.protocols import PHYSIONET_2012
from primo_pyro.studies.runner import first_primo, make_parser, run
from primo_pyro.studies.tasks import physionet2012


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0], PHYSIONET_2012, out="out/physionet2012", rows=None)
    parser.add_argument(
        "--task", choices=[*CLASSES, "both"], default="in_hospital_death", help="what to predict"
    )
    parser.add_argument("--view", choices=["two", "three"], default="two", help="number of modalities")
    args = parser.parse_args()
    names = list(CLASSES) if args.task == "both" else [args.task]
    fitted = run([physionet2012(name, args.view, args.rows) for name in names], args, PHYSIONET_2012)
    suffix = THREE if args.view == "three" else ""
    models = {
        name + suffix: first_primo(classifiers) for name, classifiers in zip(names, fitted, strict=True)
    }
    keep_models("physionet2012", models, args.out)
    draw_figures("physionet2012", models, args.out)


if __name__ == "__main__":
    main()
