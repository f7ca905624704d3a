"""The generative story.

For each row, with h_m = encoder_m(x_m), and h_m = 0 where modality m is absent::

    z_l | available  ~  p_omega(z_l | h)        for each latent l in play; Normal(mu(h), diag(sigma(h)^2))
    y   | x_o, z     ~  p_theta(y | h_o, z)     Categorical

Both distributions are defaults: a latent may have any prior (`Latent`), a label any `Outcome`. There is one
latent for each modality that may be absent, unless the model is told otherwise. z stands for what that
modality would tell about the label, and for nothing else: x_m is never reconstructed. Its prior conditions on
all that is available, so that it narrows when x_m arrives, and holds nothing that other modalities have told
already.

A latent is in play where its modality is present, or absent and asked about; one that is not in play is not
drawn, and the likelihood sees a constant in its place. A prediction asks about all that is absent. What one
absent modality alone would change is asked with its latent alone in play: were the latents of the others
drawn too, the modality would seem to tell less, for they tell parts of the same. With one
modality that may be absent its latent always is in play, and this is Eq. 1 of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities
from primo_pyro.program.conditionals import Likelihood
from primo_pyro.program.encoders import Encoders, Representations, encode
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.priors import Latent

__all__ = ["PrimoModel"]


class PrimoModel(PyroModule):
    """p(y, z | x) as a Pyro program.

    Parameters
    ----------
    encoder
        One encoder per modality.
    latents
        Name to `Latent`; `one_latent_each` gives one to each modality that may be absent. Modalities that no
        latent is about are observed, and the likelihood sees them directly. No latent at all is ordinary
        cross-entropy.
    outcome
        What kind of thing the label is, as `Categorical(num_classes)`.
    hidden_dim
        Width of the hidden layers of priors and likelihood.
    dropout
        Dropout rate in the likelihood.

    Raises
    ------
    ModalityError
        Where a latent is about a modality that has no encoder.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from pyro.infer import Predictive
    >>> from primo_pyro.program import MLP, Categorical, one_latent_each
    >>> x = Modalities({"o": np.zeros((5, 3)), "m": np.zeros((5, 2))}).drop("m", where=[1, 1, 0, 0, 0])
    >>> encoder = Encoders({"o": MLP(3, 16, 8), "m": MLP(2, 16, 8)}, out_features=8)
    >>> model = PrimoModel(encoder, one_latent_each(["m"], dim=2), outcome=Categorical(4), hidden_dim=16)
    >>> model(x).shape
    torch.Size([5])
    >>> draws = Predictive(model, num_samples=7, parallel=True, return_sites=("z_m", "logits"))(x)
    >>> draws["z_m"].shape, draws["logits"].shape
    (torch.Size([7, 5, 2]), torch.Size([7, 5, 4]))
    """

    encoder: Encoders
    latents: Mapping[str, Latent]
    outcome: Outcome
    prior: nn.ModuleDict
    likelihood: Likelihood

    def __init__(
        self,
        encoder: Encoders,
        latents: Mapping[str, Latent],
        *,
        outcome: Outcome,
        hidden_dim: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.encoder, self.latents, self.outcome = encoder, dict(latents), outcome
        for name in self.optional:
            if name not in encoder:
                raise ModalityError(
                    f"A latent is about {name!r}, which has no encoder; expected one of {list(encoder)}. "
                    "Correct `about`, or add an encoder."
                )
        fused = encoder.fused_features
        self.prior = nn.ModuleDict(
            {name: latent.prior(fused, hidden_dim, latent.dim) for name, latent in latents.items()}
        )
        self.likelihood = Likelihood(
            [name for name in encoder if name not in self.optional],
            self.latents,
            in_features=encoder.out_features,
            hidden_dim=hidden_dim,
            num_parameters=outcome.num_parameters,
            dropout=dropout,
        )

    @property
    def optional(self) -> tuple[str, ...]:
        """The modalities that may be absent: those that some latent is about."""
        return tuple(dict.fromkeys(m for latent in self.latents.values() for m in latent.about))

    def something_absent(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Booleans ``[B]``: rows in which a latent is in play whose modality is absent."""
        return encode(self, x).something_absent(latent.about for latent in self.latents.values())

    def forward(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``: drawn, or ``y`` where given."""
        h = encode(self, x)
        with pyro.plate("data", len(h), dim=-1):
            return self.story(h, y)

    def story(self, h: Representations, y: Tensor | None) -> Tensor:
        """What happens to each row, inside the plate over rows."""
        parameters = self.likelihood(h, self.draw_latents(h))  # [B, P], or [K, B, P] under K draws
        pyro.deterministic(self.outcome.parameters_site, parameters, event_dim=1)
        return pyro.sample("y", self.outcome.distribution(parameters), obs=y)

    def draw_latents(self, h: Representations) -> dict[str, Tensor]:
        """The latents in play by name, each ``[B, d]``, or ``[K, B, d]`` under K draws; part of the story."""
        z = {}
        for name, prior in self.prior.items():
            in_play = h.in_play(self.latents[name].about)  # [B]; True or False for all rows
            if in_play is not False:
                with poutine.mask(mask=in_play):
                    z[name] = pyro.sample(f"z_{name}", prior(h))
        return z
