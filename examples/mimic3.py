"""MIMIC-III: admissions known from their first day, or from what is known at admission alone.

    python examples/mimic3.py --out out/mimic3

Table 2 of the paper: mortality and two chapters of ICD-9; the hourly series of the first 24 hours may be
missing. The processed file is given to credentialed users alone, and is looked for under ``mimic3`` in the
folder that PRIMO_DATA names. Without it the open demo is read, which shows that the reader works, and is no
result. ``impact_<task>.png`` shows how V is distributed, ``rows_<task>.png`` what the admissions of highest
and lowest V may turn out to be.
"""

from __future__ import annotations

import sys

from common import impact_picture, parser, primo_of, rows_picture, run

from primo_pyro.data.mimic3 import ICD9, MORTALITY
from primo_pyro.errors import DataNotFoundError
from primo_pyro.protocols import MIMIC3
from primo_pyro.tasks import mimic3

CLASSES = {"mortality": MORTALITY} | dict.fromkeys(ICD9, ("no", "yes"))
DEMO = """
***********************************************************************************************
  THE OPEN DEMO OF 118 ADMISSIONS. Its numbers show that the reader works, and are no result.
***********************************************************************************************
"""


def main() -> None:
    flags = parser(__doc__.splitlines()[0], MIMIC3, out="out/mimic3", rows=None)
    flags.add_argument("--task", choices=[*CLASSES, "all"], default="all", help="what to predict")
    args = flags.parse_args()
    names = list(CLASSES) if args.task == "all" else [args.task]
    demo = False
    try:
        tasks = [mimic3(name, rows=args.rows) for name in names]
    except DataNotFoundError as error:
        print(error, DEMO, sep="\n", file=sys.stderr)
        demo = True
        tasks = [mimic3(name, demo=True, rows=args.rows) for name in names]
    for name, task, classifiers in zip(names, tasks, run(tasks, args, MIMIC3), strict=True):
        clf = primo_of(classifiers)
        impact_picture(clf, task, args.out / f"impact_{name}.png")
        rows_picture(clf, task, args.out / f"rows_{name}.png", classes=CLASSES[name])
    if demo:
        print(DEMO)


if __name__ == "__main__":
    main()
