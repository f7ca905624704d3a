"""Draws as an xarray.Dataset: the same numbers as the arrays, under names of rows, classes and latents."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor
from primo_pyro.errors import PrimoError

SMALL = {"hidden_dim": 8, "latent_dim": 3, "max_epochs": 1, "num_samples": 16, "random_state": 0}
NAMES = [f"patient {row}" for row in range(60)]

pytestmark = pytest.mark.filterwarnings("ignore:The latent of", "ignore:V hardly falls")


def make_rows() -> Modalities:
    random = np.random.default_rng(0)
    blocks = {m: pd.DataFrame(random.normal(size=(60, 2)), index=NAMES) for m in ("o", "m")}
    return Modalities(blocks).drop_at_random("m", random_state=0)


def labels(kind: str) -> object:
    random = np.random.default_rng(1)
    if kind == "multilabel":
        return pd.DataFrame(random.integers(2, size=(60, 2)), columns=["fever", "cough"], index=NAMES)
    words = np.array(["mild", "moderate", "severe"])[random.permutation(60) % 3]
    return pd.Series(pd.Categorical(words, ordered=kind == "ordinal"), index=NAMES)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("outcome", ["categorical", "ordinal", "multilabel"])
def test_draws_have_the_names_of_rows_and_classes(outcome, members):
    x, y = make_rows(), labels(outcome)
    clf = PrimoClassifier(outcome=outcome, members=members, **SMALL).fit(x, y)
    draws = clf.to_xarray(x)
    last = "label" if outcome == "multilabel" else "class"
    assert draws["prediction"].dims == ("draw", "row", last)
    assert draws["z_m"].dims == ("draw", "row", "z_m_dim")
    assert draws["row"].to_numpy().tolist() == NAMES
    assert draws[last].to_numpy().tolist() == list(clf.classes_)
    assert np.array_equal(draws["prediction"], clf.sample_predictions(x))
    assert np.array_equal(draws["z_m"], clf.sample_latents(x))
    assert ("member" in draws.coords) == (members > 1)
    if members > 1:
        assert draws["member"].to_numpy().tolist() == [0] * 16 + [1] * 16
    # One row by its name; averages of single precision, summed in another order.
    mean = draws["prediction"].sel(row="patient 7").mean("draw")
    assert np.allclose(mean, clf.predict_proba(x)[7], atol=1e-6)


def test_numbers_are_in_the_unit_of_the_label():
    x, y = make_rows(), 50 + 9 * np.random.default_rng(1).normal(size=60)
    reg = PrimoRegressor(**SMALL).fit(x, y)
    draws = reg.to_xarray(x, 32)
    assert draws["location"].dims == draws["scale"].dims == ("draw", "row")
    assert dict(draws.sizes) == {"draw": 32, "row": 60, "z_m_dim": 3}
    # A prediction is cut off at four standard deviations, beyond which a normal law has 6e-5 of its mass.
    expected = reg.summarise(x, num_samples=32).prediction
    mean = reg.labels_.decode(reg.model_.outcome.mean(expected))
    assert np.allclose(draws["location"].mean("draw"), mean, atol=1e-3 * reg.label_scale_)
    assert (draws["scale"] > 0).all()


def test_a_model_without_latents_has_predictions_alone():
    x, y = make_rows(), labels("categorical")
    clf = PrimoClassifier(**SMALL).fit(Modalities({"o": x.values["o"]}), np.asarray(y))
    draws = clf.to_xarray(Modalities({"o": x.values["o"]}))
    assert list(draws.data_vars) == ["prediction"]
    assert draws["row"].to_numpy().tolist() == list(range(60))


def test_without_xarray_the_error_says_what_to_install(monkeypatch):
    x, y = make_rows(), labels("categorical")
    clf = PrimoClassifier(**SMALL).fit(x, y)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(PrimoError, match=r"pip install 'primo-pyro\[xarray\]'"):
        clf.to_xarray(x)
