"""MIMIC-III: admissions known from their first day, or from what is known at admission alone.

    python examples/mimic3.py --out out/mimic3

Table 2 of the paper: mortality and two chapters of ICD-9; the hourly series of the first 24 hours may be
missing. The processed file is given to credentialed users alone, and is looked for under ``mimic3`` in the
folder that PRIMO_DATA names. Without it the open demo is read, which shows that the reader works, and is no
result. PRIMO is kept under ``models``; ``figures.py`` says what is drawn.
"""

from __future__ import annotations

from common import parser, primo_of, run
from figures import DEMO, MIMIC3_CLASSES, draw, keep, mimic3_falls_back

from primo_pyro.studies.protocols import MIMIC3
from primo_pyro.studies.tasks import mimic3


def main() -> None:
    flags = parser(__doc__.splitlines()[0], MIMIC3, out="out/mimic3", rows=None)
    flags.add_argument("--task", choices=[*MIMIC3_CLASSES, "all"], default="all", help="what to predict")
    args = flags.parse_args()
    names = list(MIMIC3_CLASSES) if args.task == "all" else [args.task]
    demo = mimic3_falls_back()
    fitted = run([mimic3(name, demo=demo, rows=args.rows) for name in names], args, MIMIC3)
    models = dict(zip(names, map(primo_of, fitted), strict=True))
    keep("mimic3", models, args.out)
    draw("mimic3", models, args.out)
    if demo:
        print(DEMO)


if __name__ == "__main__":
    main()
