"""Cells of tables as they are found: as texts, and what is refused, with the line that mends it."""

from __future__ import annotations

import datetime
import numbers
import re
import warnings
from collections.abc import Hashable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from primo_pyro.blocks import cure_of_dates
from primo_pyro.errors import ModalityError
from primo_pyro.identity import listed

__all__ = [
    "are_numbers",
    "cure_of_texts",
    "examples_of",
    "is_number",
    "of_objects",
    "refuse_numbers_in_texts",
    "refuse_what_is_no_cell",
    "text_of",
    "texts_of",
]

# Numbers to Python's `numbers`, numpy's spans of time even whole ones, but none to us.
NO_REAL_NUMBERS = (bool, np.bool_, complex, np.complexfloating, np.timedelta64)

MINUS = "\N{MINUS SIGN}"
QUOTES = "'\N{RIGHT SINGLE QUOTATION MARK}"
SPACES = f"{QUOTES} \u00a0\u202f"  # between thousands
# A number that people read and no program does: a decimal comma or thousands separators, or a unit behind
# it, or a bound or a currency before it.
NUMBER_IN_TEXT = re.compile(
    rf"(?P<bound>[<>≤≥~]\s*)?[-+{MINUS}]?(\d{{1,3}}([.,{SPACES}]\d{{3}})+([.,]\d+)?|\d+([.,]\d+)?)"
    r"\s*(?P<unit>[A-Za-zµμ°%€$£¥][\w/%°^.*]*)?"
    rf"|(?P<currency>[$€£¥])\s*[-+{MINUS}]?\d[\d.,{SPACES}]*"
)
THOUSANDS = re.compile(r"\D*\d{1,3}(,\d{3})+(\.\d+)?\D*")
NUMBER = r"([-+]?\d+\.?\d*)"  # what str.extract takes out of a text
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})"
    r"|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}|\d{1,2}[-/. ]{1,2}[A-Za-z]{3,9}\.?[-/, ]{1,2}(\d{4}|\d{2}))([ T].*)?"
)
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")
# How dates may be read, the plainest first; which of them reads a column is tried on the column.
READ_DATES: tuple[dict[str, Any], ...] = (
    {},
    {"dayfirst": True},
    {"format": "mixed"},
    {"format": "mixed", "dayfirst": True},
    {"utc": True},
    {"format": "mixed", "utc": True},
    {"format": "mixed", "errors": "coerce"},
    {"format": "mixed", "errors": "coerce", "utc": True},
)


# --- Cells as texts --------------------------------------------------------------------------------------


def of_objects(kind: Any) -> bool:
    """Whether a column of this type holds texts, or Python's objects."""
    return pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind)


def text_of(value: object) -> str:
    """A cell as a text that does not depend on how a file was read: 1, 1.0 and " 1" are one category."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, numbers.Number) and not isinstance(value, NO_REAL_NUMBERS):
        try:
            if isinstance(value, numbers.Integral):
                return str(int(value))  # a float would merge neighbours above 2**53
            number = float(value)  # type: ignore[arg-type]
        except (OverflowError, ValueError):  # more digits than Python writes
            return "inf"
        return str(int(number)) if number.is_integer() else str(number)
    return str(value)


def texts_of(cells: pd.Series) -> np.ndarray:
    """All cells as `text_of` writes them; a missing one is empty."""
    try:
        codes, distinct = pd.factorize(cells.astype(object), use_na_sentinel=True)
    except (TypeError, ValueError):  # lists and the like, which are refused later
        return np.array([str(value) for value in cells], object)
    texts = np.array([*map(text_of, distinct), ""], object)
    return texts[codes]


def is_number(text: str) -> bool:
    """Whether a text is a number to Python, infinity among them."""
    try:
        return not np.isnan(float(text)) and "_" not in text
    except ValueError:
        return False


def are_numbers(cells: pd.Series, missing: np.ndarray) -> bool:
    """Whether all cells but the missing ones are numbers, also as texts."""
    if not of_objects(cells.dtype):
        return bool(pd.api.types.is_numeric_dtype(cells.dtype))
    return all(map(is_number, set(texts_of(cells)[~missing])))


def examples_of(cells: pd.Series, where: np.ndarray) -> str:
    """Three different cells, but for those ``where`` says."""
    return listed(pd.unique(pd.Series(texts_of(cells)[~where], dtype=object))[:3])


# --- What is refused -------------------------------------------------------------------------------------


def refuse_what_is_no_cell(
    name: Hashable, cells: pd.Series, missing: np.ndarray, texts_too: bool = True
) -> None:
    """Refuse dates, times, spans of time, bytes, lists, complex numbers and whatever else is no cell.

    With ``texts_too`` also texts that are dates or times to people.

    Raises
    ------
    ModalityError
        With the line that makes the column one that can be read.
    """
    kind = cells.dtype
    if pd.api.types.is_complex_dtype(kind):
        raise ModalityError(
            f"Column {name!r} holds complex numbers ({examples_of(cells, missing)}) in {len(cells)} rows; "
            f"expected real ones. Write frame[{name!r}] = frame[{name!r}].abs(), or the part that matters."
        )
    logical = getattr(kind, "numpy_dtype", kind)  # of Arrow types
    cure = None
    if getattr(logical, "kind", "O") in "Mm" or isinstance(kind, pd.PeriodDtype):
        cure = cure_of_dates(str(name), kind)
    elif of_objects(kind) or isinstance(kind, pd.ArrowDtype):
        known = cells[~missing].astype(object)
        cure = _cure_of_objects(name, cells, known) if len(known) else None
        if texts_too:
            _refuse_broken_texts(name, known)
        if cure is None and texts_too and {type(v) for v in known} == {str}:
            cure = _cure_of_texts_of_time(name, cells, set(texts_of(known)))
    if cure is not None:
        raise ModalityError(
            f"Column {name!r} holds dates or times ({examples_of(cells, missing)}) in {len(cells)} rows; "
            f"expected numbers. {cure}"
        )


def _refuse_broken_texts(name: Hashable, known: pd.Series) -> None:
    """Halves of characters, which a text read in a wrong encoding can have, cannot be written to any file."""
    for value in {v for v in known if isinstance(v, str)}:
        if HALF_CHARACTER.search(value):
            raise ModalityError(
                f"Column {name!r} holds a text with half a character ({value!r:.60}) in {len(known)} cells; "
                "expected whole ones. Read the file in its encoding, pd.read_csv(..., encoding='latin-1'), "
                f"or write frame[{name!r}] = frame[{name!r}].map(lambda v: "
                "v.encode('utf-8', 'replace').decode() if isinstance(v, str) else v)."
            )


def _cure_of_objects(name: Hashable, cells: pd.Series, known: pd.Series) -> str | None:
    """Of dates, times and spans the cure; None for what may be in a cell.

    Raises
    ------
    ModalityError
        For what may not.
    """
    where = f"frame[{name!r}]"
    kinds = {type(value) for value in known}
    if all(issubclass(k, datetime.date | np.datetime64 | pd.Period) for k in kinds):
        return _cure_of_dates(name, cells)
    if all(issubclass(k, datetime.timedelta | np.timedelta64) for k in kinds):
        return f"Write {where} = pd.to_timedelta({where}).dt.total_seconds() / 86400, or leave it out."
    if kinds == {datetime.time}:
        return _cure_of_times(where, seconds=True)
    wrong = {k for k in kinds if not issubclass(k, str | numbers.Real | np.bool_ | Decimal)}
    wrong |= {k for k in kinds if issubclass(k, np.timedelta64)}
    if not wrong:
        return None
    first = next(value for value in known if type(value) in wrong)
    if isinstance(first, bytes):
        texts = [value for value in known if isinstance(value, bytes)]
        code = "utf-8" if all(_decodes(text) for text in texts) else "latin-1"
        cure = f"Write {where} = {where}.map(lambda v: v.decode({code!r}) if isinstance(v, bytes) else v)."
    elif isinstance(first, list | tuple | np.ndarray) and np.ndim(first):
        cure = (
            "Leave it out of the blocks, or pass series, images and embeddings as a block of their own: "
            f"Modalities({{...: np.stack({where})}})."
        )
    else:
        to, what = ("float", "numbers") if _is_like_a_number(first) else ("str", "categories")
        line = f"{where} = {where}.map({to}, na_action='ignore')"
        cure = f"Leave it out of the blocks, or write {line} if they are {what}."
    raise ModalityError(
        f"Column {name!r} holds {type(first).__name__} ({first!r:.60}) in {len(cells)} rows; expected "
        f"numbers, booleans, texts or categories. {cure}"
    )


def _is_like_a_number(value: Any) -> bool:
    if isinstance(value, np.complexfloating):  # of which numpy would take the real part
        return False
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _cure_of_texts_of_time(name: Hashable, cells: pd.Series, texts: set[str]) -> str | None:
    """The cure of texts that are all dates, or all times of the day; None for others."""
    if all(map(DATE.fullmatch, texts)):
        return _cure_of_dates(name, cells)
    if all(map(CLOCK.fullmatch, texts)):
        return _cure_of_times(f"frame[{name!r}]", seconds=all(text.count(":") == 2 for text in texts))
    return None


def _cure_of_times(where: str, seconds: bool) -> str:
    text = f"{where}.astype(str)" + ("" if seconds else " + ':00'")
    return (
        f"Make them hours: {where} = pd.to_timedelta({text}, errors='coerce').dt.total_seconds() / 3600, or "
        "leave the column out."
    )


def _cure_of_dates(name: Hashable, cells: pd.Series) -> str:
    """The first way of reading these dates that works on them, as a line to write."""
    where = f"frame[{name!r}]"
    kinds = {type(value) for value in cells.dropna()}
    as_texts = any(issubclass(k, pd.Period) for k in kinds)
    dotted = kinds == {str} and cells.astype(str).str.match(r"\d{1,2}\.\d").any()
    for options in _ways(bool(dotted)):
        try:
            with warnings.catch_warnings(record=True) as doubts:
                warnings.simplefilter("always")
                dates = pd.to_datetime(cells.astype(str) if as_texts else cells, **options)
        except (ValueError, TypeError, OverflowError, AttributeError):
            continue
        if doubts or getattr(dates.dtype, "kind", "") != "M":
            continue
        said = "".join(f", {option}={value!r}" for option, value in options.items())
        line = f"pd.to_datetime({where}{'.astype(str)' if as_texts else ''}{said})"
        line += "" if dates.dt.tz is None else ".dt.tz_convert(None)"
        return (
            f'Make them days since a fixed date: {where} = ({line} - pd.Timestamp("2000-01-01")).dt.days, '
            "or leave the column out."
        )
    return f"Leave {name!r} out of the blocks."


def _ways(dotted: bool) -> Iterator[dict[str, Any]]:
    """31.1.2020 has the day first; of others pandas finds out, where it can."""
    for options in READ_DATES:
        if not dotted or options.get("dayfirst") or "errors" in options:
            yield {"dayfirst": True, **options} if dotted else options


def refuse_numbers_in_texts(
    name: Hashable, distinct: np.ndarray, counts: np.ndarray, known: pd.Series, cells: pd.Series
) -> None:
    """Refuse texts that are numbers to people: a category for each would lose what they say.

    Parameters
    ----------
    name, known, cells
        The column, without and with its missing cells.
    distinct, counts
        Its different texts, and how often each occurs.

    Raises
    ------
    ModalityError
        With three examples and the line that makes numbers of them.
    """
    plain = np.array([is_number(text) for text in distinct])
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
    first = known.index[np.isin(texts_of(known).astype(str), distinct[~plain])][:1]
    raise ModalityError(
        f"Column {name!r} holds {listed(distinct[~plain][:3])} among numbers in {int(counts.sum())} cells "
        f"(first in row {listed(first)}); expected numbers alone. {cure_of_texts(name, cells, distinct)}; or "
        f"{where} = {where}.astype('category') if they are categories."
    )


def cure_of_texts(name: Hashable, cells: pd.Series, distinct: np.ndarray) -> str:
    """The line that makes numbers of texts that are numbers to people, and of others missing cells."""
    where = f"frame[{name!r}]"
    texts = [text for text in distinct if not is_number(text)]
    matches = [NUMBER_IN_TEXT.fullmatch(text) for text in texts]
    dressed = [match for match in matches if match is not None]
    if len(dressed) < len(texts):
        return f"Write {where} = pd.to_numeric({where}, errors='coerce') to make them missing"
    read = where if {type(v) for v in cells.dropna()} <= {str} else f"{where}.astype(str)"
    if any(MINUS in text for text in texts):
        read += f".str.replace('{MINUS}', '-')"
    if any(re.search(rf"\d[{SPACES}]\d{{3}}", text) for text in texts):
        read += rf""".str.replace(r"(?<=\d)[{QUOTES}\s](?=\d{{3}})", '', regex=True)"""
    commas = [text for text in texts if "," in text]
    condition = ""
    if any(re.search(r"\.\d+,|\.\d+\.", text) for text in texts):  # 1.234,5 and 1.234.567
        read += ".str.replace('.', '')" + (".str.replace(',', '.')" if commas else "")
    elif commas and all(map(THOUSANDS.fullmatch, commas)):
        read, condition = f"{read}.str.replace(',', '')", " if the commas part thousands"
    elif commas:
        read, condition = f"{read}.str.replace(',', '.')", " if the comma is decimal"
    if any(match["unit"] or match["bound"] or match["currency"] for match in dressed):
        read, condition = f"{read}.str.extract(r'{NUMBER}')[0]", ""
    elif not all(is_number(text) or NUMBER_IN_TEXT.fullmatch(text) for text in set(texts_of(cells)) - {""}):
        return f"Write {where} = pd.to_numeric({read}, errors='coerce'){condition}"
    return f"Write {where} = {read}.astype(float){condition}"
