"""Which training rows are held out to choose the epoch: alike in classes and absence, groups kept together.

Rows are put in order by class, within it by pattern of absence, at random within these, and every n-th is
held out (systematic sampling): each class and pattern then has its share of the rows held out, up to one row.
scikit-learn's StratifiedShuffleSplit refuses classes of a single row, and strata of two kinds at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold

from primo_pyro.errors import FewRowsWarning, RowError, warn
from primo_pyro.modalities import Modalities
from primo_pyro.rows import StoredRows, part_of

__all__ = ["Rows", "codes_of_groups", "folds", "held_out_rows", "warn_of_absent_classes"]


@dataclass(frozen=True)
class Rows:
    """N rows with labels, and what each counts.

    Attributes
    ----------
    x
        Values and presence.
    y
        Labels ``[N]`` as the outcome takes them.
    weights
        What each row counts ``[N]``; None: all the same.
    """

    x: Modalities
    y: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: np.ndarray) -> Rows:
        """Some rows; those of a storage stay in it."""
        return self._some(cast(Modalities, part_of(self.x, rows)), rows)

    def in_memory(self, most: int, seed: int) -> Rows:
        """Rows of a storage in memory, at random at most so many; what is in memory stays as it is."""
        if not isinstance(self.x, StoredRows) or len(self) == 0:
            return self
        rows = np.sort(np.random.default_rng([seed, 3]).permutation(len(self))[:most])
        return self._some(self.x[rows], rows)

    def _some(self, x: Modalities, rows: np.ndarray) -> Rows:
        return Rows(x, self.y[rows], None if self.weights is None else self.weights[rows])


def held_out_rows(
    x: Modalities, classes: np.ndarray, share: float, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Indices of about a ``share`` of the rows, to be held out.

    Every class and every modality keeps a training row, and a class of two rows or more has one held out
    where the share is large enough for all classes.

    Parameters
    ----------
    x
        N rows.
    classes
        Booleans ``[N, C]``: the rows of each class; of numbers ``[N, 0]``.
    share
        Between 0 and 1. With groups, 1 / ``share`` is rounded: as many parts have whole groups.
    seed
        Which rows of those that are alike.
    groups
        Integers ``[N]``: rows of one group never cross.

    Examples
    --------
    >>> x = Modalities({"o": np.zeros(40)})
    >>> rare = np.arange(40) < 3
    >>> held = held_out_rows(x, np.stack([rare, ~rare], axis=1), 0.1, seed=0)
    >>> len(held), int(rare[held].sum())
    (4, 1)
    """
    size = int(share * len(x))
    if size == 0:
        return np.array([], int)
    columns, strata = _strata(x, classes)
    if groups is not None:
        parts = _folds_of_groups(columns, classes, max(2, round(1 / share)), seed, groups)
        return min(parts, key=lambda rows: ((~classes[rows].any(0)).sum(), abs(len(rows) - size)))
    order = _order(strata, seed)
    start = np.random.default_rng([seed, 1]).random()
    held = np.zeros(len(x), bool)
    held[order[((np.arange(size) + start) * len(x) / size).astype(int)]] = True
    shuffled = np.random.default_rng([seed, 2]).permutation(len(x))
    held = _with_each_class(held[shuffled], columns[shuffled], classes.shape[1])[np.argsort(shuffled)]
    return np.flatnonzero(_without_last(held, columns, np.arange(len(x))))


def folds(
    x: Modalities, classes: np.ndarray, number: int, seed: int, groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """Indices of the rows that each of several fits holds out; every row is in one fold, or in none.

    A row is in none where it would be missed in training: as the only one of its class, or with its modality.

    Parameters
    ----------
    x, classes, seed, groups
        As for `held_out_rows`.
    number
        Of folds; at most one a row or a group.

    Raises
    ------
    RowError
        Where there are fewer rows or groups than folds.

    Examples
    --------
    >>> x = Modalities({"o": np.zeros(7)})
    >>> [len(rows) for rows in folds(x, np.zeros((7, 0), bool), 3, seed=0)]
    [3, 2, 2]
    """
    columns, strata = _strata(x, classes)
    if groups is not None:
        return _folds_of_groups(columns, classes, number, seed, groups, exactly=True)
    if number > len(x):
        raise RowError(
            f"x has {len(x)} rows; expected at least one for each of {number} folds. Ask for fewer members, "
            "or bring more rows."
        )
    order = _order(strata, seed)
    units = np.arange(len(x))
    return [
        np.flatnonzero(_without_last(_at(order[f::number], len(x)), columns, units)) for f in range(number)
    ]


def codes_of_groups(groups: ArrayLike | None, rows: int) -> np.ndarray | None:
    """Integers ``[N]`` for the values of ``groups``, or None.

    Raises
    ------
    RowError
        Where there is not one value a row, or a value is missing.

    >>> codes_of_groups(["b", "a", "b"], 3)
    array([0, 1, 0])
    """
    if groups is None:
        return None
    values = np.asarray(groups)
    if values.shape != (rows,):
        raise RowError(
            f"groups has shape {list(values.shape)}; expected one value for each of {rows} rows. Name the "
            "group of every row; of a column of x, x[name]."
        )
    codes, _ = pd.factorize(values)
    if (codes < 0).any():
        raise RowError(
            f"groups has no value in {int((codes < 0).sum())} of {rows} rows (first: row "
            f"{int((codes < 0).argmax())}); expected one in each. Give such a row a group of its own."
        )
    return codes


def warn_of_absent_classes(
    classes: np.ndarray, held_out: Sequence[np.ndarray], names: Sequence[object]
) -> None:
    """One warning of all classes that no held-out row has.

    Parameters
    ----------
    classes
        Booleans ``[N, C]``: the training rows of each class.
    held_out
        Booleans ``[V, C]`` of the rows that each fit holds out, where it holds out any.
    names
        Of the C classes.

    Warns
    -----
    FewRowsWarning
        Naming the classes.
    """
    parts = [part for part in held_out if len(part)]
    occurring = np.flatnonzero(classes.any(0)).tolist()
    lacking = [c for c in occurring if any(not part[:, c].any() for part in parts)]
    if lacking:
        listed = ", ".join(f"{names[c]!r} ({int(classes[:, c].sum())} rows)" for c in lacking[:5])
        warn(
            f"Too few validation rows: none has the class {listed}{', ...' if len(lacking) > 5 else ''}; "
            "expected some of each class, since the epoch is chosen without it. Raise validation_fraction, "
            "pass validation, or bring more rows of it.",
            FewRowsWarning,
        )


def _strata(x: Modalities, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each class and of each modality ``[N, J]``; and codes of rows that are alike ``[N]``."""
    present = np.stack([x.present[name] for name in x.names], axis=1)
    columns = np.hstack([classes, present])
    # By class first, and in the sorted order of patterns within it.
    return columns, np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)


def _order(strata: np.ndarray, seed: int) -> np.ndarray:
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    return shuffled[np.argsort(strata[shuffled], kind="stable")]


def _at(rows: np.ndarray, count: int) -> np.ndarray:
    held = np.zeros(count, bool)
    held[rows] = True
    return held


def _with_each_class(held: np.ndarray, columns: np.ndarray, num_classes: int) -> np.ndarray:
    """Held-out rows, of which some are exchanged, so that no class is missed that can have one."""
    held, classes = held.copy(), columns[:, :num_classes]
    for c in np.flatnonzero(~classes[held].any(0)):
        in_training, in_held = columns[~held].sum(0), classes[held].sum(0)
        can_go = ~held & classes[:, c] & ~(columns & (in_training < 2)).any(1)
        can_return = held & ~(classes & (in_held < 2)).any(1)
        if can_go.any() and can_return.any():
            held[can_go.argmax()], held[can_return.argmax()] = True, False
    return held


def _without_last(held: np.ndarray, columns: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Held-out rows, less those that a class or modality needs in training; units stay together."""
    for column in columns.T:
        if column.any() and held[column].all():
            held = held & (units != units[column.argmax()])
    return held


def _folds_of_groups(
    columns: np.ndarray,
    classes: np.ndarray,
    number: int,
    seed: int,
    groups: np.ndarray,
    exactly: bool = False,
) -> list[np.ndarray]:
    count = len(np.unique(groups))
    if count < (number if exactly else 2):
        raise RowError(
            f"groups names {count} groups in {len(groups)} rows; expected at least "
            f"{number if exactly else 2}, since a group is held out as a whole. Pass validation, or set "
            f"{'fewer members' if exactly else 'validation_fraction=0'}."
        )
    number = min(number, count)
    strata = np.unique(classes, axis=0, return_inverse=True)[1].reshape(-1)
    if np.bincount(strata).max() < number:
        strata = np.zeros(len(groups), int)
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with few rows
        parts = [rows for _, rows in splitter.split(np.zeros(len(groups)), strata, groups)]
    return [np.flatnonzero(_without_last(_at(rows, len(groups)), columns, groups)) for rows in parts]
