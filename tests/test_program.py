"""The Pyro program: shapes, sites, the loss to the last digit, and bounds that hold."""

import copy
import math
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, RenyiELBO, Trace_ELBO
from torch.distributions import Categorical, Normal, kl_divergence

import primo_pyro
from primo_pyro import ImportanceELBO, Objective, TrainingModel
from primo_pyro.program import Categorical as ClassesOutcome
from primo_pyro.program import Latent, Loss, Multilabel, Ordinal
from primo_pyro.program import Normal as NumberOutcome
from primo_pyro.program.regulariser import prediction_terms, priors_of, regulariser, tie
from tests.conftest import make_program, make_rows

PAPER, CALIBRATED = Objective.named("paper"), Objective.named("calibrated")
NAMES = ("m", "n", "k")


@pytest.mark.parametrize("rows", [1, 2, 17])
@pytest.mark.parametrize("latents", [0, 1, 2, 3])
@pytest.mark.parametrize("objective", [PAPER, CALIBRATED], ids=["paper", "calibrated"])
def test_sites_and_shapes(rows, latents, objective):
    optional = NAMES[:latents]
    x, y = make_rows(rows, optional)
    model, guide = make_program(optional, proposes_from_prior=objective.propose_from_prior)
    trace = poutine.trace(model).get_trace(x, torch.as_tensor(y))
    for m in optional:
        assert trace.nodes[f"z_{m}"]["value"].shape == (rows, 2)
    assert trace.nodes["logits"]["value"].shape == (rows, 3)
    trace.compute_log_prob()
    assert trace.nodes["y"]["log_prob"].shape == (rows,)
    draws = Predictive(model, num_samples=5, parallel=True, return_sites=("logits",))(x)
    assert draws["logits"].shape == (5, rows, 3)
    loss = Loss(model, guide, objective=objective)(x, torch.as_tensor(y))
    assert loss.shape == ()
    assert torch.isfinite(loss)


def test_no_modality_always_present():
    x, y = make_rows(optional=("m", "n"), observed=())
    model, guide = make_program(("m", "n"), observed=())
    loss = Loss(model, guide, objective=CALIBRATED)(x, torch.as_tensor(y))
    assert torch.isfinite(loss)


@pytest.mark.parametrize("elbo", ["trace", "mean_field", "importance"])
@pytest.mark.parametrize("objective", [PAPER, CALIBRATED], ids=["paper", "calibrated"])
@pytest.mark.parametrize("optional", [(), ("m",), ("m", "n")])
def test_every_parameter_moves_also_in_a_second_instance(elbo, objective, optional):
    x, y = make_rows(64, optional)
    y = torch.as_tensor(y)
    objective = replace(objective, elbo=elbo)
    for _ in range(2):  # the store is left dirty by the first instance, on purpose
        model, guide = make_program(optional, proposes_from_prior=objective.propose_from_prior)
        loss = Loss(model, guide, objective=objective)
        before = {name: p.detach().clone() for name, p in loss.named_parameters()}
        optimiser = torch.optim.AdamW(loss.parameters(), lr=0.1, weight_decay=0)
        loss(x, y).backward()
        optimiser.step()
        still = [name for name, p in loss.named_parameters() if torch.equal(p, before[name])]
        assert still == []


def hand_written_loss(trained, guide, x, y, noise):
    """The loss from its equations, with torch alone; ``noise`` [K, B, d]."""
    model, objective = trained.model, trained.objective
    h_o, h_m = (model.encoder(x).values[name] for name in "om")
    present = torch.as_tensor(x.present["m"])

    def prior(h_m):
        loc, raw = model.prior["m"].net(torch.cat([h_o, h_m], 1)).chunk(2, 1)
        return Normal(loc, torch.log1p(torch.exp(raw + 0.5413)) + 1e-4)

    label = torch.nn.functional.one_hot(y, 3)
    q_net = guide.posterior["m"]
    loc, raw = q_net.net(torch.cat([h_o, h_m, label], 1)).chunk(2, 1)
    loc = (loc - loc.mean(0)) / torch.sqrt(loc.var(0, unbiased=False) + 1e-5)
    q = Normal(0.5 * loc + q_net.shift, torch.log1p(torch.exp(raw + 0.5413)) + 1e-4)
    complete, missing = prior(h_m), prior(torch.zeros_like(h_m))
    if objective.propose_from_prior:
        q = Normal(
            torch.where(present[:, None], complete.loc, q.loc),
            torch.where(present[:, None], complete.scale, q.scale),
        )
    z = q.loc + q.scale * noise
    log_y = Categorical(logits=model.likelihood(model.encoder(x), {"m": z})).log_prob(y)
    log_weight = log_y + complete.log_prob(z).sum(-1) - q.log_prob(z).sum(-1)  # [K, B]
    bound = log_weight.logsumexp(0) - math.log(len(noise))
    # Where m is present nothing is absent, and spread is penalised.
    bound = bound + present * objective.spread_penalty * (log_weight.mean(0) - bound)
    if objective.elbo == "trace":
        bound = log_weight.mean(0)
    anchor = kl_divergence(missing, Normal(0.0, 1.0)).sum(-1)
    share = objective.tie_on_complete
    held = Normal(complete.loc.detach(), complete.scale.detach())
    towards_missing = kl_divergence(held, missing).sum(-1)
    towards_complete = kl_divergence(complete, Normal(missing.loc.detach(), missing.scale.detach())).sum(-1)
    tie = towards_missing + share * (towards_complete - towards_complete.detach())
    losses = objective.anchor * anchor + objective.tie * tie - bound
    if objective.auxiliary:
        for name, h, rows in ("o", h_o, torch.ones(len(y))), ("m", h_m, present):
            head = trained.heads[name]
            logits = h @ head.weight.T + head.bias
            log_p = logits.gather(1, y[:, None])[:, 0] - logits.logsumexp(1)
            losses = losses - objective.auxiliary * rows * log_p
    return losses.sum()


@pytest.mark.parametrize(
    "objective",
    [PAPER, replace(PAPER, num_particles=4), replace(CALIBRATED, forecast=0.0, residual_spread=0.0)],
    ids=["paper", "paper, four draws", "calibrated without distances"],
)
def test_loss_and_gradients_equal_the_hand_written_ones(objective):
    x, y = make_rows(17)
    y = torch.as_tensor(y)
    model, guide = make_program(proposes_from_prior=objective.propose_from_prior)
    program = objective.make_elbo()(TrainingModel(model, objective), guide)

    with Draw() as draw:
        loss = program(x, y)
    gradients = torch.autograd.grad(loss, list(program.parameters()), allow_unused=True)

    # Where the guide proposes from the prior it draws from both and keeps one: the noise of the one it kept
    # is what the draw says in units of the component that was chosen.
    q = guide_distribution(guide, x, y)
    noise = ((draw.value - q.mean) / q.variance.sqrt()).detach()
    if noise.dim() == 2:
        noise = noise[None]
    expected = hand_written_loss(program.model, guide, x, y, noise)
    expected_gradients = torch.autograd.grad(expected, list(program.parameters()), allow_unused=True)

    # Float64 carries 16 digits; sums over 17 rows and the noise's recovery cost a few.
    assert loss.item() == pytest.approx(expected.item(), abs=1e-10)
    for one, other in zip(gradients, expected_gradients, strict=True):
        if other is None:
            assert one is None or one.abs().max() < 1e-10
        else:
            torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


class Draw(poutine.messenger.Messenger):
    """Keeps the value that z_m took."""

    def _pyro_post_sample(self, msg):
        if msg["name"] == "z_m":
            self.value = msg["value"]


def guide_distribution(guide, x, y):
    return poutine.trace(guide).get_trace(x, y).nodes["z_m"]["fn"]


def test_loss_without_optional_modalities_is_cross_entropy():
    x, y = make_rows(optional=())
    y = torch.as_tensor(y)
    for objective in (PAPER, CALIBRATED):
        model, guide = make_program(optional=())
        loss = Loss(model, guide, objective=objective)(x, y)
        logits = model.likelihood(model.encoder(x), {})
        assert loss.item() == pytest.approx(
            torch.nn.functional.cross_entropy(logits, y, reduction="sum").item(), abs=1e-10
        )


def test_one_svi_step_is_one_step_of_the_elbo_module():
    x, y = make_rows(17)
    y = torch.as_tensor(y)
    settings = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.0}

    model, guide = make_program()
    model = TrainingModel(model, CALIBRATED)
    other_model, other_guide = copy.deepcopy((model, guide))
    elbo = CALIBRATED.make_elbo()(model, guide)
    optimiser = torch.optim.AdamW(elbo.parameters(), **settings)
    torch.manual_seed(1)
    loss = elbo(x, y)
    loss.backward()
    optimiser.step()

    with pyro.get_param_store().scope():
        svi = SVI(other_model, other_guide, pyro.optim.AdamW(settings), CALIBRATED.make_elbo())
        torch.manual_seed(1)
        other_loss = svi.step(x, y)
    assert other_loss == loss.item()
    for one, other in zip(
        torch.nn.ModuleList([model, guide]).named_parameters(),
        torch.nn.ModuleList([other_model, other_guide]).named_parameters(),
        strict=True,
    ):
        assert one[0] == other[0]
        torch.testing.assert_close(one[1], other[1], rtol=0, atol=1e-15)


def test_bounds_lie_below_the_exact_likelihood_and_close_in_on_it():
    """With one latent dimension, log p(y | x) is an integral that quadrature knows to ten digits."""
    x, y = make_rows(17)
    y = torch.as_tensor(y)
    model, guide = make_program(latent_dim=1, proposes_from_prior=False)
    guide.eval()
    with torch.no_grad():
        h = model.encoder(x)
        prior = model.prior["m"](h)
        nodes, weights = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(200))
        z = prior.mean + prior.stddev * nodes[:, None, None]
        log_y = Categorical(logits=model.likelihood(h, {"m": z})).log_prob(y)
        exact = ((weights / weights.sum())[:, None] * log_y.exp()).sum(0).log().sum().item()

        def bound(elbo, repeats=50):
            estimates = np.array([-elbo.loss(model, guide, x, y) for _ in range(repeats)])
            return estimates.mean(), estimates.std() / math.sqrt(repeats)

        one = bound(Trace_ELBO(num_particles=100, max_plate_nesting=1, vectorize_particles=True))
        few = bound(ImportanceELBO(num_particles=5, max_plate_nesting=1, vectorize_particles=True), 500)
        many = bound(ImportanceELBO(num_particles=2000, max_plate_nesting=1, vectorize_particles=True))
    # Each inequality is strict by far more than four standard errors, where it holds at all.
    assert one[0] + 4 * one[1] < few[0] - 4 * few[1]
    assert few[0] + 4 * few[1] < many[0]
    assert many[0] == pytest.approx(exact, abs=4 * many[1] + 0.01)
    assert many[0] < exact + 4 * many[1]


@pytest.mark.parametrize("as_trained", [False, True])
def test_importance_bound_equals_pyros_renyi_bound(as_trained):
    x, y = make_rows(17)
    y = torch.as_tensor(y)
    model, guide = make_program()
    if as_trained:
        model = TrainingModel(model, CALIBRATED)
    settings = {"num_particles": 7, "max_plate_nesting": 1, "vectorize_particles": True}
    torch.manual_seed(3)
    ours = ImportanceELBO(**settings).loss(model, guide, x, y)
    torch.manual_seed(3)
    pyros = RenyiELBO(alpha=0, **settings).loss(model, guide, x, y)
    assert ours == pytest.approx(pyros, abs=1e-10)


def test_trace_and_mean_field_agree_in_expectation():
    x, y = make_rows(17)
    y = torch.as_tensor(y)
    model, guide = make_program(proposes_from_prior=False)
    guide.eval()
    trained = TrainingModel(model, PAPER)

    def losses(name):
        elbo = replace(PAPER, elbo=name, num_particles=50).make_elbo()
        with torch.no_grad():
            return np.array([elbo.loss(trained, guide, x, y) for _ in range(40)])

    trace, analytic = losses("trace"), losses("mean_field")
    error = math.sqrt(trace.var() / 40 + analytic.var() / 40)
    assert trace.mean() == pytest.approx(analytic.mean(), abs=4 * error)


def test_tie_is_zero_where_the_modality_is_absent():
    x, _ = make_rows(17)
    model, _ = make_program()
    parts = regulariser(model, model.encoder(x), CALIBRATED)
    absent = torch.as_tensor(~x.present["m"])
    assert (parts["tie_m"][absent] == 0).all()
    assert (parts["forecast"][absent] == 0).all()
    assert (parts["tie_m"][~absent] > 0).all()


def score_of(model, h, num_draws):
    """The forecast score with m hidden wherever it is present, in units of the largest impact."""
    hidden = {"m": h.present["m"]}
    objective = replace(CALIBRATED, forecast=1.0, num_particles=num_draws)
    priors = priors_of(model, h), priors_of(model, h.hide(hidden))
    return prediction_terms(model, h, hidden, *priors, objective)["forecast"] / model.outcome.largest_impact


def test_forecast_is_weighted_in_units_of_the_largest_impact():
    x, _ = make_rows(17)
    model, _ = make_program()
    h, objective = model.encoder(x), replace(CALIBRATED, forecast=0.7)
    torch.manual_seed(0)
    part = regulariser(model, h, objective)["forecast"]
    torch.manual_seed(0)
    score = score_of(model, h, objective.num_particles)
    torch.testing.assert_close(part, 0.7 * model.outcome.largest_impact * score)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_ties_gradient_reaches_the_prior_that_knows_the_modality(share):
    """Its value is the divergence whatever the share, and p_m always gets the whole gradient."""
    locs = torch.tensor([[1.0, -2.0], [0.5, 0.3]], requires_grad=True)  # of p_c and of p_m

    class Prior(torch.nn.Module):
        def forward(self, complete):
            return pyro.distributions.Normal(locs[:1] if complete else locs[1:], 1.0).to_event(1)

    prior = Prior()
    divergence = tie(prior(True), prior(False), replace(CALIBRATED, tie_on_complete=share)).sum()
    whole = kl_divergence(prior(True), prior(False)).sum()
    assert divergence.item() == pytest.approx(whole.item(), rel=1e-6)  # single precision
    (gradient,), (full,) = torch.autograd.grad(divergence, locs), torch.autograd.grad(whole, locs)
    torch.testing.assert_close(gradient[0], share * full[0])
    torch.testing.assert_close(gradient[1], full[1])


class OneNumber(torch.nn.Module):
    """p(z | h): N(0, 1) where m is present, and N(shift, scale) where it is absent."""

    def __init__(self, *_):
        super().__init__()
        self.shift, self.scale = 0.0, 1.0

    def forward(self, h):
        present = h.present["m"][:, None].double()
        loc, spread = self.shift * (1 - present), present + self.scale * (1 - present)
        return pyro.distributions.Normal(loc, spread).to_event(1)


@pytest.mark.parametrize("outcome", [ClassesOutcome(2), Ordinal(4), Multilabel(1), NumberOutcome()])
def test_forecast_score_is_best_where_both_priors_are_one(outcome):
    """An energy score is proper: of all forecasts, the distribution of what is forecast scores lowest."""
    rows, draws = 200, 40
    x, _ = make_rows(rows, rate=0.0)
    model, _ = make_program(latents={"m": Latent(("m",), 1, prior=OneNumber)}, outcome=outcome)
    h = model.encoder(x)

    class Story(torch.nn.Module):
        def forward(self, h, z):
            return torch.cat([3 * z["m"], *[0 * z["m"]] * (outcome.num_parameters - 1)], -1)

    model.likelihood = Story()

    def score(shift, scale):
        model.prior["m"].shift, model.prior["m"].scale = shift, scale
        with torch.no_grad():
            return score_of(model, h, draws).mean().item() / outcome.largest_impact

    best = score(0.0, 1.0)
    # 200 rows with 40 draws on either side: 8,000 of each. Distances between them vary by less than V_max, or
    # three times that for a number, which has no bound: the standard error is below 0.011, or 0.034.
    allowed = 0.1 if outcome.name == "normal" else 0.03
    assert score(1.0, 1.0) > best + allowed
    assert score(-1.0, 1.0) > best + allowed
    assert score(0.0, 0.2) > best + allowed
    assert score(0.0, 5.0) > best + allowed


def test_named_parts_add_up_to_the_loss():
    x, y = make_rows(17, ("m", "n"))
    y = torch.as_tensor(y)
    model, guide = make_program(("m", "n"), proposes_from_prior=False)
    objective = replace(PAPER, elbo="mean_field")
    objective = replace(objective, elbo="trace")  # one draw: each part is that of the draw
    loss_of = Loss(model, guide, objective=objective)
    loss = loss_of(x, y) / len(x)
    parts = loss_of.parts
    names = {"nll_y", "kl_z_m", "kl_z_n", "anchor_m", "anchor_n", "tie_m", "tie_n"}
    assert set(parts) == names
    assert sum(parts.values()).item() == pytest.approx(loss.item(), abs=1e-12)


def test_each_encoder_runs_once_per_pass():
    x, y = make_rows(17, ("m", "n"))
    model, guide = make_program(("m", "n"))
    calls = dict.fromkeys(model.encoder, 0)
    for name, encoder in model.encoder.items():
        encoder.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    Loss(model, guide, objective=CALIBRATED)(x, torch.as_tensor(y)).backward()
    assert calls == {"o": 1, "m": 1, "n": 1}


def test_encoded_rows_pass_without_a_look_at_the_encoders():
    """A look costs: Pyro lists every parameter of what it hands out."""
    x, y = make_rows(17, ("m", "n"))
    model, guide = make_program(("m", "n"))
    y = torch.as_tensor(y)
    for program in (model, guide, TrainingModel(model, CALIBRATED)):
        looked_up, encoded = (
            {name for name in poutine.trace(program).get_trace(h, y).param_nodes if "encoder" in name}
            for h in (x, model.encoder(x))
        )
        assert looked_up
        assert not encoded


def test_the_name_of_release_one_still_works():
    assert primo_pyro.Anchored is TrainingModel


def test_wrong_objectives_are_refused():
    with pytest.raises(ValueError, match="'renyi'; expected one of 'trace'"):
        Objective(elbo="renyi")
    with pytest.raises(ValueError, match="expected at least two draws"):
        Objective(num_particles=1)


def test_dropout_does_not_pass_for_impact():
    """In training the draws of one row differ by their latents alone, while rows and steps differ anew."""
    x, _ = make_rows()
    model, _ = make_program(dropout=0.5)
    h = model.encoder(x)
    z = {name: torch.zeros(4, len(h), latent.dim).double() for name, latent in model.latents.items()}
    one, another = model.likelihood(h, z), model.likelihood(h, z)
    assert torch.equal(one, one[:1].expand_as(one))
    assert not torch.allclose(one, another)
