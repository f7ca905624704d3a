"""Latents: what each stands for, its size, and the prior that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pyro.distributions as dist
from torch import Tensor, nn
from torch.nn import functional as F

from primo_pyro.program.encoders import MLP, Representations

__all__ = ["DiagNormal", "Latent", "LocationAndScale", "one_latent_each", "split_parameters"]


class LocationAndScale(nn.Module):
    """A network from what is given to the location and the scale of d normal numbers.

    At initialisation scales are near 1 and locations near 0.
    """

    def __init__(self, in_features: int, hidden_dim: int, latent_dim: int, *, dropout: float = 0.0):
        super().__init__()
        self.latent_dim = latent_dim
        self.net = MLP(in_features, hidden_dim, 2 * latent_dim, dropout=dropout)

    def location_and_scale(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, in_features]`` to two ``[B, d]``."""
        return split_parameters(self.net(given))


def split_parameters(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale ``[..., d]`` of what a network puts out, ``[..., 2 d]``."""
    loc, raw = numbers.chunk(2, dim=-1)
    return loc, F.softplus(raw + 0.5413) + 1e-4  # softplus(0.5413) = 1; the floor keeps KL finite


class DiagNormal(LocationAndScale):
    """p(z | h) = Normal(mu(h), diag(sigma(h)^2)), the conditional prior (Eq. 5); ``[B]`` batch, d event.

    The prior starts close to N(0, I).
    """

    def forward(self, h: Representations) -> dist.Independent:
        loc, scale = self.location_and_scale(h.fused())
        return dist.Normal(loc, scale, validate_args=False).to_event(1)  # training stops at a NaN


@dataclass(frozen=True)
class Latent:
    """A latent of the story.

    Parameters
    ----------
    about
        The modalities for which it stands while they are absent: one, several that share it, or one that has
        other latents beside it.
    dim
        Its size d.
    prior
        From ``(in_features, hidden_dim, dim)`` to a module that returns p(z | h), a distribution of batch
        ``[B]`` and event ``[d]``, for the representations of a batch (`Representations`; all of them side by
        side, ``h.fused()``, are ``[B, in_features]``).

    Examples
    --------
    >>> Latent(about=("sound",), dim=2).dim
    2
    """

    about: tuple[str, ...]
    dim: int
    prior: Callable[[int, int, int], nn.Module] = field(default=DiagNormal, kw_only=True)


def one_latent_each(modalities: Iterable[str], dim: int) -> dict[str, Latent]:
    """A latent for each of these modalities, under its name: the story of the paper.

    >>> list(one_latent_each(("sound", "image"), dim=2))
    ['sound', 'image']
    """
    return {name: Latent((name,), dim) for name in modalities}
