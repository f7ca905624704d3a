"""The data sets as tasks for `primo_pyro.comparison`: rows by seed, roles of modalities, exact answers."""

from __future__ import annotations

import numpy as np

from primo_pyro.comparison import Task
from primo_pyro.data import load_digits_halves, make_xor, xor_impact


def xor(rows: int = 40_000) -> Task:
    """XOR of two signs: ``m`` may be missing; 70 % of the rows for training, the rest for testing.

    >>> (x, y), validation, (x_test, y_test) = xor(1000).rows(0)
    >>> len(x), validation, len(x_test)
    (700, None, 300)
    """

    def split(seed):
        x, y = make_xor(rows, random_state=seed)
        cut = int(0.7 * rows)
        return (x[:cut], y[:cut]), None, (x[cut:], y[cut:])

    return Task("XOR", "o", ("m",), split, impact=lambda x: xor_impact(x.values["o"][:, 0]))


def digit_halves(rows: int = 1797) -> Task:
    """Handwritten digits: the bottom half may be missing; 70 % for training, shuffled by the seed.

    >>> (x, y), _, (x_test, y_test) = digit_halves().rows(0)
    >>> len(x), len(x_test)
    (1257, 540)
    """
    x, y = load_digits_halves()

    def split(seed):
        order = np.random.default_rng(seed).permutation(len(x))[:rows]
        train, test = np.split(order, [int(0.7 * len(order))])
        return (x[train], y[train]), None, (x[test], y[test])

    return Task("digit halves", "top", ("bottom",), split)
