"""The three files of a saved model: written so that a reader finds the old model or the new one, never half.

A new folder is made beside its place and renamed into it. In a folder that holds a model already:

1. The new files are written as ``settings.json.<checksum>`` and ``weights.safetensors.<checksum>``, and
   forced to the disk. The old model stands.
2. The new manifest takes the place of the old one, in one step. It names the checksums of its files, and
   under either name a file counts by its checksum alone: from here on the folder is the new model.
3. The new files get their plain names.

A writer that finds an unfinished third step ends it, and sweeps what is left of an unfinished first. Writers
keep each other out; readers need not be: who finds that a file is not the manifest's looks again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import safetensors.torch
from torch import Tensor

from primo_pyro.errors import FileError, ModelFileError, SavedModelError
from primo_pyro.files import force_folder, locked, partial_name, sweep, write_new

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "MANIFEST",
    "SETTINGS",
    "WEIGHTS",
    "Declared",
    "OpenModel",
    "open_model",
    "write_model",
]

FORMAT = "primo_pyro.PrimoEstimator"
FORMAT_VERSION = 3  # raised whenever a release could misread what another one wrote

MANIFEST, SETTINGS, WEIGHTS = "manifest.json", "settings.json", "weights.safetensors"
MARKED = re.compile(
    rf"({re.escape(SETTINGS)}|{re.escape(WEIGHTS)})\.[0-9a-f]{{16}}|{re.escape(MANIFEST)}\.new"
)
MOST_MANIFEST, MOST_SETTINGS, MOST_HEADER = 2**16, 2**25, 2**24  # bytes
LOOKS = 20  # at a folder into which others save all the time

# How safetensors writes the types of tensors that a network can have.
DTYPES = {
    "F64": ("torch.float64", 8),
    "F32": ("torch.float32", 4),
    "F16": ("torch.float16", 2),
    "BF16": ("torch.bfloat16", 2),
    "C64": ("torch.complex64", 8),
    "I64": ("torch.int64", 8),
    "I32": ("torch.int32", 4),
    "I16": ("torch.int16", 2),
    "I8": ("torch.int8", 1),
    "U8": ("torch.uint8", 1),
    "BOOL": ("torch.bool", 1),
}
COPY_ANEW = "Copy the folder anew from where it was saved, or save the model again."


@dataclass(frozen=True)
class Declared:
    """What a tensor is said to be."""

    shape: list[int]
    dtype: str

    def __str__(self) -> str:
        return f"[{self.shape}, {self.dtype!r}]"


@dataclass
class OpenModel:
    """A saved model, of which the settings were read; the weights stay open until they are needed.

    Attributes
    ----------
    folder
        Where it lies, or is to lie.
    settings
        The content of ``settings.json``.
    weights
        The open file.
    checksum
        The SHA-256 that the manifest names for it; None: it comes from memory.
    """

    folder: Path
    settings: dict
    weights: BinaryIO
    checksum: str | None

    @classmethod
    @contextmanager
    def in_memory(cls, folder: Path, files: Mapping[str, bytes]) -> Iterator[Self]:
        """What is to be written."""
        settings = _as_object(folder / SETTINGS, files[SETTINGS])
        yield cls(folder, settings, io.BytesIO(files[WEIGHTS]), None)

    def declared(self) -> dict[str, Declared]:
        """The tensors by name, as the file's header declares them: the rest of the file is not read.

        Raises
        ------
        SavedModelError
            Where the file is not the one that was saved, or declares what its size does not bear out.
        """
        size = self.weights.seek(0, os.SEEK_END)
        self.weights.seek(0)
        try:
            length = int.from_bytes(self.weights.read(8), "little")
            if not 2 <= length <= min(MOST_HEADER, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(self.weights.read(length))
            header.pop("__metadata__", None)
            found, total = {}, 0
            for name, entry in header.items():
                dtype, width = DTYPES[entry["dtype"]]
                shape = [int(n) for n in entry["shape"]]
                start, end = entry["data_offsets"]
                numbers = 1
                for n in shape:
                    numbers *= n
                if end - start != numbers * width or min(shape, default=0) < 0:
                    raise ValueError(f"{name!r} of shape {shape} in {end - start} bytes")
                found[name] = Declared(shape, dtype)
                total += end - start
            if 8 + length + total != size:
                raise ValueError(f"{total} bytes of tensors in a file of {size}")
        except Exception as error:  # whatever bytes of any kind end in
            self.check_weights()
            raise SavedModelError(
                f"{self.folder / WEIGHTS} was truncated or edited: it is no file of tensors, as was expected "
                f"({type(error).__name__}: {error!s:.200}). {COPY_ANEW}"
            ) from error
        return found

    def check_weights(self) -> None:
        """Compare the file with the manifest, a piece at a time.

        Raises
        ------
        SavedModelError
            Where it is not the one that was saved.
        """
        if self.checksum is not None:
            self.weights.seek(0)
            _check_sum(
                self.folder / WEIGHTS,
                hashlib.file_digest(cast(Any, self.weights), "sha256").hexdigest(),
                self.checksum,
            )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, of the very bytes whose checksum was compared; call `declared` before."""
        self.weights.seek(0)
        content = self.weights.read()
        if self.checksum is not None:
            _check_sum(self.folder / WEIGHTS, hashlib.sha256(content).hexdigest(), self.checksum)
        return safetensors.torch.load(content)


@contextmanager
def open_model(folder: Path) -> Iterator[OpenModel]:
    """The model that a folder holds, of one manifest, whoever else writes into the folder meanwhile.

    Raises
    ------
    SavedModelError
        Where a file is missing, damaged, or of another format.
    """
    with ExitStack() as files:
        try:
            model = _look(folder, files)
        except OSError as error:
            if isinstance(error, SavedModelError):
                raise
            raise ModelFileError(
                f"{folder} cannot be read ({error.strerror or error}); expected a folder that save was "
                "given. Check its name and rights."
            ) from error
        yield model


def _look(folder: Path, files: ExitStack) -> OpenModel:
    for look in range(LOOKS):
        manifest, raw = _checked_manifest(folder / MANIFEST)
        try:
            content, _ = _find(folder, SETTINGS, manifest[SETTINGS], files)
            settings = _as_object(folder / SETTINGS, content)
            _, weights = _find(folder, WEIGHTS, manifest[WEIGHTS], files)
            return OpenModel(folder, settings, weights, manifest[WEIGHTS])
        except SavedModelError:
            with suppress(OSError):
                if look + 1 < LOOKS and (folder / MANIFEST).read_bytes() != raw:
                    continue  # another process has saved meanwhile
            raise
    raise AssertionError("the last look returns or raises")


def _find(folder: Path, name: str, checksum: str, files: ExitStack) -> tuple[bytes, BinaryIO]:
    """A file under its plain name, or that of a save whose third step is to come; small ones with content."""
    plain = folder / name
    # Between a look at the plain name and one at the other, the file may get its plain name.
    places = (plain, plain.with_name(_marked(name, checksum)), plain)
    different = None
    for place in places:
        try:
            file = files.enter_context(open(place, "rb"))  # noqa: SIM115
        except FileNotFoundError:
            continue
        if name == SETTINGS:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if size > MOST_SETTINGS:
                raise SavedModelError(
                    f"{place} has {size} bytes; expected at most {MOST_SETTINGS}. {COPY_ANEW}"
                )
            content = file.read()
            found = hashlib.sha256(content).hexdigest()
        else:
            content, found = b"", hashlib.file_digest(file, "sha256").hexdigest()
        if found == checksum:
            return content, file
        different = found
    if different is None:
        raise SavedModelError(
            f"{plain} does not exist; expected a saved model, which has {SETTINGS}, {WEIGHTS} and "
            f"{MANIFEST}. Name the folder that save was given, and copy it as a whole."
        )
    _check_sum(plain, different, checksum)
    raise AssertionError("the sums differ")


def _check_sum(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise SavedModelError(
            f"{path} was truncated or edited: its SHA-256 is {found}; expected {expected}, as {MANIFEST} "
            f"says. {COPY_ANEW}"
        )


def _marked(name: str, checksum: str) -> str:
    return f"{name}.{checksum[:16]}"


def _checked_manifest(path: Path) -> tuple[dict[str, str], bytes]:
    """The checksums that it names, and its bytes."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MOST_MANIFEST + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SavedModelError(
            f"{path} does not exist; expected a saved model, which has {SETTINGS}, {WEIGHTS} and {MANIFEST}. "
            "Name the folder that save was given, and copy it as a whole."
        ) from error
    manifest = _as_object(path, raw)
    found = manifest.get("format"), manifest.get("format_version")
    if found != (FORMAT, FORMAT_VERSION):
        raise SavedModelError(
            f"{path} says format {found[0]!r:.80}, version {found[1]!r:.80}; this release reads {FORMAT!r}, "
            f"version {FORMAT_VERSION}, and expected these. Load it by the release that saved it, or save it "
            "again by this one."
        )
    sums: Any = manifest.get("sha256")
    fits = (
        isinstance(sums, dict)
        and set(sums) == {SETTINGS, WEIGHTS}
        and all(isinstance(s, str) and re.fullmatch("[0-9a-f]{64}", s) for s in sums.values())
    )
    if not fits:
        raise SavedModelError(
            f"{path} was edited: expected the checksums of {SETTINGS} and {WEIGHTS} under 'sha256'. "
            f"{COPY_ANEW}"
        )
    return dict(sums), raw


def _as_object(path: Path, raw: bytes) -> dict:
    try:
        if path.name == MANIFEST and len(raw) > MOST_MANIFEST:
            raise ValueError("too long for one")
        content = json.loads(raw.decode("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise SavedModelError(
            f"{path} was truncated or edited: {len(raw)} bytes that are no JSON object ({error}), as was "
            f"expected. {COPY_ANEW}"
        ) from error
    return content


# --- Writing -----------------------------------------------------------------------------------------------


def write_model(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put the settings and the weights of a model in place, with a manifest; see the top of this page.

    Raises
    ------
    SavedModelError
        Where the folder holds something else, or cannot be written to.
    """
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": sums}
    raw = (json.dumps(manifest, indent=1) + "\n").encode()
    made: list[Path] = []
    try:
        made = _make_parents(folder.parent)
        with locked(folder.parent):
            _check_replaceable(folder)
            for leftover in sweep(folder):
                shutil.rmtree(leftover, ignore_errors=True)
            if folder.exists() and any(folder.iterdir()):
                _write_into(folder, files, sums, raw)
            else:
                _write_beside(folder, files, raw)
    except (OSError, KeyboardInterrupt) as error:
        for parent in reversed(made):
            with suppress(OSError):
                parent.rmdir()  # where it is empty
        if isinstance(error, KeyboardInterrupt | SavedModelError):
            raise
        size = sum(map(len, files.values()))
        said = str(error) if isinstance(error, FileError) else error.strerror or str(error)
        raise ModelFileError(
            f"{folder} cannot be written: {size} bytes failed ({said}); expected a folder with room that can "
            "be written to. Make room, or name another folder; what the folder held before still stands."
        ) from error


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder and those above it; those that did not exist."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing[::-1]


def _write_beside(folder: Path, files: Mapping[str, bytes], manifest: bytes) -> None:
    partial = partial_name(folder)
    try:
        partial.mkdir()
        for name, content in (*files.items(), (MANIFEST, manifest)):
            write_new(partial / name, content)
        force_folder(partial)
        if folder.exists() and os.name == "nt":
            folder.rmdir()  # Windows replaces no folder, an empty one neither
        os.replace(partial, folder)
        force_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_into(folder: Path, files: Mapping[str, bytes], sums: Mapping[str, str], manifest: bytes) -> None:
    _finish(folder)
    new = [folder / _marked(name, sums[name]) for name in files]
    manifest_path = folder / f"{MANIFEST}.new"
    committed = False
    try:
        for path, content in zip((*new, manifest_path), (*files.values(), manifest), strict=True):
            write_new(path, content)
        force_folder(folder)
        os.replace(manifest_path, folder / MANIFEST)
        committed = True
        force_folder(folder)
    finally:
        if not committed:
            for path in (*new, manifest_path):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
    with suppress(OSError):  # the model is whole; the next save ends what this one did not
        _finish(folder)


def _finish(folder: Path) -> None:
    """End the third step of a save, and sweep what is left of a first."""
    marked = [path for path in folder.iterdir() if MARKED.fullmatch(path.name)]
    if not marked:
        return
    sums, _ = _checked_manifest(folder / MANIFEST)
    for name, checksum in sums.items():
        path = folder / _marked(name, checksum)
        if path in marked and hashlib.sha256(path.read_bytes()).hexdigest() == checksum:
            os.replace(path, folder / name)
            marked.remove(path)
    force_folder(folder)
    for path in marked:
        path.unlink(missing_ok=True)


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SavedModelError(f"{folder} is a file; expected a folder. Name another one.")
    names = {path.name for path in folder.iterdir()}
    others = sorted(n for n in names - {MANIFEST, SETTINGS, WEIGHTS} if not MARKED.fullmatch(n))
    if others:
        raise SavedModelError(
            f"{folder} holds {', '.join(others[:5])}, which saving would delete; expected a new or empty "
            "folder, or a saved model. Name another folder."
        )
    if names and not _is_ours(folder / MANIFEST):
        raise SavedModelError(
            f"{folder} holds {', '.join(sorted(names))}, and no manifest of a saved model; expected a new or "
            "empty folder, or a saved model. Name another folder, or delete this one yourself."
        )


def _is_ours(manifest: Path) -> bool:
    try:
        return bool(_as_object(manifest, manifest.read_bytes()).get("format") == FORMAT)
    except (OSError, SavedModelError):
        return False
