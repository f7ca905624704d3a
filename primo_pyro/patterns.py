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
    which = np.zeros(len(next(iter(has.values()))), int)
    for is_in in has.values():
        which = np.unique(2 * which + is_in, return_inverse=True)[1]
    positions = [np.flatnonzero(which == i) for i in np.unique(which)]
    return [(tuple(name for name, is_in in has.items() if is_in[rows[0]]), rows) for rows in positions]
