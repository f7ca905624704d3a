"""The label's parameters under many draws, computed without Pyro where the story is the package's own.

Diagonal normal priors make z_l = mu_l(h) + sigma_l(h) eps_l, and the first layer of the likelihood is linear.
In a row b and draw k its hidden units are therefore those of one product of matrices::

    c_b            =  bias + W_o h_o + sum_l W_l mu_l(h)
    hidden[b, k]   =  relu( [ W_1 diag(sigma_1) ... W_L diag(sigma_L)   c_b ]  [ eps_k ; 1 ] )

Latents that are held at one value within each replicate of draws (`primo_pyro.prediction`) make a column c_b
for each replicate. It is done for as few rows at a time as a processor's cache can hold. The numbers are
those of the program run by ``Predictive``, as a test holds.

Sizes: B rows, K draws, D numbers of noise a draw, H hidden units, P parameters, S replicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, cast

import torch
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn
from torch.nn import functional as F

from primo_pyro.program.conditionals import DropoutOfRows
from primo_pyro.program.encoders import Representations
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.priors import DiagNormal
from primo_pyro.program.regulariser import is_default_story

__all__ = ["Moments", "direct_columns", "direct_parameters", "direct_priors", "is_direct"]

Moments = Mapping[str, tuple[Tensor, Tensor]]  # location and scale [B, d] of each latent

IN_CACHE = 2**19  # hidden units of all draws that a processor works on at a time: 2 MB
ON_GPU = 2**26


def is_direct(model: Any) -> TypeGuard[PrimoModel]:
    """Whether a program is the package's own throughout, in evaluation mode, and no handler listens to it."""
    return (
        isinstance(model, PrimoModel)
        and is_default_story(model)
        and type(model).forward is PrimoModel.forward
        and not model.training
        and [type(part) for part in model.likelihood.head] == [nn.ReLU, DropoutOfRows, nn.Linear]
        and not am_i_wrapped()
    )


def direct_columns(model: PrimoModel) -> dict[str, slice]:
    """The columns of noise of each latent's site, as `primo_pyro.draws.noise_columns` finds them."""
    columns, start = {}, 0
    for name in model.prior:
        columns[f"z_{name}"] = slice(start, start + model.latents[name].dim)
        start += model.latents[name].dim
    return columns


@torch.no_grad()
def direct_priors(model: PrimoModel, h: Representations) -> Moments:
    """Location and scale of each latent's prior; they do not depend on what rows ask about."""
    fused = h.fused()
    return {name: cast(DiagNormal, prior).location_and_scale(fused) for name, prior in model.prior.items()}


@torch.no_grad()
def direct_parameters(
    model: PrimoModel,
    h: Representations,
    points: Tensor,
    columns: Mapping[str, slice] | None = None,
    held: tuple[Tensor, Mapping[str, Tensor]] | None = None,
    priors: Moments | None = None,
) -> Tensor:
    """Parameters ``[K, B, P]`` of p(y | x_o, z_k), z_k made from noise ``[K, D]``.

    The draws of a row lie side by side in memory, so that what is averaged over draws is read in order.

    Parameters
    ----------
    model
        Of which `is_direct` is true.
    columns
        The columns of ``points`` for each latent's site.
    held
        As of `primo_pyro.draws.NormalDraws`.
    priors
        Those of `direct_priors`, where they are known already.
    """
    columns = direct_columns(model) if columns is None else columns
    priors = direct_priors(model, h) if priors is None else priors
    base, scales, values, weights = _first_layer(model, h, points, columns, held, priors)
    last = cast(nn.Linear, model.likelihood.head[-1])
    hidden_dim, num_draws = base.shape[1], values.shape[1]
    parameters = base.new_empty(len(h), last.out_features, num_draws)
    most = ON_GPU if base.is_cuda else IN_CACHE
    draws = max(1, min(num_draws, most // hidden_dim))
    rows = max(1, min(len(h), most // (hidden_dim * draws)))
    space = base.new_empty(rows * hidden_dim * draws)
    for first in range(0, len(h), rows):
        some = slice(first, first + rows)
        factors = torch.cat([scales[some, None] * weights, base[some]], dim=2)  # [b, H, D + S]
        head = last.weight.expand(len(factors), -1, -1)
        for start in range(0, num_draws, draws):
            noise = values[:, start : start + draws]
            hidden = space[: factors.shape[:2].numel() * noise.shape[1]].view(-1, noise.shape[1])
            torch.mm(factors.flatten(0, 1), noise, out=hidden).relu_()
            out = parameters[some, :, start : start + draws]
            torch.baddbmm(last.bias[:, None], head, hidden.view(len(factors), hidden_dim, -1), out=out)
    return parameters.permute(2, 0, 1)


def _first_layer(
    model: PrimoModel,
    h: Representations,
    points: Tensor,
    columns: Mapping[str, slice],
    held: tuple[Tensor, Mapping[str, Tensor]] | None,
    priors: Moments,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the first layer is made of.

    Returns
    -------
    c ``[B, H, S]``, one where nothing is held; the scales ``[B, D]`` of latents, 0 where they do not vary;
    the noise of both ``[D + S, K]``; and weights ``[H, D]``.
    """
    likelihood, latents = model.likelihood, model.latents
    shared = likelihood.bias.expand(len(h), -1)
    for name, linear in likelihood.from_observed.items():
        shared = shared + linear(h.values[name])
    if not latents:
        nothing = shared.new_zeros(0)
        ones = points.new_ones(1, len(points))
        return shared[:, :, None], nothing.expand(len(h), 0), ones, nothing.expand(shared.shape[1], 0)
    loc, scale = (
        torch.cat(of_each, dim=1) for of_each in zip(*(priors[name] for name in latents), strict=True)
    )  # [B, D]
    weight, constants = likelihood.of_all_latents()
    sizes = torch.tensor([latent.dim for latent in latents.values()], device=points.device)
    in_play = torch.stack([_as_rows(h.in_play(latent.about), h) for latent in latents.values()], dim=1)
    if constants is not None:
        shared = shared + (~in_play).to(shared.dtype) @ constants
    plays = in_play.repeat_interleave(sizes, dim=1)  # [B, D]
    shared = shared + (loc * plays) @ weight.T
    replicates, constant = points.new_ones(1, len(points)), shared[:, :, None]
    if held is not None and any(rows.any() for rows in held[1].values()):
        nowhere = torch.zeros(len(h), dtype=torch.bool, device=points.device)
        known = torch.stack([held[1].get(f"z_{name}", nowhere) for name in latents], dim=1)
        known = known.repeat_interleave(sizes, dim=1) & plays
        first, index = _replicates(held[0])
        values = torch.cat([held[0][first, columns[f"z_{name}"]] for name in latents], dim=1)  # [S, D]
        constant = ((scale * known)[:, None] * values @ weight.T + shared[:, None]).transpose(1, 2)
        replicates, plays = F.one_hot(index, len(first)).to(points).T, plays & ~known
    scale = scale * plays
    noise = torch.cat([points[:, columns[f"z_{name}"]] for name in latents], dim=1).T
    vary = plays.any(0)
    if not vary.all():  # as where one of many modalities is asked about
        scale, noise, weight = scale[:, vary], noise[vary], weight[:, vary]
    return constant, scale, torch.cat([noise, replicates]), weight


def _as_rows(in_play: Tensor | bool, h: Representations) -> Tensor:
    if isinstance(in_play, Tensor):
        return in_play
    return torch.full((len(h),), in_play, device=h.fused().device)


def _replicates(held_points: Tensor) -> tuple[Tensor, Tensor]:
    """The first draw of each replicate ``[S]``, and the replicate of each draw ``[K]``."""
    starts = torch.ones(len(held_points), dtype=torch.bool, device=held_points.device)
    starts[1:] = (held_points[1:] != held_points[:-1]).any(1)
    return starts.nonzero()[:, 0], starts.cumsum(0) - 1
