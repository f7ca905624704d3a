"""Several fits behind one face: averages, what is not known beside what is not had, rows held out."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor
from primo_pyro.data import make_xor
from primo_pyro.errors import FewRowsWarning, ModalityError, ParameterError, RowError
from primo_pyro.held_out import Rows
from primo_pyro.members import Members, members_of
from primo_pyro.out_of_fold import averaging_ratio
from primo_pyro.prediction import summarise
from primo_pyro.program import Categorical
from tests.conftest import make_program, make_rows

# Networks that are hardly trained.
pytestmark = pytest.mark.filterwarnings("ignore::primo_pyro.errors.CollapseWarning")

QUICK = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 3, "num_samples": 32, "random_state": 0}
COMPLETE, Y = make_xor(240, random_state=0)
X = COMPLETE.drop_at_random("m", random_state=0)
HIDDEN = COMPLETE[:20].drop("m")


@pytest.fixture(scope="module")
def fitted():
    return PrimoClassifier(**QUICK, members=3).fit(X, Y)


def certain(model, label, size):
    """Predicts a label, in every draw, with a log odds of about ``size`` against each other one."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        last = model.likelihood.head[-1]
        last.weight.zero_()
        last.bias.copy_(size * torch.eye(3)[label])
    return model


# --- One, as before ------------------------------------------------------------------------------------


def test_one_member_is_what_it_was():
    x, y = X[:200], Y[:200]
    one = PrimoClassifier(**QUICK, members=1).fit(x, y)
    assert not isinstance(one.model_, Members)
    assert not hasattr(one, "out_of_fold_")
    assert "disagreement" not in one.predictive_impact(HIDDEN)
    assert "member" not in one.history_
    assert one.summarise(HIDDEN).disagreement is None
    alone = summarise(one.model_, HIDDEN, num_samples=32, seed=one.seed_)
    np.testing.assert_array_equal(one.predict_proba(HIDDEN), alone.prediction)


def test_a_member_is_the_fit_without_its_fold(fitted):
    """The second member, trained alone on the same rows, the same validation rows and the same seed."""
    again = fitted._member(1, fitted=False)
    train, validation = copy.copy(fitted)._split(Rows(X, Y), None)[1]
    again._train(train, validation, warm=False)
    for (name, a), b in zip(
        again.model_.state_dict().items(), members_of(fitted.model_)[1].state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


# --- Averages ------------------------------------------------------------------------------------------


def test_predictions_are_averages_over_members(fitted):
    each = [fitted._member(m, fitted=True).summarise(HIDDEN, y=Y[:20]) for m in range(3)]
    both = fitted.summarise(HIDDEN, y=Y[:20])
    np.testing.assert_allclose(both.prediction, np.mean([s.prediction for s in each], axis=0), atol=1e-12)
    np.testing.assert_allclose(both.impact, np.mean([s.impact for s in each], axis=0), atol=1e-12)
    likelihood = np.log(np.mean([np.exp(s.log_likelihood) for s in each], axis=0))
    np.testing.assert_allclose(both.log_likelihood, likelihood, atol=1e-9)
    draws = fitted.sample_predictions(HIDDEN, 32)
    assert draws.shape == (96, 20, 2)
    np.testing.assert_allclose(draws.mean(0), both.prediction, atol=1e-6)  # draws in single precision
    assert fitted.sample_latents(HIDDEN, 32).shape == (96, 20, 2)


def test_not_having_and_not_knowing_are_apart():
    """Members that are certain of different labels disagree, and V is 0; members that are the same do not."""
    model, _ = make_program()
    x, _ = make_rows(5)
    opposed = Members([certain(model, 0, 50.0), certain(model, 1, 50.0)])
    summary = summarise(opposed, x.drop("m"), num_samples=16)
    np.testing.assert_allclose(summary.prediction, [[0.5, 0.5, 0.0]] * 5, atol=1e-9)
    np.testing.assert_allclose(summary.impact, 0, atol=1e-9)
    np.testing.assert_allclose(summary.disagreement, 0.5, atol=1e-9)
    with torch.no_grad():
        for linear in model.likelihood.from_latent.values():
            linear.weight.mul_(20)
    twice = summarise(Members([model, copy.deepcopy(model)]), x.drop("m"), num_samples=256)
    one = summarise(model, x.drop("m"), num_samples=256)
    assert (one.impact > 0.02).all()
    # The second member has other draws: of each, V has a standard error.
    assert (abs(twice.impact - one.impact) < 5 * one.impact_se + 1e-3).all()
    assert (twice.disagreement < 5 * one.impact_se + 1e-3).all()
    other = summarise(model, x.drop("m"), num_samples=256, seed=1)
    errors = np.hypot(one.impact_se, other.impact_se) / 2  # of the mean of two independent ones
    np.testing.assert_allclose(twice.impact_se, errors, rtol=1e-6)


def test_frames_tell_both(fitted):
    frame = fitted.predictive_impact(X[:20])
    assert frame.columns[-2:].tolist() == ["disagreement", "expected_change"]
    present = X.present["m"][:20]
    assert (frame["impact"][present] == 0).all()
    assert (frame["expected_change"][present] == 0).all()
    assert (frame["disagreement"] > 0).all()  # whatever is absent
    about_one = fitted.predictive_impact(X[:20], "m")
    assert (about_one["disagreement"] > 0).all()
    np.testing.assert_allclose(about_one["disagreement"], frame["disagreement"], atol=1e-6)


def test_questions_work_on_members(fitted):
    assert fitted.impact_gap(COMPLETE[:10]).shape == (10, 5)
    assert set(fitted.plausible_labels(HIDDEN)["row"]) == set(range(20))
    assert fitted.predictive_impact(HIDDEN, tolerance=0.02)["impact_se"].max() <= 0.02
    assert len(fitted.rank_acquisitions(HIDDEN)) == 20
    np.testing.assert_allclose(fitted.uncertainty(HIDDEN)["resolvable"].min(), 0, atol=0.7)


def test_members_of_an_ordinal_outcome():
    clf = PrimoClassifier(**QUICK, members=2, outcome="ordinal").fit(
        X, np.where(COMPLETE.values["o"][:, 0] > 1, 2, Y)
    )
    cuts = [model.outcome.cuts for model in members_of(clf.model_)]
    assert not torch.equal(*cuts)
    draws = clf.sample_predictions(HIDDEN)
    np.testing.assert_allclose(draws.mean(0), clf.predict_proba(HIDDEN), atol=1e-6)
    shares = clf.plausible_labels(HIDDEN)
    p = np.array(
        [
            np.average(part[["p_0", "p_1", "p_2"]], axis=0, weights=part["weight"])
            for _, part in shares.groupby("row")
        ]
    )
    np.testing.assert_allclose(p, clf.predict_proba(HIDDEN), atol=0.05)  # cut points nearly agree


def test_members_of_a_regressor():
    reg = PrimoRegressor(**QUICK, members=2).fit(X, COMPLETE.values["m"][:, 0])
    assert reg.predict(HIDDEN).shape == (20,)
    assert (reg.predictive_impact(HIDDEN)["disagreement"] > 0).all()


# --- Rows held out -------------------------------------------------------------------------------------


def test_every_row_is_held_out_once(fitted):
    assert np.bincount(fitted.fold_of_).tolist() == [80, 80, 80]
    assert fitted.history_["member"].unique().tolist() == [0, 1, 2]
    frame = fitted.out_of_fold_
    assert len(frame) == X.present["m"].sum()
    member = fitted._member(2, fitted=True)
    rows = np.flatnonzero(fitted.fold_of_ == 2)[frame["row"][frame["member"] == 2]]
    gap = member.impact_gap(X[rows])
    lines = frame[frame["member"] == 2]
    np.testing.assert_allclose(gap["impact_missing"], lines["impact_missing"], atol=1e-6)
    np.testing.assert_allclose(
        gap["realised_change"] * lines["averaging"].iloc[0], lines["realised_change"], atol=1e-6
    )


def test_the_expected_change_needs_no_further_rows(fitted):
    before = fitted.predictive_impact(HIDDEN)["expected_change"]
    calibrated = copy.copy(fitted)
    calibrated.calibrate_impact()
    np.testing.assert_array_equal(calibrated.predictive_impact(HIDDEN)["expected_change"], before)
    calibrated.calibrate_impact(COMPLETE[:100])
    assert not np.array_equal(calibrated.predictive_impact(HIDDEN)["expected_change"], before)


def test_no_rows_and_none_held_out():
    one = PrimoClassifier(**QUICK).fit(X, Y)
    with pytest.raises(ModalityError, match=r"No rows were given.*fit with members=5"):
        one.calibrate_impact()
    all_rows = PrimoClassifier(**QUICK, members=2, validation_fraction=0).fit(X, Y)
    assert not hasattr(all_rows, "out_of_fold_")
    first, second = (all_rows._member(m, fitted=True).predict_proba(HIDDEN) for m in range(2))
    assert not np.array_equal(first, second)
    by_hand = PrimoClassifier(**QUICK, members=2).fit(X[:120], Y[:120], validation=(X[120:], Y[120:]))
    assert not hasattr(by_hand, "out_of_fold_")


def test_few_rows_are_not_calibrated_on_unasked():
    clf = PrimoClassifier(**QUICK, members=2).fit(X[:60], Y[:60])
    assert "expected_change" not in clf.predictive_impact(HIDDEN)
    with pytest.warns(FewRowsWarning, match="Few rows have m"):
        clf.calibrate_impact()
    assert "expected_change" in clf.predictive_impact(HIDDEN)


def test_diagnosis_is_of_all_rows_that_were_held_out(fitted):
    rows = fitted.diagnosis_.set_index("check")["rows"]
    assert rows["overfit"] == 240
    assert rows["impact stays"] == X.present["m"].sum()


def test_the_ratio_of_an_average_to_single_changes():
    class Said:
        def __init__(self, before, after):
            self.before, self.after = np.array([before]), np.array([after])

    up, down = Said([0.5, 0.5], [0.9, 0.1]), Said([0.5, 0.5], [0.3, 0.7])  # changes of 0.4 and 0.2
    ratio = averaging_ratio([None], [lambda _: up, lambda _: down], Categorical(2))
    assert ratio == pytest.approx(0.1 / 0.3)


@pytest.mark.slow
def test_visits_of_a_patient_do_not_cross():
    """200 patients with 5 noisy visits each: as good as a validation part by hand of other patients."""
    random = np.random.default_rng(0)

    def patients(count):
        centre = random.normal(size=(count, 6))
        label = (centre[:, 0] + random.normal(size=count) > 0).astype(int)
        visits = np.repeat(centre, 5, axis=0) + 0.1 * random.normal(size=(5 * count, 6))
        x = Modalities({"o": visits[:, :3], "m": visits[:, 3:]})
        return x.drop_at_random("m", random_state=0), np.repeat(label, 5), np.repeat(np.arange(count), 5)

    (x, y, groups), (x_val, y_val, _), (x_test, y_test, _) = (patients(n) for n in (200, 40, 400))
    settings = {"hidden_dim": 32, "max_epochs": 12, "batch_size": 64, "random_state": 0}

    def loss(clf):
        p = clf.predict_proba(x_test)
        return -np.log(p[np.arange(len(y_test)), y_test]).mean()

    by_hand = loss(PrimoClassifier(**settings).fit(x, y, validation=(x_val, y_val)))
    grouped = loss(PrimoClassifier(**settings).fit(x, y, groups=groups))
    members = PrimoClassifier(**settings, members=3).fit(x, y, groups=groups)
    assert grouped <= by_hand + 0.05
    assert loss(members) <= by_hand + 0.05
    folds_of = [set(groups[members.fold_of_ == m]) for m in range(3)]
    assert not folds_of[0] & folds_of[1] | folds_of[0] & folds_of[2] | folds_of[1] & folds_of[2]


def test_more_members_than_rows():
    with pytest.raises(RowError, match="at least one for each of 30 folds"):
        PrimoClassifier(**QUICK, members=30).fit(X[:20], Y[:20])


# --- Processes, files, warm starts ---------------------------------------------------------------------


def test_saved_and_loaded_as_one(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = PrimoClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert again.predictive_impact(HIDDEN).equals(fitted.predictive_impact(HIDDEN))
    assert again.out_of_fold_.equals(fitted.out_of_fold_)
    np.testing.assert_array_equal(again.fold_of_, fitted.fold_of_)


@pytest.mark.slow
def test_processes_change_nothing(fitted):
    parallel = PrimoClassifier(**QUICK, members=3, n_jobs=2).fit(X, Y)
    np.testing.assert_allclose(parallel.predict_proba(X), fitted.predict_proba(X), atol=1e-5)


def test_a_warm_start_goes_on_with_each():
    clf = PrimoClassifier(**QUICK, members=2, warm_start=True).fit(X, Y)
    first = copy.deepcopy(clf.model_)
    clf.fit(X, Y)
    moved = [(a - b).abs().max() for a, b in zip(first.parameters(), clf.model_.parameters(), strict=True)]
    assert max(moved) > 0
    with pytest.raises(ParameterError, match="members is 3; expected 2"):
        clf.set_params(members=3).fit(X, Y)


def test_encoders_of_the_users_own_are_copied_for_each(tmp_path):
    encoder = {"o": nn.Linear(1, 8)}
    clf = PrimoClassifier(**QUICK, members=2, encoders=encoder).fit(X, Y)
    weights = [dict(model.encoder.named_parameters()) for model in members_of(clf.model_)]
    name = next(name for name in weights[0] if name.startswith("o."))
    assert not torch.equal(weights[0][name], weights[1][name])
    clf.save(tmp_path / "model")
    again = PrimoClassifier.load(tmp_path / "model", encoders={"o": nn.Linear(1, 8)})
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_programs_that_are_adopted(fitted):
    models, guides = fitted.model_, fitted.guide_
    clf = PrimoClassifier(**QUICK).adopt(models, guides, X, Y)
    np.testing.assert_allclose(clf.predict_proba(HIDDEN), fitted.predict_proba(HIDDEN), atol=1e-12)
    single = PrimoClassifier(**QUICK, members=3).adopt(models.first, guides[0], X, Y)
    assert single.predict_proba(HIDDEN).shape == (20, 2)
