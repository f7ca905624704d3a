"""Guarantees as functions of arrays: against independent libraries and formulas, and by simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from primo_pyro.analysis.absence import AbsenceModel, auroc_error, compare_rows
from primo_pyro.analysis.certificates import Certificate, promises_kept
from primo_pyro.analysis.decisions import (
    decision_curves,
    net_benefit,
    net_benefit_utility,
    threshold_gain,
    value_of_information,
)
from primo_pyro.analysis.guarantees import (
    benjamini_hochberg,
    change_bounds,
    conformal_quantiles,
    coverage_rows,
    effective_rows,
    learn_then_test,
    risk_control,
    rows_needed,
    skip_p_values,
)
from primo_pyro.analysis.scores import auroc
from primo_pyro.errors import CertificateError, DrawsError
from primo_pyro.studies.promises import (
    kept_promises,
    selective_absence,
    simulated_promises,
    simulated_rows,
    skipped_by_score,
)

# --- Against other code --------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "first"), [(12, None), (57, 30), (200, 104)])
def test_bounds_are_those_of_crepes(rows, first):
    """At sizes with (n + 1) / 10 no whole number, where crepes' rounding of 0.1 (n + 1) is one rank off."""
    crepes = pytest.importorskip("crepes")
    random = np.random.default_rng(rows)
    realised, scale = random.gamma(1, 0.1, rows), random.uniform(0.01, 1, rows)
    new_scale, new_groups = random.uniform(0.01, 1, 20), random.integers(2, size=20)
    groupings = [(None, None)]
    if first is not None:
        groupings.append((np.arange(rows) < first, new_groups == 1))
    for groups, of_new in groupings:
        regressor = crepes.ConformalRegressor().fit(realised, sigmas=scale, bins=groups)
        theirs = regressor.predict_int(np.zeros(20), sigmas=new_scale, bins=of_new, confidence=0.9)[:, 1]
        ours = change_bounds(
            realised, scale, new_scale, 0.9, groups=groups, new_groups=of_new, largest=np.inf
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.filterwarnings("ignore")  # MAPIE warns where all thresholds, or none, control the risk
def test_a_single_test_of_learn_then_test_is_that_of_mapie():
    risk_controls = pytest.importorskip("mapie.risk_control")
    random = np.random.default_rng(0)
    score = random.uniform(size=300)
    answers = set()
    for share in (0.0, 0.01, 0.03, 0.06):
        harm = random.random(300) < share
        # To MAPIE's classifier a skipped row is a positive one: precision is the share without harm.
        controller = risk_controls.BinaryClassificationController(
            predict_function=lambda x: np.column_stack([x[:, 0], 1 - x[:, 0]]),
            risk="precision",
            target_level=0.95,
            confidence_level=0.9,
            list_predict_params=np.array([0.5]),
        )
        controller.calibrate(score[:, None], (~harm).astype(int))
        among = harm[score <= 0.5]
        ours = bool(binom.cdf(among.sum(), len(among), 0.05) <= 0.1)
        assert (len(controller.valid_predict_params) > 0) == ours
        answers.add(ours)
    assert answers == {True, False}


def test_learn_then_test_is_a_sequence_of_binomial_tests():
    random = np.random.default_rng(1)
    score, harm = random.uniform(size=400), random.random(400) < 0.02
    threshold = learn_then_test(score, harm, 0.05, 0.9)
    among = harm[score <= threshold]
    assert binom.cdf(among.sum(), len(among), 0.05) <= 0.1
    assert learn_then_test(score, harm, 0.05, 0.9, weights=np.full(400, 3.0)) == threshold


def test_risk_control_by_trying_every_threshold():
    random = np.random.default_rng(2)
    score, harm = random.integers(30, size=200) / 30, random.random(200) < 0.1  # with ties
    found = float(risk_control(score, harm, 0.05))
    risks = {t: (harm[score <= t].sum() + 1) / 201 for t in np.unique(score)}
    assert found >= max(t for t, risk in risks.items() if risk <= 0.05)
    assert found < min(t for t, risk in risks.items() if risk > 0.05)


def test_p_values_by_counting():
    random = np.random.default_rng(3)
    score, harm, new = random.integers(9, size=50), random.random(50) < 0.3, random.integers(9, size=7)
    expected = [(1 + sum((score <= v) & harm)) / 51 for v in new]
    np.testing.assert_allclose(skip_p_values(score, harm, new), expected, rtol=1e-12)
    weights, own = random.uniform(0.5, 2, 50), random.uniform(0.5, 2, 7)
    expected = [
        (w + weights[(score <= v) & harm].sum()) / (w + weights.sum()) for v, w in zip(new, own, strict=True)
    ]
    np.testing.assert_allclose(skip_p_values(score, harm, new, weights, own), expected, rtol=1e-12)


def test_benjamini_hochberg_is_scipys():
    scipy_stats = pytest.importorskip("scipy.stats")
    p = np.random.default_rng(4).beta(0.3, 1, 60)
    expected = scipy_stats.false_discovery_control(p) <= 0.1
    assert (benjamini_hochberg(p, 0.1) == expected).all()


def test_net_benefit_is_the_formula_of_vickers_and_elkin():
    """dcurves has no release for this pandas; the formula of 2006 is written down here by counting."""
    random = np.random.default_rng(5)
    y, missing, complete = random.integers(2, size=300), random.uniform(size=300), random.uniform(size=300)
    thresholds = np.array([0.05, 0.2, 0.5, 0.9])
    value = random.uniform(-1, 1, (300, 4))
    two = [np.column_stack([1 - p, p]) for p in (missing, complete)]
    curves = decision_curves(y, *two, value, thresholds=thresholds)
    for i, t in enumerate(thresholds):
        mixed = np.where(value[:, i] > 0, complete, missing)
        for policy, risk in (  # noqa: B007, the query names it
            ("without", missing),
            ("with", complete),
            ("where it pays", mixed),
        ):
            true = sum(1 for r, label in zip(risk, y, strict=True) if r >= t and label == 1)
            false = sum(1 for r, label in zip(risk, y, strict=True) if r >= t and label == 0)
            expected = true / 300 - false / 300 * t / (1 - t)
            found = curves.query("policy == @policy and threshold == @t")["net_benefit"].item()
            assert found == pytest.approx(expected, abs=1e-12)
            assert net_benefit(y, risk, t) == pytest.approx(expected, abs=1e-12)
        everybody = curves.query("policy == 'everybody' and threshold == @t")["net_benefit"].item()
        assert everybody == pytest.approx(y.mean() - (1 - y.mean()) * t / (1 - t), abs=1e-12)


def test_value_of_information_by_a_double_loop():
    random = np.random.default_rng(6)
    draws, utility = random.dirichlet([1, 1, 1], (40, 5)), random.normal(size=(4, 3))
    expected = []
    for row in range(5):
        after = np.mean([max(utility[a] @ draws[k, row] for a in range(4)) for k in range(40)])
        expected.append(after - max(utility[a] @ draws[:, row].mean(0) for a in range(4)))
    np.testing.assert_allclose(value_of_information(draws, utility), expected, atol=1e-12)
    risk = draws[..., :1].squeeze(-1)
    gains = threshold_gain(risk, risk.mean(0, keepdims=True), np.array([0.2, 0.5]))
    two = np.stack([1 - risk, risk], axis=-1)
    for i, t in enumerate((0.2, 0.5)):
        np.testing.assert_allclose(gains[:, i], value_of_information(two, net_benefit_utility(t)), atol=1e-12)


# --- By simulation -------------------------------------------------------------------------------------


def test_promises_hold_for_exchangeable_rows():
    """Within three standard errors over 25 repeats; coverage also not above it by more than 1 / (n + 1)."""
    table = simulated_promises([60, 200], repeats=25)
    coverage = {"change at most", "label sets, before", "label sets, after"}
    for line in table.itertuples():
        if line.guarantee in coverage | {"harm among the skipped"}:
            assert line.reached > line.promised - 3 * line.error, line
        else:
            assert line.reached < line.promised + 3 * line.error, line
        if line.guarantee in coverage:
            assert line.reached < line.promised + 1 / (line.rows + 1) + 3 * line.error, line


def test_selective_absence_breaks_the_promise_and_weights_keep_it():
    table = selective_absence(rows=1500, repeats=40).set_index(["guarantee", "version"])
    for guarantee, sign in (("change at most", -1), ("harmful skips among all", 1), ("false discoveries", 1)):
        broken, kept = table.loc[(guarantee, "unweighted")], table.loc[(guarantee, "weighted")]
        assert sign * (broken.reached - broken.promised) > 3 * broken.error
        assert sign * (kept.reached - kept.promised) < 2 * kept.error
        assert kept.effective < broken.effective


def test_promises_are_checked_on_other_halves():
    rows, _ = simulated_rows(800, np.random.default_rng(7))
    table = promises_kept(rows, splits=10).set_index("guarantee")
    assert list(table.index) == [
        "change at most", "harmful skips among all", "harm among the skipped", "false discoveries",
        "label sets, before", "label sets, after",
    ]  # fmt: skip
    bound = table.loc["change at most"]
    assert abs(bound.reached - 0.9) < 3 * bound.error
    assert kept_promises(rows, splits=2)["bound_over_change"].iloc[0] > 1
    shares = skipped_by_score(rows, splits=3).set_index("score")
    assert {"impact", "calibrated V"} == set(shares.index)
    assert shares["risk_control"].between(0, 1).all()


# --- Corners -------------------------------------------------------------------------------------------


def test_too_few_rows_promise_nothing():
    assert coverage_rows(0.9) == 9
    assert np.isinf(conformal_quantiles(np.zeros(8), 0.9))
    assert np.isfinite(conformal_quantiles(np.zeros(9), 0.9))
    assert (change_bounds(np.zeros(8), np.ones(8), [0.0, 0.5], 0.9) == 1).all()
    for rows in (0, 18):
        assert risk_control(np.zeros(rows), np.zeros(rows, bool), 0.05) == -np.inf
    assert risk_control(np.zeros(19), np.zeros(19, bool), 0.05) == np.inf
    assert learn_then_test(np.zeros(44), np.zeros(44, bool), 0.05, 0.9) == -np.inf
    assert learn_then_test(np.zeros(45), np.zeros(45, bool), 0.05, 0.9) == 1
    assert rows_needed(0.05) == 19
    assert rows_needed(0.05, 0.9) == 45
    assert rows_needed(0.05, 0.9, harmful=0.05) == 0


def test_no_harm_at_all_skips_everybody_and_all_harm_nobody():
    score = np.linspace(0, 0.6, 100)
    none, every = np.zeros(100, bool), np.ones(100, bool)
    assert risk_control(score, none, 0.05) == np.inf
    assert learn_then_test(score, none, 0.05, 0.9) >= 0.6
    assert benjamini_hochberg(skip_p_values(score, none, score), 0.1).all()
    assert learn_then_test(score, every, 0.05, 0.9) == -np.inf
    assert not benjamini_hochberg(skip_p_values(score, every, score), 0.1).any()
    # Conformal risk control may skip a twentieth of all rows, harmed though they are.
    assert (score <= risk_control(score, every, 0.05)).mean() == pytest.approx(0.04)


def test_equal_scores_are_skipped_all_or_none():
    score, harm = np.zeros(200), np.arange(200) < 8
    assert risk_control(score, harm, 0.05) >= 0
    assert risk_control(score, np.arange(200) < 20, 0.05) < 0
    assert set(benjamini_hochberg(skip_p_values(score, harm, np.zeros(5)), 0.1)) == {True}
    assert effective_rows(np.zeros(3)) == 0


def certificate(rows=100, **changes):
    return Certificate(
        **{
            "scores": {"impact": np.zeros(rows)},
            "largest": {"impact": 0.5},
            "levels": np.zeros((rows, 11)),
            "realised": np.zeros(rows),
            "before": np.full((rows, 2), 0.5),
            "after": np.full((rows, 2), 0.5),
        }
        | changes
    )


def test_rows_without_impact_have_a_bound_of_zero_or_what_they_really_changed():
    assert (certificate().change_at_most(np.zeros((3, 11)), 0.9) == 0).all()
    changed = certificate(realised=np.full(100, 0.3))
    np.testing.assert_allclose(changed.change_at_most(np.zeros((3, 11)), 0.9), 0.3)


def test_harm_in_all_its_forms():
    known = certificate(
        4,
        realised=np.array([0.0, 0.1, 0.2, 0.3]),
        flip=np.array([False, True, False, True]),
        labels=np.array([0, 0, 1, 1]),
        right_before=np.array([True, False, False, True]),
        right_after=np.array([True, True, False, False]),
    )
    assert known.harm("flip").tolist() == [False, True, False, True]
    assert known.harm("wrong").tolist() == [False, True, False, False]
    assert known.harm(0.15).tolist() == [False, False, True, True]
    assert known.harm(lambda rows: rows["label"] == 1).tolist() == [False, False, True, True]
    for wrong, message in (
        ("pain", "Choose one of them"),
        (lambda rows: rows["label"], "expected booleans"),
    ):
        with pytest.raises(CertificateError, match=message):
            known.harm(wrong)
    with pytest.raises(CertificateError, match="Pass labels to certify"):
        certificate().harm("wrong")
    with pytest.raises(CertificateError, match="Give a change"):
        certificate().harm("flip")


def test_what_cannot_be_promised_is_said():
    few = certificate(18, flip=np.zeros(18, bool))
    found = few.skips(np.zeros(3))
    assert not found.skip.any()
    assert found.needed == 19
    assert found.promise.startswith("nothing can be promised")
    assert certificate(19, flip=np.zeros(19, bool)).skips(np.zeros(3)).skip.all()
    sure = certificate(30, flip=np.zeros(30, bool)).skips(np.zeros(3), confidence=0.9)
    assert (sure.skip.any(), sure.needed) == (False, 45)
    hopeless = certificate(300, flip=np.ones(300, bool)).skips(np.zeros(3), confidence=0.9)
    assert (hopeless.skip.any(), hopeless.needed) == (False, 0)
    score = np.linspace(0, 0.5, 216)  # one harmed row among the lowest ends the test at its first threshold
    unlucky = certificate(216, flip=np.arange(216) == 0, scores={"impact": score})
    found = unlucky.skips(np.zeros(3), confidence=0.9)
    assert not found.skip.any()
    assert found.needed > 216
    assert certificate(5, flip=np.zeros(5, bool)).skips(np.zeros(3), false_discovery=0.1).needed == 9
    with pytest.raises(CertificateError, match="one of them"):
        few.skips(np.zeros(3), confidence=0.9, false_discovery=0.1)
    with pytest.raises(CertificateError, match="by is 'luck'"):
        few.skips(np.zeros(3), by="luck")
    for share in (0, 1, -0.5):
        with pytest.raises(DrawsError, match="share"):
            few.change_at_most(np.zeros((3, 11)), share)
    with pytest.raises(DrawsError, match="Groups"):
        few.change_at_most(np.zeros((3, 11)), 0.9, groups=np.zeros(3))


def test_a_group_without_calibration_rows_gets_the_largest_change():
    bounds = change_bounds(
        np.zeros(20), np.ones(20), [1.0, 1.0], 0.9, groups=["a"] * 20, new_groups=["a", "b"]
    )
    assert bounds.tolist() == [0, 1]


# --- Absence -------------------------------------------------------------------------------------------


def test_weights_are_odds_of_absence():
    random = np.random.default_rng(8)
    known = random.normal(size=(20_000, 2))
    odds = np.exp(0.7 * known[:, 0] - 0.5)
    model = AbsenceModel.fit(known, random.random(20_000) < odds / (1 + odds))
    # Standard errors of the two coefficients are near 0.016; features lie within 4.
    inside = abs(known[:, 0]) < 2
    assert abs(model.log_odds(known) - np.log(odds))[inside].max() < 0.3


def test_a_feature_that_is_not_known_counts_as_average_and_tells_that_it_is_not():
    random = np.random.default_rng(9)
    known = random.normal(size=(500, 2))
    absent = random.random(500) < 0.5
    known[absent & (random.random(500) < 0.9), 0] = np.nan
    assert compare_rows(known, absent)[0].auroc > 0.9
    assert compare_rows(np.full((500, 1), np.nan), absent)[0].auroc == pytest.approx(0.5, abs=0.1)


def test_nothing_to_compare():
    for features, absent in ((np.ones((50, 0)), np.arange(50) < 25), (np.ones((50, 1)), np.zeros(50, bool))):
        check, model = compare_rows(features, absent)
        assert model is None
        assert not check.selective
        assert check.effective == check.present
    with pytest.raises(DrawsError, match="same rows"):
        compare_rows(np.ones((5, 1)), np.ones(4, bool))


def test_error_of_the_auroc_is_that_of_repeats():
    random = np.random.default_rng(10)
    areas, errors = [], []
    for _ in range(300):
        positive = np.arange(120) < 40
        score = random.normal(size=120) + positive
        areas.append(auroc(positive, score))
        errors.append(auroc_error(positive, score))
    # A standard deviation of 300 numbers is known to about 4 %.
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.15)
