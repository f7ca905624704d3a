"""Rules that say which modality to reveal next, from what is known of a row.

An order is a function of the positions of n rows and of what is known of them (booleans ``[n, M]``); it says
what revealing each of the M optional modalities is worth there ``[n, M]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor

from primo_pyro.analysis.scores import log_losses
from primo_pyro.modalities import Modalities
from primo_pyro.program.outcomes import total_variation

__all__ = ["HiddenRows", "Order", "Regressions", "fixed_order", "oracle", "random_order", "value_order"]

Order = Callable[[np.ndarray, np.ndarray], np.ndarray]

TREES = 200  # of a regression at most
PATTERNS = 6  # random patterns of what is known, for each row that a regression learns from


@dataclass(eq=False)
class HiddenRows:
    """N rows whose optional modalities are hidden and revealed in any order.

    Parameters
    ----------
    x, y
        The rows with all that they have, and labels ``[N]`` from 0.
    optional
        The M modalities that are hidden at the start.
    predict
        From rows to predictions ``[n, C]``; each pattern of a row is asked about once.
    """

    x: Modalities
    y: np.ndarray
    optional: Sequence[str]
    predict: Callable[[Modalities], np.ndarray]

    def __post_init__(self) -> None:
        self.available = np.stack([self.x.present[m] for m in self.optional], axis=1)
        self._remembered: np.ndarray | None = None  # [N, 2^M, C]

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, rows: np.ndarray, known: np.ndarray) -> Modalities:
        """Rows at n positions, with nothing but what is known of them ``[n, M]``."""
        x = self.x[rows]
        for i, name in enumerate(self.optional):
            x = x.drop(name, where=~known[:, i])
        return x

    def probabilities(self, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Predictions ``[n, C]`` from what is known."""
        pattern = (known & self.available[rows]) @ (1 << np.arange(known.shape[1]))
        if self._remembered is None:
            first = self.predict(self.rows(rows[:1], known[:1]))
            self._remembered = np.full((len(self), 1 << known.shape[1], first.shape[1]), np.nan)
        new = np.isnan(self._remembered[rows, pattern, 0])
        if new.any():
            asked = self.predict(self.rows(rows[new], known[new]))
            self._remembered[rows[new], pattern[new]] = asked
        return self._remembered[rows, pattern]

    def random_patterns(self, copies: int, random_state: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of all rows, so many times each, and something that is known of each at random.

        Any share of what a row has, from nothing to nearly everything, is as likely as any other.
        """
        random = np.random.default_rng(random_state)
        rows = np.tile(np.arange(len(self)), copies)
        known = random.random((len(rows), len(self.optional))) < random.random((len(rows), 1))
        return rows, known & self.available[rows]

    def losses(self, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
        """-log p(y) ``[n]`` from what is known."""
        return log_losses(self.y[rows], self.probabilities(rows, known))


def random_order(rows: int, modalities: int, random_state: int) -> Order:
    """A random order for each of ``rows`` rows."""
    values = np.random.default_rng(random_state).random((rows, modalities))
    return lambda rows, known: values[rows]


def oracle(hidden: HiddenRows) -> Order:
    """The true drop of the log loss; nobody knows it beforehand."""

    def order(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
        before = hidden.losses(rows, known)
        return np.stack(
            [before - hidden.losses(rows, _with(known, m)) for m in range(known.shape[1])], axis=1
        )

    return order


def fixed_order(hidden: HiddenRows, costs: np.ndarray) -> Order:
    """The same order for all rows: on these rows, each step lowers the log loss most per cost on average.

    The mean is over the rows that have the modality.
    """
    everyone, known = np.arange(len(hidden)), np.zeros_like(hidden.available)
    values = np.full(len(costs), -np.inf)
    worth = np.inf
    for _ in costs:
        before = hidden.losses(everyone, known)
        gains = np.full(len(costs), -np.inf)
        for m in np.flatnonzero(np.isneginf(values)):
            has = hidden.available[:, m]
            after = hidden.losses(everyone[has], _with(known[has], int(m)))
            gains[m] = (before[has] - after).mean() / costs[m] if has.any() else -1e9
        best = int(gains.argmax())
        # Ever smaller, so that the order stays this one where a later step gains more.
        worth = min(gains[best], np.nextafter(worth, -np.inf))
        values[best] = worth
        known[:, best] = True
    return lambda rows, known: np.broadcast_to(values * costs, known.shape)


def value_order(hidden: HiddenRows, values: Callable[[Modalities], ArrayLike]) -> Order:
    """What an estimator says of each modality ``[n, M]``."""
    return lambda rows, known: np.asarray(values(hidden.rows(rows, known)))


class Regressions:
    """Boosted trees that predict what revealing a modality brings, from the numbers that are known.

    One regression for each modality, on random patterns of rows that have it. The number of trees is that of
    the smallest squared error on a third of the rows, none (the mean) among them.

    Parameters
    ----------
    target
        ``"gain"``: the drop of the log loss. ``"change"``: the total variation distance between the
        predictions before and after.
    random_state
        Seed of the patterns and of what is held out.
    """

    def __init__(self, target: str, random_state: int):
        self.target, self.random_state = target, random_state

    def fit(self, hidden: HiddenRows) -> Regressions:
        """Learn from rows that PRIMO was not trained on, as a rule."""
        rows, known = hidden.random_patterns(PATTERNS, self.random_state)
        random = np.random.default_rng(self.random_state)
        held_out = (random.permutation(len(hidden)) < len(hidden) // 3)[rows]
        table = _table(hidden.rows(rows, known))
        self.models_: list[RegressorMixin] = []
        for m in range(known.shape[1]):
            use = hidden.available[rows, m] & ~known[:, m]
            after = _with(known[use], m)
            if self.target == "gain":
                found = hidden.losses(rows[use], known[use]) - hidden.losses(rows[use], after)
            else:
                found = total_variation(
                    hidden.probabilities(rows[use], known[use]), hidden.probabilities(rows[use], after)
                )
            self.models_.append(_boosted(table[use], found, held_out[use], self.random_state))
        return self

    def predict(self, x: Modalities) -> np.ndarray:
        """What revealing each modality is expected to bring ``[n, M]``."""
        table = _table(x)
        return np.stack([model.predict(table) for model in self.models_], axis=1)


def _boosted(table: np.ndarray, target: np.ndarray, held_out: np.ndarray, seed: int) -> RegressorMixin:
    if held_out.sum() < 2 or (~held_out).sum() < 2:
        mean = target.mean() if len(target) else 0.0
        return DummyRegressor(strategy="constant", constant=mean).fit([[0.0]], [0.0])

    def fitted(trees: int, use: np.ndarray) -> HistGradientBoostingRegressor:
        booster = HistGradientBoostingRegressor(
            max_iter=trees,
            learning_rate=0.05,
            max_leaf_nodes=7,
            min_samples_leaf=50,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        )
        numbers = table[use]
        numbers[:, np.isnan(numbers).all(0)] = 0  # binning needs a number; no tree splits a constant
        return booster.fit(numbers, target[use])

    first = fitted(TREES, ~held_out)
    constant = np.full(held_out.sum(), target[~held_out].mean())
    stages = [constant, *first.staged_predict(table[held_out])]
    trees = int(np.argmin([np.square(stage - target[held_out]).mean() for stage in stages]))
    return fitted(trees, held_out | True) if trees else DummyRegressor().fit(table, target)


def _table(x: Modalities) -> np.ndarray:
    """The numbers of all modalities side by side ``[N, F]``, NaN where absent.

    Of a series its mean and its last hour, so that trees have hundreds of columns and not thousands.
    """
    parts = []
    for name in x.names:
        values = x.values[name].astype(float)
        if values.ndim == 3:
            values = np.concatenate([values.mean(1), values[:, -1]], axis=1)
        values = values.reshape(len(x), -1)
        parts.append(np.where(x.present[name][:, None], values, np.nan))
    return np.concatenate(parts, axis=1)


def _with(known: np.ndarray, modality: int | np.integer) -> np.ndarray:
    more = known.copy()
    more[:, modality] = True
    return more
