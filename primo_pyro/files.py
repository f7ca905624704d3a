"""Files that are old or new, never half: written under another name, forced to the disk, then renamed.

What a killed process left behind under such names is swept by the next writer, under a lock of the folder
that the system lets go of when a process ends.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from primo_pyro.errors import FileError

__all__ = [
    "PATIENCE",
    "force",
    "force_folder",
    "locked",
    "partial_name",
    "sweep",
    "write_atomically",
    "write_new",
]

PATIENCE = 60.0  # seconds to wait for another writer in the same folder
UNIQUE = re.compile(r"[0-9a-f]{32}")


def partial_name(path: Path) -> Path:
    """A name beside ``path`` that no other writer has, and that `sweep` knows.

    >>> partial_name(Path("models/run")).name.startswith(".run.")
    True
    """
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")


def sweep(path: Path) -> list[Path]:
    """Leftovers of killed writers of ``path``; call it in `locked`, and delete them."""
    prefix, suffix = f".{path.name}.", ".partial"
    found = []
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            name = entry.name
            named = name.startswith(prefix) and name.endswith(suffix)
            if named and UNIQUE.fullmatch(name[len(prefix) : -len(suffix)]):
                found.append(Path(entry.path))
    return found


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other writers, of this process and of others, out of a folder; readers are not kept out.

    Where a system or a file system has no such locks, nothing is kept out.

    Raises
    ------
    FileError
        Where another writer does not let go of the folder within `PATIENCE` seconds.
    """
    handle = None
    if sys.platform != "win32":
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
    try:
        if handle is not None:
            _take(handle, folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)  # which lets go of the lock


def _take(handle: int, folder: Path) -> None:
    import fcntl  # not on every system

    end = time.monotonic() + PATIENCE
    pause = 0.001
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                return  # a file system without locks
        if time.monotonic() > end:
            raise FileError(
                f"Another process has been writing into {folder} for {PATIENCE:g} seconds; expected it to "
                "end. End that process, or name another folder."
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def force(handle: int) -> None:
    """Have the disk hold what was written to an open file."""
    os.fsync(handle)


def force_folder(folder: Path) -> None:
    """Have the disk hold the names in a folder; where a system cannot, it does so on its own."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_new(path: Path, content: bytes) -> None:
    """A file that did not exist, with the rights that the user's mask gives, forced to the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        force(file.fileno())


def write_atomically(path: Path, content: bytes) -> None:
    """Put a file in place whole: whoever reads it, now or after a power cut, finds the old or the new one.

    Raises
    ------
    FileError
        Where it cannot be written, as on a full disk. The old file then stands.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "page", b"whole")
    ...     os.listdir(folder)
    ['page']
    """
    with locked(path.parent):
        for leftover in sweep(path):
            with suppress(OSError):
                leftover.unlink()
        partial = partial_name(path)
        try:
            write_new(partial, content)
            os.replace(partial, path)
            force_folder(path.parent)
        except OSError as error:
            raise FileError(
                f"{path} cannot be written: {len(content)} bytes failed ({error.strerror or error}); "
                "expected a folder with room that can be written to. Make room, or name another place."
            ) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
