"""Which rows are held out: all classes, all modalities, no group on both sides."""

import warnings

import numpy as np
import pytest

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor
from primo_pyro.errors import FewRowsWarning, RowError
from primo_pyro.held_out import Rows, codes_of_groups, folds, held_out_rows, warn_of_absent_classes
from primo_pyro.labels import ClassLabels, IndicatorLabels

NO_CLASSES = np.zeros((60, 0), bool)
QUICK = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 1, "num_samples": 16, "random_state": 0}


def rows(count=60, seed=0):
    random = np.random.default_rng(seed)
    blocks = {"o": random.normal(size=(count, 2)), "m": random.normal(size=(count, 2))}
    return Modalities(blocks).drop_at_random("m", random_state=seed)


def one_hot(y):
    return y[:, None] == np.arange(y.max() + 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_class_has_its_share(seed):
    y = (np.random.default_rng(seed).permutation(4000) < 18).astype(int)
    held = held_out_rows(rows(4000), one_hot(y), 0.1, seed)
    assert len(held) == 400
    assert y[held].sum() in (1, 2)  # 1.8


@pytest.mark.parametrize("seed", range(20))
def test_classes_of_two_rows_have_one_on_either_side(seed):
    y = np.repeat([0, 1, 2, 3], [54, 2, 2, 2])
    held = held_out_rows(rows(), one_hot(y), 0.1, seed)
    assert np.bincount(y[held], minlength=4).tolist() == [3, 1, 1, 1]


def test_a_single_row_of_a_class_is_trained_on():
    y = np.repeat([0, 1], [59, 1])
    for seed in range(20):
        assert 59 not in held_out_rows(rows(), one_hot(y), 0.5, seed)
        assert all(59 not in fold for fold in folds(rows(), one_hot(y), 5, seed))


def test_a_single_row_with_a_modality_is_trained_on():
    x = rows().drop("m", where=np.arange(60) != 7)
    for seed in range(20):
        assert 7 not in held_out_rows(x, NO_CLASSES, 0.5, seed)
        assert all(7 not in fold for fold in folds(x, NO_CLASSES, 5, seed))


def test_patterns_of_absence_have_their_share():
    x = rows(1000)
    y = np.arange(1000) % 3
    held = held_out_rows(x, one_hot(y), 0.1, 0)
    for c in range(3):
        for present in (False, True):
            alike = (y == c) & (x.present["m"] == present)
            assert abs(alike[held].sum() - 0.1 * alike.sum()) <= 1  # systematic sampling: floor or ceiling


def test_which_rows_hangs_on_the_seed_alone():
    y = one_hot(np.arange(60) % 2)
    first, again, other = (held_out_rows(rows(), y, 0.2, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len(held_out_rows(rows(), y, 0.0, 0)) == len(held_out_rows(rows(), y, 0.01, 0)) == 0


@pytest.mark.parametrize("number", [2, 5, 7])
def test_folds_are_a_partition_of_equal_parts(number):
    y = np.arange(60) % 4
    parts = folds(rows(), one_hot(y), number, 0)
    assert sorted(np.concatenate(parts)) == list(range(60))
    for part in parts:
        assert abs(len(part) - 60 / number) < 1
        assert (abs(np.bincount(y[part], minlength=4) - 15 / number) < 1).all()


def test_groups_never_cross():
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(12), 5))
    y = one_hot(np.arange(60) % 2)
    held = held_out_rows(rows(), y, 0.25, 0, groups)
    others = np.setdiff1d(np.arange(60), held)
    assert 10 <= len(held) <= 20
    assert not set(groups[held]) & set(groups[others])
    parts = folds(rows(), y, 4, 0, groups)
    assert sorted(np.concatenate(parts)) == list(range(60))
    assert [len(set(groups[part])) for part in parts] == [3, 3, 3, 3]


def test_a_class_of_one_group_is_trained_on():
    groups, y = np.repeat(np.arange(12), 5), np.repeat([0, 1], [55, 5])
    assert all(not y[part].any() for part in folds(rows(), one_hot(y), 4, 0, groups))


@pytest.mark.parametrize("y", [np.zeros(60), np.arange(60)])
def test_groups_without_classes_or_with_as_many_as_rows(y):
    classes = NO_CLASSES if not y.any() else one_hot(y)
    groups = np.repeat(np.arange(12), 5)
    assert len(held_out_rows(rows(), classes, 0.25, 0, groups)) in (0, 15)


def test_groups_that_cannot_be_used():
    with pytest.raises(RowError, match=r"shape \[3\]; expected one value for each of 4 rows"):
        codes_of_groups([1, 2, 3], 4)
    with pytest.raises(RowError, match=r"no value in 1 of 3 rows \(first: row 1\)"):
        codes_of_groups(["a", None, "b"], 3)
    with pytest.raises(RowError, match="names 1 groups in 60 rows; expected at least 2"):
        held_out_rows(rows(), NO_CLASSES, 0.1, 0, np.zeros(60, int))
    with pytest.raises(RowError, match="names 3 groups in 60 rows; expected at least 4"):
        folds(rows(), NO_CLASSES, 4, 0, np.arange(60) % 3)
    with pytest.raises(RowError, match="x has 4 rows; expected at least one for each of 5 folds"):
        folds(rows(4), NO_CLASSES[:4], 5, 0)


def test_classes_that_validation_lacks_are_warned_of_once():
    classes = one_hot(np.array([0, 0, 1, 1, 2]))
    with pytest.warns(FewRowsWarning, match=r"none has the class 'b' \(2 rows\), 'c' \(1 rows\)") as found:
        warn_of_absent_classes(classes, [classes[:1]], ["a", "b", "c"])
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_absent_classes(classes, [classes[1:]], ["a", "b", "c"])
        warn_of_absent_classes(classes, [classes[:0]], ["a", "b", "c"])  # none held out


def test_fit_warns_of_a_class_that_a_validation_by_hand_lacks():
    x, y = rows(), np.array(["no", "yes"])[np.arange(60) % 2]
    with pytest.warns(FewRowsWarning, match=r"none has the class 'yes' \(30 rows\)"):
        PrimoClassifier(**QUICK).fit(x, y, validation=(x[::2], y[::2]))


def test_fit_keeps_groups_together():
    class Seeing(PrimoRegressor):
        def _train(self, rows, held_out, *, warm):
            self.sides = set(rows.y.round(3)), set(held_out.y.round(3))
            super()._train(rows, held_out, warm=warm)

    y = np.repeat(np.arange(12.0), 5)
    reg = Seeing(**QUICK).fit(rows(), y, groups=[f"patient {v}" for v in y])
    assert len(reg.sides[0] | reg.sides[1]) == 12
    assert not reg.sides[0] & reg.sides[1]
    assert reg.sides[1]


def test_labels_of_several_kinds_keep_both_values():
    labels = IndicatorLabels(np.array(["a", "b"]))
    y = np.zeros((60, 2), np.float32)
    y[3, 0] = y[[10, 11], 1] = 1
    classes = labels.classes_of(y)
    for seed in range(10):
        held = held_out_rows(rows(), classes, 0.2, seed)
        assert 3 not in held
        assert y[held, 1].sum() == 1
    assert labels.names_of_classes == ["a", "b", "not a", "not b"]
    assert ClassLabels(np.array(["x", "y"])).names_of_classes == ["x", "y"]


def test_rows_are_taken_with_their_weights():
    part = Rows(rows(), np.arange(60), np.arange(60.0))[np.array([3, 5])]
    assert (len(part), part.y.tolist(), part.weights.tolist()) == (2, [3, 5], [3.0, 5.0])
