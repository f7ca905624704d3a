"""The guide: where the latents lie, once the label is known.

For each row, with h as in the model::

    z_m | available, y  ~  Normal(mu_phi(h, y), diag(sigma_phi(h, y)^2))     x_m absent
    z_m | available     ~  p_omega(z_m | available)                          x_m present

The second line is for a guide that proposes from the prior: then the likelihood trains on the very latents
that prediction uses, and the label stays out of them. The paper uses the first line for every row
(Eq. 2, 3).
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from primo_pyro.modalities import Modalities
from primo_pyro.program.conditionals import BatchNormDiagNormal
from primo_pyro.program.encoders import Representations, encode


class PrimoGuide(PyroModule):
    """q(z | x, y) as a Pyro program; shares the model's encoders and priors.

    Parameters
    ----------
    model
        The `PrimoModel` whose latents are proposed.
    hidden_dim
        Width of the hidden layers.
    gamma
        Fixed scale of the batch-normalised posterior mean.
    proposes_from_prior
        Whether rows in which a modality is present draw its latent from the model's prior.
    """

    def __init__(self, model, hidden_dim: int, gamma: float, proposes_from_prior: bool):
        super().__init__()
        fused, classes = model.encoder.fused_features, model.likelihood.num_classes
        self.encoder = model.encoder
        self.prior = model.prior
        self.posterior = nn.ModuleDict(
            {
                m: BatchNormDiagNormal(fused, classes, hidden_dim, prior.latent_dim, gamma)
                for m, prior in model.prior.items()
            }
        )
        self.proposes_from_prior = proposes_from_prior

    def forward(self, x: Modalities | Representations, y: Tensor) -> None:
        """Draw every latent for labels ``y`` ``[B]``."""
        h = encode(self, x)
        with pyro.plate("data", len(h)):
            for m, posterior in self.posterior.items():
                q = posterior(h, y)
                if self.proposes_from_prior:
                    q = where(h.present[m], self.prior[m](h), q)
                pyro.sample(f"z_{m}", q)


def where(condition: Tensor, p: dist.Distribution, q: dist.Distribution) -> dist.Distribution:
    """Row by row, the diagonal Gaussian ``p`` where ``condition`` ``[B]`` holds and ``q`` elsewhere."""
    p, q = p.base_dist, q.base_dist
    rows = condition[:, None]
    return dist.Normal(torch.where(rows, p.loc, q.loc), torch.where(rows, p.scale, q.scale)).to_event(1)
