"""One column of a table: what it is, learnt on training rows, and its cells as numbers."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from primo_pyro.blocks import LARGEST
from primo_pyro.cells import (
    are_numbers,
    cure_of_texts,
    examples_of,
    is_number,
    of_objects,
    refuse_numbers_in_texts,
    refuse_what_is_no_cell,
    text_of,
    texts_of,
)
from primo_pyro.errors import ModalityError, TableWarning, warn
from primo_pyro.identity import listed

__all__ = ["KINDS_OF_COLUMNS", "NA_VALUES", "Column", "learn_column", "missing_cells"]

# Cells that say "not known" in tables as found, beside NaN, None and NA. "-" is not among them: it is also a
# result of a test.
NA_VALUES = ("", "?", ".", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A")
KINDS_OF_COLUMNS = ("number", "boolean", "category", "ordered", "text", "constant", "empty")
BOOLEANS = {"true": 1.0, "false": 0.0}

IDENTIFIER = 20  # rows; in fewer, numbers that are all different are no wonder


@dataclass(frozen=True)
class Column:
    """What was learnt of a column.

    Attributes
    ----------
    name
        As in the frame.
    kind
        One of `KINDS_OF_COLUMNS`. Of ``"text"`` (texts that hardly repeat), ``"constant"``
        and ``"empty"`` nothing can be learnt; they are left out.
    categories
        Those that have a feature each, sorted; of an ordered column all, in their order.
    rare
        Categories that share one feature.
    detail, note
        What `primo_pyro.tables.TableReader.check` says of it.
    """

    name: Hashable
    kind: str
    categories: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    detail: str = ""
    note: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers that the column becomes."""
        if self.kind in ("text", "constant", "empty"):
            return ()
        if self.kind != "category":
            return (str(self.name),)
        values = [*self.categories, *(["(rare)"] if self.rare else []), "(unknown)"]
        return tuple(f"{self.name}={value}" for value in values)

    def encode(self, cells: pd.Series, missing: np.ndarray) -> np.ndarray:
        """Cells as numbers ``[N, F]``; a missing cell is NaN in all of them.

        Raises
        ------
        ModalityError
            Where cells are not of the kind that was learnt.
        """
        if not pd.api.types.is_bool_dtype(cells.dtype):
            refuse_what_is_no_cell(self.name, cells, missing, texts_too=False)
        if self.kind == "number":
            return _numbers(self.name, cells, missing)[:, None]
        if self.kind == "boolean":
            return _booleans(self.name, cells, missing)[:, None]
        texts = texts_of(cells)
        codes = pd.Index(self.categories, dtype=object).get_indexer(texts)
        if self.kind == "ordered":
            return np.where(missing | (codes < 0), np.nan, codes)[:, None]
        if self.rare:
            codes = np.where(np.isin(texts, self.rare), len(self.categories), codes)
        as_texts = not all(map(is_number, (*self.categories, *self.rare)))
        if as_texts and (codes < 0).all() and not missing.all() and are_numbers(cells, missing):
            raise ModalityError(
                f"Column {self.name!r} holds numbers ({examples_of(cells, missing)}) in {len(cells)} rows; "
                f"expected categories as in training ({listed(self.categories)}). Give it the same codes."
            )
        self._warn_of_spelling(set(texts[(codes < 0) & ~missing]))
        width = len(self.features)
        one_hot = np.zeros((len(cells), width))
        one_hot[np.arange(len(cells)), np.where(codes < 0, width - 1, codes)] = 1.0
        one_hot[missing] = np.nan
        return one_hot

    def _warn_of_spelling(self, unknown: set[str]) -> None:
        """Warn of unknown categories that are known ones in other letters: "F" for "f"."""
        known = {_folded(text): text for text in self.categories}
        meant = {text: known[_folded(text)] for text in sorted(unknown) if _folded(text) in known}
        if meant:
            warn(
                f"Column {self.name!r} holds {listed(meant)}, which training rows do not; expected "
                f"{listed(meant.values())} as in training. Write frame[{self.name!r}] = frame[{self.name!r}]"
                f".replace({dict(list(meant.items())[:5])}), or they are read as unknown categories.",
                TableWarning,
            )


def missing_cells(cells: pd.Series, na_values: Iterable[object]) -> np.ndarray:
    """Booleans ``[N]``: cells that are empty, or one of the markers.

    >>> missing_cells(pd.Series(["3", " ?", None, "4 "]), NA_VALUES)
    array([False,  True,  True, False])
    """
    missing = np.array(cells.isna(), bool)
    marks = [v.strip() if isinstance(v, str) else text_of(v) for v in na_values]
    kind = cells.dtype
    if isinstance(kind, pd.CategoricalDtype):
        marked = [c for c in kind.categories if text_of(c) in marks]
        return missing | np.asarray(cells.isin(marked), bool)
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        numeric = [float(m) for m in marks if is_number(m)]
        if numeric:
            missing |= np.isin(cells.to_numpy(dtype=float, na_value=np.nan), numeric)
        return missing
    if not of_objects(kind):
        return missing
    return missing | np.isin(texts_of(cells), marks)


def learn_column(name: Hashable, cells: pd.Series, missing: np.ndarray, rare: float) -> Column:
    """What a column is, by its training cells.

    Parameters
    ----------
    name, cells
        The column.
    missing
        Booleans ``[N]``, from `missing_cells`.
    rare
        A category of fewer than this share of the cells, or of a single one, is rare.

    Raises
    ------
    ModalityError
        For dates, numbers with units, decimal commas or thousands separators, and whatever else is neither
        numbers nor categories. The message names the column and examples.

    Examples
    --------
    >>> sex = pd.Series(["male", "female", "male", "female"])
    >>> learn_column("sex", sex, np.zeros(4, bool), rare=0.01).features
    ('sex=female', 'sex=male', 'sex=(unknown)')
    """
    known = cells[~missing]
    if known.empty:
        return Column(name, "empty", note="every cell is missing: left out")
    kind = cells.dtype
    refuse_what_is_no_cell(name, cells, missing)
    if isinstance(kind, pd.CategoricalDtype):
        texts = [text_of(c) for c in kind.categories if c in set(known)]
        if kind.ordered and len(texts) > 1:
            order = tuple(text_of(c) for c in kind.categories)
            return Column(name, "ordered", order, detail=" < ".join(order[:6]))
        return _learn_categories(name, known, rare)
    if _are_booleans(cells, missing):
        values = _booleans(name, cells, missing)
        return _constant(name, known) or Column(name, "boolean", detail=f"true in {np.nansum(values):.0f}")
    if not are_numbers(cells, missing):
        distinct, counts = np.unique(texts_of(known).astype(str), return_counts=True)
        refuse_numbers_in_texts(name, distinct, counts, known, cells)
        return _learn_categories(name, known, rare)
    values = _numbers(name, cells, missing)[~missing]
    smallest, largest = values.min(), values.max()
    if smallest == largest:
        note = f"{len(known)} numbers nearer to each other than double precision tells apart: left out"
        return _constant(name, known) or Column(name, "constant", detail=f"{smallest:g}", note=note)
    whole = bool((values == np.rint(values)).all())
    note = ""
    if whole and len(values) >= IDENTIFIER and len(np.unique(values)) == len(values):
        note = "another whole number in every row: an identifier? Leave it out if it is"
    if whole and len(values) >= IDENTIFIER and _like_dates(values):
        note = "whole numbers like dates, 20200131: make them days, pd.to_datetime(..., format='%Y%m%d')"
    return Column(name, "number", detail=f"{smallest:.6g} to {largest:.6g}", note=note)


def _like_dates(values: np.ndarray) -> bool:
    years, days = np.divmod(values, 10_000)
    months, days = np.divmod(days, 100)
    low, high = (1900, 1, 1), (2100, 12, 31)
    parts = zip((years, months, days), low, high, strict=True)
    return bool(np.all([(least <= part) & (part <= most) for part, least, most in parts]))


def _learn_categories(name: Hashable, known: pd.Series, rare: float) -> Column:
    counts = pd.Series(texts_of(known), dtype=object).value_counts()
    if len(counts) == 1:
        return _constant(name, known) or Column(name, "category")
    least = max(2.0, rare * len(known))
    frequent = tuple(sorted(counts.index[counts >= least]))
    pooled = tuple(sorted(counts.index[counts < least]))
    if not frequent:
        note = f"{len(pooled)} different texts in {len(known)} rows, none of them frequent: left out"
        return Column(name, "text", detail=listed(pooled, 3), note=note)
    note = f"{len(pooled)} rare categories share a feature" if len(pooled) > 1 else ""
    alike = Counter(map(_folded, frequent))
    twice = [text for text in frequent if alike[_folded(text)] > 1]
    if twice:
        note = "; ".join(filter(None, [note, f"{listed(twice, 4)} differ in how they are written alone"]))
    return Column(name, "category", frequent, pooled, detail=listed(frequent, 6), note=note)


def _folded(text: str) -> str:
    """The same for all ways of writing a text that differ in capitals or accents' encoding alone."""
    return unicodedata.normalize("NFKC", text).casefold()


def _constant(name: Hashable, known: pd.Series) -> Column | None:
    texts = {Decimal(text) if is_number(text) else text for text in set(texts_of(known))}
    if len(texts) > 1:
        return None
    one = texts_of(known)[0]
    return Column(name, "constant", detail=one, note=f"{one} in all {len(known)} cells: left out")


# --- Cells as numbers ----------------------------------------------------------------------------------


def _are_booleans(cells: pd.Series, missing: np.ndarray) -> bool:
    if pd.api.types.is_bool_dtype(cells.dtype):
        return True
    return of_objects(cells.dtype) and {t.lower() for t in set(texts_of(cells)[~missing])} <= set(BOOLEANS)


def _numbers(name: Hashable, cells: pd.Series, missing: np.ndarray) -> np.ndarray:
    if of_objects(cells.dtype) or isinstance(cells.dtype, pd.CategoricalDtype):
        texts = texts_of(cells)
        distinct = {
            text: float(text) if is_number(text) else BOOLEANS.get(text.lower()) for text in set(texts)
        }
        wrong = np.array([distinct[text] is None for text in texts], bool) & ~missing
        if wrong.any():
            cure = cure_of_texts(name, cells, pd.unique(texts[wrong]))
            if "coerce" in cure:
                line = cure.removeprefix("Write ").removesuffix(" to make them missing")
                cure = f"Correct them, or make them missing: {line}"
            raise ModalityError(
                f"Column {name!r} holds {examples_of(cells, ~wrong)} in {int(wrong.sum())} of {len(cells)} "
                f"rows ({listed(cells.index[wrong][:3])}); expected numbers, as in training. {cure}."
            )
        values = np.array([distinct[text] for text in texts], float)
    elif not pd.api.types.is_numeric_dtype(cells.dtype):
        raise ModalityError(
            f"Column {name!r} holds {cells.dtype} in {len(cells)} rows; expected numbers, as in training. "
            f"Write frame[{name!r}] = frame[{name!r}].astype(float)."
        )
    else:
        values = cells.to_numpy(dtype=float, na_value=np.nan)
    values = np.where(missing, np.nan, values)
    infinite = np.abs(values) > LARGEST
    if infinite.any():
        where = f"frame[{name!r}]"
        numbers = f"pd.to_numeric({where}.astype(str), errors='coerce')" if of_objects(cells.dtype) else where
        raise ModalityError(
            f"Column {name!r} holds infinities or values above {LARGEST:.2g} in {int(infinite.sum())} of "
            f"{len(cells)} rows ({listed(cells.index[infinite][:3])}); expected finite numbers. Make them "
            f"missing: {where} = {numbers}.where({numbers}.abs() < 1e38)."
        )
    return values


def _booleans(name: Hashable, cells: pd.Series, missing: np.ndarray) -> np.ndarray:
    texts = pd.Series(texts_of(cells), dtype=object).str.lower()
    values = texts.map(BOOLEANS | {"1": 1.0, "0": 0.0}).to_numpy(float)
    wrong = np.isnan(values) & ~missing
    if wrong.any():
        where = f"frame[{name!r}]"
        raise ModalityError(
            f"Column {name!r} holds {examples_of(cells, ~wrong)} in {int(wrong.sum())} of {len(cells)} rows "
            f"({listed(cells.index[wrong][:3])}); expected true or false, as in training. Correct them, or "
            f"make them missing: {where} = {where}.where({where}.isin([True, False]))."
        )
    return np.where(missing, np.nan, values)
