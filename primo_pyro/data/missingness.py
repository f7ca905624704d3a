"""Ways in which a modality goes missing, for experiments on data that is complete.

``Modalities.drop_at_random`` drops independently of everything. Here absence depends on something: on a
modality that stays (missing at random, MAR), or on the label (missing not at random, MNAR, for a model
that is to predict the label).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit

from primo_pyro.errors import LabelError, ModalityError
from primo_pyro.modalities import Modalities, RandomState

__all__ = ["drop_given_label", "drop_given_observed"]


def drop_given_observed(
    x: Modalities,
    name: str,
    on: str,
    rate: float = 0.5,
    strength: float = 2.0,
    random_state: RandomState = None,
) -> Modalities:
    """Make a modality absent with a probability that depends on another modality.

        s_i       = mean of the features of ``on`` in row i, standardised over the rows
        P(drop_i) = sigmoid(a + strength * s_i)           a such that the mean over the rows is ``rate``

    A row in which ``on`` itself is absent counts as average, s = 0.

    Parameters
    ----------
    x : Modalities, N rows
    name
        The modality to drop.
    on
        The modality that decides; of any shape [N, ...].
    rate
        Mean probability of a drop, between 0 and 1.
    strength
        Change of the log-odds for one standard deviation of s; negative drops where s is low, 0 is at random.
    random_state
        Seed, or a ``numpy.random.Generator``.

    Returns
    -------
    Modalities, N rows
        The values are shared with ``x``.

    Raises
    ------
    ModalityError
        Where a name is unknown, both names are the same, or ``rate`` is no probability.

    Examples
    --------
    >>> x = Modalities({"o": np.arange(1000.0), "m": np.ones(1000)})
    >>> present = drop_given_observed(x, "m", on="o", rate=0.3, strength=3, random_state=0).present["m"]
    >>> present[:500].mean() > present[500:].mean()
    np.True_
    >>> float((~present).mean())
    0.3
    """
    if not 0 <= rate <= 1:
        raise ModalityError(f"rate is {rate}; expected a probability. Give a number from 0 to 1.")
    _check_known(x, name, on)
    if name == on:
        raise ModalityError(
            f"Modality {name!r} was named both to be dropped and to decide; expected two different ones. "
            "Name another one in on=, or use drop_at_random."
        )
    score = _standard_score(x, on)
    probability = expit(_matching_intercept(strength * score, rate) + strength * score)
    random = np.random.default_rng(random_state)
    return x.drop(name, where=random.random(len(x)) < probability)


def drop_given_label(
    x: Modalities,
    y: ArrayLike,
    name: str,
    rates: Mapping[Any, float],
    random_state: RandomState = None,
) -> Modalities:
    """Make a modality absent with a probability that depends on the label.

    Absence then tells about the label, which a model may learn from the training rows: look at its scores
    on test rows whose absence works differently before you trust it.

    Parameters
    ----------
    x : Modalities, N rows
    y : array [N]
        Labels.
    name
        The modality to drop.
    rates
        Mapping from each label in ``y`` to its probability of a drop.
    random_state
        Seed, or a ``numpy.random.Generator``.

    Returns
    -------
    Modalities, N rows
        The values are shared with ``x``.

    Raises
    ------
    LabelError
        Where ``y`` differs from ``x`` in length or a label has no rate.
    ModalityError
        Where the name is unknown or a rate is no probability.

    Examples
    --------
    >>> x = Modalities({"o": np.ones(1000), "m": np.ones(1000)})
    >>> y = np.repeat([0, 1], 500)
    >>> present = drop_given_label(x, y, "m", {0: 0.9, 1: 0.1}, random_state=0).present["m"]
    >>> int(present[y == 0].sum()), int(present[y == 1].sum())
    (58, 458)
    """
    _check_known(x, name)
    y = np.asarray(y)
    if y.shape != (len(x),):
        raise LabelError(
            f"y has shape {list(y.shape)}; expected [{len(x)}], as many as rows. Give one label a row."
        )
    wrong = {label: rate for label, rate in rates.items() if not 0 <= rate <= 1}
    if wrong:
        raise ModalityError(
            f"The rates {wrong} are no probabilities; expected numbers from 0 to 1. Correct them."
        )
    probability = np.full(len(x), np.nan)
    for label, rate in rates.items():
        probability[y == label] = rate
    if np.isnan(probability).any():
        lacking = np.unique(y[np.isnan(probability)]).tolist()
        raise LabelError(
            f"The labels {lacking} in y have no rate; expected one for each, and rates names {list(rates)}. "
            "Add the others."
        )
    random = np.random.default_rng(random_state)
    return x.drop(name, where=random.random(len(x)) < probability)


def _check_known(x: Modalities, *names: str) -> None:
    for name in names:
        if name not in x.names:
            raise ModalityError(
                f"Unknown modality {name!r}; expected one of {', '.join(map(repr, x.names))}. Correct the "
                "name."
            )


def _standard_score(x: Modalities, name: str) -> np.ndarray:
    rows = x.present[name]
    score = np.zeros(len(x))
    if rows.any():
        means = x.values[name].reshape(len(x), -1)[rows].mean(1, dtype=float)
        spread = means.std()
        score[rows] = (means - means.mean()) / (spread if spread > 0 else 1)
    return score


def _matching_intercept(log_odds: np.ndarray, rate: float) -> float:
    if rate in (0, 1) or len(log_odds) == 0:
        return np.inf if rate == 1 else -np.inf
    # The mean lies between the extreme rows' probabilities, which brackets the root.
    low, high = logit(rate) - log_odds.max() - 1, logit(rate) - log_odds.min() + 1
    return brentq(lambda a: expit(a + log_odds).mean() - rate, low, high)
