"""What estimators check of rows and labels together, before anything is learnt."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.errors import LabelError, TableWarning, warn
from primo_pyro.identity import index_of, listed
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.rows import StoredRows

__all__ = ["align_labels", "split_labels", "warn_of_shapes"]

SQUARE = 28  # pixels; a square of this size is rather an image than as many hours of as many measurements
SIDE = 16  # pixels of an image whose colours stand last
COLOURS = (1, 3, 4)


def split_labels(x: RowsLike, y: ArrayLike | str) -> tuple[RowsLike, ArrayLike]:
    """Rows and labels, where ``y`` may be the name of a column of a DataFrame, which is taken out of it.

    Raises
    ------
    LabelError
        Where there is no such column, or labels are a column of the rows at the same time.

    >>> rows, y = split_labels(pd.DataFrame({"age": [71, 40], "died": [1, 0]}), "died")
    >>> list(rows.columns), y.tolist()
    (['age'], [1, 0])
    """
    if isinstance(x, StoredRows):
        return (x.without(y), x.column(y)) if isinstance(y, str) else (x, y)
    if isinstance(y, str):
        if not isinstance(x, pd.DataFrame) or y not in x.columns:
            found = f"the columns {listed(x.columns, 8)}" if isinstance(x, pd.DataFrame) else type(x).__name__
            raise LabelError(
                f"y is the string {y!r}, and x has {found}; expected the name of a column of a DataFrame, or "
                "one label a row. Correct the name, or pass the labels."
            )
        return x.drop(columns=y), x[y]
    name = getattr(y, "name", None)
    if isinstance(x, pd.DataFrame) and isinstance(name, str) and name in x.columns and x[name].equals(y):
        return x.drop(columns=name), y  # else the answer would stand among the questions, as for "*"
    return x, y


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
    shape = np.asarray(y).shape
    rows = shape[0] if shape else 0
    if len(x) != rows and (x.index is None or index_of(y) is None):
        raise LabelError(f"x has {len(x)} rows and y {rows} labels; expected one label a row. Correct y.")
    return x.align("y", y, LabelError)


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
