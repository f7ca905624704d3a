"""What generators of rows share: the check of their arguments, and that of a question about their rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from primo_pyro.errors import ModalityError
from primo_pyro.modalities import RandomState

__all__ = ["asked_about", "generator_of"]


def generator_of(rows: int, random_state: RandomState) -> np.random.Generator:
    """The generator of so many rows; a ModalityError unless there is at least one.

    >>> bool(generator_of(3, 0).integers(10) == generator_of(5, 0).integers(10))
    True
    """
    if rows < 1:
        raise ModalityError(f"rows is {rows}; expected at least 1. Ask for a positive number of rows.")
    return np.random.default_rng(random_state)


def asked_about(modality: str | Iterable[str], optional: tuple[str, ...]) -> set[str]:
    """One name or several, as a set; a ModalityError unless it is a non-empty set out of ``optional``.

    >>> asked_about("m", optional=("m", "twin"))
    {'m'}
    """
    asked = {modality} if isinstance(modality, str) else set(modality)
    if not asked or not asked <= set(optional):
        raise ModalityError(
            f"modality is {modality!r}; expected one of {optional}, or a set of them. Correct the names."
        )
    return asked
