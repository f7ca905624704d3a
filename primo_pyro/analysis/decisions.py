"""What revealing a modality is worth to who decides: expected value of information, and decision curves.

V is change, not benefit. Here a decision has a utility, and revealing is worth what it is expected to add to
it *if the model is right*: these numbers are the model's own, without a guarantee. Decision curves measure
what was really gained.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from primo_pyro.analysis.scores import codes_of
from primo_pyro.errors import DrawsError

__all__ = [
    "THRESHOLDS",
    "as_utility",
    "decision_curves",
    "net_benefit",
    "net_benefit_utility",
    "threshold_gain",
    "utility_gain",
    "value_of_information",
]

THRESHOLDS = np.arange(1, 20) / 20  # risks at which one may decide to act
Values = TypeVar("Values", np.ndarray, Tensor)


def value_of_information(draws: ArrayLike, utility: ArrayLike | None = None) -> np.ndarray:
    """Expected value of sample information of N rows, from predictions under K draws.

        EVSI(x) = E_z max_a sum_y U[a, y] p(y | x, z)  -  max_a sum_y U[a, y] p(y | x)

    with p(y | x) the average over the draws (Raiffa and Schlaifer 1961).

    Parameters
    ----------
    draws
        Predictions ``[K, N, C]``, one draw of what would be revealed each.
    utility
        U ``[A, C]``: of each action under each label; None: 1 for naming the label, so that the value is the
        expected gain in accuracy.

    Returns
    -------
    array
        ``[N]``, in the unit of the utility; never negative.

    Examples
    --------
    A modality that tells the label, of a row with even chances and of one that is certain:

    >>> draws = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    >>> value_of_information(draws)
    array([0.5, 0. ])
    >>> value_of_information(draws, net_benefit_utility(0.2))
    array([0.125, 0.   ])
    """
    draws = np.asarray(draws, float)
    utility = np.eye(draws.shape[-1]) if utility is None else as_utility(utility, draws.shape[-1])
    return utility_gain(draws, draws.mean(0, keepdims=True), utility)


def utility_gain(p: Values, centre: Values, utility: Values) -> Values:
    """Mean gain ``[N]`` of deciding by draws ``p`` ``[K, N, C]`` rather than by their averages, as large."""

    def best(q: Values) -> Values:
        largest: Any = (q @ utility.T).max(-1)  # torch gives values and positions
        return largest.values if isinstance(q, Tensor) else largest

    # The largest of averages is at most the average of the largest; what is below 0 is rounding.
    return (best(p).mean(0) - best(centre).mean(0)).clip(min=0)


def threshold_gain(risk: Values, centre: Values, thresholds: np.ndarray) -> Values:
    """`utility_gain` in net benefit at several thresholds: ``[N, T]`` from risks ``[K, N]``."""
    stack: Any = torch.stack if isinstance(risk, Tensor) else np.stack
    gains = [
        # q - (1 - q) t / (1 - t) = (q - t) / (1 - t), where it is positive: the benefit of acting.
        ((risk - t).clip(min=0).mean(0) - (centre - t).clip(min=0).mean(0)) / (1 - t)
        for t in thresholds.tolist()
    ]
    return stack(gains, -1).clip(min=0)


def as_utility(utility: ArrayLike, classes: int) -> np.ndarray:
    """A matrix ``[A, C]`` of finite numbers; `DrawsError` where it is none."""
    matrix = np.asarray(utility, float)
    if matrix.ndim != 2 or matrix.shape[1] != classes or len(matrix) == 0 or not np.isfinite(matrix).all():
        raise DrawsError(
            f"utility has shape {list(matrix.shape)}; expected finite numbers [actions, {classes} classes]. "
            "Give one row for each action, with what it is worth under each label."
        )
    return matrix


def net_benefit_utility(threshold: float) -> np.ndarray:
    """The utility ``[2, 2]`` of who acts where the risk is above a threshold t, and not below it.

    Doing nothing is worth 0; acting is worth 1 for a row with the label, -t / (1 - t) for one without
    (Vickers and Elkin 2006): the threshold says how many false alarms one true one is worth.

    >>> net_benefit_utility(0.2)
    array([[ 0.  ,  0.  ],
           [-0.25,  1.  ]])
    """
    if not 0 < threshold < 1:
        raise DrawsError(
            f"threshold is {threshold}; expected a risk between 0 and 1. Give that from which on you would "
            "act, as 0.2."
        )
    return np.array([[0.0, 0.0], [-threshold / (1 - threshold), 1.0]])


def net_benefit(y: ArrayLike, risk: ArrayLike, threshold: float) -> float:
    """True positives less false ones times t / (1 - t), as a share of all rows (Vickers and Elkin 2006).

    Rows with a risk of at least the threshold count as positive.

    >>> net_benefit([1, 0, 0, 1], [0.9, 0.6, 0.1, 0.2], 0.5)
    0.0
    """
    y, acted = np.asarray(y, bool), np.asarray(risk, float) >= threshold
    odds = threshold / (1 - threshold)
    return float(((acted & y).sum() - odds * (acted & ~y).sum()) / len(y))


def decision_curves(
    y: ArrayLike,
    probabilities_missing: ArrayLike,
    probabilities_complete: ArrayLike,
    value: ArrayLike,
    *,
    thresholds: ArrayLike = THRESHOLDS,
    cost: float = 0.0,
    classes: ArrayLike | None = None,
) -> pd.DataFrame:
    """Net benefit against the threshold: without the modality, with it, and with it only where it pays.

    Parameters
    ----------
    y
        Labels ``[N]`` of two classes.
    probabilities_missing, probabilities_complete
        Predictions ``[N, 2]`` without and with the modality.
    value
        Value of revealing it ``[N, T]``, in net benefit at each threshold (`threshold_gain`).
    thresholds
        Risks ``[T]`` from which on one would act.
    cost
        What revealing costs in net benefit: 1 / cost tests may be spent for one more true positive. It is
        revealed where its value is above the cost, and not taken off the net benefit.
    classes
        The two labels in the order of the columns; the second is the event. None: 0 and 1.

    Returns
    -------
    DataFrame
        Tidy: ``policy`` ("nobody": act for nobody; "everybody"; "without" the modality; "with" it; "where it
        pays"), ``threshold``, ``net_benefit``, the share ``revealed``, and ``gain`` over "without",
        ``gain_error``, its standard error, and ``tests_per_true_positive``: tests for one more net true
        positive, infinite where nothing is gained; NaN for policies without a test.

    Raises
    ------
    DrawsError
        Where arrays do not fit together, or there are not two classes.

    Examples
    --------
    >>> missing, complete = np.full((4, 2), 0.5), np.eye(2)[[0, 1, 0, 1]]
    >>> frame = decision_curves([0, 1, 0, 1], missing, complete, np.ones((4, 1)), thresholds=[0.2])
    >>> frame[["policy", "net_benefit", "tests_per_true_positive"]]
               policy  net_benefit  tests_per_true_positive
    0          nobody        0.000                      NaN
    1       everybody        0.375                      NaN
    2         without        0.375                      NaN
    3            with        0.500                      8.0
    4  where it pays        0.500                      8.0
    """
    codes, missing = codes_of(y, probabilities_missing, classes)
    codes, complete = codes_of(codes, probabilities_complete, None)
    thresholds, value = np.atleast_1d(np.asarray(thresholds, float)), np.asarray(value, float)
    if missing.shape[1] != 2 or value.shape != (len(codes), len(thresholds)):
        raise DrawsError(
            f"Predictions of {missing.shape[1]} classes and values of shape {list(value.shape)}; expected "
            f"two classes and [{len(codes)}, {len(thresholds)}]. Ask about one event, one threshold a column."
        )
    event = codes == 1
    lines = []
    for t, worth in zip(thresholds, value.T, strict=True):
        odds = net_benefit_utility(t)[1, 0]
        revealed = {"without": np.zeros(len(event), bool), "with": np.ones(len(event), bool)}
        revealed["where it pays"] = worth > cost
        risks = {name: np.where(r, complete[:, 1], missing[:, 1]) for name, r in revealed.items()}
        risks = {"nobody": np.full(len(event), -1.0), "everybody": np.full(len(event), 2.0)} | risks
        # What each row adds to the net benefit.
        added = {name: (risk >= t) * np.where(event, 1.0, odds) for name, risk in risks.items()}
        for name, of_rows in added.items():
            share = float(revealed[name].mean()) if name in revealed else float("nan")
            difference = of_rows - added["without"]
            gain = float(difference.mean())
            tests = name in ("with", "where it pays")
            error = float(difference.std(ddof=1) / np.sqrt(len(event))) if len(event) > 1 else float("nan")
            per_positive = (share / gain if gain > 0 else float("inf")) if tests else float("nan")
            lines.append((name, t, float(of_rows.mean()), share, gain, error, per_positive))
    columns = ["policy", "threshold", "net_benefit", "revealed", "gain", "gain_error"]
    return pd.DataFrame(lines, columns=[*columns, "tests_per_true_positive"])
