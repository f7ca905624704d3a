"""What holds of every outcome, and each outcome against what is known of its distribution."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy.integrate import quad
from scipy.stats import bernoulli, norm

from primo_pyro import Objective
from primo_pyro.program import Categorical, Loss, Multilabel, Normal, Ordinal, Outcome
from primo_pyro.program.outcomes import outcome_named
from tests.conftest import make_program, make_rows, subclasses

OUTCOMES = {cls for cls in subclasses(Outcome) if cls.__module__.startswith("primo_pyro")}
ARGUMENTS = {Categorical: (4,), Ordinal: (5,), Multilabel: (3,), Normal: ()}

every = pytest.mark.parametrize("outcome", [cls(*ARGUMENTS[cls]) for cls in ARGUMENTS], ids=lambda o: o.name)


def test_every_outcome_is_tested():
    """A new outcome needs an entry in the table of arguments, and then passes through all that is below."""
    assert set(ARGUMENTS) == OUTCOMES
    assert {outcome_named(cls.name) for cls in OUTCOMES} == OUTCOMES


def parameters_of(outcome, *shape, spread=2.0, dtype=torch.float64):
    return spread * torch.randn(*shape, outcome.num_parameters, dtype=dtype)


def predictions_of(outcome, *shape, spread=2.0):
    with torch.no_grad():
        return outcome.double().predict(parameters_of(outcome, *shape, spread=spread))


# --- Shapes and types ----------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("shape", [(), (5,), (3, 5), (2, 3, 5)])
def test_shapes(outcome, shape):
    parameters = parameters_of(outcome, *shape)
    p = outcome.predict(parameters)
    assert outcome.distribution(parameters).batch_shape == shape
    assert p.shape == (*shape, outcome.prediction_size)
    assert outcome.distance(p, p.flip(-1)).shape == outcome.entropy(p).shape == shape
    assert outcome.normalise(p).shape == p.shape
    assert outcome.coordinates(parameters.numpy()).shape[:-1] == shape


@every
def test_what_the_guide_sees_of_a_label(outcome):
    """As many numbers a row as promised, and other numbers for another label."""
    y = outcome.distribution(parameters_of(outcome, 200)).sample()
    features = outcome.features(y)
    assert features.shape == (200, outcome.num_features)
    assert len(features.double().unique(dim=0)) == len(y.reshape(200, -1).unique(dim=0)) > 1


@every
def test_a_placeholder_is_a_label(outcome):
    y = outcome.placeholder(6)
    law = outcome.distribution(parameters_of(outcome, 3, 6))
    assert law.support.check(y).all()
    assert law.log_prob(y).shape == (3, 6)
    assert torch.isfinite(law.log_prob(y)).all()
    assert outcome.features(y).shape == (6, outcome.num_features)


@every
def test_arrays_and_tensors_agree(outcome):
    p, q = predictions_of(outcome, 2, 20)
    for measure in (outcome.distance, lambda p, q: outcome.entropy(p)):
        np.testing.assert_allclose(measure(p.numpy(), q.numpy()), measure(p, q).numpy(), atol=1e-14)
    decided = outcome.decide(p)
    if decided is not None:
        np.testing.assert_array_equal(outcome.decide(p.numpy()), decided.numpy())


@every
def test_a_model_of_it_is_trained_as_any(outcome):
    """All sites have their shapes, and the default objective reaches every parameter, also the outcome's."""
    x, _ = make_rows(32)
    model, guide = make_program(outcome=type(outcome)(*ARGUMENTS[type(outcome)]))
    trace = poutine.trace(model).get_trace(x)
    assert trace.nodes[outcome.parameters_site]["value"].shape == (32, outcome.num_parameters)
    y = trace.nodes["y"]["value"].detach()
    loss = Loss(model, guide, objective=Objective())
    loss(x, y).backward()
    for name, parameter in loss.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@every
def test_gradients_are_finite_far_out_too(outcome):
    outcome = outcome.double()
    for spread in (0.0, 1.0, 30.0, 1e3):
        parameters = parameters_of(outcome, 2, 20, spread=spread).requires_grad_()
        p, q = outcome.predict(parameters)
        y = outcome.placeholder(20)
        value = (outcome.distance(p, q) + outcome.distance(p, p)).sum()
        value = value + outcome.distribution(parameters).log_prob(y).sum()
        (gradient,) = torch.autograd.grad(value, parameters)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


# --- Distance, average and impact ----------------------------------------------------------------------


@every
def test_distance_is_a_metric(outcome):
    p, q, r = predictions_of(outcome, 3, 300)
    d = outcome.distance
    assert (d(p, q) > 0).all()
    assert (d(p, p) == 0).all()
    torch.testing.assert_close(d(p, q), d(q, p), rtol=0, atol=0)
    assert (d(p, r) <= d(p, q) + d(q, r) + 1e-12).all()


@every
def test_distance_to_an_average_is_at_most_the_average_distance(outcome):
    """So revealing what the model already averages over cannot change predictions by more than V."""
    p, q = predictions_of(outcome, 50, 100), predictions_of(outcome, 100)
    assert (outcome.distance(p.mean(0), q) <= outcome.distance(p, q).mean(0) + 1e-12).all()


@every
def test_uncertainty_falls_when_a_latent_becomes_known(outcome):
    """Entropy is concave: what is gained by knowing which draw it is can only be positive."""
    p = predictions_of(outcome, 50, 100)
    assert (outcome.entropy(p.mean(0)) >= outcome.entropy(p).mean(0) - 1e-12).all()


def integrals_of_distribution_function(law) -> torch.Tensor:
    """Of each normal its prediction by quadrature."""
    edges = np.linspace(-Normal.EDGE, Normal.EDGE, Normal.CELLS + 1)
    rows = []
    for m, s in zip(law.loc.flatten().tolist(), law.scale.flatten().tolist(), strict=True):
        cells = [quad(norm(m, s).cdf, a, b)[0] for a, b in pairwise(edges)]
        below = quad(norm(m, s).cdf, m - 12 * s - 12, edges[0])[0] if m - 12 * s < edges[0] else 0.0
        above = quad(norm(m, s).sf, edges[-1], m + 12 * s + 12)[0] if m + 12 * s > edges[-1] else 0.0
        rows.append([below, *cells, above])
    return torch.tensor(rows, dtype=law.loc.dtype).reshape(*law.batch_shape, -1)


ORACLES = {  # what a prediction stands for, from the distribution alone
    Categorical: lambda law: law.probs,
    Ordinal: lambda law: torch.stack([law.log_prob(torch.tensor(c)).exp() for c in range(5)], -1),
    Multilabel: lambda law: law.mean,
    Normal: integrals_of_distribution_function,
}


@every
def test_an_average_of_predictions_is_the_prediction_of_the_mixture(outcome):
    """Probabilities, and integrals of distribution functions, of a mixture are averages over its parts."""
    parameters = parameters_of(outcome.double(), 4, 2, spread=1.0)
    with torch.no_grad():
        expected = ORACLES[type(outcome)](outcome.distribution(parameters)).mean(0)
        p = outcome.normalise(outcome.predict(parameters).mean(0))
    torch.testing.assert_close(p, expected, rtol=0, atol=1e-7)  # what quadrature promises


def impact(outcome, p):
    """V of draws ``[K, ..., Q]``."""
    return outcome.distance(p, p.mean(0)).mean(0)


EXTREME = {  # the draws that have the largest impact
    Categorical: lambda: torch.eye(4),
    Ordinal: lambda: torch.eye(5)[[0, 4]],
    Multilabel: lambda: torch.tensor([[0.0] * 3, [1.0] * 3]),
    Normal: lambda: Normal().predict(
        torch.stack([torch.special.ndtri((torch.arange(2000) + 0.5) / 2000), torch.full((2000,), -20.0)], -1)
    ),
}


@every
def test_largest_impact_is_reached(outcome):
    """For numbers: by a standard normal label that a modality tells exactly.

    Where a draw is certain, its F - G jumps from -G to 1 - G somewhere in a cell of width w, and 2 min(a G,
    (w - a)(1 - G)) is lost, a how far into the cell. Over a and G, both uniform, that is w / 6 on average;
    what is left is the label's spread of 0.001 and the sum over 2,000 draws.
    """
    lost = Normal.WIDTH / 6 if outcome.name == "normal" else 0.0
    reached = impact(outcome, EXTREME[type(outcome)]()).item()
    assert reached == pytest.approx(outcome.largest_impact - lost, abs=5e-3 if lost else 1e-6)


@pytest.mark.parametrize("cls", [cls for cls in ARGUMENTS if cls is not Normal])
def test_largest_impact_is_a_bound(cls):
    """Over draws of all kinds, from alike to certain. A number has none."""
    outcome = cls(*ARGUMENTS[cls])
    for spread in (0.1, 1.0, 10.0, 100.0):
        for draws in (2, 3, 4, 50):
            p = predictions_of(outcome, draws, 200, spread=spread)
            assert (impact(outcome, p) <= outcome.largest_impact + 1e-12).all()


@every
def test_decisions_are_the_most_probable_labels(outcome):
    p = predictions_of(outcome, 100)
    decided = outcome.decide(p)
    if outcome.name == "normal":
        assert decided is None
    elif outcome.name == "multilabel":
        assert torch.equal(decided, p.round().bool())
    else:
        assert torch.equal(p.gather(-1, decided[:, None])[:, 0], p.max(-1).values)


@every
def test_coordinates_differ_only_where_the_law_does(outcome):
    parameters = parameters_of(outcome, 20).numpy()
    coordinates = outcome.coordinates(parameters)
    others = outcome.coordinates(parameters + (1.0 if outcome.name == "categorical" else 0.0))
    np.testing.assert_allclose(coordinates, others, atol=1e-12)  # logits have no origin
    apart = np.linalg.norm(coordinates[:, None] - coordinates, axis=-1) + 1e9 * np.eye(20)
    assert apart.min() > 1e-3


def test_averages_of_probabilities_sum_to_one():
    """Single precision leaves 1e-7; scikit-learn warns of probabilities that do not sum to one."""
    p = torch.rand(10, 4)
    torch.testing.assert_close(Categorical(4).normalise(p).sum(-1), torch.ones(10))


# --- Ordinal -------------------------------------------------------------------------------------------


def trained_ordinal(num_classes=5):
    outcome = Ordinal(num_classes).double()
    with torch.no_grad():
        outcome.first_cut.add_(0.3 / outcome.PACE)
        outcome.raw_gaps.add_(torch.randn(num_classes - 2) / outcome.PACE)
    return outcome


def test_ordinal_is_pyros_ordered_logistic():
    outcome, score = trained_ordinal(), 3 * torch.randn(40, dtype=torch.float64)
    reference = dist.OrderedLogistic(score, outcome.cuts.detach())
    with torch.no_grad():
        torch.testing.assert_close(outcome.predict(score[:, None]), reference.probs, rtol=0, atol=1e-12)
        law = outcome.distribution(score[:, None])
        for c in range(5):
            y = torch.full((40,), c)
            torch.testing.assert_close(law.log_prob(y), reference.log_prob(y), rtol=1e-9, atol=1e-9)


def test_ordinal_stays_finite_far_beyond_its_cut_points():
    outcome = trained_ordinal()
    score = torch.tensor([[-1e4], [-50.0], [50.0], [1e4]], dtype=torch.float64, requires_grad=True)
    log_p = outcome.log_probabilities(score)
    assert torch.isfinite(log_p).all()
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(4, dtype=torch.float64))
    assert log_p.argmax(-1).tolist() == [0, 0, 4, 4]
    inputs = [score, outcome.first_cut, outcome.raw_gaps]
    for gradient in torch.autograd.grad(log_p.sum(), inputs):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_ordinal_knows_nothing_at_first_and_keeps_its_order(num_classes):
    p = Ordinal(num_classes).predict(torch.zeros(1, 1))
    torch.testing.assert_close(p, torch.full((1, num_classes), 1 / num_classes))
    assert (trained_ordinal(num_classes).cuts.diff() > 0).all()
    # The score moves all of the label's distribution in one direction.
    cumulative = trained_ordinal(num_classes).predict(torch.linspace(-3, 3, 9)[:, None].double()).cumsum(-1)
    assert (cumulative[..., :-1].diff(dim=0) < 0).all()


def test_ordinal_distance_grows_along_the_scale():
    certain, outcome = torch.eye(5), Ordinal(5)
    expected = abs(torch.arange(5)[:, None] - torch.arange(5)) / 4
    torch.testing.assert_close(outcome.distance(certain[:, None], certain), expected)
    assert outcome.features(torch.arange(5)).sum(-1).tolist() == [1, 2, 3, 4, 5]


# --- Normal --------------------------------------------------------------------------------------------


def raw(location, scale):
    """Parameters of a normal with these moments."""
    location, scale = np.broadcast_arrays(location, scale)
    return torch.stack([torch.tensor(location), torch.tensor(np.log(np.expm1(scale - 1e-3)) - 0.5413)], -1)


def folded_normal(d, s):
    """E|d + s Z| of a standard normal Z: the 1-Wasserstein distance of two normals."""
    return s * math.sqrt(2 / math.pi) * np.exp(-((d / s) ** 2) / 2) + d * (1 - 2 * norm.cdf(-d / s))


def test_normal_distance_is_that_of_wasserstein():
    """Two distribution functions cross once. In the cell where they do, of width w, at most w^2 L / 4 is
    lost, L the largest difference of their densities, 1 / (sqrt(2 pi) s) for the smaller scale s. Where they
    cross beyond the edges, it is at most twice the mean excess over 4: 8e-4 for a mean of 1 and a scale of 1.
    """
    random = np.random.default_rng(0)
    m, s = random.uniform(-1, 1, (2, 500)), random.uniform(0.3, 1, (2, 500))
    p = Normal().predict(raw(m, s))
    exact = folded_normal(m[0] - m[1], abs(s[0] - s[1]))
    error = Normal().distance(p[0], p[1]).numpy() - exact
    lost = Normal.WIDTH**2 / (4 * math.sqrt(2 * math.pi) * s.min(0)) + 8e-4
    assert (error < 1e-10).all()
    assert (error > -lost).all()
    assert lost.max() < 0.015


def test_normal_distance_is_exact_between_equal_scales():
    """Also far beyond the edges, and of a scale far below a cell's width."""
    m = np.array([-9.0, -3.3, 0.01, 0.02, 4.5, 30.0])
    for scale in (0.002, 0.5, 3.0):
        p = Normal().predict(raw(m, np.full(6, scale)))
        d = Normal().distance(p[:, None], p)
        torch.testing.assert_close(d, torch.tensor(abs(m[:, None] - m)), rtol=0, atol=1e-9)


def test_normal_mean_is_exact():
    m = np.random.default_rng(0).normal(0, 5, 200)
    p = Normal().predict(raw(m, np.random.default_rng(1).uniform(0.01, 3, 200)))
    np.testing.assert_allclose(Normal().mean(p), m, atol=1e-9)
    np.testing.assert_allclose(Normal().mean(p.mean(0)), m.mean(), atol=1e-9)
    np.testing.assert_allclose(Normal().mean(p.numpy()), m, atol=1e-9)


@pytest.mark.parametrize("scale", [0.2, 0.5, 0.9])
def test_normal_entropy_is_read_to_a_cells_width(scale):
    """Reading F by means over cells, and its differences as densities, adds two uniform errors of a cell's
    width w, of variance w^2 / 12 each; of all laws with the variance s^2 + w^2 / 6 the normal has the largest
    entropy, 1/2 log of it. Less than 1e-5 of the probability lies beyond the edges, and its entropy is 1e-4.
    """
    exact = norm.entropy(scale=scale)
    for m in (-0.03, 0.0, 0.11):
        entropy = Normal().entropy(Normal().predict(raw(m, scale))).item()
        assert -1e-4 < entropy - exact < math.log1p(Normal.WIDTH**2 / (6 * scale**2)) / 2 + 1e-4


def test_normal_cells_are_probabilities():
    p = Normal().predict(raw(np.linspace(-3, 3, 7), np.full(7, 0.4)))
    cells = Normal().cell_probabilities(p)
    assert (cells >= 0).all()
    torch.testing.assert_close(cells.sum(-1), torch.ones(7, dtype=torch.float64))


def test_normal_parameters_of_zero_are_the_labels_own():
    location, scale = Normal.location_and_scale(torch.zeros(1, 2))
    assert location.item() == 0
    assert scale.item() == pytest.approx(1, abs=2e-3)


# --- Multilabel ----------------------------------------------------------------------------------------


def test_multilabel_entropy_is_the_sum_of_the_labels_own():
    p = torch.rand(20, 3, dtype=torch.float64)
    np.testing.assert_allclose(Multilabel(3).entropy(p), bernoulli(p.numpy()).entropy().sum(-1), atol=1e-12)
    assert Multilabel(3).entropy(torch.tensor([0.0, 1.0, 1.0])).item() == 0


def test_multilabel_likelihood_is_of_independent_labels():
    logits = torch.randn(7, 3, dtype=torch.float64)
    y = (torch.rand(7, 3) < 0.5).double()
    expected = bernoulli(logits.sigmoid().numpy()).logpmf(y.numpy()).sum(-1)
    np.testing.assert_allclose(Multilabel(3).distribution(logits).log_prob(y), expected, atol=1e-12)


def test_outcomes_are_called_by_name():
    assert outcome_named("ordinal") is Ordinal
    with pytest.raises(KeyError):
        outcome_named("cardinal")
