"""The suite of real tables: which ones, how their rows are divided, and PRIMO on a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split

from primo_pyro.baselines.tables import RIVALS, as_categories
from primo_pyro.classifier import PrimoClassifier
from primo_pyro.data import (
    Table,
    load_breast_cancer_table,
    load_cervical_cancer,
    load_digits_table,
    load_heart_disease,
    load_physionet2012_table,
    load_support2_table,
)
from primo_pyro.data.source import AnyPath
from primo_pyro.modalities import Modalities

__all__ = ["METHODS", "PRIMO", "TABLES", "TEST_SHARE", "divided", "load_tables"]

TABLES: dict[str, Callable[[AnyPath | None], Table]] = {
    "support2": load_support2_table,
    "support2_six_months": partial(load_support2_table, task="six_month_death"),
    "heart_disease": load_heart_disease,
    "cervical_cancer": load_cervical_cancer,
    "breast_cancer": lambda path: load_breast_cancer_table(),
    "digits": lambda path: load_digits_table(),
    "physionet2012": load_physionet2012_table,
}
TEST_SHARE = 0.2


def load_tables(names: Iterable[str] | None = None, path: AnyPath | None = None) -> dict[str, Table]:
    """Tables of the suite by their names in `TABLES`.

    Parameters
    ----------
    names
        Which ones; None: all.
    path
        The folder above the data sets' own. Without it ``PRIMO_DATA`` and the cache are asked, see
        :mod:`primo_pyro.data.source`.

    Examples
    --------
    >>> load_tables(["breast_cancer"])
    {'breast_cancer': Table(breast cancer: 569 rows, 30 columns; benign 0.63; mean, error, worst)}
    """
    return {name: TABLES[name](path) for name in (TABLES if names is None else names)}


def divided(y: np.ndarray, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows of a fold: shuffled by its number, 80 to 20, in each class alike.

    The folds are repeated divisions, so test rows of two folds overlap.

    >>> train, test = divided(np.arange(100) % 2, fold=0)
    >>> len(train), len(test), int((test % 2).sum())
    (80, 20, 10)
    """
    train, test = train_test_split(np.arange(len(y)), test_size=TEST_SHARE, stratify=y, random_state=fold)
    return train, test


class _ReadsFrames(BaseEstimator):
    """PRIMO on frames: texts as one column a category, medians for empty cells of a present block."""

    def __init__(self, classifier: PrimoClassifier, blocks: Mapping[str, tuple[str, ...]]):
        self.classifier = classifier
        self.blocks = blocks

    def fit(self, frame: pd.DataFrame, y: np.ndarray) -> Self:
        coded = pd.get_dummies(as_categories(frame), dtype=float)
        self.medians_ = coded.median().fillna(0)
        self.classifier.fit(self._read(frame), y)
        return self

    def _read(self, frame: pd.DataFrame) -> Modalities:
        coded = pd.get_dummies(as_categories(frame), dtype=float).reindex(columns=self.medians_.index)
        values, present = {}, {}
        for name, listed in self.blocks.items():
            columns = [c for c in coded if c in listed or any(c.startswith(f"{text}_") for text in listed)]
            values[name] = coded[columns].fillna(self.medians_[columns])
            present[name] = frame[list(listed)].notna().any(axis=1)
        return Modalities(values, present)

    def __getattr__(self, name: str) -> Any:
        if name in ("predict_proba", "predictive_impact", "impact_gap", "calibrate_impact"):
            question = getattr(self.classifier, name)
            return lambda frame, *args, **kw: question(self._read(frame), *args, **kw)
        if name.startswith("__") or name == "classifier":
            raise AttributeError(name)
        return getattr(self.classifier, name)


def _primo(table: Table, seed: int, **settings: Any) -> BaseEstimator:
    """PRIMO on the frame of a table. This is the one place that knows how PRIMO reads a frame."""
    return _ReadsFrames(PrimoClassifier(table.optional, random_state=seed, **settings), table.blocks)


# From a table, a seed and settings of PRIMO to an unfitted estimator with ``fit(frame, y)``.
PRIMO = ("primo",)
METHODS: dict[str, Callable[..., BaseEstimator]] = {
    "primo": _primo,
    **{name: (lambda table, seed, make=make, **settings: make(seed)) for name, make in RIVALS.items()},
}
