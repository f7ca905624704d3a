"""Parameters: each is refused before training, in our own words, or the fit ends well."""

import inspect
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from primo_pyro import Objective, PrimoClassifier, PrimoRegressor, baselines
from primo_pyro.data import make_xor
from primo_pyro.errors import ParameterError, PrimoError
from primo_pyro.parameters import ranges_of
from primo_pyro.schedule import Schedule
from tests.attacks.conftest import examples

COMPLETE, Y = make_xor(60, random_state=0)
X = COMPLETE.drop_at_random("m", random_state=0)
ESTIMATORS = [
    PrimoClassifier,
    PrimoRegressor,
    *(getattr(baselines, name) for name in baselines.__all__ if name.endswith("Classifier")),
]
QUICK = {
    "max_epochs": 1,
    "max_iter": 2,
    "hidden_dim": 4,
    "latent_dim": 2,
    "num_samples": 8,
    "random_state": 0,
}


def names_of(cls):
    return sorted(set(inspect.signature(cls).parameters) - {"outcome"})  # which is told by LabelError


def made(cls, **changes):
    settings = {k: v for k, v in QUICK.items() if k in names_of(cls)}
    settings |= {"modality": "o"} if "modality" in names_of(cls) else {}
    return cls(**settings | changes)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_every_parameter_has_a_range_and_its_default_is_in_it(cls):
    ranges = ranges_of(cls)
    assert set(names_of(cls)) <= ranges.keys()
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in ranges and parameter.default is not inspect.Parameter.empty:
            assert ranges[name].holds(parameter.default), name


class Odd:
    def __repr__(self):
        raise ValueError("no words")


HOSTILE = st.one_of(
    st.integers(-3, 40),
    st.floats(width=64, min_value=-2, max_value=2),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e300]),
    st.sampled_from(["", "m", "sobol", "auto", "meta", "cuda:99", "nonsense", "none", "/no/where/x", "a\0b"]),
    st.sampled_from([None, True, False, (), [], {}, set(), ("m", "m"), ["m"], {"m"}, {"m": 1}, b"m", 1j]),
    st.sampled_from(
        [np.int64(3), np.int8(-1), np.float32(0.25), np.float64(0.5), np.bool_(True), np.array(1), np.ones(2)]
    ),
    st.sampled_from([Odd(), len, lambda: 1, torch.tensor(1), torch.device("cpu"), torch.device("meta"), int]),
    st.sampled_from([Objective(), {"m": torch.nn.Linear(1, 4)}, {1: torch.nn.Linear(1, 4)}, np.random]),
)


@given(cls=st.sampled_from(ESTIMATORS), data=st.data())
@examples(150)
def test_a_parameter_is_refused_or_the_fit_ends_well(cls, data):
    name = data.draw(st.sampled_from(names_of(cls)))
    value = data.draw(HOSTILE)
    estimator = made(cls, **{name: value})
    labels = Y.astype(float) if cls is PrimoRegressor else Y
    try:
        estimator.fit(X, labels)
    except PrimoError as error:
        if not ranges_of(cls)[name].holds(value):
            assert isinstance(error, ParameterError)  # noqa: PT017
            assert name in str(error)  # noqa: PT017
            assert "expected" in str(error)  # noqa: PT017
        with pytest.raises((NotFittedError, PrimoError)):
            estimator.predict(X)
        return
    assert ranges_of(cls)[name].holds(value), "out of its range, and trained"
    if name != "rows" and cls is not baselines.MultimodalClassifier:
        assert np.isfinite(np.asarray(estimator.predict(X), float)).all()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("draws", "nonsense", "one of 'sobol', 'independent'"),
        ("max_epochs", -3, "a whole number of 0 or more"),
        ("validation_fraction", 1.5, "a number from 0 to less than 1"),
        ("learning_rate", -1e-3, "a finite number above 0"),
        ("learning_rate", float("nan"), "a finite number above 0"),
        ("batch_size", 2.5, "a whole number of 1 or more"),
        ("callbacks", print, r"a sequence of functions\. Write a tuple"),
        ("checkpoint", "/no/such/folder/run", r"a folder that exists.*Make the folder first"),
        ("device", "cuda:99", "a device that this machine has"),
        ("encoders", {"m": 3}, "torch modules"),
        ("random_state", -1, r"numpy\.random\.RandomState"),
        ("objective", "nonsense", "one of 'calibrated', 'paper'"),
        ("gamma", -0.5, "a finite number above 0"),
    ],
)
def test_refusals_say_name_value_range_and_cure(name, value, said):
    with pytest.raises(ParameterError, match=rf"(?s)^{name} is .*; expected .*{said}"):
        made(PrimoClassifier, **{name: value}).fit(X, Y)


@pytest.mark.parametrize(
    "settings", [{"tie": -1.0}, {"num_particles": 0}, {"anchor": float("nan")}, {"elbo": "x"}]
)
def test_objectives_check_their_ranges(settings):
    with pytest.raises(ParameterError, match=next(iter(settings))):
        Objective(**settings)


@given(st.sampled_from(sorted(Schedule.parameter_ranges)), HOSTILE)
@examples(300)
def test_schedules_check_their_ranges_and_go_into_json(name, value):
    if Schedule.parameter_ranges[name].holds(value):
        json.dumps(vars(Schedule(**{name: value})))
    else:
        with pytest.raises(ParameterError, match=name):
            Schedule(**{name: value})


@given(
    method=st.sampled_from(["summarise", "sample_latents", "sample_predictions"]),
    value=HOSTILE,
)
@examples(100)
def test_the_number_of_draws_is_checked_in_questions_too(method, value):
    allowed = value is None or ranges_of(PrimoClassifier)["num_samples"].holds(value)
    try:
        getattr(fitted(), method)(X[:5], num_samples=value)
    except ParameterError:
        assert not allowed
    else:
        assert allowed


def fitted(cache=[]):  # noqa: B006
    if not cache:
        cache.append(made(PrimoClassifier).fit(X, Y))
    return cache[0]


def test_grid_search_over_numpy_numbers_can_checkpoint_and_save(tmp_path):
    search = GridSearchCV(
        made(PrimoClassifier, checkpoint=tmp_path / "run"),
        {"batch_size": np.array([16, 32]), "learning_rate": np.array([0.01], np.float32)},
        cv=2,
        error_score="raise",
    )
    best = search.fit(X, Y).best_estimator_
    best.save(tmp_path / "model")
    again = PrimoClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), best.predict_proba(X))


# --- Fits that break off ---------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("cls", [PrimoClassifier, baselines.MVAEClassifier])
def test_a_fit_that_breaks_off_is_none(cls, error):
    def stop(row):
        raise error

    broken = made(cls, callbacks=[stop])
    with pytest.raises(error):
        broken.fit(X, Y)
    with pytest.raises(NotFittedError, match=r"did not end well.*Call fit"):
        broken.predict(X)
    assert [name for name in vars(broken) if name.endswith("_")] == []


def test_a_warm_start_that_breaks_off_leaves_the_fit_before():
    def stop(row):
        if row["epoch"] == 2:
            raise Stop

    model = made(PrimoClassifier, warm_start=True).fit(X, Y)
    before, learnt = model.predict_proba(X), dict(vars(model))
    with pytest.raises(Stop):
        model.set_params(callbacks=[stop], max_epochs=5).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert vars(model).keys() == learnt.keys()


@pytest.mark.parametrize(
    "change", [{"hidden_dim": 8}, {"gamma": 0.7}, {"latent_dim": 3}, {"objective": "paper"}]
)
def test_a_warm_start_refuses_what_the_networks_were_not_made_with(change):
    model = made(PrimoClassifier, warm_start=True).fit(X, Y)
    before = model.predict_proba(X)
    with pytest.raises(ParameterError, match=r"with which the networks were made.*warm_start=False"):
        model.set_params(**change).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    model.set_params(warm_start=False).fit(X, Y)


@pytest.mark.parametrize("rate", [1e3, 1e8, 1e30])
@pytest.mark.parametrize("cls", [PrimoClassifier, baselines.MVAEClassifier, baselines.MMVAEClassifier])
def test_divergence_is_a_training_error_or_finite(cls, rate):
    model = made(cls, learning_rate=rate, clip_norm=float("inf"), max_epochs=3, batch_size=16)
    try:
        model.fit(X, Y)
    except PrimoError as error:
        assert "Lower learning_rate" in str(error)  # noqa: PT017
        with pytest.raises(NotFittedError):
            model.predict(X)
    else:
        assert np.isfinite(model.predict_proba(X)).all()
