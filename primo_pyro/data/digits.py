"""Halves of real handwritten digits, from the set that scikit-learn brings along: no download."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from primo_pyro.data.table import Table
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities

__all__ = ["HALF", "SIDE", "digit_images", "load_digits_halves", "load_digits_table"]

SIDE = 8
HALF = SIDE * SIDE // 2


def load_digits_halves() -> tuple[Modalities, np.ndarray]:
    """1,797 handwritten digits of 8 x 8 pixels, cut in a top and a bottom half.

    The top half is meant as the observed modality, the bottom half as the one that may be absent.

    Returns
    -------
    x : Modalities
        ``"top"`` [N, 32], the first four rows of pixels, and ``"bottom"`` [N, 32], the last four;
        float32 between 0 (paper) and 1 (ink). Both are present in every row.
    y : integer array [N]
        The digit, 0 to 9.

    Notes
    -----
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI repository, CC BY 4.0), the
    test part, as ``sklearn.datasets.load_digits`` holds it. Rows come in blocks of one writer each, so
    shuffle before you split.

    Examples
    --------
    >>> x, y = load_digits_halves()
    >>> x
    Modalities(1797 rows: top [32] in all, bottom [32] in all)
    >>> y[:4]
    array([0, 1, 2, 3])
    """
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    return Modalities({"top": pixels[:, :HALF], "bottom": pixels[:, HALF:]}), digits.target.astype(np.int64)


def digit_images(x: Modalities) -> np.ndarray:
    """The halves put together again, for pictures.

    Parameters
    ----------
    x : Modalities
        Rows from :func:`load_digits_halves`, possibly with halves dropped.

    Returns
    -------
    array [N, 8, 8], float32
        0 to 1; pixels of an absent half are NaN, which ``imshow`` leaves blank.

    Raises
    ------
    ModalityError
        Where ``x`` has no modalities ``"top"`` and ``"bottom"``.

    Examples
    --------
    >>> x, y = load_digits_halves()
    >>> image = digit_images(x.drop("bottom"))[0]
    >>> image.shape, int(np.isnan(image).sum())
    ((8, 8), 32)
    """
    missing = [name for name in ("top", "bottom") if name not in x.names]
    if missing:
        raise ModalityError(
            f"These rows have the modalities {', '.join(map(repr, x.names))}; expected 'top' and 'bottom'. "
            "Pass rows that came from load_digits_halves."
        )
    halves = np.full((len(x), 2, HALF), np.nan, np.float32)
    for i, name in enumerate(("top", "bottom")):
        rows = x.present[name]
        halves[rows, i] = x.values[name][rows]
    return halves.reshape(-1, SIDE, SIDE)


def load_digits_table() -> Table:
    """The same digits as one frame, cut in quarters; nothing is absent.

    Returns
    -------
    Table
        1,797 rows; a column is a pixel, ``pixel_<row>_<column>``, from 0 (paper) to 16 (ink). Blocks of 16:
        ``"top_left"``, ``"top_right"``, ``"bottom_left"``, ``"bottom_right"``. Labels and source as for
        `load_digits_halves`.

    Examples
    --------
    >>> table = load_digits_table()
    >>> table.frame.shape, table.blocks["top_right"][:4]
    ((1797, 64), ('pixel_0_4', 'pixel_0_5', 'pixel_0_6', 'pixel_0_7'))
    """
    digits = load_digits()
    frame = pd.DataFrame(digits.data, columns=[f"pixel_{i}_{j}" for i in range(SIDE) for j in range(SIDE)])
    sides = {"top": range(SIDE // 2), "bottom": range(SIDE // 2, SIDE)}
    across = {"left": sides["top"], "right": sides["bottom"]}
    blocks = {
        f"{side}_{part}": tuple(f"pixel_{i}_{j}" for i in rows for j in columns)
        for side, rows in sides.items()
        for part, columns in across.items()
    }
    about = "Optical Recognition of Handwritten Digits, UCI repository, CC BY 4.0."
    return Table("digits", frame, digits.target.astype(np.int64), blocks, tuple("0123456789"), about)
