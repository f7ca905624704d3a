"""Training that diverges is told: where numbers stop being finite, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from primo_pyro.errors import PrimoError, TrainingError
from primo_pyro.schedule import Schedule

__all__ = ["diverged", "require_finite", "require_finite_scores", "told_of_divergence"]


def diverged(what: str, schedule: Schedule) -> TrainingError:
    return TrainingError(
        f"{what}; expected finite numbers. Lower learning_rate (now {schedule.learning_rate:g}) or clip_norm "
        f"(now {schedule.clip_norm:g}), and look for extreme values in the inputs."
    )


def _broken_parameters(loss: nn.Module) -> list[str]:
    """Names of the parameters that hold NaN or infinity."""
    named = list(loss.named_parameters())
    # A sum is finite where all is; one that is not may have overflowed, and is looked at entry by entry.
    sums = torch.stack([p.detach().sum(dtype=torch.float64) for _, p in named])
    if torch.isfinite(sums).all():
        return []
    return [name for name, p in named if not torch.isfinite(p.detach()).all()]


def require_finite(loss: nn.Module, schedule: Schedule, epoch: int) -> None:
    """After the steps of an epoch: the loss of the last one says nothing of what it has led to."""
    if broken := _broken_parameters(loss):
        raise diverged(
            f"Parameters became NaN or infinite in epoch {epoch} ({', '.join(broken[:3])})", schedule
        )


def require_finite_scores(scores: Mapping[str, float | np.ndarray], schedule: Schedule, epoch: int) -> None:
    for name, values in scores.items():
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise diverged(
                f"{name} became NaN or infinite after epoch {epoch}, in {bad} of {np.size(values)} rows",
                schedule,
            )


# How torch, Pyro and SciPy speak of numbers that are not finite.
OF_NUMBERS = ("invalid values", "NaN", "nan", "infinit", "singular", "not positive", "underflow", "overflow")


@contextmanager
def told_of_divergence(loss: nn.Module, schedule: Schedule, epoch: int) -> Iterator[None]:
    """Errors that libraries raise at numbers that are not finite, as one of ours."""
    try:
        yield
    except TrainingError:
        raise
    except (ValueError, RuntimeError, ArithmeticError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        broken = _broken_parameters(loss)
        if isinstance(error, PrimoError) or not (broken or any(word in str(error) for word in OF_NUMBERS)):
            raise
        names = ", ".join(broken[:3]) or "no parameter"
        raise diverged(
            f"Training diverged in epoch {epoch} ({said:.200}; not finite: {names})", schedule
        ) from error
