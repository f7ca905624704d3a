"""The suite of real tables: which ones, how their rows are divided, and PRIMO on a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split

from primo_pyro.baselines.tables import RIVALS
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


def _primo(table: Table, seed: int, *, members: int = 1, **settings: Any) -> PrimoClassifier:
    return PrimoClassifier(
        table.optional, blocks=table.blocks, random_state=seed, members=members, **settings
    )


# From a table, a seed and settings of PRIMO to an unfitted estimator with ``fit(frame, y)``.
PRIMO = ("primo", "primo, five members")
METHODS: dict[str, Callable[..., BaseEstimator]] = {
    "primo": _primo,
    "primo, five members": partial(_primo, members=5),
    **{name: (lambda table, seed, make=make, **settings: make(seed)) for name, make in RIVALS.items()},
}
