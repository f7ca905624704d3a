"""The study of several modalities on a classifier that knows the truth, so that every number is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis.scores import standard_error
from primo_pyro.data import make_three_signs, three_signs_impact, three_signs_probability
from primo_pyro.data.three_signs import BAYES_LOG_LOSS, MEAN_IMPACT
from primo_pyro.program.outcomes import total_variation
from primo_pyro.studies.generated import three_signs
from primo_pyro.studies.measures import (
    ALL,
    NONE,
    RANDOM,
    Answers,
    agreement_lines,
    exact_lines,
    impact_lines,
    network_lines,
    pattern_lines,
    patterns_of,
)
from primo_pyro.studies.several import several_modalities, several_tables
from primo_pyro.studies.tasks import breast_cancer

OPTIONAL = ("m1", "m2")
ROWS = 3000


class KnowsTheTruth:
    """Exact predictions and impacts of three signs; after "calibration" half of V is expected."""

    classes_ = np.arange(2)
    calls = 0

    def summarise(self, x, modality=None):
        self.calls += 1
        columns = (np.where(x.present[m], x.values[m][:, 0], np.nan) for m in OPTIONAL)
        p = three_signs_probability(x.values["o"], *columns)
        # A prediction that is asked about a single modality is off by 0.1, and spreads by 0.01.
        p = np.clip(p + 0.1 * (modality is not None and len(modality) == 1), 0, 1)
        return SimpleNamespace(probabilities=np.stack([1 - p, p], axis=1), spread=np.full(len(x), 0.01))

    def predictive_impact(self, x, modality=None):
        self.calls += 1
        if modality == "each":
            parts = [self.predictive_impact(x, (m,)).assign(row=range(len(x)), modality=m) for m in OPTIONAL]
            return pd.concat(parts).sort_values("row", kind="stable", ignore_index=True)
        v = three_signs_impact(x, modality)
        return pd.DataFrame({"impact": v, "expected_change": v / 2})


def rows(seed=0):
    """Rows of which some really lack modalities."""
    x, y = make_three_signs(ROWS, random_state=seed)
    return x.drop_at_random(*OPTIONAL, rate=0.2, random_state=seed + 1), y


def frame(lines):
    columns = ["table", "pattern", "modality", "metric", "value"]
    return pd.DataFrame(lines, columns=columns).set_index(columns[1:4])["value"]


@pytest.fixture
def answers():
    return Answers(KnowsTheTruth(), rows()[0], OPTIONAL)


def test_patterns_are_those_that_enough_rows_have():
    x = Modalities(
        {"o": np.ones(4), "a": [1, 1, 1, np.nan], "b": [1, 1, np.nan, np.nan], "c": [1, np.nan, np.nan, 1]}
    )
    optional = ("a", "b", "c")
    assert patterns_of(x, optional, least=2) == [(), ("a",), ("b",), ("c",), ("a", "b")]
    assert patterns_of(x, optional, least=3) == [(), ("a",)]
    assert patterns_of(x, optional, least=200) == [()]  # all rows are enough
    assert len(patterns_of(x[:1], optional)) == 8


def test_losses_of_patterns_are_those_of_the_truth(answers):
    _, y = rows()
    measured = frame(pattern_lines(answers, y, patterns_of(answers.x, OPTIONAL)))
    for pattern, best in {NONE: ("o",), "m1": ("o", "m1"), "m2": ("o", "m2")}.items():
        has = np.logical_and.reduce([answers.x.present[m] for m in best])
        assert measured[pattern, "", "rows"] == has.sum()
        # A row's log loss spreads by less than 0.8 nats; four standard errors.
        assert measured[pattern, "", "log_loss"] == pytest.approx(
            BAYES_LOG_LOSS[best], abs=4 * 0.8 / np.sqrt(has.sum())
        )
    assert measured["m1 + m2", "", "log_loss"] == pytest.approx(0, abs=1e-12)
    assert measured["m1 + m2", "", "brier"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("pattern", [NONE, RANDOM])
def test_exact_impact_has_a_slope_of_one_and_is_about_rows_that_have_the_modality(answers, pattern):
    measured = frame(impact_lines(answers, seed=3))[pattern]
    for modality in (*OPTIONAL, ALL):
        values = measured[modality]
        assert values["slope"] == pytest.approx(values["realised_change"] / values["mean_impact"])
        # A row's change spreads by less than 0.5 around V; four standard errors.
        error = 4 * 0.5 / np.sqrt(values["rows"])
        assert values["realised_change"] == pytest.approx(values["mean_impact"], abs=error)
        assert values["expected_slope"] == pytest.approx(2 * values["slope"])
        assert values["expected_change"] == pytest.approx(values["mean_impact"] / 2)
    for modality in OPTIONAL:
        assert measured[modality, "rows"] == answers.x.present[modality].sum()


def test_from_nothing_present_a_modality_is_revealed_alone(answers):
    measured = frame(impact_lines(answers))[NONE]
    for names, exact in MEAN_IMPACT.items():
        modality = names[0] if len(names) == 1 else ALL
        if modality != ALL:  # all that a row has is a single one in some rows
            v = answers.impact((), names)["impact"].iloc[answers.rows(names)]
            assert measured[modality, "mean_impact"] == pytest.approx(v.mean())
            assert v.mean() == pytest.approx(exact, abs=4 * float(standard_error(v.to_numpy())))


def test_random_patterns_hide_half_and_reveal_what_was_hidden(answers):
    x, clf = answers.x, answers.classifier
    measured = frame(impact_lines(answers, seed=5))[RANDOM]
    kept = np.random.default_rng(5).random((ROWS, 2)) < 0.5
    for i, (name, other) in enumerate([("m1", "m2"), ("m2", "m1")]):
        present = x.drop(other, where=~kept[:, 1 - i])[x.present[name]]
        now, then = (clf.summarise(rows).probabilities for rows in (present.drop(name), present))
        change, v = total_variation(now, then).mean(), three_signs_impact(present.drop(name), name).mean()
        assert measured[name, "realised_change"] == pytest.approx(change)
        assert measured[name, "mean_impact"] == pytest.approx(v)
    hidden = np.stack([x.present[m] for m in OPTIONAL], 1) & ~kept
    assert measured[ALL, "rows"] == hidden.any(1).sum()
    start = x.drop("m1", where=~kept[:, 0]).drop("m2", where=~kept[:, 1])
    v = [
        three_signs_impact(start[[i]], np.array(OPTIONAL)[hidden[i]])[0]
        for i in range(ROWS)
        if hidden[i].any()
    ]
    assert measured[ALL, "mean_impact"] == pytest.approx(np.mean(v))


def test_exact_lines_are_about_every_pattern_and_every_set_that_it_lacks(answers):
    measured = frame(exact_lines(answers, three_signs_impact))
    assert set(measured.index.droplevel(2)) == {
        (NONE, "m1"),
        (NONE, "m2"),
        (NONE, "m1 + m2"),
        ("m1", "m2"),
        ("m2", "m1"),
    }
    assert (measured[:, :, "impact_error"] == 0).all()
    off = frame(exact_lines(answers, lambda x, asked: three_signs_impact(x, asked) + 0.25))
    np.testing.assert_allclose(off[:, :, "impact_error"], 0.25)
    assert exact_lines(answers, None) == []


def test_agreement_tells_spread_and_what_a_question_does(answers):
    _, y = rows()
    measured = frame(agreement_lines(answers, y))
    complete = answers.x.complete
    v = three_signs_impact(answers.x.drop(*OPTIONAL), OPTIONAL)[complete].mean()
    assert measured["complete", ALL, "spread"] == pytest.approx(0.01)
    assert measured["complete", ALL, "spread_ratio"] == pytest.approx(0.01 / v)
    for pattern in NONE, RANDOM:
        assert measured[pattern, ALL, "all_to_none"] == 0
        assert measured[pattern, ALL, "log_loss_all"] == measured[pattern, ALL, "log_loss_none"]
        for name in OPTIONAL:
            moved = measured[pattern, name, "all_to_one"]
            assert 0.05 < moved < 0.1 + 1e-9  # less where the probability was above 0.9
            assert moved == measured[pattern, name, "one_to_none"]
    assert measured[NONE, "m1", "log_loss_one"] > measured[NONE, ALL, "log_loss_all"]


def test_no_question_is_asked_twice(answers):
    _, y = rows()
    answers.timed_impacts()
    asked = answers.classifier.calls
    answers.impact((), ("m1",))
    answers.impact((), OPTIONAL)
    assert answers.classifier.calls == asked
    pattern_lines(answers, y, [(), ("m1",)])
    pattern_lines(answers, y, [(), ("m1",)])
    assert answers.classifier.calls == asked + 2


def test_times_and_rows_of_each_modality():
    x, _ = rows()
    answers = Answers(KnowsTheTruth(), x, OPTIONAL)
    assert set(answers.timed_impacts()) == {"together", "each"}
    alone = x.drop(*OPTIONAL)
    for name in OPTIONAL:
        np.testing.assert_array_equal(answers.impact((), (name,))["impact"], three_signs_impact(alone, name))


def test_change_and_impact_of_a_real_model_are_those_of_impact_gap():
    x, y = rows()
    clf = PrimoClassifier(
        OPTIONAL, hidden_dim=8, latent_dim=2, max_epochs=1, num_samples=32, random_state=0
    ).fit(x[:600], y[:600])
    x = x[600:900]
    measured = frame(impact_lines(Answers(clf, x, OPTIONAL)))
    for name, other in ("m1", "m2"), ("m2", "m1"):
        gap = clf.impact_gap(x[x.present[name]].drop(other), name)
        # The draws are the same; networks compute in single precision.
        assert measured[NONE, name, "mean_impact"] == pytest.approx(gap["impact_missing"].mean(), rel=1e-4)
        assert measured[NONE, name, "realised_change"] == pytest.approx(
            gap["realised_change"].mean(), rel=1e-4
        )
    some = x[x.present["m1"] | x.present["m2"]]
    gap = clf.impact_gap(some)
    assert measured[NONE, ALL, "mean_impact"] == pytest.approx(gap["impact_missing"].mean(), rel=1e-4)
    assert measured[NONE, ALL, "realised_change"] == pytest.approx(gap["realised_change"].mean(), rel=1e-4)


def test_networks_are_trained_on_rows_that_have_the_pattern():
    (x, y), _, test = breast_cancer().rows(0)
    x = x.drop_at_random(*x.names, random_state=0)
    # The first 100 rows have no "error", and "worst" in less than 50 of the others.
    x = x.drop("error", where=np.arange(len(x)) < 100).drop("worst", where=np.arange(len(x)) >= 90)
    train, validation = (x[40:], y[40:]), (x[:40], y[:40])
    patterns = [(), ("mean",), ("error",), ("worst",)]
    settings = {"hidden_dim": 8, "max_epochs": 30, "random_state": 0}
    measured = frame(network_lines(train, validation, test, ("mean", "error", "worst"), patterns, **settings))
    assert set(measured.index.get_level_values("pattern")) == {NONE, "mean"}  # no validation row has "error"
    share = (train[1] == 1).mean()
    p = np.where(test[1] == 1, share, 1 - share)
    assert measured[NONE, "", "network_log_loss"] == pytest.approx(-np.log(p).mean(), abs=0.01)
    assert measured["mean", "", "network_log_loss"] < measured[NONE, "", "network_log_loss"]


def test_the_study_is_tidy_keeps_what_it_has_and_prints_every_table():
    kept = []
    settings = {"hidden_dim": 8, "max_epochs": 1, "batch_size": 64}
    results = several_modalities(
        three_signs(600), [0, 1], settings, {"num_samples": 16, "latent_dim": 2}, keep=kept.append
    )
    assert list(results.columns) == ["dataset", "seed", "table", "pattern", "modality", "metric", "value"]
    assert not results.duplicated(list(results.columns[:-1])).any()
    assert [len(part) for part in kept] == sorted({len(part) for part in kept})
    assert len(kept[-1]) == len(results)
    assert set(results["seed"]) == {0, 1}
    metrics = results.groupby("table")["metric"].agg(set)
    assert {"log_loss", "network_log_loss"} <= metrics["patterns"]
    assert {"mean_impact", "slope", "expected_slope", "rank_correlation"} <= metrics["impact"]
    assert {"fit", "together", "each", "ratio"} <= metrics["seconds"]
    tables = list(several_tables(results).values())
    assert len(tables) == 5
    assert (tables[0]["PRIMO less network"] != "").all()
    assert all("±" in cell for cell in tables[2]["|V - V*|"])
    alone = several_tables(results[results["table"] != "exact"])
    assert len(alone) == 4
