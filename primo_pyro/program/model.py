"""The generative story.

For each row, with h_m = encoder_m(x_m), and h_m = 0 where modality m is absent::

    z_m | available  ~  Normal(mu_m(h), diag(sigma_m(h)^2))     for each modality m that may be absent
    y   | x_o, z     ~  Categorical(p_theta(y | h_o, z))

z_m stands for what modality m would tell about the label, and for nothing else: x_m is never
reconstructed. Its prior conditions on all that is available, so that it narrows when x_m arrives, and
knows what other modalities have told already. With one such modality this is Eq. 1 of the paper.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import Tensor, nn

from primo_pyro.modalities import Modalities
from primo_pyro.program.conditionals import DiagNormal, Likelihood
from primo_pyro.program.encoders import Encoders, Representations, encode


class PrimoModel(PyroModule):
    """p(y, z | x) as a Pyro program.

    Parameters
    ----------
    encoder
        One encoder per modality.
    optional
        The modalities that may be absent; each gets a latent. The others are observed, and the likelihood
        sees them directly. None at all is ordinary cross-entropy.
    num_classes
        Number of classes C.
    latent_dim
        Dimensions d of each latent.
    hidden_dim
        Width of the hidden layers of priors and likelihood.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from pyro.infer import Predictive
    >>> from primo_pyro.program.encoders import MLP
    >>> x = Modalities({"o": np.zeros((5, 3)), "m": np.zeros((5, 2))}).drop("m", where=[1, 1, 0, 0, 0])
    >>> encoder = Encoders({"o": MLP(3, 16, 8), "m": MLP(2, 16, 8)}, out_features=8)
    >>> model = PrimoModel(encoder, optional=("m",), num_classes=4, latent_dim=2, hidden_dim=16)
    >>> model(x).shape
    torch.Size([5])
    >>> draws = Predictive(model, num_samples=7, parallel=True, return_sites=("z_m", "logits"))(x)
    >>> draws["z_m"].shape, draws["logits"].shape
    (torch.Size([7, 5, 2]), torch.Size([7, 5, 4]))
    """

    def __init__(
        self,
        encoder: Encoders,
        optional: Iterable[str],
        num_classes: int,
        latent_dim: int,
        hidden_dim: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        optional = tuple(optional)
        observed = tuple(name for name in encoder if name not in optional)
        self.encoder = encoder
        self.prior = nn.ModuleDict(
            {m: DiagNormal(encoder.fused_features, hidden_dim, latent_dim) for m in optional}
        )
        self.likelihood = Likelihood(
            observed, optional, encoder.out_features, latent_dim, hidden_dim, num_classes, dropout
        )

    def forward(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``: drawn, or ``y`` where given."""
        h = encode(self, x)
        with pyro.plate("data", len(h)):
            return self.story(h, y)

    def story(self, h: Representations, y: Tensor | None) -> Tensor:
        """What happens to each row, inside the plate over rows."""
        z = {}
        for m, prior in self.prior.items():
            z[m] = pyro.sample(f"z_{m}", prior(h))  # [B, d], or [K, B, d] under K draws
        logits = pyro.deterministic("logits", self.likelihood(h, z), event_dim=1)
        return pyro.sample("y", dist.Categorical(logits=logits), obs=y)
