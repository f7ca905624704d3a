"""Four optional blocks of numbers that each tell a little about a noisy label, and their exact impact.

    o ~ Normal(0, I_4),   m_j ~ Normal(0, I_4) for j = 1 .. 4,   s_j = sum(m_j) / 2 ~ Normal(0, 1)
    y ~ Bernoulli(sigmoid( sum(o) / 2 + STRENGTH * (s_1 + s_2 + s_3 + s_4) ))

Given what is present the rest of the exponent is normal, so that probabilities and impacts are integrals over
one number, or over two, which Gauss-Hermite quadrature gives to eight digits. An estimate of impact that
counts noise of the label is far off here: the doubt is large in every row, and what a block can do about it
small.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import expit

from primo_pyro.data.generation import asked_about, generator_of
from primo_pyro.modalities import Modalities, RandomState

__all__ = ["OPTIONAL", "STRENGTH", "make_weak_signals", "weak_signals_impact"]

STRENGTH = 0.3
OPTIONAL = ("m1", "m2", "m3", "m4")
COLUMNS = 4
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)  # integrals over Normal(0, 1)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def make_weak_signals(rows: int, random_state: RandomState = 0) -> tuple[Modalities, np.ndarray]:
    """Draw rows with four weak blocks, of which none is absent yet.

    Parameters
    ----------
    rows
        Number N of rows, at least 1.
    random_state
        Seed, or a ``numpy.random.Generator``.

    Returns
    -------
    x : Modalities
        The observed ``"o"`` and the optional ``"m1"`` to ``"m4"``, float32 ``[N, 4]``, without unit.
    y : integer array [N]
        0 or 1, as often.

    Raises
    ------
    ModalityError
        Where ``rows`` is not at least 1.

    Examples
    --------
    >>> make_weak_signals(100)[0]
    Modalities(100 rows: o [4] in all, m1 [4] in all, m2 [4] in all, m3 [4] in all, m4 [4] in all)
    """
    random = generator_of(rows, random_state)
    names = ("o", *OPTIONAL)
    x = Modalities({name: random.normal(size=(rows, COLUMNS)).astype(np.float32) for name in names})
    y = random.random(rows) < expit(_exponent(x, names))
    return x, y.astype(np.int64)


def weak_signals_impact(x: Modalities, modality: str | Iterable[str]) -> np.ndarray:
    """Exact impact of revealing a block or a set of them, given whatever is present in each row.

    Parameters
    ----------
    x : Modalities, N rows
        ``"o"`` in every row, the others in any pattern.
    modality
        One of ``"m1"`` to ``"m4"``, or a set of them. What is already present changes nothing.

    Returns
    -------
    array [N], float64, between 0 and 0.5

    Raises
    ------
    ModalityError
        Where the set is empty or holds another name.

    Examples
    --------
    >>> x = Modalities({name: np.zeros((1, 4)) for name in ("o", *OPTIONAL)}).drop(*OPTIONAL)
    >>> weak_signals_impact(x, "m1").round(3), weak_signals_impact(x, OPTIONAL).round(3)
    (array([0.056]), array([0.114]))
    """
    asked = asked_about(modality, OPTIONAL)
    exponent = _exponent(x, ("o", *OPTIONAL))
    absent = np.stack([~x.present[name] for name in OPTIONAL])
    unknown = absent.sum(0)
    revealed = absent[[name in asked for name in OPTIONAL]].sum(0)
    revealing = exponent[:, None] + STRENGTH * np.sqrt(revealed)[:, None] * NODES  # [N, nodes]
    after = _mean(revealing, (unknown - revealed)[:, None])
    return np.abs(after - _mean(exponent, unknown)[:, None]) @ WEIGHTS


def _exponent(x: Modalities, names: Iterable[str]) -> np.ndarray:
    """What the present ones of these modalities add to the exponent ``[N]``."""
    total = np.zeros(len(x))
    for name in names:
        weight = 1.0 if name == "o" else STRENGTH
        total[x.present[name]] += weight * x.values[name][x.present[name]].sum(1) / 2
    return total


def _mean(exponent: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """P(y = 1), the exponent being known up to so many normal numbers."""
    return expit(exponent[..., None] + STRENGTH * np.sqrt(unknown)[..., None] * NODES) @ WEIGHTS
