"""Rivals on frames: they read what tables hold, and choose by the log loss of rows they did not fit."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from primo_pyro.analysis.scores import scores
from primo_pyro.baselines import tables
from primo_pyro.baselines.tables import RIVALS, TunedBoostingClassifier, encoded

ROWS = 240


@pytest.fixture
def rows():
    """A text, a boolean and numbers, all with empty cells; two columns that are empty."""
    random = np.random.default_rng(0)
    age, sex = random.normal(60, 10, ROWS), random.choice(["f", "m"], ROWS)
    y = (random.random(ROWS) < expit((age - 60) / 5 + 2 * (sex == "f") - 1)).astype(int)
    frame = pd.DataFrame(
        {
            "age": np.where(random.random(ROWS) < 0.1, np.nan, age),
            "sex": pd.Series(sex).where(random.random(ROWS) > 0.1),
            "smokes": pd.Series(random.random(ROWS) < 0.5, dtype=object).where(random.random(ROWS) > 0.1),
            "count": random.integers(5, size=ROWS),
            "never": np.full(ROWS, np.nan),
            "untold": pd.Series([None] * ROWS, dtype=object),
        }
    )
    return frame, y


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(tables, "BOOSTING_GRID", {"learning_rate": (0.1,), "max_leaf_nodes": (2, 8)})
    monkeypatch.setattr(tables, "PENALTIES", (0.1, 1.0))
    monkeypatch.setattr(tables, "LEAVES", (4,))


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_a_rival_learns_from_a_frame_as_it_is(name, rows):
    frame, y = rows
    fitted = RIVALS[name](0).fit(frame[:160], y[:160])
    new = frame[160:].assign(sex=frame["sex"][160:].where(frame["age"][160:] < 70, "unknown"))
    p = fitted.predict_proba(new)
    assert p.shape == (80, 2)
    measured = scores(y[160:], p, classes=fitted.classes_)
    # Age and sex tell most of the label; four standard errors of an AUROC of a half of 80 rows are 0.26.
    assert measured["auroc"] > 0.76
    again = RIVALS[name](0).fit(frame[:160], y[:160]).predict_proba(new)
    np.testing.assert_array_equal(p, again)


def test_tuned_boosting_stops_early_where_nothing_is_to_be_learnt():
    random = np.random.default_rng(0)
    frame, y = pd.DataFrame(random.normal(size=(300, 3))), random.integers(2, size=300)
    fitted = TunedBoostingClassifier(repeats=2, patience=5).fit(frame, y)
    assert fitted.model_.n_iter_ == fitted.settings_["max_iter"] <= 10
    assert scores(y, fitted.predict_proba(frame))["log_loss"] > 0.5  # it has not learnt the labels by heart


def test_the_inner_divisions_are_the_same_for_all_settings(monkeypatch, rows):
    frame, y = rows
    numbers = frame[["age", "count"]]
    monkeypatch.setattr(tables, "BOOSTING_GRID", {"max_leaf_nodes": (8, 8)})
    chosen = []
    losses = TunedBoostingClassifier._losses
    monkeypatch.setattr(
        TunedBoostingClassifier,
        "_losses",
        lambda self, *args: chosen.append(losses(self, *args)) or chosen[-1],
    )
    TunedBoostingClassifier(repeats=2).fit(numbers, y)
    np.testing.assert_array_equal(*chosen)


def test_encoded_columns(rows):
    frame, _ = rows
    columns = encoded().fit(frame)
    out = columns.transform(frame.assign(never=2.0, age=1e9, sex="unknown"))
    assert np.isfinite(out).all()
    assert np.abs(out).max() == 5  # moved to 5 deviations
    # Three numbers, flags of the two that have empty cells, three categories of each text, one of the last.
    assert out.shape == (ROWS, 3 + 2 + 3 + 3 + 1)
    assert (out[:, 5:8] == 0).all()  # the unknown one is none of them
