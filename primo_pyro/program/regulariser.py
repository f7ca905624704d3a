"""R: what training takes off the bound so that z stands for what is absent, and V means what it says.

For each row a random set H of its present modalities is hidden, which is not empty where it need not be. With
p_c = p(z_l | available), p_m = p(z_l | available without H), and P, P', Q, Q' independent draws of the
prediction, two under the story without H (which then is all that is asked about) and two with it::

    R  =  sum_l anchor * KL(p_m || N(0, I))                      l about something absent or hidden
        + sum_l tie    * KL(p_c || p_m)                          l about something hidden
        + forecast * V_max * ( E d(P, Q) - 1/2 E d(P, P') )      rows with something hidden
        + residual_spread * V_max * 1/2 E d(Q, Q')               the same, with several optional modalities
        + agreement / V_max^2 * ( d(E P, E P_all)^2 + d(E P_A, E P_all)^2 )       the same

With one modality that may be absent there is nothing random in H: it is hidden where it is present, and the
first two terms are the paper's (Eq. 4).

The third scores the story without H as a forecast of what the prediction becomes once H is revealed: an
energy score (Gneiting and Raftery 2007) in the outcome's distance d, at its best where both sides have the
same distribution, which is what V assumes. V_max is the outcome's largest V.

There Q is held: the score asks nothing of what is forecast. The fourth does: nothing that is asked about is
absent from Q, so that its draws should all be the same. The fifth says that an average does not depend on the
question: P_A asks about a part A of H, or about nothing, and P_all about everything absent. The first two
averages move to that of P_all, which is held: the more is averaged over, the less has been memorised.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import detach
from torch import Tensor, distributions

from primo_pyro.errors import DrawsError
from primo_pyro.program.conditionals import Likelihood
from primo_pyro.program.distributions import kl_divergence
from primo_pyro.program.encoders import Representations
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import Objective
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.priors import DiagNormal
from primo_pyro.program.protocols import Story

__all__ = [
    "Priors",
    "compare_predictions",
    "energy_score",
    "frozen",
    "hidden_at_random",
    "is_default_story",
    "is_package_story",
    "mean_distance",
    "names_of_prediction_terms",
    "part_of",
    "prediction_terms",
    "priors_of",
    "random_sets",
    "regulariser",
    "story_predictions",
    "tie",
]

Priors = Mapping[str, distributions.Distribution]  # p(z_l | available) of each latent, of batch [B]


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


def priors_of(model: Story, h: Representations) -> dict[str, distributions.Distribution]:
    """p(z_l | available) of each latent, as distributions of batch ``[B]``."""
    return {name: prior(h) for name, prior in model.prior.items()}


def regulariser(
    model: Story, h: Representations, objective: Objective, priors: Priors | None = None
) -> dict[str, Tensor]:
    """R by named parts ``[B]``: ``anchor_l`` and ``tie_l`` of each latent l, and `prediction_terms`.

    A part is left out where its weight is 0, the last two also with one optional modality. ``priors`` are
    those of `priors_of`, where they are known already.
    """
    if not model.latents:
        return {}
    hidden = hidden_at_random(model, h)
    h_m = h.hide(hidden)
    complete, missing = priors or priors_of(model, h), priors_of(model, h_m)
    parts = {}
    for name, p_m in missing.items():
        about = model.latents[name].about
        zeros = h.fused().new_zeros(p_m.batch_shape + p_m.event_shape)
        standard = dist.Normal(zeros, 1.0).to_event(len(p_m.event_shape))
        _require_reparameterised(name, p_m)
        anchor = _divergence(p_m, standard, objective)
        parts[f"anchor_{name}"] = objective.anchor * anchor.where(~h_m.all_present(about), 0.0)
        is_hidden = torch.stack([hidden[m] for m in about]).any(0)
        parts[f"tie_{name}"] = objective.tie * tie(complete[name], p_m, objective).where(is_hidden, 0.0)
    parts |= prediction_terms(model, h, hidden, complete, missing, objective)
    return parts


def tie(p_c: distributions.Distribution, p_m: distributions.Distribution, objective: Objective) -> Tensor:
    """KL(p_c || p_m) ``[B]``, of whose gradient the share ``tie_on_complete`` reaches p_c."""
    share, divergence = objective.tie_on_complete, torch.zeros(())
    for weight, p in (share, p_c), (1 - share, detach(p_c) if share < 1 else p_c):
        if weight:
            divergence = divergence + weight * _divergence(p, p_m, objective)
    return divergence


def _divergence(q: distributions.Distribution, p: distributions.Distribution, objective: Objective) -> Tensor:
    return kl_divergence(q, p, partial(_draws, q, objective.num_particles))


def _draws(p: distributions.Distribution, num_draws: int) -> Tensor:
    """``[K, B, ...]``. Expanded first: not every kind of Pyro's takes a sample shape beside a batch."""
    return p.expand((num_draws, *p.batch_shape)).rsample()


def _require_reparameterised(name: str, p: distributions.Distribution) -> None:
    if not p.has_rsample:
        raise DrawsError(
            f"The prior of latent {name!r} is {type(p).__name__}, whose draws pass no gradient; expected one "
            "with rsample. Use another, as MixtureOfDiagNormals for a mixture."
        )


def hidden_at_random(model: Story, h: Representations) -> dict[str, Tensor]:
    """For each row the set H of its present modalities that R hides: modality to booleans ``[B]``."""
    return random_sets({m: h.present[m] for m in model.optional}, alone=0.5, everything=0.0)


def prediction_terms(
    model: Story,
    h: Representations,
    hidden: Mapping[str, Tensor],
    complete: Priors,
    missing: Priors,
    objective: Objective,
) -> dict[str, Tensor]:
    """The parts of R that compare predictions ``[B]``: ``forecast``, ``residual_spread`` and ``agreement``.

    Parameters
    ----------
    hidden
        Modality to booleans ``[B]``. In rows where none is hidden all are 0.
    complete, missing
        Priors of these rows with and without what is hidden.
    """
    terms = names_of_prediction_terms(model, objective)
    if not terms:
        return {}
    num_draws = objective.num_particles
    # The same draws for all questions: what differs between these is not a matter of luck.
    z = {name: _draws(p, num_draws) for name, p in missing.items()}
    h_m, h_c = h.hide(hidden), h
    if len(model.optional) > 1 or h.asked is not None:
        h_m, h_c = h_m.ask(hidden), h_c.ask(())
    forecast = story_predictions(model, h_m, z)  # [K, B, Q]
    z_c = {name: _draws(p, num_draws) for name, p in complete.items()}
    # For the residual spread the likelihood is held: it would learn to ignore latents that say little yet.
    with frozen(model) if "residual_spread" in terms else torch.no_grad():
        revealed = story_predictions(model, h_c, z_c)
    everything = part = None
    if "agreement" in terms:
        with torch.no_grad():
            everything = story_predictions(model, h_m.ask(model.optional), z)
        part = story_predictions(model, h_m.ask(part_of(hidden)), z)
    is_hidden = torch.stack(list(hidden.values()))
    absent = torch.stack([~h.present[m] for m in model.optional])
    return compare_predictions(
        model.outcome, objective, terms, is_hidden.any(0), absent.any(0), forecast, revealed, part, everything
    )


def names_of_prediction_terms(model: Story, objective: Objective) -> tuple[str, ...]:
    """Those of `prediction_terms` that have a weight."""
    names = ("forecast", "residual_spread", "agreement") if len(model.optional) > 1 else ("forecast",)
    return tuple(name for name in names if getattr(objective, name))


def compare_predictions(
    outcome: Outcome,
    objective: Objective,
    terms: Iterable[str],
    hidden: Tensor,
    others: Tensor,
    forecast: Tensor,
    revealed: Tensor,
    part: Tensor | None,
    everything: Tensor | None,
) -> dict[str, Tensor]:
    """The terms ``[B]``, weighted, of predictions ``[K, B, Q]``.

    Parameters
    ----------
    hidden, others
        Booleans ``[B]``: rows in which something is hidden; and in which something is absent beside it.
    forecast, revealed
        P, which asks about what is hidden, and Q, of which it is revealed.
    part, everything
        P_A, which asks about a part of what is hidden, and P_all, which asks about all that is absent; needed
        for ``agreement``.
    """
    largest, found = outcome.largest_impact, {}
    for name in terms:
        if name == "forecast":
            term = largest * energy_score(outcome, forecast, revealed.detach())
        elif name == "residual_spread":
            term = largest * mean_distance(outcome, revealed) / 2
        else:
            target = cast(Tensor, everything).detach().mean(0)
            of_part, of_hidden = (
                (outcome.distance(p.mean(0), target) / largest).square()
                for p in (cast(Tensor, part), forecast)
            )
            # Where all that is absent is hidden, both ask the same.
            term = of_part + of_hidden.where(others, 0.0)
        found[name] = getattr(objective, name) * term.where(hidden, 0.0)
    return found


@contextmanager
def frozen(*modules: Any) -> Iterator[None]:
    """Gradients of what is computed here reach no parameters of these modules."""
    held = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        with warnings.catch_warnings():
            # Pyro registers parameters that can be trained; these have been, and will be again.
            warnings.filterwarnings("ignore", ".* was not registered in the param store", UserWarning)
            yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def energy_score(outcome: Outcome, forecast: Tensor, revealed: Tensor) -> Tensor:
    """E d(P, Q) - 1/2 E d(P, P') ``[B]`` of draws of P and of Q, predictions ``[K, B, Q]`` each, K > 1.

    Every draw is compared with every other: pairs cost little beside the draws, and average the noise out.

    >>> from primo_pyro.program import Categorical
    >>> certain = torch.eye(2)[[0, 1]][:, None]  # two draws of one row, that say 0 and 1
    >>> energy_score(Categorical(2), certain, certain), energy_score(Categorical(2), certain, certain[[0, 0]])
    (tensor([0.]), tensor([0.]))
    """
    distance = outcome.distance(forecast[:, None], revealed).mean((0, 1))
    return distance - mean_distance(outcome, forecast) / 2


def mean_distance(outcome: Outcome, p: Tensor) -> Tensor:
    """E d(P, P') ``[B]`` of draws ``[K, B, Q]``, from all pairs of different ones."""
    return outcome.distance(p[:, None], p).sum((0, 1)) / (len(p) * (len(p) - 1))


def part_of(hidden: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For each row a random part of what is hidden, to ask about: half of the time nothing.

    >>> part = part_of({"a": torch.tensor([True, False]), "b": torch.tensor([True, True])})
    >>> bool((part["a"] & ~torch.tensor([True, False])).any())
    False
    """
    nothing = torch.rand_like(next(iter(hidden.values())), dtype=torch.float) < 0.5
    return {
        m: where & ~nothing & (torch.rand_like(where, dtype=torch.float) < 0.5) for m, where in hidden.items()
    }


def story_predictions(model: Story, h: Representations, z: Mapping[str, Tensor]) -> Tensor:
    """Predictions ``[K, B, Q]`` of the model's story, whose latents have the values ``z`` ``[K, B, d]``."""
    num_draws = len(next(iter(z.values())))
    if is_package_story(model):
        return model.outcome.predict(model.likelihood(h, z))
    y = model.outcome.placeholder(len(h)).to(h.fused().device)
    # A story within the story that is being told: its sites are not those of the loss. Dimension -2 may be
    # that of the ELBO's own draws.
    values = {f"z_{name}": value[:, None] for name, value in z.items()}
    with poutine.block(), pyro.plate("forecast", num_draws, dim=-3), pyro.plate("rows", len(h), dim=-1):
        trace = poutine.trace(poutine.condition(model.story, data=values)).get_trace(h, y)
    parameters = cast(Tensor, trace.nodes[model.outcome.parameters_site]["value"])  # [K, 1, B, P]
    return model.outcome.predict(parameters.expand(num_draws, 1, len(h), -1)[:, 0])


def is_package_story(model: Story) -> TypeGuard[PrimoModel]:
    """Whether a model's story is that of `PrimoModel`, and not one that a subclass tells."""
    return all(getattr(type(model), part) is getattr(PrimoModel, part) for part in ("story", "draw_latents"))


def is_default_story(model: Story) -> TypeGuard[PrimoModel]:
    """Whether it is that, with the package's likelihood, and the default prior for each latent."""
    return (
        is_package_story(model)
        and type(model.likelihood) is Likelihood
        and all(type(prior) is DiagNormal for prior in model.prior.values())
    )
