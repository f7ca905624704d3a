"""Rows that need not fit into memory: what training and predicting ask of rows, and rows that stay in files.

What is asked of rows is `RowSet`: their number, names, presence, and some of them as `Modalities`, which
themselves have it all in memory. `StoredRows` reads *shards*, which are as many rows as a storage gives at a
time (a row group of a Parquet file), and keeps only the last few; `primo_pyro.row_files` has the storages.

- **Shuffled by shards.** An epoch takes `POOLED` shards at a time, in random order, and mixes their rows.
  Rows that are sorted by class or by time should therefore be shuffled once when they are written.
- **Learnt from a sample.** Whether modalities are present, classes and labels are taken from all rows.
  Columns and categories, scales, shapes and which cells are missing are learnt from `sample_of`: rows evenly
  spaced in all of the storage, at most `SAMPLE` of them.
- **Predicted chunk by chunk.** A row's answer depends on the row and the seed alone, but for rounding in
  single precision: the order in which products of matrices are summed depends on the number of rows.
"""

from __future__ import annotations

import copy
import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol, Self, TypeVar, cast

import numpy as np
import pandas as pd
import torch

from primo_pyro.errors import ModalityError, PrimoError, PrimoWarning, warn
from primo_pyro.identity import aligned
from primo_pyro.modalities import Modalities

__all__ = [
    "POOLED",
    "SAMPLE",
    "RowSet",
    "StoredRows",
    "by_chunks",
    "in_memory",
    "part_of",
    "sample_of",
    "shuffled",
]

POOLED = 8  # shards that are mixed, and held in memory, at a time
SAMPLE = 2**16  # rows that columns and scales are learnt from
SAMPLE_CELLS = 2**25  # numbers in them, at most
FEW = 1000  # rows with each modality that the sample has, where there are as many


class RowSet(Protocol):
    """What training asks of rows; `Modalities` and `StoredRows` have it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities."""

    present: dict[str, np.ndarray]
    """Modality to booleans ``[N]``."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Modalities: ...


class StoredRows(ABC):
    """N rows in a storage that is read shard by shard.

    A storage says how large its shards are, and reads one; see `primo_pyro.row_files`.

    Parameters
    ----------
    sizes
        Rows of each shard, in order.
    names
        The modalities; None: what the rows of the first shard have.
    id
        The column that names the rows.

    Attributes
    ----------
    present : dict from modality to booleans ``[N]``, read in one pass over the storage when first asked for
    index : pandas Index, the labels of rows, or None where the storage has none
    """

    def __init__(self, sizes: Sequence[int], names: Iterable[str] | None = None, *, id: str | None = None):
        self.id = id
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(sizes, int))])
        self._names = None if names is None else tuple(names)
        self._places: np.ndarray | None = None  # of these rows in the storage; None: all
        self._kept: dict[int, Modalities] = {}  # shards, the one used last at the end
        if self._starts[-1] == 0:
            raise ModalityError("The storage has 0 rows; expected at least one. Name another one.")

    # --- What a storage says ---------------------------------------------------------------------------

    @abstractmethod
    def read_shard(self, shard: int) -> Modalities:
        """All rows of a shard, with labels, or with their positions as labels."""

    @abstractmethod
    def read_column(self, name: str) -> Any:
        """One value for each row of the whole storage, such as the labels to be predicted."""

    @property
    @abstractmethod
    def files(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change of each file, by which a checkpoint knows its rows."""

    def frames(self) -> Iterator[pd.DataFrame]:
        """The rows as DataFrames, those of one shard at a time, for estimators with ``blocks``."""
        raise self._without_columns()

    def sample_frame(self) -> pd.DataFrame:
        """Rows evenly spaced in the storage, that a `primo_pyro.tables.TableReader` learns from."""
        raise self._without_columns()

    def read_by(self, transform: Callable[[pd.DataFrame], Modalities]) -> Self:
        """The same rows, each shard a DataFrame that is made `Modalities` by a function."""
        raise self._without_columns()

    def _without_columns(self) -> ModalityError:
        return ModalityError(
            f"{type(self).__name__} of {len(self)} rows has no columns, and the estimator has blocks; "
            "expected Parquet files. Leave blocks out, or pass ParquetRows."
        )

    def without(self, column: str) -> Self:
        """The same rows, of which a column is no feature, since it holds the labels."""
        return self

    # --- Rows ------------------------------------------------------------------------------------------

    @property
    def shards(self) -> int:
        """Their number, in the whole storage."""
        return len(self._starts) - 1

    def __len__(self) -> int:
        return int(self._starts[-1] if self._places is None else len(self._places))

    @property
    def names(self) -> tuple[str, ...]:
        if self._names is None:
            self._names = self._shard(0).names
        return self._names

    @cached_property
    def index(self) -> pd.Index | None:
        return None if self.id is None else pd.Index(self.column(self.id), name=self.id)

    @cached_property
    def present(self) -> dict[str, np.ndarray]:
        parts = [self.read_shard(shard).present for shard in range(self.shards)]
        every = {name: np.concatenate([part[name] for part in parts]) for name in self.names}
        return every if self._places is None else {name: p[self._places] for name, p in every.items()}

    @property
    def complete(self) -> np.ndarray:
        """Booleans ``[N]``: rows in which every modality is present."""
        return np.logical_and.reduce(list(self.present.values()))

    @property
    def row_labels(self) -> pd.Index:
        """What frames about these rows call them: the index, or their positions in the storage."""
        if self.index is not None:
            return self.index
        return pd.RangeIndex(len(self)) if self._places is None else pd.Index(self._places)

    def __getitem__(self, rows: Any) -> Modalities:
        """Some rows, in memory: by slice, integers or booleans."""
        places = self._at(rows)
        if len(places) == 0:
            return self._shard(0)[:0]
        shards = np.searchsorted(self._starts, places, side="right") - 1
        # Shards that are held come first, before others take their room.
        needed = sorted(np.unique(shards).tolist(), key=lambda shard: shard not in self._kept)
        taken = [np.flatnonzero(shards == shard) for shard in needed]
        parts = [
            self._shard(shard)[places[at] - self._starts[shard]]
            for shard, at in zip(needed, taken, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        return Modalities.concat(parts)[np.argsort(np.concatenate(taken))]

    def _at(self, rows: Any) -> np.ndarray:
        """Places in the storage."""
        if isinstance(rows, tuple):  # scikit-learn asks for x[rows, ...]
            rows = rows[0]
        places = np.arange(self._starts[-1]) if self._places is None else self._places
        return np.atleast_1d(places[rows if isinstance(rows, slice) else np.asarray(rows)])

    def _shard(self, shard: int) -> Modalities:
        found = self._kept.pop(shard, None)
        if found is None:
            found = self.read_shard(shard)
        self._kept[shard] = found
        while len(self._kept) > POOLED:
            self._kept.pop(next(iter(self._kept)), None)
        return found

    def part(self, rows: Any) -> Self:
        """Some rows, which stay in the storage."""
        some = copy.copy(self)
        some._places, some._kept = self._at(rows), {}
        some.__dict__.pop("sample", None)
        if "present" in self.__dict__:  # what is known need not be read again
            some.present = {name: present[rows] for name, present in self.present.items()}
        if "index" in self.__dict__:
            some.index = None if self.index is None else self.index[rows]
        return some

    def column(self, name: str) -> Any:
        """One value a row, without labels of rows."""
        values = self.read_column(name)
        return values if self._places is None else values[self._places]

    def align(self, what: str, values: Any, error: type[PrimoError] = ModalityError) -> Any:
        """As `Modalities.align`."""
        cure = f"Give {what} for the rows that the storage has, {what}.loc[x.index]."
        return aligned(what, values, self.index, cure=cure, error=error)

    def chunks(self) -> Iterator[Modalities]:
        """All rows in order, those of one shard at a time."""
        for shard, inside in self.by_shard():
            x = self.read_shard(shard)
            yield x if len(inside) == len(x) else x[inside]

    def by_shard(self) -> Iterator[tuple[int, np.ndarray]]:
        """Shards in order, and the places in them of these rows."""
        places = self._at(slice(None))
        shards = np.searchsorted(self._starts, places, side="right") - 1
        for some in np.split(np.arange(len(places)), np.flatnonzero(np.diff(shards)) + 1):
            shard = int(shards[some[0]])
            yield shard, places[some] - self._starts[shard]

    def shuffled(self) -> np.ndarray:
        """The N rows in a random order, `POOLED` shards at a time; drawn from torch's generator."""
        shards = np.searchsorted(self._starts, self._at(slice(None)), side="right") - 1
        pool_of_shard = torch.randperm(self.shards).numpy() // POOLED
        order = torch.randperm(len(self)).numpy()
        return order[np.argsort(pool_of_shard[shards[order]], kind="stable")]

    @cached_property
    def sample(self) -> Modalities:
        """Rows evenly spaced in the storage, and more of modalities that few rows have."""
        first = self._shard(0)[:1]
        cells = sum(values.size for values in first.values.values())
        most = int(np.clip(SAMPLE_CELLS // max(cells, 1), FEW, SAMPLE))
        rows = _evenly(np.arange(len(self)), most)
        for present in self.present.values():
            having = np.flatnonzero(present)
            if present[rows].sum() < min(FEW, len(having)):
                rows = np.union1d(rows, _evenly(having, FEW))
        return self[rows]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        raise ModalityError(
            f"{type(self).__name__} of {len(self)} rows came; expected an array. Take some rows into memory, "
            "x[:1000], and of these one block, x[:1000].values[name]."
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows: {', '.join(self.names)})"


# --- The same of both kinds of rows ----------------------------------------------------------------------


def _evenly(values: np.ndarray, most: int) -> np.ndarray:
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).astype(int)]


def part_of(x: Modalities | StoredRows, rows: np.ndarray) -> Modalities | StoredRows:
    """Some rows, where they are: in memory or in the storage."""
    return x.part(rows) if isinstance(x, StoredRows) else x[rows]


def sample_of(x: Modalities | StoredRows) -> Modalities:
    """The rows that scales and columns are learnt from: all that are in memory, or a sample.

    >>> x = Modalities({"o": [1.0, 2.0]})
    >>> sample_of(x) is x
    True
    """
    return x.sample if isinstance(x, StoredRows) else x


def shuffled(x: RowSet) -> np.ndarray:
    """The order of the rows in an epoch, drawn from torch's generator.

    >>> sorted(shuffled(Modalities({"o": [1.0, 2.0, 3.0]})).tolist())
    [0, 1, 2]
    """
    return x.shuffled() if isinstance(x, StoredRows) else torch.randperm(len(x)).numpy()


def in_memory(x: object, what: str, cure: str) -> None:
    """Refuse stored rows, for ``what`` needs all rows at once.

    Raises
    ------
    ModalityError
        With the cure.
    """
    if isinstance(x, StoredRows):
        raise ModalityError(
            f"x is {type(x).__name__} of {len(x)} rows, and {what} needs all rows at once; expected rows in "
            f"memory. {cure}"
        )


Question = TypeVar("Question", bound=Callable[..., Any])


def by_chunks(question: Question) -> Question:
    """A method that answers for each row on its own, for stored rows too: a shard at a time, answers joined.

    Warnings of each kind are given once, for the first rows that they are about.
    """

    @functools.wraps(question)
    def asked(self: Any, x: Any, *args: Any, **settings: Any) -> Any:
        if not isinstance(x, StoredRows):
            return question(self, x, *args, **settings)
        parts = x.frames() if getattr(self, "blocks", None) is not None else x.chunks()
        answers: list[Any] = []
        told: dict[type[Warning], str] = {}
        for chunk in parts:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", PrimoWarning)
                answers.append(question(self, chunk, *args, **settings))
            for warning in caught:
                told.setdefault(warning.category, str(warning.message))
        for kind, message in told.items():
            warn(message, cast(type[PrimoWarning], kind))
        return _joined(answers)

    return cast(Question, asked)


def _joined(answers: list[Any]) -> Any:
    if isinstance(answers[0], pd.DataFrame):
        return pd.concat(answers, ignore_index="row" in answers[0])  # of several lines a row
    if isinstance(answers[0], np.ndarray):
        return np.concatenate(answers)
    return type(answers[0]).joined(answers)
