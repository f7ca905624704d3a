"""Real handwritten digits, cut in halves: the top is always present, the bottom may be missing.

    python examples/digits.py --out out/digits

trains on 1,257 rows, in half of which the bottom is dropped, and asks about 540 new rows: what digit is it,
from the top half alone and from both? How much would the bottom half change that, and towards which digits?
``results.csv`` has every score, ``impact.png`` shows the distribution of impact, ``rows.png`` the rows of
highest and lowest impact.
"""

from __future__ import annotations

from matplotlib.axes import Axes

from primo_pyro import Modalities
from primo_pyro.data import digit_images
from primo_pyro.studies.figures import impact_picture, rows_picture
from primo_pyro.studies.protocols import DIGIT_HALVES
from primo_pyro.studies.revealed import hide_and_reveal
from primo_pyro.studies.runner import first_primo, make_parser, run
from primo_pyro.studies.tasks import digit_halves


def draw_halves(ax: Axes, x: Modalities) -> None:
    """The whole digit, with the hidden half marked."""
    ax.imshow(digit_images(x)[0], cmap="Greys", vmin=0, vmax=1)
    ax.axhspan(3.5, 7.5, facecolor="tab:orange", alpha=0.45)
    ax.set(xticks=[], yticks=[])
    ax.set_title("the bottom half is hidden", fontsize="small", color="tab:orange")


def main() -> None:
    parser = make_parser(
        __doc__.splitlines()[0], DIGIT_HALVES, out="out/digits", rows=1797, rows_help="rows in all"
    )
    args = parser.parse_args()
    task = digit_halves(args.rows)
    (classifiers,) = run([task], args, DIGIT_HALVES)
    rows = hide_and_reveal(first_primo(classifiers), task)
    impact_picture([rows], args.out / "impact.png")
    rows_picture(rows, args.out / "rows.png", draw_observed=draw_halves)


if __name__ == "__main__":
    main()
