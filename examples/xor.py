"""XOR of two signs, where every answer is known exactly.

    python examples/xor.py --out out/xor

``o`` is always seen, ``m`` may be missing. Where o < 0 the label hangs on m alone, where o > 0 on o almost
alone; the exact impact of m is a formula (`primo_pyro.data.xor_impact`). ``gap.png`` shows where in the plane
m matters, ``truth.png`` how far predicted impact is from the exact one.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from common import METRICS, parser, primo_of, run, save

from primo_pyro.plots import gap_scatter, impact_against_truth
from primo_pyro.protocols import XOR
from primo_pyro.tasks import xor


def main() -> None:
    flags = parser(__doc__.splitlines()[0], XOR, out="out/xor", rows=40_000, rows_help="rows in all")
    args = flags.parse_args()
    METRICS.update(impact_error="|V - V*|", impact_correlation="corr. V, V*")
    task = xor(args.rows)
    (classifiers,) = run([task], args, XOR)

    x, _ = task.rows(0)[-1]
    x = x[:3000]
    gap = primo_of(classifiers).impact_gap(x).assign(o=x.values["o"][:, 0], m=x.values["m"][:, 0])
    figure, ax = plt.subplots(figsize=(6.5, 5))
    gap_scatter(gap, ax=ax)
    save(figure, args.out / "gap.png")
    figure, ax = plt.subplots(figsize=(5.5, 5.5))
    impact_against_truth(gap["impact_missing"], task.impact(x), ax=ax)
    save(figure, args.out / "truth.png")


if __name__ == "__main__":
    main()
