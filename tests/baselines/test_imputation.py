"""Imputation, stacking and boosting."""

import numpy as np
import pytest

from primo_pyro import Modalities
from primo_pyro.baselines import ImputationClassifier, StackingClassifier
from primo_pyro.data import make_xor
from primo_pyro.errors import LabelError, ModalityError


def test_what_each_imputer_puts_in():
    o = np.arange(6.0)
    m = np.where(o == 5, np.nan, 2 * o)
    x, y = Modalities({"o": o, "m": m}), np.array([0, 1, 0, 1, 0, 1])
    filled = {}
    for imputer in ("mean", "iterative", "knn"):
        classifier = ImputationClassifier(imputer=imputer, n_neighbors=2, max_iter=1, validation_fraction=0.0)
        classifier.set_params(random_state=0).fit(x, y)
        table = classifier.imputer_[0].inverse_transform(classifier._features(x))  # columns m, o
        np.testing.assert_allclose(table[:, 1], o)
        filled[imputer] = table[5, 0]
    assert filled["mean"] == pytest.approx(4)  # of 0, 2, 4, 6, 8
    assert filled["knn"] == pytest.approx(7)  # of the two nearest, 6 and 8
    assert filled["iterative"] == pytest.approx(10, abs=0.5)  # on the line; ridge shrinks a little
    nan = ImputationClassifier(max_iter=1, validation_fraction=0.0).fit(x, y)._features(x)
    assert np.isnan(nan[5, 0])


def test_stacking_shows_probabilities_and_flags(rows):
    x, y = rows
    classifier = StackingClassifier(max_iter=5, folds=2, random_state=0).fit(x, y)
    features = classifier._features(x)  # m: three probabilities and a flag; o: the same
    assert features.shape == (48, 8)
    np.testing.assert_array_equal(features[:, 3], x.present["m"])
    np.testing.assert_array_equal(features[~x.present["m"], :3], 0)
    np.testing.assert_allclose(features[:, 4:7].sum(1), 1)


def test_stacking_has_fewer_folds_where_a_class_has_few_rows():
    x, y = Modalities({"o": np.arange(40.0)}), np.repeat([0, 1], [37, 3])
    StackingClassifier(folds=5, max_iter=2, validation_fraction=0.0).fit(x, y)  # scikit-learn warns of five
    y[-2:] = 0
    with pytest.raises(LabelError, match="Only one training row of class 1 has 'o'; expected two or more"):
        StackingClassifier(folds=5, max_iter=2, validation_fraction=0.0).fit(x, y)


def test_trees_stop_where_held_out_rows_say_so():
    random = np.random.default_rng(0)
    x, y = Modalities({"x": random.normal(size=(400, 2))}), random.integers(0, 2, 400)
    classifier = ImputationClassifier(max_iter=50, random_state=0).fit(x, y)
    assert len(classifier.history_) == 50
    assert classifier.model_.n_iter_ == classifier.history_["val_log_loss"].argmin() + 1 < 50


def test_wide_tables_are_refused():
    y = np.arange(20) % 2
    images = Modalities({"o": np.zeros((20, 1)), "image": np.zeros((20, 1, 65, 64))})
    for classifier in (ImputationClassifier(), StackingClassifier()):
        with pytest.raises(ModalityError, match=r"4096 features at most; modality .*'image' has 4160"):
            classifier.fit(images, y)
    series = Modalities({"o": np.zeros((20, 1)), "series": np.zeros((20, 24, 25))})
    with pytest.raises(ModalityError, match=r"Iterative imputation takes 200 features at most; .* has 600"):
        ImputationClassifier(imputer="iterative").fit(series, y)


def test_unknown_imputer():
    with pytest.raises(ValueError, match="imputer is 'magic'"):
        ImputationClassifier(imputer="magic").fit(*make_xor(20))
