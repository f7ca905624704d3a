"""Halves of real handwritten digits, from the set that scikit-learn brings along: no download."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities

__all__ = ["HALF", "SIDE", "digit_images", "load_digits_halves"]

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
