"""What training maximises: a bound on log p(y | x) for every pattern of absence, less a regulariser R.

Per row, with p_c = p(z | available), p_m = p(z | available without m), and P, P', Q independent draws of the
prediction p(y | x_o, z) under p_m, p_m and p_c::

    bound(x, y)
      - sum_m anchor   * KL(p_m || N(0, I))
      - sum_m tie      * KL(p_c || p_m)
      - sum_m forecast * V_max * ( E TVD(P, Q) - 1/2 E TVD(P, P') )  rows with m present
      + sum_x auxiliary * log p(y | x)                               every modality x that is present

The bound is one of Pyro's ELBOs or `ImportanceELBO`. The first two terms of R are the paper's (Eq. 4). The
third scores p_m as a forecast of what the prediction becomes once m is seen: an energy score (Gneiting and
Raftery 2007), at its best where both sides have the same distribution, which is what V assumes. V_max is
1 - 1/C, the largest V of C labels. The fourth asks every encoder for the label on its own, through a linear
head that no prediction uses. All of these depend on parameters and data alone, not on the sampled z, and
enter the program as factors. Where m is absent p_c is p_m, and their KL is exactly zero.
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
from torch.nn import functional as F

from primo_pyro.modalities import Modalities
from primo_pyro.program.encoders import Representations, encode
from primo_pyro.program.outcomes import total_variation


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
    forecast
        Weight of the energy score of p_m as a forecast of the prediction under p_c, in units of the largest
        V, 1 - 1/C; wants two particles.
    auxiliary
        Weight of each encoder's own log loss, by a linear head on its representation. Without it an encoder
        that learns slowly is never heard beside one that learns fast.
    warm_up
        Share of training during which the KL to the prior and all factors rise linearly from 0 to full
        weight.

    Raises
    ------
    ValueError
        For an unknown bound, or fewer particles than the forecast wants.

    Examples
    --------
    >>> Objective.named("paper").tie_on_complete
    1.0
    >>> from dataclasses import replace
    >>> replace(Objective.named("calibrated"), num_particles=8).num_particles
    8
    """

    elbo: str = "importance"
    num_particles: int = 8
    propose_from_prior: bool = True
    anchor: float = 0.1
    tie: float = 0.3
    tie_on_complete: float = 0.0
    forecast: float = 10.0
    auxiliary: float = 1.0
    warm_up: float = 0.0

    def __post_init__(self):
        if self.elbo not in ELBOS:
            raise ValueError(f"elbo is {self.elbo!r}; one of {', '.join(map(repr, ELBOS))} was wanted.")
        if self.forecast and self.num_particles < 2:
            raise ValueError(
                f"forecast is {self.forecast:g} with {self.num_particles} particle; a forecast is scored by "
                "at least two draws. Raise num_particles, or set forecast=0."
            )

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


ELBOS = {"trace": Trace_ELBO, "mean_field": TraceMeanField_ELBO, "importance": ImportanceELBO}


def _log_probs(trace) -> list[Tensor]:
    return [site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample"]


def prior_anchor(model, h: Representations, objective: Objective) -> dict[str, Tensor]:
    """R by named parts ``[B]``: ``anchor_m``, ``tie_m`` and ``forecast_m`` for each optional modality m.

    A part whose weight is 0 is left out.
    """
    parts = {}
    priors, likelihood = model.prior, model.likelihood  # looked up once: Pyro registers at every look
    forecast = objective.forecast * (1 - 1 / likelihood.num_classes)
    for m, prior in priors.items():
        complete, missing = prior(h), prior(h.drop(m))
        standard = dist.Normal(torch.zeros_like(missing.mean), 1.0).to_event(1)
        parts[f"anchor_{m}"] = objective.anchor * kl_divergence(missing, standard)
        parts[f"tie_{m}"] = objective.tie * kl_divergence(
            attenuate(complete, objective.tie_on_complete), missing
        )
        if forecast:
            score = forecast_score(priors, likelihood, h, m, objective.num_particles)
            parts[f"forecast_{m}"] = forecast * score
    return parts


def forecast_score(priors, likelihood, h: Representations, m: str, num_draws: int) -> Tensor:
    """Energy score ``[B]`` of the predictions without m as a forecast of those with m; 0 where m is absent.

    Nothing is asked of the predictions with m: they are what the others are to forecast.
    """

    def predictions(h):  # [K, B, C]
        z = {name: prior(h).rsample((num_draws,)) for name, prior in priors.items()}
        return likelihood(h, z).softmax(-1)

    rows = h.present[m].nonzero()[:, 0]
    shown = h[rows]
    # Every draw is held against every other: pairs cost little beside the draws, and average the noise out.
    hidden, seen = predictions(shown.drop(m)), predictions(shown).detach()
    distance = total_variation(hidden[:, None], seen).mean((0, 1))
    spread = total_variation(hidden[:, None], hidden).sum((0, 1)) / (num_draws * (num_draws - 1))
    return torch.zeros_like(h.present[m], dtype=distance.dtype).index_copy(0, rows, distance - spread / 2)


def attenuate(p: dist.Distribution, share: float) -> dist.Distribution:
    """The same diagonal Gaussian; of the gradients that reach its mean and scale only ``share`` passes."""
    if share == 1:
        return p
    loc, scale = (t.detach() + share * (t - t.detach()) for t in (p.base_dist.loc, p.base_dist.scale))
    return dist.Normal(loc, scale).to_event(1)


class Anchored(PyroModule):
    """The model as it is trained: its story, with -R and the encoders' own losses as factors in its plate.

    Prediction uses the bare model.
    """

    def __init__(self, model, objective: Objective):
        super().__init__()
        self.model = model
        self.objective = objective
        # Without a latent no encoder is heard through noise, and the loss is plain cross-entropy.
        alone = model.encoder if objective.auxiliary and model.prior else ()
        self.heads = nn.ModuleDict({name: _head(model) for name in alone})

    def extra_repr(self) -> str:
        """What it is trained for, so that a checkpoint of another objective is recognised."""
        return repr(self.objective)

    def forward(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``."""
        model = self.model
        h = encode(model, x)
        with pyro.plate("data", len(h)):
            for name, part in prior_anchor(model, h, self.objective).items():
                pyro.factor(name, -part)
            if y is not None:
                for m, head in self.heads.items():
                    loss = h.present[m] * F.cross_entropy(head(h.values[m]), y, reduction="none")
                    pyro.factor(f"auxiliary_{m}", -self.objective.auxiliary * loss)
            return model.story(h, y)


def _head(model) -> nn.Linear:
    """From a representation to logits. Random at first: through one at zero no gradient would pass."""
    head = nn.Linear(model.encoder.out_features, model.likelihood.num_classes)
    return head.to(next(model.parameters()))


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


OBJECTIVES = {
    "paper": Objective(
        elbo="trace",
        num_particles=1,
        propose_from_prior=False,
        anchor=1.0,
        tie=1.0,
        tie_on_complete=1.0,
        forecast=0.0,
        auxiliary=0.0,
    ),
    "calibrated": Objective(),
}
