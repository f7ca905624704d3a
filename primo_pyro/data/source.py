"""Where data files come from, the same for every loader.

A *home* is the folder of one data set, such as ``mnist``. It is looked for

1. in the ``path`` that the caller gave, which is the home itself or the folder above it, and nowhere else;
2. else in the folder that the environment variable ``PRIMO_DATA`` names;
3. else in the per-user cache, ``pooch.os_cache("primo_pyro")``;
4. else it is downloaded into that cache, where the owner offers it openly and its checksum is known.

Data that one has to ask for is never downloaded: the error says what to request and where to put it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pooch

from primo_pyro.errors import DataFileError, DataNotFoundError

__all__ = [
    "PARTIAL",
    "STALE_AFTER",
    "AnyPath",
    "DataFile",
    "cache_folder",
    "check",
    "fetch",
    "find",
    "homes",
    "not_found",
    "replacing",
    "sha256_of",
]

AnyPath = str | os.PathLike[str]

PARTIAL = ".partial-"
STALE_AFTER = 6 * 3600  # seconds; no download or build takes as long


@dataclass(frozen=True)
class DataFile:
    """One file whose content is known.

    ``sha256`` is that of the content: for a name that ends in ``.gz``, of the unpacked content, because two
    packings of the same bytes differ.
    """

    home: str
    name: str
    sha256: str
    licence: str
    obtain: str
    urls: tuple[str, ...] = ()


def cache_folder() -> Path:
    """The per-user cache of this package."""
    return Path(pooch.os_cache("primo_pyro"))


def homes(home: str, path: AnyPath | None = None) -> list[Path]:
    """The folders that may hold a data set, in the order in which they are asked.

    Raises
    ------
    DataFileError
        Where ``path``, or the folder that ``PRIMO_DATA`` names, does not exist.
    """
    if path is not None:
        path = Path(path)
        if not path.exists():
            raise DataFileError(
                f"{path} does not exist; expected a file or a folder. Correct the path, or leave it out."
            )
        return [path / home, path] if path.is_dir() else [path.parent]
    folders = [cache_folder()]
    if named := os.environ.get("PRIMO_DATA"):
        if not Path(named).is_dir():
            raise DataFileError(
                f"The environment variable PRIMO_DATA names {named}; expected a folder. Set it to the one "
                "above the data sets' own, or unset it."
            )
        folders.insert(0, Path(named))
    return [folder / home for folder in folders]


def find(file: DataFile, path: AnyPath | None = None) -> Path | None:
    """The file where it lies, checked; None where it lies nowhere."""
    for folder in homes(file.home, path):
        if (folder / file.name).is_file():
            check(file, folder / file.name)
            return folder / file.name
    return None


def fetch(file: DataFile, path: AnyPath | None = None) -> Path:
    """The file, checked; downloaded into the per-user cache where that may be.

    Raises
    ------
    DataFileError
        Where it is nowhere, or is not the file that it should be.
    """
    found = find(file, path)
    if found is not None:
        return found
    if path is not None or not file.urls:
        raise not_found(f"{file.home}/{file.name}", homes(file.home, path), file.obtain)
    return _download(file, cache_folder() / file.home / file.name)


def not_found(what: str, looked_in: Iterable[Path], obtain: str) -> DataNotFoundError:
    """The error for data that is nowhere."""
    places = ", ".join(map(str, looked_in))
    return DataNotFoundError(
        f"{what} was not found (looked in {places}); expected it in one of them. {obtain} Then give its "
        "folder as path, or put it into the folder that the environment variable PRIMO_DATA names."
    )


def check(file: DataFile, where: Path) -> None:
    """Raise a DataFileError unless the file has the known content."""
    try:
        found = sha256_of(where)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        found = f"none (cannot be unpacked: {error})"
    if found != file.sha256:
        raise DataFileError(
            f"{where} ({where.stat().st_size} bytes) is truncated, was edited or is another file: its "
            f"content has sha256 {found}; expected {file.sha256}. Remove it and get it again. {file.obtain}"
        )


def sha256_of(path: Path) -> str:
    """Checksum of a file's content, unpacked where its name ends in ``.gz``."""
    digest = hashlib.sha256()
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _download(file: DataFile, target: Path) -> Path:
    print(f"{file.name}: {file.licence}", file=sys.stderr)
    failures = []
    for url in file.urls:
        try:
            with replacing(target) as partial:
                pooch.HTTPDownloader(progressbar=True, timeout=60)(url, str(partial), None)
                check(file, partial)
        except (OSError, ValueError) as error:  # what requests raises, and what check raises, is an OSError
            failures.append(f"{url}: {error}")
        else:
            return target
    raise DataFileError(
        f"{file.name} could not be downloaded ({'; '.join(failures)}); expected one of its places to answer. "
        f"Try again later. {file.obtain}"
    )


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write a file or a folder to, which becomes ``target`` at the end, whole or not at all.

    What an earlier run left behind when it was killed is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(target.name + PARTIAL + "*"):
        if time.time() - left.stat().st_mtime > STALE_AFTER:
            shutil.rmtree(left, ignore_errors=True)
    workshop = Path(tempfile.mkdtemp(prefix=target.name + PARTIAL, dir=target.parent))
    try:
        yield workshop / target.name
        os.replace(workshop / target.name, target)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
