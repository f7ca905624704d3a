"""What a set of draws says about each row: the average prediction, V, and what else is asked of the draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from primo_pyro.draws import replicate_sizes
from primo_pyro.program.outcomes import Categorical, Outcome

__all__ = ["MeasuredSummary", "Summary", "summarise_draws"]


@dataclass(frozen=True)
class Summary:
    """What a set of draws says about each of N rows.

    Attributes
    ----------
    prediction
        Average prediction ``[N, Q]`` (Eq. 8), as the outcome represents it.
    impact
        V ``[N]``, the expected distance between the prediction once the latents of absent modalities are
        known and the average (Eq. 9). Latents of present modalities do not count: where nothing in play is
        absent V is 0, and where other modalities are present it is the average over their latents.
    impact_se
        Its Monte Carlo standard error, from independent replicates.
    flip
        Share of draws whose most probable label is not the average's; NaN where labels cannot be counted.
    information_gain
        H(average) - mean of H(draw), in nats: the expected drop in log loss if the absent latents were known.
    spread
        Expected distance of a draw's prediction from the average over all latents, those of present
        modalities too. On complete rows it is the paper's V_complete, which should be small.
    log_likelihood
        log of the average of p(y | x_o, z) ``[N]``, where labels were given; None otherwise.
    disagreement
        Of several members: expected distance ``[N]`` of a member's prediction from the average over members,
        what the model does not know, whatever is absent; None of one.
    """

    prediction: np.ndarray
    impact: np.ndarray
    impact_se: np.ndarray
    flip: np.ndarray
    information_gain: np.ndarray
    spread: np.ndarray
    log_likelihood: np.ndarray | Any = None  # None without labels; who gave labels need not ask
    disagreement: np.ndarray | Any = None

    @property
    def probabilities(self) -> np.ndarray:
        """The prediction, for outcomes where it consists of probabilities of classes or labels."""
        return self.prediction

    @staticmethod
    def joined(parts: Iterable[Summary]) -> Summary:
        """The summary of all rows from those of some rows each, in order."""
        parts = list(parts)
        columns = zip(*([getattr(part, f.name) for f in fields(Summary)] for part in parts), strict=True)
        joined: list[Any] = [None if column[0] is None else np.concatenate(column) for column in columns]
        if not isinstance(parts[0], MeasuredSummary):
            return Summary(*joined)
        several = [part.measured for part in parts if isinstance(part, MeasuredSummary)]
        measured = {name: np.concatenate([m[name] for m in several]) for name in several[0]}
        return MeasuredSummary(**vars(Summary(*joined)), measured=measured)

    @staticmethod
    def of_members(members: Sequence[Summary], outcome: Outcome) -> Summary:
        """The summary of an average over members, from that of each on the same rows.

        What is about absence is the average of what each member says: a draw is compared with its own
        member's prediction, since latents of different members have nothing in common.

        >>> yes, no = (summarise_draws(torch.eye(2)[[c, c]][:, None]) for c in (0, 1))  # certain, and opposed
        >>> both = Summary.of_members([yes, no], Categorical(2))
        >>> both.prediction, both.impact, both.disagreement
        (array([[0.5, 0.5]]), array([0.]), array([0.5]))
        """

        def mean(name: str) -> np.ndarray:
            return np.mean([getattr(member, name) for member in members], axis=0)

        prediction = mean("prediction")
        likelihood = None
        if members[0].log_likelihood is not None:
            likelihood = logsumexp([m.log_likelihood for m in members], axis=0) - np.log(len(members))
        summary = Summary(
            prediction=prediction,
            impact=mean("impact"),
            impact_se=np.sqrt(np.square([m.impact_se for m in members]).sum(0)) / len(members),
            flip=mean("flip"),
            information_gain=mean("information_gain"),
            spread=mean("spread"),
            log_likelihood=likelihood,
            disagreement=np.mean([outcome.distance(m.prediction, prediction) for m in members], axis=0),
        )
        if not isinstance(members[0], MeasuredSummary):
            return summary
        several = [member.measured for member in members if isinstance(member, MeasuredSummary)]
        measured = {name: np.mean([m[name] for m in several], axis=0) for name in several[0]}
        return MeasuredSummary(**vars(summary), measured=measured)


@dataclass(frozen=True)
class MeasuredSummary(Summary):
    """A summary with what else was asked of the draws in ``measures``: arrays ``[N, ...]`` by name."""

    measured: Mapping[str, np.ndarray] = field(default_factory=dict)


def summarise_draws(
    p: Tensor,
    outcome: Outcome | None = None,
    log_p: Tensor | None = None,
    absent: Tensor | None = None,
    mixed: Tensor | None = None,
    measures: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
) -> Summary:
    """The same from draws at hand: predictions ``[K, N, Q]``, of which each eighth is a replicate.

    Parameters
    ----------
    p
        Predictions of an ``outcome``; None: probabilities of Q classes.
    log_p
        log p(y | x_o, z_k) ``[K, N]`` of the labels.
    absent
        Booleans ``[N]``: rows in which something in play is absent; None: all.
    mixed
        Booleans ``[N]``: rows of these in which latents of present modalities vary between replicates, and
        not within; None: none.

    Examples
    --------
    >>> certain = torch.eye(2)[[0, 1, 0, 1]][:, None]  # four draws of one row, that say 0, 1, 0, 1
    >>> summary = summarise_draws(certain)
    >>> summary.probabilities, summary.impact
    (array([[0.5, 0.5]]), array([0.5]))
    """
    outcome = Categorical(p.shape[-1]) if outcome is None else outcome
    sizes = replicate_sizes(len(p))
    parts = p.split(sizes)
    mean = _mean(p)
    distance = outcome.distance(p, mean.to(p.dtype))  # [K, N]
    entropy = _mean(outcome.entropy(p))
    gain = outcome.entropy(mean) - entropy
    flips = outcome.flips(p, mean)
    flip = torch.full_like(mean[..., 0], torch.nan) if flips is None else _mean(flips)
    spread, centre = _mean(distance), mean[None]
    if mixed is not None and mixed.any():
        means = [_mean(part) for part in parts]
        within = [outcome.distance(part, m.to(p.dtype)) for part, m in zip(parts, means, strict=True)]
        distance = torch.where(mixed, torch.cat(within), distance)
        of_means = sum(size * outcome.entropy(m) for size, m in zip(sizes, means, strict=True)) / len(p)
        gain = torch.where(mixed, of_means - entropy, gain)
        if measures:
            within_means = torch.cat(
                [m.expand(len(part), *m.shape) for part, m in zip(parts, means, strict=True)]
            )
            centre = torch.where(mixed[:, None], within_means, centre)
    impact = _mean(distance)
    replicates = torch.stack([_mean(part) for part in distance.split(sizes)])
    alone = len(replicates) == 1
    error = torch.full_like(impact, torch.nan) if alone else replicates.std(0) / len(replicates) ** 0.5
    about_absence: tuple[Tensor, ...] = (impact, error, flip, gain.clamp(min=0))
    if absent is not None:
        about_absence = tuple(torch.where(absent, t, torch.zeros_like(t)) for t in about_absence)
    likelihood = None if log_p is None else (log_p.double().logsumexp(0) - np.log(len(log_p))).cpu().numpy()
    numbers = outcome.normalise(mean), *about_absence, spread
    columns: list[Any] = [*(t.cpu().numpy() for t in numbers), likelihood]
    if not measures:
        return Summary(*columns)
    measured = {name: measure(p, centre).cpu().numpy() for name, measure in measures.items()}
    return MeasuredSummary(**vars(Summary(*columns)), measured=measured)


def _mean(draws: Tensor) -> Tensor:
    """Over draws ``[K, ...]`` of any precision, summed in double."""
    return draws.mean(0, dtype=torch.float64)
