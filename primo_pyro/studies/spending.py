"""What is bought for what is spent: curves of scores against cost, their areas, and errors over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from primo_pyro.analysis.policies import reveal_in_turn
from primo_pyro.analysis.scores import log_losses

__all__ = [
    "ALLOCATIONS",
    "METRICS",
    "Path",
    "Spending",
    "path_of",
    "play",
    "resampled_scores",
    "spend",
    "spending_table",
]

METRICS = ("log_loss", "accuracy", "auroc")
ALLOCATIONS = ("each row", "shared")
POINTS = 33  # of a curve with a shared budget
RESAMPLES = 200

Order = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Path:
    """The order in which the modalities of N rows are revealed, and the predictions on the way.

    Attributes
    ----------
    costs
        Of each step ``[N, M]``; NaN where a row has nothing left.
    worth
        What the step was said to be worth per cost ``[N, M]``.
    probabilities
        Predictions ``[N, M + 1, C]`` after each number of steps.
    """

    costs: np.ndarray
    worth: np.ndarray
    probabilities: np.ndarray


def play(order: Order, available: np.ndarray, costs: np.ndarray, predict: Callable[..., np.ndarray]) -> Path:
    """Reveal everything that the rows have, in the order that a rule says.

    Parameters
    ----------
    order
        From positions of n rows and what is known of them ``[n, M]`` to what revealing each modality is worth
        ``[n, M]``.
    available
        Booleans ``[N, M]``: what each row has.
    costs
        ``[M]``.
    predict
        From positions of n rows and what is known of them to predictions ``[n, C]``.

    Examples
    --------
    >>> values = np.array([0.1, 0.3])
    >>> path = play(lambda rows, known: np.tile(values, (len(rows), 1)), np.array([[True, True]]),
    ...             np.array([1.0, 2.0]), lambda rows, known: known.mean(1, keepdims=True))
    >>> path.costs, path.worth, path.probabilities[:, :, 0]
    (array([[2., 1.]]), array([[0.15, 0.1 ]]), array([[0. , 0.5, 1. ]]))
    """
    known, steps = np.zeros_like(available), np.zeros(len(available), int)

    def reveal(rows: np.ndarray, modality: int) -> np.ndarray:
        known[rows, modality] = True
        return np.ones(len(rows), bool)

    everyone = np.arange(len(available))
    start = predict(everyone, known)
    p = np.repeat(start[:, None], available.shape[1] + 1, axis=1)
    spent, worth = np.full((2, *available.shape), np.nan)
    for done in reveal_in_turn(
        lambda rows: order(rows, known[rows]),
        reveal,
        available,
        np.broadcast_to(costs, available.shape),
        threshold=-np.inf,
    ):
        at = done.rows, steps[done.rows]
        spent[at], worth[at] = costs[done.modality], done.worth
        steps[done.rows] += 1
        after = predict(done.rows, known[done.rows])
        for row, step, now in zip(done.rows, steps[done.rows], after, strict=True):
            p[row, step:] = now
    return Path(spent, worth, p)


def path_of(acquired: pd.DataFrame, modalities: int) -> Path:
    """The path of rows as from `PrimoClassifier.acquire`.

    Examples
    --------
    >>> acquired = pd.DataFrame({"row": [0, 0, 1], "step": [0, 1, 0], "cost": [0.0, 2.0, 0.0],
    ...                          "value_per_cost": [None, 0.1, None], "p_0": [0.5, 1.0, 0.5]})
    >>> path = path_of(acquired, modalities=1)
    >>> path.costs, path.probabilities[:, :, 0]
    (array([[ 2.],
           [nan]]), array([[0.5, 1. ],
           [0.5, 0.5]]))
    """
    row, step = acquired["row"].to_numpy(), acquired["step"].to_numpy()
    p = acquired[[c for c in acquired if c.startswith("p_")]].to_numpy()
    shape = row.max() + 1, modalities + 1
    table = np.full((*shape, 2 + p.shape[1]), np.nan)
    table[row, step] = np.column_stack([acquired[["cost", "value_per_cost"]], p])
    for k in range(1, modalities + 1):  # after the last step a prediction stays as it is
        over = np.isnan(table[:, k, 2])
        table[over, k, 2:] = table[over, k - 1, 2:]
    return Path(table[:, 1:, 0], table[:, 1:, 1], table[:, :, 2:])


def spend(path: Path, allocation: str) -> tuple[np.ndarray, np.ndarray]:
    """How a budget is spent along a path.

    Parameters
    ----------
    path
        Of N rows.
    allocation
        ``"each row"``: each has the same budget and goes on as long as it lasts. ``"shared"``: the budget is
        that of all rows, and the step that is worth most per cost is taken next, wherever it is.

    Returns
    -------
    costs
        Mean cost of a row ``[S]`` at the S points of the curve.
    steps
        Number of steps ``[S, N]`` that each row has taken there.

    Examples
    --------
    >>> path = Path(np.ones((2, 1)), np.array([[0.1], [0.2]]), np.zeros((2, 2, 1)))
    >>> spend(path, "each row")
    (array([0., 1.]), array([[0, 0], [1, 1]]))
    >>> spend(path, "shared")
    (array([0. , 0.5, 1. ]), array([[0, 0], [0, 1], [1, 1]]))
    """
    rows = len(path.costs)
    spent = np.cumsum(np.nan_to_num(path.costs, nan=np.inf), axis=1)
    if allocation == "each row":
        budgets = np.unique(np.concatenate([[0.0], spent[np.isfinite(spent)]]).round(9))
        steps = (spent[None] <= budgets[:, None, None] + 1e-9).sum(2)
        paid = np.concatenate([np.zeros((rows, 1)), spent], axis=1)
        return paid[np.arange(rows), steps].mean(1), steps
    taken = np.isfinite(path.costs)
    row, step = np.nonzero(taken)
    # A step comes after those before it: it is worth no more than they are.
    worth = np.minimum.accumulate(np.where(taken, path.worth, -np.inf), axis=1)[row, step]
    order = np.lexsort((row, step, -worth))
    paid = np.cumsum([0.0, *path.costs[row, step][order]]) / rows
    bought = np.unique(np.linspace(0, len(order), POINTS).astype(int))
    return paid[bought], np.stack([np.bincount(row[order[:n]], minlength=rows) for n in bought])


def resampled_scores(y: np.ndarray, p: np.ndarray, copies: np.ndarray) -> dict[str, np.ndarray]:
    """`METRICS` of predictions in samples of rows.

    Parameters
    ----------
    y, p
        Labels ``[N]`` from 0, and predictions ``[N, C]``.
    copies
        How often each row is in each of R samples ``[R, N]``.

    Returns
    -------
    dict
        Metric to values ``[R]``; AUROC is the mean over classes against the rest (of two classes, of the
        second).

    Examples
    --------
    >>> p = np.array([[0.8, 0.2], [0.4, 0.6], [0.6, 0.4]])
    >>> found = resampled_scores(np.array([0, 1, 1]), p, np.array([[1, 1, 1], [2, 1, 0]]))
    >>> {metric: values.round(3).tolist() for metric, values in found.items()}
    {'log_loss': [0.55, 0.319], 'accuracy': [0.667, 1.0], 'auroc': [1.0, 1.0]}
    """
    shares = copies / copies.sum(1, keepdims=True)
    classes = [1] if p.shape[1] == 2 else [c for c in range(p.shape[1]) if 0 < (y == c).sum() < len(y)]
    return {
        "log_loss": shares @ log_losses(y, p),
        "accuracy": shares @ (p.argmax(1) == y),
        "auroc": np.mean([_auroc(y == c, p[:, c], shares) for c in classes], axis=0),
    }


def _auroc(positive: np.ndarray, score: np.ndarray, shares: np.ndarray) -> np.ndarray:
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))  # of groups of equal scores
    of_positive, of_negative = (
        np.add.reduceat((shares * which)[:, order], starts, axis=1) for which in (positive, ~positive)
    )
    below = np.cumsum(of_negative, axis=1) - of_negative / 2
    with np.errstate(invalid="ignore"):  # a sample of one class alone has none
        return (of_positive * below).sum(1) / (of_positive.sum(1) * of_negative.sum(1))


@dataclass(frozen=True)
class Spending:
    """A curve of a score against cost, in the rows as they are and in R samples of them.

    Attributes
    ----------
    costs
        Mean cost of a row ``[S]``.
    values
        The score ``[S, 1 + R]``; the first column is that of the rows themselves.
    """

    costs: np.ndarray
    values: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """The mean of the score over what is spent ``[1 + R]``."""
        return trapezoid(self.values, self.costs, axis=0) / self.costs[-1]


def spending_table(
    y: np.ndarray, paths: Mapping[str, Sequence[Path]], reference: str, random_state: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Curves of all policies and their areas.

    Parameters
    ----------
    y
        Labels ``[N]`` from 0.
    paths
        Policy to its paths; the scores of several paths (random orders) are averaged.
    reference
        The policy with which the others are compared, row by row.
    random_state
        Seed of the samples of rows, which are the same for all policies.

    Returns
    -------
    curves : DataFrame
        ``policy, allocation, cost, metric, value, error``: the cost is that of a row, on average; the error
        is the standard deviation over 200 bootstrap samples of the rows.
    areas : DataFrame
        ``policy, allocation, metric, area, error, difference, difference_error``: the mean of the score over
        what is spent, from nothing to everything, and how much higher it is than that of the reference.

    Examples
    --------
    >>> certain = np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]])
    >>> one, none = (Path(np.ones((2, 1)), np.ones((2, 1)), p) for p in (certain, np.full((2, 2, 2), 0.5)))
    >>> curves, areas = spending_table(np.array([0, 1]), {"a": [one], "b": [none]}, "a")
    >>> areas.query("metric == 'log_loss'")[["policy", "allocation", "area", "difference"]].round(3)
      policy allocation   area  difference
    0      a   each row  0.347       0.000
    3      a     shared  0.347       0.000
    6      b   each row  0.693       0.347
    9      b     shared  0.693       0.347
    """
    random = np.random.default_rng(random_state)
    samples = random.multinomial(len(y), np.full(len(y), 1 / len(y)), size=RESAMPLES)
    copies = np.concatenate([np.ones((1, len(y)), int), samples])
    spendings = {
        (policy, allocation, metric): spending
        for policy, several in paths.items()
        for allocation in ALLOCATIONS
        for metric, spending in _averaged(y, several, allocation, copies).items()
    }
    curves, areas = [], []
    for (policy, allocation, metric), spending in spendings.items():
        what = {"policy": policy, "allocation": allocation, "metric": metric}
        area = spending.area
        difference = area - spendings[reference, allocation, metric].area
        errors = {"error": np.nanstd(area[1:]), "difference_error": np.nanstd(difference[1:])}
        areas.append(what | {"area": area[0], "difference": difference[0]} | errors)
        parts = {"value": spending.values[:, 0], "error": np.nanstd(spending.values[:, 1:], axis=1)}
        curves.append(pd.DataFrame(what | {"cost": spending.costs} | parts))
    order = ["policy", "allocation", "metric", "area", "error", "difference", "difference_error"]
    columns = ["policy", "allocation", "cost", "metric", "value", "error"]
    return pd.concat(curves, ignore_index=True)[columns], pd.DataFrame(areas)[order]


def _averaged(
    y: np.ndarray, paths: Sequence[Path], allocation: str, copies: np.ndarray
) -> dict[str, Spending]:
    """The scores of several paths, averaged at the costs of the first."""
    found: dict[str, list[Spending]] = {metric: [] for metric in METRICS}
    for path in paths:
        costs, steps = spend(path, allocation)
        at = [resampled_scores(y, path.probabilities[np.arange(len(y)), taken], copies) for taken in steps]
        for metric, spendings in found.items():
            spendings.append(Spending(costs, np.stack([values[metric] for values in at])))
    return {
        metric: Spending(several[0].costs, np.mean([_at(one, several[0].costs) for one in several], axis=0))
        for metric, several in found.items()
    }


def _at(spending: Spending, costs: np.ndarray) -> np.ndarray:
    if np.array_equal(spending.costs, costs):
        return spending.values
    return np.stack([np.interp(costs, spending.costs, column) for column in spending.values.T], axis=1)
