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
from primo_pyro.program.regulariser import Priors, is_package_story, priors_of, random_sets, regulariser
from primo_pyro.program.stacked import Stacked, can_be_stacked

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
        if y is not None and len(self.heads):
            named = zip(self.heads, self.auxiliary(h, y), strict=True)
            parts |= {f"auxiliary_{m}": term for m, term in named}
        return parts

    def auxiliary(self, h: Representations, y: Tensor) -> Tensor:
        """The weighted log loss of each encoder's own head, ``[M, B]``; 0 where its modality is absent."""
        heads = [cast(nn.Linear, head) for head in self.heads.values()]
        values = torch.stack([h.values[m] for m in self.heads])  # [M, B, H]
        weight, bias = torch.stack([f.weight for f in heads]), torch.stack([f.bias for f in heads])
        parameters = torch.baddbmm(bias[:, None], values, weight.transpose(1, 2))
        outcomes = [cast(Outcome, outcome) for outcome in self.outcomes.values()]
        if any(True for _ in outcomes[0].parameters()):
            log_p = torch.stack(
                [o.distribution(p).log_prob(y) for o, p in zip(outcomes, parameters, strict=True)]
            )
        else:
            log_p = outcomes[0].distribution(parameters).log_prob(y)
        present = torch.stack([h.present[m] for m in self.heads])
        return -self.objective.auxiliary * present * log_p

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
    own, all latents are computed at once, draw for draw the same (`primo_pyro.program.stacked`).

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
    undecayed
        Parameters of the likelihood, which weight decay leaves alone: how much a draw of z moves the label is
        what gives V its size.

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

    @property
    def undecayed(self) -> list[nn.Parameter]:
        model = cast(nn.Module, self.training_model.model)
        # A story of one's own may name its likelihood as it likes; these it shares with all stories.
        others = {id(p) for part in (model.encoder, model.prior) for p in cast(nn.Module, part).parameters()}
        return [p for p in model.parameters() if id(p) not in others]

    def forward(self, x: Modalities | Representations, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch; ``weights`` ``[B]`` are what each row counts."""
        model, objective, guide = self.training_model.model, self.training_model.objective, self.bound.guide
        h = encode(model, x)  # once, for model, guide and R
        if len(model.optional) > 1:
            h = h.ask(asked_at_random(model, h))
        own = is_package_story(model) and type(guide).forward is PrimoGuide.forward
        if objective.elbo == "mean_field" or not own:
            terms = self.training_model.terms(h, y)
            if weights is not None:
                terms = {name: weights * term for name, term in terms.items()}
            self.parts = {name: term.detach().mean() for name, term in terms.items()}
            rest = self.strength * sum(term.sum() for term in terms.values())
            return _bound_of_programs(self.bound, h, y, weights) + rest
        programs = cast(PrimoModel, model), cast(PrimoGuide, guide)
        if can_be_stacked(model, guide):
            stacked = Stacked(*programs, h, objective)
            terms, ratios, log_p = stacked.terms(y)
            if len(self.training_model.heads):
                terms["auxiliary"] = self.training_model.auxiliary(h, y)
        else:
            priors = priors_of(model, h)
            terms = self.training_model.terms(h, y, priors)
            ratios, log_p = log_ratios(*programs, h, y, priors, objective.num_particles)
        elbo = cast(ImportanceELBO | TraceELBO, self.bound.elbo)
        log_weights = log_p + self.strength * ratios.sum(0)
        bound = elbo.average(log_weights, partial(model.something_absent, h))
        if weights is not None:
            terms = {name: weights * term for name, term in terms.items()}
            ratios, log_p, bound = weights * ratios, weights * log_p, weights * bound
        self.parts = self._means(terms, ratios, log_p)
        return self.strength * sum(term.sum() for term in terms.values()) - bound.sum()

    @torch.no_grad()
    def _means(self, terms: dict[str, Tensor], ratios: Tensor, log_p: Tensor) -> dict[str, Tensor]:
        """The parts by name, those of each latent and each encoder apart."""
        latents, encoders = tuple(self.training_model.model.prior), tuple(self.training_model.heads)
        named: dict[str, Tensor] = {}
        for part, term in (terms | {"kl_z": -ratios.mean(1)}).items():
            if term.dim() == 1:
                named[part] = term.mean()
            else:
                owners = encoders if part == "auxiliary" else latents
                named |= {f"{part}_{o}": mean for o, mean in zip(owners, term.mean(1).unbind(), strict=True)}
        return named | {"nll_y": -log_p.mean()}


def log_ratios(
    model: PrimoModel, guide: PrimoGuide, h: Representations, y: Tensor, priors: Priors, num_draws: int
) -> tuple[Tensor, Tensor]:
    """log p(z_l) - log q(z_l) of each latent ``[L, K, B]`` and log p(y | x_o, z) ``[K, B]``, z drawn from q.

    What Pyro's ELBOs compute from the two programs, in the same order of draws; but a draw of a prior meets
    the very distribution that made it, which for a flow spares its inverse.
    """
    ratios, z = [], {}
    label, absent = model.outcome.features(y), model.something_absent(h)
    for name, p in priors.items():
        in_play = h.in_play(model.latents[name].about)
        if in_play is False:
            ratios.append(h.fused().new_zeros(num_draws, len(h)))
            continue
        q = guide.proposal(name, h, label, p, absent)
        z[name] = q.rsample((num_draws,))
        ratio = p.log_prob(z[name]) - q.log_prob(z[name])
        ratios.append(ratio if in_play is True else ratio.where(in_play, 0.0))
    log_p = model.outcome.distribution(model.likelihood(h, z)).log_prob(y)
    none = h.fused().new_zeros(0, num_draws, len(h))
    # Without latents all draws are one.
    return torch.stack(ratios) if ratios else none, log_p if z else log_p.expand(num_draws, -1)


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
