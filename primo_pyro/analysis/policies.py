"""Modalities revealed one after another, for each row the one that is worth most for its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.linear_model import LinearRegression

from primo_pyro.analysis.acquisition import RANKED, costs_of
from primo_pyro.errors import CostError, ModalityError, PrimoError
from primo_pyro.identity import aligned
from primo_pyro.modalities import Modalities

__all__ = ["BY", "Acquired", "ExpectedGain", "Forecaster", "acquire", "reveal_in_turn"]

BY = ("expected_change", "information_gain")

ROUNDING = 1e-9  # share of a cost by which sums of costs may be off

Values = Callable[[np.ndarray], np.ndarray]
Reveal = Callable[[np.ndarray, int], np.ndarray]


class Forecaster(Protocol):
    """What is asked of a fitted `PrimoClassifier` or `PrimoRegressor`."""

    optional_: tuple[str, ...]

    def summarise(self, x: Modalities, *, y: ArrayLike) -> Any:
        """With the log likelihoods of labels."""

    def predictive_impact(self, x: Modalities, modality: str) -> pd.DataFrame:
        """With the column ``information_gain``."""


@dataclass(frozen=True)
class Acquired:
    """What a round revealed.

    Attributes
    ----------
    rows, modality
        Positions ``[n]`` of the rows, each once, and of the modality that was revealed in each.
    worth
        What it was worth per cost ``[n]`` before it was revealed.
    """

    rows: np.ndarray
    modality: np.ndarray
    worth: np.ndarray


def reveal_in_turn(
    values: Values,
    reveal: Reveal,
    absent: np.ndarray,
    costs: np.ndarray,
    *,
    budget: np.ndarray | float = np.inf,
    shared: bool = False,
    threshold: float = 0.0,
) -> Iterator[Acquired]:
    """In each round reveal, for every row, the absent modality that is worth most for its cost.

    A row is done when nothing that it can still afford is worth more than ``threshold`` for its cost. Of
    equal ones the first is revealed.

    Parameters
    ----------
    values
        From positions of n rows to what revealing each modality would be worth there ``[n, M]``; NaN:
        nothing. Each row is asked about once at the start, and once after whatever was revealed in it, as
        long as something else may be.
    reveal
        From positions of n rows and the position of a modality to booleans ``[n]``: whether it was revealed.
        Where it was not, it costs nothing, and the row is not asked for it again.
    absent
        Booleans ``[N, M]``: what may be revealed.
    costs
        ``[N, M]``, positive.
    budget
        What each row may spend ``[N]``; with ``shared`` what all rows together may spend.
    shared
        Whether the budget is that of all rows. Rows in which a modality is worth most for its cost then come
        first, and a round spends at most half of what is left (but on one row at least): what is worth more
        in a later round is not too late.
    threshold
        What a modality must be worth per cost.

    Yields
    ------
    Acquired
        Round by round.

    Examples
    --------
    Two rows and two modalities; the second one costs more and is worth more per cost in row 1:

    >>> worth = np.array([[0.3, 0.2], [0.1, 0.4]])
    >>> for done in reveal_in_turn(lambda rows: worth[rows], lambda rows, m: np.ones(len(rows), bool),
    ...                            np.ones((2, 2), bool), np.array([[1.0, 2.0]] * 2), budget=2.0):
    ...     print(done.rows, done.modality, done.worth)
    [0 1] [0 1] [0.3 0.2]
    """
    absent = absent.copy()
    left = np.array(budget, float) if shared else np.broadcast_to(budget, len(absent)).astype(float)
    worth = np.full(absent.shape, -np.inf)
    changed = np.flatnonzero(absent.any(1))
    while True:
        if len(changed):
            worth[changed] = values(changed) / costs[changed]
        with np.errstate(invalid="ignore"):  # NaN is not above the threshold
            open_to = (
                absent & (worth > threshold) & (costs * (1 - ROUNDING) <= (left if shared else left[:, None]))
            )
        score = np.where(open_to, worth, -np.inf)
        best = score.argmax(1)
        rows = np.flatnonzero(open_to.any(1))
        if not len(rows):
            return
        if shared:
            rows = rows[np.argsort(-score[rows, best[rows]], kind="stable")]
            spent = np.cumsum(costs[rows, best[rows]])
            rows = np.sort(rows[: max(1, int((spent <= left / 2).sum()))])
        came = np.zeros(len(absent), bool)
        for modality in np.unique(best[rows]):
            at = rows[best[rows] == modality]
            came[at] = reveal(at, int(modality))
        absent[rows, best[rows]] = False
        done = rows[came[rows]]
        if len(done):
            chosen = best[done]
            cost = costs[done, chosen]
            if shared:
                left -= cost.sum()
            else:
                left[done] -= cost
            yield Acquired(done, chosen, worth[done, chosen])
        changed = done[absent[done].any(1)]


def acquire(
    x: Modalities,
    reveal: Callable[[np.ndarray, str], Modalities | ArrayLike | None],
    *,
    ask: Callable[[Modalities], pd.DataFrame],
    predict: Callable[[Modalities], pd.DataFrame],
    optional: Sequence[str],
    by: str | Callable[[pd.DataFrame], ArrayLike],
    costs: Mapping[str, ArrayLike] | None,
    budget: ArrayLike | None,
    shared: bool,
    threshold: float,
) -> pd.DataFrame:
    """The path of each row, see ``PrimoClassifier.acquire``.

    Parameters
    ----------
    x
        N rows.
    reveal, by, costs, budget, shared, threshold
        As there.
    ask
        From n rows to a line per row and optional modality, in this order: ``expected_change`` or ``impact``,
        and ``information_gain``.
    predict
        From n rows to their predictions, a line each.
    optional
        The M modalities that may be revealed, in the order of ``ask``.

    Raises
    ------
    CostError, ModalityError, PrimoError
        As there.
    """
    if not callable(by) and by not in BY:
        expected = " or ".join(map(repr, BY))
        raise PrimoError(f"by is {by!r}; expected {expected}, or a function. Choose one of them.")
    if not callable(reveal):
        raise PrimoError(
            f"reveal is of type {type(reveal).__name__}; expected a function of rows and a modality. Pass "
            "lambda rows, modality: values[modality][rows], for example."
        )
    if not isinstance(shared, bool | np.bool_):
        raise PrimoError(
            f"shared is {shared!r:.60}; expected True or False. Pass shared=True for one budget."
        )
    number = isinstance(threshold, int | float | np.number) and not isinstance(threshold, bool)
    if not number or not threshold >= -np.inf:
        raise PrimoError(
            f"threshold is {threshold!r}; expected a number. Pass 0 to stop where nothing is worth it."
        )
    cost = np.stack([costs_of(name, costs, len(x)) for name in optional], axis=1)
    left = _budget_of(budget, len(x), shared)
    asked: dict[str, np.ndarray] = {}  # each column of ask [N, M], as last asked about
    spent, steps = np.zeros(len(x)), np.zeros(len(x), int)

    def values(rows: np.ndarray) -> np.ndarray:
        frame = ask(x[rows])
        for column in (c for c in RANKED if c in frame):
            asked.setdefault(column, np.full(cost.shape, np.nan))
            asked[column][rows] = frame[column].to_numpy().reshape(len(rows), -1)
        if not callable(by):
            return asked[by if by in asked else "impact"][rows]
        given = aligned("What by returned", by(frame), frame.index, cure="Keep its lines.", error=PrimoError)
        try:
            found = np.asarray(given, float)
        except (TypeError, ValueError) as error:
            raise PrimoError(
                f"by returned {type(given).__name__} ({error}); expected a number for each of {len(frame)} "
                "lines. Return, for example, a column of what it is given."
            ) from error
        if found.shape != (len(frame),):
            raise PrimoError(
                f"by returned numbers of shape {list(found.shape)} for {len(frame)} lines; expected one for "
                "each row and modality. Return, for example, a column of what it is given."
            )
        return found.reshape(len(rows), -1)

    def put(rows: np.ndarray, modality: int) -> np.ndarray:
        nonlocal x
        name = optional[modality]
        found = reveal(rows.copy(), name)
        if found is not None:
            try:
                x = x.reveal(name, rows, found)
            except ModalityError as error:
                what = f"reveal returned {type(found).__name__} for {len(rows)} rows of {name!r}"
                raise ModalityError(f"{what}, which cannot be used. {error}") from error
        return x.present[name][rows]

    start = pd.DataFrame({"row": np.arange(len(x)), "step": 0, "modality": None, "cost": 0.0, "spent": 0.0})
    parts = [(start, predict(x))]
    absent = np.stack([~x.present[name] for name in optional], axis=1)
    rounds = reveal_in_turn(values, put, absent, cost, budget=left, shared=shared, threshold=threshold)
    for done in rounds:
        at = done.rows, done.modality
        spent[done.rows] += cost[at]
        steps[done.rows] += 1
        names = np.array(optional, object)[done.modality]
        line = {"row": done.rows, "step": steps[done.rows], "modality": names}
        line |= {column: found[at] for column, found in asked.items()}
        line |= {"value_per_cost": done.worth, "cost": cost[at], "spent": spent[done.rows]}
        parts.append((pd.DataFrame(line), predict(x[done.rows])))
    first = ["row", "step", "modality", *asked, *(["value_per_cost"] if asked else []), "cost", "spent"]
    path = pd.concat([pd.concat([line.reindex(columns=first), p], axis=1) for line, p in parts])
    return path.sort_values(["row", "step"], kind="stable", ignore_index=True)


def _budget_of(budget: ArrayLike | None, rows: int, shared: bool) -> np.ndarray:
    """A budget as users give it: one number, or without ``shared`` one for each row; None: no bound."""
    try:
        found = np.asarray(np.inf if budget is None else budget, float)
    except (TypeError, ValueError):
        found = np.full((1, 1), np.nan)  # of no right shape
    if found.shape not in ((), () if shared else (rows,)) or not (found >= 0).all():
        expected = "one number for all rows together" if shared else f"one number, or {rows} of them"
        raise CostError(
            f"budget has shape {list(found.shape)} and smallest value {found.min(initial=np.inf)}; expected "
            f"{expected}, at least 0. Correct it, or leave it out."
        )
    return found


class ExpectedGain:
    """What a modality has gained in log loss on rows that were checked, by what an estimator says of it.

    The information gain is what the model itself expects. On new rows a model that is too sure gains less,
    and one whose V is too small gains more. For each modality the drop of the log loss is regressed on the
    information gain: a line with a slope of at least 0, for a drop is noisy, and steps would make rows equal
    that are not. With a slope of 0 the mean drop is expected of every row. Pass it to ``acquire`` as ``by``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Modest:  # it expects half of what it gains
    ...     optional_ = ("m",)
    ...     def summarise(self, x, y):
    ...         return SimpleNamespace(log_likelihood=np.where(x.present["m"], -0.3, -0.7))
    ...     def predictive_impact(self, x, modality):
    ...         return pd.DataFrame({"information_gain": np.full(len(x), 0.2)})
    >>> gain = ExpectedGain().fit(Modest(), Modalities({"o": np.ones(9), "m": np.ones(9)}), np.ones(9))
    >>> gain(pd.DataFrame({"modality": ["m"], "information_gain": [0.2]}))
    array([0.4])
    """

    def fit(self, estimator: Forecaster, x: Modalities, y: ArrayLike) -> ExpectedGain:
        """Hide each modality in the rows that have it, ask, and reveal it.

        Parameters
        ----------
        estimator
            A fitted `PrimoClassifier` or `PrimoRegressor`.
        x, y
            Rows that were not trained on, some hundreds with each modality, and their labels ``[N]``. What
            else is absent stays absent: drop modalities at random, so that patterns are those of the paths.

        Raises
        ------
        ModalityError
            Where a modality is absent in all rows.
        """
        y = np.asarray(x.align("y", y))
        self.lines_: dict[str, LinearRegression] = {}
        for name in estimator.optional_:
            has = x.present[name]
            if not has.any():
                raise ModalityError(
                    f"No row of {len(x)} has {name!r}; expected some hundreds. Pass rows that have it."
                )
            revealed, hidden, labels = x[has], x[has].drop(name), y[has]
            before, after = (
                estimator.summarise(rows, y=labels).log_likelihood for rows in (hidden, revealed)
            )
            expected = estimator.predictive_impact(hidden, name)["information_gain"].to_numpy()
            self.lines_[name] = LinearRegression(positive=True).fit(expected[:, None], after - before)
        return self

    def __call__(self, asked: pd.DataFrame) -> np.ndarray:
        """Expected gain in nats of each line of ``predictive_impact(x, "each")``; 0 where none is known."""
        expected = asked["information_gain"].to_numpy()
        gain = np.zeros(len(asked))
        for name, line in self.lines_.items():
            use = (asked["modality"] == name).to_numpy() & np.isfinite(expected)
            gain[use] = line.coef_[0] * expected[use] + line.intercept_
        return gain
