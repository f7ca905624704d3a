"""Standardisation by the rows that a model may learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["standardise"]


def standardise(values: np.ndarray, rows: ArrayLike | slice, counted: np.ndarray | None = None) -> np.ndarray:
    """Features with mean 0 and standard deviation 1 over the given rows.

    Parameters
    ----------
    values : array [N, ..., F]
    rows
        Which of the N rows set mean and deviation.
    counted : booleans [N, ..., F]
        Which values do; all by default.

    Returns
    -------
    array [N, ..., F], float32
        A feature that does not vary over the rows is only centred.

    Examples
    --------
    >>> standardise(np.array([[1.0, 7], [3, 7], [9, 8]]), rows=[0, 1])
    array([[-1.,  0.],
           [ 1.,  0.],
           [ 7.,  1.]], dtype=float32)
    """
    where = np.ones(values.shape, bool) if counted is None else counted
    chosen = rows if isinstance(rows, slice) else np.asarray(rows)
    known, where = values[chosen].astype(float), where[chosen]
    axes = tuple(range(values.ndim - 1))
    count = np.maximum(where.sum(axes), 1)
    mean = np.where(where, known, 0).sum(axes) / count
    spread = np.sqrt((np.where(where, known - mean, 0) ** 2).sum(axes) / count)
    return ((values - mean) / np.where(spread > 0, spread, 1)).astype(np.float32)
