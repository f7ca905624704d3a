"""PrimoClassifier under scikit-learn's own tools."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from primo_pyro import Modalities
from tests.test_classifier import BATCHED, COMPLETE, X, Y, small


@pytest.fixture(scope="module")
def fitted():
    return small().fit(X, Y)


def test_train_test_split_keeps_rows_together():
    a, b, y_a, y_b, i_a, _ = train_test_split(
        X, Y, np.arange(len(X)), test_size=0.3, stratify=Y, random_state=0
    )
    assert isinstance(a, Modalities)
    assert (len(a), len(b), len(y_b)) == (105, 45, 45)
    np.testing.assert_array_equal(a.values["o"], X.values["o"][i_a])
    np.testing.assert_array_equal(a.present["m"], X.present["m"][i_a])
    np.testing.assert_array_equal(y_a, Y[i_a])


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss", "roc_auc"])
def test_cross_val_score(scoring):
    y = pd.Series(np.array(["no", "yes"])[Y], index=range(500, 650))
    scores = cross_val_score(small(), X, y, cv=2, scoring=scoring, error_score="raise")
    assert np.isfinite(scores).all()


def test_grid_search():
    y = np.array(["no", "yes"])[Y]
    search = GridSearchCV(
        small(), {"latent_dim": [1, 2], "objective": ["paper", "calibrated"]}, cv=2, error_score="raise"
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.latent_dim == search.best_params_["latent_dim"]
    assert set(search.predict(X)) <= {"no", "yes"}
    assert 0 <= search.score(X, y) <= 1


def test_pipeline_of_a_plain_array():
    pipeline = make_pipeline(StandardScaler(), small()).fit(COMPLETE.values["o"], Y)
    assert pipeline.predict_proba(COMPLETE.values["o"]).shape == (150, 2)


def test_masks_of_numpy_pick_rows(fitted):
    there = X.present["m"]
    np.testing.assert_allclose(fitted.predict_proba(X[there]), fitted.predict_proba(X)[there], **BATCHED)
    assert 0 <= fitted.score(X[there], Y[there]) <= 1
