"""Draws of a model's latents from noise that is given, all rows from the same.

``Predictive`` runs the model over many draws at once, and a handler supplies their noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import Predictive
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from primo_pyro.direct import direct_columns, direct_parameters, is_direct
from primo_pyro.errors import DrawsError
from primo_pyro.locks import one_at_a_time
from primo_pyro.modalities import Modalities
from primo_pyro.parameters import OneOf, check_parameter
from primo_pyro.program.distributions import from_noise, noise_size
from primo_pyro.program.encoders import Representations, encode
from primo_pyro.program.protocols import LabelProgram

__all__ = [
    "NormalDraws",
    "draw",
    "draw_parameters",
    "noise_columns",
    "replicate_sizes",
    "sobol_points",
    "standard_normal_points",
]

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
    check_parameter("kind", kind, OneOf("sobol", "independent"))
    generator = torch.Generator().manual_seed(seed)
    if kind == "independent" or dimension == 0:
        return torch.randn(num_samples, dimension, generator=generator, dtype=torch.float64)
    sizes = replicate_sizes(num_samples)
    scrambles = [int(torch.randint(2**31, (), generator=generator)) for _ in sizes]
    return torch.cat([sobol_points(size, dimension, s) for size, s in zip(sizes, scrambles, strict=True)])


def sobol_points(num_samples: int, dimension: int, seed: int) -> Tensor:
    """One scrambled Sobol sequence ``[num_samples, dimension]``, mapped by the normal quantile function.

    >>> sobol_points(8, 2, seed=0).shape
    torch.Size([8, 2])
    """
    if dimension == 0:
        return torch.zeros(num_samples, 0, dtype=torch.float64)
    most = torch.quasirandom.SobolEngine.MAXDIM
    if dimension > most:
        raise DrawsError(
            f"The latents take {dimension} numbers a draw; expected at most {most}, for which Sobol "
            'sequences are known. Lower latent_dim, or set draws="independent".'
        )
    engine = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed)
    uniform = engine.draw(num_samples, dtype=torch.float64)
    return torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9))


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
    columns
        The columns of each site; sites that are not named take the next ones.
    plate
        Name of the plate over draws; the default is that of ``Predictive(parallel=True)``.
    held
        Points ``[K, D]`` to use in place of ``points`` in some rows, and per site the booleans ``[B]`` that
        say in which.

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

    def __init__(
        self,
        points: Tensor,
        columns: Mapping[str, slice] | None = None,
        *,
        plate: str = "_num_predictive_samples",
        held: tuple[Tensor, Mapping[str, Tensor]] | None = None,
    ):
        super().__init__()
        self.points = points
        self.plate = plate
        self.columns = dict(columns or {})
        self.held = held

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"] or site_is_subsample(msg):
            return
        fn, name = msg["fn"], msg["name"]
        start = max((c.stop for c in self.columns.values()), default=0)
        columns = self.columns.setdefault(name, slice(start, start + noise_size(fn)))
        if columns.stop > self.points.shape[1]:
            raise DrawsError(
                f"The points have {self.points.shape[1]} columns; latent {name!r} needs columns up to "
                f"{columns.stop}, expected of all. Draw points with the sum of what all latents take, see "
                "noise_columns."
            )
        over_draws = [frame.dim for frame in msg["cond_indep_stack"] if frame.name == self.plate]

        def shaped(points: Tensor) -> Tensor:
            noise = points[:, columns]  # [K, n]
            if not over_draws:  # a run without draws, as Predictive makes to learn the shapes
                return noise[0]
            # [K, 1, n], the plate's dimension counted from the batch's right
            return noise.reshape(len(noise), *[1] * (-over_draws[0] - 1), noise.shape[1])

        noise = shaped(self.points)
        if self.held is not None and name in self.held[1]:
            noise = torch.where(self.held[1][name][:, None], shaped(self.held[0]), noise)  # [K, B, n]
        try:
            msg["value"] = from_noise(fn, noise)
        except NotImplementedError as error:
            raise DrawsError(
                f"Latent {name!r} is {type(fn).__name__}, of which no draw can be made from given noise; "
                "expected a distribution that is registered. Register how with "
                "primo_pyro.program.from_noise.register."
            ) from error
        msg["done"] = True


def noise_columns(model: LabelProgram, h: Modalities | Representations) -> dict[str, slice]:
    """The columns of noise that each latent site of a model takes, in the order of the story."""
    if is_direct(model):
        return direct_columns(model)
    with _outside_of_training(model):
        trace = poutine.trace(_unlabelled(model, 1)).get_trace(h[:1])
    columns, start = {}, 0
    for name in trace.stochastic_nodes:
        site: Any = trace.nodes[name]
        if not site_is_subsample(site):
            columns[name] = slice(start, start + noise_size(site["fn"]))
            start = columns[name].stop
    return columns


def _unlabelled(model: LabelProgram, rows: int) -> Callable[..., Tensor]:
    """The model with its label held at any value: predictions are read off the parameters of its law."""
    return poutine.condition(model, {"y": model.outcome.placeholder(rows).to(_device(model))})


def _device(model: LabelProgram) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _outside_of_training(model: LabelProgram) -> Iterator[None]:
    """Neither the random state that others draw from nor Pyro's list of parameters is changed."""
    device = _device(model)
    with one_at_a_time(), torch.no_grad():
        forked = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with forked, pyro.get_param_store().scope():
            yield


def draw(
    model: LabelProgram,
    h: Modalities | Representations,
    points: Tensor,
    sites: Iterable[str],
    **noise: Any,
) -> dict[str, Tensor]:
    """Sites of the model by name, each ``[K, B, ...]``, where its latents have the given noise ``[K, D]``.

    ``noise`` are further parameters of `NormalDraws`.
    """
    unlabelled = _unlabelled(model, len(h))
    predictive = Predictive(unlabelled, num_samples=len(points), parallel=True, return_sites=tuple(sites))
    with (
        _outside_of_training(model),
        NormalDraws(points, **noise),
    ):  # Predictive runs the model more than once
        return predictive(h)


def draw_parameters(
    model: LabelProgram, h: Modalities | Representations, points: Tensor, **noise: Any
) -> Tensor:
    """Parameters ``[K, B, P]`` of p(y | x_o, z_k), z_k from the prior with the given noise ``[K, D]``.

    Of the package's own story they are computed without Pyro, see `primo_pyro.direct`.
    """
    if is_direct(model):
        return direct_parameters(model, encode(model, h), points, **noise)
    site = model.outcome.parameters_site
    return draw(model, h, points, [site], **noise)[site]
