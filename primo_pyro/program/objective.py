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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import detach, scale_and_mask
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from primo_pyro.modalities import Modalities
from primo_pyro.program.distributions import kl_divergence
from primo_pyro.program.encoders import Representations, encode
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.model import PrimoModel

__all__ = [
    "ImportanceELBO",
    "Loss",
    "LossParts",
    "Objective",
    "TrainingModel",
    "forecast_score",
    "log_ratios",
    "priors_of",
    "random_sets",
    "regulariser",
    "story_predictions",
    "tells_the_default_story",
    "tie",
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
        settings = {"num_particles": self.num_particles, "max_plate_nesting": 1, "vectorize_particles": True}
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

    def __init__(self, *args, spread_penalty: float = 0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.spread_penalty = spread_penalty

    def average(self, log_weights: Tensor, something_absent: Callable[[], Tensor]) -> Tensor:
        """The bound ``[B]`` of log weights ``[K, B]``; rows in which something in play is absent, on demand."""
        bound = log_weights.logsumexp(0) - math.log(len(log_weights))
        if not self.spread_penalty or len(log_weights) == 1:
            return bound
        penalised = bound + self.spread_penalty * (log_weights.mean(0) - bound)
        return torch.where(something_absent(), bound, penalised)

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        """The negative bound, summed over rows."""
        (traces,) = self._get_traces(model, guide, args, kwargs)
        model_trace, guide_trace = traces
        log_weights = sum(_log_probs(model_trace)) - sum(_log_probs(guide_trace))  # [K, B] or [B]
        if log_weights.dim() == 1:
            log_weights = log_weights[None]
        return -self.average(log_weights, partial(model.something_absent, *args)).sum()

    def loss(self, model, guide, *args, **kwargs) -> float:
        """The negative bound as a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model, guide, *args, **kwargs) -> float:
        """The negative bound; gradients are added to the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()


class TraceELBO(Trace_ELBO):
    """Pyro's ``Trace_ELBO``, which can average log weights as well."""

    def average(self, log_weights: Tensor, something_absent: Callable[[], Tensor]) -> Tensor:
        """The bound ``[B]`` of log weights ``[K, B]``."""
        return log_weights.mean(0)


ELBOS = {"trace": TraceELBO, "mean_field": TraceMeanField_ELBO, "importance": ImportanceELBO}


def _log_probs(trace) -> list[Tensor]:
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

Priors = Mapping[str, dist.Distribution]


def priors_of(model, h: Representations) -> dict[str, dist.Distribution]:
    """p(z_l | available) of each latent, as distributions of batch ``[B]``."""
    return {name: prior(h) for name, prior in model.prior.items()}


def regulariser(
    model, h: Representations, objective: Objective, priors: Priors | None = None
) -> dict[str, Tensor]:
    """R by named parts ``[B]``: ``anchor_l`` and ``tie_l`` of each latent l, and ``forecast``.

    A part whose weight is 0 is left out. ``priors`` are those of `priors_of`, where they are known already.
    """
    if not model.latents:
        return {}
    hidden = random_sets({m: h.present[m] for m in model.optional}, alone=0.5, everything=0.0)
    h_m = h.hide(hidden)
    complete, missing = priors or priors_of(model, h), priors_of(model, h_m)
    parts = {}
    for name, p_m in missing.items():
        about = model.latents[name].about
        standard = dist.Normal(h.fused().new_zeros(p_m.shape()), 1.0).to_event(p_m.event_dim)
        anchor = kl_divergence(p_m, standard, partial(p_m.rsample, (objective.num_particles,)))
        parts[f"anchor_{name}"] = objective.anchor * anchor.where(~h_m.all_present(about), 0.0)
        is_hidden = torch.stack([hidden[m] for m in about]).any(0)
        parts[f"tie_{name}"] = objective.tie * tie(complete[name], p_m, objective).where(is_hidden, 0.0)
    weight = objective.forecast * model.outcome.largest_impact
    if weight:
        score = forecast_score(model, h, hidden, complete, missing, objective.num_particles)
        parts["forecast"] = weight * score
    return parts


def tie(p_c: dist.Distribution, p_m: dist.Distribution, objective: Objective) -> Tensor:
    """KL(p_c || p_m) ``[B]``, of whose gradient the share ``tie_on_complete`` reaches p_c."""
    share, divergence = objective.tie_on_complete, 0.0
    for weight, p in (share, p_c), (1 - share, detach(p_c) if share < 1 else p_c):
        if weight:
            draws = partial(p.rsample, (objective.num_particles,))
            divergence = divergence + weight * kl_divergence(p, p_m, draws)
    return divergence


def forecast_score(
    model,
    h: Representations,
    hidden: Mapping[str, Tensor],
    complete: Priors,
    missing: Priors,
    num_draws: int,
) -> Tensor:
    """Energy score ``[B]`` of the predictions without some modalities as a forecast of those with them.

    Both sides tell the story with the latents of what is present, hidden or not, and with no other. Nothing
    is asked of the predictions with the modalities: they are what the others are to forecast.

    Parameters
    ----------
    hidden
        Modality to booleans ``[B]``. In rows where none is hidden the score is 0.
    complete, missing
        Priors of these rows with and without what is hidden.
    """
    something = torch.stack(list(hidden.values())).any(0)
    rows = something.nonzero()[:, 0]
    if len(rows) == 0:
        return torch.zeros_like(something, dtype=h.fused().dtype)
    hidden = {m: where[rows] for m, where in hidden.items()}
    h_c = h[rows]
    h_m = h_c.hide(hidden)
    if len(model.optional) > 1:  # with one, it is present in all these rows
        h_c, h_m = h_c.ask(()), h_m.ask(hidden)
    now = story_predictions(model, h_m, missing, rows, num_draws)  # [K, B', Q]
    with torch.no_grad():
        then = story_predictions(model, h_c, complete, rows, num_draws)
    # Every draw is compared with every other: pairs cost little beside the draws, and average the noise out.
    distance = model.outcome.distance(now[:, None], then).mean((0, 1))
    spread = model.outcome.distance(now[:, None], now).sum((0, 1)) / (num_draws * (num_draws - 1))
    return torch.zeros_like(something, dtype=distance.dtype).index_copy(0, rows, distance - spread / 2)


def story_predictions(model, h: Representations, priors: Priors, rows: Tensor, num_draws: int) -> Tensor:
    """Predictions ``[K, B', Q]`` of the model's story under K draws of its latents, for some ``rows`` ``[B']``.

    ``h`` has these rows, the priors all.
    """
    if tells_the_default_story(model):
        in_play = [name for name in priors if h.in_play(model.latents[name].about) is not False]
        z = {name: priors[name].rsample((num_draws,))[:, rows] for name in in_play}
        return model.outcome.predict(model.likelihood(h, z))
    y = model.outcome.placeholder(len(h)).to(h.fused().device)
    # A story within the story that is being told: its sites are not those of the loss. Dimension -2 may be
    # that of the ELBO's own draws.
    with poutine.block(), pyro.plate("forecast", num_draws, dim=-3), pyro.plate("rows", len(h), dim=-1):
        trace = poutine.trace(model.story).get_trace(h, y)
    parameters = trace.nodes[model.outcome.parameters_site]["value"]  # [K, 1, B', P]
    return model.outcome.predict(parameters.expand(num_draws, 1, len(h), -1)[:, 0])


# --- The objective as a program, and as a loss -----------------------------------------------------------


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

    def __init__(self, model: PyroModule, objective: Objective):
        super().__init__()
        self.model = model
        self.objective = objective
        # Without a latent no encoder is heard through noise, and the loss is plain cross-entropy.
        alone = model.encoder if objective.auxiliary and len(model.prior) else ()
        self.heads = nn.ModuleDict({name: _head(model) for name in alone})

    def extra_repr(self) -> str:
        """What it is trained for, so that a checkpoint of another objective is recognised."""
        return repr(self.objective)

    def terms(self, h: Representations, y: Tensor | None, priors: Priors | None = None) -> dict[str, Tensor]:
        """What training takes off the bound, by names ``[B]``: R and the encoders' own log losses."""
        parts = regulariser(self.model, h, self.objective, priors)
        if y is not None:
            distribution = self.model.outcome.distribution
            for m, head in self.heads.items():
                log_p = distribution(head(h.values[m])).log_prob(y)
                parts[f"auxiliary_{m}"] = -self.objective.auxiliary * h.present[m] * log_p
        return parts

    def something_absent(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """As `PrimoModel.something_absent`."""
        return self.model.something_absent(x)

    def forward(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``."""
        h = encode(self.model, x)
        terms = self.terms(h, y)
        with pyro.plate("data", len(h), dim=-1):
            for name, term in terms.items():
                pyro.factor(name, -term)
            return self.model.story(h, y)


def _head(model) -> nn.Linear:
    """From a representation to the label. Random at first: through one at zero no gradient would pass."""
    head = nn.Linear(model.encoder.out_features, model.outcome.num_parameters)
    return head.to(next(model.parameters()))


class Loss(nn.Module):
    """The negative objective of a batch, summed over rows, as a module of everything that is trained.

    It equals the ELBO of a `TrainingModel` and the guide. What does not depend on the latents is added outside
    of Pyro, where looking up a network costs nothing; and where model and guide are the package's own, the
    bound is computed from the same distributions without Pyro's bookkeeping, draw for draw.

    Parameters
    ----------
    model, guide
        `PrimoModel` and `PrimoGuide`, or programs like them.
    objective
        What is maximised.

    Attributes
    ----------
    strength
        Factor of all terms but the label's likelihood; `primo_pyro.training.train` raises it during a warm-up.
    parts
        Those of the last call by name, means per row.

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
        self.bound = objective.make_elbo()(model, guide)
        self.training_model = TrainingModel(model, objective)
        self.strength = 1.0
        self.parts: dict[str, Tensor] = {}

    def forward(self, x: Modalities | Representations, y: Tensor) -> Tensor:
        model, objective = self.training_model.model, self.training_model.objective
        h = encode(model, x)  # once, for model, guide and R
        if len(model.optional) > 1:
            absent = {m: ~h.present[m] for m in model.optional}
            h = h.ask(random_sets(absent, alone=1 / 3, everything=1 / 3))
        priors = priors_of(model, h)
        terms = self.training_model.terms(h, y, priors)
        self.parts = {name: term.detach().mean() for name, term in terms.items()}
        rest = self.strength * sum(term.sum() for term in terms.values())
        guide = self.bound.guide
        if objective.elbo == "mean_field" or not (
            tells_the_default_story(model) and type(guide).forward is PrimoGuide.forward
        ):
            return self.bound(h, y) + rest
        ratios, log_p = log_ratios(model, guide, h, y, priors, objective.num_particles)
        self.parts |= {f"kl_z_{name}": -ratio.detach().mean() for name, ratio in ratios.items()}
        self.parts["nll_y"] = -log_p.detach().mean()
        log_weights = log_p + self.strength * sum(ratios.values())
        return rest - self.bound.elbo.average(log_weights, partial(model.something_absent, h)).sum()


def tells_the_default_story(model: nn.Module) -> bool:
    """Whether a model's story is that of `PrimoModel`, and not one that a subclass tells."""
    return type(model).story is PrimoModel.story


def log_ratios(
    model, guide, h: Representations, y: Tensor, priors: Priors, num_draws: int
) -> tuple[dict[str, Tensor], Tensor]:
    """log p(z_l) - log q(z_l) of each latent in play and log p(y | x_o, z), ``[K, B]`` each, z drawn from q.

    What Pyro's ELBOs compute from the two programs, in the same order of draws.
    """
    ratios, z = {}, {}
    label = model.outcome.features(y)
    for name, p in priors.items():
        in_play = h.in_play(model.latents[name].about)
        if in_play is not False:
            q = guide.proposal(name, h, label, p)
            z[name] = q.rsample((num_draws,))
            ratio = p.log_prob(z[name]) - q.log_prob(z[name])
            ratios[name] = ratio if in_play is True else ratio.where(in_play, 0.0)
    return ratios, model.outcome.distribution(model.likelihood(h, z)).log_prob(y)


class LossParts(poutine.messenger.Messenger):
    """Reads the parts of a loss, as means per row, off the two programs that the ELBO runs anyway.

    ``kl_<site>`` is log q - log p of a latent's draws, ``nll_<site>`` -log p of an observed one (the label's is
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
            divergence = self._proposals[name].log_prob(value) - fn.log_prob(value)
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
