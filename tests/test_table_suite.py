"""The suite of tables on a tiny one; a classifier in PRIMO's place where its numbers do not matter."""

import numpy as np
import pandas as pd
import pytest

from primo_pyro.data import Table
from primo_pyro.errors import PrimoError
from primo_pyro.studies import table_suite as suite
from primo_pyro.studies.table_suite import (
    COLUMNS,
    Record,
    change_lines,
    differences,
    resampled_error,
    score_table,
    table_suite,
)
from primo_pyro.studies.tables import METHODS, TABLES, divided, load_tables

ROWS = 300


@pytest.fixture(scope="module")
def toy():
    random = np.random.default_rng(0)
    y = random.integers(2, size=ROWS)
    frame = pd.DataFrame(
        {
            "age": y + random.normal(size=ROWS),
            "sex": random.choice(["f", "m"], ROWS),
            "ph": y + random.normal(size=ROWS),
            "site": random.choice(["left", "right"], ROWS),
        }
    )
    frame.loc[random.random(ROWS) < 0.4, ["ph", "site"]] = None
    frame.loc[random.random(ROWS) < 0.1, "ph"] = None
    return Table("toy", frame, y, {"history": ("age", "sex"), "gas": ("ph", "site")}, ("alive", "died"))


class Constant:
    """Predicts the class frequencies, and says of every hidden modality what it is told."""

    fits = 0

    def __init__(self, table, seed, impact=0.2, expected=0.1, change=0.3):
        self.impact, self.expected, self.change = impact, expected, change

    def fit(self, frame, y):
        type(self).fits += 1
        self.classes_, counts = np.unique(y, return_counts=True)
        self.p = counts / len(y)
        return self

    def calibrate_impact(self, frame):
        self.calibrated = len(frame)

    def predict_proba(self, frame):
        return np.tile(self.p, (len(frame), 1))

    def predictive_impact(self, frame, modality):
        assert frame["ph"].isna().all()
        return pd.DataFrame(
            {"impact": self.impact, "expected_change": self.expected}, index=range(len(frame))
        )

    def impact_gap(self, frame, modality):
        assert (frame["ph"].notna() | frame["site"].notna()).all()
        return pd.DataFrame({"realised_change": self.change}, index=range(len(frame)))


@pytest.fixture
def constant(monkeypatch):
    monkeypatch.setattr(Constant, "fits", 0)
    monkeypatch.setitem(suite.METHODS, "primo", Constant)
    monkeypatch.setattr(suite, "LEAST_TEST_ROWS", 60)
    return Constant


def test_divisions_are_repeated_stratified_shuffles():
    y = np.repeat([0, 1], [90, 10])
    parts = [divided(y, fold) for fold in range(3)]
    for train, test in parts:
        assert sorted([*train, *test]) == list(range(100))
        assert (len(test), y[test].sum()) == (20, 2)
    assert len({tuple(sorted(test)) for _, test in parts}) == 3
    np.testing.assert_array_equal(divided(y, 1)[1], parts[1][1])


def test_two_folds_of_primo_and_a_rival(toy, tmp_path):
    results = table_suite(
        {"toy": toy},
        ["primo", "logistic"],
        range(2),
        Record(tmp_path / "new" / "results.csv"),
        settings={"max_epochs": 15, "num_samples": 16, "hidden_dim": 16, "batch_size": 32},
    )
    assert list(results.columns) == COLUMNS
    values = results.set_index(["method", "fold", "metric"])["value"]
    for method in ("primo", "logistic"):
        for fold in (0, 1):
            # Age alone gives an AUROC of .76, age and pH .84; two standard errors of 60 test rows are .11.
            assert values[method, fold, "auroc"] > 0.6
            assert 0 < values[method, fold, "log_loss"] < 0.75
            assert values[method, fold, "seconds"] > 0
    assert "change_over_v" not in set(results["metric"])  # 60 test rows are too few


def test_what_is_on_record_is_not_fitted_again(toy, tmp_path, constant):
    record = Record(tmp_path / "results.csv")
    first = table_suite({"toy": toy}, ["primo"], range(1), record, changes=False)
    assert constant.fits == 1
    both = table_suite({"toy": toy}, ["primo"], range(2), Record(record.path), changes=False)
    assert constant.fits == 2
    pd.testing.assert_frame_equal(both.iloc[: len(first)], first)
    assert record.jobs() == {("toy", 0, "primo"), ("toy", 1, "primo")}


def test_a_record_that_was_cut_loses_the_fit_that_was_cut(tmp_path):
    record = Record(tmp_path / "results.csv")
    record.add(("toy", 0, "primo"), [("", "log_loss", 0.5), ("", "seconds", 1.0)])
    whole = record.path.read_text()
    record.path.write_text(whole + "toy,1,primo,,log_loss,0.4\ntoy,1,primo,,bri")
    again = Record(record.path)
    assert again.jobs() == {("toy", 0, "primo")}
    assert record.path.read_text() == whole


def test_another_file_is_not_taken_for_a_record(tmp_path):
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PrimoError, match=r"columns \['a', 'b'\]; expected .*Name another file"):
        Record(tmp_path / "results.csv")


def test_changes_are_measured_after_a_calibration_on_rows_that_were_not_fitted(toy, tmp_path, constant):
    results = table_suite({"toy": toy}, ["primo"], range(1), Record(tmp_path / "results.csv"))
    assert constant.fits == 2
    values = results.set_index(["modality", "metric"])["value"]
    assert values["", "change_over_v"] == pytest.approx(1.5)
    assert values["", "change_over_expected"] == pytest.approx(3)
    assert values["gas", "realised_change"] == pytest.approx(0.3)


def test_an_estimator_that_its_own_fit_calibrates_is_not_fitted_again(toy, tmp_path, constant, monkeypatch):
    monkeypatch.setattr(Constant, "impact_calibrators_", {None: "calibrated"}, raising=False)
    table_suite({"toy": toy}, ["primo"], range(1), Record(tmp_path / "results.csv"))
    assert constant.fits == 1


def test_primo_answers_questions_about_frames(toy):
    primo = METHODS["primo"](toy, 0, max_epochs=2, num_samples=16, hidden_dim=16)
    train, test = divided(toy.y, 0)
    primo.fit(toy.frame.iloc[train], toy.y[train]).calibrate_impact(toy.frame.iloc[train])
    lines = {(modality, metric): value for modality, metric, value in change_lines(primo, toy, test)}
    assert lines.keys() == {
        *(("gas", metric) for metric in ("mean_impact", "expected_change", "realised_change")),
        ("", "change_over_v"),
        ("", "change_over_expected"),
    }
    assert 0 <= lines["gas", "realised_change"] <= 1
    # A modality is hidden where its cells are empty, whatever their kind.
    hidden = toy.hide(toy.frame, ["gas"])
    np.testing.assert_array_equal(
        primo.predict_proba(hidden), primo.predict_proba(hidden.assign(ph=np.nan, site=None))
    )


def lines_of(values, metric="log_loss"):
    return pd.DataFrame(
        [("t", fold, method, "", metric, v) for method, vs in values.items() for fold, v in enumerate(vs)],
        columns=COLUMNS,
    )


def test_differences_are_paired_and_their_errors_corrected():
    results = lines_of({"primo": [1.0, 2.0, 3.0], "a": [1.1, 2.2, 3.0], "b": [0.5, 1.5]})
    frame = differences(results, "log_loss").set_index("rival")
    assert frame.loc["a", "difference"] == pytest.approx(-0.1)
    assert frame.loc["a", "error"] == pytest.approx(0.1 * np.sqrt(1 / 3 + 0.25))  # 20 test rows to 80
    assert frame.loc["b", ["folds", "difference"]].tolist() == [2, 0.5]
    assert frame.loc["best", "best"] == "b"
    better = differences(lines_of({"primo": [0.7], "a": [0.8], "b": [0.6]}, "auroc"), "auroc")
    assert better.set_index("rival").loc["best", "best"] == "a"
    assert better["error"].isna().all()  # of one fold nothing is known
    assert differences(lines_of({"a": [1.0]}), "log_loss").empty


def test_the_corrected_error_is_larger_than_that_of_independent_values():
    values = np.random.default_rng(0).normal(size=10)
    assert resampled_error(values) == pytest.approx(values.std(ddof=1) * np.sqrt(0.1 + 0.25))


def test_the_table_of_scores_has_a_cell_for_what_was_measured():
    results = pd.concat(
        [lines_of({"primo": [0.4, 0.6], "a": [0.5, 0.5]}), lines_of({"primo": [0.9]}, "auroc")]
    )
    frame = score_table(results)
    assert frame.loc[("t", "primo"), "log loss"] == "0.5000 ± 0.141"
    assert frame.loc[("t", "a"), "AUROC"] == ""


def test_the_suite_has_six_data_sets():
    assert len({name.removesuffix("_six_months") for name in TABLES}) == 6
    assert load_tables(["digits"])["digits"].name == "digits"
