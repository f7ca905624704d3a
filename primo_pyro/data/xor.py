"""XOR of two signs: two classes, two numbers, and an exact answer to every question.

    cluster   ~ uniform over (-1, -1), (-1, 1), (1, -1)
    (o, m)    ~ Normal(cluster, 0.5)                      independent in o and m
    y         = [o > 0] xor [m > 0]

Neither number alone tells much about ``y`` and both together tell it exactly. How much ``m`` would tell
depends on ``o``: where ``o < 0`` the label is a coin flip before ``m`` is known; where ``o > 0`` it is 1
almost surely. That makes the impact of ``m`` on each row known in closed form (:func:`xor_impact`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, ndtr

from primo_pyro.data.generation import asked_about, generator_of
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities, RandomState

__all__ = [
    "BAYES_ACCURACY",
    "BAYES_LOG_LOSS",
    "MEAN_IMPACT",
    "make_xor",
    "make_xor_twins",
    "xor_impact",
    "xor_probability",
    "xor_twins_impact",
]

CENTRES = np.array([(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0)])
SCALE = 0.5

# Averages over the distribution of ``o``; the tests find them again by quadrature. With a forecast that
# knows ``o`` only, nobody does better than these; with ``m`` too, accuracy is 1 and the rest is 0.
BAYES_ACCURACY = 0.659083
BAYES_LOG_LOSS = 0.510190  # nats
MEAN_IMPACT = 0.355445


def make_xor(rows: int, random_state: RandomState = 0) -> tuple[Modalities, np.ndarray]:
    """Draw rows of the XOR problem.

    Parameters
    ----------
    rows
        How many, at least 1.
    random_state
        Seed, or a ``numpy.random.Generator``.

    Returns
    -------
    x : Modalities
        ``"o"`` [N, 1] and ``"m"`` [N, 1], float32 without unit, both present in every row.
    y : integer array [N]
        0 or 1; 65 % are 1.

    Raises
    ------
    ModalityError
        Where ``rows`` is not at least 1.

    Notes
    -----
    Generated, not read. The problem is the synthetic experiment of the paper on PRIMO.

    Examples
    --------
    >>> x, y = make_xor(1000, random_state=0)
    >>> x
    Modalities(1000 rows: o [1] in all, m [1] in all)
    >>> o, m = x.values["o"][:, 0], x.values["m"][:, 0]
    >>> bool((y == ((o > 0) ^ (m > 0))).all())
    True
    """
    random = generator_of(rows, random_state)
    centres = CENTRES[random.integers(len(CENTRES), size=rows)]
    points = random.normal(centres, SCALE).astype(np.float32)
    # The label comes from the rounded numbers, so that it is exact for what the user gets.
    y = (points[:, 0] > 0) ^ (points[:, 1] > 0)
    return Modalities({"o": points[:, :1], "m": points[:, 1:]}), y.astype(np.int64)


def xor_probability(x_o: ArrayLike) -> np.ndarray:
    """Exact ``P(y = 1 | o)``.

    With r the probability that the row belongs to the cluster at ``o = 1``, ``m`` is positive with
    probability ``(1 - r) / 2 + r Phi(-2)``, and ``y`` says whether ``m`` has the sign that ``o`` lacks.

    Parameters
    ----------
    x_o : array [N] or [N, 1]
        The observed number, as in ``x.values["o"]``.

    Returns
    -------
    array [N], float64

    Examples
    --------
    >>> xor_probability([-3.0, -0.5, 0.5, 3.0]).round(3)
    array([0.5  , 0.496, 0.96 , 0.977])
    """
    x_o = np.asarray(x_o, float).reshape(-1)
    # The ratio of the two normal densities of o is exp(4 o / 0.5): taken as a logit it neither
    # overflows nor turns into 0 / 0 far from the clusters.
    r = expit(2 * x_o / SCALE**2 - np.log(2))
    return (1 - r) / 2 + r * ndtr(np.where(x_o > 0, 1, -1) / SCALE)


def xor_impact(x_o: ArrayLike) -> np.ndarray:
    """Exact impact of revealing ``m``: the expected total variation between ``P(y | o, m)`` and ``P(y | o)``.

    Once ``m`` is known the label is certain, so the change is ``1 - p`` with probability ``p`` and ``p``
    with probability ``1 - p``: in expectation ``2 p (1 - p)``.

    Parameters
    ----------
    x_o : array [N] or [N, 1]

    Returns
    -------
    array [N], float64, between 0 and 0.5

    Examples
    --------
    >>> xor_impact([-3.0, -0.5, 0.5, 3.0]).round(3)
    array([0.5  , 0.5  , 0.076, 0.044])
    """
    p = xor_probability(x_o)
    return 2 * p * (1 - p)


def make_xor_twins(rows: int, random_state: RandomState = 0) -> tuple[Modalities, np.ndarray]:
    """Rows of `make_xor` with a modality that repeats ``m``: whoever has one of the two needs no other.

    Parameters, errors, values and labels are those of `make_xor`; the third modality is ``"twin"`` [N, 1],
    equal to ``"m"`` in every row. Drop each of them for itself, and both, neither or one is absent.

    Examples
    --------
    >>> x, y = make_xor_twins(1000, random_state=0)
    >>> x
    Modalities(1000 rows: o [1] in all, m [1] in all, twin [1] in all)
    >>> bool((x.values["m"] == x.values["twin"]).all())
    True
    """
    x, y = make_xor(rows, random_state)
    return Modalities({**x.values, "twin": x.values["m"].copy()}), y


def xor_twins_impact(x: Modalities, modality: str | Iterable[str]) -> np.ndarray:
    """Exact impact of revealing ``m``, ``twin`` or both in rows of `make_xor_twins`.

    Where neither is present, each alone and both together have the impact of `xor_impact`; where one is
    present, the label is certain and the other changes nothing.

    Parameters
    ----------
    x : Modalities, N rows
        ``"o"`` in every row; ``"m"`` and ``"twin"`` present or absent in any pattern.
    modality
        ``"m"``, ``"twin"``, or both as a set.

    Returns
    -------
    array [N], float64, between 0 and 0.5

    Raises
    ------
    ModalityError
        Where the set is empty or holds another name, or ``"o"`` is absent in a row.

    Examples
    --------
    >>> x = Modalities({"o": [-1.0, -1.0], "m": [1.0, np.nan], "twin": [np.nan, np.nan]})
    >>> xor_twins_impact(x, "twin").round(3)
    array([0. , 0.5])
    """
    asked_about(modality, ("m", "twin"))
    present = x.select("o", "m", "twin").present
    absent = int((~present["o"]).sum())
    if absent:
        raise ModalityError(
            f"o is absent in {absent} of {len(x)} rows; expected it in all. Pass complete rows of o."
        )
    return np.where(present["m"] | present["twin"], 0.0, xor_impact(x.values["o"]))
