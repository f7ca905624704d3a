"""Entropy and nearest-neighbour completions."""

import numpy as np
import pytest

from primo_pyro import Modalities
from primo_pyro.baselines import NeighbourCompletions, impact_rivals, prediction_entropy
from primo_pyro.data import make_xor, xor_impact
from primo_pyro.errors import ModalityError


class Truth:
    """Knows XOR."""

    def predict_proba(self, x):
        y = (x.values["o"] > 0) ^ (x.values["m"] > 0)
        return np.hstack([~y, y]).astype(float)


def test_completions_by_hand():
    x = Modalities({"o": [-1.0, -1.1, -1.2, 9.0], "m": [1.0, 1.0, -1.0, -1.0]})
    rival = NeighbourCompletions(Truth(), "m", n_neighbors=3).fit(x)
    # Labels 1, 1, 0: mean 2/3; distances 1/3, 1/3, 2/3.
    assert rival.predictive_impact(Modalities({"o": [-1.05]}))["impact"][0] == pytest.approx(4 / 9)


def test_chunks_of_rows_change_nothing(monkeypatch):
    x, _ = make_xor(300, random_state=0)
    rival = NeighbourCompletions(Truth(), "m", n_neighbors=10).fit(x)
    whole = rival.predictive_impact(x)
    monkeypatch.setattr(impact_rivals, "ROWS_PREDICTED", 70)
    np.testing.assert_array_equal(rival.predictive_impact(x), whole)


def test_completions_find_the_exact_impact_where_x_o_is_one_number():
    x, _ = make_xor(20_000, random_state=0)
    rival = NeighbourCompletions(Truth(), "m", n_neighbors=100).fit(x.drop_at_random("m", random_state=0))
    test, _ = make_xor(500, random_state=1)
    error = np.abs(rival.predictive_impact(test)["impact"] - xor_impact(test.values["o"])).mean()
    # 2 p (1 - p) from 100 draws: bias at most 0.005; standard deviation 2 |1 - 2 p| sqrt(p (1 - p) / 100),
    # next to none at 1/2, and at p = 0.96, where the other third of the rows is, 0.036.
    assert error < 0.03


def test_a_present_modality_is_not_looked_at():
    x, _ = make_xor(300, random_state=0)
    rival = NeighbourCompletions(Truth(), "m", n_neighbors=10).fit(x)
    np.testing.assert_array_equal(rival.predictive_impact(x), rival.predictive_impact(x.drop("m")))


def test_entropy_of_a_prediction():
    class Fixed:
        def predict_proba(self, x):
            return np.array([[1.0, 0.0], [0.5, 0.5]])

    np.testing.assert_allclose(prediction_entropy(Fixed(), None)["impact"], [0, np.log(2)])


def test_what_is_refused():
    x, _ = make_xor(30, random_state=0)
    with pytest.raises(ModalityError, match="needs observed modalities and optional ones"):
        NeighbourCompletions(Truth(), "nose").fit(x)
    with pytest.raises(ModalityError, match="30 training rows have every modality; expected at least 50"):
        NeighbourCompletions(Truth(), "m").fit(x)
    with pytest.raises(ModalityError, match="needs modality 'o' in every row"):
        NeighbourCompletions(Truth(), "m", n_neighbors=5).fit(x).predictive_impact(x.drop("o"))
