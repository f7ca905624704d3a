"""What all pictures share: colours that colour-blind readers can tell apart, and titled axes."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

__all__ = [
    "BLUE",
    "COMPLETE",
    "GREEN",
    "GREY",
    "MISSING",
    "ORANGE",
    "PURPLE",
    "RED",
    "SKY",
    "YELLOW",
    "titled_axes",
]

# The palette of M. Okabe and K. Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F",
)  # fmt: skip
MISSING, COMPLETE = ORANGE, BLUE  # the two scenarios, the same in every picture


def titled_axes(ax: Axes | None, title: str, xlabel: str, ylabel: str) -> Axes:
    """Prepare axes: a title at the left, labels, and no frame at the top and the right.

    Parameters
    ----------
    ax
        The axes to prepare; None: the current axes of ``matplotlib.pyplot``.
    title, xlabel, ylabel
        Texts.

    Returns
    -------
    Axes
        The prepared axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> titled_axes(Figure().subplots(), "Impact", "V", "rows").get_title(loc="left")
    'Impact'
    """
    ax = plt.gca() if ax is None else ax
    ax.set_title(title, loc="left", fontsize="medium")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
