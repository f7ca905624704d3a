"""Checkpoints of a training: whole or not at all, and only ever of the very same training.

A file has three lines of text and a block of bytes::

    primo_pyro checkpoint, version 2
    SHA-256 of all that follows
    identity: a JSON object of digests, by what they are of
    what changes from epoch to epoch, as torch.save writes it

Loading reads tensors and plain values, and runs no code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from primo_pyro.errors import CheckpointError, FileError
from primo_pyro.files import locked, sweep, write_atomically
from primo_pyro.modalities import Modalities
from primo_pyro.rows import StoredRows

__all__ = ["damaged", "digest", "fingerprint", "read_checkpoint", "remove_checkpoint", "write_checkpoint"]

HEAD = b"primo_pyro checkpoint, version 2\n"
DEEPEST = 60  # what objects hold that hold objects, so far down, is not looked at
MOST_IDENTITY = 2**16  # bytes; a digest takes about a hundred


# --- What a training is ----------------------------------------------------------------------------------


def fingerprint(loss: nn.Module, rows: Mapping[str, Any], settings: object) -> dict[str, str]:
    """A digest of each thing on which the parameters at the end depend.

    Parameters
    ----------
    loss
        With the networks as they are at the start: structure, parameters, buffers, and the constants and code
        of modules of one's own.
    rows
        By name, whatever the training reads: `Modalities`, arrays or None. Of absent rows nothing is read,
        and nothing counts.
    settings
        Numbers, strings, dataclasses of such.

    >>> one = fingerprint(nn.Linear(1, 1), {"rows": np.zeros(2)}, {"seed": 0})
    >>> other = fingerprint(nn.Linear(1, 1), {"rows": -np.zeros(2)}, {"seed": 0})
    >>> sorted(one), one["rows"] == other["rows"]
    (['networks', 'rows', 'settings'], False)
    """
    versions = [torch.__version__, str(next(loss.parameters()).device.type)]
    found = {"settings": digest([settings, versions]), "networks": digest(loss)}
    return found | {name: digest(values) for name, values in rows.items()}


Take = Callable[[bytes | memoryview], object]


def digest(value: Any) -> str:
    """SHA-256 of a value: the same in another process, different where anything that is computed with is.

    >>> digest({"a": 1.0}) == digest({"a": 1.0}), digest([1]) == digest([True])
    (True, False)
    """
    hashed = hashlib.sha256()
    _feed(value, hashed.update, {}, 0)
    return hashed.hexdigest()


def _feed(value: Any, take: Take, known: dict[int, tuple[int, Any]], depth: int) -> None:
    """Bytes that tell values apart; ``known`` keeps what refers to itself from going round."""

    def say(*parts: object) -> None:
        for part in parts:
            text = str(part).encode("utf-8", "surrogatepass")
            take(b"%d:" % len(text) + text)

    def go_on(*values: Any) -> None:
        for v in values:
            _feed(v, take, known, depth + 1)

    if value is None or isinstance(value, bool | int | float | complex | str):
        return say(type(value).__name__, repr(value))
    if isinstance(value, bytes):
        return say("bytes", value.hex())
    if isinstance(value, np.generic):
        return say("scalar", value.dtype.str, repr(value.item()))
    if isinstance(value, Tensor):
        value = value.detach().resolve_conj().resolve_neg().cpu()
        say("tensor", value.dtype, list(value.shape))
        # Copied: a tensor of one number may have any stride, and calls itself contiguous with it.
        flat = torch.empty(value.numel(), dtype=value.dtype).copy_(value.flatten())
        take(flat.view(torch.uint8).numpy().data)
        return None
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        say("array", value.dtype.str, list(value.shape))
        take(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return None
    if id(value) in known:
        return say("again", known[id(value)][0])
    known[id(value)] = len(known), value  # kept alive, or another object could have its id
    if isinstance(value, np.ndarray):
        say("objects", list(value.shape))
        go_on(*value.ravel().tolist())
    elif isinstance(value, Modalities):
        for name in sorted(value.names):
            say("modality", name)
            go_on(value.present[name], value.values[name][value.present[name]])
    elif isinstance(value, StoredRows):
        say("stored", len(value))
        go_on(value.files, value.present, value.sample)
    elif isinstance(value, Mapping):
        say("mapping", len(value))
        for key in sorted(value, key=repr):
            go_on(key, value[key])
    elif isinstance(value, list | tuple):
        say(type(value).__name__, len(value))
        go_on(*value)
    elif isinstance(value, set | frozenset):
        say("set", *sorted(map(digest, value)))
    elif isinstance(value, nn.Module):
        _feed_module(value, say, go_on)
    elif isinstance(value, ModuleType):
        say("imported", value.__name__)
    elif inspect.isclass(value):
        say("class", value.__module__, value.__qualname__)
    elif inspect.isroutine(value):
        _feed_function(value, say, go_on)
    elif dataclasses.is_dataclass(value):
        say("dataclass", type(value).__qualname__)
        go_on({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    else:
        say("object", type(value).__module__, type(value).__qualname__)
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict) and depth < DEEPEST:
            go_on({k: v for k, v in own.items() if isinstance(k, str)})


OF_EVERY_MODULE = set(vars(nn.Module()))
OF_EACH_STEP = {"parts", "strength"}  # what a loss tells, or is told, in each step


def _feed_module(module: nn.Module, say: Callable[..., None], go_on: Callable[..., None]) -> None:
    """Names, parameters, buffers, constants, and code where it is not torch's."""
    kind = type(module)
    say("module", kind.__module__, kind.__qualname__)
    go_on(dict(module._parameters), dict(module._buffers), dict(module._modules))
    ours = OF_EACH_STEP if kind.__module__.startswith("primo_pyro.") else set()
    ignored = OF_EVERY_MODULE | ours | {name for name in vars(module) if name.startswith("_pyro")}
    go_on({name: v for name, v in vars(module).items() if name not in ignored})
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in ("torch", "pyro", "primo_pyro", "builtins"):
            say("code", base.__qualname__)
            go_on({name: f for name, f in vars(base).items() if inspect.isfunction(f)})


def _feed_function(function: Any, say: Callable[..., None], go_on: Callable[..., None]) -> None:
    say("function", getattr(function, "__module__", ""), getattr(function, "__qualname__", ""))
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        _feed_code(code, say, go_on)
        go_on(function.__defaults__, function.__kwdefaults__)
        go_on([_content(cell) for cell in function.__closure__ or ()])


def _feed_code(code: CodeType, say: Callable[..., None], go_on: Callable[..., None]) -> None:
    say("code", code.co_code.hex(), *code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _feed_code(constant, say, go_on)
        else:
            go_on(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None


# --- Files -----------------------------------------------------------------------------------------------


def write_checkpoint(path: Path, identity: Mapping[str, str], content: Mapping[str, Any]) -> None:
    """Put a checkpoint in place: at any time a reader finds the old one or the new one, whole.

    Raises
    ------
    CheckpointError
        Where it cannot be written; the old one then stands.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    body = json.dumps(dict(identity), sort_keys=True).encode() + b"\n" + buffer.getvalue()
    try:
        write_atomically(path, HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    except FileError as error:
        raise CheckpointError(str(error)) from error


def read_checkpoint(
    path: Path, identity: Mapping[str, str], device: torch.device | str = "cpu"
) -> dict[str, Any] | None:
    """What `write_checkpoint` wrote, or None where no such file exists.

    Raises
    ------
    CheckpointError
        Where the file is damaged, or of a training with other settings, networks, rows or labels.
    """
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({error.strerror or error}); expected a file that a "
            "training wrote. Name another file."
        ) from error
    head, checksum, body = whole[: len(HEAD)], whole[len(HEAD) : len(HEAD) + 64], whole[len(HEAD) + 65 :]
    if head != HEAD or hashlib.sha256(body).hexdigest().encode() != checksum:
        what = "its checksum is not that of its content" if head == HEAD else "it does not begin as one"
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {len(whole)} bytes, and {what}; expected a whole file "
            "of this release. Delete it, and training begins anew."
        )
    try:
        line, _, rest = body.partition(b"\n")
        if len(line) > MOST_IDENTITY:
            raise ValueError("an identity of that length")
        found = json.loads(line)
        different = sorted(k for k in found.keys() | identity.keys() if found.get(k) != identity.get(k))
        if different:
            raise CheckpointError(
                f"{path} was written by a training with other settings or rows than this one: "
                f"{', '.join(different)} differ; expected the same. Train as before to go on, delete it, or "
                "name another file."
            )
        return torch.load(io.BytesIO(rest), map_location=device, weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever reading such bytes may end in
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> CheckpointError:
    """The error for a file whose content does not fit."""
    return CheckpointError(
        f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error!s:.200}); expected what this "
        "release writes. Delete it, and training begins anew."
    )


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint, where it exists, and what killed writers left beside it."""
    with locked(path.parent), suppress(OSError):
        for leftover in (path, *sweep(path)):
            leftover.unlink(missing_ok=True)
