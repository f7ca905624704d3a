"""Real handwritten digits, cut in halves: the top is always seen, the bottom may be missing.

    python examples/digits.py --out out/digits

trains on 1,257 rows of which every other one has lost its bottom half, and asks of 540 new rows: what digit
is it, from the top half alone and from both? How much would the bottom half change that, and towards which
digits? ``results.csv`` has every score, ``impact.png`` how impact is distributed, ``rows.png`` the rows of
highest and lowest impact.
"""

from __future__ import annotations

from common import parser, primo_of, run
from figures import impact_picture, reveal, rows_picture

from primo_pyro.data import digit_images
from primo_pyro.studies.protocols import DIGIT_HALVES
from primo_pyro.studies.tasks import digit_halves


def draw(ax, x) -> None:
    """The whole digit, the hidden half marked."""
    ax.imshow(digit_images(x)[0], cmap="Greys", vmin=0, vmax=1)
    ax.axhspan(3.5, 7.5, facecolor="tab:orange", alpha=0.45)
    ax.set(xticks=[], yticks=[])
    ax.set_title("the bottom half is hidden", fontsize="small", color="tab:orange")


def main() -> None:
    flags = parser(
        __doc__.splitlines()[0], DIGIT_HALVES, out="out/digits", rows=1797, rows_help="rows in all"
    )
    args = flags.parse_args()
    task = digit_halves(args.rows)
    (classifiers,) = run([task], args, DIGIT_HALVES)
    revealed = reveal(primo_of(classifiers), task)
    impact_picture([revealed], args.out / "impact.png")
    rows_picture(revealed, args.out / "rows.png", seen=draw)


if __name__ == "__main__":
    main()
