"""What training maximises: a bound on log p(y | x) for every pattern of absence, less a regulariser R.

For each row a random set A of its absent modalities is asked about, and a random set H of its present ones is
hidden; neither is empty where it need not be. With p_c = p(z_l | available), p_m = p(z_l | available without
H), and P, P', Q independent draws of the prediction under the story without H (which then is all that is
asked about), the same again, and the story with H::

    bound(x, y; A)
      - sum_l anchor   * KL(p_m || N(0, I))                      l about something absent or hidden
      - sum_l tie      * KL(p_c || p_m)                          l about something hidden
      - forecast * V_max * ( E d(P, Q) - 1/2 E d(P, P') )        rows with something hidden
      + sum_x auxiliary * log p(y | x)                           every modality x that is present

With one modality that may be absent there is nothing random in A and H: it is asked about where it is absent,
and hidden where it is present. The first two terms of R are then the paper's (Eq. 4).

The bound is one of Pyro's ELBOs or `ImportanceELBO`. The third term scores the story without H as a forecast
of what the prediction becomes once H is revealed: an energy score (Gneiting and Raftery 2007) in the outcome's
distance d, at its best where both sides have the same distribution, which is what V assumes. V_max is the
outcome's largest V. The fourth asks every encoder for the label on its own, through a linear head that no
prediction uses. All of these depend on parameters and data alone, not on the latents of the bound, and enter
the program as factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor, distributions, nn

from primo_pyro.modalities import Modalities
from primo_pyro.program.distributions import kl_divergence
from primo_pyro.program.encoders import Representations, encode
from primo_pyro.program.protocols import Story

__all__ = [
    "ImportanceELBO",
    "Loss",
    "LossParts",
    "Objective",
    "TrainingModel",
    "forecast_score",
    "random_sets",
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
    spread_penalty
        With the importance bound: share of the mean of the log weights, in place of the log of their mean, in
        rows where nothing in play is absent. There a spread of the predictions stands for nothing; the log
        of the mean does not mind it, the mean of the logs does.
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
    spread_penalty: float = 1.0
    warm_up: float = 0.0

    def __post_init__(self) -> None:
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
        settings: dict[str, Any] = {
            "num_particles": self.num_particles,
            "max_plate_nesting": 1,
            "vectorize_particles": True,
        }
        if self.elbo == "importance":
            return ImportanceELBO(**settings, spread_penalty=self.spread_penalty)
        return ELBOS[self.elbo](**settings)


class ImportanceELBO(Trace_ELBO):
    """log mean_k of the importance weights, for each row on its own (Burda et al. 2016).

    A row's weight is the product of all its model sites over all its guide sites. With one particle this
    is ``Trace_ELBO``; with many it approaches log p(y | x) from below. As an ELBO module it has
    parameters, which Pyro's ``RenyiELBO(alpha=0)``, of equal value, has not.

    Parameters
    ----------
    spread_penalty
        In rows where nothing in play is absent, the share of mean_k log in place of log mean_k. It needs a
        `TrainingModel`.
    **others
        Those of ``Trace_ELBO``.
    """

    def __init__(self, *args: Any, spread_penalty: float = 0.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.spread_penalty = spread_penalty

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The negative bound, summed over rows."""
        (traces,) = self._get_traces(model, guide, args, kwargs)
        model_trace, guide_trace = traces
        log_weights = cast(
            Tensor, sum(_log_probs(model_trace)) - sum(_log_probs(guide_trace))
        )  # [K, B] or [B]
        if log_weights.dim() == 1:
            return -log_weights.sum()
        bound = log_weights.logsumexp(0) - math.log(self.num_particles)
        if self.spread_penalty:
            penalised = bound + self.spread_penalty * (log_weights.mean(0) - bound)
            bound = torch.where(model.something_absent(*args), bound, penalised)
        return -bound.sum()

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The negative bound as a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The negative bound; gradients are added to the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()


ELBOS = {"trace": Trace_ELBO, "mean_field": TraceMeanField_ELBO, "importance": ImportanceELBO}


def _log_probs(trace: Trace) -> list[Tensor]:
    return [site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample"]


# --- Sets that are asked about and hidden --------------------------------------------------------------


def random_sets(candidates: Mapping[str, Tensor], alone: float, everything: float) -> dict[str, Tensor]:
    """For each row a random set of its candidates, not empty where it has any.

    Parameters
    ----------
    candidates
        Modality to booleans ``[B]``: rows in which it may be in the set.
    alone, everything
        Probabilities of one candidate alone and of all of them; otherwise each is in with probability 1/2.

    Returns
    -------
    dict
        Modality to booleans ``[B]``.

    Examples
    --------
    >>> yes, no = torch.tensor([True, True]), torch.tensor([True, False])
    >>> sets = random_sets({"a": yes, "b": no}, alone=1.0, everything=0.0)
    >>> (sets["a"] ^ sets["b"])[0].item(), sets["a"][1].item(), sets["b"][1].item()
    (True, True, False)
    """
    available = torch.stack(list(candidates.values()), dim=1)  # [B, n]
    if available.shape[1] == 1:
        return dict(candidates)
    order = torch.rand_like(available, dtype=torch.float).masked_fill(~available, -1.0)
    first = order == order.max(1, keepdim=True).values
    some = (torch.rand_like(order) < 0.5) | first
    kind = torch.rand(len(available), 1, device=available.device)
    chosen = torch.where(kind < alone, first, some | (kind >= 1 - everything)) & available
    return dict(zip(candidates, chosen.unbind(1), strict=True))


# --- The regulariser R ---------------------------------------------------------------------------------


def regulariser(model: Story, h: Representations, objective: Objective) -> dict[str, Tensor]:
    """R by named parts ``[B]``: ``anchor_l`` and ``tie_l`` of each latent l, and ``forecast``.

    A part whose weight is 0 is left out.
    """
    if not model.latents:
        return {}
    hidden = random_sets({m: h.present[m] for m in model.optional}, alone=0.5, everything=0.0)
    missing = h.hide(hidden)
    parts = {}
    for name, prior in model.prior.items():
        about = model.latents[name].about
        p_m = prior(missing)
        standard = dist.Normal(h.fused().new_zeros(p_m.shape()), 1.0).to_event(p_m.event_dim)
        draws = partial(p_m.rsample, (objective.num_particles,))
        is_absent = ~missing.all_present(about)
        parts[f"anchor_{name}"] = objective.anchor * is_absent * kl_divergence(p_m, standard, draws)
        is_hidden = torch.stack([hidden[m] for m in about]).any(0)
        parts[f"tie_{name}"] = objective.tie * is_hidden * tie(prior, h, p_m, objective)
    weight = objective.forecast * model.outcome.largest_impact
    if weight:
        parts["forecast"] = weight * forecast_score(model, h, hidden, objective.num_particles)
    return parts


def tie(
    prior: nn.Module, h: Representations, missing: distributions.Distribution, objective: Objective
) -> Tensor:
    """KL(p_c || p_m) ``[B]``, of whose gradient the share ``tie_on_complete`` reaches p_c."""
    share, divergence = objective.tie_on_complete, torch.zeros(())
    if share > 0:
        divergence = share * _divergence(prior(h), missing, objective)
    if share < 1:
        with torch.no_grad():
            complete = prior(h)
        divergence = divergence + (1 - share) * _divergence(complete, missing, objective)
    return divergence


def _divergence(q: distributions.Distribution, p: distributions.Distribution, objective: Objective) -> Tensor:
    return kl_divergence(q, p, partial(q.rsample, (objective.num_particles,)))


def forecast_score(model: Story, h: Representations, hidden: Mapping[str, Tensor], num_draws: int) -> Tensor:
    """Energy score ``[B]`` of the predictions without some modalities as a forecast of those with them.

    Both sides tell the story with the latents of what is present, hidden or not, and with no other. Nothing
    is asked of the predictions with the modalities: they are what the others are to forecast.

    Parameters
    ----------
    hidden
        Modality to booleans ``[B]``. In rows where none is hidden the score is 0.
    """
    something = torch.stack(list(hidden.values())).any(0)
    rows = something.nonzero()[:, 0]
    if len(rows) == 0:
        return torch.zeros_like(something, dtype=h.fused().dtype)
    hidden = {m: where[rows] for m, where in hidden.items()}
    if len(model.optional) > 1:  # with one, it is present in all these rows
        h = h.ask(())
    complete = h[rows]
    missing = complete.hide(hidden)
    if len(model.optional) > 1:
        missing = missing.ask(hidden)
    # Every draw is compared with every other: pairs cost little beside the draws, and average the noise out.
    now = story_predictions(model, missing, num_draws)  # [K, B', Q]
    then = story_predictions(model, complete, num_draws).detach()
    distance = model.outcome.distance(now[:, None], then).mean((0, 1))
    spread = model.outcome.distance(now[:, None], now).sum((0, 1)) / (num_draws * (num_draws - 1))
    return torch.zeros_like(something, dtype=distance.dtype).index_copy(0, rows, distance - spread / 2)


def story_predictions(model: Story, h: Representations, num_draws: int) -> Tensor:
    """Predictions ``[K, B, Q]`` of the model's story under K draws of its latents, with gradients."""
    y = model.outcome.placeholder(len(h)).to(next(iter(h.present.values())).device)
    # A story within the story that is being told: its sites are not those of the loss. Dimension -2 may be
    # that of the ELBO's own draws.
    with poutine.block(), pyro.plate("forecast", num_draws, dim=-3), pyro.plate("rows", len(h), dim=-1):
        trace = poutine.trace(model.story).get_trace(h, y)
    parameters = cast(Tensor, trace.nodes[model.outcome.parameters_site]["value"])  # [K, 1, B, P]
    return model.outcome.predict(parameters.expand(num_draws, 1, len(h), -1)[:, 0])


class TrainingModel(PyroModule):
    """The model as it is trained: its story, with all other terms of the objective as factors in its plate.

    Prediction uses the bare model. `Loss` computes the same objective without these factors, in less time.

    Parameters
    ----------
    model
        A `PrimoModel`.
    objective
        What is maximised.
    """

    def __init__(self, model: Story, objective: Objective):
        super().__init__()
        self.model = model
        self.objective = objective
        # Without a latent no encoder is heard through noise, and the loss is plain cross-entropy.
        alone = model.encoder if objective.auxiliary and len(model.prior) else ()
        self.heads = nn.ModuleDict({name: _head(model) for name in alone})

    def extra_repr(self) -> str:
        """What it is trained for, so that a checkpoint of another objective is recognised."""
        return repr(self.objective)

    def terms(self, h: Representations, y: Tensor | None) -> dict[str, Tensor]:
        """What training takes off the bound, by names ``[B]``: R and the encoders' own log losses."""
        parts = regulariser(self.model, h, self.objective)
        if y is not None:
            distribution = self.model.outcome.distribution
            for m, head in self.heads.items():
                log_p = distribution(head(h.values[m])).log_prob(y)
                parts[f"auxiliary_{m}"] = -self.objective.auxiliary * h.present[m] * log_p
        return parts

    def something_absent(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """As `PrimoModel.something_absent`."""
        return self.model.something_absent(x, y)

    def forward(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``."""
        h = encode(self.model, x)
        terms = self.terms(h, y)
        with pyro.plate("data", len(h), dim=-1):
            for name, term in terms.items():
                pyro.factor(name, -term)
            return self.model.story(h, y)


def _head(model: Story) -> nn.Linear:
    """From a representation to the label. Random at first: through one at zero no gradient would pass."""
    head = nn.Linear(model.encoder.out_features, model.outcome.num_parameters)
    return head.to(next(model.parameters()))


class Loss(nn.Module):
    """The negative objective of a batch, summed over rows, as a module of everything that is trained.

    It equals the ELBO of a `TrainingModel` and the guide: factors do not depend on the latents, so that
    their sum may be added outside of Pyro, where looking up a network costs nothing.

    Parameters
    ----------
    model, guide
        `PrimoModel` and `PrimoGuide`, or programs like them.
    objective
        What is maximised.

    Attributes
    ----------
    strength
        Factor of all terms beside the bound; `primo_pyro.training.train` raises it during a warm-up.
    terms
        Those of the last call, means per row.

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

    def __init__(self, model: Story, guide: nn.Module, objective: Objective):
        super().__init__()
        self.bound = objective.make_elbo()(cast(nn.Module, model), guide)  # a story is told by a module
        self.training_model = TrainingModel(model, objective)
        self.strength = 1.0
        self.terms: dict[str, Tensor] = {}

    def forward(self, x: Modalities | Representations, y: Tensor) -> Tensor:
        model = self.training_model.model
        h = encode(model, x)  # once, for model, guide and R
        if len(model.optional) > 1:
            absent = {m: ~h.present[m] for m in model.optional}
            h = h.ask(random_sets(absent, alone=1 / 3, everything=1 / 3))
        terms = self.training_model.terms(h, y)
        self.terms = {name: term.detach().mean() for name, term in terms.items()}
        return self.bound(h, y) + self.strength * sum(term.sum() for term in terms.values())


class LossParts(poutine.messenger.Messenger):
    """Reads the parts of a loss, as means per row, off the two programs that the ELBO runs anyway.

    ``kl_<site>`` is KL(q || p) of a latent's site, ``nll_<site>`` -log p of an observed one (the label's is
    ``nll_y``), and factors appear under their own names.
    """

    def __enter__(self) -> Self:
        self.parts: dict[str, Tensor] = {}
        self._proposals: dict[str, distributions.Distribution] = {}
        return super().__enter__()

    @torch.no_grad()
    def _pyro_post_sample(self, msg: Any) -> None:
        name, fn, value = msg["name"], msg["fn"], msg["value"]
        if site_is_subsample(msg) or msg["infer"].get("_deterministic"):
            return
        if isinstance(fn, dist.Unit):
            self.parts[name] = -fn.log_factor.mean()
        elif name in self._proposals:  # the guide runs first, then the model
            q = self._proposals[name]
            divergence = kl_divergence(q, fn, lambda: value)
            self.parts[f"kl_{name}"] = scale_and_mask(divergence, mask=msg["mask"]).mean()
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
        spread_penalty=0.0,
    ),
    "calibrated": Objective(),
}
