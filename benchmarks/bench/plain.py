"""What a user would write by hand in plain PyTorch: the rivals that the package is measured against.

The same networks, the same objective, the same predictions and V as the package's, for classes, one latent
for each optional modality and the default settings, without anything that makes them general.
`tests/test_bench.py` holds them equal to the package's numbers.

Sizes: B rows, M modalities, L optional ones, K draws, H features of a representation, d latent dimensions.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from primo_pyro import Modalities
from primo_pyro.program import Loss, PrimoModel

__all__ = ["LateFusion", "PlainObjective", "plain_summary"]


def encode(encoders: nn.ModuleDict, values: dict[str, Tensor], present: Tensor) -> Tensor:
    """Representations ``[M, B, H]``, 0 where absent; an encoder runs on the rows that have its modality."""
    found = []
    for (name, encoder), has in zip(encoders.items(), present, strict=True):
        rows = has.nonzero()[:, 0]
        h = encoder(values[name][rows])
        found.append(h.new_zeros(len(has), h.shape[1]).index_copy(0, rows, h))
    return torch.stack(found)


def as_tensors(x: Modalities, names: list[str]) -> tuple[dict[str, Tensor], Tensor]:
    """Values by modality, and who is present ``[M, B]``; bytes become fractions of 255."""
    values = {n: torch.as_tensor(x.values[n]).float() for n in names}
    values = {n: v / 255 if x.values[n].dtype == np.uint8 else v for n, v in values.items()}
    return values, torch.as_tensor(np.stack([x.present[n] for n in names]))


class LateFusion(nn.Module):
    """A plain multimodal network: encoders side by side, a hidden layer, cross-entropy."""

    def __init__(self, model: PrimoModel):
        super().__init__()
        self.encoders = nn.ModuleDict({name: copy.deepcopy(e) for name, e in model.encoder.items()})
        hidden, classes = model.likelihood.bias.shape[0], model.outcome.num_parameters
        self.head = nn.Sequential(
            nn.Linear(model.encoder.fused_features, hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )

    def forward(self, values: dict[str, Tensor], present: Tensor, y: Tensor) -> Tensor:
        """The mean loss."""
        h = encode(self.encoders, values, present)
        return F.cross_entropy(self.head(h.transpose(0, 1).flatten(1)), y)


class PlainObjective(nn.Module):
    """The default objective, with the networks and parameters of a `Loss`."""

    def __init__(self, loss: Loss):
        super().__init__()
        model, guide = loss.training_model.model, loss.bound.guide
        self.encoders = nn.ModuleDict({name: copy.deepcopy(e) for name, e in model.encoder.items()})
        names = list(self.encoders)
        self.places = [names.index(name) for name in model.optional]
        self.observed = [i for i in range(len(names)) if i not in self.places]
        self.prior = nn.ParameterList(stacked([p.net for p in model.prior.values()]))
        self.posterior = nn.ParameterList(stacked([q.net for q in guide.posterior.values()]))
        posteriors = list(guide.posterior.values())
        self.shift = nn.Parameter(torch.stack([q.shift.detach() for q in posteriors]))
        self.gamma, (self.num_latents, self.dim) = posteriors[0].gamma, self.shift.shape
        self.register_buffer("mean", torch.zeros(self.shift.numel()))
        self.register_buffer("var", torch.ones(self.shift.numel()))
        likelihood = model.likelihood
        first = [linear.weight for linear in likelihood.from_observed.values()]
        width = likelihood.bias.shape[0]
        self.from_observed = nn.Parameter(
            torch.cat([likelihood.bias.new_zeros(width, 0), *first], 1).detach()
        )
        latents = [linear.weight for linear in likelihood.from_latent.values()]
        self.from_latent = nn.Parameter(torch.cat(latents, 1).detach())
        constants = [likelihood.not_in_play[n] for n in model.latents] if len(latents) > 1 else []
        self.constants = nn.Parameter(
            torch.stack([*constants, *[likelihood.bias * 0] * (not constants)]).detach()
        )
        self.bias = nn.Parameter(likelihood.bias.detach().clone())
        self.head = copy.deepcopy(likelihood.head[-1])
        heads = list(loss.training_model.heads.values())
        self.alone = nn.ParameterList([torch.stack([h.weight.detach() for h in heads]).transpose(1, 2),
                                       torch.stack([h.bias.detach() for h in heads])[:, None]])  # fmt: skip

    def parameters_of(self, z: Tensor, play: Tensor, observed: Tensor, held: bool = False) -> Tensor:
        """Logits ``[S, K, B, C]`` of S questions: draws ``[S, L, K, B, d]``, who is in play ``[S, L, B]``."""
        weights = self.from_observed, self.from_latent, self.constants, self.bias, *self.head.parameters()
        of_modalities, of_z, constants, bias, w, b = (p.detach() for p in weights) if held else weights
        hidden = (F.linear(observed, of_modalities, bias) + (~play).float().transpose(1, 2) @ constants)[
            :, None
        ]
        z = (z * play[:, :, None, :, None]).permute(0, 2, 3, 1, 4).flatten(-2)
        return F.linear((hidden + F.linear(z, of_z)).relu(), w, b)

    def forward(self, values: dict[str, Tensor], present: Tensor, y: Tensor, draws: int = 8) -> Tensor:
        """The loss, summed over rows."""
        h = encode(self.encoders, values, present)  # [M, B, H]
        has, several, rows = present[self.places], self.num_latents > 1, len(y)
        asked = torch.ones_like(has)
        if several:
            asked = random_sets(~has, 1 / 3, 1 / 3)
            asked = asked & ~(has.any(0) & (torch.rand(rows) < 0.25))
        hidden = random_sets(has, 0.5, 0.0) if several else has
        hides = torch.zeros_like(present).index_copy(0, torch.tensor(self.places), hidden)
        fused, without = (t.transpose(0, 1).flatten(1) for t in (h, h * ~hides[:, :, None]))
        observed = fused[:, :0] if not self.observed else h[self.observed].transpose(0, 1).flatten(1)
        loc, scale = networks(self.prior, torch.cat([fused, without]))
        (loc_c, loc_m), (scale_c, scale_m) = loc.chunk(2, 1), scale.chunk(2, 1)

        def drawn(loc: Tensor, scale: Tensor) -> Tensor:
            noise = torch.randn(self.num_latents, draws, rows, self.dim)
            return loc[:, None] + scale[:, None] * noise

        # R: anchor and tie
        ratio = (scale_c.detach() / scale_m).square()
        tie = ratio + ((loc_c.detach() - loc_m) / scale_m).square() - 1 - ratio.log()
        anchor = scale_m.square() + loc_m.square() - 1 - 2 * scale_m.log()
        r = 0.05 * (anchor.sum(-1) * ~(has & ~hidden)).sum(0) + 0.15 * (tie.sum(-1) * hidden).sum(0)

        # The questions
        z_m, z_c = drawn(loc_m, scale_m), drawn(loc_c, scale_c)
        questions = [(z_m, has)]
        if several:
            nothing = torch.rand(rows) < 0.5
            some = torch.stack([torch.rand(rows) < 0.5 for _ in hidden])
            questions.append((z_m, (has & ~hidden) | (hidden & ~nothing & some)))
            with torch.no_grad():
                everything = self.parameters_of(z_m[None], torch.ones_like(has)[None], observed)[0].softmax(
                    -1
                )
            revealed = self.parameters_of(z_c[None], has[None], observed, held=True)[0].softmax(-1)
        else:
            with torch.no_grad():
                revealed = self.parameters_of(z_c[None], has[None], observed)[0].softmax(-1)

        # The bound's draws
        given = torch.cat([fused, F.one_hot(y, self.head.out_features).float()], 1)
        loc_q, scale_q = networks(self.posterior, given)
        flat = F.batch_norm(loc_q.transpose(0, 1).flatten(1), self.mean, self.var, training=True)
        loc_q = self.gamma * flat.view(rows, self.num_latents, -1).transpose(0, 1) + self.shift[:, None]
        loc_q, scale_q = (torch.where(has[..., None], p, q) for p, q in ((loc_c, loc_q), (scale_c, scale_q)))
        z, play = drawn(loc_q, scale_q), has | asked
        lacks = (play & ~has).any(0)
        if several:
            z = torch.where((has & lacks)[:, None, :, None], z[:, :1], z)
        questions.append((z, play))
        logits = self.parameters_of(*(torch.stack(t) for t in zip(*questions, strict=True)), observed)
        log_weights = (log_density(z, loc_c, scale_c) - log_density(z, loc_q, scale_q)) * play[:, None]
        log_p = logits[-1].log_softmax(-1)[:, torch.arange(rows), y]
        log_weights = log_p + log_weights.sum(0)
        bound = torch.where(lacks, log_weights.logsumexp(0) - math.log(draws), log_weights.mean(0))

        # R: predictions compared
        largest, p = 1 - 1 / self.head.out_features, logits[:-1].softmax(-1)
        score = far(p[0][:, None], revealed.detach()).mean((0, 1)) - apart(p[0]) / 2
        compared = 10 * largest * score
        if several:
            target = everything.mean(0)
            of_part, of_hidden = ((far(q.mean(0), target) / largest).square() for q in (p[1], p[0]))
            compared = compared + largest * apart(revealed) / 2 + of_part + of_hidden * (~has).any(0)
        r = r + compared * hidden.any(0)

        # The encoders' own heads
        own = torch.baddbmm(self.alone[1], h, self.alone[0]).log_softmax(-1)[:, torch.arange(rows), y]
        return (r - bound - (own * present).sum(0)).sum()


def stacked(nets: list[nn.Sequential]) -> list[Tensor]:
    """Parameters of two-layer networks of the same size, as those of one that puts all out."""
    first, last = [net[0] for net in nets], [net[-1] for net in nets]
    return [
        torch.cat([f.weight.detach() for f in first]),
        torch.cat([f.bias.detach() for f in first]),
        torch.stack([f.weight.detach() for f in last]).transpose(1, 2),
        torch.stack([f.bias.detach() for f in last])[:, None],
    ]


def networks(parameters: nn.ParameterList, given: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale ``[L, B, d]``."""
    w, b, w2, b2 = parameters
    hidden = F.linear(given, w, b).relu().view(len(given), len(w2), -1).transpose(0, 1)
    loc, raw = torch.baddbmm(b2, hidden, w2).chunk(2, -1)
    return loc, F.softplus(raw + 0.5413) + 1e-4


def random_sets(candidates: Tensor, alone: float, everything: float) -> Tensor:
    """A random set of the candidates ``[L, B]`` of each row, not empty where it need not be."""
    order = torch.rand(candidates.T.shape).masked_fill(~candidates.T, -1.0)
    first = order == order.max(1, keepdim=True).values
    some = (torch.rand(order.shape) < 0.5) | first
    kind = torch.rand(len(order), 1)
    return (torch.where(kind < alone, first, some | (kind >= 1 - everything)) & candidates.T).T


def log_density(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Up to a constant, ``[L, K, B]``."""
    return -(((z - loc[:, None]) / scale[:, None]).square() / 2 + scale.log()[:, None]).sum(-1)


def far(p: Tensor, q: Tensor) -> Tensor:
    """Total variation distance."""
    return (p - q).abs().sum(-1) / 2


def apart(p: Tensor) -> Tensor:
    """Mean distance of different draws ``[K, B, C]``."""
    return far(p[:, None], p).sum((0, 1)) / (len(p) * (len(p) - 1))


@torch.no_grad()
def plain_summary(
    model: PrimoModel, x: Modalities, points: Tensor, cells: int = 2**12
) -> dict[str, np.ndarray]:
    """Prediction, V and all else that `predictive_impact` says of rows without their one optional modality.

    Vectorised over rows and draws, so few rows at a time that their hidden units fit in the cache; single
    precision with sums in double; points ``[K, d]`` are the draws' noise, in eight replicates.
    """
    (name,) = model.latents
    prior, likelihood = model.prior[name], model.likelihood
    weight, head = likelihood.from_latent[name].weight, likelihood.head[-1]
    h = encode(nn.ModuleDict(model.encoder), *as_tensors(x, list(model.encoder)))
    loc, raw = prior.net(h.transpose(0, 1).flatten(1)).chunk(2, -1)
    scale = F.softplus(raw + 0.5413) + 1e-4
    base = likelihood.bias.expand(len(loc), -1)
    for of, linear in likelihood.from_observed.items():
        base = base + linear(h[list(model.encoder).index(of)])
    at_a_time, parts = max(1, cells // len(points)), []
    for some in torch.arange(len(loc)).split(at_a_time):
        z = loc[some, None] + scale[some, None] * points  # [B, K, d]
        logits = head((base[some, None] + z @ weight.T).relu_())
        p = logits.softmax(-1)
        mean = p.mean(1, dtype=torch.float64)
        distance = (p - mean[:, None].float()).abs().sum(-1) / 2  # [B, K]
        replicates = distance.view(len(some), 8, -1).mean(-1, dtype=torch.float64)
        gain = torch.special.entr(mean).sum(-1) - torch.special.entr(p).sum(-1).mean(1, dtype=torch.float64)
        flips = (p.argmax(-1) != mean.argmax(-1)[:, None]).double().mean(1)
        parts.append((mean, replicates.mean(1), replicates.std(1) / 8**0.5, flips, gain.clamp(min=0)))
    names = "prediction", "impact", "impact_se", "flip", "information_gain"
    columns = zip(*parts, strict=True)
    return {n: torch.cat(column).numpy() for n, column in zip(names, columns, strict=True)}
