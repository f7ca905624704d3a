"""A conditional VAE of the label whose missing covariates are latent (LVAE; Ramchandran et al., 2024,
"Learning conditional variational autoencoders with missing covariates", Pattern Recognition; their bound,
where the label is what is modelled and networks stand in place of Gaussian processes).

Story, with covariates x_o observed and x_m, which is latent in the rows that lack it::

    x_m | x_o       ~  Normal(mu(x_o), diag(sigma(x_o)^2))           for each optional modality m
    z   | x_o, x_m  ~  Normal(mu(x_o, x_m), diag(sigma(x_o, x_m)^2))
    y   | x_o, x_m, z  ~  Categorical(p_theta(y | x_o, x_m, z))

Objective, per row, maximised, with x_u for what the row lacks::

    E_q[log p(y | x, z)] - E_q[KL(q(z | x, y) || p(z | x))]
      + [x_m present]  log p(x_m | x_o)
      - [x_m absent]   KL(q(x_u | y, x_o) || p(x_u | x_o))

so that the rows that have x_m teach its distribution, and the others use it. Prediction: p(y | x) averaged
over draws of x_u from p(x_u | x_o) and of z from p(z | x). The spread of these draws gives V.

x_u is a whole modality, drawn as a Gaussian vector: cheap for a few numbers, crude for images and series.
Every draw is encoded anew, so that modalities of more than `MAX_DRAWN` numbers are refused. On XOR x_u is one
number: the accuracy is about the Bayes rule's .659 where m is missing, and .975 or more where it is present.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn

from primo_pyro.baselines.base import require_roles
from primo_pyro.baselines.generative import Flattened, LatentClassifier, flattened, with_label
from primo_pyro.draws import draw
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities
from primo_pyro.program.conditionals import Likelihood
from primo_pyro.program.encoders import Encoders, Representations
from primo_pyro.program.outcomes import Categorical, Outcome
from primo_pyro.program.priors import DiagNormal, Latent, LocationAndScale

__all__ = ["MAX_DRAWN", "CovariateGuide", "CovariateModel", "LVAEClassifier"]

MAX_DRAWN = 4096  # numbers of the absent modalities together, drawn and encoded anew for every draw and row


class CovariateModel(PyroModule):
    """p(y, z, x_m | x_o)."""

    def __init__(
        self,
        encoder: Encoders,
        values: Mapping[str, Flattened],
        latent_dim: int,
        hidden_dim: int,
        num_classes: int,
        dropout: float,
    ):
        super().__init__()
        self.encoder = encoder
        self.values = nn.ModuleDict(values)
        self.outcome: Outcome = Categorical(num_classes)
        fused = encoder.fused_features
        self.covariate = nn.ModuleDict(
            {m: DiagNormal(fused, hidden_dim, v.features) for m, v in values.items()}
        )
        self.prior = DiagNormal(fused, hidden_dim, latent_dim)
        self.likelihood = Likelihood(
            encoder,
            {"z": Latent((), latent_dim)},
            in_features=encoder.out_features,
            hidden_dim=hidden_dim,
            num_parameters=num_classes,
            dropout=dropout,
        )

    def forward(self, x: Modalities, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``: drawn, or ``y`` where given."""
        h = self.encoder(x)
        h_o = h.drop(*self.values)
        with pyro.plate("data", len(x)):
            x_m = {
                m: pyro.sample(f"x_{m}", covariate(h_o), obs=self.values[m](x), obs_mask=h.present[m])
                for m, covariate in self.covariate.items()
            }  # [B, F], or [K, B, F] under K draws
            h = self.completed(h, x_m)
            z = pyro.sample("z", self.prior(h))
            logits = pyro.deterministic("logits", self.likelihood(h, {"z": z}), event_dim=1)
            return pyro.sample("y", self.outcome.distribution(logits), obs=y)

    def completed(self, h: Representations, x_m: Mapping[str, Tensor]) -> Representations:
        """Representations ``[..., B, H]`` in which absent modalities are encoded from their draws."""
        values = dict(h.values)
        for m, drawn in x_m.items():
            if bool(h.present[m].all()):
                continue  # nothing was drawn
            raw = cast(Flattened, self.values[m]).unflatten(drawn)
            flat = self.encoder.represent(
                m, raw.flatten(0, drawn.dim() - 2)
            )  # an encoder takes one batch dimension
            encoded = flat.reshape(*drawn.shape[:-1], -1)
            values[m] = torch.where(h.present[m][:, None], h.values[m], encoded)
        together = dict(zip(values, torch.broadcast_tensors(*values.values()), strict=True))
        return Representations(together, h.present)


class Posterior(LocationAndScale):
    """A diagonal Gaussian for what is given, ``[B, in_features]``."""

    def forward(self, given: Tensor) -> dist.Independent:
        loc, scale = self.location_and_scale(given)
        return dist.Normal(loc, scale).to_event(1)


class CovariateGuide(PyroModule):
    """q(x_u | y, x_o) q(z | x_o, x_m, y)."""

    def __init__(self, model: CovariateModel, hidden_dim: int, latent_dim: int, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.model = model
        given = model.encoder.fused_features + num_classes
        self.covariate = nn.ModuleDict(
            {m: Posterior(given, hidden_dim, cast(Flattened, v).features) for m, v in model.values.items()}
        )
        self.posterior = Posterior(given, hidden_dim, latent_dim)

    def forward(self, x: Modalities, y: Tensor) -> None:
        """Draw what each row lacks, then z, for labels ``y`` ``[B]``."""
        h = self.model.encoder(x)
        given = with_label(h.drop(*self.covariate).fused(), y, self.num_classes)
        with pyro.plate("data", len(x)):
            x_m = {}
            for m, covariate in self.covariate.items():
                with poutine.mask(mask=cast(torch.BoolTensor, ~h.present[m])):
                    x_m[m] = pyro.sample(f"x_{m}_unobserved", covariate(given))
            h = self.model.completed(h, x_m)
            pyro.sample("z", self.posterior(with_label(h.fused(), y, self.num_classes)))


@dataclass(eq=False, repr=False, kw_only=True)
class LVAEClassifier(LatentClassifier):
    """Draws the missing covariates, and averages the predictions.

    Parameters
    ----------
    optional
        Modalities that may be absent. None: those absent in some training row.
    **others
        See `primo_pyro.baselines.generative.LatentClassifier`.

    Raises
    ------
    ModalityError
        In ``fit``, where no modality is optional or all are, or the optional ones have more than `MAX_DRAWN`
        numbers together.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> half = x.drop_at_random("m", random_state=0)
    >>> clf = LVAEClassifier(hidden_dim=16, max_epochs=2, num_samples=8, random_state=0).fit(half, y)
    >>> clf.sample_predictions(x.drop("m"), num_samples=16).shape, clf.latents(x).shape
    ((16, 300, 2), (300, 2))
    >>> clf.predictive_impact(x.drop("m")).columns.tolist()
    ['impact']
    """

    optional: Sequence[str] | None = None
    learning_rate: float = 1e-2

    def _program(self, x: Modalities) -> nn.Module:
        require_roles(x, self.optional_, type(self).__name__)
        drawn = sum(math.prod(x.values[m].shape[1:]) for m in self.optional_)
        if drawn > MAX_DRAWN:
            raise ModalityError(
                f"LVAEClassifier draws absent modalities whole, {MAX_DRAWN} numbers at most; "
                f"{', '.join(self.optional_)} would be {drawn}; expected fewer. Bring fewer features of "
                "them, or use a method that reconstructs nothing."
            )
        classes = len(self.classes_)
        model = CovariateModel(
            self._encoders(x),
            flattened(x, self.optional_),
            self.latent_dim,
            self.hidden_dim,
            classes,
            self.dropout,
        )
        guide = CovariateGuide(model, self.hidden_dim, self.latent_dim, classes)
        return TraceMeanField_ELBO(max_plate_nesting=1)(model, guide)

    def _noise_dim(self) -> int:
        return sum(v.features for v in self.model_.values.values()) + self.latent_dim

    def _draw(self, x: Modalities, points: Tensor) -> tuple[Tensor, Tensor]:
        drawn = draw(self.model_, x, points, ["z", "logits"])
        return drawn["z"], drawn["logits"].double().softmax(-1)

    def _latents(self, x: Modalities) -> Tensor:
        h = self.model_.encoder(x)
        expected = {
            m: covariate(h.drop(*self.optional_)).mean for m, covariate in self.model_.covariate.items()
        }
        return self.model_.prior(self.model_.completed(h, expected)).mean
