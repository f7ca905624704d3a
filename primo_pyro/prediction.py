"""Prediction and impact: average over the latents, and how far single draws lie from that average.

``Predictive`` runs the model over many draws at once, and a handler supplies their noise. Rows are taken so
few at a time that the predictions of all their draws can be held, and only averages are kept: memory grows
neither with rows nor, until the draws of a single row pass 2^22 numbers, with draws.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import Predictive
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from primo_pyro.errors import DrawsError, ToleranceWarning
from primo_pyro.modalities import Modalities
from primo_pyro.program.distributions import from_noise, noise_size
from primo_pyro.program.encoders import Representations, encode
from primo_pyro.program.outcomes import Categorical, Outcome

__all__ = [
    "NormalDraws",
    "Summary",
    "draw",
    "draw_parameters",
    "noise_columns",
    "replicate_sizes",
    "standard_normal_points",
    "stream_draws",
    "summarise",
    "summarise_draws",
    "summarise_until",
]

HELD = 2**22  # numbers of predictions held at a time
DRAWS_AT_A_TIME = 512  # more than these for a row do not make its pass faster
REPLICATES = 8  # independent sets of draws; their spread is the Monte Carlo standard error
MAX_SAMPLES = 2**14  # draws per row that a tolerance may ask for
MAX_NESTED_SAMPLES = 2**10  # the same where each draw is an average over as many draws of the other latents


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
    """Makes every latent of any Pyro model out of standard normal noise that it is given.

    How a distribution's draw is made of noise is told by `primo_pyro.program.from_noise`, to which kinds of
    your own can be added. Sites take successive columns of the points, in the order in which they first
    appear.

    Parameters
    ----------
    points
        Standard normal noise ``[K, D]``, D the sum of what the latents take (`noise_columns`).
    plate
        Name of the plate over draws; the default is that of ``Predictive(parallel=True)``.

    Raises
    ------
    DrawsError
        Where nothing is known of a latent's kind, or the model needs more than D columns.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
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
        self.columns: dict[str, slice] = {}

    def _pyro_sample(self, msg) -> None:
        if msg["is_observed"] or msg["done"] or site_is_subsample(msg):
            return
        fn, name = msg["fn"], msg["name"]
        start = max((c.stop for c in self.columns.values()), default=0)
        columns = self.columns.setdefault(name, slice(start, start + noise_size(fn)))
        if columns.stop > self.points.shape[1]:
            raise DrawsError(
                f"The points have {self.points.shape[1]} columns; latent {name!r} needs columns up to "
                f"{columns.stop}. Draw points with the sum of what all latents take, see noise_columns."
            )
        noise = self.points[:, columns]  # [K, n]
        over_draws = [frame.dim for frame in msg["cond_indep_stack"] if frame.name == self.plate]
        if over_draws:  # [K, 1, n], the plate's dimension counted from the batch's right
            noise = noise.reshape(len(noise), *[1] * (-over_draws[0] - 1), noise.shape[1])
        else:  # a run without draws, as Predictive makes to learn the shapes
            noise = noise[0]
        try:
            msg["value"] = from_noise(fn, noise)
        except NotImplementedError as error:
            raise DrawsError(
                f"Latent {name!r} is {type(fn).__name__}, of which no draw can be made from given noise. "
                "Register how with primo_pyro.program.from_noise.register."
            ) from error
        msg["done"] = True


def noise_columns(model, h: Representations) -> dict[str, slice]:
    """The columns of noise that each latent site of a model takes, in the order of the story."""
    with _outside_of_training(model):
        trace = poutine.trace(_unlabelled(model, 1)).get_trace(h[:1])
    columns, start = {}, 0
    for name in trace.stochastic_nodes:
        if not site_is_subsample(trace.nodes[name]):
            columns[name] = slice(start, start + noise_size(trace.nodes[name]["fn"]))
            start = columns[name].stop
    return columns


def _unlabelled(model, rows: int):
    """The model with its label held at any value: predictions are read off the parameters of its law."""
    return poutine.condition(model, {"y": model.outcome.placeholder(rows).to(_device(model))})


def _device(model) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _outside_of_training(model) -> Iterator[None]:
    """Neither the random state that others draw from nor Pyro's list of parameters is changed."""
    device = _device(model)
    forked = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with torch.no_grad(), forked, pyro.get_param_store().scope():
        yield


def draw(model, h: Representations, points: Tensor, sites: Iterable[str]) -> dict[str, Tensor]:
    """Sites of the model by name, each ``[K, B, ...]``, where its latents have the given noise ``[K, D]``."""
    unlabelled = _unlabelled(model, len(h))
    predictive = Predictive(unlabelled, num_samples=len(points), parallel=True, return_sites=tuple(sites))
    with _outside_of_training(model), NormalDraws(points):  # Predictive runs the model more often than once
        return predictive(h)


def draw_parameters(model, h: Representations, points: Tensor) -> Tensor:
    """Parameters ``[K, B, P]`` of p(y | x_o, z_k), z_k from the prior with the given noise ``[K, D]``."""
    site = model.outcome.parameters_site
    return draw(model, h, points, [site])[site]


@dataclass(frozen=True)
class Summary:
    """What a set of draws says about each of N rows.

    Attributes
    ----------
    prediction
        Average prediction ``[N, Q]`` (Eq. 8), as the outcome represents it.
    impact
        V ``[N]``, the expected distance of a draw's prediction from the average (Eq. 9).
    impact_se
        Its Monte Carlo standard error, from independent replicates.
    flip
        Share of draws whose most probable label is not the average's; NaN where labels cannot be counted.
    information_gain
        H(average) - mean of H(draw), in nats: the expected drop in log loss if z were known.
    log_likelihood
        log of the average of p(y | x_o, z) ``[N]``, where labels were given.
    """

    prediction: np.ndarray
    impact: np.ndarray
    impact_se: np.ndarray
    flip: np.ndarray
    information_gain: np.ndarray
    log_likelihood: np.ndarray | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """The prediction, for outcomes where it consists of probabilities of classes or labels."""
        return self.prediction

    @staticmethod
    def joined(parts: Iterable[Summary]) -> Summary:
        """The summary of all rows from those of some rows each, in order."""
        columns = zip(*([getattr(part, f.name) for f in fields(Summary)] for part in parts), strict=True)
        return Summary(*(None if column[0] is None else np.concatenate(column) for column in columns))


def summarise(
    model: nn.Module,
    x: Modalities | Representations,
    y: Tensor | None = None,
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
    y
        Labels of the N rows as the model takes them, for their likelihood.
    num_samples
        Draws K per row.
    kind, seed
        See `standard_normal_points`.
    modality
        Vary the latents about this modality alone, the others averaged out (K draws of each).
    max_cells
        Rows times draws worked on at a time; it bounds memory.
    """
    with _evaluated(model):
        points = _points_for(model, encode(model, x[:1]), num_samples, kind, seed, modality)
        outer, inner, _ = points.shape
        # Few enough rows that the predictions of all their draws can be held: V needs their average first.
        held = HELD // (outer * model.outcome.prediction_size)
        rows = max(1, min(held, max_cells // min(outer * inner, DRAWS_AT_A_TIME)))
        parts = []
        for start in range(0, len(x), rows):
            h = encode(model, x[start : start + rows])
            labels = None if y is None else y[start : start + rows]
            parts.append(_summarise_rows(model, h, labels, points, max_cells))
    return Summary.joined(parts)


def summarise_until(
    model: nn.Module, x: Modalities, tolerance: float, *, num_samples: int, modality: str | None, **settings
) -> Summary:
    """`summarise`, with draws doubled for the rows whose standard error of V is above ``tolerance``.

    Warns
    -----
    ToleranceWarning
        Where `MAX_SAMPLES` draws a row are not enough (`MAX_NESTED_SAMPLES`, where other latents are averaged
        out for each of them).
    """
    settings |= {"modality": modality}
    summary = summarise(model, x, num_samples=num_samples, **settings)
    most = MAX_NESTED_SAMPLES if modality is not None and len(model.latents) > 1 else MAX_SAMPLES
    while (rows := np.flatnonzero(~(summary.impact_se <= tolerance))).size:
        num_samples *= 2
        if num_samples > most:
            warnings.warn(
                f"{len(rows)} of {len(x)} rows have a standard error above {tolerance} (the largest: "
                f"{summary.impact_se.max():.2g}) with {num_samples // 2} draws. Raise the tolerance.",
                ToleranceWarning,
                stacklevel=4,
            )
            break
        better = summarise(model, x[rows], num_samples=num_samples, **settings)
        for f in fields(Summary):
            if getattr(summary, f.name) is not None:
                getattr(summary, f.name)[rows] = getattr(better, f.name)
    return summary


def summarise_draws(p: Tensor, outcome: Outcome | None = None, log_p: Tensor | None = None) -> Summary:
    """The same from draws at hand: predictions ``[K, N, Q]``, of which each eighth is a replicate.

    Parameters
    ----------
    p
        Predictions of an ``outcome``; None: probabilities of Q classes.
    log_p
        log p(y | x_o, z_k) ``[K, N]`` of the labels.

    Examples
    --------
    >>> certain = torch.eye(2)[[0, 1, 0, 1]][:, None]  # four draws of one row, that say 0, 1, 0, 1
    >>> summary = summarise_draws(certain)
    >>> summary.probabilities, summary.impact
    (array([[0.5, 0.5]]), array([0.5]))
    """
    outcome = Categorical(p.shape[-1]) if outcome is None else outcome
    p = p.double()
    mean = p.mean(0)
    distance = outcome.distance(p, mean)  # [K, N]
    impact = distance.mean(0)
    replicates = torch.stack([part.mean(0) for part in distance.split(replicate_sizes(len(p)))])
    alone = len(replicates) == 1
    error = torch.full_like(impact, torch.nan) if alone else replicates.std(0) / len(replicates) ** 0.5
    gain = (outcome.entropy(mean) - outcome.entropy(p).mean(0)).clamp(min=0)
    likelihood = None if log_p is None else (log_p.double().logsumexp(0) - np.log(len(log_p))).cpu().numpy()
    parts = outcome.normalise(mean), impact, error, _flips(outcome, p, mean), gain
    return Summary(*(t.cpu().numpy() for t in parts), likelihood)


def _flips(outcome: Outcome, p: Tensor, mean: Tensor) -> Tensor:
    now, then = outcome.decide(mean), outcome.decide(p)
    if now is None or then is None:
        return torch.full_like(mean[..., 0], torch.nan)
    differ = then != now  # [K, N], or [K, N, L] of several labels
    return differ.flatten(2).any(-1).double().mean(0) if differ.dim() > 2 else differ.double().mean(0)


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and back in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _points_for(model, h: Representations, num_samples: int, kind: str, seed: int, modality) -> Tensor:
    """Noise ``[K, J, D]``: the prediction of draw k is the average over its J inner draws."""
    columns = noise_columns(model, h)
    dimension = max((c.stop for c in columns.values()), default=0)
    points = standard_normal_points(num_samples, dimension, kind, seed)[:, None]  # [K, 1, D]
    if modality is not None and len(model.latents) > 1:
        inner = standard_normal_points(num_samples, dimension, kind, seed + 1)[None]  # [1, K, D]
        own = torch.zeros(dimension, dtype=torch.bool)
        for name, latent in model.latents.items():
            if modality in latent.about:
                own[columns[f"z_{name}"]] = True
        points = torch.where(own, points, inner)
    return points.to(next(model.parameters()))


@torch.no_grad()
def _summarise_rows(model, h: Representations, y: Tensor | None, points: Tensor, max_cells: int) -> Summary:
    outer, inner, _ = points.shape
    per_pass = max(1, max_cells // (len(h) * inner))
    predictions, log_ps = [], []
    for start in range(0, outer, per_pass):
        part = points[start : start + per_pass]
        parameters = draw_parameters(model, h, part.flatten(0, 1))  # [k J, B, P]
        p = model.outcome.predict(parameters)
        predictions.append(p.reshape(len(part), inner, len(h), -1).mean(1))
        if y is not None:
            log_ps.append(model.outcome.distribution(parameters).log_prob(y))
    return summarise_draws(
        torch.cat(predictions), model.outcome, torch.cat(log_ps) if y is not None else None
    )


@torch.no_grad()
def stream_draws(
    model: nn.Module,
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
    with _evaluated(model):
        points = _points_for(model, encode(model, x[:1]), num_samples, kind, seed, None)[:, 0]
        rows = max(1, max_cells // num_samples)
        for start in range(0, len(x), rows):
            drawn = draw(model, encode(model, x[start : start + rows]), points, sites)
            yield {site: values.cpu().numpy() for site, values in drawn.items()}
