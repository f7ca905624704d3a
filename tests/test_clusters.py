"""Plausible labels against scikit-learn's mixture, and against mixtures that are known."""

import time
import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from scipy.linalg import helmert
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import BayesianGaussianMixture

from primo_pyro import PrimoClassifier
from primo_pyro.analysis import clusters
from primo_pyro.analysis.clusters import fit_mixtures, label_shares, plausible_labels, share_agreement
from primo_pyro.data import load_digits_halves
from primo_pyro.draws import draw_parameters, standard_normal_points
from primo_pyro.errors import DrawsError


def network_logits(draws, rows, classes, seed):
    """Logits as a classifier makes them: random rectified networks of latents, one a row."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(draws, rows, 4))
    first, second = random.normal(size=(rows, 4, 16)), random.normal(size=(rows, 16, classes))
    hidden = np.maximum(np.einsum("krd,rdh->krh", z, first) + random.normal(size=(rows, 16)), 0)
    return np.einsum("krh,rhc->krc", hidden, second) * random.uniform(0.1, 0.5, size=(rows, 1))


def reference_mixture(points, clusters=10, **settings):
    return BayesianGaussianMixture(
        n_components=clusters, weight_concentration_prior_type="dirichlet_process", random_state=0, **settings
    ).fit(points)


def reference_shares(logits):
    """Label shares by cluster count ``[C]`` of one row's draws ``[K, C]``, by scikit-learn."""
    points = logits @ helmert(logits.shape[1]).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        resp = reference_mixture(points).predict_proba(points)
    kept = resp[:, resp.mean(0) >= 0.02]
    labels = (kept.T @ softmax(logits, axis=-1)).argmax(1)
    return np.bincount(labels, minlength=logits.shape[1]) / len(labels)


def test_fixed_point_of_the_reference_is_ours(monkeypatch):
    """Where scikit-learn's iterations come to rest, ours change nothing: all priors and updates agree."""
    points = np.random.default_rng(0).normal(size=(200, 3)) @ np.diag([2.0, 1.0, 0.3])
    points[:80] += [4, -1, 1]
    resp = reference_mixture(points, 4, tol=1e-12, max_iter=20_000).predict_proba(points)
    monkeypatch.setattr(clusters, "_first_guess", lambda *_: resp[None])
    monkeypatch.setattr(clusters, "MAX_ITERATIONS", 1)
    monkeypatch.setattr(clusters, "LOOK_EVERY", 1)
    # The bound's last digits limit how close to its fixed point the reference comes.
    np.testing.assert_allclose(fit_mixtures(points[None], 4, 0)[0], resp, atol=1e-5)


# 0.95 is the bar for 200 rows. Single rows scatter by about 0.06, so that the mean of 20 may lie lower.
BAR_OF_20_ROWS = 0.95 - 2 * 0.06 / 20**0.5


def digit_logits(draws, rows, seed=0):
    """What a classifier of digits says of noisy images: sure of most, torn between a few labels on some."""
    random = np.random.default_rng(seed)
    images, digits = load_digits(return_X_y=True)
    model = LogisticRegression(C=0.01, max_iter=1000).fit(images[:1000], digits[:1000])
    unknown = np.arange(64) >= 32  # the lower half; its values come from other images of the same digit
    logits = []
    for i in range(1000, 1000 + rows):
        near = np.square(images[:1000] - images[i])[:, ~unknown].sum(1).argsort()[:20]
        filled = np.where(unknown, images[random.choice(near, draws)], images[i])
        logits.append(model.decision_function(filled + unknown * random.normal(0, 1, filled.shape)))
    return np.stack(logits, axis=1)


def test_agrees_with_the_reference_on_a_few_rows():
    logits = digit_logits(256, 20)
    expected = [reference_shares(logits[:, i]) for i in range(20)]
    shares = label_shares(plausible_labels(logits), range(10))
    assert share_agreement(shares, expected) > BAR_OF_20_ROWS


@pytest.mark.slow
def test_agrees_with_the_reference_and_is_five_times_as_fast():
    """On the logits of a trained model, 20 rows as they come."""
    x, y = load_digits_halves()
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:1257], order[1257:1277]
    clf = PrimoClassifier(dropout=0.1, max_epochs=12, patience=None, validation_fraction=0, random_state=0)
    clf.fit(x[train].drop_at_random("bottom", random_state=0), y[train])
    clf.model_.eval()
    points = standard_normal_points(256, clf.latent_dim, "sobol", seed=0).float()
    hidden = clf.model_.encoder(x[test].drop("bottom"))
    logits = draw_parameters(clf.model_, hidden, points).double().numpy()

    start = time.perf_counter()
    expected = Parallel(n_jobs=2)(delayed(reference_shares)(logits[:, i]) for i in range(20))
    reference_time = time.perf_counter() - start
    start = time.perf_counter()
    shares = label_shares(plausible_labels(logits, n_jobs=2), range(10))
    assert time.perf_counter() - start < reference_time / 5
    assert share_agreement(shares, expected) > BAR_OF_20_ROWS


@pytest.mark.parametrize(("by", "bar"), [("count", 0.92), ("weight", 0.97)])
def test_stable_under_reseeding(by, bar):
    """Here nearly every row wavers. Rival optima move a cluster or two out of ten, but few of the draws."""
    logits = digit_logits(256, 100)
    a, b = (label_shares(plausible_labels(logits, random_state=s), range(10), by=by) for s in (0, 1))
    assert share_agreement(a, b) > bar


def test_recovers_a_known_mixture():
    random = np.random.default_rng(0)
    counts = [150, 80, 26]
    logits = np.concatenate([random.normal(6 * np.eye(4)[c], 0.2, (n, 4)) for c, n in enumerate(counts)])
    frame = plausible_labels(logits[:, None], list("abcd"))
    weight = frame.groupby("label")["weight"].sum()
    assert list(weight.index) == ["a", "b", "c"]
    np.testing.assert_allclose(weight, np.array(counts) / 256, atol=1e-3)
    assert (frame["weight"].diff().dropna() <= 0).all()
    np.testing.assert_allclose(frame.filter(like="p_").sum(axis=1), 1)


def test_a_rare_class_names_clusters_by_its_weight():
    """Two groups of draws, in which the rare class has .02 and .3: never the most probable."""
    random = np.random.default_rng(0)
    p = np.repeat([0.02, 0.3], [60, 40])
    logits = np.stack([np.zeros(100), np.log(p / (1 - p))], axis=1) + random.normal(0, 0.05, (100, 2))
    logits = logits[:, None]
    assert (plausible_labels(logits)["label"] == 0).all()
    weighed = plausible_labels(logits, class_weight=[1 / 0.9, 1 / 0.1])
    assert weighed.groupby("label")["weight"].sum().round(6).to_dict() == {0: 0.6, 1: 0.4}


@pytest.mark.parametrize("weight", [[1.0], [1.0, 0.0], [1.0, np.nan], [[1.0, 1.0]]])
def test_refuses_weights_that_fit_no_class(weight):
    with pytest.raises(DrawsError, match="class_weight"):
        plausible_labels(network_logits(8, 2, 2, seed=0), class_weight=weight)


def test_a_constant_added_to_a_draws_logits_changes_nothing():
    logits = network_logits(64, 3, 4, seed=3)
    moved = logits + np.random.default_rng(0).normal(size=(64, 3, 1))
    pd.testing.assert_frame_equal(plausible_labels(logits), plausible_labels(moved), atol=1e-6)


def test_the_order_of_classes_and_of_draws_is_of_no_account():
    """One start gives one fit, whatever the classes are called; clear groups are found from any start."""
    logits = network_logits(64, 3, 4, seed=5)
    order = np.array([2, 0, 3, 1])
    plain, moved = plausible_labels(logits), plausible_labels(logits[..., order], order)
    pd.testing.assert_frame_equal(plain, moved[plain.columns], atol=1e-6)
    groups = np.random.default_rng(0).normal(6 * np.eye(3)[np.repeat([0, 1, 2], [30, 20, 14])], 0.2)[:, None]
    shares = [label_shares(plausible_labels(g), range(3), by="weight") for g in (groups, groups[::-1])]
    np.testing.assert_allclose(*shares, atol=1e-3)


def test_a_row_does_not_depend_on_the_rows_beside_it():
    logits = network_logits(64, 40, 4, seed=4)
    alone = plausible_labels(logits[:, 37:38]).assign(row=37)
    together = plausible_labels(logits, n_jobs=2).query("row == 37").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, together, atol=1e-6)


def test_rows_without_impact_are_one_cluster_without_a_fit(monkeypatch):
    monkeypatch.setattr(clusters, "fit_mixtures", None)
    logits = np.random.default_rng(0).normal([0, 1, 2], 0.005, (50, 2, 3))
    frame = plausible_labels(logits, list("abc"))
    assert frame["label"].tolist() == ["c", "c"]
    assert frame["weight"].tolist() == [1, 1]


def test_many_classes_and_degenerate_draws():
    logits = np.zeros((64, 2, 40))
    logits[:32, 0, 3], logits[32:, 0, 7] = 9, 9  # two points, no spread at all within them
    logits[:, 1] = np.random.default_rng(0).normal(size=(64, 40)) * 3
    frame = plausible_labels(logits)
    assert set(frame.query("row == 0")["label"]) == {3, 7}
    assert np.isfinite(frame.select_dtypes("number")).all(axis=None)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros((5, 3)), "axes in this order"),
        (np.zeros((1, 3, 2)), "Draw more"),
        (np.full((4, 3, 2), np.nan), "3 of 3 rows"),
    ],
)
def test_errors_name_the_cure(logits, message):
    with pytest.raises(DrawsError, match=message):
        plausible_labels(logits)


def test_unknown_shares_and_wrong_classes_are_errors():
    frame = plausible_labels(np.zeros((4, 2, 2)))
    with pytest.raises(DrawsError, match="'count' or 'weight'"):
        label_shares(frame, [0, 1], by="number")
    with pytest.raises(DrawsError, match="3 labels"):
        plausible_labels(np.zeros((4, 2, 2)), ["a", "b", "c"])
