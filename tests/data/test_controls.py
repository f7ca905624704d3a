"""What a trained model says where nothing is to be gained, and where half of the doubt is noise."""

import numpy as np
import pytest

from primo_pyro import PrimoClassifier
from primo_pyro.analysis.acquisition import acquisition_curves, acquisition_summary
from primo_pyro.data import make_duplicated_modality, make_half_resolvable, make_null_modality, make_xor
from primo_pyro.errors import ModalityError
from primo_pyro.program.outcomes import entropy


def fitted(make):
    x, y = make(2000, random_state=1)
    clf = PrimoClassifier(
        latent_dim=2, hidden_dim=32, max_epochs=10, learning_rate=5e-3, num_samples=128, random_state=0
    )
    return clf.fit(x.drop_at_random("m", random_state=2), y)


# What little V is measured does not fall when m is present, and ``fit`` says so.
@pytest.mark.filterwarnings("ignore:V hardly falls:primo_pyro.errors.CollapseWarning")
@pytest.mark.parametrize("make", [make_null_modality, make_duplicated_modality])
def test_nothing_to_gain_no_gap(make):
    x, _ = make(1000, random_state=3)
    gap = fitted(make).impact_gap(x)
    assert gap["gap"].mean() <= 0.02
    assert gap["realised_change"].mean() <= 0.05


def test_the_same_training_finds_a_gap_where_there_is_one():
    """Else the controls would pass with a model that learnt nothing."""
    x, _ = make_xor(1000, random_state=3)
    assert fitted(make_xor).impact_gap(x)["gap"].mean() > 0.2


def test_impact_leads_where_entropy_is_blind():
    clf = fitted(make_half_resolvable)
    x, y = make_half_resolvable(2000, random_state=3)
    now, then = clf.predict_proba(x.drop("m")), clf.predict_proba(x)
    impact = clf.predictive_impact(x.drop("m"))
    scores = {"V": impact["impact"], "gain": impact["information_gain"], "entropy": entropy(now)}
    summary = acquisition_summary(acquisition_curves(y, now, then, scores), share=0.5)
    recovered = summary.query("metric == 'log_loss'").set_index("score")["recovered"]
    assert recovered["V"] >= 0.9
    assert recovered["gain"] >= 0.9
    assert recovered["random"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("make", [make_null_modality, make_duplicated_modality, make_half_resolvable])
def test_rows_follow_the_seed(make):
    (a, y_a), (b, y_b), (c, _) = make(50, 1), make(50, 1), make(50, 2)
    assert (a.values["m"] == b.values["m"]).all()
    assert (y_a == y_b).all()
    assert (a.values["m"] != c.values["m"]).any()
    with pytest.raises(ModalityError, match="at least 1"):
        make(0)


def test_labels_have_the_stated_probabilities():
    x, y = make_half_resolvable(20_000)
    noise = x.values["o"][:, 0] == -1
    positive = x.values["m"][:, 0] > 0
    # Standard errors of the shares are at most 0.5 / sqrt(5000) = 0.007; 4 of them.
    assert noise.mean() == pytest.approx(0.5, abs=0.03)
    for part in (noise & positive, noise & ~positive):
        assert y[part].mean() == pytest.approx(0.5, abs=0.03)
    x, y = make_null_modality(20_000)
    p = 1 / (1 + np.exp(-2 * x.values["o"][:, 0]))
    assert np.mean(y - p) == pytest.approx(0, abs=0.015)
    assert np.mean((y - p) * x.values["m"][:, 0]) == pytest.approx(0, abs=0.015)
