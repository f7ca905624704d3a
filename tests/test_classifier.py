"""PrimoClassifier: what it takes, refuses and promises, and scikit-learn's own checks."""

import copy
import random
import warnings

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.data import make_xor
from primo_pyro.errors import LabelError, ModalityError, UnseenPatternWarning
from primo_pyro.prediction import summarise
from primo_pyro.program.encoders import MLP

NAN = np.nan
SMALL = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 2, "num_samples": 16, "random_state": 0}
COMPLETE, Y = make_xor(150, random_state=0)
X = COMPLETE.drop_at_random("m", random_state=0)

# Rows are computed in batches, and the order in which a float32 matrix product sums up hangs on the batch. A
# probability then moves by some 1e-7 a layer; V is a mean of their absolute differences.
BATCHED = {"rtol": 0, "atol": 5e-6}


def small(**settings):
    return PrimoClassifier(**SMALL | settings)


@pytest.fixture(scope="module")
def fitted():
    return small().fit(X, Y)


def three_optional(rows=90, seed=0):
    """Four modalities of different shapes, three of which may be absent, and labels of all four."""
    rng = np.random.default_rng(seed)
    x = Modalities(
        {
            "o": rng.normal(size=(rows, 2)),
            "a": rng.normal(size=(rows, 3)),
            "b": rng.normal(size=(rows, 4, 2)),
            "c": rng.integers(0, 256, (rows, 1, 6, 6), np.uint8),
        }
    )
    y = (x.values["o"][:, 0] + x.values["a"][:, 0] + x.values["b"].sum((1, 2)) > 0).astype(int)
    return x.drop_at_random("a", "b", "c", rate=0.4, random_state=seed), y


@pytest.fixture(scope="module")
def fitted_three():
    x, y = three_optional()
    return small().fit(x, y), x


@torch.no_grad()
def sensitive(classifier):
    """A copy whose predictions hang strongly on the latents, as after long training."""
    classifier = copy.deepcopy(classifier)
    for linear in classifier.model_.likelihood.from_latent.values():
        linear.weight.mul_(5)
    classifier.model_.likelihood.head[-1].weight.mul_(10)
    return classifier


# --- scikit-learn's own checks --------------------------------------------------------------------------

# Enough to learn three well separated clouds of 100 points.
CHECKED = PrimoClassifier(
    latent_dim=2, hidden_dim=16, max_epochs=6, batch_size=32, learning_rate=2e-2, num_samples=8
)
CANNOT_PASS = {  # name of a check: reason
    "check_sample_weight_equivalence_on_dense_data": "repeated rows change which ones share a batch",
}


@parametrize_with_checks([CHECKED], expected_failed_checks=lambda _: CANNOT_PASS)
def test_scikit_learn(estimator, check):
    check(estimator)


# --- Patterns of absence ------------------------------------------------------------------------------------


def test_unseen_patterns_are_predicted_with_a_warning(fitted):
    rows = Modalities({"m": COMPLETE.values["m"][:5], "o": None}).drop("m", where=[0, 0, 0, 1, 1])
    with pytest.warns(
        UnseenPatternWarning, match=r"5 of 5 rows have nothing or only m present.*drop_at_random"
    ):
        p = fitted.predict_proba(rows)
    assert p.shape == (5, 2)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(p[3], p[4])
    assert not np.allclose(p[0], p[3], atol=1e-6)


def test_complete_rows_alone_do_not_teach_absence():
    with pytest.warns(UnseenPatternWarning, match="150 of 150 rows have only o present"):
        small(optional=("m",)).fit(COMPLETE, Y).predict(COMPLETE.drop("m"))


def test_a_row_with_nothing_is_predicted_from_the_prior(fitted):
    """Zero representations alone: the average of p(y | 0, z) over the prior's z, computed here by hand."""
    classifier = sensitive(fitted).set_params(num_samples=4096)
    nothing = Modalities({"o": None, "m": None}, present={"o": [False]})
    with pytest.warns(UnseenPatternWarning, match="1 of 1 rows have nothing present"):
        p, impact = (
            classifier.predict_proba(nothing)[0, 1],
            classifier.summarise(nothing).impact[0],
        )
    model, none = classifier.model_, torch.zeros(1, 2 * SMALL["hidden_dim"])
    with torch.no_grad():
        loc, scale = model.prior["m"].location_and_scale(none)
        generator = torch.Generator().manual_seed(1)
        z = loc + scale * torch.randn(40_000, 1, SMALL["latent_dim"], generator=generator)
        hidden = model.likelihood.bias + model.likelihood.from_latent["m"](z)
        by_hand = model.likelihood.head(hidden).softmax(-1)[:, 0, 1]
    error = by_hand.std().item() * np.hypot(1 / np.sqrt(40_000), 1 / np.sqrt(4096))  # Sobol's is smaller
    assert abs(p - by_hand.mean().item()) < 5 * error
    assert abs(impact - (by_hand - by_hand.mean()).abs().mean().item()) < 5 * error
    assert by_hand.std() > 0.1


def test_a_single_row(fitted):
    np.testing.assert_allclose(fitted.predict_proba(X[7]), fitted.predict_proba(X)[7:8], **BATCHED)
    assert len(fitted.predictive_impact(X[7])) == len(fitted.plausible_label_shares(X[7])) == 1


def test_a_modality_that_is_not_mentioned_is_absent(fitted):
    o_alone = {"o": COMPLETE.values["o"]}
    np.testing.assert_array_equal(fitted.predict_proba(o_alone), fitted.predict_proba(COMPLETE.drop("m")))


@pytest.mark.parametrize("names", ["o", "oa", "oab", "oabc", "a", "ab", "abc"])
def test_any_number_of_optional_modalities(names):
    """None to three of them, with and without one that is always there."""
    optional = tuple(name for name in names if name != "o")
    x, y = three_optional()
    x = x.select(*names)
    classifier = small().fit(x, y)
    assert classifier.optional_ == optional
    p = classifier.predict_proba(x)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    impact = classifier.predictive_impact(x)
    assert impact["impact"].between(0, 0.5).all()
    if not optional:
        # All draws are one: what is left is the rounding of probabilities to single precision, 6e-8 a class.
        np.testing.assert_allclose(impact[["impact", "information_gain"]], 0, atol=1e-6)
        assert (impact["flip_probability"] == 0).all()
    for name in optional:
        alone = classifier.predictive_impact(x, modality=name)["impact"]
        if "o" in names or x.present[name].all():
            assert (alone[~x.present[name]] > 0).all()
        assert (alone[x.present[name]] == 0).all()


# --- What never changes a result ----------------------------------------------------------------------------


def answers(classifier, x):
    impact = classifier.predictive_impact(x).drop(columns="flip_probability")  # a jump where labels tie
    return np.column_stack([classifier.predict_proba(x), impact])


def test_content_of_absent_rows_changes_nothing():
    """Not a bit of it, in training and in prediction."""
    wild = COMPLETE.values["m"].copy()
    wild[~X.present["m"]] = 1e30
    nan = np.where(X.present["m"][:, None], wild, NAN)
    a = small().fit(X, Y)
    for x in (
        Modalities({"o": X.values["o"], "m": wild}, present={"m": X.present["m"]}),
        {"o": X.values["o"], "m": nan},
    ):
        b = small().fit(x, Y)
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(x))
        pd.testing.assert_frame_equal(a.history_, b.history_, check_exact=True)
        np.testing.assert_array_equal(answers(a, X), answers(a, x))


def test_order_of_modalities_changes_nothing(fitted):
    other_way = small().fit(X.select("m", "o"), Y)
    np.testing.assert_array_equal(answers(fitted, X), answers(other_way, X))
    np.testing.assert_array_equal(answers(fitted, X), answers(fitted, X.select("m", "o")))


def test_order_of_rows_changes_nothing(fitted, fitted_three):
    for classifier, x in ((fitted, X), fitted_three):
        order = np.random.default_rng(0).permutation(len(x))
        np.testing.assert_allclose(answers(classifier, x)[order], answers(classifier, x[order]), **BATCHED)
        one_by_one = np.concatenate([answers(classifier, x[row]) for row in range(5)])
        np.testing.assert_allclose(answers(classifier, x)[:5], one_by_one, **BATCHED)


@pytest.mark.parametrize("max_cells", [1, 7, 64, 10**6])
@pytest.mark.parametrize("about", [None, ("b",)])
def test_chunk_size_changes_nothing(fitted_three, max_cells, about):
    """Chunks of single draws, parts of rows and everything at once, for all latents and for one."""
    classifier, x = fitted_three
    settings = {"num_samples": 8, "seed": 0, "about": about}
    wanted = summarise(classifier.model_, x[:3], **settings)
    chunked = summarise(classifier.model_, x[:3], **settings, max_cells=max_cells)
    for name in ("probabilities", "impact", "impact_se", "information_gain"):
        np.testing.assert_allclose(getattr(chunked, name), getattr(wanted, name), **BATCHED)


def test_order_of_training_labels_is_that_of_classes(fitted):
    """Labels are names: other names in the same order train the same networks."""
    renamed = small().fit(X, np.array(["left", "right"])[Y])
    np.testing.assert_array_equal(renamed.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(renamed.predict(X), np.array(["left", "right"])[fitted.predict(X)])


# --- Randomness ---------------------------------------------------------------------------------------------


def global_states():
    _, key, position, *_ = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state(), key, position, np.array(random.getstate()[1])


def test_global_random_states_and_parameter_store_are_untouched():
    pyro.get_param_store().clear()
    pyro.param("mine", torch.tensor(3.0))
    before = global_states()
    classifier = small().fit(X, Y)
    classifier.predict_proba(X)
    classifier.predictive_impact(X, "m")
    classifier.impact_gap(COMPLETE)
    classifier.plausible_labels(X[:3])
    small(draws="independent", random_state=None).fit(X, Y).predict(X)
    for state, now in zip(before, global_states(), strict=True):
        np.testing.assert_array_equal(state, now)
    assert list(pyro.get_param_store().keys()) == ["mine"]
    assert pyro.param("mine").item() == 3
    pyro.get_param_store().clear()


def test_reproducible_by_random_state(fitted):
    torch.manual_seed(5)
    pyro.get_param_store().clear()
    np.testing.assert_array_equal(answers(small().fit(X, Y), X), answers(fitted, X))
    assert not np.allclose(answers(small(random_state=1).fit(X, Y), X), answers(fitted, X), atol=1e-3)


def test_predictions_repeat_themselves_whatever_random_state_is():
    """Also with a generator, from which every fit takes another seed."""
    generator = np.random.RandomState(0)
    for random_state in (None, generator):
        classifier = small(random_state=random_state).fit(X, Y)
        np.testing.assert_array_equal(answers(classifier, X), answers(classifier, X))
    state = generator.get_state()[2]
    classifier.predict(X)
    assert generator.get_state()[2] == state
    assert classifier.fit(X, Y).seed_ != classifier.fit(X, Y).seed_


# --- Labels and blocks of all kinds -------------------------------------------------------------------------


LABELS = {
    "strings": (np.array(["no", "yes"])[Y], ["no", "yes"]),
    "objects": (np.array(["no", "yes"], object)[Y], ["no", "yes"]),
    "floats": (Y.astype(float), [0.0, 1.0]),
    "bools": (Y.astype(bool), [False, True]),
    "bytes": (Y.astype(np.uint8), [0, 1]),
    "list": (Y.tolist(), [0, 1]),
    "tensor": (torch.as_tensor(Y), [0, 1]),
    "series": (pd.Series(["no", "yes"])[Y].set_axis(range(150, 0, -1)), ["no", "yes"]),
    "categories": (pd.Series(["no", "yes"], dtype="category")[Y], ["no", "yes"]),
    "nullable integers": (pd.Series(Y, dtype="Int64"), [0, 1]),
    "nullable booleans": (pd.Series(Y.astype(bool), dtype="boolean"), [False, True]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind(fitted, kind):
    """The same model for all; predictions are labels of the kind that was given."""
    y, classes = LABELS[kind]
    classifier = small().fit(X, y)
    assert classifier.classes_.tolist() == classes
    assert [type(label) for label in classifier.classes_.tolist()] == [type(label) for label in classes]
    np.testing.assert_array_equal(classifier.predict_proba(X), fitted.predict_proba(X))
    assert classifier.predict(X).dtype == classifier.classes_.dtype


def test_a_column_of_labels_warns():
    with pytest.warns(DataConversionWarning):
        small().fit(X, Y[:, None])


@pytest.mark.parametrize(
    "as_kind",
    [
        lambda v: v.astype(np.float64),
        lambda v: v.astype(np.float32),
        lambda v: v.astype(np.float16),
        lambda v: v.astype(int),
        lambda v: v.astype(np.uint32),
        lambda v: v.astype(">f8"),
        lambda v: torch.as_tensor(v),
        lambda v: torch.as_tensor(v, dtype=torch.bfloat16),
        lambda v: v.tolist(),
    ],
)
def test_numbers_of_any_kind_train_the_same_model(as_kind):
    """Small integers are exact in all of these."""
    whole = np.random.default_rng(0).integers(0, 100, (60, 2))
    y = (whole[:, 0] > 50).astype(int)
    wanted = small().fit({"o": whole.astype(float)}, y)
    classifier = small().fit({"o": as_kind(whole)}, y)
    np.testing.assert_array_equal(
        classifier.predict_proba({"o": as_kind(whole)}), wanted.predict_proba({"o": whole.astype(float)})
    )


def test_bytes_are_standardised_like_the_same_numbers():
    """Bytes are read as fractions of 255; after standardisation that is no difference but in rounding.

    Every epoch multiplies the rounding of about 1e-7; a block that is not standardised, or twice divided by
    255, is off by more than 0.01.
    """
    whole = np.random.default_rng(0).integers(0, 256, (60, 2), np.uint8)
    y = (whole[:, 0] > 128).astype(int)
    a, b = small(max_epochs=10).fit({"o": whole}, y), small(max_epochs=10).fit({"o": whole.astype(float)}, y)
    np.testing.assert_allclose(
        a.predict_proba({"o": whole}), b.predict_proba({"o": whole.astype(float)}), rtol=0, atol=1e-3
    )


def test_booleans_and_plain_arrays():
    flags = np.random.default_rng(0).random((60, 3)) < 0.5
    y = flags[:, 0].astype(int)
    a, b = small().fit({"x": flags}, y), small().fit(flags.astype(np.float32), y)
    np.testing.assert_array_equal(a.predict_proba({"x": flags}), b.predict_proba(flags.astype(np.float32)))
    assert b.n_features_in_ == 3
    assert not hasattr(a, "n_features_in_")


def test_frozen_encoders_stay_as_they_are():
    frozen = MLP(1, 8, 8).requires_grad_(False)
    classifier = small(encoders={"o": frozen}).fit(X, Y)
    for ours, given in zip(classifier.model_.encoder["o"].parameters(), frozen.parameters(), strict=True):
        assert torch.equal(ours, given)


# --- Impact -----------------------------------------------------------------------------------------------


def test_columns_of_impact(fitted):
    impact = fitted.predictive_impact(X)
    assert list(impact)[:5] == [
        "impact",
        "impact_se",
        "impact_normalised",
        "flip_probability",
        "information_gain",
    ]
    assert impact.index.equals(pd.RangeIndex(len(X)))
    assert impact["impact"].between(0, 0.5).all()
    np.testing.assert_allclose(impact["impact_normalised"], 2 * impact["impact"])
    assert (impact["impact_se"] >= 0).all()
    assert impact["flip_probability"].between(0, 1).all()


def test_columns_of_the_gap(fitted):
    gap = fitted.impact_gap(COMPLETE, "m")
    assert list(gap) == ["impact_missing", "impact_complete", "gap", "realised_change", "flip"]
    missing, complete = COMPLETE.drop("m"), COMPLETE
    np.testing.assert_array_equal(gap["impact_missing"], fitted.predictive_impact(missing)["impact"])
    np.testing.assert_array_equal(gap["impact_complete"], fitted.predictive_impact(complete)["spread"])
    np.testing.assert_array_equal(gap["gap"], gap["impact_missing"] - gap["impact_complete"])
    p, q = fitted.predict_proba(missing), fitted.predict_proba(complete)
    np.testing.assert_allclose(gap["realised_change"], np.abs(p - q).sum(1) / 2, atol=1e-12)
    np.testing.assert_array_equal(gap["flip"], fitted.predict(missing) != fitted.predict(complete))
    pd.testing.assert_frame_equal(fitted.impact_gap(COMPLETE), gap)  # one optional modality: all of them


def test_impact_of_one_modality_has_its_latent_alone_in_play(fitted_three):
    """Against the definition, with the constants of the others written out: V_a = E_a | p - E_a p |."""
    classifier, x = sensitive(fitted_three[0]), fitted_three[1]
    x, draws = x[:4].drop("a", "b", "c"), 4000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenPatternWarning)
        impact = classifier.set_params(num_samples=draws).predictive_impact(x, "a")["impact"]
    model, generator = classifier.model_, torch.Generator().manual_seed(3)
    likelihood = model.likelihood
    with torch.no_grad():
        h = model.encoder(x)
        loc, scale = model.prior["a"].location_and_scale(h.fused())
        z = loc + scale * torch.randn(draws, *loc.shape, generator=generator)
        hidden = likelihood.bias + likelihood.from_observed["o"](h.values["o"])
        hidden = hidden + likelihood.not_in_play["b"] + likelihood.not_in_play["c"]
        p = likelihood.head(hidden + likelihood.from_latent["a"](z)).softmax(-1)
    distance = (p - p.mean(0)).abs().sum(-1) / 2  # [K, B]
    # Independent draws on one side; Sobol draws on the other are no worse.
    error = distance.std(0).numpy() * np.sqrt(2 / draws)
    assert (np.abs(distance.mean(0).numpy() - impact) < 5 * error).all()
    assert (impact > 10 * error).all()


# --- Going on and starting anew ---------------------------------------------------------------------------


def test_fitting_twice_forgets_the_past(fitted):
    frame = pd.DataFrame(COMPLETE.values["o"], columns=["length"])
    classifier = small().fit(frame, np.array(["a", "b"])[Y])
    classifier.fit(X, Y)
    np.testing.assert_array_equal(answers(classifier, X), answers(fitted, X))
    assert vars(classifier).keys() == vars(fitted).keys()
    pd.testing.assert_frame_equal(classifier.history_, fitted.history_)


def test_warm_start_goes_on():
    classifier = small(warm_start=True).fit(X, Y)
    first = classifier.model_
    before = copy.deepcopy(first.state_dict())
    classifier.fit(COMPLETE, Y)
    assert classifier.model_ is first
    assert any(not torch.equal(before[name], now) for name, now in first.state_dict().items())
    assert classifier.optional_ == ("m",)  # as before, though m is absent nowhere now
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # rows without m were seen in the first fit
        classifier.predict(COMPLETE.drop("m"))


def test_warm_start_holds_rows_against_the_first_fit():
    classifier = small(warm_start=True).fit(X, Y)
    before = copy.deepcopy(classifier.model_.state_dict())
    for x, y, error, said in (
        (X, Y + 1, LabelError, r"labels.*not among the training classes"),
        ({"o": np.ones((2, 3)), "m": [1, 2]}, [0, 1], ModalityError, r"'o' has 2 rows of shape \[3\].*\[1\]"),
        ({"o": [1, 2], "m": [1, 2], "q": [1, 2]}, [0, 1], ModalityError, "Unknown modality 'q'"),
        (
            {"o": [1, NAN], "m": [1, 2]},
            [0, 1],
            ModalityError,
            "'o' is observed, not optional, but absent in 1",
        ),
    ):
        with pytest.raises(error, match=said):
            classifier.fit(x, y)
    for name, now in classifier.model_.state_dict().items():
        assert torch.equal(before[name], now)
    assert len(classifier.predict(X)) == len(X)
