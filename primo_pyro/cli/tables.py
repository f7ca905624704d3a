"""Tables in and out of the command line, as files; models; errors that name the file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pandas as pd

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.errors import DataFileError, PrimoError, SavedModelError, SettingsError
from primo_pyro.identity import listed
from primo_pyro.labels import NO_LABEL
from primo_pyro.persistence import MANIFEST, SETTINGS
from primo_pyro.regressor import PrimoRegressor
from primo_pyro.table_files import PARQUET, kind_of_file, read_table, require_parquet

__all__ = ["Model", "check_folder", "load_model", "of_file", "read_labels", "read_rows", "write_rows"]

Model = PrimoClassifier | PrimoRegressor
TEXT = {"csv": ",", "tsv": "\t", "txt": "\t"}  # suffix to what parts columns


@contextmanager
def of_file(path: Path) -> Iterator[None]:
    """Errors of what is done with a file name it."""
    try:
        yield
    except PrimoError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def read_rows(path: Path, id: str | None) -> pd.DataFrame:
    """The rows of a file, with the column ``id`` as index.

    Raises
    ------
    DataFileError
        Where it cannot be read, has no rows, or no such column.
    """
    with of_file(path):
        frame = read_table(path, id=id)
        if len(frame) == 0:
            raise DataFileError("The table has 0 rows; expected at least one. Add some.")
    return frame


def read_labels(frame: pd.DataFrame, label: str | None, path: Path) -> pd.Series:
    """The column of labels.

    Raises
    ------
    SettingsError, DataFileError
        Where none was named, it does not exist, or some row has none.
    """
    if label is None:
        raise SettingsError("No label was named; expected a column. Add --label NAME.")
    if label not in frame.columns:
        raise DataFileError(
            f"{path} has no column {label!r}; expected the labels. Its columns are "
            f"{listed(frame.columns, 12)}. Correct --label."
        )
    y = frame[label]
    empty = y.isna().to_numpy() | y.astype(str).str.strip().isin(NO_LABEL).to_numpy()
    if empty.any():
        raise DataFileError(
            f"{path}: column {label!r} is empty in {int(empty.sum())} of {len(y)} rows "
            f"({listed(frame.index[empty], 3)}); expected a label in each. Fill them in, or take these rows "
            "out."
        )
    return y


def write_rows(frame: pd.DataFrame, path: Path | None, id: str | None) -> None:
    """Rows as a file by its suffix, or as CSV on standard output; the index first, named ``id`` or "row".

    Raises
    ------
    DataFileError
        Where the suffix is not known, or the file cannot be written.
    """
    labels = frame.index
    frame = frame.reset_index(drop=True)
    frame.insert(0, id or "row", labels, allow_duplicates=True)
    if path is None:
        _write_text(frame, sys.stdout, ",")
        return
    kind = kind_of_file(path)
    if kind not in (*PARQUET, *TEXT):
        raise DataFileError(
            f"{path} ends in {kind!r}; expected .csv, .tsv, .txt or .parquet. Name another file."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind in PARQUET:
            require_parquet(path)
            frame.to_parquet(path, index=False)
        else:
            frame.to_csv(path, sep=TEXT[kind], index=False)
    except (OSError, ValueError) as error:
        if isinstance(error, PrimoError):
            raise
        raise DataFileError(
            f"{path} cannot be written ({error}); expected a place that can. Name another file."
        ) from error


def _write_text(frame: pd.DataFrame, stream: IO[str], sep: str) -> None:
    frame.to_csv(stream, sep=sep, index=False, lineterminator="\n")


def check_folder(folder: Path) -> None:
    """Refuse, before the work, a folder that a model will not be written into.

    Raises
    ------
    SavedModelError
        Where it is a file, or holds files and no model.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise SavedModelError(
            f"{folder} holds files and no model; expected a new or empty folder, or a saved model. Name "
            "another one."
        )
    if folder.exists() and not folder.is_dir():
        raise SavedModelError(f"{folder} is a file; expected a folder. Name another one.")
    folder.parent.mkdir(parents=True, exist_ok=True)


def load_model(folder: Path) -> Model:
    """The estimator of a folder that ``fit`` wrote, or ``save`` in Python.

    Raises
    ------
    SavedModelError, SettingsError
        Where it is not whole, or was not fitted on a table.
    """
    try:
        kind = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["class"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = PrimoClassifier.__name__  # which says what is wrong with the folder
    model = (PrimoRegressor if kind == PrimoRegressor.__name__ else PrimoClassifier).load(folder)
    if model.blocks is None:
        raise SettingsError(
            f"{folder} was not fitted on a table, and takes Modalities; expected a model with blocks. Ask it "
            f"in Python: {kind}.load({str(folder)!r})."
        )
    return model
