"""What training maximises: a bound on log p(y | x) for every pattern of absence, less a regulariser R.

Per row, with p_c = p(z_l | available), p_m = p(z_l | available without m), m what the latent l is about, and
P, P', Q independent draws of the prediction under p_m, p_m and p_c::

    bound(x, y)
      - sum_l anchor   * KL(p_m || N(0, I))
      - sum_l tie      * KL(p_c || p_m)
      - sum_m forecast * V_max * ( E d(P, Q) - 1/2 E d(P, P') )      rows with m present
      + sum_x auxiliary * log p(y | x)                               every modality x that is present

The bound is one of Pyro's ELBOs or `ImportanceELBO`. The first two terms of R are the paper's (Eq. 4). The
third scores p_m as a forecast of what the prediction becomes once m is revealed: an energy score (Gneiting
and Raftery 2007) in the outcome's distance d, at its best where both sides have the same distribution, which
is what V assumes. V_max is the outcome's largest V. The fourth asks every encoder for the label on its own,
through a linear head that no prediction uses. All of these depend on parameters and data alone, not on the
latents of the bound, and enter the program as factors. Where m is absent p_c is p_m, and their KL is exactly
zero.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from primo_pyro.errors import DrawsError
from primo_pyro.modalities import Modalities
from primo_pyro.program.distributions import kl_divergence
from primo_pyro.program.encoders import Representations, encode

__all__ = [
    "ImportanceELBO",
    "Loss",
    "LossParts",
    "Objective",
    "TrainingModel",
    "forecast_score",
    "regulariser",
    "story_predictions",
]


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
        V; needs two particles.
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
            raise ValueError(
                f"elbo is {self.elbo!r}; expected one of {', '.join(map(repr, ELBOS))}. Choose one of them."
            )
        if self.forecast and self.num_particles < 2:
            raise ValueError(
                f"forecast is {self.forecast:g} with {self.num_particles} particle; expected at least two "
                "draws to score a forecast by. Raise num_particles, or set forecast=0."
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


# --- The regulariser R ---------------------------------------------------------------------------------


def regulariser(model, h: Representations, objective: Objective) -> dict[str, Tensor]:
    """R by named parts ``[B]``: ``anchor_l`` and ``tie_l`` of each latent, ``forecast_m`` of each modality.

    Where several latents are about the same modalities, one forecast serves them all; that of a latent which
    several modalities share has their names joined. A part whose weight is 0 is left out.
    """
    parts = {}
    scored = set()
    weight = objective.forecast * model.outcome.largest_impact
    for name, prior in model.prior.items():
        about = model.latents[name].about
        missing = prior(h.drop(*about))
        standard = dist.Normal(h.fused().new_zeros(missing.shape()), 1.0).to_event(missing.event_dim)
        _require_reparameterised(name, missing)
        parts[f"anchor_{name}"] = objective.anchor * _divergence(missing, standard, objective)
        parts[f"tie_{name}"] = objective.tie * tie(prior, h, missing, objective)
        if weight and about not in scored:
            scored.add(about)
            score = forecast_score(model, h, about, objective.num_particles)
            parts[f"forecast_{'_'.join(about)}"] = weight * score
    return parts


def tie(prior: nn.Module, h: Representations, missing: dist.Distribution, objective: Objective) -> Tensor:
    """KL(p_c || p_m) ``[B]``, of whose gradient the share ``tie_on_complete`` reaches p_c."""
    share, divergence = objective.tie_on_complete, 0.0
    if share > 0:
        divergence = share * _divergence(prior(h), missing, objective)
    if share < 1:
        with torch.no_grad():
            complete = prior(h)
        divergence = divergence + (1 - share) * _divergence(complete, missing, objective)
    return divergence


def _divergence(q: dist.Distribution, p: dist.Distribution, objective: Objective) -> Tensor:
    # Expanded first: not every kind of Pyro's takes a sample shape beside a batch.
    return kl_divergence(q, p, q.expand((objective.num_particles, *q.batch_shape)).rsample)


def _require_reparameterised(name: str, p: dist.Distribution) -> None:
    if not p.has_rsample:
        raise DrawsError(
            f"The prior of latent {name!r} is {type(p).__name__}, whose draws pass no gradient; expected one "
            "with rsample. Use another, as MixtureOfDiagNormals for a mixture."
        )


def forecast_score(model, h: Representations, hidden: Iterable[str], num_draws: int) -> Tensor:
    """Energy score ``[B]`` of the predictions without some modalities as a forecast of those with them.

    0 in rows where one of them is absent. Nothing is asked of the predictions with them: they are what the
    others are to forecast.
    """
    known = h.all_present(hidden)
    rows = known.nonzero()[:, 0]
    if len(rows) == 0:
        return torch.zeros_like(known, dtype=h.fused().dtype)
    revealed = h[rows]
    # Every draw is held against every other: pairs cost little beside the draws, and average the noise out.
    now = story_predictions(model, revealed.drop(*hidden), num_draws)  # [K, B', Q]
    then = story_predictions(model, revealed, num_draws).detach()
    distance = model.outcome.distance(now[:, None], then).mean((0, 1))
    spread = model.outcome.distance(now[:, None], now).sum((0, 1)) / (num_draws * (num_draws - 1))
    return torch.zeros_like(known, dtype=distance.dtype).index_copy(0, rows, distance - spread / 2)


def story_predictions(model, h: Representations, num_draws: int) -> Tensor:
    """Predictions ``[K, B, Q]`` of the model's story under K draws of its latents, with gradients."""
    y = model.outcome.placeholder(len(h)).to(next(iter(h.present.values())).device)
    # A story within the story that is being told: its sites are not those of the loss. Dimension -2 may be
    # that of the ELBO's own draws.
    with poutine.block(), pyro.plate("forecast", num_draws, dim=-3), pyro.plate("rows", len(h), dim=-1):
        trace = poutine.trace(model.story).get_trace(h, y)
    parameters = trace.nodes[model.outcome.parameters_site]["value"]  # [K, 1, B, P]
    return model.outcome.predict(parameters.expand(num_draws, 1, len(h), -1)[:, 0])


class TrainingModel(PyroModule):
    """The model as it is trained: its story, with -R and the encoders' own losses as factors in its plate.

    Prediction uses the bare model.
    """

    def __init__(self, model, objective: Objective):
        super().__init__()
        self.model = model
        self.objective = objective
        # Without a latent no encoder is heard through noise, and the loss is plain cross-entropy.
        alone = model.encoder if objective.auxiliary and len(model.prior) else ()
        self.heads = nn.ModuleDict({name: _head(model) for name in alone})
        # What an outcome learns, as cut points, fits how much one predictor knows: each head has its own.
        self.outcomes = nn.ModuleDict({name: copy.deepcopy(model.outcome) for name in alone})

    def extra_repr(self) -> str:
        """What it is trained for, so that a checkpoint of another objective is recognised."""
        return repr(self.objective)

    def forward(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``."""
        model = self.model
        h = encode(model, x)
        parts = regulariser(model, h, self.objective)
        with pyro.plate("data", len(h), dim=-1):
            for name, part in parts.items():
                pyro.factor(name, -part)
            if y is not None:
                for m, head in self.heads.items():
                    log_p = self.outcomes[m].distribution(head(h.values[m])).log_prob(y)
                    pyro.factor(f"auxiliary_{m}", self.objective.auxiliary * h.present[m] * log_p)
            return model.story(h, y)


def _head(model) -> nn.Linear:
    """From a representation to the label. Random at first: through one at zero no gradient would pass."""
    head = nn.Linear(model.encoder.out_features, model.outcome.num_parameters)
    return head.to(next(model.parameters()))


class Loss(nn.Module):
    """The negative objective of a batch, summed over rows, as a module of everything that is trained.

    Parameters
    ----------
    model, guide
        `PrimoModel` and `PrimoGuide`, or programs like them.
    objective
        What is maximised.

    Examples
    --------
    >>> import numpy as np
    >>> from primo_pyro.program import MLP, Categorical, Encoders, PrimoGuide, PrimoModel, one_latent_each
    >>> x = Modalities({"o": np.zeros((5, 3)), "m": np.zeros((5, 2))}).drop("m", where=[1, 1, 0, 0, 0])
    >>> encoder = Encoders({"o": MLP(3, 16, 8), "m": MLP(2, 16, 8)}, out_features=8)
    >>> model = PrimoModel(encoder, one_latent_each(["m"], dim=2), Categorical(4), hidden_dim=16)
    >>> guide = PrimoGuide(model, hidden_dim=16, gamma=0.5, proposes_from_prior=True)
    >>> Loss(model, guide, Objective())(x, torch.zeros(5, dtype=torch.long)).shape
    torch.Size([])
    """

    def __init__(self, model: PyroModule, guide: nn.Module, objective: Objective):
        super().__init__()
        self.elbo = objective.make_elbo()(TrainingModel(model, objective), guide)

    def forward(self, x: Modalities, y: Tensor) -> Tensor:
        model = self.elbo.model.model
        return self.elbo(encode(model, x), y)  # encoded once, for model, guide and R


class LossParts(poutine.messenger.Messenger):
    """Reads the parts of a loss, as means per row, off the two programs that the ELBO runs anyway.

    ``kl_<site>`` is KL(q || p) of a latent's site, ``nll_<site>`` -log p of an observed one (the label's is
    ``nll_y``), and factors appear under their own names.
    """

    def __enter__(self):
        self.parts: dict[str, Tensor] = {}
        self._proposals: dict[str, dist.Distribution] = {}
        return super().__enter__()

    @torch.no_grad()
    def _pyro_post_sample(self, msg) -> None:
        name, fn, value = msg["name"], msg["fn"], msg["value"]
        if site_is_subsample(msg) or msg["infer"].get("_deterministic"):
            return
        if isinstance(fn, dist.Unit):
            self.parts[name] = -fn.log_factor.mean()
        elif name in self._proposals:  # the guide runs first, then the model
            q = self._proposals[name]
            self.parts[f"kl_{name}"] = kl_divergence(q, fn, lambda: value).mean()
        elif msg["is_observed"]:
            self.parts[f"nll_{name}"] = -fn.log_prob(value).mean()
        else:
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
