"""The objective of the package's own story, with all latents computed at once.

`TrainingModel` in one of Pyro's ELBOs is the definition, latent by latent; any story trains with it. Where
all latents have the default prior and posterior and one size, what is done for each is done for all at once,
on tensors ``[L, B, d]``, and all questions about a row go through the likelihood together. Value, gradient
and draws are those of the definition, as a test holds; dropout alone differs: all questions about a row share
it.

Sizes: B rows, L latents, M optional modalities, K draws, S questions, d latent dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from primo_pyro.program.conditionals import BatchNormDiagNormal
from primo_pyro.program.encoders import Representations
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import Objective
from primo_pyro.program.priors import LocationAndScale, split_parameters
from primo_pyro.program.protocols import Story
from primo_pyro.program.regulariser import (
    compare_predictions,
    frozen,
    hidden_at_random,
    is_default_story,
    names_of_prediction_terms,
    part_of,
)

__all__ = ["Stacked", "can_be_stacked"]


def can_be_stacked(model: Story, guide: nn.Module) -> bool:
    """Whether both programs are the package's own, with default distributions of one size."""
    return (
        is_default_story(model)
        and len(model.prior) > 0
        and len({latent.dim for latent in model.latents.values()}) == 1
        and isinstance(guide, PrimoGuide)
        and all(getattr(type(guide), part) is getattr(PrimoGuide, part) for part in ("forward", "proposal"))
        and all(type(posterior) is BatchNormDiagNormal for posterior in guide.posterior.values())
    )


class Normals(NamedTuple):
    """Independent normal distributions of L latents in B rows, ``[L, B, d]`` each."""

    loc: Tensor
    scale: Tensor

    def draws(self, num_draws: int) -> Tensor:
        """``[L, K, B, d]``."""
        noise = torch.randn(
            len(self.loc), num_draws, *self.loc.shape[1:], dtype=self.loc.dtype, device=self.loc.device
        )
        return self.loc[:, None] + self.scale[:, None] * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Up to a constant, of draws ``[L, K, B, d]``: ``[L, K, B]``."""
        standardised = (z - self.loc[:, None]) / self.scale[:, None]
        return -(standardised.square() / 2 + self.scale.log()[:, None]).sum(-1)

    def divergence(self, loc: Tensor | float, scale: Tensor | float) -> Tensor:
        """KL to normal distributions of these parameters, ``[L, B]``."""
        ratio = (self.scale / scale).square()
        return (ratio + ((self.loc - loc) / scale).square() - 1 - ratio.log()).sum(-1) / 2

    def detach(self) -> Normals:
        """The same distributions, constant."""
        return Normals(self.loc.detach(), self.scale.detach())

    def where(self, rows: Tensor, others: Normals) -> Normals:
        """These in some rows ``[L, B]`` and others elsewhere."""
        pairs = zip(self, others, strict=True)
        return Normals(*(torch.where(rows[:, :, None], own, other) for own, other in pairs))


class Stacked:
    """The terms of the objective for one batch; see the module.

    Parameters
    ----------
    model, guide
        Of which `can_be_stacked` is true.
    h
        Representations of the batch, with what its rows ask about.
    objective
        What is maximised; not the mean-field bound.
    """

    def __init__(self, model: PrimoModel, guide: PrimoGuide, h: Representations, objective: Objective):
        self.model, self.guide, self.h, self.objective = model, guide, h, objective
        self.fused = h.fused()
        self.present = self._of_modalities(h.present)  # [M, B]
        self.everything = torch.ones_like(self.present)
        self.asked = self.everything if h.asked is None else self._of_modalities(h.asked)
        self.about = [[model.optional.index(m) for m in latent.about] for latent in model.latents.values()]
        self.one_each = self.about == [[index] for index in range(len(model.optional))]
        self.several = len(model.latents) > 1

    def terms(self, y: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """What the objective consists of.

        Returns
        -------
        R by named parts, ``[B]`` or for each latent ``[L, B]``; log p(z) - log q(z) of each latent in play,
        ``[L, K, B]``; and log p(y | x_o, z), ``[K, B]``.
        """
        model, objective, num_draws = self.model, self.objective, self.objective.num_particles
        hidden = hidden_at_random(model, self.h)
        complete, missing = self._priors(hidden)
        is_hidden = self._of_modalities(hidden)
        parts = self._divergences(complete, missing, is_hidden)
        names = names_of_prediction_terms(model, objective)
        questions = []
        if names:
            z_m, z_c = missing.draws(num_draws), complete.draws(num_draws)
            left = self.present & ~is_hidden
            questions.append(self._question(z_m, self.present))  # present, or hidden and asked about
            everything = None
            if "agreement" in names:
                part = self._of_modalities(part_of(hidden))
                questions.append(self._question(z_m, left | part))
                with torch.no_grad():
                    everything = self._predict([self._question(z_m, self.everything)])[0]
            held = frozen(model.likelihood, model.outcome) if "residual_spread" in names else torch.no_grad()
            with held:
                revealed = self._predict([self._question(z_c, self.present)])[0]
        q = self._proposals(complete, y)
        in_play = self._any(self.present | self.asked)
        z = q.draws(num_draws)
        known = self._all(self.present)
        something_absent = (in_play & ~known).any(0)
        if self.several and self.guide.proposes_from_prior and num_draws > 1:
            z = torch.where((known & something_absent)[:, None, :, None], z[:, :1], z)
        questions.append((z, in_play))
        parameters = self._parameters(questions)  # [S, K, B, P]
        if names:
            predictions = model.outcome.predict(parameters[:-1])
            parts |= compare_predictions(
                model.outcome,
                objective,
                names,
                is_hidden.any(0),
                (~self.present).any(0),
                predictions[0],
                revealed,
                predictions[1] if everything is not None else None,
                everything,
            )
        ratios = (complete.log_prob(z) - q.log_prob(z)).where(in_play[:, None], 0.0)
        return parts, ratios, model.outcome.distribution(parameters[-1]).log_prob(y)

    def _of_modalities(self, of: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([of[m] for m in self.model.optional])

    def _any(self, modalities: Tensor) -> Tensor:
        """Booleans ``[L, B]``: of ``[M, B]``, whether true of some modality that a latent is about."""
        if self.one_each:
            return modalities
        return torch.stack([modalities[about].any(0) for about in self.about])

    def _all(self, modalities: Tensor) -> Tensor:
        if self.one_each:
            return modalities
        return torch.stack([modalities[about].all(0) for about in self.about])

    def _priors(self, hidden: Mapping[str, Tensor]) -> tuple[Normals, Normals]:
        """Of the rows as they are, and without what is hidden."""
        nowhere = torch.zeros(len(self.h), dtype=torch.bool, device=self.fused.device)
        rows = torch.stack([hidden.get(m, nowhere) for m in self.h.values], dim=1)  # [B, all modalities]
        by_modality = self.fused.view(len(self.h), len(self.h.values), -1)
        without = by_modality.masked_fill(rows[:, :, None], 0.0).view_as(self.fused)
        networks = [cast(LocationAndScale, prior) for prior in self.model.prior.values()]
        both = _outputs(networks, torch.cat([self.fused, without]))
        (loc_c, loc_m), (scale_c, scale_m) = (t.chunk(2, dim=1) for t in both)
        return Normals(loc_c, scale_c), Normals(loc_m, scale_m)

    def _proposals(self, prior: Normals, y: Tensor) -> Normals:
        """q of each latent, as `PrimoGuide.proposal` has it."""
        posteriors = [cast(BatchNormDiagNormal, q) for q in self.guide.posterior.values()]
        label = self.model.outcome.features(y).to(self.fused.dtype)
        loc, scale = _outputs(posteriors, torch.cat([self.fused, label], dim=-1))
        gamma = posteriors[0].gamma
        posterior = Normals(
            gamma * _normalised(posteriors, loc) + torch.stack([q.shift for q in posteriors])[:, None], scale
        )
        if not self.guide.proposes_from_prior:
            return posterior
        return prior.where(self._all(self.present), posterior)

    def _divergences(self, complete: Normals, missing: Normals, hidden: Tensor) -> dict[str, Tensor]:
        """Anchor and tie of each latent, ``[L, B]``."""
        objective = self.objective
        anchor = missing.divergence(0.0, 1.0)
        lacks_something = ~self._all(self.present & ~hidden)
        parts = {"anchor": objective.anchor * anchor.where(lacks_something, 0.0)}
        share = objective.tie_on_complete
        tie = sum(
            weight * p.divergence(*missing)
            for weight, p in ((share, complete), (1 - share, complete.detach()))
            if weight
        )
        parts["tie"] = objective.tie * cast(Tensor, tie).where(self._any(hidden), 0.0)
        return parts

    def _question(self, z: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """Draws, and who is in play ``[L, B]``: latents about some of the modalities ``[M, B]``."""
        return z, self._any(modalities)

    def _predict(self, questions: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        return self.model.outcome.predict(self._parameters(questions))

    def _parameters(self, questions: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """The likelihood's ``[S, K, B, P]`` for draws ``[L, K, B, d]`` and who is in play ``[L, B]``."""
        likelihood = self.model.likelihood
        weight, constants = likelihood.of_all_latents()
        z = torch.stack([draws for draws, _ in questions])  # [S, L, K, B, d]
        hidden = likelihood.bias.expand(len(self.h), -1)
        for name, linear in likelihood.from_observed.items():
            hidden = hidden + linear(self.h.values[name])
        if self.h.asked is not None or len(self.present) > 1:  # otherwise all are in play
            in_play = torch.stack([play for _, play in questions])  # [S, L, B]
            z = z * in_play[:, :, None, :, None]
            if constants is not None:
                out = (~in_play).to(z.dtype).transpose(1, 2) @ constants  # [S, B, H]
                hidden = (hidden + out)[:, None]
        z = z.permute(0, 2, 3, 1, 4).flatten(-2)  # [S, K, B, L d]
        return likelihood.head(hidden + F.linear(z, weight))


def _outputs(networks: Sequence[LocationAndScale], given: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale ``[L, B, d]`` of each network."""
    first = [cast(nn.Linear, network.net[0]) for network in networks]
    last = [cast(nn.Linear, network.net[-1]) for network in networks]
    hidden = F.linear(given, torch.cat([f.weight for f in first]), torch.cat([f.bias for f in first])).relu()
    by_network = hidden.view(len(given), len(networks), -1).transpose(0, 1)  # [L, B, H]
    weight, bias = torch.stack([f.weight for f in last]), torch.stack([f.bias for f in last])
    return split_parameters(torch.baddbmm(bias[:, None], by_network, weight.transpose(1, 2)))


def _normalised(posteriors: Sequence[BatchNormDiagNormal], loc: Tensor) -> Tensor:
    """Locations ``[L, B, d]`` behind the batch normalisation of each posterior, which learns from them."""
    norms = [q.normalise for q in posteriors]
    training = norms[0].training
    if training and loc.shape[1] == 1:
        return loc
    means = [cast(Tensor, n.running_mean) for n in norms]
    variances = [cast(Tensor, n.running_var) for n in norms]
    momentum = cast(float, norms[0].momentum)
    mean, var = torch.cat(means), torch.cat(variances)
    flat = loc.transpose(0, 1).flatten(1)  # [B, L d]
    flat = F.batch_norm(flat, mean, var, training=training, momentum=momentum)
    if training:
        sizes = [len(m) for m in means]
        with torch.no_grad():
            torch._foreach_copy_(means, list(mean.split(sizes)))
            torch._foreach_copy_(variances, list(var.split(sizes)))
            torch._foreach_add_([cast(Tensor, n.num_batches_tracked) for n in norms], 1)
    return flat.view(loc.shape[1], len(norms), -1).transpose(0, 1)
