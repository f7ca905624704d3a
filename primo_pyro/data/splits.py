"""What the loaders of files return: three parts of rows, and what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.modalities import Modalities, RandomState

__all__ = ["Part", "Splits", "random_rows"]


class Part(NamedTuple):
    """Rows and their labels: ``x, y = splits.train``."""

    x: Modalities
    y: np.ndarray


@dataclass(frozen=True, repr=False)
class Splits:
    """A data set cut into training, validation and test rows.

    Attributes
    ----------
    name : str
    train, validation, test : Part
        Each ``(x, y)`` with ``x`` Modalities of n rows and ``y`` integers [n], 0 to ``len(classes) - 1``.
    classes : tuple of str
        What the labels mean.
    rows : mapping from "train", "validation", "test" to integer arrays [n]
        Where each row stands in the source, so that results can be joined to it.
    about : str
        Source and licence.

    Examples
    --------
    >>> x = Modalities({"o": np.arange(10.0), "m": np.ones(10)}).drop("m", where=np.arange(10) < 3)
    >>> rows = {"train": np.arange(6), "validation": np.arange(6, 8), "test": np.arange(8, 10)}
    >>> splits = Splits.of_rows("toy", x, np.arange(10) % 2, ("even", "odd"), rows)
    >>> splits
    Splits(toy: 6 train, 2 validation, 2 test; 2 classes; o, m)
    >>> splits.describe()
                rows    o    m  even  odd
    train          6  1.0  0.5   0.5  0.5
    validation     2  1.0  1.0   0.5  0.5
    test           2  1.0  1.0   0.5  0.5
    """

    name: str
    train: Part
    validation: Part
    test: Part
    classes: tuple[str, ...]
    rows: Mapping[str, np.ndarray]
    about: str = ""

    @classmethod
    def of_rows(
        cls,
        name: str,
        x: Modalities,
        y: np.ndarray,
        classes: Iterable[str],
        rows: Mapping[str, np.ndarray],
        about: str = "",
    ) -> Splits:
        """Cut ``x`` and ``y`` [N] by ``rows``, the row numbers of each part."""
        parts = {part: Part(x[at], y[at]) for part, at in rows.items()}
        return cls(name=name, **parts, classes=tuple(classes), rows=rows, about=about)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(y)} {part}" for part, (_, y) in self._parts())
        return f"Splits({self.name}: {sizes}; {len(self.classes)} classes; {', '.join(self.train.x.names)})"

    def describe(self) -> pd.DataFrame:
        """A row per part: number of rows, share of them with each modality, share of each class."""
        frame = {
            part: {
                "rows": len(y),
                **{name: present.mean() for name, present in x.present.items()},
                **{label: float(np.mean(y == c)) for c, label in enumerate(self.classes)},
            }
            for part, (x, y) in self._parts()
        }
        return pd.DataFrame.from_dict(frame, orient="index").astype({"rows": int})

    def _parts(self) -> list[tuple[str, Part]]:
        return [("train", self.train), ("validation", self.validation), ("test", self.test)]


def random_rows(groups: ArrayLike, shares: Mapping[str, float], seed: RandomState) -> dict[str, np.ndarray]:
    """Row numbers of each part, shuffled, with all rows of one group (a patient) in one part.

    Parameters
    ----------
    groups : array [N]
        Whose row it is.
    shares
        Part of the groups that goes to each part; they add up to 1.
    seed
        Of the shuffle.

    Examples
    --------
    >>> rows = random_rows([7, 7, 8, 9, 9, 9], {"train": 2 / 3, "test": 1 / 3}, seed=0)
    >>> {part: at.tolist() for part, at in rows.items()}
    {'train': [5, 3, 4, 1, 0], 'test': [2]}
    """
    random = np.random.default_rng(seed)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    order = random.permutation(group.max() + 1)
    ends = np.rint(np.cumsum(list(shares.values())) * len(order)).astype(int)
    part_of_group = np.empty(len(order), int)
    part_of_group[order] = np.searchsorted(ends, np.arange(len(order)), side="right")
    shuffled = random.permutation(len(group))
    return {name: shuffled[part_of_group[group[shuffled]] == i] for i, name in enumerate(shares)}
