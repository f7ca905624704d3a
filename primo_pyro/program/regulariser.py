"""R: what training takes off the bound so that z stands for what is absent, and V means what it says.

For each row a random set H of its present modalities is hidden, which is not empty where it need not be. With
p_c = p(z_l | available), p_m = p(z_l | available without H), and P, P', Q independent draws of the prediction
under the story without H (which then is all that is asked about), the same again, and the story with H::

    R  =  sum_l anchor * KL(p_m || N(0, I))                      l about something absent or hidden
        + sum_l tie    * KL(p_c || p_m)                          l about something hidden
        + forecast * V_max * ( E d(P, Q) - 1/2 E d(P, P') )      rows with something hidden

With one modality that may be absent there is nothing random in H: it is hidden where it is present, and the
first two terms are the paper's (Eq. 4).

The third scores the story without H as a forecast of what the prediction becomes once H is revealed: an
energy score (Gneiting and Raftery 2007) in the outcome's distance d, at its best where both sides have the
same distribution, which is what V assumes. V_max is the outcome's largest V.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeGuard, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import detach
from torch import Tensor, distributions

from primo_pyro.errors import DrawsError
from primo_pyro.program.distributions import kl_divergence
from primo_pyro.program.encoders import Representations
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import Objective
from primo_pyro.program.protocols import Story

__all__ = [
    "Priors",
    "forecast_score",
    "is_package_story",
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
        zeros = h.fused().new_zeros(p_m.batch_shape + p_m.event_shape)
        standard = dist.Normal(zeros, 1.0).to_event(len(p_m.event_shape))
        _require_reparameterised(name, p_m)
        anchor = _divergence(p_m, standard, objective)
        parts[f"anchor_{name}"] = objective.anchor * anchor.where(~h_m.all_present(about), 0.0)
        is_hidden = torch.stack([hidden[m] for m in about]).any(0)
        parts[f"tie_{name}"] = objective.tie * tie(complete[name], p_m, objective).where(is_hidden, 0.0)
    weight = objective.forecast * model.outcome.largest_impact
    if weight:
        score = forecast_score(model, h, hidden, complete, missing, objective.num_particles)
        parts["forecast"] = weight * score
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


def forecast_score(
    model: Story,
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
    if len(model.optional) > 1 or h.asked is not None:  # with one, it is present in all these rows
        h_c, h_m = h_c.ask(()), h_m.ask(hidden)
    forecast = story_predictions(model, h_m, missing, rows, num_draws)  # [K, B', Q]
    with torch.no_grad():
        outcomes = story_predictions(model, h_c, complete, rows, num_draws)
    # Every draw is compared with every other: pairs cost little beside the draws, and average the noise out.
    distance = model.outcome.distance(forecast[:, None], outcomes).mean((0, 1))
    spread = model.outcome.distance(forecast[:, None], forecast).sum((0, 1)) / (num_draws * (num_draws - 1))
    return torch.zeros_like(something, dtype=distance.dtype).index_copy(0, rows, distance - spread / 2)


def story_predictions(
    model: Story, h: Representations, priors: Priors, rows: Tensor, num_draws: int
) -> Tensor:
    """Predictions ``[K, B', Q]`` of the model's story under K draws, for some ``rows`` ``[B']``.

    ``h`` has these rows, the priors all.
    """
    if is_package_story(model):
        in_play = [name for name in priors if h.in_play(model.latents[name].about) is not False]
        z = {name: _draws(priors[name], num_draws)[:, rows] for name in in_play}
        return model.outcome.predict(model.likelihood(h, z))
    y = model.outcome.placeholder(len(h)).to(h.fused().device)
    # A story within the story that is being told: its sites are not those of the loss. Dimension -2 may be
    # that of the ELBO's own draws.
    with poutine.block(), pyro.plate("forecast", num_draws, dim=-3), pyro.plate("rows", len(h), dim=-1):
        trace = poutine.trace(model.story).get_trace(h, y)
    parameters = cast(Tensor, trace.nodes[model.outcome.parameters_site]["value"])  # [K, 1, B', P]
    return model.outcome.predict(parameters.expand(num_draws, 1, len(h), -1)[:, 0])


def is_package_story(model: Story) -> TypeGuard[PrimoModel]:
    """Whether a model's story is that of `PrimoModel`, and not one that a subclass tells."""
    return all(getattr(type(model), part) is getattr(PrimoModel, part) for part in ("story", "draw_latents"))
