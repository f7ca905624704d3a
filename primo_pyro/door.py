"""What estimators check of rows and labels together, before anything is learnt."""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Set, Sized
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.errors import LabelError, RowError, TableWarning, warn
from primo_pyro.identity import index_of, listed
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.rows import StoredRows
from primo_pyro.table_files import as_frame

__all__ = ["align_labels", "groups_of", "split_labels", "warn_of_answers", "warn_of_shapes"]

SQUARE = 28  # pixels; a square of this size is rather an image than as many hours of as many measurements
SIDE = 16  # pixels of an image whose colours stand last
COLOURS = (1, 3, 4)
MANY = 20  # rows; in fewer, a column that goes with the label is no wonder


def split_labels(x: RowsLike, y: ArrayLike | str) -> tuple[RowsLike, ArrayLike]:
    """Rows and labels, where ``y`` may be the name of a column of a DataFrame, which is taken out of it.

    A column of the name of the Series ``y`` that says the same is taken out too, else the answer would stand
    among the questions, as for the block ``"*"``.

    Raises
    ------
    LabelError
        Where there is no such column, or several.

    >>> rows, y = split_labels(pd.DataFrame({"age": [71, 40], "died": [1, 0]}), "died")
    >>> list(rows.columns), y.tolist()
    (['age'], [1, 0])
    """
    if isinstance(x, StoredRows):
        return (x.without(y), x.column(y)) if isinstance(y, str) else (x, y)
    if hasattr(x, "to_pandas"):
        x = as_frame(x)
    if isinstance(y, str | int | np.integer) and not isinstance(y, bool):
        if not isinstance(x, pd.DataFrame) or y not in x.columns:
            found = f"the columns {listed(x.columns, 8)}" if isinstance(x, pd.DataFrame) else type(x).__name__
            raise LabelError(
                f"y is {'the string ' if isinstance(y, str) else ''}{y!r}, and x has {found}; expected the "
                "name of a column of a DataFrame, or one label a row. Correct the name, or pass the labels."
            )
        return _without(x, y), x[y]
    name = getattr(y, "name", None)
    if isinstance(x, pd.DataFrame) and isinstance(y, pd.Series) and name in x.columns:
        return (_without(x, name) if _says_the_same(x[name], y) else x), y
    return x, y


def _without(x: pd.DataFrame, label: Hashable) -> pd.DataFrame:
    if (x.columns == label).sum() > 1:
        raise LabelError(
            f"x has several columns named {label!r}; expected one, the labels. Write "
            "x = x.loc[:, ~x.columns.duplicated()]."
        )
    return x.drop(columns=label)


def _says_the_same(column: pd.Series | pd.DataFrame, y: pd.Series) -> bool:
    """Whether labels are a column of the rows: in another order, as another type, or under other names."""
    if isinstance(column, pd.DataFrame):
        return True  # the caller refuses to choose among several
    if not column.index.equals(y.index) and column.index.is_unique and y.index.is_unique:
        y = y.reindex(column.index)
    if len(column) != len(y):
        return False
    try:
        codes = [pd.factorize(values)[0] for values in (column, y)]
    except (TypeError, ValueError):
        return False
    return bool(np.array_equal(*codes))


def align_labels(x: Modalities, y: ArrayLike) -> Any:
    """Labels in the order of the rows, one for each.

    Raises
    ------
    LabelError
        Where there are more or fewer, or labels of other rows.

    >>> x = Modalities({"age": pd.Series([71, 40], index=["ann", "bob"])})
    >>> align_labels(x, pd.Series([1, 0], index=["bob", "ann"])).tolist()
    [0, 1]
    """
    if y is None:
        return y
    if hasattr(y, "__array__") and not hasattr(y, "__len__"):
        y = np.asarray(y)
    try:
        rows = len(cast(Sized, y))
    except TypeError:
        rows = -1
    if rows < 0 or isinstance(y, str | Mapping | Set):
        raise LabelError(
            f"y is {type(y).__name__} ({y!r:.60}); expected one label a row. Pass a list, an array or a "
            "Series of labels."
        )
    if len(x) != rows and (x.index is None or index_of(y) is None):
        raise LabelError(
            f"x has {len(x)} rows and y {rows} labels; expected one label a row. Give each row one."
        )
    return x.align("y", y, LabelError)


def groups_of(x: Modalities, groups: ArrayLike | None) -> np.ndarray | None:
    """The group of each row, in the order of the rows; None stays None.

    Raises
    ------
    RowError
        Where there is not one a row, or groups are of other rows.
    """
    if groups is None:
        return None
    found = np.asarray(x.align("groups", groups, RowError))
    if found.shape != (len(x),):
        raise RowError(
            f"groups has shape {list(found.shape)}; expected one value for each of {len(x)} rows. Name the "
            "group of every row."
        )
    return found


def warn_of_answers(x: Modalities, codes: np.ndarray) -> None:
    """Warn of columns that are the label, or a class of it, in other words.

    Of classes these are columns that do not vary within any class and differ between some; of numbers those
    of which the label is a linear function.

    Warns
    -----
    TableWarning
        With the names of the columns.
    """
    told: list[Hashable] = []
    for name, columns in x.columns.items():
        values = x.values[name][x.present[name]].astype(float)
        labels = codes[x.present[name]]
        if labels.ndim > 1 or values.ndim != 2 or len(labels) < MANY:
            continue
        if labels.dtype.kind == "f":
            with np.errstate(invalid="ignore", divide="ignore"):
                spread = (values - values.mean(0)) / values.std(0) / len(labels)
                says = np.abs(spread.T @ ((labels - labels.mean()) / labels.std())) > 1 - 1e-6
        else:
            _, first, of_class = np.unique(labels, return_index=True, return_inverse=True)
            other = (values != values[0]).sum(0)
            says = (values == values[first][of_class]).all(0) & (
                np.minimum(other, len(labels) - other) >= MANY / 2
            )
        told += [column for column, is_told in zip(columns, says, strict=True) if is_told]
    if told:
        warn(
            f"The columns {listed(told)} say what the label is in all {len(x)} rows; expected what is known "
            "before it. Take them out of blocks if they are the label in other words: behind a pattern "
            '"!name" does.',
            TableWarning,
        )


def warn_of_shapes(x: Modalities, encoders: Container[str] | None) -> None:
    """Warn where blocks are images that would be read as something else.

    Warns
    -----
    TableWarning
        For square ``[N, side, side]``, which is read as a series, and ``[N, height, width, colours]``, which
        is read as many channels.
    """
    for name in x.names:
        shape = x.values[name].shape[1:]
        if encoders is not None and name in encoders:
            continue
        if len(shape) == 2 and shape[0] == shape[1] >= SQUARE:
            read, cure = f"a series of {shape[0]} hours with {shape[1]} features", "values[:, None]"
        elif len(shape) == 3 and shape[2] in COLOURS and shape[0] == shape[1] >= SIDE:
            read, cure = f"an image of {shape[0]} channels", "np.moveaxis(values, -1, 1)"
        else:
            continue
        warn(
            f"Modality {name!r} has {len(x)} rows of shape {list(shape)}, and is read as {read}; expected "
            f"images as [rows, channels, height, width]. If they are images, pass {cure}; if not, pass "
            f"encoders={{{name!r}: module}} to read this no more.",
            TableWarning,
        )
