"""The benchmark of numbers and visits changes what it says, and prints what is measured."""

import numpy as np
import pytest

from primo_pyro.studies import robustness
from primo_pyro.studies.robustness import CHANGES, make_columns, make_visits, number_scales, visits

SMALL = {"max_epochs": 1, "num_samples": 8, "hidden_dim": 8}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(robustness, "TEST_ROWS", 100)
    monkeypatch.setattr(robustness, "PATIENTS", 20)


def test_changes_keep_the_order_of_nearly_all_values():
    values, _, _ = make_columns(2000)
    for name, change in CHANGES.items():
        changed = change(values, np.random.default_rng(0), True)
        kept = (changed.argsort(0).argsort(0) == values.argsort(0).argsort(0)).mean()
        spoilt = np.mean(changed == robustness.CODE)
        # Plus 1e9, values less than 1e-7 apart become equal: some pairs of 2,000 in each column.
        assert kept > 0.999 or name in ("one value of 1e6", "-9999 in 2 % of the cells")
        # 24,000 cells: four standard errors of a share of 2 %.
        assert spoilt == pytest.approx(0.02 if "-9999" in name else 0, abs=0.004)
    assert (CHANGES["one value of 1e6"](values, None, True) == 1e6).sum() == 1
    assert (CHANGES["one value of 1e6"](values, None, False) == 1e6).sum() == 0


def test_every_change_is_scored_for_both_methods():
    frame = number_scales(200, seeds=(0,), **SMALL)
    assert list(frame.columns) == ["change", "seed", "method", "auroc"]
    assert len(frame) == 2 * len(CHANGES)
    trees = frame[frame["method"] == "boosting"].set_index("change")["auroc"]
    # Trees look at the order alone. Bins of very small numbers may differ by a rounding error.
    assert trees["x 1e-9"] == pytest.approx(trees["untouched"], abs=0.02)


def test_visits_of_a_patient_share_a_label_and_are_near_each_other():
    x, y, patient = make_visits(50, visits=4)
    assert np.bincount(patient).tolist() == [4] * 50
    assert all(len(set(y[patient == p])) == 1 for p in range(50))
    means = np.stack([x.values["a"][patient == p].mean(0) for p in range(50)])
    assert means.std() > 2 * (x.values["a"] - means[patient]).std()


def test_ways_of_division_are_compared_on_new_patients():
    def by_name(rows, patient, seed):
        assert patient.max() == 19  # the test's patients are others
        return robustness.PrimoClassifier(("b",), random_state=seed, **SMALL).fit(*rows)

    frame = visits({"own": by_name}, seeds=(0,), **SMALL)
    assert frame["way"].tolist() == ["visits at random", "patients by hand", "own"]
    losses = frame.set_index("way")["log_loss"]
    assert losses["own"] == losses["visits at random"] != losses["patients by hand"]
