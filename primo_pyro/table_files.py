"""Tables of files and of other libraries as DataFrames."""

from __future__ import annotations

import csv
import difflib
import gzip
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from primo_pyro.errors import DataFileError, ModalityError
from primo_pyro.identity import listed

__all__ = ["PARQUET", "as_frame", "kind_of_file", "read_table", "require_parquet"]

PARQUET = ("parquet", "pq")


def read_table(path: str | PathLike[str], id: str | None = None) -> pd.DataFrame:
    """A CSV or Parquet file as a DataFrame.

    Parameters
    ----------
    path
        A file whose name ends in ``.csv``, ``.tsv`` or ``.txt`` (also behind ``.gz``; commas, semicolons,
        tabs or bars), or in ``.parquet`` or ``.pq``.
    id
        The column that names the rows; it becomes the index, and leading zeros stay.

    Raises
    ------
    DataFileError
        Where the file does not exist, cannot be read, or has no such column.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "rows.csv").write_text("patient;age\\n007;71\\n012;40\\n")
    ...     read_table(f"{folder}/rows.csv", id="patient")
             age
    patient
    007       71
    012       40
    """
    if not isinstance(path, str | PathLike):
        raise DataFileError(
            f"path is {type(path).__name__} ({path!r:.60}); expected the name of a CSV or Parquet file. Give "
            "its name, or pass a DataFrame where rows are asked for."
        )
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise DataFileError(f"{path} {found}; expected a CSV or Parquet file. Correct the path.")
    kind = kind_of_file(path)
    try:
        if kind in PARQUET:
            require_parquet(path)
            frame = pd.read_parquet(path)
        elif kind in ("csv", "tsv", "txt"):
            frame = _read_text(path, id)
        else:
            raise DataFileError(
                f"{path} ends in {kind!r}; expected .csv, .tsv, .txt or .parquet. Read it by pandas, and "
                "pass the DataFrame."
            )
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path} cannot be read as a table: {_line_of(path, error)} is not UTF-8 ({error.reason}); "
            "expected UTF-8. Convert it, or read it by pandas with encoding='latin-1' and pass the DataFrame."
        ) from error
    except (ValueError, ImportError, EOFError, zlib.error, pd.errors.ParserError, OSError) as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(
            f"{path} cannot be read as a table: {str(error).strip().removesuffix('.')}; expected one. Repair "
            "the file, or read it by pandas with other settings and pass the DataFrame."
        ) from error
    if id is None:
        return frame
    if id not in frame.columns:
        close = difflib.get_close_matches(id, [str(c) for c in frame.columns], 3, 0.5)
        raise DataFileError(
            f"{path} has no column {id!r}; expected one of {listed(close or frame.columns[:10])}. Correct id."
        )
    unnamed = frame[id].isna().to_numpy()
    if unnamed.any():
        raise DataFileError(
            f"{path}: column {id!r} is empty in {int(unnamed.sum())} of {len(frame)} rows (first: row "
            f"{int(unnamed.argmax()) + 1}); expected a name in each. Fill it in, or leave these rows out."
        )
    frame = frame.set_index(id)
    texts = frame.index
    if all(isinstance(t, str) and (t == "0" or (t.isdecimal() and t[0] != "0")) for t in texts):
        frame.index = texts.astype("int64")
    return frame


def _read_text(path: Path, id: str | None) -> pd.DataFrame:
    """A file of values parted by commas, semicolons, tabs or bars, whichever its first line has most of.

    Raises
    ------
    DataFileError
        Where the first line names a column twice, or has fewer names than others have cells: pandas would
        take the first column for the labels of rows, and each cell for that of its neighbour.
    """
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        head = file.readline()
    sep = max(",;\t|", key=head.count)
    names = next(csv.reader([head], delimiter=sep, skipinitialspace=True), [])
    twice = [name for name, count in Counter(names).items() if count > 1 and name.strip()]
    if twice:
        raise DataFileError(
            f"{path} names column {twice[0]!r} {names.count(twice[0])} times in its first line; expected "
            "each once. Rename or remove the others."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Length of header", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                path,
                sep=sep,
                low_memory=False,
                skipinitialspace=True,
                index_col=False,
                dtype={id: str} if id in names else None,
            )
        except pd.errors.ParserWarning as error:
            raise DataFileError(
                f"{path} has {len(names)} names in its first line, and more cells in others; expected as "
                "many. Name every column, or remove the separators at the ends of lines."
            ) from error


def _line_of(path: Path, error: UnicodeDecodeError) -> str:
    """Where a file is in another encoding; pandas reads in parts, and knows the place in a part alone."""
    for number, text in enumerate(path.read_bytes().split(b"\n"), 1):
        if error.object[error.start : error.start + 1] in text:
            try:
                text.decode()
            except UnicodeDecodeError:
                return f"line {number}"
    return "it"


def kind_of_file(path: Path) -> str:
    """The suffix that says how a file is read.

    >>> kind_of_file(Path("rows.CSV.gz"))
    'csv'
    """
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


def require_parquet(path: Path) -> None:
    """Refuse Parquet files where the library that reads and writes them is not installed."""
    if find_spec("pyarrow") is None:
        raise DataFileError(
            f"{path} is a Parquet file, and pyarrow is not installed; expected it. Install it, pip install "
            "'primo-pyro[parquet]', or use a CSV file."
        )


def as_frame(table: Any) -> pd.DataFrame:
    """A DataFrame, also of libraries that make one (polars, Arrow)."""
    if isinstance(table, pd.DataFrame):
        return table
    if hasattr(table, "to_pandas"):
        try:
            frame = table.to_pandas()
        except (ImportError, TypeError, ValueError) as error:
            raise ModalityError(
                f"The {type(table).__name__} cannot be made a DataFrame ({error}); expected its to_pandas to "
                "make one. Install what it asks for, or pass a DataFrame."
            ) from error
        if isinstance(frame, pd.DataFrame):
            return frame
    found, cure = type(table).__name__, "Make it one, or read a file: read_table(path)."
    if isinstance(table, str | PathLike):
        found, cure = f"a path ({table!s:.60})", "Read it first: read_table(path)."
    elif isinstance(table, pd.Series):
        cure = "Write x.to_frame().T of a row of a table, or x.to_frame() of a column."
    elif isinstance(table, Mapping):
        cure = "Write pd.DataFrame([x]) of one row, or pd.DataFrame(x) of columns."
    elif isinstance(table, np.ndarray) and table.dtype.names is None:
        cure = "Write pd.DataFrame(x, columns=[...]) with the names of the training columns."
    elif isinstance(table, np.ndarray | list | tuple):
        cure = "Write pd.DataFrame(x)."
    raise ModalityError(f"blocks names columns, and the rows came as {found}; expected a DataFrame. {cure}")
