"""PrimoClassifier under scikit-learn's own tools."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

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


def test_calibration_wrappers(fitted):
    frozen = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(X, Y)
    by_folds = CalibratedClassifierCV(small(), cv=2).fit(X, Y)
    for wrapped in (frozen, by_folds):
        p = wrapped.predict_proba(X.drop("m"))  # absence passes through
        np.testing.assert_allclose(p.sum(1), 1)
    # The curve of two classes is monotone, so that it keeps the order of rows.
    before, after = fitted.predict_proba(X)[:, 1], frozen.predict_proba(X)[:, 1]
    assert abs(spearmanr(before, after).statistic) > 0.999


def test_nested_cross_validation():
    search = GridSearchCV(small(), {"latent_dim": [1, 2]}, cv=2, error_score="raise")
    nested = cross_validate(search, X, Y, cv=2, return_estimator=True, error_score="raise")
    assert len(nested["test_score"]) == 2
    for fold in nested["estimator"]:
        assert fold.best_estimator_.impact_gap(X[X.present["m"]], "m")["impact_missing"].notna().all()


def test_pipeline_of_a_frame_with_a_step_that_makes_columns():
    frame = pd.DataFrame({"o": X.values["o"][:, 0], "m": X.values["m"][:, 0]}).where(
        np.stack([X.present["o"], X.present["m"]], axis=1)
    )
    more = FunctionTransformer(lambda f: f.assign(m_squared=f["m"] ** 2))
    pipeline = make_pipeline(more, small(blocks={"o": "o", "m": "m*"})).fit(frame, Y)
    assert pipeline.predict_proba(frame).shape == (150, 2)
    assert pipeline[-1].reader_.transform(more.transform(frame)).columns["m"] == ("m", "m_squared")


def test_shap_of_whole_blocks_adds_up(fitted):
    shap = pytest.importorskip("shap", reason="of the extra docs")
    rows = COMPLETE[:6]
    explainer = shap.explainers.Exact(
        lambda positions: fitted.predict_proba(rows.recombine(positions))[:, 1], np.array([[0, -1]])
    )
    explained = explainer(rows.positions, silent=True)
    p = fitted.predict_proba(rows)[:, 1]
    np.testing.assert_allclose(
        explained.values.sum(1) + explained.base_values, p, atol=1e-5
    )  # single precision
