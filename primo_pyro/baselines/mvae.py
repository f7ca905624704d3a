"""A joint latent, inferred by a product of experts (MVAE; Wu and Goodman, 2018, "Multimodal generative
models for scalable weakly-supervised learning", NeurIPS).

Story (`JointModel`): z ~ N(0, I) explains every modality and the label, which is one more modality. For a set
S of what is given, the guide multiplies the prior expert with one Gaussian expert for each member, and leaves
out those that are absent::

    q(z | S)  =  Normal(0, I) prod_{i in S} Normal(z; mu_i, diag(sigma_i^2)) / constant

Objective, per row, maximised::

    ELBO(all)  +  sum_i ELBO({i})  +  ELBO(a random S)

    ELBO(S) = E_{q(z|S)}[ sum_{m in S} log p(x_m | z) + [y in S] label_weight * log p(y | z) ]
              - beta * KL(q(z | S) || N(0, I))

with i over modalities and label, and beta rising from 0 to 1 over the first part of training (``warm_up``).

Prediction: p(y | x) = E[p(y | z)] under q(z | the present modalities).

No term of the objective asks the latent of the modalities *without* the label to predict the label: what
it knows of y it knows because y and x share z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceMeanField_ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.nn import functional as F

from primo_pyro.baselines.generative import LABEL, JointModel, LatentClassifier, flattened
from primo_pyro.modalities import Modalities
from primo_pyro.parameters import Range, Real
from primo_pyro.program.encoders import Encoders
from primo_pyro.program.priors import LocationAndScale

__all__ = ["MVAEClassifier", "OverSubsets", "ProductGuide", "SubsampledELBO"]


class ProductGuide(PyroModule):
    """q(z | S), the product of the prior expert and the experts of what is given."""

    def __init__(self, encoder: Encoders, hidden_dim: int, latent_dim: int, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.encoder = encoder
        self.expert = nn.ModuleDict(
            {m: LocationAndScale(encoder.out_features, hidden_dim, latent_dim) for m in encoder}
        )
        self.label_expert = LocationAndScale(num_classes, hidden_dim, latent_dim)

    def forward(self, x: Modalities, y: Tensor, given: Mapping[str, Tensor]) -> None:
        """``given`` has booleans ``[..., B]`` for each modality and for `LABEL`."""
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.posterior(x, y, given))

    def posterior(self, x: Modalities, y: Tensor, given: Mapping[str, Tensor]) -> dist.Independent:
        """``[..., B]`` batch, d event."""
        h = self.encoder(x).values
        label = F.one_hot(y, self.num_classes).to(next(self.label_expert.parameters()))
        experts = {m: cast(LocationAndScale, e).location_and_scale(h[m]) for m, e in self.expert.items()}
        experts[LABEL] = self.label_expert.location_and_scale(label)
        precision, weighted = torch.ones(()), torch.zeros(())  # the prior expert
        for m, (loc, scale) in experts.items():
            share = given[m][..., None] / scale**2  # [..., B, d], zero for an expert that is left out
            precision = precision + share
            weighted = weighted + share * loc
        return dist.Normal(weighted / precision, precision.rsqrt()).to_event(1)


class OverSubsets(PyroModule):
    """A program once for each of several subsets, side by side in a plate of its own."""

    def __init__(self, program: PyroModule):
        super().__init__()
        self.program = program

    def forward(self, x: Modalities, y: Tensor, given: Mapping[str, Tensor]) -> None:
        """``given`` has booleans ``[S, B]``."""
        with pyro.plate("subsets", len(given[LABEL]), dim=-2):
            self.program(x, y, given)


class SubsampledELBO(nn.Module):
    """The negative sum of the ELBO of all, of each alone and of a random subset, over rows."""

    def __init__(self, model: JointModel, guide: ProductGuide):
        super().__init__()
        self.model, self.guide = model, guide
        self.elbo = TraceMeanField_ELBO(max_plate_nesting=2)(OverSubsets(model), OverSubsets(guide))

    def forward(self, x: Modalities, y: Tensor) -> Tensor:
        """The loss of a batch."""
        return self.elbo(x, y, self.subsets(x, y))

    def subsets(self, x: Modalities, y: Tensor) -> dict[str, Tensor]:
        """What each term is given: booleans ``[S, B]`` for each modality and for `LABEL`."""
        names = [*self.guide.expert, LABEL]
        one = torch.eye(len(names), dtype=torch.bool, device=y.device)
        some = torch.rand(1, len(names), device=y.device) < 0.5
        member = torch.cat([some, one, torch.ones_like(some)])  # [S, M + 1]; all comes last
        given = {m: column[:, None].expand(-1, len(y)) for m, column in zip(names, member.T, strict=True)}
        for m in self.guide.expert:
            given[m] = given[m] & torch.as_tensor(x.present[m], device=y.device)
        return given


@dataclass(eq=False, repr=False, kw_only=True)
class MVAEClassifier(LatentClassifier):
    """Product of experts over a joint latent; predicts from whatever modalities are present.

    Parameters
    ----------
    label_weight
        Weight of log p(y | z) against the reconstructions.
    warm_up
        Share of training during which the KL rises linearly from 0 to full weight.
    **others
        See `primo_pyro.baselines.generative.LatentClassifier`.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> clf = MVAEClassifier(hidden_dim=16, max_epochs=2, num_samples=8, random_state=0)
    >>> clf.fit(x.drop_at_random("m", random_state=0), y).predict_proba(x.drop("m")).shape
    (300, 2)
    """

    label_weight: float = 1.0
    warm_up: float = 0.3
    learning_rate: float = 5e-3

    parameter_ranges: ClassVar[dict[str, Range]] = {"label_weight": Real(0), "warm_up": Real(0, 1)}

    def _program(self, x: Modalities) -> nn.Module:
        classes = len(self.classes_)
        encoder = self._encoders(x)
        model = JointModel(
            flattened(x, encoder), self.latent_dim, self.hidden_dim, classes, self.label_weight, self.dropout
        )
        return SubsampledELBO(model, ProductGuide(encoder, self.hidden_dim, self.latent_dim, classes))

    def _posterior(self, x: Modalities) -> dist.Independent:
        """q(z | the present modalities)."""
        device = next(self.program_.parameters()).device
        unknown = torch.zeros(len(x), dtype=torch.long, device=device)
        given = {m: torch.as_tensor(p, device=device) for m, p in x.present.items()}
        given[LABEL] = torch.zeros_like(unknown, dtype=torch.bool)
        return self.program_.guide.posterior(x, unknown, given)

    def _draw(self, x: Modalities, points: Tensor) -> tuple[Tensor, Tensor]:
        q = self._posterior(x).base_dist
        z = q.loc + q.scale * points[:, None]  # [K, B, d]
        return z, self.model_.likelihood(z).double().softmax(-1)

    def _latents(self, x: Modalities) -> Tensor:
        return self._posterior(x).mean
