"""Rows of weak signals: their labels, and their exact impact against simulation."""

import numpy as np
import pytest
from scipy.special import expit

from primo_pyro import Modalities
from primo_pyro.data import make_weak_signals, weak_signals_impact
from primo_pyro.data.weak_signals import OPTIONAL, STRENGTH
from primo_pyro.errors import ModalityError


def test_labels_follow_the_exponent():
    x, y = make_weak_signals(20_000, random_state=0)
    exponent = x.values["o"].sum(1) / 2 + STRENGTH * sum(x.values[m].sum(1) for m in OPTIONAL) / 2
    for low, high in ((-np.inf, -1), (-1, 0), (0, 1), (1, np.inf)):
        rows = (low < exponent) & (exponent <= high)
        # Shares of at least 2,000 rows: a standard error is at most .011.
        assert abs(y[rows].mean() - expit(exponent[rows]).mean()) < 4 * 0.011


@pytest.mark.parametrize("present", [(), ("m2",), ("m2", "m3")])
@pytest.mark.parametrize("asked", [("m1",), ("m1", "m4"), OPTIONAL])
def test_impact_is_what_simulated_blocks_do(present, asked):
    """What is asked about is drawn 200,000 times, and what stays absent averaged by its exact mean."""
    random = np.random.default_rng(0)
    x, _ = make_weak_signals(3, random_state=1)
    x = x.drop(*[m for m in OPTIONAL if m not in present])
    known = x.values["o"].sum(1) / 2 + STRENGTH * sum((x.values[m].sum(1) / 2 for m in present), np.zeros(3))
    revealed = [m for m in asked if m not in present]
    left = len(OPTIONAL) - len(present) - len(revealed)
    draws = random.normal(size=(200_000, 1)) * np.sqrt(len(revealed)) * STRENGTH
    rest = random.normal(size=(2_000,)) * np.sqrt(left) * STRENGTH

    def probability(exponent):
        """Over a grid, since it is smooth: exact means at each point of 2,000 draws cost too much."""
        grid = np.linspace(exponent.min(), exponent.max(), 400)
        return np.interp(exponent, grid, expit(grid[:, None] + rest).mean(1))

    after = probability(known + draws)
    simulated = np.abs(after - after.mean(0)).mean(0)
    # V is at most .5 and varies by less: draws give .001, and the 2,000 of the rest shift all alike.
    np.testing.assert_allclose(weak_signals_impact(x, asked), simulated, atol=0.003)


def test_what_is_present_has_no_impact():
    x, _ = make_weak_signals(10)
    np.testing.assert_allclose(weak_signals_impact(x, OPTIONAL), 0, atol=1e-12)


def test_wrong_calls_are_refused():
    with pytest.raises(ModalityError, match="expected at least 1"):
        make_weak_signals(0)
    with pytest.raises(ModalityError, match="expected one of"):
        weak_signals_impact(Modalities({"o": np.zeros((1, 4))}), "m5")
