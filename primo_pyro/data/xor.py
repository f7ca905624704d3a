"""XOR of two signs: two classes, two numbers, and an exact answer to every question.

    cluster   ~ uniform over (-1, -1), (-1, 1), (1, -1)
    (o, m)    ~ Normal(cluster, 0.5)                      independent in o and m
    y         = [o > 0] xor [m > 0]

Neither number alone tells much about ``y`` and both together tell it exactly. How much ``m`` would tell
depends on ``o``: where ``o < 0`` the label is a coin flip before ``m`` is seen; where ``o > 0`` it is 1
almost surely. That makes the impact of ``m`` on each row known in closed form (:func:`xor_impact`).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, ndtr

from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities

CENTRES = np.array([(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0)])
SCALE = 0.5

# Averages over the distribution of ``o``; the tests find them again by quadrature. With a forecast that
# knows ``o`` only, nobody does better than these; with ``m`` too, accuracy is 1 and the rest is 0.
BAYES_ACCURACY = 0.659083
BAYES_LOG_LOSS = 0.510190  # nats
MEAN_IMPACT = 0.355445


def make_xor(rows: int, random_state=0) -> tuple[Modalities, np.ndarray]:
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
    if rows < 1:
        raise ModalityError(f"rows is {rows}; at least 1 was wanted. Ask for a positive number of rows.")
    random = np.random.default_rng(random_state)
    centres = CENTRES[random.integers(len(CENTRES), size=rows)]
    points = random.normal(centres, SCALE).astype(np.float32)
    # The label comes from the rounded numbers, so that it is exact for what the user sees.
    y = (points[:, 0] > 0) ^ (points[:, 1] > 0)
    return Modalities({"o": points[:, :1], "m": points[:, 1:]}), y.astype(np.int64)


def xor_probability(x_o) -> np.ndarray:
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


def xor_impact(x_o) -> np.ndarray:
    """Exact impact of seeing ``m``: the expected total variation between ``P(y | o, m)`` and ``P(y | o)``.

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
