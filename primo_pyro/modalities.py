"""Modalities: named blocks of values with explicit presence, the one way in for missing data.

Nothing behind it looks at NaN again: a value is present or absent, and an encoder receives only the rows in
which its modality is present.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.arrays import array_of
from primo_pyro.errors import ModalityError

__all__ = ["LARGEST", "Modalities", "RandomState", "RowsLike"]

LARGEST = np.finfo(np.float32).max  # networks compute in single precision
RandomState = int | np.random.Generator | None  # what numpy.random.default_rng takes; None: fresh entropy


class Modalities:
    """Several kinds of data about the same N rows, each present or absent in each row.

    Parameters
    ----------
    blocks
        Mapping from a modality's name to its values: an array, a tensor, a DataFrame or nested lists of
        shape ``[N, ...]`` (``[N]`` is read as ``[N, 1]``), or ``None`` for a modality that is absent in
        every row. A row whose values are all NaN is absent. Bytes (``uint8``) are kept as bytes; an
        encoder sees them divided by 255. With ``columns``, one DataFrame.
    present
        Mapping from names to booleans of shape ``[N]``, True where the modality is present. For a modality
        named here the values of absent rows are never looked at.
    columns
        With one DataFrame as ``blocks``: which of its columns make up each modality.

    Raises
    ------
    ModalityError
        Where blocks differ in length, a present row is partly NaN or infinite, values are not numbers,
        or ``present`` does not fit. The message names modality, number of rows and cure.

    Examples
    --------
    >>> import numpy as np
    >>> x = Modalities({"image": np.zeros((3, 8, 8)), "sound": [[0.1], [np.nan], [0.3]]})
    >>> x
    Modalities(3 rows: image [8, 8] in all, sound [1] in 2)
    >>> x.present["sound"]
    array([ True, False,  True])
    >>> x[x.present["sound"]]
    Modalities(2 rows: image [8, 8] in all, sound [1] in all)

    A table, with the columns of each modality:

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": [71, 40], "heart_rate": [90.0, None], "lactate": [1.2, None]})
    >>> Modalities(frame, columns={"history": ["age"], "first_day": ["heart_rate", "lactate"]})
    Modalities(2 rows: history [1] in all, first_day [2] in 1)
    """

    def __init__(
        self,
        blocks: Mapping[str, ArrayLike | None] | pd.DataFrame,
        present: Mapping[str, ArrayLike] | None = None,
        *,
        columns: Mapping[str, Iterable[str]] | None = None,
    ):
        if isinstance(blocks, pd.DataFrame):
            blocks = _split_columns(blocks, columns)
        elif columns is not None:
            raise ModalityError(
                f"columns was given with blocks of type {type(blocks).__name__}; expected one DataFrame. "
                "Pass the DataFrame as blocks, or leave columns out."
            )
        if not isinstance(blocks, Mapping) or not blocks:
            raise ModalityError(
                f"blocks is {type(blocks).__name__} ({blocks!r:.60}); expected a mapping from names to "
                "values, "
                'with at least one entry. Write Modalities({"x": values}).'
            )
        present = dict(present or {})
        for name in (*blocks, *present):
            _check_name(name, known=blocks)
        given = {name: None if v is None else _as_array(name, v) for name, v in blocks.items()}
        rows = _common_length(given, present)

        self.values: dict[str, np.ndarray] = {}
        self.present: dict[str, np.ndarray] = {}
        for name, values in given.items():
            if values is None:
                if np.any(present.get(name, False)):
                    raise ModalityError(
                        f"Modality {name!r} is None, and present says that {int(np.sum(present[name]))} rows "
                        "have it; expected none. Pass its values, or leave it out of present."
                    )
                self.values[name] = np.zeros((rows, 0), np.float32)
                self.present[name] = np.zeros(rows, bool)
            else:
                presence = _as_booleans(f"present[{name!r}]", present[name]) if name in present else None
                self.values[name] = values
                self.present[name] = _checked_presence(name, values, presence)

    @classmethod
    def _of_parts(cls, values: dict[str, np.ndarray], present: dict[str, np.ndarray]) -> Modalities:
        """Blocks that were checked before."""
        x = cls.__new__(cls)
        x.values, x.present = values, present
        return x

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in the order in which they were given."""
        return tuple(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, modalities)``; with it scikit-learn's splitters know how to count and index rows."""
        return len(self), len(self.values)

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    def __getitem__(self, rows: Any) -> Modalities:
        """Rows by slice, integer array or boolean array; a single integer gives one row, still 2-d."""
        if isinstance(rows, tuple):  # scikit-learn asks for x[rows, ...]
            rows = rows[0]
        if isinstance(rows, str):
            raise ModalityError(
                f"x[{rows!r}] asks for a modality; expected rows. Write x.values[{rows!r}] or "
                f"x.select({rows!r})."
            )
        if not isinstance(rows, slice):
            rows = np.atleast_1d(np.asarray(rows))
            if rows.size == 0:
                rows = rows.astype(int)
        return self._of_parts(
            {name: v[rows] for name, v in self.values.items()},
            {name: p[rows] for name, p in self.present.items()},
        )

    def __repr__(self) -> str:
        def block(name: str) -> str:
            count = int(self.present[name].sum())
            shape = f"{list(self.values[name].shape[1:])} " if count else ""
            return f"{name} {shape}in {'all' if count == len(self) else count}"

        return f"Modalities({len(self)} rows: {', '.join(map(block, self.names))})"

    @property
    def complete(self) -> np.ndarray:
        """Booleans ``[N]``: rows in which every modality is present."""
        return np.logical_and.reduce(list(self.present.values()))

    def select(self, *names: str) -> Modalities:
        """Only these modalities, in this order; one that is not known here is absent in every row.

        >>> Modalities({"a": [1.0, 2.0], "b": [3.0, 4.0]}).select("b", "c")
        Modalities(2 rows: b [1] in all, c in 0)
        """
        nothing = np.zeros((len(self), 0), np.float32)
        return self._of_parts(
            {name: self.values.get(name, nothing) for name in names},
            {name: self.present.get(name, np.zeros(len(self), bool)) for name in names},
        )

    def drop(self, *names: str, where: ArrayLike | None = None) -> Modalities:
        """The same rows with these modalities absent, everywhere or ``where`` (booleans ``[N]``).

        >>> x = Modalities({"o": [1.0, 2.0], "m": [3.0, 4.0]})
        >>> x.drop("m")
        Modalities(2 rows: o [1] in all, m in 0)
        >>> x.drop("m", where=[True, False]).present["m"]
        array([False,  True])
        """
        dropped = np.ones(len(self), bool) if where is None else _as_booleans("where", where)
        if len(dropped) != len(self):
            raise ModalityError(
                f"where has {len(dropped)} entries; expected {len(self)}, as many as rows. Give one boolean "
                "a row, True where the modality is to be dropped."
            )
        present = dict(self.present)
        for name in names:
            _check_name(name, known=self.values)
            present[name] = present[name] & ~dropped
        return self._of_parts(self.values, present)

    def reveal(self, name: str, rows: ArrayLike, values: Modalities | ArrayLike) -> Modalities:
        """The same rows with a modality present in some of them, where its values are not NaN.

        Parameters
        ----------
        name
            The modality.
        rows
            Positions of n rows.
        values
            Its values there ``[n, ...]``, as in the constructor; or `Modalities` of n rows that have it.

        Raises
        ------
        ModalityError
            Where the values do not fit the rows, or the values that other rows have.

        Examples
        --------
        >>> x = Modalities({"o": [1.0, 2.0, 3.0], "m": [3.0, np.nan, np.nan]})
        >>> x.reveal("m", [1, 2], [5.0, np.nan])
        Modalities(3 rows: o [1] in all, m [1] in 2)
        """
        _check_name(name, known=self.values)
        new = values if isinstance(values, Modalities) else Modalities({name: values})
        _check_name(name, known=new.values)
        rows = np.asarray(rows)
        block, revealed, present = self.values[name], new.values[name], new.present[name]
        if len(rows) != len(new):
            raise ModalityError(
                f"{len(new)} values of {name!r} came for {len(rows)} rows; expected one for each. Fill rows "
                "that cannot be had with NaN."
            )
        if not present.any():
            return self
        if not self.present[name].any():
            block = np.zeros((len(self), *revealed.shape[1:]), revealed.dtype)
        for what, found, expected in (
            ("shape", list(revealed.shape[1:]), list(block.shape[1:])),
            ("type", revealed.dtype.kind == "u", block.dtype.kind == "u"),  # bytes are fractions of 255
        ):
            if found != expected:
                raise ModalityError(
                    f"The new values of {name!r} are of another {what} ({revealed.dtype.name} "
                    f"{list(revealed.shape[1:])}) than those of other rows; expected {block.dtype.name} "
                    f"{list(block.shape[1:])}. Bring them in the same form."
                )
        block, everywhere = block.copy(), self.present[name].copy()
        block[rows[present]], everywhere[rows[present]] = revealed[present], True
        return self._of_parts(self.values | {name: block}, self.present | {name: everywhere})

    def drop_at_random(self, *names: str, rate: float = 0.5, random_state: RandomState = None) -> Modalities:
        """Each of these modalities absent with probability ``rate``, independently of everything.

        >>> x = Modalities({"o": np.ones(1000), "m": np.ones(1000)})
        >>> x.drop_at_random("m", rate=0.5, random_state=0)
        Modalities(1000 rows: o [1] in all, m [1] in 527)
        """
        if not 0 <= rate <= 1:
            raise ModalityError(f"rate is {rate}; expected a probability. Give a number from 0 to 1.")
        random = np.random.default_rng(random_state)
        x = self
        for name in names:
            x = x.drop(name, where=random.random(len(self)) < rate)
        return x


# What an estimator reads as rows: `Modalities`, a mapping of blocks, or one array ``[N, F]``.
RowsLike = Modalities | Mapping[str, ArrayLike | None] | ArrayLike


def _check_name(name: object, known: Iterable[str]) -> None:
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


def _split_columns(
    frame: pd.DataFrame, columns: Mapping[str, Iterable[str]] | None
) -> dict[str, pd.DataFrame]:
    if not columns:
        raise ModalityError(
            f"A DataFrame with {frame.shape[1]} columns came without the argument columns; expected the "
            'columns of each modality. Write Modalities(frame, columns={"static": ["age", ...], ...}).'
        )
    of_modality = {name: list(listed) for name, listed in columns.items()}
    for name, listed in of_modality.items():
        lacking = [column for column in listed if column not in frame.columns]
        if lacking:
            raise ModalityError(
                f"Modality {name!r} is to have the columns {lacking}, which the DataFrame with {len(frame)} "
                f"rows lacks; expected some of {list(frame.columns)[:10]}. Correct the names."
            )
    return {name: frame[listed] for name, listed in of_modality.items()}


def _as_array(name: str, values: Any) -> np.ndarray:
    """Numbers of shape ``[N, ...]`` that torch can take, without a copy where that can be."""
    if isinstance(values, pd.DataFrame | pd.Series):
        strings = [c for c, kind in pd.DataFrame(values).dtypes.items() if kind.kind not in "biuf"]
        if strings:
            raise ModalityError(
                f"Modality {name!r}: the columns {strings} of {len(values)} rows do not hold numbers. Encode "
                "them first, for example by pandas.get_dummies."
            )
        values = values.to_numpy(dtype=float, na_value=np.nan)
    try:
        if hasattr(values, "detach"):
            values = array_of(values)
        elif isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(float), np.nan)
        array = np.asarray(values)
        if array.dtype == object:
            if any(isinstance(value, str) for value in array.flat):
                raise TypeError("some entries are strings")
            array = array.astype(float)
    except (TypeError, ValueError) as error:
        raise ModalityError(
            f"Modality {name!r} cannot be read as numbers of one shape [rows, ...]: {error}. Give every "
            "row the same number of numeric features."
        ) from error
    if array.dtype.kind not in "biuf":
        raise ModalityError(
            f"Modality {name!r} holds {array.dtype.name} in its {len(array)} rows; expected numbers. Encode "
            "categories as numbers first."
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


def _as_booleans(what: str, booleans: ArrayLike) -> np.ndarray:
    array = np.asarray(booleans)
    if array.ndim != 1 or not (array.dtype == bool or np.isin(array, (0, 1)).all()):
        raise ModalityError(
            f"{what} has shape {list(array.shape)} and type {array.dtype.name}; expected one boolean a row. "
            "Give True or False for each."
        )
    return array.astype(bool)


def _common_length(given: Mapping[str, np.ndarray | None], present: Mapping[str, ArrayLike]) -> int:
    lengths = {name: len(values) for name, values in given.items() if values is not None}
    lengths |= {f"present[{name!r}]": len(np.atleast_1d(p)) for name, p in present.items()}
    if not lengths:
        raise ModalityError(
            "Every modality is None, so the number of rows is unknown. Give the presence of one of them "
            "(present={name: zeros}), or the values of at least one."
        )
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name}: {rows} rows" for name, rows in lengths.items())
        raise ModalityError(
            f"The modalities differ in length ({found}); expected as many rows in each. Give one entry a "
            "row; where a modality is absent, fill the row with NaN."
        )
    return next(iter(lengths.values()))


def _checked_presence(name: str, values: np.ndarray, present: np.ndarray | None) -> np.ndarray:
    """Where a modality is present; all that can be wrong with its present rows is said here."""
    if values.dtype.kind != "f":
        return np.ones(len(values), bool) if present is None else present
    features = tuple(range(1, values.ndim))
    nan = np.isnan(values)
    partly = nan.any(features)
    if present is None:
        present = ~nan.all(features) if values[:1].size else np.ones(len(values), bool)
    partly &= present
    if partly.any():
        raise ModalityError(
            f"Modality {name!r}: {int(partly.sum())} of {len(values)} rows are partly NaN (first: row "
            f"{int(partly.argmax())}); expected all of a row or none of it. Impute within the modality, drop "
            "the feature, or set the whole row to NaN."
        )
    infinite = (np.abs(values) > LARGEST).any(features) & present
    if infinite.any():
        raise ModalityError(
            f"Modality {name!r}: {int(infinite.sum())} of {len(values)} rows hold infinities or values above "
            f"{LARGEST:.2g} (first: row {int(infinite.argmax())}); expected finite numbers. Replace or clip "
            "them."
        )
    return present
