"""A joint latent, inferred by a mixture of experts (MMVAE; Shi et al., 2019, "Variational mixture-of-experts
autoencoders for multi-modal deep generative models", NeurIPS).

Story (`JointModel`): z ~ N(0, I) explains every modality and the label. The guide is the average of one
Gaussian expert for each of the M present modalities::

    q(z | x)  =  1/M sum_m Normal(z; mu_m(x_m), diag(sigma_m(x_m)^2))

Objective, per row, maximised; z_1 ... z_K come from expert m, and the whole mixture stands in the
denominator::

    1/M sum_m E[ log 1/K sum_k p(z_k) prod_j p(x_j | z_k) p(y | z_k)^label_weight / q(z_k | x) ]

In place of the sum over m, one expert is drawn for each row and step, uniformly among those of the present
modalities: the same in expectation, for one pass through the decoders. The source takes Laplace distributions
and the doubly reparametrised gradient; here they are Gaussians with the plain one.

Prediction: p(y | x) = E[p(y | z)] under q(z | x), and so the average of what each modality predicts *alone*.

That is why it cannot express XOR. Every z is drawn by an expert of one modality. Where x_o < 0 and
x_m < 0, each of the two alone makes the label a coin flip, and the average of two coin flips is a coin flip,
though both together are certain. More training does not help: it is the form of q. (Where one modality alone
is certain, as for x_o > 0, the average leans the right way. So the log loss stays far from 0, and the
accuracy hangs on which side of 1/2 a coin flip is estimated to lie: on XOR about .66, as the Bayes rule
without m, whether m is present or not.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from primo_pyro.baselines.generative import LABEL, JointModel, LatentClassifier, flattened
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import Range, Real, Whole
from primo_pyro.program.distributions import ONE_DRAW, Shape
from primo_pyro.program.encoders import Encoders
from primo_pyro.program.objective import ImportanceELBO
from primo_pyro.program.priors import LocationAndScale

__all__ = ["MMVAEClassifier", "MixtureBound", "MixtureGuide", "Stratum", "of_expert"]


class Stratum(TorchDistribution):
    """Drawn from one component of a mixture, weighed by the density of the whole.

    >>> component = dist.Normal(torch.zeros(5, 2), 1.0).to_event(1)
    >>> experts = dist.Normal(torch.zeros(5, 3, 2), 1.0).to_event(1)
    >>> stratum = Stratum(component, dist.MixtureSameFamily(dist.Categorical(torch.ones(5, 3)), experts))
    >>> z = stratum.rsample()
    >>> bool(torch.allclose(stratum.log_prob(z), component.log_prob(z)))
    True
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = True

    def __init__(self, component: dist.Independent, mixture: dist.MixtureSameFamily):
        self.component, self.mixture = component, mixture
        super().__init__(component.batch_shape, component.event_shape, validate_args=False)

    def expand(self, batch_shape: Shape, _instance: Stratum | None = None) -> Stratum:
        return Stratum(self.component.expand(batch_shape), self.mixture.expand(batch_shape))

    def rsample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return self.component.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.mixture.log_prob(value)


class MixtureGuide(PyroModule):
    """q(z | x), the average of the experts of the present modalities."""

    def __init__(self, encoder: Encoders, hidden_dim: int, latent_dim: int):
        super().__init__()
        self.encoder = encoder
        self.expert = nn.ModuleDict(
            {m: LocationAndScale(encoder.out_features, hidden_dim, latent_dim) for m in encoder}
        )

    def experts(self, x: Modalities) -> tuple[Tensor, Tensor, Tensor]:
        """Locations and scales ``[B, M, d]``, and whether each expert's modality is present, ``[B, M]``."""
        h = self.encoder(x)
        experts = [(m, cast(LocationAndScale, expert)) for m, expert in self.expert.items()]
        loc, scale = zip(*(expert.location_and_scale(h.values[m]) for m, expert in experts), strict=True)
        present = torch.stack([h.present[m] for m in self.expert], dim=-1)
        return torch.stack(loc, dim=-2), torch.stack(scale, dim=-2), present

    def forward(self, x: Modalities, y: Tensor, given: Mapping[str, Tensor]) -> None:
        """Draw z for each row from one of its experts."""
        loc, scale, present = self.experts(x)
        chosen = torch.rand(present.shape, device=loc.device).masked_fill(~present, -1).argmax(-1)  # [B]
        component = dist.Normal(of_expert(loc, chosen), of_expert(scale, chosen)).to_event(1)
        even = torch.zeros_like(loc[..., 0]).masked_fill(~present, -torch.inf)
        mixture = dist.MixtureSameFamily(dist.Categorical(logits=even), dist.Normal(loc, scale).to_event(1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", Stratum(component, mixture))


def of_expert(values: Tensor, chosen: Tensor) -> Tensor:
    """From ``[B, M, d]`` the rows ``[..., B, d]`` of the chosen experts ``[..., B]``."""
    return values[torch.arange(len(values), device=values.device), chosen]


class MixtureBound(nn.Module):
    """The negative importance-weighted bound, summed over rows."""

    def __init__(self, model: JointModel, guide: MixtureGuide, num_particles: int):
        super().__init__()
        bound = ImportanceELBO(num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True)
        self.model, self.guide = model, guide
        self.elbo = bound(model, guide)

    def forward(self, x: Modalities, y: Tensor) -> Tensor:
        """The loss of a batch."""
        given = {m: torch.as_tensor(p, device=y.device) for m, p in x.present.items()}
        return self.elbo(x, y, given | {LABEL: torch.ones_like(y, dtype=torch.bool)})


@dataclass(eq=False, repr=False, kw_only=True)
class MMVAEClassifier(LatentClassifier):
    """Mixture of experts over a joint latent; predicts by the average of what each modality says alone.

    Parameters
    ----------
    label_weight
        Weight of log p(y | z) against the reconstructions.
    num_particles
        Draws K per row and step in the importance-weighted bound.
    **others
        See `primo_pyro.baselines.generative.LatentClassifier`.

    Raises
    ------
    ModalityError
        In ``fit`` and predictions, for rows without any present modality: they have no expert to draw from.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> half = x.drop_at_random("m", random_state=0)
    >>> clf = MMVAEClassifier(hidden_dim=16, max_epochs=2, num_samples=8, random_state=0).fit(half, y)
    >>> clf.sample_predictions(x.drop("m"), num_samples=16).shape, clf.latents(x).shape
    ((16, 300, 2), (300, 2))
    """

    label_weight: float = 1.0
    num_particles: int = 4
    learning_rate: float = 5e-3

    parameter_ranges: ClassVar[dict[str, Range]] = {"label_weight": Real(0), "num_particles": Whole(1, 2**16)}

    def _as_modalities(self, x: RowsLike, **validate: bool) -> Modalities:
        rows = super()._as_modalities(x, **validate)
        nothing = len(rows) - int(np.any(list(rows.present.values()), axis=0).sum())
        if nothing:
            raise ModalityError(
                f"{nothing} of {len(rows)} rows have no modality at all; a mixture of experts expected at "
                "least one in every row. Leave these rows out."
            )
        return rows

    def _program(self, x: Modalities) -> nn.Module:
        encoder = self._encoders(x)
        model = JointModel(
            flattened(x, encoder),
            self.latent_dim,
            self.hidden_dim,
            len(self.classes_),
            self.label_weight,
            self.dropout,
        )
        return MixtureBound(
            model, MixtureGuide(encoder, self.hidden_dim, self.latent_dim), self.num_particles
        )

    def _noise_dim(self) -> int:
        return self.latent_dim + 1

    def _draw(self, x: Modalities, points: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale, present = self.program_.guide.experts(x)
        order = present.long().argsort(dim=-1, descending=True, stable=True)  # present ones first
        uniform = torch.special.ndtr(points[:, -1:])  # [K, 1], picks the expert
        chosen = order[torch.arange(len(loc), device=loc.device), (uniform * present.sum(-1)).long()]
        z = of_expert(loc, chosen) + of_expert(scale, chosen) * points[:, None, :-1]  # [K, B, d]
        return z, self.model_.likelihood(z).double().softmax(-1)

    def _latents(self, x: Modalities) -> Tensor:
        loc, _, present = self.program_.guide.experts(x)
        share = present / present.sum(-1, keepdim=True)
        return (share[..., None] * loc).sum(-2)
