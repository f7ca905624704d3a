"""What the method asks of a distribution: a divergence, and draws made from noise that is given.

Both work for any distribution, with what is known of its kind where something is known. Nothing here, and
nothing that builds on it, looks inside a prior or posterior.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import cast

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, distributions
from torch.distributions import register_kl

__all__ = ["ONE_DRAW", "HeldDraws", "Shape", "either", "from_noise", "kl_divergence", "noise_size"]

Shape = torch.Size | list[int] | tuple[int, ...]
ONE_DRAW = torch.Size()


def kl_divergence(
    q: distributions.Distribution, p: distributions.Distribution, draws: Callable[[], Tensor]
) -> Tensor:
    """KL(q || p) ``[B]``: analytic where torch or Pyro knows a formula, and by draws from q otherwise.

    Parameters
    ----------
    q, p
        Distributions of batch ``[B]``.
    draws
        Gives draws from q, ``[K, B, ...]``. It is called where there is no formula, so that what has been
        drawn for another purpose can serve here too.

    Examples
    --------
    >>> q, p = dist.Normal(torch.zeros(1), 1.0), dist.Normal(torch.ones(1), 1.0)
    >>> kl_divergence(q, p, lambda: q.rsample((100,)))
    tensor([0.5000])
    """
    try:
        return distributions.kl_divergence(q, p)
    except NotImplementedError:
        z = draws()
        return (q.log_prob(z) - p.log_prob(z)).mean(0)


def either(
    rows: Tensor, p: distributions.Distribution, q: distributions.Distribution
) -> TorchDistributionMixin:
    """p in some rows ``[B]``, q elsewhere. Of two diagonal normals it is one, which is drawn from once.

    >>> p, q = (dist.Normal(torch.full((2, 1), mean), 1.0).to_event(1) for mean in (0.0, 9.0))
    >>> either(torch.tensor([True, False]), p, q).mean.tolist()
    [[0.0], [9.0]]
    """
    if all(isinstance(fn, dist.Independent) and type(fn.base_dist) is dist.Normal for fn in (p, q)):
        a, b = cast(dist.Independent, p), cast(dist.Independent, q)
        if a.event_shape == b.event_shape and len(a.event_shape) == 1:
            of = rows[:, None]
            loc = torch.where(of, a.base_dist.loc, b.base_dist.loc)
            scale = torch.where(of, a.base_dist.scale, b.base_dist.scale)
            return dist.Normal(loc, scale, validate_args=False).to_event(1)
    return dist.MaskedMixture(cast(torch.BoolTensor, rows), q, p, validate_args=False)


@register_kl(dist.MaskedMixture, distributions.Distribution)
def _kl_of_masked_mixture(q: dist.MaskedMixture, p: distributions.Distribution) -> Tensor:
    chosen, other = (distributions.kl_divergence(component, p) for component in (q.component1, q.component0))
    return torch.where(cast(Tensor, q.mask), chosen, other)


class HeldDraws(dist.TorchDistribution):
    """A distribution of rows, some of which take the same value in all draws made at a time.

    Parameters
    ----------
    fn
        Of batch ``[B]``, or ``[..., B]``.
    held
        Booleans ``[B]``: rows of which the first draw stands for all.

    Examples
    --------
    >>> held = torch.tensor([True, False])
    >>> z = HeldDraws(dist.Normal(torch.zeros(2, 1), 1.0).to_event(1), held).rsample((5,))
    >>> [len(z[:, row].unique()) for row in (0, 1)]
    [1, 5]
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = True

    def __init__(self, fn: distributions.Distribution, held: Tensor):
        self.fn, self.held = fn, held
        super().__init__(fn.batch_shape, fn.event_shape, validate_args=False)

    def expand(self, batch_shape: Shape, _instance: HeldDraws | None = None) -> HeldDraws:
        return HeldDraws(self.fn.expand(batch_shape), self.held)

    def rsample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        z = self.fn.rsample(sample_shape)
        event_dims = len(self.event_shape)
        if z.dim() == event_dims + 1:
            return z  # one draw
        held = self.held.reshape(*self.held.shape, *[1] * event_dims)
        return torch.where(held, z[:1], z)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.fn.log_prob(value)


@register_kl(HeldDraws, distributions.Distribution)
def _kl_of_held_draws(q: HeldDraws, p: distributions.Distribution) -> Tensor:
    return distributions.kl_divergence(q.fn, p)


@register_kl(dist.ExpandedDistribution, distributions.Distribution)
def _kl_of_expanded(q: dist.ExpandedDistribution, p: distributions.Distribution) -> Tensor:
    return distributions.kl_divergence(q.base_dist, p).expand(q.batch_shape)


# --- Draws from noise ----------------------------------------------------------------------------------


@singledispatch
def noise_size(fn: distributions.Distribution) -> int:
    """Standard normal numbers that one draw of one row of ``fn`` takes.

    >>> noise_size(dist.Normal(torch.zeros(5, 3), 1.0).to_event(1))
    3
    """
    return fn.event_shape.numel()


@singledispatch
def from_noise(fn: distributions.Distribution, noise: Tensor) -> Tensor:
    """The draw of ``fn`` that standard normal ``noise`` stands for.

    Known are normals of all kinds, transformations of them (flows), mixtures, and whatever has a quantile
    function. For another kind register a function, and one for `noise_size` if its draws do not take as many
    numbers as its events have::

        @from_noise.register(MyKind)
        def _(fn, noise):
            return fn.loc + fn.scale * my_quantiles(torch.special.ndtr(noise[..., 0]))

    Parameters
    ----------
    fn
        A distribution of batch ``[B]``.
    noise
        ``[..., B, noise_size(fn)]``; sizes of 1 are broadcast against the batch.

    Returns
    -------
    Tensor
        ``[..., B, *event_shape]``.

    Raises
    ------
    NotImplementedError
        For a kind of which nothing is known.

    Examples
    --------
    >>> fn = dist.Normal(torch.tensor([[5.0, 0.0]]), 2.0).to_event(1)
    >>> from_noise(fn, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    tensor([[5., 0.],
            [7., 2.]])
    """
    return fn.icdf(torch.special.ndtr(noise[..., 0]).to(fn.mean))


@noise_size.register
def _(fn: distributions.Independent) -> int:
    reinterpreted = fn.event_shape[: fn.reinterpreted_batch_ndims].numel()
    return reinterpreted * noise_size(fn.base_dist)


@from_noise.register
def _(fn: distributions.Independent, noise: Tensor) -> Tensor:
    reinterpreted = fn.event_shape[: fn.reinterpreted_batch_ndims]
    return from_noise(fn.base_dist, noise.reshape(*noise.shape[:-1], *reinterpreted, -1))


@from_noise.register
def _(fn: distributions.Normal, noise: Tensor) -> Tensor:
    return fn.loc + fn.scale * noise[..., 0].to(fn.loc)


@from_noise.register
def _(fn: distributions.MultivariateNormal, noise: Tensor) -> Tensor:
    return fn.loc + (fn.scale_tril @ noise.to(fn.loc).unsqueeze(-1)).squeeze(-1)


@noise_size.register
def _(fn: distributions.TransformedDistribution) -> int:
    return noise_size(fn.base_dist)


@from_noise.register
def _(fn: distributions.TransformedDistribution, noise: Tensor) -> Tensor:
    value = from_noise(fn.base_dist, noise)
    for transform in fn.transforms:
        value = transform(value)
    return value


@noise_size.register
def _(fn: distributions.MixtureSameFamily) -> int:
    return 1 + noise_size(fn.component_distribution)


@from_noise.register
def _(fn: distributions.MixtureSameFamily, noise: Tensor) -> Tensor:
    each = from_noise(fn.component_distribution, noise[..., None, 1:])  # [..., C, *event]
    return _chosen(each, fn.mixture_distribution.probs, noise[..., 0], len(fn.event_shape))


@noise_size.register
def _(fn: dist.MixtureOfDiagNormals) -> int:
    return 1 + fn.event_shape.numel()


@from_noise.register
def _(fn: dist.MixtureOfDiagNormals, noise: Tensor) -> Tensor:
    each = fn.locs + fn.coord_scale * noise[..., None, 1:].to(fn.locs)  # [..., C, d]
    return _chosen(each, fn.component_logits.softmax(-1), noise[..., 0], 1)


def _chosen(each: Tensor, probs: Tensor, noise: Tensor, event_dims: int) -> Tensor:
    """Of the components' draws ``[..., C, *event]`` the one whose turn it is at the quantile of ``noise``."""
    above = torch.special.ndtr(noise).to(probs)[..., None] > probs.cumsum(-1)[..., :-1]  # [..., C - 1]
    index = above.sum(-1)
    axis = each.dim() - event_dims - 1
    index = index.expand(each.shape[:axis]).reshape(*each.shape[:axis], *[1] * (event_dims + 1))
    return each.take_along_dim(index, axis).squeeze(axis)


@noise_size.register
def _(fn: dist.MaskedMixture) -> int:
    return max(noise_size(fn.component0), noise_size(fn.component1))


@from_noise.register
def _(fn: dist.MaskedMixture, noise: Tensor) -> Tensor:
    chosen, other = (from_noise(c, noise[..., : noise_size(c)]) for c in (fn.component1, fn.component0))
    mask = cast(Tensor, fn.mask)
    return torch.where(mask.reshape(*mask.shape, *[1] * len(fn.event_shape)), chosen, other)


@noise_size.register(dist.Delta)
def _(fn: dist.Delta) -> int:
    return 0


@from_noise.register(dist.Delta)
def _(fn: dist.Delta, noise: Tensor) -> Tensor:
    return fn.v


# Wrappers that leave a draw as it is.
for _wrapper in (dist.ExpandedDistribution, dist.MaskedDistribution):
    noise_size.register(_wrapper, lambda fn: noise_size(fn.base_dist))
    from_noise.register(_wrapper, lambda fn, noise: from_noise(fn.base_dist, noise))
