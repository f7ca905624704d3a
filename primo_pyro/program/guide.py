"""The guide: where the latents lie, once the label is known.

For each row, with h as in the model::

    z_l | available, y  ~  Normal(mu_phi(h, y), diag(sigma_phi(h, y)^2))     some x_m that z_l is about absent
    z_l | available     ~  p_omega(z_l | available)                          all of them present

The second line is for a guide that proposes from the prior: then the likelihood trains on the very latents
that prediction uses, and the label stays out of them. The paper uses the first line for every row
(Eq. 2, 3).

Where several latents are in play and what some are about is absent, those that are known are drawn once for
all draws of a row. So the log of the mean weight in `ImportanceELBO` is taken over what is absent alone.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule
from torch import Tensor, distributions, nn

from primo_pyro.modalities import Modalities
from primo_pyro.program.conditionals import BatchNormDiagNormal
from primo_pyro.program.distributions import HeldDraws, either
from primo_pyro.program.encoders import Encoders, Representations, encode
from primo_pyro.program.protocols import Story

__all__ = ["PrimoGuide"]


class PrimoGuide(PyroModule):
    """q(z | x, y) as a Pyro program; shares the model's encoders, priors and outcome.

    Parameters
    ----------
    model
        The `PrimoModel` whose latents are proposed.
    hidden_dim
        Width of the hidden layers.
    gamma
        Fixed scale of the batch-normalised posterior mean.
    proposes_from_prior
        Whether rows in which all that a latent is about is present draw it from the model's prior; and, where
        what another one is about is absent, once for all draws.
    posterior
        From ``(in_features, label_features, hidden_dim, dim, gamma)`` to a module that returns q(z | h, y)
        for representations and `Outcome.features` of the label.
    """

    encoder: Encoders

    def __init__(
        self,
        model: Story,
        *,
        hidden_dim: int,
        gamma: float,
        proposes_from_prior: bool,
        posterior: Callable[..., nn.Module] = BatchNormDiagNormal,
    ):
        super().__init__()
        self.encoder, self.prior, self.outcome = model.encoder, model.prior, model.outcome
        self.latents = model.latents
        sizes = model.encoder.fused_features, model.outcome.num_features, hidden_dim
        self.posterior = nn.ModuleDict(
            {name: posterior(*sizes, latent.dim, gamma) for name, latent in model.latents.items()}
        )
        self.proposes_from_prior = proposes_from_prior

    def forward(self, x: Modalities | Representations, y: Tensor) -> None:
        """Draw every latent in play for labels ``y``."""
        h, label = encode(self, x), self.outcome.features(y)
        absent = h.something_absent(latent.about for latent in self.latents.values())
        with pyro.plate("data", len(h), dim=-1):
            for name, prior in self.prior.items():
                in_play = h.in_play(self.latents[name].about)  # [B]; True or False for all rows
                if in_play is not False:
                    q = self.proposal(name, h, label, prior(h), absent)
                    with poutine.mask(mask=in_play):
                        pyro.sample(f"z_{name}", q)

    def proposal(
        self, name: str, h: Representations, label: Tensor, p: distributions.Distribution, absent: Tensor
    ) -> TorchDistributionMixin:
        """q of one latent, p being its prior, given the rows ``[B]`` that lack something in play."""
        q = self.posterior[name](h, label)
        if not self.proposes_from_prior:
            return q
        known = h.all_present(self.latents[name].about)
        proposal = either(known, p, q)
        if len(self.latents) == 1:
            return proposal
        return HeldDraws(proposal, known & absent)
