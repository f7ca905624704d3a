"""V's companions, on arrays and through the classifier."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from primo_pyro import Modalities, PrimoClassifier, primo
from primo_pyro.analysis.acquisition import rank_acquisitions
from primo_pyro.analysis.calibration import impact_calibration
from primo_pyro.analysis.impact import impact_bounds, impact_frame, uncertainty
from primo_pyro.data import make_xor
from primo_pyro.errors import CostError, DrawsError, ModalityError, ToleranceWarning
from primo_pyro.prediction import stream_draws, summarise_draws
from primo_pyro.program.outcomes import Categorical, entropy, total_variation

# --- Arrays --------------------------------------------------------------------------------------------


def completions(random, rows, draws, classes):
    """Predictions of a model whose prior is the mixture of its completions: draws ``[K, N, C]`` all alike."""
    return random.dirichlet(np.ones(classes), size=(draws, rows))


def test_arrays_and_tensors_agree():
    p, r = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 7))
    assert total_variation(p, r) == pytest.approx(total_variation(torch.tensor(p), torch.tensor(r)).numpy())
    assert entropy(p) == pytest.approx(entropy(torch.tensor(p)).numpy())


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_normalised_impact_is_one_where_every_label_is_as_likely(classes):
    certain = torch.eye(classes)[:, None]  # as many draws as classes of one row
    frame = impact_frame(summarise_draws(certain), Categorical(classes))
    assert frame["impact_normalised"].item() == pytest.approx(1)
    assert frame["impact"].item() == pytest.approx(1 - 1 / classes)


def test_uncertainty_adds_up():
    p = completions(np.random.default_rng(0), rows=50, draws=100, classes=3)
    gain = entropy(p.mean(0)) - entropy(p).mean(0)
    parts = uncertainty(p.mean(0), gain)
    np.testing.assert_allclose(parts["total"], parts["aleatoric"] + parts["resolvable"])
    np.testing.assert_allclose(parts["aleatoric"], entropy(p).mean(0))


def test_bounds_hold_where_the_prior_is_the_mixture_of_its_completions():
    """Each row's completion is one of its own draws, with some spread left: the assumption holds exactly."""
    random = np.random.default_rng(0)
    rows, spread = 4000, 0.1
    centres = completions(random, rows, 30, 3)
    draws = (1 - spread) * centres + spread * completions(random, rows, 30, 3)
    now = (1 - spread) * centres.mean(0) + spread / 3
    v_missing = total_variation(draws, now).mean(0)
    then = (1 - spread) * centres[random.integers(30, size=rows), np.arange(rows)] + spread / 3
    v_complete = np.full(rows, spread * total_variation(completions(random, 1, 10_000, 3), 1 / 3).mean())
    frame = impact_bounds(v_missing, v_complete, now, then, bins=5)
    assert frame["rows"].sum() == rows
    assert (frame["violation"] <= 3 * frame["realised_se"]).all()
    # Over three classes a distance of chance exceeds 3 times its expectation in far less than 1 of 100
    # groups.
    assert (frame["drift"] < 3 * frame["drift_noise"]).all()


def test_bounds_report_a_prior_that_is_too_narrow():
    now, then = np.full((400, 2), 0.5), np.tile([[1.0, 0.0], [0.0, 1.0]], (200, 1))
    frame = impact_bounds(np.full(400, 0.1), np.zeros(400), now, then, bins=1)
    assert frame["violation"].item() == pytest.approx(0.4)
    drifting = impact_bounds(np.full(400, 0.1), np.zeros(400), now, np.tile([0.6, 0.4], (400, 1)), bins=1)
    assert drifting["drift"].item() == pytest.approx(0.1)
    assert drifting["drift_noise"].item() == pytest.approx(0)


def test_bounds_want_the_same_rows():
    with pytest.raises(DrawsError, match="same rows"):
        impact_bounds(np.zeros(3), np.zeros(3), np.ones((3, 2)), np.ones((4, 2)))


# --- Through the classifier ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def xor():
    x, y = make_xor(1500, random_state=0)
    clf = PrimoClassifier(
        latent_dim=2, hidden_dim=32, max_epochs=12, learning_rate=5e-3, num_samples=64, random_state=0
    )
    return clf.fit(x.drop_at_random("m", random_state=1), y)


@pytest.fixture(scope="module")
def two_optional():
    random = np.random.default_rng(0)
    a, b, o = random.normal(size=(3, 200))
    x = Modalities({"o": o, "a": a, "b": b})
    y = (a + 0.3 * b + 0.1 * o > 0).astype(int)
    clf = PrimoClassifier(latent_dim=1, hidden_dim=8, max_epochs=2, num_samples=16, random_state=0)
    return clf.fit(x.drop_at_random("a", "b", random_state=0), y), x


def test_tolerance_adds_draws_only_where_they_are_wanted(xor):
    x = make_xor(100, random_state=2)[0].drop("m")
    plain = xor.predictive_impact(x)
    tolerance = plain["impact_se"].median()
    tight = xor.predictive_impact(x, tolerance=tolerance)
    assert (tight["impact_se"] <= tolerance).all()
    enough = plain["impact_se"] <= tolerance
    assert (tight[enough] == plain[enough]).all(axis=None)
    # Both estimate the same V: they differ by their errors, whose estimate has 7 degrees of freedom.
    assert (abs(tight["impact"] - plain["impact"]) < 6 * plain["impact_se"] + 1e-6).all()


def test_a_tolerance_out_of_reach_is_said(xor):
    with pytest.warns(ToleranceWarning, match="2 of 2 rows"):
        xor.predictive_impact(make_xor(2)[0].drop("m"), tolerance=1e-12)


def test_calibrated_impact_means_what_it_says(xor):
    """Over new rows the mean realised change is that expected, within errors of both samples of 2,000."""
    assert "expected_change" not in xor.predictive_impact(make_xor(5)[0].drop("m"))
    xor.calibrate_impact(make_xor(2000, random_state=3)[0])
    x, _ = make_xor(2000, random_state=4)
    realised = xor.impact_gap(x)["realised_change"]
    expected = xor.predictive_impact(x.drop("m"))["expected_change"]
    error = realised.std() * np.sqrt(2 / 2000)
    assert expected.mean() == pytest.approx(realised.mean(), abs=4 * error)
    assert impact_calibration(expected, realised)["slope"] == pytest.approx(1, abs=0.15)
    assert (xor.predictive_impact(x)["expected_change"] == 0).all()


def test_training_anew_forgets_the_calibration(two_optional):
    clf, x = two_optional
    clf.calibrate_impact(x)
    assert set(clf.impact_calibrators_) == {None, "a", "b"}
    assert "expected_change" in clf.predictive_impact(x.drop("a"))
    clf.fit(x.drop_at_random("a", "b", random_state=0), np.arange(len(x)) % 2)
    assert "expected_change" not in clf.predictive_impact(x.drop("a"))


def test_without_an_optional_modality_there_is_nothing_to_calibrate():
    x, y = make_xor(60)
    clf = PrimoClassifier(hidden_dim=4, max_epochs=1, num_samples=8, random_state=0).fit(x, y)
    with pytest.raises(ModalityError, match="is optional"):
        clf.calibrate_impact(x)
    assert (clf.predictive_impact(x)["impact"] < 1e-6).all()
    assert (clf.plausible_label_shares(x).max(axis=1) == 1).all()


def test_acquisitions_are_ranked_by_change_per_cost(two_optional):
    clf, x = two_optional
    x = x[:20].drop("a", where=np.arange(20) < 10).drop("b", where=np.arange(20) >= 5)
    ranked = clf.rank_acquisitions(x, {"a": 2.0, "b": np.linspace(1, 3, 20)})
    assert len(ranked) == 10 + 15
    assert set(ranked.loc[ranked["modality"] == "a", "row"]) == set(range(10))
    assert ranked["change_per_cost"].is_monotonic_decreasing
    np.testing.assert_allclose(ranked["change_per_cost"], ranked["impact"] / ranked["cost"])
    b = ranked.query("modality == 'b'")
    np.testing.assert_allclose(b["cost"], np.linspace(1, 3, 20)[b["row"]])


def test_rows_that_are_expected_to_change_alike_are_ranked_by_their_impact():
    impact = pd.DataFrame(
        {"impact": [0.1, 0.3, 0.2], "information_gain": 0.0, "expected_change": [0.2, 0.2, 0.4]}
    )
    ranked = rank_acquisitions({("gas",): np.arange(3)}, {("gas",): impact}, None, rows=3)
    assert ranked["row"].tolist() == [2, 1, 0]


@pytest.mark.parametrize("costs", [{"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": [1.0, 2.0]}])
def test_costs_that_cannot_be_used(two_optional, costs):
    clf, x = two_optional
    with pytest.raises(CostError, match="'b'"):
        clf.rank_acquisitions(x.drop("b"), costs)


def test_nothing_to_acquire(two_optional):
    clf, x = two_optional
    with pytest.raises(ModalityError, match="nothing can be acquired"):
        clf.rank_acquisitions(x)


def test_uncertainty_of_predictions(xor):
    x = make_xor(50, random_state=5)[0].drop("m")
    parts = xor.uncertainty(x)
    np.testing.assert_allclose(parts["total"], entropy(xor.predict_proba(x)))
    np.testing.assert_allclose(parts["resolvable"], xor.predictive_impact(x)["information_gain"])


def test_plausible_labels_in_chunks_are_those_of_all_rows(xor, monkeypatch):
    x = make_xor(30, random_state=6)[0].drop("m")
    whole = xor.plausible_labels(x)
    monkeypatch.setattr(primo, "stream_draws", partial(stream_draws, max_cells=7 * xor.num_samples))
    parts = xor.plausible_labels(x)
    assert parts["row"].tolist() == whole["row"].tolist()
    np.testing.assert_allclose(parts["weight"], whole["weight"], atol=1e-3)  # logits are of single precision
    shares = xor.plausible_label_shares(x, by="weight")
    assert shares.shape == (30, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


# --- Single draws --------------------------------------------------------------------------------------


def test_a_summary_is_prediction_and_impact_in_one(xor):
    x = make_xor(50, random_state=7)[0].drop("m")
    summary, impact = xor.summarise(x), xor.predictive_impact(x)
    np.testing.assert_array_equal(summary.probabilities, xor.predict_proba(x))
    for name, column in {"impact": "impact", "impact_se": "impact_se", "flip": "flip_probability"}.items():
        np.testing.assert_array_equal(getattr(summary, name), impact[column])
    with pytest.raises(ModalityError, match="'o' has no latent"):
        xor.summarise(x, "o")


def test_draws_average_to_the_prediction_and_belong_to_their_latents(xor):
    x = make_xor(50, random_state=8)[0].drop("m")
    p, z = xor.sample_predictions(x), xor.sample_latents(x)
    assert p.shape == (xor.num_samples, 50, 2)
    np.testing.assert_allclose(p.mean(0), xor.predict_proba(x), atol=1e-6)  # logits are of single precision
    with torch.no_grad():
        logits = xor.model_.likelihood(xor.model_.encoder(x), {"m": torch.as_tensor(z)})
    np.testing.assert_allclose(logits.softmax(-1).numpy(), p, atol=1e-5)
    assert xor.sample_latents(x, num_samples=5).shape == (5, 50, z.shape[2])


def test_latents_of_several_modalities_stand_side_by_side(two_optional):
    clf, x = two_optional
    assert clf.sample_latents(x, 4).shape == (4, len(x), 2 * clf.latent_dim)


def test_without_a_latent_there_is_none_to_draw():
    x, y = make_xor(60, random_state=0)
    clf = PrimoClassifier(hidden_dim=8, max_epochs=1, random_state=0).fit(x, y)
    assert clf.sample_predictions(x, 3).shape == (3, 60, 2)
    with pytest.raises(ModalityError, match="None of the modalities"):
        clf.sample_latents(x)
