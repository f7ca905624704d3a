"""MIMIC-III: admissions known from their first day, or from what is known at admission alone.

    python examples/mimic3.py --out out/mimic3

Table 2 of the paper: mortality and two chapters of ICD-9; the hourly series of the first 24 hours may be
missing. The processed file is given to credentialed users alone; it is looked for under ``mimic3`` in the
folder that PRIMO_DATA names. Where it is not found, the open demo is read: it shows that the reader works,
and its scores are not a result. PRIMO is kept under ``models``; ``figures.py`` says what is drawn.
"""

from __future__ import annotations

from primo_pyro.studies.dataset_figures import (
    DEMO_NOTICE,
    MIMIC3_CLASSES,
    draw_figures,
    keep_models,
    mimic3_needs_demo,
)
from primo_pyro.studies.protocols import MIMIC3
from primo_pyro.studies.runner import first_primo, make_parser, run
from primo_pyro.studies.tasks import mimic3


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0], MIMIC3, out="out/mimic3", rows=None)
    parser.add_argument("--task", choices=[*MIMIC3_CLASSES, "all"], default="all", help="what to predict")
    args = parser.parse_args()
    names = list(MIMIC3_CLASSES) if args.task == "all" else [args.task]
    demo = mimic3_needs_demo()
    fitted = run([mimic3(name, demo=demo, rows=args.rows) for name in names], args, MIMIC3)
    models = dict(zip(names, map(first_primo, fitted), strict=True))
    keep_models("mimic3", models, args.out)
    draw_figures("mimic3", models, args.out)
    if demo:
        print(DEMO_NOTICE)


if __name__ == "__main__":
    main()
