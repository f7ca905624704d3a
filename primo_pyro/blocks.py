"""One block of values, or of booleans, as users bring it: read as an array, or refused with a cure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from primo_pyro.arrays import array_of
from primo_pyro.errors import ModalityError, PositionError
from primo_pyro.identity import Names, aligned, columns_of, index_of, listed

__all__ = [
    "LARGEST",
    "Values",
    "as_booleans",
    "as_positions",
    "check_name",
    "cure_of_dates",
    "read_blocks",
    "stacked",
]

Values = Mapping[str, ArrayLike | None]  # values of each modality, by name; None where no row has it

LARGEST = np.finfo(np.float32).max  # networks compute in single precision
# What numpy turns into numbers, and should not: "12", and the days, months or years of a date since 1970.
NOT_NUMBERS = (str, bytes, np.datetime64, np.timedelta64)


def check_name(name: object, known: Iterable[str]) -> None:
    """Refuse what cannot name a modality, or names none.

    Raises
    ------
    ModalityError
        With a name that can.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ModalityError(
            f"{name!r} cannot name a modality; expected an identifier. Use letters, digits and underscores, "
            "as in 'first_day'."
        )
    if name not in known:
        raise ModalityError(
            f"Unknown modality {name!r}; expected one of {', '.join(map(repr, known))}. Correct the name, or "
            "add its values."
        )


def read_blocks(
    blocks: Mapping[str, Any], present: Mapping[str, Any] | None, index: ArrayLike | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], pd.Index | None, dict[str, Names]]:
    """Values, presence, labels of rows and names of columns; the arguments are those of `Modalities`.

    Raises
    ------
    ModalityError
        As there.
    """
    if isinstance(blocks, pd.DataFrame):
        some = ", ".join(repr(str(column)) for column in blocks.columns[:2])
        raise ModalityError(
            f"A DataFrame with {blocks.shape[1]} columns came as blocks; expected a mapping from names to "
            f"values. Say which columns make up each modality: TableReader({{'history': [{some}]}})"
            ".fit_transform(frame), or the same as blocks of an estimator."
        )
    if not isinstance(blocks, Mapping) or not blocks:
        raise ModalityError(
            f"blocks is {type(blocks).__name__} ({blocks!r:.60}); expected a mapping from names to "
            'values, with at least one entry. Write Modalities({"x": values}).'
        )
    if present is not None and not isinstance(present, Mapping | pd.DataFrame):
        raise ModalityError(
            f"present is {type(present).__name__} ({present!r:.60}); expected a mapping from names to one "
            f"boolean a row. Write present={{{next(iter(blocks))!r}: booleans}}."
        )
    present = dict(present) if present is not None else {}
    for name in (*blocks, *present):
        check_name(name, known=blocks)
    blocks = {
        name: v.to_pandas() if hasattr(v, "to_pandas") and hasattr(v, "columns") else v
        for name, v in blocks.items()
    }
    labels, reference = _labels_of_rows(blocks, present, index)
    place = "index" if reference == "index" else f"{reference}.index"

    def in_order(what: str, values: Any, cure: str) -> Any:
        return aligned(what, values, labels, cure=cure.format(place), reference=reference)

    blocks = {
        name: in_order(f"Modality {name!r}", v, f"Write {name}.reindex({{}}): rows without it are absent.")
        for name, v in blocks.items()
    }
    present = {
        name: in_order(f"present[{name!r}]", v, "Write .reindex({}, fill_value=False) behind it.")
        for name, v in present.items()
    }
    given = {name: None if v is None else _as_array(name, v) for name, v in blocks.items()}
    lengths = {name: len(values) for name, values in given.items() if values is not None}
    lengths |= {f"present[{name!r}]": len(np.atleast_1d(p)) for name, p in present.items()}
    rows = _common_length(lengths if labels is None else {reference: len(labels)} | lengths)

    values, presence = {}, {}
    for name, block in given.items():
        said = as_booleans(f"present[{name!r}]", present[name]) if name in present else None
        if block is not None:
            values[name], presence[name] = block, _checked_presence(name, block, said, labels)
        elif said is not None and said.any():
            raise ModalityError(
                f"Modality {name!r} is None, and present says that {int(said.sum())} rows have it; expected "
                "none. Pass its values, or leave it out of present."
            )
        else:
            values[name], presence[name] = np.zeros((rows, 0), np.float32), np.zeros(rows, bool)
    columns = {name: columns_of(v) for name, v in blocks.items()}
    return values, presence, labels, {name: names for name, names in columns.items() if names is not None}


def _labels_of_rows(
    blocks: Mapping[str, Any], present: Mapping[str, Any], index: ArrayLike | None
) -> tuple[pd.Index | None, str]:
    """The labels, and what they were taken from."""
    if index is not None:
        if isinstance(index, str | Mapping) or not np.iterable(index) or np.ndim(index) > 1:
            raise ModalityError(
                f"index is {type(index).__name__} ({index!r:.60}); expected one label a row. Pass a list of "
                "labels."
            )
        return pd.Index(index), "index"
    for name, values in blocks.items():
        found = index_of(values)
        if found is not None:
            return found, name
    for name, values in present.items():
        found = index_of(values)
        if found is not None:
            return found, f"present[{name!r}]"
    return None, ""


def _as_array(name: str, values: Any) -> np.ndarray:
    """Numbers of shape ``[N, ...]`` that torch can take, without a copy where that can be.

    Raises
    ------
    ModalityError
        Where they are no numbers, or not of one shape.
    """
    if issparse(values):
        raise ModalityError(
            f"Modality {name!r} is a sparse matrix of shape {list(values.shape)}; expected an array. Pass "
            "values.toarray()."
        )
    if isinstance(values, pd.DataFrame | pd.Series):
        values = _numbers_of(name, values)
    try:
        if hasattr(values, "detach"):
            values = array_of(values)
        elif isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(float), np.nan)
        array = np.asarray(values)
        if array.dtype == object:
            others = {type(v).__name__ for v in array.flat if isinstance(v, NOT_NUMBERS)}
            if others:
                raise TypeError(f"some entries are of type {' and '.join(sorted(others))}")
            array = array.astype(float)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        said = str(error).partition(". ")[0].removesuffix(".")
        raise ModalityError(
            f"Modality {name!r} cannot be read ({said}); expected numbers of one shape, [rows, ...]. Give "
            "every row the same number of numeric features."
        ) from error
    if array.dtype.kind not in "biuf":
        raise ModalityError(
            f"Modality {name!r} holds {array.dtype.name} in its {len(np.atleast_1d(array))} rows; expected "
            f"numbers. Read a table: TableReader({{{name!r}: [columns]}}).fit_transform(frame)."
        )
    if array.ndim == 0:
        raise ModalityError(
            f"Modality {name!r} is a single number; expected a value for each row. Give values of shape "
            "[rows, features]."
        )
    # Other byte orders and extended precision are nothing that torch reads.
    native = np.dtype(float) if array.dtype.char == "g" else array.dtype.newbyteorder("=")
    array = array.astype(native, copy=False)
    return array[:, None] if array.ndim == 1 else array


def _numbers_of(name: str, values: Any) -> np.ndarray:
    frame = pd.DataFrame(values)
    kinds = [(str(column), kind) for column, kind in frame.dtypes.items()]
    for column, kind in kinds:
        if kind.kind in "Mm" or isinstance(kind, pd.PeriodDtype):
            raise ModalityError(
                f"Modality {name!r}: the column {column!r} of {len(values)} rows holds {kind}; expected "
                f"numbers. {cure_of_dates(column, kind)}"
            )
    others = [column for column, kind in kinds if kind.kind not in "biuf"]
    if others:
        raise ModalityError(
            f"Modality {name!r}: the columns {others} of {len(values)} rows do not hold numbers; expected "
            f"numbers. Read the table as it is: TableReader({{{name!r}: {[c for c, _ in kinds]}}})"
            ".fit_transform(frame), or give such blocks to the estimator."
        )
    return values.to_numpy(dtype=float, na_value=np.nan)


def cure_of_dates(column: str, kind: object = None) -> str:
    """How dates, or spans of time, become numbers."""
    if getattr(kind, "kind", "M") == "m":
        return f"Write frame[{column!r}] = frame[{column!r}].dt.total_seconds() / 86400, or leave it out."
    dates = f"pd.to_datetime(frame[{column!r}])"
    if isinstance(kind, pd.PeriodDtype):
        dates = f"frame[{column!r}].dt.to_timestamp()"
    elif getattr(kind, "tz", None) is not None:
        dates += ".dt.tz_convert(None)"
    return (
        f'Make them days since a fixed date: frame[{column!r}] = ({dates} - pd.Timestamp("2000-01-01")).dt.'
        "days, or leave the column out."
    )


def as_booleans(what: str, booleans: ArrayLike) -> np.ndarray:
    """One boolean a row.

    Raises
    ------
    ModalityError
        Where they are not.
    """
    array = np.asarray(booleans)
    missing = np.ma.getmaskarray(booleans).any() if np.ma.isMaskedArray(booleans) else pd.isna(array).any()
    if array.ndim != 1 or missing or not (array.dtype == bool or np.isin(array, (0, 1)).all()):
        raise ModalityError(
            f"{what} has shape {list(array.shape)} and type {array.dtype.name}"
            f"{', with missing entries' if missing else ''}; expected one boolean a row. Give True or False "
            "for each."
        )
    return array.astype(bool)


def as_positions(rows: Any, count: int) -> np.ndarray:
    """Which of ``count`` rows are picked: integers, or booleans ``[count]``.

    Raises
    ------
    ModalityError
        Where they are neither.
    PositionError
        Where no such row exists, or the booleans are more or fewer.
    """
    picked = np.atleast_1d(np.asarray(rows))
    if picked.size == 0:
        return picked.astype(int)
    if picked.dtype.kind not in "biu":
        raise ModalityError(
            f"x[...] got rows of type {picked.dtype.name} ({picked!r:.60}); expected a slice, whole numbers "
            "or booleans. Give positions of rows, as in x[[0, 2]]."
        )
    if picked.dtype == bool and len(picked) != count:
        raise PositionError(
            f"x[...] got a mask of {len(picked)} rows; expected one of {count}, as many as x has. Pick with "
            "a mask of these rows."
        )
    outside = picked[(picked < -count) | (picked >= count)] if picked.dtype != bool else picked[:0]
    if len(outside):
        raise PositionError(
            f"x[...] got the row {outside[0]}; expected positions of {count} rows. Pick from 0 to "
            f"{count - 1}."
        )
    return picked


def _common_length(lengths: Mapping[str, int]) -> int:
    """The number of rows in which all parts agree.

    Raises
    ------
    ModalityError
        Where they do not, or nothing has rows.
    """
    if not lengths:
        raise ModalityError(
            "Every modality is None, so the number of rows is unknown; expected one that has rows. Give the "
            "presence of one of them (present={name: zeros}), or the values of at least one."
        )
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name}: {rows} rows" for name, rows in lengths.items())
        raise ModalityError(
            f"The modalities differ in length ({found}); expected as many rows in each. Give one entry a "
            "row; where a modality is absent, fill the row with NaN."
        )
    return next(iter(lengths.values()))


def _checked_presence(
    name: str, values: np.ndarray, present: np.ndarray | None, index: pd.Index | None = None
) -> np.ndarray:
    """Where a modality is present: where not all of its values are NaN. Some of them may be.

    Raises
    ------
    ModalityError
        Where a present row holds nothing but NaN, or infinities.
    """
    if values.dtype.kind != "f":
        return np.ones(len(values), bool) if present is None else present
    features = tuple(range(1, values.ndim))
    empty = np.isnan(values).all(features) if values[:1].size else np.zeros(len(values), bool)
    if present is None:
        present = ~empty
    nothing = empty & present
    if nothing.any():
        raise ModalityError(
            f"Modality {name!r}: {int(nothing.sum())} of {len(values)} rows ({_rows(nothing, index)}) are "
            f"present, and hold nothing but NaN; expected some value. Leave {name!r} out of present, or say "
            "False for these rows."
        )
    infinite = (np.abs(values) > LARGEST).any(features) & present
    if infinite.any():
        raise ModalityError(
            f"Modality {name!r}: {int(infinite.sum())} of {len(values)} rows hold infinities or values above "
            f"{LARGEST:.2g} (first: row {_rows(infinite, index, 1)}); expected finite numbers. Replace or "
            "clip them."
        )
    return present


def _rows(where: np.ndarray, index: pd.Index | None, most: int = 3) -> str:
    """The first rows, by their labels."""
    places = np.flatnonzero(where)
    labels = places if index is None else index[places]
    return listed(labels[:most] if most == 1 else labels, most)


def stacked(name: str, parts: Sequence[tuple[int, np.ndarray | None]]) -> np.ndarray:
    """Values of one modality, part by part; zeros for the rows of a part that has none.

    Raises
    ------
    ModalityError
        Where parts have different shapes.

    >>> stacked("m", [(1, np.array([[2.0]])), (2, None)]).tolist()
    [[2.0], [0.0], [0.0]]
    """
    known = [values for _, values in parts if values is not None]
    if len({values.shape[1:] for values in known}) > 1:
        found = ", ".join(f"{list(v.shape[1:])}" for v in known)
        raise ModalityError(
            f"Modality {name!r} has rows of different shapes in {len(parts)} parts ({found}); expected "
            "one. Bring them in the same."
        )
    like = known[0] if known else np.zeros((0, 0), np.float32)
    return np.concatenate(
        [np.zeros((rows, *like.shape[1:]), like.dtype) if v is None else v for rows, v in parts]
    )
