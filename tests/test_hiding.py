"""V of what a row had and was hidden of it: that and nothing else is asked about."""

import numpy as np
import pytest

from primo_pyro import Modalities, PrimoClassifier

# Networks compute in single precision, whose rounding depends on the batch.
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="module")
def fitted():
    """Rows that have both optional modalities, one of them, or the other, and a classifier."""
    random = np.random.default_rng(0)
    o, a, b = random.normal(size=(3, 180))
    x, y = Modalities({"o": o, "a": a, "b": b}), (o + a + b > 0).astype(int)
    x = x.drop("a", where=np.arange(180) % 3 == 1).drop("b", where=np.arange(180) % 3 == 2)
    clf = PrimoClassifier(hidden_dim=16, max_epochs=3, learning_rate=1e-2, num_samples=64, random_state=0)
    return clf.fit(x, y), x


def test_each_row_is_asked_about_what_it_can_reveal(fitted):
    clf, x = fitted
    gap = clf.impact_gap(x)
    both, only_b, only_a = (np.arange(180) % 3 == kind for kind in range(3))
    for rows, about in ((both, ["a", "b"]), (only_b, "b"), (only_a, "a")):
        expected = clf.impact_gap(x[rows], about)
        for column in expected:
            np.testing.assert_allclose(gap[column][rows], expected[column], **CLOSE)


def test_calibration_of_all_together_is_learnt_from_these(fitted):
    clf, x = fitted
    clf.calibrate_impact(x)
    gap = clf.impact_gap(x)
    expected = clf.impact_calibrators_[None].predict(gap["impact_missing"])
    # Isotonic regression keeps the mean of what it was fitted to.
    assert expected.mean() == pytest.approx(gap["realised_change"].mean(), abs=1e-3)
