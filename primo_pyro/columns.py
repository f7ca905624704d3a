"""One column of a table: what it is, learnt on training rows, and its cells as numbers."""

from __future__ import annotations

import datetime
import numbers
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from primo_pyro.blocks import LARGEST, cure_of_dates
from primo_pyro.errors import ModalityError
from primo_pyro.identity import listed

__all__ = ["KINDS_OF_COLUMNS", "NA_VALUES", "Column", "learn_column", "missing_cells"]

# Cells that say "not known" in tables as found, beside NaN, None and NA. "-" is not among them: it is also a
# result of a test.
NA_VALUES = ("", "?", ".", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A")
KINDS_OF_COLUMNS = ("number", "boolean", "category", "ordered", "constant", "empty")
BOOLEANS = {"true": 1.0, "false": 0.0}

# A number that people read and no program does: a decimal comma or thousands separators, or a unit behind it,
# or a bound before it.
NUMBER_IN_TEXT = re.compile(
    r"[<>≤≥~]?\s*[-+]?\d{1,3}([.,' ]\d{3})+([.,]\d+)?"
    r"|[<>≤≥~]?\s*[-+]?\d+([.,]\d+)?\s*(?P<unit>[A-Za-zµμ°%][\w/%°^.*]*)?"
)
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})([ T].*)?")
IDENTIFIER = 20  # rows; in fewer, numbers that are all different are no wonder


@dataclass(frozen=True)
class Column:
    """What was learnt of a column.

    Attributes
    ----------
    name
        As in the frame.
    kind
        One of `KINDS_OF_COLUMNS`. Of ``"constant"`` and ``"empty"`` nothing can be learnt; they are left out.
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
        if self.kind in ("constant", "empty"):
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
        if self.kind == "number":
            return _numbers(self.name, cells, missing)[:, None]
        if self.kind == "boolean":
            return _booleans(self.name, cells, missing)[:, None]
        texts = _texts(cells)
        codes = pd.Index(self.categories).get_indexer(texts)
        if self.kind == "ordered":
            return np.where(missing | (codes < 0), np.nan, codes)[:, None]
        if self.rare:
            codes = np.where(np.isin(texts, self.rare), len(self.categories), codes)
        as_texts = not all(map(_is_number, (*self.categories, *self.rare)))
        if as_texts and (codes < 0).all() and not missing.all() and _are_numbers(cells, missing):
            raise ModalityError(
                f"Column {self.name!r} holds numbers ({_examples(cells, missing)}) in {len(cells)} rows; "
                f"expected categories as in training ({listed(self.categories)}). Give it the same codes."
            )
        width = len(self.features)
        one_hot = np.zeros((len(cells), width))
        one_hot[np.arange(len(cells)), np.where(codes < 0, width - 1, codes)] = 1.0
        one_hot[missing] = np.nan
        return one_hot


def missing_cells(cells: pd.Series, na_values: Iterable[object]) -> np.ndarray:
    """Booleans ``[N]``: cells that are empty, or one of the markers.

    >>> missing_cells(pd.Series(["3", " ?", None, "4 "]), NA_VALUES)
    array([False,  True,  True, False])
    """
    missing = np.array(cells.isna(), bool)
    marks = [v.strip() if isinstance(v, str) else _text(v) for v in na_values]
    kind = cells.dtype
    if isinstance(kind, pd.CategoricalDtype):
        marked = [c for c in kind.categories if _text(c) in marks]
        return missing | np.asarray(cells.isin(marked), bool)
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        numeric = [float(m) for m in marks if _is_number(m)]
        if numeric:
            missing |= np.isin(cells.to_numpy(dtype=float, na_value=np.nan), numeric)
        return missing
    if not _of_objects(kind):
        return missing
    return missing | np.isin(_texts(cells), marks)


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
    _refuse_what_is_no_cell(name, cells, missing)
    if isinstance(kind, pd.CategoricalDtype):
        texts = [_text(c) for c in kind.categories if c in set(known)]
        if kind.ordered and len(texts) > 1:
            order = tuple(_text(c) for c in kind.categories)
            return Column(name, "ordered", order, detail=" < ".join(order[:6]))
        return _learn_categories(name, known, rare)
    if _are_booleans(cells, missing):
        values = _booleans(name, cells, missing)
        return _constant(name, known) or Column(name, "boolean", detail=f"true in {np.nansum(values):.0f}")
    if not _are_numbers(cells, missing):
        distinct, counts = np.unique(_texts(known).astype(str), return_counts=True)
        _refuse_numbers_in_texts(name, distinct, counts)
        return _learn_categories(name, known, rare)
    values = _numbers(name, cells, missing)[~missing]
    smallest, largest = values.min(), values.max()
    if smallest == largest:
        return _constant(name, known) or Column(name, "number")
    whole = bool((values == np.rint(values)).all())
    note = ""
    if whole and len(values) >= IDENTIFIER and len(np.unique(values)) == len(values):
        note = "another whole number in every row: an identifier? Leave it out if it is"
    return Column(name, "number", detail=f"{smallest:.6g} to {largest:.6g}", note=note)


def _learn_categories(name: Hashable, known: pd.Series, rare: float) -> Column:
    counts = pd.Series(_texts(known)).value_counts()
    if len(counts) == 1:
        return _constant(name, known) or Column(name, "category")
    least = max(2.0, rare * len(known))
    frequent = tuple(sorted(counts.index[counts >= least]))
    pooled = tuple(sorted(counts.index[counts < least]))
    if not frequent:
        note = f"{len(pooled)} different texts in {len(known)} rows, none of them frequent: left out"
        return Column(name, "constant", detail=listed(pooled, 3), note=note)
    note = f"{len(pooled)} rare categories share a feature" if len(pooled) > 1 else ""
    return Column(name, "category", frequent, pooled, detail=listed(frequent, 6), note=note)


def _constant(name: Hashable, known: pd.Series) -> Column | None:
    texts = {str(float(text)) if _is_number(text) else text for text in _texts(known)}
    if len(texts) > 1:
        return None
    one = _texts(known)[0]
    return Column(name, "constant", detail=one, note=f"{one} in all {len(known)} cells: left out")


# --- Cells ---------------------------------------------------------------------------------------------


def _of_objects(kind: Any) -> bool:
    return pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind)


def _text(value: object) -> str:
    """A cell as a text that does not depend on how a file was read: 1, 1.0 and " 1" are one category."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, numbers.Number) and not isinstance(value, bool | np.bool_ | complex):
        number = float(value)  # type: ignore[arg-type]
        return str(int(number)) if number.is_integer() else str(number)
    return str(value)


def _texts(cells: pd.Series) -> np.ndarray:
    try:
        codes, distinct = pd.factorize(cells.astype(object), use_na_sentinel=True)
    except TypeError:  # lists and the like, which are refused later
        return np.array([str(value) for value in cells], object)
    texts = np.array([*map(_text, distinct), ""], object)
    return texts[codes]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text))) and "_" not in text
    except ValueError:
        return False


def _are_booleans(cells: pd.Series, missing: np.ndarray) -> bool:
    if pd.api.types.is_bool_dtype(cells.dtype):
        return True
    return _of_objects(cells.dtype) and {t.lower() for t in set(_texts(cells)[~missing])} <= set(BOOLEANS)


def _are_numbers(cells: pd.Series, missing: np.ndarray) -> bool:
    if not _of_objects(cells.dtype):
        return bool(pd.api.types.is_numeric_dtype(cells.dtype))
    return all(map(_is_number, set(_texts(cells)[~missing])))


def _examples(cells: pd.Series, where: np.ndarray) -> str:
    return listed(pd.unique(pd.Series(_texts(cells)[~where]))[:3])


def _numbers(name: Hashable, cells: pd.Series, missing: np.ndarray) -> np.ndarray:
    if _of_objects(cells.dtype) or isinstance(cells.dtype, pd.CategoricalDtype):
        texts = _texts(cells)
        distinct = {
            text: float(text) if _is_number(text) else BOOLEANS.get(text.lower()) for text in set(texts)
        }
        wrong = np.array([distinct[text] is None for text in texts], bool) & ~missing
        if wrong.any():
            rows = listed(cells.index[wrong][:3])
            raise ModalityError(
                f"Column {name!r} holds {_examples(cells, ~wrong)} in {int(wrong.sum())} of {len(cells)} "
                f"rows ({rows}); expected numbers, as in training. Correct them, or make them missing: "
                f"frame[{name!r}] = pd.to_numeric(frame[{name!r}], errors='coerce')."
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
        raise ModalityError(
            f"Column {name!r} holds infinities or values above {LARGEST:.2g} in {int(infinite.sum())} of "
            f"{len(cells)} rows ({listed(cells.index[infinite][:3])}); expected finite numbers. Make them "
            f"missing: frame[{name!r}] = frame[{name!r}].where(frame[{name!r}].abs() < 1e38)."
        )
    return values


def _booleans(name: Hashable, cells: pd.Series, missing: np.ndarray) -> np.ndarray:
    texts = pd.Series(_texts(cells)).str.lower()
    values = texts.map(BOOLEANS | {"1": 1.0, "0": 0.0}).to_numpy(float)
    wrong = np.isnan(values) & ~missing
    if wrong.any():
        where = f"frame[{name!r}]"
        raise ModalityError(
            f"Column {name!r} holds {_examples(cells, ~wrong)} in {int(wrong.sum())} of {len(cells)} rows "
            f"({listed(cells.index[wrong][:3])}); expected true or false, as in training. Correct them, or "
            f"make them missing: {where} = {where}.where({where}.isin([True, False]))."
        )
    return np.where(missing, np.nan, values)


# --- What is refused -------------------------------------------------------------------------------------


def _refuse_what_is_no_cell(name: Hashable, cells: pd.Series, missing: np.ndarray) -> None:
    kind = cells.dtype
    examples = _examples(cells, missing)
    logical = getattr(kind, "numpy_dtype", kind)  # of Arrow types
    dates = getattr(logical, "kind", "O") in "Mm" or isinstance(kind, pd.PeriodDtype)
    if _of_objects(kind) or (isinstance(kind, pd.ArrowDtype) and not dates):
        values = cells[~missing].astype(object)
        first = next(iter(values))
        dates = all(isinstance(v, datetime.date | pd.Period) for v in values)
        texts = [v for v in values if isinstance(v, str)]
        dates |= len(texts) == len(values) and all(DATE.fullmatch(t.strip()) for t in set(texts))
        logical = None
        if not dates and not all(
            isinstance(v, str | numbers.Real | bool | np.bool_) or type(v).__name__ == "Decimal"
            for v in values
        ):
            raise ModalityError(
                f"Column {name!r} holds {type(first).__name__} ({examples:.80}) in {len(cells)} rows; "
                "expected numbers, booleans, texts or categories. Leave it out of the blocks, or pass "
                "series, images and embeddings as a block of their own: Modalities({...: array})."
            )
    if dates:
        raise ModalityError(
            f"Column {name!r} holds dates or spans of time ({examples}) in {len(cells)} rows; expected "
            f"numbers. {cure_of_dates(str(name), kind if logical is not None else None)}"
        )
    if pd.api.types.is_complex_dtype(kind):
        raise ModalityError(
            f"Column {name!r} holds complex numbers ({examples}) in {len(cells)} rows; expected real ones. "
            f"Write frame[{name!r}] = frame[{name!r}].abs(), or the part that matters."
        )


def _refuse_numbers_in_texts(name: Hashable, distinct: np.ndarray, counts: np.ndarray) -> None:
    """Refuse texts that are numbers to people: a category for each would lose what they say."""
    plain = np.array([_is_number(text) for text in distinct])
    matches = [
        None if is_plain else NUMBER_IN_TEXT.fullmatch(t) for t, is_plain in zip(distinct, plain, strict=True)
    ]
    dressed = np.array([match is not None for match in matches])
    units = {match["unit"] for match in matches if match is not None}
    read = counts[plain | dressed].sum() / counts.sum()
    mostly_plain = counts[plain].sum() > counts.sum() / 2
    if not mostly_plain and not (read > 0.9 and (len(units) == 1 or plain.any() or units == {None})):
        return
    where = f"frame[{name!r}]"
    examples = listed(distinct[~plain][:3])
    if dressed[~plain].all() and units == {None}:
        cure = f"Write {where} = {where}.str.replace(',', '.').astype(float) if the comma is decimal"
        if all(re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", t) for t in distinct[dressed]):
            cure = f"Write {where} = {where}.str.replace(',', '').astype(float) if the commas part thousands"
    elif dressed[~plain].all():
        number = r"([-+]?\d+\.?\d*)"
        cure = f"Write {where} = {where}.str.replace(',', '.').str.extract(r'{number}')[0].astype(float)"
    else:
        cure = f"Write {where} = pd.to_numeric({where}, errors='coerce') to make them missing"
    raise ModalityError(
        f"Column {name!r} holds {examples} among numbers in {int(counts.sum())} cells; expected numbers "
        f"alone. {cure}; or {where} = {where}.astype('category') if they are categories."
    )
