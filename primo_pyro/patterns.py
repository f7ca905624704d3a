"""Patterns of absence: which rows have which modalities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["rows_by_set"]


def rows_by_set(has: Mapping[str, np.ndarray]) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Each set of names that some rows have, and the positions of these rows.

    Parameters
    ----------
    has
        Name to booleans ``[N]``.

    Examples
    --------
    >>> has = {"a": np.array([True, True, False]), "b": np.array([True, False, True])}
    >>> for names, rows in rows_by_set(has):
    ...     print(names, rows)
    ('b',) [2]
    ('a',) [1]
    ('a', 'b') [0]
    """
    sets, which = np.unique(np.stack(list(has.values()), axis=1), axis=0, return_inverse=True)
    return [
        (
            tuple(name for name, is_in in zip(has, each, strict=True) if is_in),
            np.flatnonzero(which.ravel() == i),
        )
        for i, each in enumerate(sets)
    ]
