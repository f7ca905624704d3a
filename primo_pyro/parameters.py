"""What constructor parameters may be, and one check of all of them before anything is computed.

A class lists what its own parameters may be under ``parameter_ranges``; those of its bases count too. What
depends on the rows, as names of modalities, is checked where the rows are.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from primo_pyro.errors import ParameterError

__all__ = [
    "NUM_SAMPLES",
    "AnyOf",
    "Callables",
    "CheckpointFile",
    "Device",
    "Flag",
    "Is",
    "Markers",
    "Modules",
    "Names",
    "OneOf",
    "Range",
    "Real",
    "Seed",
    "Whole",
    "as_python",
    "check_parameter",
    "check_parameters",
    "ranges_of",
]


class Range(ABC):
    """What one parameter may be."""

    cure = "Set it to such a value."

    @abstractmethod
    def holds(self, value: object) -> bool:
        """Whether the value is one of these."""

    @abstractmethod
    def __str__(self) -> str:
        """In words, after "expected"."""


@dataclass(frozen=True)
class Whole(Range):
    """A whole number from ``least`` to ``most``, NumPy's too; a boolean is none.

    >>> Whole(1).holds(np.int64(3)), Whole(1).holds(True), Whole(1).holds(3.0)
    (True, False, False)
    """

    least: int
    most: int | None = None

    def holds(self, value: object) -> bool:
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            return False
        return self.least <= int(value) and (self.most is None or int(value) <= self.most)

    def __str__(self) -> str:
        return f"a whole number of {_between(self.least, self.most)}"


@dataclass(frozen=True)
class Real(Range):
    """A number from ``least`` to ``most``, NumPy's too; NaN is none, infinity only where it is ``most``.

    >>> Real(0, 1).holds(np.float32(0.5)), Real(0, above=True).holds(0), Real(0).holds(float("inf"))
    (True, False, False)
    """

    least: float
    most: float | None = None
    above: bool = False  # whether least itself is left out
    below: bool = False  # whether most itself is left out

    def holds(self, value: object) -> bool:
        if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
            return False
        most = np.finfo(float).max if self.most is None else self.most
        over = value > self.least if self.above else value >= self.least
        under = value < most if self.below else value <= most
        return bool(over and under)

    def __str__(self) -> str:
        least = f"above {self.least:g}" if self.above else f"from {self.least:g}"
        if self.most is None:
            return f"a finite number {least}" + ("" if self.above else " up")
        return f"a number {least} {'to less than' if self.below else 'to'} {self.most:g}"


@dataclass(frozen=True)
class OneOf(Range):
    """One of a few values.

    >>> str(OneOf("sobol", "independent"))
    "one of 'sobol', 'independent'"
    """

    values: tuple[object, ...]

    def __init__(self, *values: object):
        object.__setattr__(self, "values", values)

    def holds(self, value: object) -> bool:
        return any(type(value) is type(v) and value == v for v in self.values)

    def __str__(self) -> str:
        return ("one of " if len(self.values) > 1 else "") + ", ".join(map(repr, self.values))


@dataclass(frozen=True)
class Is(Range):
    """An instance of a class."""

    kind: type

    def holds(self, value: object) -> bool:
        return isinstance(value, self.kind)

    def __str__(self) -> str:
        return f"{'an' if self.kind.__name__[0] in 'AEIOU' else 'a'} {self.kind.__name__}"


@dataclass(frozen=True)
class Flag(Range):
    """True or False, NumPy's too."""

    def holds(self, value: object) -> bool:
        return isinstance(value, bool | np.bool_)

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True)
class AnyOf(Range):
    """What one of several ranges allows.

    >>> str(AnyOf(OneOf(None), Whole(1)))
    'None, or a whole number of 1 or more'
    """

    ranges: tuple[Range, ...]

    def __init__(self, *ranges: Range, cure: str = Range.cure):
        object.__setattr__(self, "ranges", ranges)
        object.__setattr__(self, "cure", cure)

    def holds(self, value: object) -> bool:
        return any(r.holds(value) for r in self.ranges)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.ranges))


class Seed(Range):
    """What scikit-learn's ``check_random_state`` takes."""

    def holds(self, value: object) -> bool:
        return value is None or isinstance(value, np.random.RandomState) or Whole(0, 2**32 - 1).holds(value)

    def __str__(self) -> str:
        return "None, a whole number of 0 to 4294967295, or a numpy.random.RandomState"


class Names(Range):
    """Names of modalities, each once. A single string is left to the check that tells of its own cure."""

    cure = "Write a tuple of names, each once, as in ('image', 'sound')."

    def holds(self, value: object) -> bool:
        if value is None or isinstance(value, str):
            return True
        if not isinstance(value, Collection) or isinstance(value, bytes):
            return False
        try:
            return len(set(value)) == len(value)
        except TypeError:  # something that cannot be a name
            return False

    def __str__(self) -> str:
        return "None, or names of modalities"


class Markers(Range):
    """Cells that say "not known". A single text would be read as its letters."""

    cure = 'Write a tuple, with a comma behind a single one: ("?",).'

    def holds(self, value: object) -> bool:
        return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)

    def __str__(self) -> str:
        return "a sequence of texts and numbers"


class Callables(Range):
    """A sequence of functions."""

    cure = "Write a tuple of functions, with a comma behind a single one: (function,)."

    def holds(self, value: object) -> bool:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(map(callable, value))

    def __str__(self) -> str:
        return "a sequence of functions"


class Modules(Range):
    """None, or modules by name."""

    cure = 'Write {"name of the modality": module}.'

    def holds(self, value: object) -> bool:
        return value is None or (
            isinstance(value, Mapping)
            and all(isinstance(k, str) and isinstance(v, nn.Module) for k, v in value.items())
        )

    def __str__(self) -> str:
        return "None, or a mapping from names of modalities to torch modules"


class Device(Range):
    """``"auto"``, or a device on which torch can put a tensor and read it again."""

    cure = 'Write "auto", or "cpu".'

    def holds(self, value: object) -> bool:
        if not isinstance(value, str | torch.device):
            return False
        if isinstance(value, str) and value == "auto":
            return True
        try:
            return torch.zeros(1, device=value).item() == 0.0
        except (RuntimeError, AssertionError, NotImplementedError, ImportError):
            return False

    def __str__(self) -> str:
        return 'a device that this machine has, or "auto"'


class CheckpointFile(Range):
    """None, or a file in a folder that exists and can be written to."""

    cure = "Make the folder first, and name a file in it."

    def holds(self, value: object) -> bool:
        if value is None:
            return True
        if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
            return False
        text = os.fspath(value)
        if not text or "\0" in text:
            return False
        path = Path(text)
        try:
            folder = path.parent
            return not path.is_dir() and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        except OSError:  # as for names that are too long
            return False

    def __str__(self) -> str:
        return "None, or the name of a file in a folder that exists and can be written to"


NUM_SAMPLES = Whole(1, 2**20)  # draws per row in predictions


def _between(least: int, most: int | None) -> str:
    return f"{least} or more" if most is None else f"{least} to {most}"


def ranges_of(cls: type) -> dict[str, Range]:
    """What the parameters of a class may be, with those of its bases."""
    listed: dict[str, Range] = {}
    for base in reversed(cls.__mro__):
        listed |= vars(base).get("parameter_ranges", {})
    return listed


def check_parameter(name: str, value: object, allowed: Range) -> None:
    """Refuse a value that is out of its range.

    Raises
    ------
    ParameterError
        With name, value, range and cure.

    >>> check_parameter("max_epochs", -3, Whole(0))
    Traceback (most recent call last):
        ...
    primo_pyro.errors.ParameterError: max_epochs is -3; expected a whole number of 0 or more. Set it to such a
    value.
    """
    if not allowed.holds(value):
        raise ParameterError(f"{name} is {_shortly(value)}; expected {allowed}. {allowed.cure}")


def check_parameters(
    of: Any, values: Mapping[str, object] | None = None, leave_out: Collection[str] = ()
) -> None:
    """`check_parameter` for all parameters of an estimator, or for ``values`` of these names.

    Raises
    ------
    ParameterError
        For the first one that is out of its range.
    """
    for name, allowed in ranges_of(of if isinstance(of, type) else type(of)).items():
        if name not in leave_out and (values is None or name in values):
            check_parameter(name, getattr(of, name) if values is None else values[name], allowed)


def as_python(value: Any) -> Any:
    """A NumPy scalar as the number that JSON knows; anything else as it is.

    >>> as_python(np.int64(3))
    3
    """
    return value.item() if isinstance(value, np.generic) else value


def _shortly(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # what a user brings may fail at anything
        text = f"of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
