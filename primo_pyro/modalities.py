"""Modalities: named blocks of values with explicit presence, the one way in for missing data.

Whether a modality is present in a row is decided here, once. An encoder receives only the rows in which its
modality is present; single values may be missing in them (NaN), for encoders that take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.blocks import LARGEST, Values, as_booleans, as_positions, check_name, read_blocks, stacked
from primo_pyro.errors import ModalityError, PrimoError
from primo_pyro.identity import Names, aligned, index_of, order_of_columns

__all__ = ["LARGEST", "Modalities", "RandomState", "RowsLike"]

RandomState = int | np.random.Generator | None  # what numpy.random.default_rng takes; None: fresh entropy


class Modalities:
    """Several kinds of data about the same N rows, each present or absent in each row.

    Rows and columns keep their names: see `primo_pyro.identity` for the one rule.

    Parameters
    ----------
    blocks
        Mapping from a modality's name to its values: an array, a tensor, a DataFrame of numbers or nested
        lists of shape ``[N, ...]`` (``[N]`` is read as ``[N, 1]``), or ``None`` for a modality that is absent
        in every row. A row whose values are all NaN is absent.
        A table with texts is read by `primo_pyro.tables.TableReader`.
    present
        Mapping from names to booleans of shape ``[N]``, True where the modality is present. For a modality
        named here the values of absent rows are never looked at.
    index
        Labels of the rows, such as patients' numbers. None: those of the first block that has an index.

    Attributes
    ----------
    index : pandas Index, or None where nothing that came in had labels
    columns : dict from the modalities that came as a DataFrame to the names of their columns

    Raises
    ------
    ModalityError
        Where blocks differ in length or in the labels of their rows, a present row is infinite or has no
        value, values are not numbers, or ``present`` does not fit. The message names modality, number of
        rows and cure.

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

    Rows are matched by their labels:

    >>> import pandas as pd
    >>> age = pd.Series([71, 40], index=["ann", "bob"])
    >>> lactate = pd.Series([1.2, np.nan], index=["bob", "ann"])
    >>> x = Modalities({"history": age, "blood": lactate})
    >>> x.index.tolist(), x.present["blood"]
    (['ann', 'bob'], array([False,  True]))
    """

    def __init__(
        self,
        blocks: Values,
        present: Mapping[str, ArrayLike] | None = None,
        *,
        index: ArrayLike | None = None,
    ):
        self.values: dict[str, np.ndarray]
        self.present: dict[str, np.ndarray]
        self.index: pd.Index | None
        self.columns: dict[str, Names]
        self.values, self.present, self.index, self.columns = read_blocks(blocks, present, index)

    def _with(
        self,
        values: dict[str, np.ndarray],
        present: dict[str, np.ndarray],
        index: pd.Index | None,
        columns: dict[str, Names] | None = None,
    ) -> Modalities:
        """Blocks that were checked before."""
        x = type(self).__new__(type(self))
        x.values, x.present, x.index = values, present, index
        x.columns = self.columns if columns is None else columns
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

    @property
    def row_labels(self) -> pd.Index:
        """What frames about these rows call them: the index, or the positions 0 to N - 1."""
        return pd.RangeIndex(len(self)) if self.index is None else self.index

    def align(self, what: str, values: Any, error: type[PrimoError] = ModalityError) -> Any:
        """Something that has one entry a row, in the order of the rows, where both have labels.

        >>> x = Modalities({"age": pd.Series([71, 40], index=["ann", "bob"])})
        >>> x.align("y", pd.Series([1, 0], index=["bob", "ann"])).tolist()
        [0, 1]
        """
        both = f"x[x.index.isin({what}.index)] and {what}[{what}.index.isin(x.index)]"
        cure = f"Keep the rows that both have: {both}."
        return aligned(what, values, self.index, cure=cure, error=error)

    def _matched(self, what: str, new: Modalities) -> Modalities:
        """Other rows in the order of these, where both have labels."""
        if self.index is None or new.index is None:
            return new
        return new[np.asarray(self.align(what, pd.Series(np.arange(len(new)), index=new.index)))]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        raise ModalityError(
            f"Modalities of {len(self)} rows ({', '.join(self.names)}) came; expected one array. Take one "
            f"block, x.values[{self.names[0]!r}]. To tools that take only arrays (bagging, permutation "
            "importance, SHAP) give x.positions, and make_pipeline(FunctionTransformer(x.recombine), clf)."
        )

    def __getitem__(self, rows: Any) -> Modalities:
        """Rows by slice, integer array or boolean array; a single integer gives one row, still 2-d.

        A boolean Series picks rows by its labels.
        """
        if isinstance(rows, tuple):  # scikit-learn asks for x[rows, ...]
            rows = rows[0]
        if isinstance(rows, str):
            raise ModalityError(
                f"x[{rows!r}] asks for a modality; expected rows. Write x.values[{rows!r}] or "
                f"x.select({rows!r})."
            )
        if not isinstance(rows, slice):
            if getattr(rows, "dtype", None) in (bool, "boolean"):
                rows = as_booleans("The mask of rows", self.align("mask", rows))
            rows = as_positions(rows, len(self))
        return self._with(
            {name: v[rows] for name, v in self.values.items()},
            {name: p[rows] for name, p in self.present.items()},
            None if self.index is None else self.index[rows],
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
        if not names or not all(isinstance(name, str) for name in names):
            raise ModalityError(
                f"select got {names!r:.60}; expected names of modalities. Write x.select({self.names[0]!r}), "
                "or x.select(*names) for a list."
            )
        nothing = np.zeros((len(self), 0), np.float32)
        return self._with(
            {name: self.values.get(name, nothing) for name in names},
            {name: self.present.get(name, np.zeros(len(self), bool)) for name in names},
            self.index,
            {name: columns for name, columns in self.columns.items() if name in names},
        )

    def in_columns(self, columns: Mapping[str, Names]) -> Modalities:
        """The same rows, with the columns of each block in this order, where both have names.

        Raises
        ------
        ModalityError
            Where a block lacks a column, or has another one.

        >>> x = Modalities({"labs": pd.DataFrame({"q": [1.0], "p": [2.0]})})
        >>> x.in_columns({"labs": ("p", "q")}).values["labs"]
        array([[2., 1.]])
        """
        different = {
            name: order_of_columns(f"Modality {name!r}", found, columns[name])
            for name, found in self.columns.items()
            if name in columns and found != columns[name]
        }
        values = {name: v[:, different[name]] if name in different else v for name, v in self.values.items()}
        known = self.columns | {name: columns[name] for name in different}
        return self._with(values, self.present, self.index, known) if different else self

    def drop(self, *names: str, where: ArrayLike | None = None) -> Modalities:
        """The same rows with these modalities absent, everywhere or ``where`` (booleans ``[N]``).

        >>> x = Modalities({"o": [1.0, 2.0], "m": [3.0, 4.0]})
        >>> x.drop("m")
        Modalities(2 rows: o [1] in all, m in 0)
        >>> x.drop("m", where=[True, False]).present["m"]
        array([False,  True])
        """
        if where is None:
            dropped = np.ones(len(self), bool)
        else:
            dropped = as_booleans("where", self.align("where", where))
        if len(dropped) != len(self):
            raise ModalityError(
                f"where has {len(dropped)} entries; expected {len(self)}, as many as rows. Give one boolean "
                "a row, True where the modality is to be dropped."
            )
        present = dict(self.present)
        for name in names:
            check_name(name, known=self.values)
            present[name] = present[name] & ~dropped
        return self._with(self.values, present, self.index)

    def reveal(self, name: str, rows: ArrayLike, values: Modalities | ArrayLike) -> Modalities:
        """The same rows with a modality present in some of them, where its values are not NaN.

        Parameters
        ----------
        name
            The modality.
        rows
            Positions of n rows.
        values
            Its values there ``[n, ...]``, as in the constructor; or `Modalities` of n rows that have it. What
            has labels and columns of its own is put into the order of ``rows`` and of the columns.

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
        check_name(name, known=self.values)
        rows = as_positions(rows, len(self))
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if not isinstance(values, Modalities) and self.index is not None and index_of(values) is not None:
            values = self[rows].align("values", values)
        new = values if isinstance(values, Modalities) else Modalities({name: values})
        check_name(name, known=new.values)
        new = new.in_columns(self.columns)
        if self.index is not None and len(rows) == len(new):
            new = self[rows]._matched("values", new)
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
        if revealed.shape[1:] != block.shape[1:]:
            raise ModalityError(
                f"The new values of {name!r} are of another shape ({list(revealed.shape[1:])}) than those of "
                f"other rows; expected {list(block.shape[1:])}. Bring them in the same form."
            )
        block = block.astype(np.result_type(block, revealed))  # whole numbers beside fractions
        everywhere = self.present[name].copy()
        block[rows[present]], everywhere[rows[present]] = revealed[present], True
        columns = {name: new.columns[name]} if name in new.columns else {}
        return self._with(
            self.values | {name: block}, self.present | {name: everywhere}, self.index, columns | self.columns
        )

    def drop_at_random(self, *names: str, rate: float = 0.5, random_state: RandomState = None) -> Modalities:
        """Each of these modalities absent with probability ``rate``, independently of everything.

        >>> x = Modalities({"o": np.ones(1000), "m": np.ones(1000)})
        >>> x.drop_at_random("m", rate=0.5, random_state=0)
        Modalities(1000 rows: o [1] in all, m [1] in 527)
        """
        if not isinstance(rate, Real) or not 0 <= rate <= 1:
            raise ModalityError(f"rate is {rate!r:.60}; expected a probability. Give a number from 0 to 1.")
        try:
            random = np.random.default_rng(random_state)
        except (TypeError, ValueError) as error:
            raise ModalityError(
                f"random_state is {random_state!r:.60}; expected None, a whole number from 0, or a NumPy "
                "generator. Give a number, as 0."
            ) from error
        x = self
        for name in names:
            x = x.drop(name, where=random.random(len(self)) < rate)
        return x

    # --- Rows of several, and rows for tools that know arrays alone -----------------------------------------

    def join(self, blocks: Modalities | Values, present: Mapping[str, ArrayLike] | None = None) -> Modalities:
        """The same rows with further modalities, such as images beside the blocks of a table.

        Blocks come as in the constructor, or as `Modalities`; those with labels are put into the order of the
        rows here. `ModalityError` where they do not fit the rows, or a modality is here already.

        >>> x = Modalities({"history": pd.Series([71, 40], index=["ann", "bob"])})
        >>> x.join({"blood": pd.Series([1.2, np.nan], index=["bob", "ann"])})
        Modalities(2 rows: history [1] in all, blood [1] in 1)
        """
        new = blocks if isinstance(blocks, Modalities) else Modalities(blocks, present, index=self.index)
        if twice := sorted(set(self.names) & set(new.names)):
            raise ModalityError(
                f"join got {', '.join(twice)}, which these rows have already; expected other names. Give it "
                "another one, or leave it out of these rows by select."
            )
        if len(new) != len(self):
            raise ModalityError(
                f"join got {len(new)} rows; expected {len(self)}. Give an entry for each row."
            )
        index, new = new.index if self.index is None else self.index, self._matched("blocks", new)
        values, have = self.values | new.values, self.present | new.present
        return self._with(values, have, index, self.columns | new.columns)

    @classmethod
    def concat(cls, parts: Iterable[Modalities]) -> Modalities:
        """The rows of several one after another; a modality that a part does not have is absent in its rows.

        Parameters
        ----------
        parts
            All with labels of rows, or all without. Columns are put into the order of the first part that
            names them.

        Raises
        ------
        ModalityError
            Where shapes, types or columns differ, or only some have labels.

        >>> a, b = Modalities({"o": [1.0, 2.0]}), Modalities({"o": [3.0], "m": [4.0]})
        >>> Modalities.concat([a, b])
        Modalities(3 rows: o [1] in all, m [1] in 1)
        """
        parts = list(parts)
        if not parts or not all(isinstance(part, Modalities) for part in parts):
            kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in parts))
            raise ModalityError(
                f"concat got {kinds or 'nothing'}; expected Modalities alone. Pass a list of some, as "
                "[x, Modalities(blocks)]."
            )
        labelled = [part.index is not None for part in parts]
        if any(labelled) and not all(labelled):
            raise ModalityError(
                f"{sum(labelled)} of {len(parts)} parts have labels of their rows; expected all or none. "
                "Give the others some: Modalities(x.values, x.present, index=labels)."
            )
        columns: dict[str, Names] = {}
        for part in parts:
            columns = part.columns | columns
        parts = [part.in_columns(columns) for part in parts]
        values, present = {}, {}
        for name in dict.fromkeys(name for part in parts for name in part.names):
            present[name] = np.concatenate([p.select(name).present[name] for p in parts])
            values[name] = stacked(
                name,
                [(len(p), p.values[name] if p.select(name).present[name].any() else None) for p in parts],
            )
        index = parts[0].index
        if index is not None:
            index = index.append([part.index for part in parts[1:]])
        return parts[0]._with(values, present, index, columns)

    @property
    def positions(self) -> np.ndarray:
        """Integers ``[N, M]``: the row in which each block of each row stands; input of `recombine`."""
        return np.repeat(np.arange(len(self))[:, None], len(self.names), axis=1)

    def recombine(self, positions: ArrayLike) -> Modalities:
        """New rows of whole blocks of these: how tools that know arrays alone shuffle and hide modalities.

        Parameters
        ----------
        positions
            ``[n, M]``: for each new row and each modality, the row that its block is taken from; -1: absent.

        Returns
        -------
        Modalities
            Without labels, since a row may be made of several.

        Raises
        ------
        ModalityError
            For positions of another shape, or of no row.

        Examples
        --------
        With ``pipeline = make_pipeline(FunctionTransformer(x.recombine), clf)``, scikit-learn's
        ``permutation_importance(pipeline, x.positions, y)`` shuffles whole modalities.

        >>> x = Modalities({"o": [1.0, 2.0], "m": [3.0, 4.0]})
        >>> mixed = x.recombine([[0, 1], [1, -1]])
        >>> mixed.values["o"].tolist(), mixed.values["m"][0].tolist(), mixed.present["m"].tolist()
        ([[1.0], [2.0]], [4.0], [True, False])
        """
        places = np.asarray(positions)
        whole = places.ndim == 2 and places.shape[1] == len(self.names) and np.all(places == np.rint(places))
        if not whole or not np.all((places >= -1) & (places < len(self))):
            raise ModalityError(
                f"positions has shape {list(places.shape)}; expected [rows, {len(self.names)}] of whole "
                f"numbers from -1 to {len(self) - 1}. Pass x.positions, or rows and columns of it."
            )
        taken = dict(zip(self.names, places.astype(int).T, strict=True))
        return self._with(
            {name: self.values[name][rows] for name, rows in taken.items()},
            {name: self.present[name][rows] & (rows >= 0) for name, rows in taken.items()},
            None,
        )


# What an estimator reads as rows: `Modalities`, a mapping of blocks, one array ``[N, F]``, or a DataFrame.
RowsLike = Modalities | Values | ArrayLike
