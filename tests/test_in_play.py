"""Latents in play: which latents a row's story has, what is asked and hidden, and V of what is absent."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

from primo_pyro import Modalities, Objective, PrimoClassifier
from primo_pyro.analysis.calibration import ImpactCalibrator
from primo_pyro.errors import FewRowsWarning, ModalityError
from primo_pyro.prediction import summarise
from primo_pyro.program import (
    MLP,
    Categorical,
    Encoders,
    Loss,
    PrimoGuide,
    PrimoModel,
    TrainingModel,
    loss,
    one_latent_each,
    regulariser,
)
from primo_pyro.program.priors import Latent
from primo_pyro.program.regulariser import random_sets
from primo_pyro.program.stacked import can_be_stacked

NAMES = ("a", "b", "c")
CALIBRATED, PAPER = Objective.named("calibrated"), Objective.named("paper")


def rows(count=24, optional=NAMES, seed=0):
    random = np.random.default_rng(seed)
    x = Modalities({name: random.normal(size=(count, 2)) for name in ("o", *optional)})
    return x.drop_at_random(*optional, random_state=seed), torch.as_tensor(random.integers(0, 3, count))


def programs(optional=NAMES, proposes_from_prior=True, latents=None):
    torch.manual_seed(0)
    encoder = Encoders({name: MLP(2, 8, 4) for name in ("o", *optional)}, out_features=4)
    latents = latents or one_latent_each(optional, dim=2)
    model = PrimoModel(encoder, latents, outcome=Categorical(3), hidden_dim=8)
    guide = PrimoGuide(model, hidden_dim=8, gamma=0.5, proposes_from_prior=proposes_from_prior)
    for constant in model.likelihood.not_in_play.values():
        torch.nn.init.normal_(constant)
    return model.double(), guide.double()


@contextmanager
def nothing_at_random(monkeypatch):
    """All that is absent is asked about and all that is present hidden: two losses can be equal."""
    with monkeypatch.context() as patch:
        patch.setattr(regulariser, "random_sets", lambda candidates, **_: dict(candidates))
        patch.setattr(loss, "asked_at_random", lambda model, h: {m: ~h.present[m] for m in model.optional})
        yield


# --- Loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "latents",
    [
        one_latent_each(("a",), 2),
        one_latent_each(NAMES, 2),
        {"of_b": Latent(("b",), 2), "both": Latent(("a", "b"), 2)},
        {"all": Latent(NAMES, 2)},
    ],
    ids=["one", "three", "shared beside own", "one shared"],
)
@pytest.mark.parametrize(
    "objective",
    [
        CALIBRATED,
        PAPER,
        replace(PAPER, num_particles=4),
        replace(CALIBRATED, propose_from_prior=False, spread_penalty=0.5),
        replace(CALIBRATED, elbo="trace"),
        replace(CALIBRATED, elbo="mean_field"),
    ],
    ids=["calibrated", "paper", "paper, four draws", "posterior everywhere", "trace", "mean field"],
)
def test_the_loss_is_the_elbo_of_the_pyro_programs(latents, objective, monkeypatch):
    """Value and gradient of the path without Pyro equal those of the model with its terms as factors."""
    optional = tuple(sorted({m for latent in latents.values() for m in latent.about}))
    x, y = rows(optional=optional)
    model, guide = programs(optional, objective.propose_from_prior, latents)
    assert can_be_stacked(model, guide)
    module = Loss(model, guide, objective=objective)
    h = model.encoder(x).ask({m: torch.as_tensor(~x.present[m]) for m in optional})
    parameters = list(module.parameters())
    with nothing_at_random(monkeypatch):
        torch.manual_seed(1)
        direct = module(h, y)
        torch.manual_seed(1)
        # In the order of draws of `Loss`: its terms, and then Pyro's bound.
        terms = module.training_model.terms(h, y)
        bound = objective.make_elbo()(model, guide)(h, y)
        by_pyro = bound + sum(term.sum() for term in terms.values())
    losses = direct, by_pyro
    gradients = [
        torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True) for value in losses
    ]
    # Sums over 24 rows in double precision.
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-10)
    for one, other in zip(*gradients, strict=True):
        if one is not None or other is not None:  # None is zero: nothing depends on the parameter
            one, other = (torch.zeros(()) if g is None else g for g in (one, other))
            assert (one - other).abs().max() < 1e-10


def test_terms_enter_the_pyro_program_as_factors(monkeypatch):
    """With the same draws the ELBO of the training model is that of the model less its terms."""
    x, y = rows()
    model, guide = programs(proposes_from_prior=False)
    objective = replace(PAPER, auxiliary=1.0)  # no draws but the guide's
    training_model = TrainingModel(model, objective).double()
    h = model.encoder(x)
    with nothing_at_random(monkeypatch):
        terms = sum(term.sum() for term in training_model.terms(h, y).values())
        losses = []
        for program in (training_model, model):
            torch.manual_seed(1)
            losses.append(objective.make_elbo()(program, guide)(h, y))
    assert losses[0].item() == pytest.approx((losses[1] + terms).item(), abs=1e-10)


# --- Who is in play --------------------------------------------------------------------------------------


def test_by_default_every_latent_is_in_play():
    x, _ = rows()
    model, _ = programs()
    h = model.encoder(x)
    assert all(h.in_play((m,)) is True for m in NAMES)
    assert h.ask(()).in_play(("a",)) is not True
    assert h.drop("a").ask(()).in_play(("a",)) is False
    np.testing.assert_array_equal(h.ask(["b"]).in_play(("a",)).numpy(), x.present["a"])
    assert h.ask(["b"]).in_play(("b",)) is True


def test_a_latent_out_of_play_is_not_drawn_and_leaves_a_constant():
    x, y = rows()
    model, guide = programs()
    h = model.encoder(x.drop("a", "b")).ask(["b"])
    for program in (model, guide):
        trace = poutine.trace(program).get_trace(h, y)
        assert "z_a" not in trace.nodes
        assert {"z_b", "z_c"} <= set(trace.nodes)
    some = h.in_play(("c",))
    logits = []
    for value in (0.0, 100.0):
        z = {m: torch.zeros(len(h), 2, dtype=torch.float64) for m in ("b", "c")}
        z["c"] = z["c"] + value
        logits.append(model.likelihood(h, z))
    changed = (logits[0] != logits[1]).any(-1)
    assert torch.equal(changed, some)


def test_masked_latents_leave_the_bound():
    """The bound of rows that ask about a only is that of a model that has no other absent latent."""
    x, y = rows()
    model, guide = programs(proposes_from_prior=False)
    guide.eval()
    h = model.encoder(x.drop(*NAMES)).ask(["a"])
    trace = poutine.trace(model).get_trace(h, y)
    trace.compute_log_prob()
    assert [name for name in trace.stochastic_nodes if name.startswith("z_")] == ["z_a"]


def test_something_is_absent_where_an_absent_modality_is_asked_about():
    x, _ = rows()
    model, _ = programs()
    h = model.encoder(x)
    np.testing.assert_array_equal(model.something_absent(h).numpy(), ~x.complete)
    np.testing.assert_array_equal(model.something_absent(h.ask(["a"])).numpy(), ~x.present["a"])
    assert not model.something_absent(h.ask(())).any()


def test_random_sets_are_of_the_candidates_and_not_empty_where_there_are_any():
    torch.manual_seed(0)
    candidates = {m: torch.rand(4000) < 0.5 for m in NAMES}
    available = torch.stack(list(candidates.values()), 1)
    for alone, everything in ((0.5, 0.0), (1 / 3, 1 / 3), (0.0, 1.0), (1.0, 0.0)):
        chosen = torch.stack(list(random_sets(candidates, alone, everything).values()), 1)
        assert not (chosen & ~available).any()
        assert torch.equal(chosen.any(1), available.any(1))
        if everything == 1:
            assert torch.equal(chosen, available)
        if alone == 1:
            assert chosen.sum(1).max() == 1
            # Of three candidates each is drawn in a third of some 500 rows: a standard deviation is .021.
            share = chosen[available.all(1)].double().mean(0)
            assert (share - 1 / 3).abs().max() < 4 * 0.021


def test_the_spread_penalty_concerns_rows_where_nothing_is_absent():
    elbo = replace(CALIBRATED, spread_penalty=1.0).make_elbo()
    log_weights = torch.log(torch.tensor([[0.2, 0.2], [0.8, 0.8]]))
    bound = elbo.average(log_weights, lambda: torch.tensor([True, False]))
    torch.testing.assert_close(bound, torch.stack([torch.tensor(0.5).log(), log_weights[:, 1].mean()]))


def test_known_latents_are_drawn_once_where_something_is_absent():
    """Row by row: a latent is one value in all draws where its modality is present and another is absent."""
    x, y = rows(optional=("a", "b"))
    model, guide = programs(("a", "b"))
    h = model.encoder(x)
    with poutine.block(), poutine.trace() as traced, pyro.plate("draws", 5, dim=-2):
        guide(h, y)
    for name, other in ("a", "b"), ("b", "a"):
        z = traced.trace.nodes[f"z_{name}"]["value"]
        assert z.shape == (5, len(x), 2)
        one_value = (z == z[0]).all(0).all(-1).numpy()
        np.testing.assert_array_equal(one_value, x.present[name] & ~x.present[other])


@pytest.mark.parametrize("optional", [("a",), ("a", "b")])
def test_two_terms_are_for_several_optional_modalities(optional):
    x, _ = rows(optional=optional)
    model, _ = programs(optional)
    parts = regulariser.regulariser(model, model.encoder(x), CALIBRATED)
    assert ("agreement" in parts) == ("residual_spread" in parts) == (len(optional) > 1)


def test_agreement_is_none_where_questions_change_nothing():
    """Where the latents leave the label alone every average is the same, and it is not where they do."""
    x, _ = rows(200, optional=("a", "b"))
    model, _ = programs(("a", "b"))
    h = model.encoder(x)
    some = x.present["a"] | x.present["b"]
    torch.manual_seed(0)
    agreement = regulariser.regulariser(model, h, CALIBRATED)["agreement"].detach().numpy()
    assert (agreement[some] > 0).any()
    assert (agreement[~some] == 0).all()
    with torch.no_grad():
        for name in ("a", "b"):
            model.likelihood.from_latent[name].weight.zero_()
            model.likelihood.not_in_play[name].zero_()
    agreement = regulariser.regulariser(model, h, CALIBRATED)["agreement"]
    torch.testing.assert_close(agreement, torch.zeros_like(agreement), atol=1e-20, rtol=0)


def test_agreement_moves_the_smaller_question_alone():
    """The average over all that is absent is held: its draws of latents pass no gradient."""
    x, _ = rows(200, optional=("a", "b"))
    x = x[x.complete]
    model, _ = programs(("a", "b"))
    objective = replace(PAPER, anchor=0.0, tie=0.0, agreement=1.0)
    only_nothing = lambda hidden: {m: torch.zeros_like(rows) for m, rows in hidden.items()}  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regulariser, "part_of", only_nothing)
        patch.setattr(regulariser, "random_sets", lambda candidates, **_: dict(candidates))
        agreement = regulariser.regulariser(model, model.encoder(x), objective)["agreement"].sum()
    # Everything is hidden and nothing asked about: no latent is in play in the prediction that moves.
    weights = [model.likelihood.from_latent[name].weight for name in ("a", "b")]
    constants = [model.likelihood.not_in_play[name] for name in ("a", "b")]
    gradients = torch.autograd.grad(agreement, weights + constants, allow_unused=True)
    assert all(g is None or (g == 0).all() for g in gradients[:2])
    assert all((g != 0).any() for g in gradients[2:])


def test_a_part_of_what_is_hidden_is_nothing_half_of_the_time():
    torch.manual_seed(0)
    hidden = {m: torch.rand(4000) < 0.7 for m in NAMES}
    part = regulariser.part_of(hidden)
    assert not any((part[m] & ~hidden[m]).any() for m in NAMES)
    full = torch.stack(list(hidden.values())).all(0)
    asked = torch.stack(list(part.values()))[:, full].double()
    # Of three hidden ones each is asked about with probability 1/4 in some 1,370 rows, and nothing at all
    # with probability 1/2 + 1/16: standard deviations are .012 and .013.
    assert (asked.mean(1) - 0.25).abs().max() < 4 * 0.012
    assert ((asked.sum(0) == 0).double().mean() - 9 / 16).abs() < 4 * 0.013


def test_residual_spread_is_none_where_draws_agree():
    x, _ = rows(optional=("a", "b"))
    model, _ = programs(("a", "b"))
    h = model.encoder(x)
    part = regulariser.regulariser(model, h, CALIBRATED)["residual_spread"]
    np.testing.assert_array_equal((part > 0).numpy(), x.present["a"] | x.present["b"])
    gradients = torch.autograd.grad(part.sum(), list(model.likelihood.parameters()), allow_unused=True)
    assert all(g is None for g in gradients)  # it narrows the priors alone
    with torch.no_grad():
        for name in ("a", "b"):
            model.likelihood.from_latent[name].weight.zero_()
    part = regulariser.regulariser(model, h, CALIBRATED)["residual_spread"]
    torch.testing.assert_close(part, torch.zeros_like(part), atol=1e-15, rtol=0)


# --- V ---------------------------------------------------------------------------------------------------


def test_latents_of_present_modalities_do_not_count():
    """A label that hangs on z_a alone: V of the absent b is exactly 0 where a is present, spread or not."""
    x, _ = rows(optional=("a", "b"))
    model, _ = programs(("a", "b"))
    with torch.no_grad():
        model.likelihood.from_latent["b"].weight.zero_()
        model.likelihood.from_latent["a"].weight.mul_(20)
    present = Modalities(x.values, present={m: np.ones(len(x), bool) for m in x.names})
    summary = summarise(model, present.drop("b"), num_samples=64)
    assert summary.spread.min() > 0.01
    np.testing.assert_allclose(summary.impact, 0, atol=1e-12)
    np.testing.assert_allclose(summary.information_gain, 0, atol=1e-12)
    complete = summarise(model, present, num_samples=64)
    assert (complete.impact == 0).all()
    assert (complete.flip == 0).all()
    assert complete.spread.min() > 0.01


@pytest.fixture(scope="module")
def fitted():
    x, y = rows(300)
    clf = PrimoClassifier(latent_dim=2, hidden_dim=16, max_epochs=3, num_samples=32, random_state=0)
    return clf.fit(x, y.numpy()), x


def test_each_is_every_single_question_in_one_frame(fitted):
    clf, x = fitted
    each = clf.predictive_impact(x, "each")
    assert len(each) == 3 * len(x)
    assert each.columns.tolist()[:3] == ["row", "modality", "impact"]
    for name in NAMES:
        alone = clf.predictive_impact(x, name)
        mine = each[each["modality"] == name].sort_values("row")
        # Single precision: rows beside others may be summed in another order.
        np.testing.assert_allclose(mine["impact"], alone["impact"], rtol=0, atol=1e-6)
        assert (alone["impact"][x.present[name]] == 0).all()
        assert (alone["impact"][~x.present[name]] > 0).all()


def test_a_set_is_a_question_of_its_own(fitted):
    clf, x = fitted
    bare = x.drop(*NAMES)
    together = clf.predictive_impact(bare, NAMES)
    np.testing.assert_array_equal(together["impact"], clf.predictive_impact(bare)["impact"])
    pair = clf.predictive_impact(bare, ("c", "a"))
    np.testing.assert_array_equal(pair["impact"], clf.predictive_impact(bare, ["a", "c"])["impact"])
    assert not np.allclose(pair["impact"], together["impact"])


def test_the_gap_needs_rows_that_have_the_modality_and_no_more(fitted):
    clf, x = fitted
    some = x[x.present["b"]]
    gap = clf.impact_gap(some, "b")
    assert len(gap) == len(some)
    p, q = clf.predict_proba(some.drop("b")), clf.predict_proba(some)
    np.testing.assert_allclose(gap["realised_change"], abs(p - q).sum(1) / 2, atol=1e-12)
    np.testing.assert_array_equal(gap["impact_missing"], clf.predictive_impact(some.drop("b"), "b")["impact"])
    with pytest.raises(ModalityError, match="expected rows that have it") as refused:
        clf.impact_gap(x, ("a", "b"))
    assert "x[x.present['a'] & x.present['b']]" in str(refused.value)
    cured = eval("x[x.present['a'] & x.present['b']]", {"x": x})
    assert len(clf.impact_gap(cured, ("a", "b"))) == len(cured)
    with pytest.raises(ModalityError, match="none of the optional modalities"):
        clf.impact_gap(x.drop(*NAMES))


def test_a_modality_without_a_latent_has_no_impact_to_report(fitted):
    clf, x = fitted
    with pytest.warns(UserWarning, match="no training row had"):
        impact = clf.predictive_impact(x.drop("o", where=np.arange(len(x)) < 5))
    assert impact["impact"][:5].isna().all()
    assert impact["impact"][5:].notna().all()
    with pytest.raises(ModalityError, match=r"'o' has no latent.*fit with it in optional"):
        clf.predictive_impact(x, "o")


def test_calibration_needs_rows_with_the_modality_only(fitted):
    clf, x = fitted
    clf = clf.__class__(**clf.get_params()).fit(*(x, np.arange(len(x)) % 3))
    clf.calibrate_impact(x)
    assert set(clf.impact_calibrators_) == {*NAMES, None}
    assert "expected_change" in clf.predictive_impact(x, "a")
    clf.calibrate_impact(x, modality=("a", "b"))
    assert set(clf.impact_calibrators_) == {*NAMES, None, "a + b"}
    with pytest.warns(FewRowsWarning, match="mostly chance"):
        clf.calibrate_impact(x[:60])
    with pytest.raises(ModalityError, match="No row has a"):
        clf.calibrate_impact(x.drop("a"))


def test_what_is_absent_together_is_calibrated_on_parts_too(fitted, monkeypatch):
    """The joint map is learnt over V of all that a row has, and of a part of it."""
    clf, x = fitted
    clf = clf.__class__(**clf.get_params()).fit(*(x, np.arange(len(x)) % 3))
    learnt = []
    fit = ImpactCalibrator.fit

    def remembered(self, impact, change):
        learnt.append(np.asarray(impact))
        return fit(self, impact, change)

    monkeypatch.setattr(ImpactCalibrator, "fit", remembered)
    clf.calibrate_impact(x)
    *single, together = learnt
    assert [len(v) for v in single] == [int(x.present[name].sum()) for name in NAMES]
    having = x[np.logical_or.reduce([x.present[name] for name in NAMES])]
    assert len(together) == 2 * len(having)
    np.testing.assert_array_equal(together[: len(having)], clf.impact_gap(having)["impact_missing"])
    several = np.sum([having.present[name] for name in NAMES], axis=0) > 1
    assert (together[len(having) :][several] != together[: len(having)][several]).any()


def test_sets_are_ranked_beside_single_modalities(fitted):
    clf, x = fitted
    ranked = clf.rank_acquisitions(x, {"a": 1.0, "b": 2.0, "c": 4.0}, sets=[("a", "b")])
    pairs = ranked[ranked["modality"] == "a + b"]
    lacking = ~x.present["a"] & ~x.present["b"]
    assert sorted(pairs["row"]) == np.flatnonzero(lacking).tolist()
    assert (pairs["cost"] == 3).all()
    assert ranked["change_per_cost"].is_monotonic_decreasing
    assert len(ranked) == sum(int((~x.present[m]).sum()) for m in NAMES) + int(lacking.sum())
