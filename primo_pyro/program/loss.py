"""What training minimises: the bound, R and the encoders' own losses, as a Pyro program and as a module.

Per row, a random set A of its absent modalities being asked about::

    bound(x, y; A)  -  R(x)  +  sum_x auxiliary * log p(y | x)           every modality x that is present

The last term asks every encoder for the label on its own, through a linear head that no prediction uses. R
and this term depend on parameters and data alone, not on the latents of the bound, and enter the program as
factors.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Self, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.nn import PyroModule
from pyro.poutine.util import site_is_subsample
from torch import Tensor, distributions, nn

from primo_pyro.modalities import Modalities
from primo_pyro.program.encoders import Representations, encode
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import ImportanceELBO, Objective, TraceELBO
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.protocols import Story
from primo_pyro.program.regulariser import (
    Priors,
    is_package_story,
    priors_of,
    random_sets,
    regulariser,
)

__all__ = ["Loss", "LossParts", "TrainingModel", "asked_at_random", "log_ratios"]


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
        # What an outcome learns, as cut points, fits how much one predictor knows: each head has its own.
        self.outcomes = nn.ModuleDict({name: copy.deepcopy(model.outcome) for name in alone})

    def extra_repr(self) -> str:
        """What it is trained for, so that a checkpoint of another objective is recognised."""
        return repr(self.objective)

    def terms(self, h: Representations, y: Tensor | None, priors: Priors | None = None) -> dict[str, Tensor]:
        """What training takes off the bound, by names ``[B]``: R and the encoders' own log losses."""
        parts = regulariser(self.model, h, self.objective, priors)
        if y is not None:
            for m, head in self.heads.items():
                outcome = cast(Outcome, self.outcomes[m])
                log_p = outcome.distribution(head(h.values[m])).log_prob(y)
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


def _head(model: Story) -> nn.Linear:
    """From a representation to the label. Random at first: through one at zero no gradient would pass."""
    head = nn.Linear(model.encoder.out_features, model.outcome.num_parameters)
    return head.to(next(model.parameters()))


class Loss(nn.Module):
    """The negative objective of a batch, summed over rows, as a module of everything that is trained.

    It equals the ELBO of a `TrainingModel` and the guide. What does not depend on the latents is added
    outside of Pyro, where looking up a network costs nothing; and where model and guide are the package's
    own, the bound is computed from the same distributions without Pyro's bookkeeping, draw for draw.

    Parameters
    ----------
    model, guide
        `PrimoModel` and `PrimoGuide`, or programs like them.
    objective
        What is maximised.

    Attributes
    ----------
    strength
        Factor of all terms but the label's likelihood; `primo_pyro.training.train` raises it in a warm-up.
    parts
        Those of the last call by name, means per row.

    Examples
    --------
    >>> import numpy as np
    >>> from primo_pyro.program import MLP, Categorical, Encoders, PrimoGuide, PrimoModel, one_latent_each
    >>> x = Modalities({"o": np.zeros((5, 3)), "m": np.zeros((5, 2))}).drop("m", where=[1, 1, 0, 0, 0])
    >>> encoder = Encoders({"o": MLP(3, 16, 8), "m": MLP(2, 16, 8)}, out_features=8)
    >>> model = PrimoModel(encoder, one_latent_each(["m"], dim=2), outcome=Categorical(4), hidden_dim=16)
    >>> guide = PrimoGuide(model, hidden_dim=16, gamma=0.5, proposes_from_prior=True)
    >>> Loss(model, guide, objective=Objective())(x, torch.zeros(5, dtype=torch.long)).shape
    torch.Size([])
    """

    def __init__(self, model: Story, guide: nn.Module, *, objective: Objective):
        super().__init__()
        self.bound = objective.make_elbo()(cast(nn.Module, model), guide)  # a story is told by a module
        self.training_model = TrainingModel(model, objective)
        self.strength = 1.0
        self.parts: dict[str, Tensor] = {}

    def forward(self, x: Modalities | Representations, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch; ``weights`` ``[B]`` are what each row counts."""
        model, objective = self.training_model.model, self.training_model.objective
        h = encode(model, x)  # once, for model, guide and R
        if len(model.optional) > 1:
            h = h.ask(asked_at_random(model, h))
        priors = priors_of(model, h)
        terms = self.training_model.terms(h, y, priors)
        if weights is not None:
            terms = {name: weights * term for name, term in terms.items()}
        self.parts = {name: term.detach().mean() for name, term in terms.items()}
        rest = self.strength * sum(term.sum() for term in terms.values())
        guide = self.bound.guide
        if objective.elbo == "mean_field" or not (
            is_package_story(model) and type(guide).forward is PrimoGuide.forward
        ):
            return _bound_of_programs(self.bound, h, y, weights) + rest
        own, bound = cast(PrimoGuide, guide), cast(ImportanceELBO | TraceELBO, self.bound.elbo)
        ratios, log_p = log_ratios(model, own, h, y, priors, objective.num_particles)
        counts = 1.0 if weights is None else weights
        self.parts |= {f"kl_z_{name}": -(counts * ratio.detach()).mean() for name, ratio in ratios.items()}
        self.parts["nll_y"] = -(counts * log_p.detach()).mean()
        log_weights = log_p + self.strength * sum(ratios.values())
        return rest - (counts * bound.average(log_weights, partial(model.something_absent, h))).sum()


def _bound_of_programs(bound: Any, h: Representations, y: Tensor, weights: Tensor | None) -> Tensor:
    """The negative bound of any programs by one of Pyro's ELBO modules, summed over weighted rows."""
    if weights is None:
        return bound(h, y)
    if isinstance(bound.elbo, ImportanceELBO):  # a row's bound is no sum over its sites
        return bound(h, y, row_weights=weights)
    counts = weights > 0  # a scale of 0 is refused
    with poutine.mask(mask=cast(Any, counts)), poutine.scale(scale=weights.where(counts, 1.0)):
        return bound(h, y)


def asked_at_random(model: Story, h: Representations) -> dict[str, Tensor]:
    """For each row a random set of absent modalities to ask about: modality to booleans ``[B]``.

    One alone, all or any of them, as questions about single modalities, predictions and questions about sets
    have it. A quarter of the rows that have an optional modality asks about nothing: so they stand in R when
    the modality is revealed.
    """
    absent = {m: ~h.present[m] for m in model.optional}
    asked = random_sets(absent, alone=1 / 3, everything=1 / 3)
    has_some = torch.stack([h.present[m] for m in model.optional]).any(0)
    nothing = has_some & (torch.rand(len(h), device=has_some.device) < 0.25)
    return {m: rows & ~nothing for m, rows in asked.items()}


def log_ratios(
    model: PrimoModel, guide: PrimoGuide, h: Representations, y: Tensor, priors: Priors, num_draws: int
) -> tuple[dict[str, Tensor], Tensor]:
    """log p(z_l) - log q(z_l) of each latent in play and log p(y | x_o, z), ``[K, B]`` each, z drawn from q.

    What Pyro's ELBOs compute from the two programs, in the same order of draws.
    """
    ratios, z = {}, {}
    label, absent = model.outcome.features(y), model.something_absent(h)
    for name, p in priors.items():
        in_play = h.in_play(model.latents[name].about)
        if in_play is not False:
            q = guide.proposal(name, h, label, p, absent)
            z[name] = q.rsample((num_draws,))
            ratio = p.log_prob(z[name]) - q.log_prob(z[name])
            ratios[name] = ratio if in_play is True else ratio.where(in_play, 0.0)
    log_p = model.outcome.distribution(model.likelihood(h, z)).log_prob(y)
    return ratios, log_p if z else log_p.expand(num_draws, -1)  # without latents all draws are one


class LossParts(poutine.messenger.Messenger):
    """Reads the parts of a loss, as means per row, off the two programs that the ELBO runs anyway.

    ``kl_<site>`` is log q - log p of a latent's draws, ``nll_<site>`` -log p of an observed one (the
    label's is ``nll_y``), and factors appear under their own names.
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
            divergence = self._proposals[name].log_prob(value) - fn.log_prob(value)
            self.parts[f"kl_{name}"] = scale_and_mask(divergence, mask=msg["mask"]).mean()
        elif msg["is_observed"]:
            self.parts[f"nll_{name}"] = -fn.log_prob(value).mean()
        else:
            self._proposals[name] = fn
