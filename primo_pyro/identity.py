"""Which row is which, and which column: one rule for everything that comes in with names of its own.

Rows
    A DataFrame or a Series has an index, and an index always counts, the default 0, 1, 2, ... too. The first
    block that has one gives the rows their labels. Whatever comes with the same labels in another order
    (another block, ``present``, labels ``y``, costs, a mask) is put into the order of the rows; other labels
    are refused. Labels that repeat cannot be put in order, and have to come in the same order. Arrays,
    tensors and lists have no labels: they are read in the order in which they come.

Columns
    The same: the columns of a DataFrame are put into the order of the training rows, columns that are missing
    or too many are refused. Arrays have positions alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from primo_pyro.errors import ModalityError, PrimoError

__all__ = ["Names", "aligned", "columns_of", "difference", "index_of", "listed", "order_of_columns"]

Names = tuple[Hashable, ...]


def index_of(values: object) -> pd.Index | None:
    """The labels of rows, where values have them."""
    return values.index if isinstance(values, pd.DataFrame | pd.Series) else None


def columns_of(values: object) -> Names | None:
    """The names of columns, where values have them, as strings and integers."""
    if not isinstance(values, pd.DataFrame):
        return None
    return tuple(_plain(name) for name in values.columns)


def aligned(
    what: str,
    values: Any,
    index: pd.Index | None,
    *,
    cure: str,
    reference: str = "x",
    error: type[PrimoError] = ModalityError,
) -> Any:
    """Values in the order of the rows, where both have labels; else as they are.

    Parameters
    ----------
    what, reference
        How a message calls the values, and what gave the rows their labels.
    values
        Anything; only a DataFrame or Series is put in order.
    index
        Labels of the rows.
    cure
        What to write where labels differ.
    error
        Raised where the labels differ, or repeat and come in another order.

    Examples
    --------
    >>> y = pd.Series([1, 0], index=["b", "a"])
    >>> aligned("y", y, pd.Index(["a", "b"]), cure="Correct it.").tolist()
    [0, 1]
    >>> aligned("y", [1, 0], pd.Index(["a", "b"]), cure="Correct it.")
    [1, 0]
    """
    own = index_of(values)
    if own is None or index is None or own.equals(index):
        return values
    if own.is_unique and index.is_unique:
        places = _places(own, index)
        if len(own) == len(index) and (places >= 0).all():
            return values.iloc[places]
        lacking, more = index[places < 0], own[_places(index, own) < 0]
        raise error(
            f"{what} has other row labels than {reference}: {difference(lacking, more)}; expected the same "
            f"labels, in any order. {cure} To pair rows by position, pass .to_numpy()."
        )
    repeated = own[own.duplicated()] if not own.is_unique else index[index.duplicated()]
    raise error(
        f"{what} ({len(own)} rows) has other row labels than {reference} ({len(index)} rows), or the same in "
        f"another order, and some labels repeat ({listed(repeated.unique())}), so that rows cannot be "
        f"matched; expected labels that occur once. Make them unique, or pass .to_numpy() to pair rows by "
        "position."
    )


def order_of_columns(what: str, found: Names, expected: Names) -> np.ndarray:
    """Where each expected column stands among those found.

    Raises
    ------
    ModalityError
        Where columns are missing or too many, or repeat and come in another order.

    >>> order_of_columns("labs", ("q", "p"), ("p", "q"))
    array([1, 0])
    """
    if found == expected:
        return np.arange(len(found))
    place = {name: at for at, name in enumerate(found)}
    lacking = [name for name in expected if name not in place]
    more = [name for name in found if name not in set(expected)]
    if lacking or more:
        raise ModalityError(
            f"{what} has other columns than in training: {difference(lacking, more)}; expected "
            f"{listed(expected, 10)}. Pass these columns, in any order, or .to_numpy() to go by position."
        )
    if len(place) < len(found) or len(set(expected)) < len(expected):
        repeated = sorted({str(name) for name in found if found.count(name) > 1})
        raise ModalityError(
            f"{what} has columns that repeat ({listed(repeated)}) "
            f"in another order or number than in training; expected {listed(expected, 10)}. Rename them."
        )
    return np.array([place[name] for name in expected])


def difference(lacking: Iterable[Hashable], more: Iterable[Hashable]) -> str:
    """What is missing and what is too much, in words.

    >>> difference(["a"], ["b", "c"])
    "it lacks 1 ('a') and has 2 more ('b', 'c')"
    """
    lacking, more = list(lacking), list(more)
    parts = [f"it lacks {len(lacking)} ({listed(lacking)})"] if lacking else []
    parts += [f"{'' if lacking else 'it '}has {len(more)} more ({listed(more)})"] if more else []
    return " and ".join(parts)


def listed(names: Iterable[Hashable], most: int = 5) -> str:
    """The first names of many.

    >>> listed(["a", "b", "c"], 2)
    "'a', 'b', ..."
    """
    names = [_plain(name) for name in names]
    return ", ".join([*map(repr, names[:most]), *(["..."] if len(names) > most else [])])


def _plain(name: Any) -> Hashable:
    """A label as JSON knows it."""
    if isinstance(name, np.generic):
        name = name.item()
    if isinstance(name, tuple):
        return tuple(map(_plain, name))
    return name if isinstance(name, str | int) else str(name)


def _places(own: pd.Index, index: pd.Index) -> np.ndarray:
    try:
        return own.get_indexer(index)
    except (TypeError, ValueError, pd.errors.InvalidIndexError):  # labels of kinds that cannot be compared
        return np.full(len(index), -1)
