"""Divergences with and without a formula, and draws from noise for every kind of which something is known."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import distributions
from torch.distributions import transforms

from primo_pyro.draws import standard_normal_points
from primo_pyro.program import from_noise, kl_divergence, noise_size

# --- Divergence ----------------------------------------------------------------------------------------


def never():
    raise AssertionError("There is a formula; no draw is needed.")


def normal(loc, scale, dim=2):
    return dist.Normal(torch.full((5, dim), loc), torch.full((5, dim), scale)).to_event(1)


def test_divergence_of_normals_is_the_formula():
    divergence = kl_divergence(normal(1.0, 0.5), normal(0.0, 2.0), never)
    expected = 2 * (math.log(2.0 / 0.5) + (0.5**2 + 1) / (2 * 2.0**2) - 0.5)
    torch.testing.assert_close(divergence, torch.full((5,), expected))


def test_divergence_without_a_formula_is_the_mean_over_draws():
    """A mixture has no formula; written as one normal twice, it must diverge as that normal does."""
    one, p = normal(1.0, 0.5), normal(0.0, 2.0)
    mixture = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(5, 2)), dist.Normal(torch.ones(5, 2, 2), 0.5).to_event(1)
    )
    draws = mixture.sample((20_000,))
    asked = []
    by_draws = kl_divergence(mixture, p, lambda: asked.append(1) or draws)
    assert asked == [1]
    assert by_draws.shape == (5,)
    spread = (one.log_prob(draws) - p.log_prob(draws)).std().item()
    expected = kl_divergence(one, p, never)
    torch.testing.assert_close(by_draws, expected, rtol=0, atol=5 * spread / 20_000**0.5)


def test_divergence_by_draws_has_the_gradient_of_the_formula():
    """Of a transformed normal of the same law, that is of another kind."""
    loc = torch.tensor([[1.0, -0.5]], requires_grad=True)
    base = dist.Normal(torch.zeros(1, 2), 1.0).to_event(1)
    q = dist.TransformedDistribution(base, [transforms.AffineTransform(loc, torch.ones(1, 2), event_dim=1)])
    divergence = kl_divergence(q, base, lambda: q.rsample((20_000,))).sum()
    (gradient,) = torch.autograd.grad(divergence, loc)
    # KL = |loc|^2 / 2, and the gradient of a draw is loc plus its noise, of spread 1.
    torch.testing.assert_close(gradient, loc.detach(), rtol=0, atol=5 / 20_000**0.5)


def test_divergence_of_a_masked_mixture_is_each_rows_own():
    mask = torch.tensor([True, False, True, False, False])
    present, absent, p = normal(1.0, 0.5), normal(-1.0, 1.5), normal(0.0, 1.0)
    divergence = kl_divergence(dist.MaskedMixture(mask, absent, present), p, never)
    expected = torch.where(mask, kl_divergence(present, p, never), kl_divergence(absent, p, never))
    torch.testing.assert_close(divergence, expected)


def test_divergence_of_a_masked_mixture_of_a_kind_without_formula_is_by_draws():
    mask = torch.tensor([True, False, True, False, False])
    mixture = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(5, 2)), dist.Normal(torch.zeros(5, 2, 2), 1.0).to_event(1)
    )
    q = dist.MaskedMixture(mask, normal(0.0, 1.0), mixture)
    divergence = kl_divergence(q, normal(0.0, 1.0), lambda: q.sample((100,)))
    torch.testing.assert_close(divergence, torch.zeros(5), rtol=0, atol=1e-5)  # all of them are one normal


def test_divergence_of_an_expanded_distribution_is_its_bases():
    base, p = dist.Normal(torch.ones(1, 2), 0.5).to_event(1), normal(0.0, 1.0)
    expanded = dist.ExpandedDistribution(base, torch.Size([5]))
    divergence = kl_divergence(expanded, dist.Normal(torch.zeros(2), 1.0).to_event(1), never)
    torch.testing.assert_close(divergence, kl_divergence(normal(1.0, 0.5), p, never))


# --- Draws from noise ------------------------------------------------------------------------------------


def coupling_flow():
    torch.manual_seed(3)
    flow = dist.transforms.affine_coupling(2, hidden_dims=[8])
    for parameter in flow.parameters():
        parameter.requires_grad_(False)
    return dist.TransformedDistribution(dist.Normal(torch.zeros(3, 2), 1.0).to_event(1), [flow])


KINDS = {  # name: distribution of batch [3], and the numbers that one draw takes
    "normal": (dist.Normal(torch.tensor([0.0, 1.0, -2.0]), torch.tensor([1.0, 0.5, 2.0])), 1),
    "independent normals": (dist.Normal(torch.randn(3, 4), 0.7).to_event(1), 4),
    "normals with a matrix as event": (dist.Normal(torch.randn(3, 2, 2), 0.7).to_event(2), 4),
    "multivariate normal": (
        dist.MultivariateNormal(
            torch.randn(3, 2), scale_tril=torch.tensor([[2.0, 0.0], [-1.0, 0.5]]).expand(3, 2, 2)
        ),
        2,
    ),
    "log normal": (dist.LogNormal(torch.tensor([0.0, 0.5, -0.5]), 0.4), 1),
    "independent log normals": (dist.LogNormal(torch.zeros(3, 2), 0.4).to_event(1), 2),
    "flow of a coupling": (coupling_flow(), 2),
    "scaled and shifted": (
        dist.TransformedDistribution(
            dist.Normal(torch.zeros(3, 2), 1.0).to_event(1),
            [transforms.AffineTransform(1.0, 3.0, event_dim=1)],
        ),
        2,
    ),
    "mixture of numbers": (
        dist.MixtureSameFamily(
            dist.Categorical(torch.tensor([[0.2, 0.5, 0.3]]).expand(3, 3)),
            dist.Normal(torch.tensor([[-3.0, 0.0, 4.0]]).expand(3, 3), 0.5),
        ),
        2,
    ),
    "mixture of vectors": (
        dist.MixtureSameFamily(
            dist.Categorical(torch.tensor([[0.2, 0.8]]).expand(3, 2)),
            dist.Normal(torch.tensor([[-3.0, 0.0], [1.0, 4.0]]).expand(3, 2, 2), 0.5).to_event(1),
        ),
        3,
    ),
    "mixture of diagonal normals": (
        dist.MixtureOfDiagNormals(
            torch.tensor([[-3.0, 0.0], [1.0, 4.0]]).expand(3, 2, 2),
            torch.tensor([[0.5, 1.0], [1.0, 0.2]]).expand(3, 2, 2),
            torch.tensor([[0.0, 1.0]]).expand(3, 2),
        ),
        3,
    ),
    "masked mixture": (
        dist.MaskedMixture(
            torch.tensor([True, False, True]),
            dist.Normal(torch.zeros(3, 2), 1.0).to_event(1),
            dist.Normal(5 * torch.ones(3, 2), 0.1).to_event(1),
        ),
        2,
    ),
    "masked mixture of unlike parts": (
        dist.MaskedMixture(
            torch.tensor([True, False, True]),
            dist.MixtureSameFamily(
                dist.Categorical(torch.ones(3, 2)),
                dist.Normal(torch.tensor([-4.0, 4.0])[:, None].expand(3, 2, 2), 0.5).to_event(1),
            ),
            dist.Normal(torch.zeros(3, 2), 1.0).to_event(1),
        ),
        3,
    ),
    "certainty": (dist.Delta(torch.tensor([1.0, 2.0, 3.0])), 0),
    "certain vector": (dist.Delta(torch.randn(3, 2), event_dim=1), 0),
    "laplace": (dist.Laplace(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 0.5, 2.0])), 1),
    "uniform": (dist.Uniform(torch.tensor([0.0, 1.0, 2.0]), 5.0), 1),
    "independent uniforms": (dist.Uniform(torch.zeros(3, 2), 1.0).to_event(1), 2),
    "exponential": (dist.Exponential(torch.tensor([0.5, 1.0, 2.0])), 1),
    "expanded": (
        dist.ExpandedDistribution(dist.Normal(torch.ones(1, 2), 0.5).to_event(1), torch.Size([3])),
        2,
    ),
    "masked": (dist.Normal(torch.zeros(3, 2), 1.0).to_event(1).mask(False), 2),
}

every_kind = pytest.mark.parametrize(("fn", "size"), KINDS.values(), ids=KINDS)


def test_every_kind_of_which_something_is_registered_is_tested():
    """Outside of tests; a base is tested with any of its children."""
    tested = [type(part) for fn, _ in KINDS.values() for part in (fn, getattr(fn, "base_dist", fn))]
    for registered in (from_noise.registry, noise_size.registry):
        for kind in registered:
            ours = kind not in (object, distributions.Distribution) and "tests" not in kind.__module__
            if ours:
                assert any(issubclass(cls, kind) for cls in tested), kind


@every_kind
def test_sizes_and_shapes(fn, size):
    assert noise_size(fn) == size
    for shape in ((3,), (7, 3), (4, 7, 3)):
        assert from_noise(fn, torch.randn(*shape, size)).expand(*shape, *fn.event_shape) is not None
    # One number for all rows, or one for all draws, is as good as the same one for each.
    noise = torch.randn(7, 1, size)
    torch.testing.assert_close(
        from_noise(fn, noise).expand(7, 3, *fn.event_shape),
        from_noise(fn, noise.expand(7, 3, size)).expand(7, 3, *fn.event_shape),
    )


@every_kind
def test_draws_have_the_kinds_distribution(fn, size):
    """Moments and quantiles of 4,096 Sobol points against 200,000 draws of the distribution itself."""
    points = standard_normal_points(4096, size, "sobol", seed=0)[:, None]
    ours = from_noise(fn, points).expand(4096, 3, *fn.event_shape)
    torch.manual_seed(0)
    theirs = fn.expand((200_000, 3)).sample()  # Pyro's own mixtures take no sample shape beside a batch
    spread = theirs.std(0)
    # Standard errors: 1 / sqrt(N) of a spread for means, and for variances, whose kurtosis is below 9 here,
    # sqrt(8 / N) of it. Those of Sobol points are smaller than those of as many independent ones.
    error = 5 * (1 / 4096 + 1 / 200_000) ** 0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() <= error * spread + 1e-6).all()
    assert ((ours.var(0) - theirs.var(0)).abs() <= 8**0.5 * error * spread**2 + 1e-6).all()
    for q in (0.05, 0.3, 0.5, 0.8, 0.95):
        # The share of draws below a quantile is a mean of zeros and ones, of spread at most 1/2.
        below = (theirs <= ours.quantile(q, dim=0)).double().mean(0)
        if size:
            assert ((below - q).abs() <= error / 2).all(), q
    if size == 2 and len(fn.event_shape) == 1:
        for row in range(3):
            apart = torch.corrcoef(ours[:, row].T) - torch.corrcoef(theirs[:, row].T)
            assert apart.abs().max() <= error


@every_kind
def test_a_row_is_drawn_by_its_own_noise_alone(fn, size):
    noise = torch.randn(7, 3, size)
    other = noise.clone()
    other[:, 1] = 9.0
    one, another = (from_noise(fn, n).expand(7, 3, *fn.event_shape) for n in (noise, other))
    torch.testing.assert_close(one[:, [0, 2]], another[:, [0, 2]], rtol=0, atol=0)
    if size:
        assert not torch.equal(one[:, 1], another[:, 1])


def test_normal_draws_are_location_and_scale_of_the_noise():
    noise = torch.randn(7, 3, 1)
    fn = KINDS["normal"][0]
    torch.testing.assert_close(from_noise(fn, noise), fn.loc + fn.scale * noise[..., 0])
    assert from_noise(fn, noise.double()).dtype == torch.float32  # the distribution's own


def test_quantile_functions_take_quantiles():
    fn = dist.Laplace(torch.zeros(3), 1.0)
    median = from_noise(fn, torch.zeros(3, 1))
    torch.testing.assert_close(median, torch.zeros(3), rtol=0, atol=1e-6)
    upper = from_noise(fn, torch.full((3, 1), 1.0))
    torch.testing.assert_close(upper, fn.icdf(torch.tensor(0.8413447).expand(3)))


def test_gradients_pass_through_draws():
    """As through `rsample`: so a prior of any kind can be asked for draws in training."""
    loc = torch.zeros(3, 2, requires_grad=True)
    fn = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(3, 2)), dist.Normal(loc[:, None].expand(3, 2, 2), 0.5).to_event(1)
    )
    (gradient,) = torch.autograd.grad(from_noise(fn, torch.randn(7, 3, 3)).sum(), loc)
    torch.testing.assert_close(gradient, torch.full((3, 2), 7.0))


def test_kinds_without_a_quantile_function_are_unknown():
    with pytest.raises(NotImplementedError):
        from_noise(dist.Gamma(torch.ones(3), 1.0), torch.zeros(3, 1))


class Wheel(dist.TorchDistribution):
    """An angle: the direction of two standard normals, so that a draw of one number takes two."""

    arg_constraints: ClassVar = {}
    support = distributions.constraints.real

    def __init__(self, turn):
        self.turn = turn
        super().__init__(turn.shape, validate_args=False)

    def sample(self, sample_shape=()):
        a, b = torch.randn(2, *self.shape(sample_shape))
        return torch.atan2(a, b) + self.turn


@noise_size.register
def _(fn: Wheel) -> int:
    return 2


@from_noise.register
def _(fn: Wheel, noise):
    return torch.atan2(noise[..., 0], noise[..., 1]) + fn.turn


def test_a_kind_of_ones_own_can_be_registered():
    fn = Wheel(torch.tensor([0.0, 1.0, 2.0]))
    assert noise_size(fn) == 2
    assert noise_size(fn.to_event(1)) == 3 * 2
    draws = from_noise(fn, standard_normal_points(4096, 2, "sobol", seed=0)[:, None].float())
    assert draws.shape == (4096, 3)
    # A uniform angle over a full turn: its variance is (2 pi)^2 / 12.
    np.testing.assert_allclose(draws.var(0), math.pi**2 / 3, rtol=0.05)
    together = from_noise(fn.to_event(1), torch.randn(7, 6))
    assert together.shape == (7, 3)
