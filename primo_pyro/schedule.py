"""How long and how fast to train, and the rules by the number of rows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from primo_pyro.parameters import AnyOf, OneOf, Range, Real, Whole, as_python, check_parameters

__all__ = ["FullSchedule", "Schedule", "batch_size_for", "epochs_for", "weight_decay_for"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; its defaults are those of all estimators.

    The learning rate follows half a cosine from ``learning_rate`` to nearly 0 at ``max_epochs``. What is
    scored, and kept in the end, are the parameters averaged over about the last 1 / (1 - ``averaging``)
    steps, fewer at first; with 0, those of the last step. Kept is the latest epoch whose validation loss is
    not above the smallest one by more than a standard error of the difference, row by row: what few rows
    cannot tell apart does not end a training. With ``patience``, it stops after that many epochs above.
    What is None, but for patience, goes by the number of rows: `epochs_for`, `batch_size_for` and
    `weight_decay_for`. Only matrices decay, and of these not what a loss spares
    (`primo_pyro.program.loss.Loss.undecayed`).

    Raises
    ------
    ParameterError
        Where a number is out of its range.

    Examples
    --------
    >>> Schedule(learning_rate=-1.0)
    Traceback (most recent call last):
        ...
    primo_pyro.errors.ParameterError: learning_rate is -1.0; expected a finite number above 0. Set it to such
    a value.
    """

    max_epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 2e-3
    weight_decay: float | None = None
    clip_norm: float = 5.0
    patience: int | None = 15
    averaging: float = 0.99

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "max_epochs": AnyOf(OneOf(None), Whole(0)),  # 0: the networks as they were drawn
        "batch_size": AnyOf(OneOf(None), Whole(1)),
        "learning_rate": Real(0, above=True),
        "weight_decay": AnyOf(OneOf(None), Real(0)),
        "clip_norm": Real(0, math.inf, above=True),
        "patience": AnyOf(OneOf(None), Whole(1)),
        "averaging": Real(0, 1, below=True),
    }

    def __post_init__(self) -> None:
        check_parameters(self)
        for name in self.parameter_ranges:  # JSON does not know NumPy's numbers
            object.__setattr__(self, name, as_python(getattr(self, name)))

    def for_rows(self, rows: int) -> FullSchedule:
        """With what is None put in, for N training rows."""
        by_rows = {
            "max_epochs": epochs_for(rows),
            "batch_size": batch_size_for(rows),
            "weight_decay": weight_decay_for(rows),
        }
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return FullSchedule(**{"patience": None} | by_rows | given)

    def rate(self, progress: float) -> float:
        """Learning rate at a share of training between 0 and 1."""
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True, kw_only=True)
class FullSchedule(Schedule):
    """A schedule in which nothing is None but the patience."""

    max_epochs: int
    batch_size: int
    weight_decay: float


def epochs_for(rows: int) -> int:
    """Epochs, at most, where none are given: 5000 / sqrt(N) for N training rows, between 5 and 60.

    So ten times as many rows take three times as many steps (docs/lab_notebook.md).

    >>> [epochs_for(rows) for rows in (300, 7_000, 28_000, 100_000, 1_000_000)]
    [60, 60, 30, 16, 5]
    """
    return int(np.clip(round(5000 / max(rows, 1) ** 0.5), 5, 60))


def batch_size_for(rows: int) -> int:
    """Rows in a batch where none are given: the power of two nearest to a 64th of them, from 16 to 256.

    Few rows are not seen in a handful of steps. In larger batches a row takes hardly less time, and the fit
    is less good for it (docs/lab_notebook.md).

    >>> [batch_size_for(rows) for rows in (300, 2_000, 9_000, 30_000, 1_000_000)]
    [16, 32, 128, 256, 256]
    """
    return int(2 ** np.clip(round(math.log2(max(rows, 1) / 64)), 4, 8))


def weight_decay_for(rows: int) -> float:
    """Weight decay where none is given: (800 / N)^2 for N training rows, at most 5.

    Networks on few rows are sure of what they cannot know; a strong decay prevents it. Where rows are many,
    decay makes noisy labels harder to learn and helps against nothing (docs/lab_notebook.md).

    >>> [round(weight_decay_for(rows), 4) for rows in (100, 500, 2_000, 10_000)]
    [5.0, 2.56, 0.16, 0.0064]
    """
    return min(5.0, (800 / max(rows, 1)) ** 2)
