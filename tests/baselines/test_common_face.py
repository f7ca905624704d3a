"""What holds for every estimator: PRIMO and whatever it is compared with."""

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from torch import nn

import primo_pyro
from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor, baselines
from primo_pyro.baselines.generative import LatentClassifier
from primo_pyro.errors import LabelError, ModalityError
from primo_pyro.estimator import ModalityEstimator
from primo_pyro.program.outcomes import total_variation
from tests.conftest import subclasses

SMALL = {"hidden_dim": 8, "max_epochs": 2, "batch_size": 16, "random_state": 0}
PRIMO = {
    "primo": PrimoClassifier(latent_dim=2, num_samples=16, **SMALL),
    "primo, ordered classes": PrimoClassifier(outcome="ordinal", latent_dim=2, num_samples=16, **SMALL),
    "primo, several labels": PrimoClassifier(outcome="multilabel", latent_dim=2, num_samples=16, **SMALL),
    "primo, numbers": PrimoRegressor(latent_dim=2, num_samples=16, **SMALL),
}
NETWORKS = {
    "unimodal": baselines.UnimodalClassifier("o", **SMALL),
    "multimodal": baselines.MultimodalClassifier(**SMALL),
    "multimodal, all rows": baselines.MultimodalClassifier(rows="all", **SMALL),
    "i2m2": baselines.I2M2Classifier(**SMALL),
    "mvae": baselines.MVAEClassifier(**SMALL),
    "mmvae": baselines.MMVAEClassifier(**SMALL),
    "cmmd": baselines.CMMDClassifier(**SMALL),
    "lvae": baselines.LVAEClassifier(**SMALL),
    "value network": baselines.ValueNetworkClassifier(**SMALL),
}
TREES = {
    "mean": baselines.ImputationClassifier(imputer="mean", max_iter=5, random_state=0),
    "iterative": baselines.ImputationClassifier(imputer="iterative", max_iter=5, random_state=0),
    "knn": baselines.ImputationClassifier(imputer="knn", n_neighbors=3, max_iter=5, random_state=0),
    "nan": baselines.ImputationClassifier(max_iter=5, random_state=0),
    "stacking": baselines.StackingClassifier(max_iter=5, folds=2, random_state=0),
}
LATENT = {name: c for name, c in NETWORKS.items() if isinstance(c, LatentClassifier)}

EVERYONE = PRIMO | NETWORKS | TREES
OTHERS = {
    baselines.FrequencyClassifier,
    baselines.NeighbourCompletions,
    primo_pyro.TableReader,
}  # look at no modality; estimate no label

networks = pytest.mark.parametrize("name", PRIMO | NETWORKS)
latent = pytest.mark.parametrize("name", LATENT)
everyone = pytest.mark.parametrize("name", EVERYONE)
classifiers = pytest.mark.parametrize("name", NETWORKS | TREES | {"primo": PRIMO["primo"]})


def test_every_estimator_is_tested():
    """Whatever is public, so that a new one passes through all that is below."""
    public = {getattr(module, name) for module in (primo_pyro, baselines) for name in module.__all__}
    tested = {type(estimator) for estimator in EVERYONE.values()}
    assert tested == subclasses(ModalityEstimator) & public
    assert {it for it in public if isinstance(it, type) and hasattr(it, "fit")} == tested | OTHERS


def labels_for(name, y):
    """Labels of the kind that an estimator takes, out of classes 0, 1 and 2."""
    if name == "primo, several labels":
        return np.eye(3, dtype=int)[y]
    return y / 2 if name == "primo, numbers" else y


def fitted(name, x, y, **settings):
    return clone(EVERYONE[name]).set_params(**settings).fit(x, labels_for(name, y))


def predicted(estimator, x):
    return estimator.predict(x) if is_regressor(estimator) else estimator.predict_proba(x)


def networks_of(estimator):
    """All that is trained and kept."""
    if hasattr(estimator, "program_"):
        return estimator.program_
    return nn.ModuleList([estimator.model_, estimator.guide_])


@networks
def test_gradients_reach_every_parameter(name, rows):
    x, y = rows
    classifier = fitted(name, x, y)
    usable = classifier._usable(x)
    loss = classifier._make_loss().train()
    codes = torch.as_tensor(classifier.labels_.encode(labels_for(name, y))[usable])
    loss(classifier._as_modalities(x)[usable], codes).backward()
    for parameter, value in loss.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().sum() > 0, parameter


@networks
def test_training_moves_every_parameter_in_a_second_instance_too(name, rows):
    x, y = rows
    first = fitted(name, x, y)
    longer = fitted(name, x, y, max_epochs=3, validation_fraction=0.0)
    untrained = fitted(name, x, y, max_epochs=0, validation_fraction=0.0, patience=None)
    moved = dict(networks_of(longer).named_parameters())
    for parameter, value in networks_of(untrained).named_parameters():
        assert not torch.equal(value, moved[parameter]), parameter
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
        asked = other[~absent] if name == "multimodal" else other
        predictions.append(predicted(classifier, asked))
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
        predicted(classifier, x)[order], predicted(classifier, x[order]), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(predicted(classifier, x[:1]), predicted(classifier, x)[:1], atol=1e-5)


@classifiers
def test_face(name, rows):
    x, y = rows
    labels = np.array(["cat", "dog", "hen"])[y]
    classifier = fitted(name, x, labels)
    complete = x[x.complete]
    p = classifier.predict_proba(complete)
    assert p.shape == (24, 3)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert set(classifier.predict(complete)) <= set(labels)
    assert classifier.classes_.tolist() == ["cat", "dog", "hen"]
    assert "val_log_loss" in classifier.history_
    if name in NETWORKS:
        assert len(classifier.latents(complete)) == 24


@everyone
def test_validation_rows_of_ones_own(name, rows):
    x, y = rows
    y = labels_for(name, y)
    classifier = clone(EVERYONE[name]).fit(x, y, validation=(x, y))
    assert len(classifier.history_) >= 1


@everyone
def test_same_seed_same_predictions_and_no_touch_on_global_state(name, rows):
    x, y = rows
    before = torch.random.get_rng_state()
    complete = x[x.complete]
    first, second = (predicted(fitted(name, x, y), complete) for _ in range(2))
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


@pytest.mark.parametrize("name", [n for n in PRIMO | NETWORKS if n not in ("unimodal", "multimodal")])
def test_series_and_images(name):
    random = np.random.default_rng(0)
    x = Modalities(
        {
            "table": random.normal(size=(24, 3)),
            "series": random.normal(size=(24, 5, 2)),
            "image": random.integers(0, 256, size=(24, 1, 8, 8)).astype(np.uint8),
        }
    ).drop_at_random("series", "image", random_state=0)
    classifier = fitted(name, x, np.arange(24) % 3, max_epochs=1)
    p = predicted(classifier, x)
    assert p.shape == ((24,) if is_regressor(classifier) else (24, 3))
    assert np.isfinite(p).all()
    if name in NETWORKS:
        assert len(classifier.latents(x)) == 24


@everyone
def test_wrong_labels_and_modalities_are_refused(name, rows):
    x, y = rows
    classifier, y = clone(EVERYONE[name]), labels_for(name, y)
    with pytest.raises(LabelError, match="48 rows and y 47"):
        classifier.fit(x, y[1:])
    with pytest.raises(LabelError, match="target y is None"):
        classifier.fit(x, None)
    wrong = Modalities({"o": np.zeros((2, 4)), "m": np.zeros((2, 2))})
    with pytest.raises(ModalityError, match=r"shape \[4\].*trained on \[3\]"):
        classifier.fit(x, y).predict(wrong)


@classifiers
def test_a_single_class_is_refused(name, rows):
    with pytest.raises(LabelError, match="one class only"):
        clone(EVERYONE[name]).fit(rows[0], np.zeros(48))


@everyone
def test_nothing_is_predicted_before_fit(name, rows):
    with pytest.raises(NotFittedError):
        clone(EVERYONE[name]).predict(rows[0])
