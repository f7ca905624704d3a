"""A conditional prior with a classifier on its mean (CMMD; Mancisidor et al., 2024, "Discriminative
multimodal learning via conditional priors in generative models", Neural Networks).

Story, with x_o observed, x_m optional, and training rows that have both::

    z   | x_o       ~  Normal(mu_p(x_o), diag(sigma_p(x_o)^2))
    x_m | x_o, z    ~  Normal(mu(x_o, z), diag(s^2))
    y   | x_o       ~  Categorical(g(mu_p(x_o)))

Objective, per row, minimised; w = ``kl_weight``, lambda = ``mmd_weight``, alpha = ``label_weight``::

    w [ KL(q(z | x_o, x_m, y) || p(z | x_o)) - E_q log p(x_m | x_o, z) ]
      + (1 - w) [ -E_q log p(x_m | x_o, z) + lambda MMD(q, p) ]
      + alpha CE(y, g(mu_p(x_o)))

which is one reconstruction, w KL, (1 - w) lambda MMD and alpha CE. MMD is the maximum mean discrepancy
between the batch's draws from q and as many from p: zero where draws of both kinds are spread alike, whatever
single rows do.

Prediction: g(mu_p(x_o)). **A present x_m is ignored**: nothing at prediction takes it in, and so the
prediction of a complete row is that of x_o alone. On XOR both are about the Bayes rule's accuracy .659 for a
missing m. Training uses complete rows and leaves the others out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn

from primo_pyro.baselines.base import NetworkClassifier, require_roles
from primo_pyro.baselines.generative import Decoder, Flattened, flattened, with_label
from primo_pyro.modalities import Modalities
from primo_pyro.parameters import Range, Real, Whole
from primo_pyro.program.encoders import MLP, Encoders
from primo_pyro.program.priors import DiagNormal, LocationAndScale

__all__ = ["CMMDClassifier", "ConditionalGuide", "ConditionalModel", "maximum_mean_discrepancy"]


def maximum_mean_discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """Squared MMD between two samples ``[n, d]`` under the kernel exp(-|u - v|^2 / (2 d)), at least 0.

    The biased estimate, pairs of a point with itself included: the distance of the two samples' mean
    embeddings, which cannot be negative (Gretton et al., 2012).

    >>> a = torch.tensor([[0.0], [1.0]])
    >>> maximum_mean_discrepancy(a, a).item()
    0.0
    >>> round(maximum_mean_discrepancy(a, a + 10).item(), 4)  # 2 (2 + 2 exp(-1/2)) / 4: nothing in common
    1.6065
    """

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return torch.exp(
            -torch.cdist(u, v, compute_mode="donot_use_mm_for_euclid_dist").square() / (2 * u.shape[-1])
        ).mean()

    return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)


class ConditionalModel(PyroModule):
    """p(y, x_m, z | x_o)."""

    def __init__(
        self,
        encoder: Encoders,
        values: Mapping[str, Flattened],
        latent_dim: int,
        hidden_dim: int,
        num_classes: int,
        weights: tuple[float, float, float],
        dropout: float,
    ):
        super().__init__()
        self.encoder = encoder
        self.values = nn.ModuleDict(values)
        self.prior = DiagNormal(encoder.fused_features, hidden_dim, latent_dim)
        self.decoder = nn.ModuleDict(
            {
                m: Decoder(encoder.fused_features + latent_dim, hidden_dim, v.features)
                for m, v in values.items()
            }
        )
        self.likelihood = MLP(latent_dim, hidden_dim, num_classes, layers=3, dropout=dropout)
        self.kl_weight, self.mmd_weight, self.label_weight = weights

    def forward(self, x: Modalities, y: Tensor) -> None:
        """Explain labels ``y`` ``[B]`` and every optional modality."""
        h = self.encoder(x).drop(*self.values)
        p = self.prior(h)
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=self.kl_weight):
                z = pyro.sample("z", p)  # [B, d]
            mmd = maximum_mean_discrepancy(z, p.rsample())
            pyro.factor("mmd", -(1 - self.kl_weight) * self.mmd_weight * mmd.expand(len(x)))
            for m, decoder in self.decoder.items():
                pyro.sample(f"x_{m}", decoder(torch.cat([h.fused(), z], dim=-1)), obs=self.values[m](x))
            with poutine.scale(scale=self.label_weight):
                pyro.sample("y", dist.Categorical(logits=self.likelihood(p.mean)), obs=y)


class ConditionalGuide(PyroModule):
    """q(z | x_o, x_m, y)."""

    def __init__(self, model: ConditionalModel, hidden_dim: int, latent_dim: int, num_classes: int):
        super().__init__()
        self.encoder = model.encoder
        self.kl_weight, self.num_classes = model.kl_weight, num_classes
        self.posterior = LocationAndScale(model.encoder.fused_features + num_classes, hidden_dim, latent_dim)

    def forward(self, x: Modalities, y: Tensor) -> None:
        """Draw z for labels ``y`` ``[B]``."""
        given = with_label(self.encoder(x).fused(), y, self.num_classes)
        loc, scale = self.posterior.location_and_scale(given)
        with pyro.plate("data", len(x)), poutine.scale(scale=self.kl_weight):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


@dataclass(eq=False, repr=False, kw_only=True)
class CMMDClassifier(NetworkClassifier):
    """Learns from complete rows, predicts from the observed modalities alone; a present x_m is ignored.

    Parameters
    ----------
    optional
        Modalities x_m. None: those absent in some training row.
    latent_dim
        Dimensions of z.
    kl_weight
        w, between 0 and 1: KL against maximum mean discrepancy.
    mmd_weight
        lambda.
    label_weight
        alpha.
    **others
        See `primo_pyro.baselines.base.NetworkClassifier`.

    Raises
    ------
    ModalityError
        In ``fit``, where no modality is optional or all are, or no row is complete.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> half = x.drop_at_random("m", random_state=0)
    >>> clf = CMMDClassifier(hidden_dim=16, max_epochs=2, random_state=0).fit(half, y)
    >>> bool((clf.predict_proba(x) == clf.predict_proba(x.drop("m"))).all())
    True
    """

    optional: Sequence[str] | None = None
    latent_dim: int = 4
    kl_weight: float = 0.9
    mmd_weight: float = 10.0
    label_weight: float = 1.0
    learning_rate: float = 5e-3

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "latent_dim": Whole(1, 4096),
        "kl_weight": Real(0),
        "mmd_weight": Real(0),
        "label_weight": Real(0),
    }

    def _program(self, x: Modalities) -> nn.Module:
        require_roles(x, self.optional_, type(self).__name__)
        classes = len(self.classes_)
        model = ConditionalModel(
            self._encoders(x),
            flattened(x, self.optional_),
            self.latent_dim,
            self.hidden_dim,
            classes,
            (self.kl_weight, self.mmd_weight, self.label_weight),
            self.dropout,
        )
        guide = ConditionalGuide(model, self.hidden_dim, self.latent_dim, classes)
        return TraceMeanField_ELBO(max_plate_nesting=1)(model, guide)

    def _usable(self, x: Modalities) -> np.ndarray:
        return x.complete

    def _predict(self, x: Modalities) -> Tensor:
        return self.model_.likelihood(self._latents(x)).double().softmax(-1)

    def _latents(self, x: Modalities) -> Tensor:
        h = self.model_.encoder(x.drop(*self.optional_))
        return self.model_.prior(h).mean
