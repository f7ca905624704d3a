"""A number that depends linearly on two others: everything about it is known exactly.

    (o, m)  ~ Normal(0, [[1, r], [r, 1]])
    y       = a o + b m + s e,          e ~ Normal(0, 1)

What ``m`` would tell about ``y`` is the same in every row, and the impact is known in closed form
(`linear_impact`). Here a = 1, b = 1, r = 0.5, s = 0.5.
"""

from __future__ import annotations

import numpy as np

from primo_pyro.data.generation import generator_of
from primo_pyro.modalities import Modalities, RandomState

__all__ = ["CORRELATION", "LABEL_SPREAD", "NOISE", "A", "B", "linear_impact", "make_linear"]

A, B, CORRELATION, NOISE = 1.0, 1.0, 0.5, 0.5
LABEL_SPREAD = float(np.sqrt(A**2 + B**2 + 2 * A * B * CORRELATION + NOISE**2))  # standard deviation of y


def make_linear(rows: int, random_state: RandomState = 0) -> tuple[Modalities, np.ndarray]:
    """Draw rows of the linear problem.

    Parameters
    ----------
    rows
        How many, at least 1.
    random_state
        Seed, or a ``numpy.random.Generator``.

    Returns
    -------
    x : Modalities
        ``"o"`` [N, 1] and ``"m"`` [N, 1], both present in every row.
    y : array [N]
        Real numbers.

    Raises
    ------
    ModalityError
        Where ``rows`` is not at least 1.

    Examples
    --------
    >>> x, y = make_linear(1000, random_state=0)
    >>> x, round(float(np.corrcoef(x.values["o"][:, 0], y)[0, 1]), 1)
    (Modalities(1000 rows: o [1] in all, m [1] in all), 0.8)
    """
    random = generator_of(rows, random_state)
    o, e, noise = random.normal(size=(3, rows))
    m = CORRELATION * o + np.sqrt(1 - CORRELATION**2) * e
    return Modalities({"o": o, "m": m}), A * o + B * m + NOISE * noise


def linear_impact() -> float:
    """Exact impact of ``m``, in standard deviations of y.

    Given o, the label is normal with variance S^2 = b^2 (1 - r^2) + s^2; given m too, normal with variance
    s^2 around a mean that varies with variance b^2 (1 - r^2). The 1-Wasserstein distance of two normals is
    E|difference of means + difference of scales * Z|, so that over m

        V  =  E|Normal(0, b^2 (1 - r^2) + (S - s)^2)|  =  sqrt(2 / pi) sqrt(b^2 (1 - r^2) + (S - s)^2)

    in units of y.

    >>> round(linear_impact(), 4)
    0.4426
    """
    explained = B**2 * (1 - CORRELATION**2)
    wider = np.sqrt(explained + NOISE**2) - NOISE
    return float(np.sqrt(2 / np.pi * (explained + wider**2)) / LABEL_SPREAD)
