"""PrimoClassifier with ordered classes, with several labels at once, and with an outcome of a user's own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import bernoulli
from sklearn.base import clone

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis.clusters import plausible_labels
from primo_pyro.errors import DrawsError, LabelError, ModalityError, PrimoError, SavedModelError
from primo_pyro.program import Categorical, Multilabel, Ordinal, Outcome

SMALL = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 2, "num_samples": 64, "random_state": 0}
ROWS = 160
# One score for all grades takes longer to depend on the latents; 160 rows would have a strong decay.
MORE = {"ordinal": {"max_epochs": 10, "weight_decay": 1e-4}}
GRADES = ["mild", "moderate", "severe"]


class Weighted(Categorical):
    """Classes whose confusion costs differently: the distance is the cost of moving probability to c."""

    COST = torch.tensor([1.0, 1.0, 4.0], dtype=torch.float64)

    def distance(self, p, q):
        cost = self.COST.to(p) if isinstance(p, torch.Tensor) else self.COST.numpy()
        return (cost * abs(p - q)).sum(-1) / 2


def complete_rows():
    o, a, b = np.random.default_rng(0).normal(size=(3, ROWS))
    return Modalities({"o": o, "a": a, "b": b})


COMPLETE = complete_rows()
OBSERVED, FIRST, SECOND = (COMPLETE.values[name][:, 0] for name in "oab")
TOTAL = OBSERVED + 2 * FIRST + SECOND
ORDERED = pd.Series(
    pd.Categorical(np.array(GRADES)[np.digitize(TOTAL, [-1, 1])], categories=GRADES, ordered=True)
)
SEVERAL = pd.DataFrame(
    {"fever": TOTAL > 0, "cough": FIRST > 0.5, "rash": OBSERVED > 0},
).astype(int)
X = COMPLETE.drop_at_random("a", "b", random_state=0)
LABELS = {"categorical": np.asarray(ORDERED), "ordinal": ORDERED, "multilabel": SEVERAL, Weighted: ORDERED}

every = pytest.mark.parametrize("outcome", LABELS, ids=lambda o: o if isinstance(o, str) else o.__name__)


@torch.no_grad()
def sharpened(classifier):
    """Predictions that hang on the latents, as after long training."""
    for linear in classifier.model_.likelihood.from_latent.values():
        linear.weight.mul_(20)
    classifier.model_.likelihood.head[-1].weight.mul_(4)
    return classifier


@pytest.fixture(scope="module")
def fitted():
    """One classifier for each outcome."""
    return {
        outcome: sharpened(PrimoClassifier(**SMALL | MORE.get(outcome, {}), outcome=outcome).fit(X, y))
        for outcome, y in LABELS.items()
    }


def classes_of(outcome):
    return ["fever", "cough", "rash"] if outcome == "multilabel" else GRADES


# --- Prediction ------------------------------------------------------------------------------------------


@every
def test_predictions_are_labels_as_they_were_given(fitted, outcome):
    classifier = fitted[outcome]
    p, labels = classifier.predict_proba(X), classifier.predict(X)
    assert classifier.classes_.tolist() == classes_of(outcome)
    assert p.shape == (ROWS, 3)
    assert ((p >= 0) & (p <= 1)).all()
    if outcome == "multilabel":
        np.testing.assert_array_equal(labels, (p > 0.5).astype(int))
        assert (abs(p.sum(1) - 1) > 0.01).any()  # labels are not exclusive
    else:
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
        np.testing.assert_array_equal(labels, np.array(classes_of(outcome))[p.argmax(1)])
    assert 0 <= classifier.score(X, np.asarray(LABELS[outcome])) <= 1
    np.testing.assert_array_equal(clone(classifier).fit(X, LABELS[outcome]).seed_, classifier.seed_)


@every
def test_draws_average_to_the_prediction(fitted, outcome):
    classifier = fitted[outcome]
    draws = classifier.sample_predictions(X[:30])
    assert draws.shape == (64, 30, 3)
    np.testing.assert_allclose(draws.mean(0), classifier.predict_proba(X[:30]), atol=1e-6)
    assert classifier.sample_latents(X[:30], 4).shape == (4, 30, 4)


@every
def test_likelihood_of_labels(fitted, outcome):
    """Of the average over latents: with labels all at once it is not that of each by itself."""
    classifier = fitted[outcome]
    log_p = classifier.summarise(X, y=LABELS[outcome]).log_likelihood
    assert log_p.shape == (ROWS,)
    p = classifier.sample_predictions(X)
    if outcome == "multilabel":
        each = bernoulli(np.clip(p, 1e-12, 1 - 1e-12)).pmf(SEVERAL.to_numpy()).prod(-1)
    else:
        each = p[:, np.arange(ROWS), ORDERED.cat.codes.to_numpy()]
    np.testing.assert_allclose(log_p, np.log(each.mean(0)), atol=1e-4)  # draws in single precision


def test_a_column_of_one_label_is_no_several(fitted):
    with pytest.raises(LabelError, match=r"shape \[160, 3\].*outcome=\"multilabel\""):
        PrimoClassifier(**SMALL).fit(X, SEVERAL)
    with pytest.raises(LabelError, match=r"shape \[160\]; expected \[rows, labels\]"):
        PrimoClassifier(**SMALL, outcome="multilabel").fit(X, SEVERAL["fever"])
    with pytest.raises(LabelError, match=r"columns \['rash', 'cough', 'fever'\]; expected"):
        fitted["multilabel"].summarise(X, y=SEVERAL[["rash", "cough", "fever"]])


def test_unknown_outcomes_are_refused():
    with pytest.raises(LabelError, match="'normal'; expected one of 'categorical', 'ordinal', 'multilabel'"):
        PrimoClassifier(**SMALL, outcome="normal").fit(X, ORDERED)
    with pytest.raises(LabelError, match=r"'Outcome'; expected a subclass of one of Categorical"):
        PrimoClassifier(**SMALL, outcome=Outcome).fit(X, ORDERED)


# --- Impact ----------------------------------------------------------------------------------------------


@every
def test_impact_is_the_mean_distance_in_the_outcomes_units(fitted, outcome):
    classifier = fitted[outcome]
    bare = X.drop("a", "b")
    impact = classifier.predictive_impact(bare)
    draws = classifier.sample_predictions(bare)
    distance = {
        "categorical": lambda d: abs(d).sum(-1) / 2,
        "ordinal": lambda d: abs(d.cumsum(-1)[..., :-1]).sum(-1) / 2,
        "multilabel": lambda d: abs(d).mean(-1),
        Weighted: lambda d: (abs(d) * [1, 1, 4]).sum(-1) / 2,
    }[outcome](draws - draws.mean(0))
    np.testing.assert_allclose(impact["impact"], distance.mean(0), atol=1e-5)
    largest = {"categorical": 2 / 3, "ordinal": 0.5, "multilabel": 0.5, Weighted: 2 / 3}[outcome]
    np.testing.assert_allclose(impact["impact_normalised"], impact["impact"] / largest)
    flips = classifier.model_.outcome.decide(draws) != classifier.model_.outcome.decide(draws.mean(0))
    flips = flips.reshape(64, ROWS, -1).any(-1).mean(0)
    assert (abs(impact["flip_probability"] - flips) > 0.05).mean() < 0.01  # where labels tie it may jump
    assert (impact["information_gain"] >= 0).all()
    alone = classifier.predictive_impact(X, "a")["impact"]
    assert ((alone > 0) == ~X.present["a"]).all()


@every
def test_uncertainty_adds_up(fitted, outcome):
    classifier = fitted[outcome]
    parts = classifier.uncertainty(X)
    np.testing.assert_allclose(parts["total"], parts["aleatoric"] + parts["resolvable"])
    np.testing.assert_allclose(
        parts["total"], classifier.model_.outcome.entropy(classifier.predict_proba(X)), atol=1e-9
    )
    assert (parts["aleatoric"] >= -1e-6).all()


@every
def test_what_revealing_changed(fitted, outcome):
    classifier = fitted[outcome]
    gap = classifier.impact_gap(COMPLETE, "a")
    p, q = classifier.predict_proba(COMPLETE.drop("a")), classifier.predict_proba(COMPLETE)
    np.testing.assert_allclose(gap["realised_change"], classifier.model_.outcome.distance(p, q), atol=1e-12)
    changed = classifier.predict(COMPLETE.drop("a")) != classifier.predict(COMPLETE)
    np.testing.assert_array_equal(gap["flip"], changed.reshape(ROWS, -1).any(1))


@every
def test_expected_change_and_what_to_measure_next(fitted, outcome):
    classifier = PrimoClassifier(**SMALL, outcome=outcome).fit(X, LABELS[outcome])
    classifier.calibrate_impact(COMPLETE)
    frame = classifier.predictive_impact(COMPLETE.drop("a"))
    realised = classifier.impact_gap(COMPLETE, "a")["realised_change"]
    assert frame["expected_change"].mean() == pytest.approx(realised.mean(), rel=1e-3)  # as isotonic does
    ranked = classifier.rank_acquisitions(X[:20], {"a": 2.0, "b": 1.0})
    assert set(ranked["modality"]) == {"a", "b"}
    assert ranked["change_per_cost"].is_monotonic_decreasing
    with pytest.raises(ModalityError, match="nothing can be acquired"):
        classifier.rank_acquisitions(COMPLETE)


# --- Plausible labels ----------------------------------------------------------------------------------


@every
def test_plausible_labels_and_their_shares(fitted, outcome):
    classifier = fitted[outcome]
    rows = COMPLETE[:24].drop("a", "b")
    frame = classifier.plausible_labels(rows)
    columns = [f"p_{name}" for name in classes_of(outcome)]
    assert list(frame) == ["row", "cluster", "weight", "label", *columns]
    assert set(frame["row"]) == set(range(24))
    np.testing.assert_allclose(frame.groupby("row")["weight"].sum(), 1)
    assert frame.groupby("row").size().max() > 1  # some rows could turn out differently
    if outcome == "multilabel":
        for _, line in frame.iterrows():
            named = [name for name in classes_of(outcome) if line[f"p_{name}"] > 0.5]
            assert line["label"] == (", ".join(named) or "none")
    else:
        best = frame[columns].to_numpy().argmax(1)
        assert frame["label"].tolist() == np.array(classes_of(outcome))[best].tolist()
    for by in ("count", "weight"):
        shares = classifier.plausible_label_shares(rows, by=by)
        assert shares.shape[0] == 24
        np.testing.assert_allclose(shares.sum(axis=1), 1)
        assert set(shares.columns) <= set(frame["label"]) if outcome == "multilabel" else GRADES


def test_clusters_of_several_labels_are_those_that_were_put_in():
    """Draws of two kinds: fever and cough together, or neither."""
    random = np.random.default_rng(0)
    logits = random.normal([4.0, 4.0, -4.0], 0.2, (100, 3))
    logits[60:, :2] *= -1
    frame = plausible_labels(logits[:, None], ["fever", "cough", "rash"], outcome=Multilabel(3))
    weight = frame.groupby("label")["weight"].sum()
    assert weight.round(3).to_dict() == {"fever, cough": 0.6, "none": 0.4}
    with pytest.raises(DrawsError, match=r"class_weight was given for several labels.*Leave it out"):
        plausible_labels(logits[:, None], outcome=Multilabel(3), class_weight=[1, 1, 1])


def test_clusters_of_ordered_classes_are_found_on_the_score():
    outcome = Ordinal(4)
    score = np.concatenate([np.full(70, -4.0), np.full(30, 4.0)]) + 0.1 * np.random.default_rng(0).normal(
        size=100
    )
    frame = plausible_labels(score[:, None, None], list("abcd"), outcome=outcome)
    weight = frame.groupby("label")["weight"].sum()
    assert weight.round(3).to_dict() == {"a": 0.7, "d": 0.3}
    with pytest.raises(DrawsError, match=r"expected \[draws, rows, 1\] with at least 2 draws"):
        plausible_labels(np.zeros((4, 2, 4)), list("abcd"), outcome=outcome)


# --- Saving and the report ---------------------------------------------------------------------------------


@every
def test_saved_and_loaded(fitted, outcome, tmp_path):
    classifier = fitted[outcome]
    classifier.save(tmp_path / "model")
    given = {} if isinstance(outcome, str) else {"outcome": outcome}
    again = PrimoClassifier.load(tmp_path / "model", **given)
    assert type(again.model_.outcome) is type(classifier.model_.outcome)
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X), classifier.predict(X))
    pd.testing.assert_frame_equal(
        again.predictive_impact(X), classifier.predictive_impact(X), check_exact=True
    )
    assert again.classes_.tolist() == classifier.classes_.tolist()


def test_an_outcome_of_ones_own_is_to_be_given_again(fitted, tmp_path):
    fitted[Weighted].save(tmp_path / "model")
    for given in ({}, {"outcome": Weighted, "gamma": 0.5}):
        with pytest.raises(SavedModelError, match=r"own for \['outcome'\].*load\(folder, outcome=value\)"):
            PrimoClassifier.load(tmp_path / "model", **given)
    fitted["ordinal"].save(tmp_path / "other")
    with pytest.raises(SavedModelError, match=r"own for \[\], and load got them for \['outcome'\]"):
        PrimoClassifier.load(tmp_path / "other", outcome=Weighted)


def test_an_outcome_of_ones_own_trains_by_its_distance(fitted):
    """The forecast is scored by it: another distance, other networks, though the likelihood is the same."""
    plain = PrimoClassifier(**SMALL).fit(X, LABELS["categorical"])
    own = PrimoClassifier(**SMALL, outcome=Weighted).fit(X, LABELS["categorical"])
    assert not np.allclose(plain.predict_proba(X), own.predict_proba(X), atol=1e-4)
    assert own.history_["forecast"].iloc[0] > plain.history_["forecast"].iloc[0]


def test_the_report_of_ordered_classes(fitted, tmp_path):
    path = fitted["ordinal"].report(COMPLETE, np.asarray(ORDERED), tmp_path, "a")
    text = path.read_text(encoding="utf-8")
    assert "<title>The worth of a</title>" in text
    assert "severe" in text


def test_the_report_of_several_labels_is_refused_with_a_cure(fitted, tmp_path):
    with pytest.raises(PrimoError, match=r"several, expected one\. Fit a model for the label in"):
        fitted["multilabel"].report(COMPLETE, SEVERAL, tmp_path)
    assert not any(tmp_path.iterdir())


# --- What each is for --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ordered_classes_and_several_labels_are_learnt():
    """2,000 rows, half of them without each modality. What is always known decides one label alone."""
    o, a, b = np.random.default_rng(1).normal(size=(3, 3000))
    x = Modalities({"o": o, "a": a, "b": b})
    total = o + 2 * a + b
    train, test = slice(0, 2000), slice(2000, 3000)
    some = x[train].drop_at_random("a", "b", random_state=0)
    settings = SMALL | {"hidden_dim": 32, "max_epochs": 10, "learning_rate": 1e-2}

    grade = np.digitize(total, [-1, 1])
    ordinal = PrimoClassifier(**settings, outcome="ordinal").fit(some, grade[train])
    # The label is a function of what is present. Cut points that do not follow the scores' spread, or that
    # the three single encoders' heads share, cost more than 0.1; 1,000 rows know a share to 0.013.
    assert (ordinal.predict(x[test]) == grade[test]).mean() > 0.85
    # Of normal parts of spread 2 and 1 the wider moves the score by twice as much, and the class by less.
    impact = ordinal.predictive_impact(x[test].drop("a", "b"), "a")["impact"].mean()
    assert impact > 1.3 * ordinal.predictive_impact(x[test].drop("a", "b"), "b")["impact"].mean()

    several = np.stack([total > 0, a > 0, o > 0], 1).astype(int)
    multilabel = PrimoClassifier(**settings, outcome="multilabel").fit(some, several[train])
    assert ((multilabel.predict(x[test]) == several[test]).mean(0) > 0.9).all()
    missing = multilabel.predict_proba(x[test].drop("a", "b"))
    assert ((missing[:, 2] > 0.5) == several[test, 2]).mean() > 0.9
    assert abs(missing[:, 1] - 0.5).mean() < 0.1  # nothing that is present tells of a
