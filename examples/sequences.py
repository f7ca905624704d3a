"""Which modality should be measured next, row by row, and what does the order gain for its cost.

    python examples/sequences.py --task breast_cancer --out out/sequences

Test rows start with what is always present; what they really have of the optional modalities may be bought,
one after another, until nothing is left. PRIMO chooses by information gain, as the model says it or as it was
borne out on validation rows (expected gain), or by expected change. Its rivals are a fixed order, random
orders, boosted trees that predict the gain or the change, and a value network; the oracle knows the label.
All are judged by PRIMO's predictions, and the value network by its own as well.
``sequences.csv`` has log loss, accuracy and AUROC against the mean cost of a row, ``areas.csv`` the areas
under these curves and their differences to PRIMO's, ``sequences.png`` the curves.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from primo_pyro.analysis.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from primo_pyro.studies.figures import sequences_picture
from primo_pyro.studies.generated import three_signs
from primo_pyro.studies.protocols import (
    BREAST_CANCER,
    PHYSIONET_2012_SEVERAL,
    SUPPORT2,
    THREE_SIGNS,
    Protocol,
)
from primo_pyro.studies.sequences import area_table, compare_orders
from primo_pyro.studies.spending import ALLOCATIONS, METRICS
from primo_pyro.studies.tasks import Task, breast_cancer, physionet2012, support2

TASKS: dict[str, tuple[Callable[..., Task], Mapping[str, object], Protocol]] = {
    "breast_cancer": (breast_cancer, {}, BREAST_CANCER),
    "support2": (support2, {}, SUPPORT2),
    "physionet2012_five": (physionet2012, {"view": "five"}, PHYSIONET_2012_SEVERAL),
    "physionet2012_three": (physionet2012, {"view": "three"}, PHYSIONET_2012_SEVERAL),
    "three_signs": (three_signs, {}, THREE_SIGNS),
}
COLOURS = {
    "PRIMO, expected gain": BLUE,
    "PRIMO, expected change": SKY,
    "regression of the gain": ORANGE,
    "value network": GREEN,
    "value network, own predictions": PURPLE,
    "fixed order": RED,
    "random order": GREY,
    "oracle": "black",
}


def cost_of(text: str) -> tuple[str, float]:
    """``name=number``."""
    name, _, number = text.partition("=")
    return name, float(number)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--task", choices=list(TASKS), default="breast_cancer", help="which data set")
    parser.add_argument(
        "--out", type=Path, default=Path("out/sequences"), help="folder for tables and picture"
    )
    parser.add_argument("--seeds", type=int, help="repeats (default: those of the protocol)")
    parser.add_argument("--rows", type=int, help="rows, as the task counts them (default: all)")
    parser.add_argument("--epochs", type=int, help="at most so many epochs (default: those of the protocol)")
    parser.add_argument(
        "--costs", nargs="+", type=cost_of, metavar="NAME=COST", help="of each optional modality (default: 1)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one thread each")
    args = parser.parse_args()

    make, settings, protocol = TASKS[args.task]
    task = make(**settings, **({} if args.rows is None else {"rows": args.rows}))
    curves, areas = compare_orders(
        task,
        range(args.seeds or protocol.seeds),
        {**protocol.networks, "max_epochs": args.epochs or protocol.epochs, "device": args.device},
        protocol.primo,
        dict(args.costs) if args.costs else None,
        n_jobs=args.jobs,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    curves.to_csv(args.out / "sequences.csv", index=False)
    areas.to_csv(args.out / "areas.csv", index=False)
    for metric in METRICS:
        for allocation in ALLOCATIONS:
            print(f"\n{task.name}: mean {metric} over what is spent; budget: {allocation}")
            print(area_table(areas, metric, allocation).to_string(float_format="{:.4f}".format))
    print()
    sequences_picture(curves, COLOURS, args.out / "sequences.png")


if __name__ == "__main__":
    main()
