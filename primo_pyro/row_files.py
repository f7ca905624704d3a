"""Storages of rows: Parquet files, folders of NumPy arrays, data sets of torch and of others like them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from primo_pyro.arrays import array_of
from primo_pyro.errors import DataFileError, ModalityError, PrimoError, TableWarning, warn
from primo_pyro.identity import listed
from primo_pyro.modalities import Modalities
from primo_pyro.rows import SAMPLE, StoredRows

__all__ = ["ArrayRows", "DatasetRows", "ParquetRows", "modalities_of_frame"]

LARGE = 2**17  # rows of a row group, more of which take much memory
SHARD = 2**12  # rows of arrays read at a time
ITEMS = 2**8  # items of a data set read at a time

Columns = Mapping[str, str | Sequence[str]]


class ParquetRows(StoredRows):
    """Rows of a Parquet file, or of all Parquet files of a folder in the order of their names.

    A shard is a row group: some 10,000 to 60,000 rows of a table, some hundreds of images. To write them,
    ``frame.to_parquet(path, row_group_size=20_000)``. Parts of paths (``year=2024/``) are no columns.

    Parameters
    ----------
    path
        File or folder.
    columns
        Modality to its column or columns. Several columns of numbers stand side by side, and a cell that is
        null is missing. A single column may hold nested lists, as long in all rows: series ``[T, F]``, images
        ``[C, height, width]``; where it is null the modality is absent. None: for estimators with ``blocks``,
        which name columns themselves.
    id
        The column that names the rows.

    Raises
    ------
    DataFileError
        Where there are no such files, or one cannot be read.
    ModalityError
        Where a column does not exist, or holds no numbers of one shape.

    Examples
    --------
    >>> import tempfile
    >>> frame = pd.DataFrame({"age": [71, 40, 55], "wave": [[0.1, 0.2], None, [0.3, 0.1]], "died": [1, 0, 0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frame.to_parquet(f"{folder}/part-0.parquet", row_group_size=2)
    ...     rows = ParquetRows(folder, {"history": ["age"], "ecg": "wave"})
    ...     rows, rows.present["ecg"], rows.column("died")
    ...     rows[[2, 0]]
    (ParquetRows(3 rows: history, ecg), array([ True, False,  True]), array([1, 0, 0]))
    Modalities(2 rows: history [1] in all, ecg [2] in all)
    """

    def __init__(self, path: str | PathLike[str], columns: Columns | None = None, *, id: str | None = None):
        parquet = _parquet()
        self.path, self.columns_of = Path(path), columns
        found = sorted(self.path.rglob("*.parquet")) if self.path.is_dir() else [self.path]
        self._groups: list[tuple[Path, int]] = []
        sizes: list[int] = []
        for file in found:
            with _told(file):
                groups = parquet.ParquetFile(file).metadata
                rows = [groups.row_group(group).num_rows for group in range(groups.num_row_groups)]
            self._groups += [(file, group) for group, count in enumerate(rows) if count]
            sizes += [count for count in rows if count]
        if not found:
            raise DataFileError(f"{self.path} holds no file *.parquet; expected some. Correct the path.")
        if max(sizes, default=0) > LARGE:
            warn(
                f"{self.path} has row groups of {max(sizes):,} rows, and eight of them are held in memory; "
                f"expected at most {LARGE:,}. Write it with row_group_size=20_000.",
                TableWarning,
            )
        self._transform: Callable[[pd.DataFrame], Modalities] | None = None
        self._left_out: tuple[str, ...] = ()
        super().__init__(sizes, columns, id=id)

    def _table(self, shard: int, columns: Sequence[str] | None = None) -> Any:
        file, group = self._groups[shard]
        with _told(file):
            opened = _parquet().ParquetFile(file)
            lacking = [name for name in columns or () if name not in opened.schema_arrow.names]
            if lacking:
                raise ModalityError(
                    f"{file} has no column {listed(lacking)}; expected one of "
                    f"{listed(opened.schema_arrow.names, 10)}. Correct the name."
                )
            return opened.read_row_group(group, columns=None if columns is None else list(columns))

    def read_frame(self, shard: int) -> pd.DataFrame:
        """All rows of a shard as they are."""
        frame = self._table(shard).to_pandas(ignore_metadata=True).drop(columns=list(self._left_out))
        return frame.set_index(self.id) if self.id else frame.set_axis(self._positions(shard))

    def _positions(self, shard: int) -> pd.Index:
        return pd.RangeIndex(self._starts[shard], self._starts[shard + 1])

    def read_shard(self, shard: int) -> Modalities:
        if self._transform is not None:
            return self._transform(self.read_frame(shard))
        if self.columns_of is None:
            raise ModalityError(
                f"{self.path} of {len(self)} rows came without columns, to an estimator without blocks; "
                'expected one of them. Write ParquetRows(path, {"labs": ["lab_1", "lab_2"]}), or give blocks '
                "to the estimator."
            )
        names = [name for given in self.columns_of.values() for name in _several(given)]
        table = self._table(shard, [*names, *([self.id] if self.id else [])])
        index = pd.Index(table.column(self.id).to_pandas()) if self.id else self._positions(shard)
        return _modalities(table, self.columns_of, index)

    def read_column(self, name: str) -> pd.api.extensions.ExtensionArray | np.ndarray:
        parts = [self._table(shard, [name]).column(name).to_pandas() for shard in range(len(self._groups))]
        values = pd.concat(parts, ignore_index=True)
        return values.array if isinstance(values.dtype, pd.CategoricalDtype) else values.to_numpy()

    @property
    def files(self) -> list[tuple[str, int, int]]:
        return _stamps({file for file, _ in self._groups})

    def frames(self) -> Iterator[pd.DataFrame]:
        for shard, inside in self.by_shard():
            yield self.read_frame(shard).iloc[inside]

    def sample_frame(self) -> pd.DataFrame:
        return pd.concat(self.part(slice(None, None, -(-len(self) // SAMPLE))).frames())

    def read_by(self, transform: Callable[[pd.DataFrame], Modalities]) -> Self:
        read = self.part(slice(None))
        read._transform, read._names = transform, None
        read.__dict__.pop("present", None)
        return read

    def without(self, column: str) -> Self:
        rest = self.part(slice(None))
        rest._left_out = (*self._left_out, column)
        return rest


class ArrayRows(StoredRows):
    """Rows of a folder of NumPy arrays, ``<modality>.npy`` of shape ``[N, ...]``, read a few at a time.

    A modality is absent where all of its values are NaN; or where ``<modality>.present.npy``, booleans
    ``[N]``, says so. Other arrays of the folder can be labels.

    Parameters
    ----------
    folder
        Where they are.
    modalities
        Their names.
    id
        The array that names the rows, ``<id>.npy``.

    Raises
    ------
    DataFileError
        Where there is no such array.
    ModalityError
        Where arrays differ in length, or cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/image.npy", np.zeros((5, 1, 8, 8), np.uint8))
    ...     np.save(f"{folder}/image.present.npy", [True, True, False, True, True])
    ...     np.save(f"{folder}/digit.npy", np.arange(5))
    ...     rows = ArrayRows(folder, ["image"])
    ...     rows[:3], rows.column("digit").tolist()
    (Modalities(3 rows: image [1, 8, 8] in 2), [0, 1, 2, 3, 4])
    """

    def __init__(self, folder: str | PathLike[str], modalities: Sequence[str], *, id: str | None = None):
        self.folder = Path(folder)
        lengths = {name: len(self._map(name)) for name in modalities}
        if len(set(lengths.values())) != 1:
            raise ModalityError(
                f"{self.folder} has arrays of {lengths} rows; expected as many in each. Correct it."
            )
        rows = next(iter(lengths.values()))
        super().__init__([min(SHARD, rows - start) for start in range(0, rows, SHARD)], modalities, id=id)

    def _map(self, name: str) -> np.ndarray:
        file = self.folder / f"{name}.npy"
        with _told(file):
            return np.load(file, mmap_mode="r", allow_pickle=False)

    def read_shard(self, shard: int) -> Modalities:
        # Maps are opened anew, so that what was read does not count as memory of the process.
        some = slice(self._starts[shard], self._starts[shard + 1])
        said = [name for name in self.names if (self.folder / f"{name}.present.npy").exists()]
        index = np.arange(some.start, some.stop) if self.id is None else np.array(self._map(self.id)[some])
        return Modalities(
            {name: np.array(self._map(name)[some]) for name in self.names},
            {name: np.array(self._map(f"{name}.present")[some]) for name in said},
            index=index,
        )

    def read_column(self, name: str) -> np.ndarray:
        return np.array(self._map(name))

    @property
    def files(self) -> list[tuple[str, int, int]]:
        return _stamps(self.folder.glob("*.npy"))


class DatasetRows(StoredRows):
    """Rows of a data set that has a length, and whose items are mappings, such as a torch ``Dataset``.

    An item maps modalities to numbers of one shape; where a modality is None, or not in the item, it is
    absent. Data sets that can only be gone through (``IterableDataset``) cannot be used. Items are read
    in this process, one by one or, where the data set has ``__getitems__``, several at once; what is slow to
    read is better written to files once.

    Parameters
    ----------
    dataset
        With ``len(dataset)`` and ``dataset[i]``.
    modalities
        Their names; other entries of an item can be labels.

    Examples
    --------
    >>> items = [{"o": [1.0, 2.0], "m": None, "y": 0}, {"o": [0.0, 1.0], "m": [5.0], "y": 1}]
    >>> rows = DatasetRows(items, ["o", "m"])
    >>> rows[:], rows.column("y").tolist()
    (Modalities(2 rows: o [2] in all, m [1] in 1), [0, 1])
    """

    def __init__(self, dataset: Any, modalities: Sequence[str]):
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise ModalityError(
                f"dataset is a {type(dataset).__name__}; expected one with a length and items by number. "
                "Write its rows to Parquet files, and pass ParquetRows."
            )
        self.dataset = dataset
        rows = len(dataset)
        super().__init__([min(ITEMS, rows - start) for start in range(0, rows, ITEMS)], modalities)

    def read_shard(self, shard: int) -> Modalities:
        places = range(self._starts[shard], self._starts[shard + 1])
        items = self._items(places)
        if not all(isinstance(item, Mapping) for item in items):
            raise ModalityError(
                f"Items {places.start} to {places.stop - 1} are not all mappings ({type(items[0]).__name__}"
                '); expected {"image": ..., "sound": ...}. Let the data set return such.'
            )
        values, present = {}, {}
        for name in self.names:
            cells = [item.get(name) for item in items]
            present[name] = np.array([cell is not None for cell in cells])
            known = [
                np.asarray(array_of(cell) if hasattr(cell, "detach") else cell)
                for cell in cells
                if cell is not None
            ]
            values[name] = _spread(name, _stacked(name, known), present[name])
        present = {name: p for name, p in present.items() if not p.all()}
        return Modalities(values, present, index=np.arange(places.start, places.stop))

    def read_column(self, name: str) -> np.ndarray:
        shards = (range(start, stop) for start, stop in pairwise(self._starts.tolist()))
        return np.asarray([item[name] for places in shards for item in self._items(places)])

    def _items(self, places: range) -> list[Any]:
        many = getattr(self.dataset, "__getitems__", None)  # torch's name for several items at once
        return list(many(list(places))) if many else [self.dataset[place] for place in places]

    @property
    def files(self) -> list[tuple[str, int, int]]:
        return []


# --- Cells as arrays -------------------------------------------------------------------------------------


def modalities_of_frame(frame: pd.DataFrame, columns: Columns) -> Modalities:
    """Modalities from columns of numbers and of nested lists, as `ParquetRows` reads them.

    >>> frame = pd.DataFrame({"age": [71, 40], "wave": [[0.1, 0.2], None]}, index=["ann", "bob"])
    >>> modalities_of_frame(frame, {"history": ["age"], "ecg": "wave"})
    Modalities(2 rows: history [1] in all, ecg [2] in 1)
    """
    import pyarrow as pa

    names = [name for given in columns.values() for name in _several(given)]
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        raise ModalityError(
            f"The table of {len(frame)} rows has no column {listed(lacking)}; expected one of "
            f"{listed(frame.columns, 10)}. Correct the name."
        )
    cells = {
        name: frame[name].map(_as_list) if frame[name].dtype == object else frame[name] for name in names
    }
    return _modalities(
        pa.table({n: pa.array(c, from_pandas=True) for n, c in cells.items()}), columns, frame.index
    )


def _modalities(table: Any, columns: Columns, index: pd.Index) -> Modalities:
    values, present = {}, {}
    for name, given in columns.items():
        if isinstance(given, str):
            values[name], present[name] = _cells(name, table.column(given))
        else:
            numbers = [_cells(name, table.column(column)) for column in given]
            if any(known.ndim > 1 and known.shape[1] != 1 for known, _ in numbers):
                raise ModalityError(
                    f"Modality {name!r} of {len(index)} rows has several columns, one of lists; expected "
                    "numbers in each. Make it a modality of its own."
                )
            cells = [np.where(known, v[:, 0] if v.shape[1] else np.nan, np.nan) for v, known in numbers]
            values[name] = np.stack(cells, axis=1)
            present[name] = ~np.isnan(values[name]).all(1)
    present = {name: p for name, p in present.items() if not p.all()}
    return Modalities(values, present, index=index)


def _cells(name: str, column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values ``[N, ...]`` of an Arrow column of numbers or nested lists, and where they are not null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    present = ~cells.is_null(nan_is_null=pa.types.is_floating(cells.type)).to_numpy(zero_copy_only=False)
    inner = cells.filter(pa.array(present))
    shape = [len(inner)]
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    while any(of_kind(inner.type) for of_kind in lists):
        lengths = pc.unique(pc.list_value_length(inner)).to_pylist()
        if len(lengths) > 1 or None in lengths:
            raise ModalityError(
                f"Modality {name!r} has lists of several lengths ({listed(lengths)}) in {len(cells)} rows; "
                "expected one. Pad them with NaN."
            )
        shape += lengths if lengths else [0]
        inner = inner.flatten()
    kind = inner.type
    if not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or not len(inner)
    ):
        raise ModalityError(
            f"Modality {name!r} has {len(cells)} rows of {kind}; expected numbers. Name such columns in "
            "blocks of the estimator, which reads texts."
        )
    numbers = inner.to_numpy(zero_copy_only=False) if len(inner) else np.zeros(0)
    known = numbers.reshape(shape if len(shape) > 1 else [len(numbers), 1])
    return _spread(name, known, present), present


def _spread(name: str, known: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Values of all rows from those of present ones; zeros elsewhere."""
    if present.all():
        return known
    values = np.zeros((len(present), *known.shape[1:]), known.dtype)
    values[present] = known
    return values


def _stacked(name: str, cells: Sequence[np.ndarray]) -> np.ndarray:
    shapes = {cell.shape for cell in cells}
    if len(shapes) > 1:
        raise ModalityError(
            f"Modality {name!r} has items of several shapes ({listed(sorted(shapes))}) in {len(cells)} rows; "
            "expected one. Bring them in the same."
        )
    if not cells:
        return np.zeros((0, 0), np.float32)
    return np.stack(cells) if cells[0].ndim else np.stack(cells)[:, None]


def _as_list(cell: Any) -> Any:
    return cell.tolist() if isinstance(cell, np.ndarray) else cell


def _several(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


# --- Files -----------------------------------------------------------------------------------------------


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataFileError(
            "pyarrow is not installed, and Parquet files came; expected it. Run pip install "
            "'primo-pyro[parquet]'."
        ) from error
    return parquet


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Errors of reading a file, as one of ours."""
    try:
        yield
    except (OSError, ValueError) as error:  # what Arrow and NumPy raise are of these kinds
        if isinstance(error, PrimoError):
            raise
        raise DataFileError(
            f"{file} cannot be read ({type(error).__name__}: {error!s:.200}); expected a whole file of "
            "its kind. Correct the path, or copy the file anew."
        ) from error


def _stamps(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    stats = [(file.name, file.stat()) for file in sorted(files)]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
