"""Latents: what each stands for, its size, and the prior that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from primo_pyro.program.conditionals import DiagNormal

__all__ = ["Latent", "one_latent_each"]


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
    prior: Callable[[int, int, int], nn.Module] = DiagNormal


def one_latent_each(modalities: Iterable[str], dim: int) -> dict[str, Latent]:
    """A latent for each of these modalities, under its name: the story of the paper.

    >>> list(one_latent_each(("sound", "image"), dim=2))
    ['sound', 'image']
    """
    return {name: Latent((name,), dim) for name in modalities}
