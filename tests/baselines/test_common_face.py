"""What holds for every baseline."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from primo_pyro import Modalities
from primo_pyro.baselines import (
    CMMDClassifier,
    I2M2Classifier,
    ImputationClassifier,
    LVAEClassifier,
    MMVAEClassifier,
    MultimodalClassifier,
    MVAEClassifier,
    StackingClassifier,
    UnimodalClassifier,
    ValueNetworkClassifier,
)
from primo_pyro.baselines.generative import LatentClassifier
from primo_pyro.errors import LabelError, ModalityError
from primo_pyro.program.outcomes import total_variation

SMALL = {"hidden_dim": 8, "max_epochs": 2, "batch_size": 16, "random_state": 0}
NETWORKS = {
    "unimodal": UnimodalClassifier("o", **SMALL),
    "multimodal": MultimodalClassifier(**SMALL),
    "multimodal, all rows": MultimodalClassifier(rows="all", **SMALL),
    "i2m2": I2M2Classifier(**SMALL),
    "mvae": MVAEClassifier(**SMALL),
    "mmvae": MMVAEClassifier(**SMALL),
    "cmmd": CMMDClassifier(**SMALL),
    "lvae": LVAEClassifier(**SMALL),
    "value network": ValueNetworkClassifier(**SMALL),
}
TREES = {
    "mean": ImputationClassifier(imputer="mean", max_iter=5, random_state=0),
    "iterative": ImputationClassifier(imputer="iterative", max_iter=5, random_state=0),
    "knn": ImputationClassifier(imputer="knn", n_neighbors=3, max_iter=5, random_state=0),
    "nan": ImputationClassifier(max_iter=5, random_state=0),
    "stacking": StackingClassifier(max_iter=5, folds=2, random_state=0),
}
LATENT = {name: c for name, c in NETWORKS.items() if isinstance(c, LatentClassifier)}

networks = pytest.mark.parametrize("name", NETWORKS)
latent = pytest.mark.parametrize("name", LATENT)
everyone = pytest.mark.parametrize("name", NETWORKS | TREES)


def fitted(name, x, y):
    return clone((NETWORKS | TREES)[name]).fit(x, y)


@networks
def test_gradients_reach_every_parameter(name, rows):
    x, y = rows
    classifier = fitted(name, x, y)
    usable = classifier._usable(x)
    classifier.program_.train()
    loss = classifier.program_(classifier._as_modalities(x)[usable], torch.as_tensor(y[usable]))
    loss.backward()
    for parameter, value in classifier.program_.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().sum() > 0, parameter


@networks
def test_training_moves_every_parameter_in_a_second_instance_too(name, rows):
    x, y = rows
    first = fitted(name, x, y)
    longer = clone((NETWORKS | TREES)[name]).set_params(max_epochs=3, validation_fraction=0.0).fit(x, y)
    untrained = clone(longer).set_params(max_epochs=0, patience=None).fit(x, y)
    for parameter, value in untrained.program_.named_parameters():
        assert not torch.equal(value, dict(longer.program_.named_parameters())[parameter]), parameter
    assert len(first.history_) >= 1


@everyone
def test_content_of_absent_rows_changes_nothing(name, rows):
    x, y = rows
    absent = ~x.present["m"]
    predictions = []
    for content in (np.nan, 0.0, 1e6):
        m = x.values["m"].copy()
        m[absent] = content
        other = Modalities({"o": x.values["o"], "m": m}, present={"m": ~absent})
        classifier = fitted(name, other, y)
        shown = other[~absent] if name == "multimodal" else other
        predictions.append(classifier.predict_proba(shown))
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[0], predictions[2])


@everyone
def test_predictions_depend_on_their_own_row_alone(name, rows):
    x, y = rows
    classifier = fitted(name, x, y)
    x = x[x.complete]
    order = np.random.default_rng(1).permutation(len(x))
    # Matrix products of other sizes round differently in single precision.
    np.testing.assert_allclose(
        classifier.predict_proba(x)[order], classifier.predict_proba(x[order]), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(classifier.predict_proba(x[:1]), classifier.predict_proba(x)[:1], atol=1e-5)


@everyone
def test_face(name, rows):
    x, y = rows
    labels = np.array(["cat", "dog", "hen"])[y]
    classifier = fitted(name, x, labels)
    shown = x[x.complete]
    p = classifier.predict_proba(shown)
    assert p.shape == (24, 3)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert set(classifier.predict(shown)) <= set(labels)
    assert classifier.classes_.tolist() == ["cat", "dog", "hen"]
    assert "val_log_loss" in classifier.history_
    if name in NETWORKS:
        assert len(classifier.latents(shown)) == 24


@everyone
def test_validation_rows_of_ones_own(name, rows):
    x, y = rows
    classifier = clone((NETWORKS | TREES)[name]).fit(x, y, validation=(x, y))
    assert len(classifier.history_) >= 1


@everyone
def test_same_seed_same_predictions_and_no_touch_on_global_state(name, rows):
    x, y = rows
    before = torch.random.get_rng_state()
    shown = x[x.complete]
    first, second = (fitted(name, x, y).predict_proba(shown) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


@latent
def test_average_of_draws_is_the_prediction_and_their_spread_is_V(name, rows):
    x, y = rows
    classifier = fitted(name, x, y)
    draws = classifier.sample_predictions(x)
    assert draws.shape == (classifier.num_samples, len(x), 3)
    np.testing.assert_allclose(draws.mean(0), classifier.predict_proba(x), atol=1e-12)
    np.testing.assert_allclose(
        classifier.predictive_impact(x)["impact"], total_variation(draws, draws.mean(0)).mean(0), atol=1e-12
    )
    assert classifier.sample_predictions(x, num_samples=5).shape == (5, len(x), 3)
    summary = classifier.summarise(x)
    np.testing.assert_array_equal(summary.probabilities, classifier.predict_proba(x))
    np.testing.assert_array_equal(summary.impact, classifier.predictive_impact(x)["impact"])


@latent
def test_latents_are_those_of_the_same_draws(name, rows):
    x, y = rows
    classifier = fitted(name, x, y)
    x = x[x.complete]
    z = classifier.sample_latents(x, num_samples=64)
    assert z.shape == (64, len(x), 2)
    if name != "lvae":  # the label hangs on z alone
        p = classifier.model_.likelihood(torch.as_tensor(z, dtype=torch.float32)).softmax(-1)
        np.testing.assert_allclose(
            p.detach().numpy(), classifier.sample_predictions(x, num_samples=64), atol=1e-5
        )
    # 64 Sobol points in 8 replicates: their mean is off by less than 64 ** -0.5 standard deviations, and
    # the mixture's draws fall on either expert alike.
    error = z.mean(0) - classifier.latents(x)
    assert (np.abs(error) < z.std(0) * 64**-0.5 + 1e-6).mean() > 0.9


@pytest.mark.parametrize(
    "name", ["multimodal, all rows", "i2m2", "mvae", "mmvae", "cmmd", "lvae", "value network"]
)
def test_series_and_images(name):
    random = np.random.default_rng(0)
    x = Modalities(
        {
            "table": random.normal(size=(24, 3)),
            "series": random.normal(size=(24, 5, 2)),
            "image": random.integers(0, 256, size=(24, 1, 8, 8)).astype(np.uint8),
        }
    ).drop_at_random("series", "image", random_state=0)
    y = np.arange(24) % 2
    classifier = clone(NETWORKS[name]).set_params(max_epochs=1).fit(x, y)
    p = classifier.predict_proba(x)
    assert p.shape == (24, 2)
    assert np.isfinite(p).all()
    assert len(classifier.latents(x)) == 24


@everyone
def test_wrong_labels_and_modalities_are_refused(name, rows):
    x, y = rows
    classifier = clone((NETWORKS | TREES)[name])
    with pytest.raises(LabelError, match="one class only"):
        classifier.fit(x, np.zeros(48))
    with pytest.raises(LabelError, match="48 rows and y 47"):
        classifier.fit(x, y[1:])
    wrong = Modalities({"o": np.zeros((2, 4)), "m": np.zeros((2, 2))})
    with pytest.raises(ModalityError, match=r"shape \[4\].*trained on \[3\]"):
        classifier.fit(x, y).predict_proba(wrong)
