"""Prediction and impact: average over the latents, and how far single draws lie from that average.

Rows are taken so few at a time that the predictions of all their draws can be held, and only averages are
kept: memory grows neither with rows nor, until the draws of a single row pass 2^22 numbers, with draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from primo_pyro.direct import Moments, direct_priors, is_direct
from primo_pyro.draws import (
    draw,
    draw_parameters,
    noise_columns,
    replicate_sizes,
    sobol_points,
    standard_normal_points,
)
from primo_pyro.errors import ToleranceWarning, warn
from primo_pyro.locks import one_at_a_time
from primo_pyro.members import Members, seed_of_member
from primo_pyro.modalities import Modalities
from primo_pyro.program.encoders import Representations, encode
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.protocols import Story
from primo_pyro.summaries import MeasuredSummary, Summary, summarise_draws

__all__ = [
    "Measure",
    "MeasuredSummary",
    "Summary",
    "stream_draws",
    "summarise",
    "summarise_draws",
    "summarise_questions",
    "summarise_until",
]

HELD = 2**22  # numbers of predictions held at a time
DRAWS_AT_A_TIME = 512  # more than these for a row do not make its pass faster
MAX_SAMPLES = 2**14  # draws per row that a tolerance may ask for

# What else is to be kept of the draws of some rows: from their predictions [K, n, Q], the averages [1, n, Q]
# or [K, n, Q] that each draw is compared with, and the positions of the rows, to numbers [n, ...].
Measure = Callable[[Tensor, Tensor, slice], Tensor]


def summarise(
    model: Story | Members,
    x: Modalities | Representations,
    y: Tensor | None = None,
    *,
    num_samples: int,
    kind: str = "sobol",
    seed: int = 0,
    about: Iterable[str] | Mapping[str, np.ndarray] | None = None,
    max_cells: int = 2**16,
    measures: Mapping[str, Measure] | None = None,
) -> Summary:
    """Average the predictions of ``x`` over the latents, and measure how they vary.

    Parameters
    ----------
    model
        A `PrimoModel`, or `Members`, of each of which K draws are made.
    y
        Labels of the N rows as the model takes them, for their likelihood.
    num_samples
        Draws K per row.
    kind, seed
        See `standard_normal_points`.
    about
        The absent modalities that rows ask about, whose latents are then in play beside those of present
        ones: names, or modality to booleans ``[N]``; None: all.
    max_cells
        Rows times draws worked on at a time; it bounds memory.
    measures
        What else to keep of the draws, by name; see `Measure`.
    """
    if isinstance(model, Members):
        settings: dict[str, Any] = {"num_samples": num_samples, "kind": kind, "max_cells": max_cells}
        settings["measures"] = measures
        about = about if about is None or isinstance(about, Mapping) else tuple(about)
        return Summary.of_members(
            [summarise(m, x, y, seed=s, about=about, **settings) for m, s in _seeded(model, seed)],
            model.outcome,
        )
    if about is not None and not isinstance(about, Mapping):
        about = dict.fromkeys(about, np.ones(len(x), bool))
    with _evaluated(model):
        draws = _Draws(model, x, num_samples, kind, seed, max_cells)
    parts = []
    for start in range(0, len(x), draws.rows):
        some = slice(start, start + draws.rows)
        with _evaluated(model):  # of these rows alone: other threads predict in between
            h = encode(model, x[some])
            if about is not None:
                h = h.ask({m: _as_rows(rows_of[some], h) for m, rows_of in about.items()})
            at = slice(start, start + len(h))
            asked = {name: partial(_of_rows, measure, at) for name, measure in (measures or {}).items()}
            parts.append(draws.summarise(h, None if y is None else y[some], measures=asked))
    return Summary.joined(parts)


def summarise_questions(
    model: Story | Members,
    x: Modalities,
    rows_of: Mapping[tuple[str, ...], np.ndarray],
    *,
    num_samples: int,
    kind: str = "sobol",
    seed: int = 0,
    max_cells: int = 2**16,
) -> dict[tuple[str, ...], Summary]:
    """`summarise` of several questions, which share the encoding of the rows.

    Parameters
    ----------
    rows_of
        For each set of absent modalities that is asked about, the positions in ``x`` of the rows that ask, in
        rising order and at least one.
    **others
        As of `summarise`.

    Returns
    -------
    dict
        The summaries, of the rows of each question.
    """
    if isinstance(model, Members):
        settings: dict[str, Any] = {"num_samples": num_samples, "kind": kind, "max_cells": max_cells}
        each = [summarise_questions(m, x, rows_of, seed=s, **settings) for m, s in _seeded(model, seed)]
        return {about: Summary.of_members([one[about] for one in each], model.outcome) for about in rows_of}
    parts: dict[tuple[str, ...], list[Summary]] = {about: [] for about in rows_of}
    with _evaluated(model):
        draws = _Draws(model, x, num_samples, kind, seed, max_cells)
    for start in range(0, len(x), draws.rows):
        with _evaluated(model):
            h = encode(model, x[start : start + draws.rows])
            priors = draws.priors(h)
            for about, rows in rows_of.items():
                first, last = np.searchsorted(rows, (start, start + draws.rows))
                if first < last:
                    some = rows[first:last] - start
                    of_some = {name: (loc[some], scale[some]) for name, (loc, scale) in priors.items()}
                    parts[about].append(draws.summarise(h[some].ask(about), None, of_some))
    return {about: Summary.joined(of_chunks) for about, of_chunks in parts.items()}


def _seeded(members: Members, seed: int) -> Iterable[tuple[Story, int]]:
    return ((model, seed_of_member(seed, member)) for member, model in enumerate(members))


def summarise_until(
    model: Story | Members, x: Modalities, tolerance: float, *, num_samples: int, **settings: Any
) -> Summary:
    """`summarise`, with draws doubled for the rows whose standard error of V is above ``tolerance``.

    Warns
    -----
    ToleranceWarning
        Where `MAX_SAMPLES` draws a row are not enough.
    """
    summary = summarise(model, x, num_samples=num_samples, **settings)
    while (rows := np.flatnonzero(~(summary.impact_se <= tolerance))).size:
        num_samples *= 2
        if num_samples > MAX_SAMPLES:
            warn(
                f"{len(rows)} of {len(x)} rows have a standard error above {tolerance} (the largest: "
                f"{summary.impact_se.max():.2g}) with {num_samples // 2} draws; expected at most that. Raise "
                "the tolerance.",
                ToleranceWarning,
            )
            break
        better = summarise(model, x[rows], num_samples=num_samples, **settings)
        for f in fields(Summary):
            if getattr(summary, f.name) is not None:
                getattr(summary, f.name)[rows] = getattr(better, f.name)
    return summary


def _of_rows(measure: Measure, rows: slice, p: Tensor, centre: Tensor) -> Tensor:
    return measure(p, centre, rows)


@contextmanager
def _evaluated(model: Story) -> Iterator[None]:
    """The model in evaluation mode and for this thread alone, and back in the mode that it was in."""
    with one_at_a_time():
        was_training = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


def _as_rows(booleans: np.ndarray, h: Representations) -> Tensor:
    return torch.as_tensor(booleans, device=h.fused().device)


def _points(model: Story, columns: Mapping[str, slice], num_samples: int, kind: str, seed: int) -> Tensor:
    dimension = max((c.stop for c in columns.values()), default=0)
    return standard_normal_points(num_samples, dimension, kind, seed).to(next(model.parameters()))


def _held_points(points: Tensor, seed: int) -> Tensor:
    """Noise for latents whose modality is present beside absent ones: one point for each replicate of draws.

    What varies within a replicate is then what is absent alone.
    """
    sizes = replicate_sizes(len(points))
    each = sobol_points(len(sizes), points.shape[1], seed)
    return each.repeat_interleave(torch.tensor(sizes), dim=0).to(points)


def _known_latents(model: Story, h: Representations) -> dict[str, Tensor]:
    """Rows ``[B]`` in which the site of a latent is known, but for its spread, while another one is not."""
    absent = model.something_absent(h)
    return {f"z_{name}": absent & h.all_present(latent.about) for name, latent in model.latents.items()}


class _Draws:
    """K draws for all rows of a model, and how many rows are worked on at a time."""

    def __init__(
        self,
        model: Story,
        x: Modalities | Representations,
        num_samples: int,
        kind: str,
        seed: int,
        max_cells: int,
    ):
        self.model, self.direct = model, is_direct(model)
        self.columns = noise_columns(model, encode(model, x[:1]))
        self.points = _points(model, self.columns, num_samples, kind, seed)
        self.held_points = _held_points(self.points, seed)
        self.max_cells = max_cells
        # Few enough rows that the predictions of all their draws can be held: V needs their average first.
        held = HELD // (num_samples * model.outcome.prediction_size)
        at_a_time = num_samples if self.direct else min(num_samples, DRAWS_AT_A_TIME)
        self.rows = max(1, min(held, max_cells // at_a_time))

    def priors(self, h: Representations) -> Moments:
        """What several questions about rows have in common, where the story is the package's own."""
        return direct_priors(cast(PrimoModel, self.model), h) if self.direct else {}

    @torch.no_grad()
    def summarise(
        self,
        h: Representations,
        y: Tensor | None,
        priors: Moments | None = None,
        measures: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
    ) -> Summary:
        """Of some rows, with labels or without; ``priors`` are theirs, where they are known already."""
        model, outcome = self.model, self.model.outcome
        absent, known = model.something_absent(h), _known_latents(model, h)
        mixed = torch.stack(list(known.values())).any(0) if known else absent & False
        hold = bool(mixed.any())
        per_pass = len(self.points) if self.direct else max(1, self.max_cells // len(h))
        predictions, log_ps = [], []
        for start in range(0, len(self.points), per_pass):
            some = slice(start, start + per_pass)
            held = (self.held_points[some], known) if hold else None
            settings: dict[str, Any] = {"columns": self.columns, "held": held}
            if self.direct:
                settings["priors"] = priors
            parameters = draw_parameters(model, h, self.points[some], **settings)
            predictions.append(outcome.predict(parameters))  # [k, B, Q]
            if y is not None:
                log_ps.append(outcome.distribution(parameters).log_prob(y))
        p = predictions[0] if len(predictions) == 1 else torch.cat(predictions)
        log_p = torch.cat(log_ps) if y is not None else None
        return summarise_draws(p, outcome, log_p, absent, mixed, measures)


@torch.no_grad()
def stream_draws(
    model: Story,
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
        columns = noise_columns(model, encode(model, x[:1]))
    points = _points(model, columns, num_samples, kind, seed)
    held_points = _held_points(points, seed)
    rows = max(1, max_cells // num_samples)
    for start in range(0, len(x), rows):
        with _evaluated(model):
            h = encode(model, x[start : start + rows])
            held = held_points, _known_latents(model, h)
            drawn = draw(model, h, points, sites, columns=columns, held=held)
        yield {site: values.cpu().numpy() for site, values in drawn.items()}
