"""What rows and classes count: in every term of the loss, in the choice of the epoch, and in scores."""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate

from primo_pyro import Modalities, Objective, PrimoClassifier, PrimoModel, PrimoRegressor
from primo_pyro.data import make_xor
from primo_pyro.errors import CheckpointError, LabelError, RowError
from primo_pyro.program import Loss, stacked
from primo_pyro.weights import class_weights, row_weights
from tests.conftest import make_program, make_rows

QUICK = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 2, "num_samples": 16, "random_state": 0}
X, Y = make_xor(150, random_state=0)
HALF = X.drop_at_random("m", random_state=0)


class OwnStory(PrimoModel):
    """The package's story by another name, which is told by Pyro."""

    def story(self, h, y):
        return super().story(h, y)


# --- The loss --------------------------------------------------------------------------------------------


@pytest.fixture
def _without_noise(monkeypatch):
    """Every draw of a normal distribution is its mean, so that a row's terms hang on the row alone."""
    monkeypatch.setattr(
        torch.distributions.Normal,
        "rsample",
        lambda self, shape=(): self.loc.expand(self._extended_shape(shape)),
    )
    monkeypatch.setattr(
        stacked.Normals,
        "draws",
        lambda self, num_draws: self.loc[:, None].expand(-1, num_draws, *self.loc.shape[1:]),
    )


def loss_and_gradients(loss, x, y, weights=None):
    loss.zero_grad()
    value = loss(x, torch.as_tensor(y), *(() if weights is None else (torch.as_tensor(weights),)))
    value.backward()
    return value.item(), {n: p.grad.clone() for n, p in loss.named_parameters() if p.grad is not None}


def assert_equal(one, other):
    # Sums of some ten terms of order 1 in double precision, in another order.
    assert one[0] == pytest.approx(other[0], rel=1e-12, abs=1e-12)
    for name in one[1] | other[1]:
        zero = torch.zeros_like(next(g[name] for g in (one[1], other[1]) if name in g))
        torch.testing.assert_close(one[1].get(name, zero), other[1].get(name, zero), rtol=1e-9, atol=1e-11)


OBJECTIVES = {
    "importance": Objective(),
    "trace": Objective(elbo="trace", spread_penalty=0.0),
    "mean_field": Objective(elbo="mean_field", spread_penalty=0.0),
    "paper": Objective.named("paper"),
}


@pytest.mark.usefixtures("_without_noise")
@pytest.mark.parametrize("own_story", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_row_of_weight_two_is_the_row_twice_and_of_weight_zero_none(objective, own_story):
    x, y = make_rows(rows=7)
    model, guide = make_program()
    if own_story:
        model.__class__ = OwnStory
    # In evaluation mode batch normalisation is the same for each row, whatever else is in the batch.
    loss = Loss(model, guide, objective=OBJECTIVES[objective]).eval()
    repeats = np.array([1, 2, 0, 1, 2, 1, 0])
    rows = np.repeat(np.arange(7), repeats)
    weighted = loss_and_gradients(loss, x, y, repeats.astype(float))
    parts = {name: value.item() * 7 for name, value in loss.parts.items()}
    assert_equal(weighted, loss_and_gradients(loss, x[rows], y[rows]))
    assert parts == pytest.approx({name: value.item() * len(rows) for name, value in loss.parts.items()})
    assert_equal(loss_and_gradients(loss, x, y), loss_and_gradients(loss, x, y, np.ones(7)))


def test_weights_without_latents():
    x, y = make_rows(rows=6, optional=())
    loss = Loss(*make_program(optional=()), objective=Objective())
    assert_equal(
        loss_and_gradients(loss, x, y, np.array([2.0, 1, 1, 1, 1, 0])),
        loss_and_gradients(loss, x[[0, 0, 1, 2, 3, 4]], y[[0, 0, 1, 2, 3, 4]]),
    )


# --- Weights as users give them ----------------------------------------------------------------------------


def test_weights_have_mean_one():
    weights = row_weights(np.array([0, 2, 4]), 3, np.array([1.0, 3.0, 1.0]))
    assert weights == pytest.approx([0.0, 1.8, 1.2])
    assert row_weights(None, 3) is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], r"shape \[2\]; expected one number for each of 3 rows"),
        ([[1], [1], [1]], r"shape \[3, 1\]"),
        ([1, -2, 1], "is -2 in row 1 and unusable in 1 of 3 rows"),
        ([1, 1, np.nan], "is nan in row 2"),
        ([0, 0, 0], "weights of all 3 rows are zero"),
        (["a", "b", "c"], "cannot be read as numbers"),
    ],
)
def test_weights_that_cannot_be_used(weights, message):
    with pytest.raises(RowError, match=message):
        row_weights(weights, 3)


def test_class_weights_are_those_of_scikit_learn():
    classes, y = np.array(["a", "b", "c"]), np.array(["a"] * 6 + ["b"] * 3 + ["c"])
    assert class_weights("balanced", classes, y) == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert class_weights({"b": 5}, classes, y).tolist() == [1, 5, 1]
    assert class_weights(None, classes, y) is None
    for wrong in ({"z": 1}, "even", {"a": -1.0}, {"a": 0}, 3):
        with pytest.raises(RowError, match="class_weight"):
            class_weights(wrong, classes, y)


def test_a_class_weight_is_for_one_class_a_row():
    with pytest.raises(LabelError, match=r"expected one class a row.*sample_weight"):
        PrimoClassifier(**QUICK, outcome="multilabel", class_weight="balanced").fit(
            HALF, np.stack([Y, 1 - Y], 1)
        )


def assert_same_parameters(one, other, same=True):
    pairs = zip(one.model_.parameters(), other.model_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs) == same


def test_only_ratios_matter_and_equal_weights_are_none():
    plain = PrimoClassifier(**QUICK).fit(HALF, Y)
    assert_same_parameters(plain, PrimoClassifier(**QUICK).fit(HALF, Y, sample_weight=np.full(150, 0.5)))
    uneven = np.where(Y == 1, 3.0, 1.0)
    weighted = PrimoClassifier(**QUICK).fit(HALF, Y, sample_weight=uneven)
    assert_same_parameters(plain, weighted, same=False)
    assert_same_parameters(weighted, PrimoClassifier(**QUICK, class_weight={1: 3}).fit(HALF, Y))
    assert_same_parameters(weighted, PrimoClassifier(**QUICK).fit(HALF, Y, sample_weight=uneven * 10))


@pytest.mark.parametrize("estimator", [PrimoClassifier, PrimoRegressor])
def test_predictions_are_of_the_weighted_population(estimator):
    """Labels that nothing tells: the prediction is the weighted mean of the labels."""
    random = np.random.default_rng(0)
    x = Modalities({"o": random.normal(size=(400, 1)), "m": random.normal(size=(400, 1))})
    y = random.permutation(np.arange(400) % 2)
    fitted = estimator(
        latent_dim=1, hidden_dim=8, max_epochs=15, learning_rate=2e-2, random_state=0, optional=("m",)
    ).fit(x, y, sample_weight=np.where(y == 1, 4.0, 1.0))
    p = fitted.predict_proba(x)[:, 1] if estimator is PrimoClassifier else fitted.predict(x)
    assert p.mean() == pytest.approx(0.8, abs=0.08)  # 40 validation rows: a standard error of 0.06


def test_validation_rows_are_weighted():
    weights = np.where(Y[:50] == 1, 9.0, 1.0)
    clf = PrimoClassifier(**QUICK).fit(HALF[50:], Y[50:], validation=(HALF[:50], Y[:50], weights))
    losses = clf._validation_scores(HALF[:50], Y[:50])["val_log_loss"]
    kept = clf.history_["val_log_loss"]
    assert np.isclose(kept, np.average(losses, weights=weights), rtol=1e-5).any()
    with pytest.raises(RowError, match=r"shape \[50\]; expected one number for each of 60 rows"):
        PrimoClassifier(**QUICK).fit(HALF, Y, validation=(HALF[:60], Y[:60], weights))


def test_a_checkpoint_of_other_weights_is_refused(tmp_path):
    def kill(row):
        raise KeyboardInterrupt

    checkpoint = tmp_path / "run.ckpt"
    with pytest.raises(KeyboardInterrupt):
        PrimoClassifier(**QUICK, checkpoint=checkpoint, callbacks=[kill]).fit(HALF, Y)
    with pytest.raises(CheckpointError, match="other settings or rows"):
        PrimoClassifier(**QUICK, checkpoint=checkpoint).fit(HALF, Y, sample_weight=1.0 + Y)


# --- scikit-learn ----------------------------------------------------------------------------------------


def test_scores_are_weighted():
    clf = PrimoClassifier(**QUICK).fit(HALF, Y)
    right = clf.predict(HALF) == Y
    weights = np.random.default_rng(0).random(150)
    assert clf.score(HALF, Y, sample_weight=weights) == pytest.approx(np.average(right, weights=weights))


def test_weights_and_groups_are_routed():
    taken = []

    class Seeing(PrimoClassifier):
        def fit(self, x, y, validation=None, *, groups=None, sample_weight=None):
            taken.append((groups, sample_weight))
            return super().fit(x, y, validation, groups=groups, sample_weight=sample_weight)

    groups, weights = np.arange(150) // 5, 1.0 + Y
    with sklearn.config_context(enable_metadata_routing=True):
        clf = (
            Seeing(**QUICK)
            .set_fit_request(sample_weight=True, groups=True)
            .set_score_request(sample_weight=True)
        )
        params = {"sample_weight": weights, "groups": groups}
        cross_validate(clf, HALF, Y, cv=GroupKFold(2), params=params, error_score="raise")
        GridSearchCV(clf, {"latent_dim": [1]}, cv=GroupKFold(2), error_score="raise").fit(HALF, Y, **params)
    assert len(taken) == 5
    assert all(len(g) == len(w) and len(set(g)) < 31 for g, w in taken)


def test_balanced_weights_are_those_of_a_logistic_regression():
    """On a rare class the average probability rises as a balanced logistic regression's does."""
    random = np.random.default_rng(0)
    y = (random.random(600) < 0.1).astype(int)
    x = {"o": random.normal(size=(600, 1)) + y[:, None]}
    clf = PrimoClassifier(hidden_dim=8, max_epochs=15, random_state=0, class_weight="balanced").fit(x, y)
    rival = LogisticRegression(class_weight="balanced").fit(x["o"], y)
    # 60 rows of the class: a standard error of their mean of about 0.03 in either method's average.
    assert clf.predict_proba(x)[:, 1].mean() == pytest.approx(
        rival.predict_proba(x["o"])[:, 1].mean(), abs=0.1
    )
