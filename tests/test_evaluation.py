"""Scores, calibration and acquisition against closed forms and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from primo_pyro import Modalities
from primo_pyro.analysis.acquisition import acquisition_curves, acquisition_summary, recovered_error
from primo_pyro.analysis.calibration import ImpactCalibrator, impact_calibration, impact_calibration_bins
from primo_pyro.analysis.scores import classwise_calibration_error, scenario_scores, scores
from primo_pyro.errors import DrawsError
from primo_pyro.studies.bias import bias_analysis


@pytest.fixture
def random():
    return np.random.default_rng(0)


# --- Scores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_those_of_scikit_learn(random, classes):
    names = np.array(list("dbca")[:classes])  # not in alphabetical order, on purpose
    p = random.dirichlet(np.ones(classes), size=200)
    codes = random.integers(classes, size=200)
    ours = scores(names[codes], p, impact=np.full(200, 0.3), classes=names)
    assert ours["accuracy"] == pytest.approx(accuracy_score(codes, p.argmax(1)))
    assert ours["log_loss"] == pytest.approx(log_loss(codes, p, labels=range(classes)))
    auroc = roc_auc_score(codes, p[:, 1] if classes == 2 else p, multi_class="ovr")
    assert ours["auroc"] == pytest.approx(auroc)
    brier = brier_score_loss(codes, p, labels=range(classes), scale_by_half=False)
    assert ours["brier"] == pytest.approx(brier)
    assert ours["mean_impact"] == pytest.approx(0.3)


def test_a_class_without_rows_is_left_out_of_the_ranking_scores(random):
    p = random.dirichlet(np.ones(3), size=50)
    y = random.integers(2, size=50)
    expected = np.mean([roc_auc_score(y == c, p[:, c]) for c in (0, 1)])
    assert scores(y, p)["auroc"] == pytest.approx(expected)
    assert np.isnan(scores(np.zeros(50, int), p)["auroc"])


def test_certainty_that_is_wrong_costs_much_but_is_finite():
    assert scores([1, 1], np.array([[1.0, 0.0], [1.0, 0.0]]))["log_loss"] == pytest.approx(36.04, abs=0.01)


def test_scenarios_are_tidy(random):
    p = random.dirichlet(np.ones(2), size=10)
    y = np.arange(10) % 2
    frame = scenario_scores(y, {"missing": p, "complete": p}, impacts={"missing": np.zeros(10)})
    assert frame.columns.tolist() == ["scenario", "metric", "value"]
    assert frame.groupby("scenario").size().to_dict() == {"missing": 7, "complete": 6}


def test_calibration_error_of_honest_and_of_overconfident_predictions(random):
    p = random.uniform(0, 1, size=20_000)
    y = (random.random(20_000) < p).astype(int)
    # A bin of 1,333 rows is off by at most 0.5 / sqrt(1333) = 0.014 in expectation.
    assert classwise_calibration_error(y, np.column_stack([1 - p, p])) < 0.014
    sure = np.eye(2)[(p > 0.5).astype(int)]
    assert classwise_calibration_error(y, sure) == pytest.approx(0.25, abs=0.02)  # E min(p, 1 - p)


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], np.ones((3, 2)) / 2, "2 labels"),
        ([0, 2], np.ones((2, 2)) / 2, "1 of 2 labels"),
        ([], np.ones((0, 2)), "0 labels"),
    ],
)
def test_labels_and_predictions_must_fit(y, p, message):
    with pytest.raises(DrawsError, match=message):
        scores(y, p)


# --- Impact calibration --------------------------------------------------------------------------------


def test_calibration_of_a_perfect_forecast(random):
    v = random.uniform(0, 0.5, 500)
    result = impact_calibration(v, v)
    assert result["slope"] == pytest.approx(1)
    assert result["regression_slope"] == pytest.approx(1)
    assert result["calibration_error"] == pytest.approx(0)
    assert result["rank_correlation"] == pytest.approx(1)
    assert result["lift"] == pytest.approx(0.475 / 0.25, rel=0.05)  # the top tenth of a uniform distribution


def test_a_forecast_that_does_not_vary_has_no_slope_and_no_rank():
    result = impact_calibration(np.full(20, 0.2), np.linspace(0, 0.4, 20))
    assert result["slope"] == pytest.approx(1)
    assert np.isnan(result["regression_slope"])
    assert np.isnan(result["rank_correlation"])


def test_bins_hold_all_rows_and_say_their_error(random):
    v = random.uniform(0, 0.5, 103)
    realised = v + random.normal(0, 0.1, 103)
    frame = impact_calibration_bins(v, realised, flip=realised > 0.25, bins=5)
    assert frame["rows"].tolist() == [21, 21, 21, 20, 20]
    assert np.average(frame["realised"], weights=frame["rows"]) == pytest.approx(realised.mean())
    assert np.average(frame["flip"], weights=frame["rows"]) == pytest.approx((realised > 0.25).mean())
    assert frame["predicted"].is_monotonic_increasing
    assert len(impact_calibration_bins(v[:3], v[:3])) == 3


@pytest.mark.parametrize("power", [0.5, 2])
def test_calibrator_learns_a_monotone_map(random, power):
    """A V that is wrong by a power comes out right on new rows."""
    v, new = random.uniform(0, 1, (2, 4000))
    calibrator = ImpactCalibrator().fit(v, np.clip(v**power + random.normal(0, 0.1, 4000), 0, 1))
    # Isotonic regression averages some n^(2/3) = 250 rows, 0.1 / sqrt(250) = 0.006; clipping moves the ends.
    assert abs(calibrator.predict(new) - new**power).mean() < 0.02
    assert (np.diff(calibrator.predict(np.linspace(-1, 2, 50))) >= 0).all()


def test_rows_that_are_not_finite_are_named():
    with pytest.raises(DrawsError, match="first: row 1"):
        ImpactCalibrator().fit([0.1, np.nan], [0.1, 0.2])
    with pytest.raises(DrawsError, match="same rows"):
        impact_calibration([0.1, 0.2], [0.1])


# --- Acquisition ---------------------------------------------------------------------------------------


@pytest.fixture
def half_resolvable(random):
    """In half of the rows the modality tells the label, in the others it tells nothing."""
    y = random.integers(2, size=1000)
    useful = np.arange(1000) < 500
    now = np.full((1000, 2), 0.5)
    then = np.where(useful[:, None], np.where(np.eye(2)[y] == 1, 0.99, 0.01), 0.5)
    return y, now, then, useful.astype(float)


def test_curves_have_the_right_ends_and_orders(half_resolvable):
    y, now, then, useful = half_resolvable
    curves = acquisition_curves(y, now, then, {"V": useful, "blind": np.zeros(1000), "worst": -useful})
    at = curves.query("metric == 'log_loss'").pivot(index="revealed", columns="score", values="value")
    np.testing.assert_allclose(at.loc[0.0], np.log(2))
    np.testing.assert_allclose(at.loc[1.0], (np.log(2) - np.log(0.99)) / 2)
    assert (at["oracle"] <= at.min(axis=1) + 1e-12).all()
    summary = acquisition_summary(curves, share=0.5).query("metric == 'log_loss'").set_index("score")
    assert summary.loc["V", "recovered"] == pytest.approx(1)
    assert summary.loc["V", "area"] == pytest.approx(0.75)
    assert summary.loc["worst", "recovered"] == pytest.approx(0, abs=1e-12)
    # Half of 1,000 rows drawn at random hold 500 +- 16 of the useful half's doubled share.
    assert summary.loc["blind", "recovered"] == pytest.approx(0.5, abs=4 * 16 / 500)
    assert summary.loc["random", "area"] == pytest.approx(0.5, abs=0.05)


def test_auroc_rises_too(half_resolvable):
    y, now, then, useful = half_resolvable
    auroc = acquisition_curves(y, now, then, {"V": useful}).query("metric == 'auroc' and score == 'V'")
    assert auroc["value"].iloc[0] == pytest.approx(0.5)
    assert auroc["value"].is_monotonic_increasing


def test_no_gain_no_share_of_it(half_resolvable):
    y, now, _, useful = half_resolvable
    summary = acquisition_summary(acquisition_curves(y, now, now, {"V": useful}))
    assert summary["recovered"].isna().all()


def test_the_error_of_a_recovered_part(half_resolvable):
    y, now, then, useful = half_resolvable
    scores = {"blind": np.zeros(1000), "V": useful}
    error = recovered_error(y, now, then, scores, share=0.3)
    # Blind: A of A + B useful rows, A ~ Binomial(300, 1/2) and B ~ Binomial(700, 1/2). By the delta method
    # the variance of A / (A + B) is (.7^2 x 75 + .3^2 x 175) / 500^2. 1,000 samples tell its root to 2 %;
    # that a blind order draws 150 +- 10 of the useful rows moves it by 3 %.
    assert error["blind"] == pytest.approx(np.sqrt(0.7**2 * 75 + 0.3**2 * 175) / 500, rel=0.15)
    # V: 300 of U useful rows, U ~ Binomial(1000, 1/2).
    assert error["V"] == pytest.approx(0.6 * np.sqrt(250) / 500, rel=0.1)
    assert recovered_error(y, now, now, scores).isna().all()


def test_a_curve_without_its_ends_is_refused(half_resolvable):
    y, now, then, useful = half_resolvable
    with pytest.raises(DrawsError, match="both ends"):
        acquisition_summary(acquisition_curves(y, now, then, {"V": useful}, shares=[0.1, 0.5]))


# --- Bias ----------------------------------------------------------------------------------------------


class Logistic:
    """A regression on whatever is present, with the face that ``bias_analysis`` wants."""

    def __init__(self, seed):
        self.seed = seed

    def columns(self, x):
        return np.column_stack([np.where(x.present[n][:, None], x.values[n], 0) for n in x.names])

    def fit(self, x, y):
        self.model = LogisticRegression().fit(self.columns(x), y)
        return self

    def predict_proba(self, x):
        return self.model.predict_proba(self.columns(x))


def test_bias_is_small_against_the_right_oracle(random):
    o, m = random.normal(size=(2, 2000, 1))
    y = (random.random(2000) < 1 / (1 + np.exp(-(o + 3 * m)[:, 0]))).astype(int)
    x = Modalities({"o": o, "m": m})
    frame = bias_analysis(x, y, x[:500], ("m",), primo=Logistic, oracle=Logistic, seeds=(0, 1, 2))
    assert len(frame) == 3 * (6 + 4)
    mean = frame.groupby(["first", "second"])["distance"].mean()
    assert mean["primo_missing", "unimodal"] < mean["primo_missing", "multimodal"] / 2
    assert mean["primo_complete", "multimodal"] < mean["primo_complete", "unimodal"] / 2
    assert mean["multimodal", "multimodal"] < mean["unimodal", "multimodal"] / 2


def test_one_seed_has_no_distance_to_the_next_and_rows_must_be_complete(random):
    x = Modalities({"o": random.normal(size=100), "m": random.normal(size=100)})
    y = np.arange(100) % 2
    frame = bias_analysis(x, y, x, ("m",), primo=Logistic, oracle=Logistic, seeds=(0,))
    assert (frame["first"] != frame["second"]).all()
    with pytest.raises(DrawsError, match="'m' is absent in 100 of 100"):
        bias_analysis(x, y, x.drop("m"), ("m",), primo=Logistic, oracle=Logistic)
