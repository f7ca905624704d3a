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

from primo_pyro.program.conditionals import DropoutOfRows, Likelihood
from primo_pyro.program.encoders import Representations
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.priors import DiagNormal
from primo_pyro.program.regulariser import is_package_story

__all__ = ["direct_columns", "direct_parameters", "is_direct"]

IN_CACHE = 2**19  # hidden units of all draws that a processor works on at a time: 2 MB
ON_GPU = 2**26


def is_direct(model: Any) -> TypeGuard[PrimoModel]:
    """Whether a program is the package's own throughout, in evaluation mode, and no handler listens to it."""
    return (
        isinstance(model, PrimoModel)
        and is_package_story(model)
        and type(model).forward is PrimoModel.forward
        and not model.training
        and type(model.likelihood) is Likelihood
        and [type(part) for part in model.likelihood.head] == [nn.ReLU, DropoutOfRows, nn.Linear]
        and all(type(prior) is DiagNormal for prior in model.prior.values())
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
def direct_parameters(
    model: PrimoModel,
    h: Representations,
    points: Tensor,
    columns: Mapping[str, slice],
    held: tuple[Tensor, Mapping[str, Tensor]] | None = None,
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
    """
    base, scales, values, weights = _first_layer(model, h, points, columns, held)
    last = cast(nn.Linear, model.likelihood.head[-1])
    hidden_dim, num_draws = base.shape[1], values.shape[1]
    parameters = base.new_empty(len(h), last.out_features, num_draws)
    most = ON_GPU if base.is_cuda else IN_CACHE
    draws = max(1, min(num_draws, most // hidden_dim))
    rows = max(1, most // (hidden_dim * draws))
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the first layer is made of.

    Returns
    -------
    c ``[B, H, S]``, one where nothing is held; the scales ``[B, D]`` of latents, 0 where they do not vary;
    the noise of both ``[D + S, K]``; and weights ``[H, D]``.
    """
    likelihood = model.likelihood
    shared = likelihood.bias.expand(len(h), -1)
    for name, linear in likelihood.from_observed.items():
        shared = shared + linear(h.values[name])
    of_replicate: Tensor | int = 0
    known: Mapping[str, Tensor] = {}
    replicates = points.new_ones(1, len(points))
    if held is not None and any(rows.any() for rows in held[1].values()):
        known = held[1]
        distinct, index = held[0].unique_consecutive(dim=0, return_inverse=True)  # [S, D], [K]
        replicates = F.one_hot(index, len(distinct)).to(points).T
    scales, weights, noise = [], [], []
    for name, module in model.prior.items():
        prior, linear = cast(DiagNormal, module), cast(nn.Linear, likelihood.from_latent[name])
        site, in_play = f"z_{name}", h.in_play(model.latents[name].about)  # [B]; True or False for all rows
        several = name in likelihood.not_in_play
        if in_play is False:
            shared = shared + likelihood.not_in_play[name] if several else shared
            continue
        loc, scale = prior.location_and_scale(h.fused())
        weight = linear.weight  # [H, d]
        shift = loc @ weight.T
        if in_play is not True:
            constant = likelihood.not_in_play[name] if several else shift.new_zeros(())
            shift = torch.where(in_play[:, None], shift, constant)
            scale = torch.where(in_play[:, None], scale, 0.0)
        shared = shared + shift
        if site in known:
            fixed = torch.where(known[site][:, None], scale, 0.0)  # [B, d]
            values = fixed[:, None] * distinct[:, columns[site]]  # [B, S, d]
            of_replicate = of_replicate + (values @ weight.T).transpose(1, 2)
            scale = torch.where(known[site][:, None], 0.0, scale)
        scales.append(scale)
        weights.append(weight)
        noise.append(points[:, columns[site]].T)
    base = shared[:, :, None] + of_replicate
    empty = shared.new_zeros(len(h), 0), shared.new_zeros(shared.shape[1], 0)
    return (
        base.expand(-1, -1, len(replicates)),
        torch.cat([*scales, empty[0]], dim=1),
        torch.cat([*noise, replicates]),
        torch.cat([*weights, empty[1]], dim=1),
    )
