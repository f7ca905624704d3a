"""Programs of a user's own: trained elsewhere and adopted, or made by a subclass in place of the paper's."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from pyro import poutine
from sklearn.base import clone

from primo_pyro import Modalities, Objective, PrimoClassifier, PrimoGuide, PrimoModel, PrimoRegressor
from primo_pyro.errors import CollapseWarning, LabelError, ModalityError, SavedModelError
from primo_pyro.program import (
    MLP,
    Categorical,
    Encoders,
    Latent,
    Loss,
    Multilabel,
    Normal,
    one_latent_each,
)
from primo_pyro.program.regulariser import regulariser
from tests.conftest import make_program, make_rows

SMALL = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 2, "num_samples": 64, "random_state": 0}
ROWS = 120


def rows():
    o, a, b = np.random.default_rng(0).normal(size=(3, ROWS))
    x = Modalities({"o": o, "a": a, "b": b})
    return x, (a + b + o > 0).astype(int), a + b + o


COMPLETE, Y, NUMBERS = rows()
X = COMPLETE.drop_at_random("a", "b", random_state=0)


# --- Trained elsewhere ---------------------------------------------------------------------------------


def programs(outcome=None, names="abo", optional=("a", "b"), seed=0):
    """Model and guide as a user writes them, in single precision."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = Encoders({name: MLP(1, 8, 8) for name in names}, out_features=8)
        latents = one_latent_each(optional, dim=2)
        model = PrimoModel(encoder, latents, outcome=outcome or Categorical(2), hidden_dim=8)
        return model, PrimoGuide(model, hidden_dim=8, gamma=0.5, proposes_from_prior=True)


def trained(y=Y, **settings):
    """A few steps of a loop by hand."""
    model, guide = programs(**settings)
    loss = Loss(model, guide, objective=Objective())
    optimiser = torch.optim.AdamW(loss.parameters(), lr=0.02)
    before = loss(X, torch.as_tensor(y)).item()
    for _ in range(15):
        optimiser.zero_grad()
        value = loss(X, torch.as_tensor(y))
        value.backward()
        optimiser.step()
    assert value.item() < before
    return model, guide


@pytest.fixture(scope="module")
def by_hand():
    return trained()


@pytest.fixture
def adopted(by_hand):
    return PrimoClassifier(**SMALL).adopt(*copy.deepcopy(by_hand), X, Y)


def test_adopted_programs_answer_as_those_of_a_fit(by_hand, adopted):
    """A classifier whose own programs were replaced by the same ones says the same, to the last bit."""
    reference = PrimoClassifier(**SMALL).fit(X, Y)
    reference.model_, reference.guide_ = by_hand
    reference.seed_ = adopted.seed_
    np.testing.assert_array_equal(adopted.predict_proba(X), reference.predict_proba(X))
    np.testing.assert_array_equal(adopted.predict(X), reference.predict(X))
    pd.testing.assert_frame_equal(
        adopted.predictive_impact(X, "a"), reference.predictive_impact(X, "a"), check_exact=True
    )
    pd.testing.assert_frame_equal(
        adopted.impact_gap(COMPLETE), reference.impact_gap(COMPLETE), check_exact=True
    )
    assert adopted.optional_ == ("a", "b")
    assert adopted.classes_.tolist() == [0, 1]
    assert not hasattr(adopted, "history_")


def test_adopted_programs_answer_every_question(adopted):
    adopted.calibrate_impact(COMPLETE)
    assert "expected_change" in adopted.rank_acquisitions(X, {"a": 1.0, "b": 2.0})
    assert adopted.plausible_label_shares(X[:5]).shape == (5, 2)
    assert adopted.sample_latents(X[:5], 4).shape == (4, 5, 4)
    assert set(adopted.uncertainty(X)) == {"total", "aleatoric", "resolvable"}
    assert adopted.score(X, Y) > 0.5


def test_adopting_forgets_an_older_fit(by_hand):
    classifier = PrimoClassifier(**SMALL).fit(COMPLETE.select("o"), np.array(["x", "y"])[Y])
    classifier.adopt(*by_hand, X, Y)
    assert classifier.classes_.tolist() == [0, 1]
    assert set(classifier.shapes_) == {"a", "b", "o"}
    assert not [name for name in ("history_", "diagnosis_") if hasattr(classifier, name)]
    refit = clone(classifier).fit(X, Y)
    classifier.fit(X, Y)  # and a fit forgets what was adopted
    np.testing.assert_array_equal(classifier.predict_proba(X), refit.predict_proba(X))
    assert not hasattr(classifier, "adopted_")


def test_training_may_go_on_from_adopted_programs(by_hand):
    model, guide = copy.deepcopy(by_hand)
    before = copy.deepcopy(model.state_dict())
    classifier = PrimoClassifier(**SMALL, warm_start=True).adopt(model, guide, X, Y).fit(X, Y)
    assert classifier.model_ is model
    assert any(not torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert len(classifier.history_) == 2


def test_a_latent_without_an_absent_row_stays_optional(by_hand):
    """What may be absent is known of the model, whatever the rows that it is adopted with lack."""
    classifier = PrimoClassifier(**SMALL).adopt(*by_hand, COMPLETE, Y)
    assert classifier.optional_ == ("a", "b")


@pytest.mark.parametrize(
    ("made", "x", "y", "error", "said"),
    [
        (
            {"outcome": Categorical(3)},
            X,
            Y,
            LabelError,
            r"of 3 numbers; expected Categorical, of 2.*Give the model",
        ),
        (
            {"outcome": Multilabel(2)},
            X,
            Y,
            LabelError,
            r"is Multilabel, .*; expected Categorical.*Give",
        ),
        ({}, X.select("a", "o"), Y, ModalityError, r"encoders for \['a', 'b', 'o'\].*expected \['a', 'o'\]"),
        ({"optional": ("a",)}, X, Y, ModalityError, r"latents about \['a'\]; expected.*\['a', 'b'\].*Pass"),
        ({}, X, Y[1:], LabelError, "120 rows and y 119 labels"),
        ({}, X, np.zeros(ROWS), LabelError, "one class only"),
    ],
)
def test_programs_that_do_not_fit_the_rows_are_refused(made, x, y, error, said):
    """Before anything is learnt."""
    classifier = PrimoClassifier(**SMALL)
    with pytest.raises(error, match=said):
        classifier.adopt(*programs(**made), x, y)
    assert not hasattr(classifier, "model_")


def test_programs_for_numbers_are_adopted_by_the_regressor():
    scaled = ((NUMBERS - NUMBERS.mean()) / NUMBERS.std()).astype(np.float32)
    model, guide = trained(scaled, outcome=Normal())
    regressor = PrimoRegressor(**SMALL).adopt(model, guide, X, NUMBERS)
    assert np.corrcoef(regressor.predict(X), NUMBERS)[0, 1] > 0.5
    with pytest.raises(LabelError, match=r"outcome is Normal, .*; expected Categorical"):
        PrimoClassifier(**SMALL).adopt(model, guide, X, Y)
    with pytest.raises(LabelError, match=r"outcome is Categorical, .*; expected Normal"):
        PrimoRegressor(**SMALL).adopt(*programs(), X, NUMBERS)


def test_adopted_programs_are_saved_and_given_again(adopted, tmp_path):
    adopted.save(tmp_path / "model")
    model, guide = programs(seed=7)  # of the same kind, with other parameters
    again = PrimoClassifier.load(tmp_path / "model", programs=(model, guide))
    assert again.model_ is model
    np.testing.assert_array_equal(again.predict_proba(X), adopted.predict_proba(X))
    again.save(tmp_path / "again")
    with pytest.raises(SavedModelError, match=r"with adopted programs.*programs=\(model, guide\)"):
        PrimoClassifier.load(tmp_path / "model")
    with pytest.raises(SavedModelError, match=r"does not fit the networks.*Give .* like those that were"):
        PrimoClassifier.load(tmp_path / "model", programs=programs(outcome=Categorical(3)))
    PrimoClassifier(**SMALL).fit(X, Y).save(tmp_path / "fitted")
    with pytest.raises(SavedModelError, match=r"without adopted programs.*Call load\(folder\)"):
        PrimoClassifier.load(tmp_path / "fitted", programs=programs())


# --- Another story -----------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False, kw_only=True)
class TwoAspects(PrimoClassifier):
    """Two latents about one modality, of different sizes, and one that both modalities share."""

    shared_dim: int = 3

    def make_programs(self, encoder, outcome):
        latents = {
            "shape_of_a": Latent(("a",), self.latent_dim),
            "size_of_a": Latent(("a",), 1),
            "common": Latent(("a", "b"), self.shared_dim),
        }
        model = PrimoModel(encoder, latents, outcome=outcome, hidden_dim=self.hidden_dim)
        return model, PrimoGuide(
            model, hidden_dim=self.hidden_dim, gamma=self.gamma, proposes_from_prior=True
        )


@pytest.fixture(scope="module")
def told():
    return TwoAspects(**SMALL).fit(X, Y)


def test_another_story_is_trained(told):
    """Each latent has its part in the loss, and what is revealed together has one score."""
    assert told.model_.optional == ("a", "b")
    parts = set(told.history_)
    for latent in ("shape_of_a", "size_of_a", "common"):
        assert {f"kl_z_{latent}", f"anchor_{latent}", f"tie_{latent}"} <= parts
    assert "forecast" in parts
    assert np.isfinite(told.history_.to_numpy(float)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)  # of two epochs it is rightly said
        longer = TwoAspects(**SMALL, optional=("a", "b")).fit(X, Y, validation=(COMPLETE, Y))
    assert longer.diagnosis_["modality"].tolist() == ["a and b", *["a"] * 3, *["b"] * 3]


def test_a_story_needs_a_latent_for_whatever_may_be_absent():
    class Forgetful(PrimoClassifier):
        def make_programs(self, encoder, outcome):
            latents = one_latent_each(["a"], self.latent_dim)
            model = PrimoModel(encoder, latents, outcome=outcome, hidden_dim=8)
            return model, PrimoGuide(model, hidden_dim=8, gamma=0.5, proposes_from_prior=True)

    with pytest.raises(ModalityError, match=r"about \['a'\]; expected .* and \['a', 'b'\].*make a latent"):
        Forgetful(**SMALL).fit(X, Y)
    assert Forgetful(**SMALL).fit(X[X.present["b"]], Y[X.present["b"]]).optional_ == ("a",)


def test_another_story_predicts(told):
    p = told.predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    z = told.sample_latents(X[:7], 5)
    assert z.shape == (5, 7, 2 + 1 + 3)
    np.testing.assert_allclose(told.sample_predictions(X).mean(0), p, atol=1e-6)


def test_impact_of_a_modality_is_that_of_all_its_latents(told):
    """All of them vary with a; b has its share of the common one alone."""
    x = COMPLETE[:30].drop("a", "b")
    impact = {m: told.predictive_impact(x, m)["impact"] for m in ("a", "b", None)}
    np.testing.assert_allclose(impact["a"], impact[None], atol=1e-2)  # a is what every latent is about
    assert (impact["b"] > 0).all()
    assert (impact["b"] < impact[None]).all()
    gap = told.impact_gap(COMPLETE, "a")
    assert (gap["realised_change"] > 0).all()
    told.calibrate_impact(COMPLETE)
    assert set(told.rank_acquisitions(x)["modality"]) == {"a", "b"}


def test_another_story_is_saved_and_loaded_by_its_class(told, tmp_path):
    told.save(tmp_path / "model")
    again = TwoAspects.load(tmp_path / "model")
    assert again.shared_dim == 3
    np.testing.assert_array_equal(again.predict_proba(X), told.predict_proba(X))
    with pytest.raises(SavedModelError, match=r"a TwoAspects; expected a PrimoClassifier.*TwoAspects\.load"):
        PrimoClassifier.load(tmp_path / "model")
    PrimoClassifier(**SMALL).fit(X, Y).save(tmp_path / "other")
    with pytest.raises(SavedModelError, match=r"a PrimoClassifier; expected a TwoAspects"):
        TwoAspects.load(tmp_path / "other")
    with pytest.raises(SavedModelError, match="changed after fit"):
        copy.deepcopy(told).set_params(shared_dim=4).save(tmp_path / "model")


def test_sites_and_sizes_of_shared_latents():
    x, y = make_rows(17, ("m", "n"))
    latents = {"m": Latent(("m",), 1), "detail": Latent(("m",), 4), "both": Latent(("m", "n"), 3)}
    model, guide = make_program(("m", "n"), latents=latents)
    for program in (model, guide):
        trace = poutine.trace(program).get_trace(x, torch.as_tensor(y))
        shapes = {name: node["value"].shape for name, node in trace.nodes.items() if name.startswith("z_")}
        assert shapes == {"z_m": (17, 1), "z_detail": (17, 4), "z_both": (17, 3)}
    loss = Loss(model, guide, objective=Objective())
    loss(x, torch.as_tensor(y))
    assert {"kl_z_m", "kl_z_detail", "kl_z_both", "nll_y"} <= set(loss.parts)


def test_a_shared_latent_is_known_only_where_all_is_present():
    """Its prior is tied, and proposed from the prior, by all that it is about."""
    x, y = make_rows(40, ("m", "n"))
    model, guide = make_program(("m", "n"), latents={"both": Latent(("m", "n"), 2)})
    h, known = model.encoder(x), torch.as_tensor(x.present["m"] & x.present["n"])
    none = torch.as_tensor(~x.present["m"] & ~x.present["n"])
    parts = regulariser(model, h, Objective())
    assert set(parts) == {"anchor_both", "tie_both", "forecast", "residual_spread", "agreement"}
    assert (parts["tie_both"][none] == 0).all()
    assert (parts["tie_both"][~none] > 0).all()
    assert (parts["forecast"][none] == 0).all()
    assert (parts["forecast"][~none] != 0).any()
    q = poutine.trace(guide).get_trace(x, torch.as_tensor(y)).nodes["z_both"]["fn"]
    prior = model.prior["both"](h)
    assert torch.equal((q.mean == prior.mean).all(1), known)


def test_a_modality_may_stay_observed_beside_latents_of_others():
    """Roles follow the latents: what none is about the likelihood sees directly."""
    model, _ = make_program(("m", "n"), latents={"m": Latent(("m",), 2)})
    assert model.optional == ("m",)
    assert set(model.likelihood.from_observed) == {"o", "n"}
    assert set(model.likelihood.from_latent) == {"m"}
