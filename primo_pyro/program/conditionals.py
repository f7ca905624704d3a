"""Conditional distributions of the model and the guide.

A conditional distribution is a module whose ``forward`` returns a ``Distribution``. Sizes: B rows, K draws,
H features of a representation, d latent dimensions, P parameters of the label's distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from primo_pyro.program.encoders import Representations
from primo_pyro.program.priors import Latent, LocationAndScale

__all__ = ["BatchNormDiagNormal", "DropoutOfRows", "Likelihood"]


class BatchNormDiagNormal(LocationAndScale):
    """q(z | h, y), whose mean passes through a batch normalisation with fixed scale and learnable shift.

    With the mean's spread over a batch held at ``gamma``, KL(q || p) cannot vanish for all rows at once
    (Zhu et al. 2020; Section 2.1 of the paper). In training the statistics are the mini-batch's.
    """

    def __init__(self, in_features: int, label_features: int, hidden_dim: int, latent_dim: int, gamma: float):
        super().__init__(in_features + label_features, hidden_dim, latent_dim)
        self.gamma = gamma
        self.normalise = nn.BatchNorm1d(latent_dim, affine=False)
        self.shift = nn.Parameter(torch.zeros(latent_dim))  # beta

    def forward(self, h: Representations, label: Tensor) -> dist.Independent:
        """For features of the label ``[B, label_features]``, see `Outcome.features`."""
        given = torch.cat([h.fused(), label.to(self.shift.dtype)], dim=-1)
        loc, scale = self.location_and_scale(given)
        if len(loc) > 1 or not self.training:  # one row has no spread to normalise
            loc = self.normalise(loc)
        return dist.Normal(self.gamma * loc + self.shift, scale, validate_args=False).to_event(1)


class DropoutOfRows(nn.Dropout):
    """Dropout of ``[..., B, H]`` that is the same for all draws of a row.

    What varies between the draws of a row is then the latent alone. A mask of its own for each draw would
    look like impact in training, and vanish in prediction.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return hidden
        return hidden * super().forward(torch.ones_like(hidden[(0,) * (hidden.dim() - 2)]))


class Likelihood(nn.Module):
    """Parameters of p(y | x_o, z): observed representations ``[B, H]`` and latents ``[..., B, d]`` in,
    ``[..., B, P]`` out.

    The first layer is one linear map of everything side by side, written as a sum so that K draws of z
    need not carry K copies of h.

    Parameters
    ----------
    observed
        Modalities whose representations it sees directly.
    latents
        The latents by name. Where one is not in play, a learnt constant stands for it, if there are several.
    in_features
        Size H of a representation.
    num_parameters
        P, see `Outcome.num_parameters`.
    """

    def __init__(
        self,
        observed: Iterable[str],
        latents: Mapping[str, Latent],
        *,
        in_features: int,
        hidden_dim: int,
        num_parameters: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.from_observed = nn.ModuleDict(
            {name: nn.Linear(in_features, hidden_dim, bias=False) for name in observed}
        )
        self.from_latent = nn.ModuleDict(
            {name: nn.Linear(latent.dim, hidden_dim, bias=False) for name, latent in latents.items()}
        )
        self.about = {name: latent.about for name, latent in latents.items()}
        several = latents if len(latents) > 1 else ()
        self.not_in_play = nn.ParameterDict({name: torch.zeros(hidden_dim) for name in several})
        self.bias = nn.Parameter(torch.zeros(hidden_dim))
        self.head = nn.Sequential(
            nn.ReLU(inplace=True), DropoutOfRows(dropout), nn.Linear(hidden_dim, num_parameters)
        )

    def of_all_latents(self) -> tuple[Tensor, Tensor | None]:
        """The weights of all latents side by side ``[H, sum of d]``; their constants ``[L, H]``, if any."""
        weights = [cast(Tensor, linear.weight) for linear in self.from_latent.values()]
        constants = [self.not_in_play[name] for name in self.from_latent if name in self.not_in_play]
        return torch.cat(weights, dim=1), torch.stack(constants) if constants else None

    def forward(self, h: Representations, z: Mapping[str, Tensor]) -> Tensor:
        hidden = self.bias.expand(len(h), -1)
        for name, linear in self.from_observed.items():
            hidden = hidden + linear(h.values[name])
        for name, linear in self.from_latent.items():
            in_play = h.in_play(self.about[name])  # [B]; True or False for all rows
            constant = self.not_in_play[name] if name in self.not_in_play else hidden.new_zeros(())
            if in_play is False:
                hidden = hidden + constant
                continue
            shift = z[name] @ linear.get_parameter("weight").T  # faster than linear(z) where d is small
            if in_play is not True:
                shift = torch.where(in_play[:, None], shift, constant)
            hidden = hidden + shift
        return self.head(hidden)
