"""Prediction and impact: average over the latents, and how far single draws lie from that average.

``Predictive`` runs the model over many draws at once, and a handler supplies their noise. Rows are taken so
few at a time that the predictions of all their draws can be held, and only averages are kept: memory grows
neither with rows nor, until the draws of a single row pass 2^22 probabilities, with draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import Predictive
from torch import Tensor

from primo_pyro.modalities import Modalities
from primo_pyro.program.encoders import Representations, encode
from primo_pyro.program.outcomes import entropy, total_variation

HELD = 2**22  # predicted probabilities held at a time
DRAWS_AT_A_TIME = 512  # more than these for a row do not make its pass faster
REPLICATES = 8  # independent sets of draws; their spread is the Monte Carlo standard error


def standard_normal_points(num_samples: int, dimension: int, kind: str, seed: int) -> Tensor:
    """``[num_samples, dimension]`` draws of N(0, I) in `REPLICATES` independent sets, one after the other.

    ``"sobol"``: each set is a scrambled Sobol sequence, mapped by the normal quantile function;
    ``"independent"``: pseudo-random. Every row of data sees the same draws, so that a prediction depends
    on its own row alone.

    >>> points = standard_normal_points(256, 3, "sobol", seed=0)
    >>> points.shape, bool(points.mean(0).abs().max() < 0.01)
    (torch.Size([256, 3]), True)
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "independent" or dimension == 0:
        return torch.randn(num_samples, dimension, generator=generator, dtype=torch.float64)
    sets = []
    for size in replicate_sizes(num_samples):
        scramble = int(torch.randint(2**31, (), generator=generator))
        engine = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=scramble)
        uniform = engine.draw(size, dtype=torch.float64)
        sets.append(torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9)))
    return torch.cat(sets)


def replicate_sizes(num_samples: int) -> list[int]:
    """How many of the draws belong to each replicate.

    >>> replicate_sizes(200)
    [25, 25, 25, 25, 25, 25, 25, 25]
    """
    replicates = min(REPLICATES, max(1, num_samples // 2))
    return [len(part) for part in np.array_split(np.arange(num_samples), replicates)]


class NormalDraws(poutine.messenger.Messenger):
    """Gives every normal latent of any Pyro model the noise it is told to use.

    A latent with location mu and scale sigma becomes mu + sigma * noise; multivariate normals and
    transformations of normals (flows) work too. Sites take successive columns of the points in the order
    in which they first appear.

    Parameters
    ----------
    points
        Standard normal noise ``[K, D]``, D the sum of the latents' sizes.
    plate
        Name of the plate over draws; the default is that of ``Predictive(parallel=True)``.

    Raises
    ------
    ValueError
        Where a latent is not normal, or the model has more than D dimensions.

    Examples
    --------
    >>> import pyro
    >>> def model():
    ...     return pyro.sample("z", dist.Normal(torch.tensor([5.0, 0.0]), 2.0).to_event(1))
    >>> with NormalDraws(torch.tensor([[0.0, 0.0], [1.0, 1.0]])):
    ...     Predictive(model, num_samples=2, parallel=True)()["z"]
    tensor([[5., 0.],
            [7., 2.]])
    """

    def __init__(self, points: Tensor, plate: str = "_num_predictive_samples"):
        super().__init__()
        self.points = points
        self.plate = plate
        self._columns: dict[str, slice] = {}

    def _pyro_sample(self, msg) -> None:
        if msg["is_observed"] or msg["done"] or isinstance(msg["fn"], dist.Delta):
            return
        fn, name = msg["fn"], msg["name"]
        if type(fn).__name__ == "_Subsample":  # the plates' own bookkeeping
            return
        size = fn.event_shape.numel()
        start = max((c.stop for c in self._columns.values()), default=0)
        columns = self._columns.setdefault(name, slice(start, start + size))
        if columns.stop > self.points.shape[1]:
            raise ValueError(
                f"The points have {self.points.shape[1]} dimensions, and latent {name!r} needs columns up to "
                f"{columns.stop}. Draw points whose dimension is the sum of all latents' sizes."
            )
        noise = self.points[:, columns].reshape(-1, *fn.event_shape)
        over_draws = [frame.dim for frame in msg["cond_indep_stack"] if frame.name == self.plate]
        if over_draws:  # [K, 1, ..., event], the plate's dimension counted from the batch's right
            noise = noise.reshape(len(noise), *[1] * (-over_draws[0] - 1), *fn.event_shape)
        else:  # a run without draws, as Predictive makes to learn the shapes
            noise = noise[0]
        msg["value"] = _with_noise(fn, noise, name)
        msg["done"] = True


def _with_noise(fn: dist.Distribution, noise: Tensor, name: str) -> Tensor:
    while isinstance(fn, dist.Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
        fn = fn.base_dist
    if isinstance(fn, torch.distributions.TransformedDistribution):
        value = _with_noise(fn.base_dist, noise, name)
        for transform in fn.transforms:
            value = transform(value)
        return value
    if isinstance(fn, torch.distributions.Normal):
        return fn.loc + fn.scale * noise.to(fn.loc)
    if isinstance(fn, torch.distributions.MultivariateNormal):
        return fn.loc + (fn.scale_tril @ noise.to(fn.loc).unsqueeze(-1)).squeeze(-1)
    raise ValueError(
        f"Latent {name!r} is {type(fn).__name__}; NormalDraws wants a normal, a multivariate normal or a "
        "transformed normal. Draw it without the handler."
    )


@torch.no_grad()
def draw(model, h: Representations, points: Tensor, sites: Iterable[str]) -> dict[str, Tensor]:
    """Sites of the model by name, each ``[K, B, ...]``, where its latents have the given noise ``[K, D]``."""
    # The label is read off "logits": held at any value, it is not drawn at random for nothing.
    label = torch.zeros(len(h), dtype=torch.long, device=points.device)
    unlabelled = poutine.condition(model, {"y": label})
    predictive = Predictive(unlabelled, num_samples=len(points), parallel=True, return_sites=tuple(sites))
    # Predictive finds out the shapes by two runs of its own; their random numbers are nobody's business, nor
    # is Pyro's list of the model's parameters.
    forked = torch.random.fork_rng(devices=[points.device] if points.is_cuda else [])
    with forked, pyro.get_param_store().scope(), NormalDraws(points):
        return predictive(h)


def draw_logits(model, h: Representations, points: Tensor) -> Tensor:
    """Logits ``[K, B, C]`` of p(y | x_o, z_k), z_k from the prior with the given noise ``[K, D]``."""
    return draw(model, h, points, ["logits"])["logits"]


@dataclass(frozen=True)
class Summary:
    """What a set of draws says about each of N rows.

    Attributes
    ----------
    probabilities
        Average prediction ``[N, C]`` (Eq. 8).
    impact
        V ``[N]``, the expected total variation distance from the average (Eq. 9).
    impact_se
        Its Monte Carlo standard error, from independent replicates.
    flip
        Share of draws whose most probable label is not the average's.
    information_gain
        H(average) - mean of H(draw), in nats: the expected drop in log loss if z were known.
    """

    probabilities: np.ndarray
    impact: np.ndarray
    impact_se: np.ndarray
    flip: np.ndarray
    information_gain: np.ndarray

    @staticmethod
    def joined(parts: Iterable[Summary]) -> Summary:
        """The summary of all rows from those of some rows each, in order."""
        parts = list(parts)
        return Summary(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Summary)))


def summarise(
    model,
    x: Modalities | Representations,
    *,
    num_samples: int,
    kind: str = "sobol",
    seed: int = 0,
    modality: str | None = None,
    max_cells: int = 2**16,
) -> Summary:
    """Average the predictions of ``x`` over the latents, and measure how they vary.

    Parameters
    ----------
    model
        A `PrimoModel`.
    num_samples
        Draws K per row.
    kind, seed
        See `standard_normal_points`.
    modality
        Vary the latent of this modality alone, the others averaged out (K draws of each).
    max_cells
        Rows times draws worked on at a time; it bounds memory.
    """
    was_training = model.training
    model.eval()
    try:
        points = _points_for(model, num_samples, kind, seed, modality)
        outer, inner, _ = points.shape
        # Few enough rows that the predictions of all their draws can be held: V wants their average first.
        held = HELD // (outer * model.likelihood.num_classes)
        rows = max(1, min(held, max_cells // min(outer * inner, DRAWS_AT_A_TIME)))
        parts = [
            _summarise_rows(model, encode(model, x[start : start + rows]), points, max_cells)
            for start in range(0, len(x), rows)
        ]
    finally:
        model.train(was_training)
    return Summary.joined(parts)


def summarise_draws(p: Tensor) -> Summary:
    """The same from draws at hand: predictions ``[K, N, C]``, of which each eighth is a replicate.

    >>> certain = torch.eye(2)[[0, 1, 0, 1]][:, None]  # four draws of one row, that say 0, 1, 0, 1
    >>> summary = summarise_draws(certain)
    >>> summary.probabilities, summary.impact
    (array([[0.5, 0.5]]), array([0.5]))
    """
    p = p.double()
    mean = p.mean(0)
    distance = total_variation(p, mean)  # [K, N]
    impact = distance.mean(0)
    replicates = torch.stack([part.mean(0) for part in distance.split(replicate_sizes(len(p)))])
    alone = len(replicates) == 1
    error = torch.full_like(impact, torch.nan) if alone else replicates.std(0) / len(replicates) ** 0.5
    flip = (p.argmax(-1) != mean.argmax(-1)).double().mean(0)
    gain = (entropy(mean) - entropy(p).mean(0)).clamp(min=0)
    probabilities = mean / mean.sum(-1, keepdim=True)  # draws of single precision sum to one within 1e-7
    return Summary(*(t.cpu().numpy() for t in (probabilities, impact, error, flip, gain)))


def _points_for(model, num_samples: int, kind: str, seed: int, modality: str | None) -> Tensor:
    """Noise ``[K, J, D]``: the prediction of draw k is the average over its J inner draws."""
    sizes = [prior.latent_dim for prior in model.prior.values()]
    names = list(model.prior)
    points = standard_normal_points(num_samples, sum(sizes), kind, seed)[:, None]  # [K, 1, D]
    if modality is not None and len(names) > 1:
        inner = standard_normal_points(num_samples, sum(sizes), kind, seed + 1)[None]  # [1, K, D]
        start = sum(sizes[: names.index(modality)])
        own = torch.zeros(sum(sizes), dtype=torch.bool)
        own[start : start + sizes[names.index(modality)]] = True
        points = torch.where(own, points, inner)
    return points.to(next(model.parameters()))


@torch.no_grad()
def _summarise_rows(model, h: Representations, points: Tensor, max_cells: int) -> Summary:
    outer, inner, _ = points.shape
    per_pass = max(1, max_cells // (len(h) * inner))
    parts = []
    for start in range(0, outer, per_pass):
        part = points[start : start + per_pass]
        p = draw_logits(model, h, part.flatten(0, 1)).softmax(-1)
        parts.append(p.reshape(len(part), inner, len(h), -1).mean(1))
    return summarise_draws(torch.cat(parts))


@torch.no_grad()
def stream_draws(
    model,
    x: Modalities | Representations,
    sites: Iterable[str],
    *,
    num_samples: int,
    kind: str = "sobol",
    seed: int = 0,
    max_cells: int = 2**16,
) -> Iterator[dict[str, np.ndarray]]:
    """What `draw` gives, ``[K, n, ...]`` of a few rows at a time, in order: memory does not grow with rows.

    The draws are those of `summarise` with the same settings.
    """
    sites = tuple(sites)
    was_training = model.training
    model.eval()
    try:
        points = _points_for(model, num_samples, kind, seed, None)[:, 0]
        rows = max(1, max_cells // num_samples)
        for start in range(0, len(x), rows):
            drawn = draw(model, encode(model, x[start : start + rows]), points, sites)
            yield {site: values.cpu().numpy() for site, values in drawn.items()}
    finally:
        model.train(was_training)
