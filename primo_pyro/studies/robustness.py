"""Numbers as tables have them (tiny, far from 0, coded, skewed), and several rows of one patient.

What a fit must not depend on: each change of the columns below leaves the order of their values, or nearly
all of it, as it was, so that trees lose next to nothing. And several visits of one patient are not several
patients: an epoch that is chosen on a patient's other visits is chosen by memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier

from primo_pyro.analysis.scores import scores
from primo_pyro.classifier import PrimoClassifier
from primo_pyro.errors import PrimoWarning
from primo_pyro.modalities import Modalities
from primo_pyro.studies.tasks import Rows

__all__ = ["CHANGES", "make_columns", "make_visits", "number_scales", "visits"]

BLOCK = 6  # columns
TEST_ROWS = 2000
CODE = -9999.0
PATIENTS = 200
VISITS = 5
HELD_OUT = 0.1  # of the patients


def make_columns(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve normal columns in two blocks, a label that half of them tell, and who lacks the second block::

        x ~ Normal(0, 1) [N, 12],   y ~ Bernoulli(sigmoid(2 (x0 + x1 + x6 + x7 + x2 x8)))

    Parameters
    ----------
    rows
        Number N of rows.
    seed
        Of the rows.

    Returns
    -------
    values : array [N, 12], float64
    absent : booleans [N]
        In three of ten rows the last six columns are absent, at random.
    y : integer array [N]

    Examples
    --------
    >>> values, absent, y = make_columns(1000)
    >>> values.shape, float(absent.mean().round(1))
    ((1000, 12), 0.3)
    """
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, 2 * BLOCK))
    score = values[:, [0, 1, BLOCK, BLOCK + 1]].sum(1) + values[:, 2] * values[:, BLOCK + 2]
    y = (random.random(rows) < expit(2 * score)).astype(np.int64)
    return values, random.random(rows) < 0.3, y


def _one_large(values: np.ndarray, random: np.random.Generator, training: bool) -> np.ndarray:
    values = values.copy()
    if training:
        values[0, 0] = 1e6
    return values


def _coded(values: np.ndarray, random: np.random.Generator, training: bool) -> np.ndarray:
    return np.where(random.random(values.shape) < 0.02, CODE, values)


# From values [N, F], a generator, and whether they are training rows, to the values of a table.
Change = Callable[[np.ndarray, np.random.Generator, bool], np.ndarray]
CHANGES: dict[str, Change] = {
    "untouched": lambda values, random, training: values,
    "x 1e-9": lambda values, random, training: values * 1e-9,
    "+ 1e9": lambda values, random, training: values + 1e9,
    "one value of 1e6": _one_large,
    "-9999 in 2 % of the cells": _coded,
    "exp": lambda values, random, training: np.exp(values),
}


def number_scales(rows: int = 2000, seeds: Iterable[int] = (0,), **settings: Any) -> pd.DataFrame:
    """AUROC of PRIMO and of default boosting on the same rows under every change of `CHANGES`.

    Parameters
    ----------
    rows
        Training rows; 2,000 others are for testing. Both are changed, but for the one large value, which is
        in training.
    seeds
        Of rows and fits.
    **settings
        Of `PrimoClassifier`.

    Returns
    -------
    DataFrame
        ``change, seed, method, auroc``.
    """
    lines = []
    for seed in seeds:
        values, absent, y = make_columns(rows + TEST_ROWS, seed)
        for name, change in CHANGES.items():
            random = np.random.default_rng(seed)
            parts = [(values[:rows], True), (values[rows:], False)]
            table = np.concatenate([change(part, random, training) for part, training in parts])
            table[absent, BLOCK:] = np.nan
            x = Modalities({"a": table[:, :BLOCK], "b": table[:, BLOCK:]})
            primo = PrimoClassifier(("b",), random_state=seed, **settings)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PrimoWarning)
                p = {"primo": primo.fit(x[:rows], y[:rows]).predict_proba(x[rows:])}
            trees = HistGradientBoostingClassifier(random_state=seed).fit(table[:rows], y[:rows])
            p["boosting"] = trees.predict_proba(table[rows:])
            lines += [(name, seed, method, scores(y[rows:], q)["auroc"]) for method, q in p.items()]
    return pd.DataFrame(lines, columns=["change", "seed", "method", "auroc"])


def make_visits(
    patients: int, visits: int = VISITS, seed: int = 0
) -> tuple[Modalities, np.ndarray, np.ndarray]:
    """Several noisy visits of each patient, whose label they say little about::

        u ~ Normal(0, 1) [20] a patient,   y ~ Bernoulli(sigmoid(u0)),   visit ~ Normal(u, 0.3^2)

    A network can tell patients apart by their visits, and so learn labels by heart.

    Parameters
    ----------
    patients, visits
        Their numbers, of visits of each patient.
    seed
        Of the rows.

    Returns
    -------
    x : Modalities
        ``"a"`` and ``"b"`` [patients * visits, 10]; ``"b"`` is absent in three of ten visits.
    y : integer array [patients * visits]
    patient : integer array [patients * visits]

    Examples
    --------
    >>> x, y, patient = make_visits(4, visits=3)
    >>> len(x), patient.tolist()
    (12, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    """
    random = np.random.default_rng(seed)
    own = random.normal(size=(patients, 20))
    label = (random.random(patients) < expit(own[:, 0])).astype(np.int64)
    patient = np.repeat(np.arange(patients), visits)
    values = own[patient] + 0.3 * random.normal(size=(len(patient), 20))
    x = Modalities({"a": values[:, :10], "b": values[:, 10:]})
    return x.drop_at_random("b", rate=0.3, random_state=random), label[patient], patient


def visits(
    ways: Mapping[str, Callable[[Rows, np.ndarray, int], PrimoClassifier]] | None = None,
    seeds: Iterable[int] = (0,),
    **settings: Any,
) -> pd.DataFrame:
    """Test log loss on new patients, by how the training visits were divided for the choice of the epoch.

    Parameters
    ----------
    ways
        From a name to a function of training rows, their patients and a seed that returns a fitted
        classifier. Beside these are compared ``"visits at random"``, what ``fit`` does of itself, and
        ``"patients by hand"``, whose validation part is a tenth of the patients.
    seeds
        Of rows and fits.
    **settings
        Of `PrimoClassifier`.

    Returns
    -------
    DataFrame
        ``way, seed, log_loss``. 200 patients with five visits each are for training, 400 for testing.
    """

    def at_random(rows: Rows, patient: np.ndarray, seed: int) -> PrimoClassifier:
        return PrimoClassifier(("b",), random_state=seed, **settings).fit(*rows)

    def by_hand(rows: Rows, patient: np.ndarray, seed: int) -> PrimoClassifier:
        x, y = rows
        held_out = patient < HELD_OUT * PATIENTS  # patients come in no order
        primo = PrimoClassifier(("b",), random_state=seed, **settings)
        return primo.fit(x[~held_out], y[~held_out], validation=(x[held_out], y[held_out]))

    lines = []
    for seed in seeds:
        x, y, patient = make_visits(3 * PATIENTS, seed=seed)
        train = patient < PATIENTS
        for name, fitted in {
            "visits at random": at_random,
            "patients by hand": by_hand,
            **(ways or {}),
        }.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PrimoWarning)
                p = fitted((x[train], y[train]), patient[train], seed).predict_proba(x[~train])
            lines.append((name, seed, scores(y[~train], p)["log_loss"]))
    return pd.DataFrame(lines, columns=["way", "seed", "log_loss"])
