"""What training maximises: a bound on log p(y | x) for every pattern of absence, anchored priors.

Per row, with p_m = p(z | available without m) and p_c = p(z | available)::

    bound(x, y) - sum_m [ anchor * KL(p_m || N(0, I)) + tie * KL(p_c || p_m) ]

The bound is one of Pyro's ELBOs or `ImportanceELBO`. The sum is R (Eq. 4 of the paper): it depends on
parameters and inputs alone and enters the program as a factor. Where m is absent p_c is p_m, and the second
term is exactly zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import kl_divergence

from primo_pyro.modalities import Modalities
from primo_pyro.networks import Representations


@dataclass(frozen=True)
class Objective:
    """Every choice in what is maximised, by name.

    Parameters
    ----------
    elbo
        ``"trace"`` (Pyro's ``Trace_ELBO``), ``"mean_field"`` (``TraceMeanField_ELBO``, analytic KL) or
        ``"importance"`` (`ImportanceELBO`).
    num_particles
        Draws of the latents per row and step.
    propose_from_prior
        Whether the guide proposes from the prior where a modality is present.
    anchor
        Weight of KL(p_m || N(0, I)).
    tie
        Weight of KL(p_c || p_m).
    tie_on_complete
        Share of the tie's gradient that reaches p_c, the prior that knows the modality. At 1 the tie is the
        paper's. Below, it moves p_m towards the mixture of its completions and taxes what x_m tells less.
    warm_up
        Share of training during which the KL to the prior and R rise linearly from 0 to full weight.

    Examples
    --------
    >>> Objective.named("paper").tie_on_complete
    1.0
    >>> from dataclasses import replace
    >>> replace(Objective.named("calibrated"), num_particles=8).num_particles
    8
    """

    elbo: str = "importance"
    num_particles: int = 16
    propose_from_prior: bool = True
    anchor: float = 1.0
    tie: float = 1.0
    tie_on_complete: float = 0.02
    warm_up: float = 0.0
    forecast: float = 0.0

    @staticmethod
    def named(name: str) -> Objective:
        """``"paper"``: Eq. 7 to the letter. ``"calibrated"``: the default (docs/objective.md)."""
        return OBJECTIVES[name]

    def make_elbo(self) -> ELBO:
        """The bound as a Pyro ELBO; all sites stand in one plate."""
        return ELBOS[self.elbo](
            num_particles=self.num_particles, max_plate_nesting=1, vectorize_particles=True
        )


class ImportanceELBO(Trace_ELBO):
    """log mean_k of the importance weights, for each row on its own (Burda et al. 2016).

    A row's weight is the product of all its model sites over all its guide sites. With one particle this
    is ``Trace_ELBO``; with many it approaches log p(y | x) from below. As an ELBO module it has
    parameters, which Pyro's ``RenyiELBO(alpha=0)``, of equal value, has not.
    """

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        """The negative bound, summed over rows."""
        (traces,) = self._get_traces(model, guide, args, kwargs)
        model_trace, guide_trace = traces
        log_weights = sum(_log_probs(model_trace)) - sum(_log_probs(guide_trace))  # [K, B] or [B]
        if log_weights.dim() > 1:
            log_weights = log_weights.logsumexp(0) - math.log(self.num_particles)
        return -log_weights.sum()

    def loss(self, model, guide, *args, **kwargs) -> float:
        """The negative bound as a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model, guide, *args, **kwargs) -> float:
        """The negative bound; gradients are added to the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()


def _log_probs(trace) -> list[Tensor]:
    return [site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample"]


def prior_anchor(prior: nn.ModuleDict, h: Representations, objective: Objective) -> dict[str, Tensor]:
    """R (Eq. 4), by named parts ``[B]``: ``anchor_m`` and ``tie_m`` for each optional modality m.

    For several such modalities, p_m conditions on everything available but m.
    """
    parts = {}
    for m, p in prior.items():
        complete, missing = p(h), p(h.drop(m))
        standard = dist.Normal(torch.zeros_like(missing.mean), 1.0).to_event(1)
        parts[f"anchor_{m}"] = objective.anchor * kl_divergence(missing, standard)
        parts[f"tie_{m}"] = objective.tie * kl_divergence(
            attenuate(complete, objective.tie_on_complete), missing
        )
    return parts


def attenuate(p: dist.Distribution, share: float) -> dist.Distribution:
    """The same diagonal Gaussian; of the gradients that reach its mean and scale only ``share`` passes."""
    if share == 1:
        return p
    loc, scale = (t.detach() + share * (t - t.detach()) for t in (p.base_dist.loc, p.base_dist.scale))
    return dist.Normal(loc, scale).to_event(1)


class Anchored(PyroModule):
    """The model as it is trained: its story, with -R as a factor in the same plate.

    Prediction uses the bare model.
    """

    def __init__(self, model, objective: Objective):
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``."""
        h = self.model.encoder(x)
        with pyro.plate("data", len(h)):
            for name, part in prior_anchor(self.model.prior, h, self.objective).items():
                pyro.factor(name, -part)
            if self.objective.forecast:
                for name, part in forecast_score(self.model, h, self.objective).items():
                    pyro.factor(name, -part)
            return self.model.story(h, y)


def forecast_score(model, h, objective):
    parts = {}
    K = max(8, objective.num_particles)
    p_c = model.likelihood(h, {j: p(h).rsample([K]) for j, p in model.prior.items()}).softmax(-1).detach()
    for m in model.prior:
        hd = h.drop(m)
        p_m = model.likelihood(h, {j: p(hd).rsample([K]) for j, p in model.prior.items()}).softmax(-1)
        tv = lambda a, b: (a - b).abs().sum(-1) / 2
        es = tv(p_m, p_c).mean(0) - 0.5 * tv(p_m, p_m.roll(1, 0)).mean(0)
        parts[f"forecast_{m}"] = objective.forecast * es * h.present[m]
    return parts


class LossParts(poutine.messenger.Messenger):
    """Reads the parts of a loss, as means per row, off the two programs that the ELBO runs anyway.

    ``likelihood`` is -log p(y | x_o, z), ``kl_m`` is KL(q || p) of one latent, and factors appear under
    their own names.
    """

    def __enter__(self):
        self.parts: dict[str, Tensor] = {}
        self._proposals: dict[str, dist.Distribution] = {}
        return super().__enter__()

    @torch.no_grad()
    def _pyro_post_sample(self, msg) -> None:
        name, fn = msg["name"], msg["fn"]
        if name == "y":
            self.parts["likelihood"] = -fn.log_prob(msg["value"]).mean()
        elif isinstance(fn, dist.Unit):
            self.parts[name] = -fn.log_factor.mean()
        elif name in self._proposals:  # the guide runs first, then the model
            self.parts[name.replace("z_", "kl_", 1)] = kl_divergence(self._proposals[name], fn).mean()
        elif name.startswith("z_"):
            self._proposals[name] = fn


ELBOS = {"trace": Trace_ELBO, "mean_field": TraceMeanField_ELBO, "importance": ImportanceELBO}
OBJECTIVES = {
    "paper": Objective(elbo="trace", num_particles=1, propose_from_prior=False, tie_on_complete=1.0),
    "calibrated": Objective(),
}
