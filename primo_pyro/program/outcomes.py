"""Outcomes: everything in the method that depends on what kind of thing a label is.

An outcome turns the numbers that the likelihood puts out into a distribution of the label and into a
*prediction*: a vector that may be averaged over the draws of the latents. Between two predictions it has a
distance, and the expected distance of a draw from the average of all draws is the impact V (Eq. 9).

=================  ==============================  ====================================================
outcome            prediction                      distance
=================  ==============================  ====================================================
`Categorical`      probabilities of C classes      total variation
`Ordinal`          probabilities of C classes      1-Wasserstein, in units of the whole scale
`Multilabel`       probabilities of L labels       total variation, mean over the labels
`Normal`           integrals of the distribution   1-Wasserstein, in units of the label's spread
                   function over cells
=================  ==============================  ====================================================

An outcome of your own is a subclass of `Outcome`. Sizes: K draws, B rows, P parameters, Q numbers of a
prediction. Methods that take predictions work on arrays and on tensors.
"""

from __future__ import annotations

import functools
import math
import operator
from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

import numpy as np
import pyro.distributions as dist
import scipy.special
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from scipy.linalg import helmert
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Categorical",
    "Multilabel",
    "Normal",
    "Ordinal",
    "Outcome",
    "entropy",
    "outcome_named",
    "total_variation",
]

Values = TypeVar("Values", np.ndarray, Tensor)
FEW = 16  # classes; of more, one call of torch is the faster


def total_variation(p: Values, r: Values) -> Values:
    """TVD(p, r) = 1/2 sum_c |p_c - r_c|, between 0 and 1; the last axis holds classes.

    >>> total_variation(np.array([0.9, 0.1]), np.array([0.5, 0.5])).item()
    0.4
    """
    return _summed(abs(p - r)) / 2


def entropy(p: Values) -> Values:
    """H(p) = -sum_c p_c log p_c in nats; 0 log 0 is 0. The last axis holds classes.

    >>> round(float(entropy(np.array([0.5, 0.5]))), 4), float(entropy(np.array([1.0, 0.0])))
    (0.6931, 0.0)
    """
    return _summed(_entr(p))


def _summed(values: Values) -> Values:
    """Over the last axis. Draws have a plane for each class, and few planes are added faster than summed."""
    if isinstance(values, Tensor) and values.shape[-1] <= FEW:
        return functools.reduce(operator.add, values.unbind(-1))
    return values.sum(-1)


def _entr(p: Values) -> Values:
    return torch.special.entr(p) if isinstance(p, Tensor) else scipy.special.entr(p)


class Outcome(nn.Module, ABC):
    """What a label is; the base of all outcomes.

    Attributes
    ----------
    name
        How the estimators and saved models call it.
    num_parameters
        Numbers P that the likelihood puts out for a row.
    num_features
        Numbers that the guide sees of a label.
    prediction_size
        Numbers Q of a prediction.
    largest_impact
        The largest V there is, or, where V has no bound, the V of a label about which nothing is known and
        which the modality tells exactly. The objective measures the forecast in it.
    parameters_site
        Name of the model's site that holds the parameters.
    """

    name: ClassVar[str]
    parameters_site: ClassVar[str] = "logits"
    num_parameters: int
    num_features: int
    prediction_size: int
    largest_impact: float

    @abstractmethod
    def distribution(self, parameters: Tensor) -> TorchDistributionMixin:
        """p(y | ...) for parameters ``[..., B, P]``: batch ``[..., B]``."""

    @abstractmethod
    def features(self, y: Tensor) -> Tensor:
        """What the guide sees of labels ``y``: ``[B, num_features]``."""

    @abstractmethod
    def predict(self, parameters: Tensor) -> Tensor:
        """The prediction ``[..., Q]`` of parameters ``[..., P]``."""

    @abstractmethod
    def distance(self, p: Values, q: Values) -> Values:
        """Distance ``[...]`` of two predictions ``[..., Q]``."""

    @abstractmethod
    def entropy(self, p: Values) -> Values:
        """Uncertainty ``[...]`` of a prediction in nats."""

    @abstractmethod
    def placeholder(self, rows: int) -> Tensor:
        """Labels for ``rows`` rows, of the right type and of no meaning."""

    def coordinates(self, parameters: np.ndarray) -> np.ndarray:
        """Parameters ``[..., P]`` as points ``[..., D]`` that differ only where the label's law does."""
        return parameters

    def carried_over(self, parameters: np.ndarray, other: Outcome) -> np.ndarray:
        """Parameters ``[..., P]`` of another outcome of this kind, as they would be of this one."""
        return parameters

    def normalise(self, p: Tensor) -> Tensor:
        """A prediction ``[..., Q]`` that was averaged in floating point, made a prediction again."""
        return p

    def decide(self, p: Values) -> Values | None:
        """The most probable label of a prediction ``[..., Q]``, or None where labels cannot be counted."""
        return None

    def flips(self, p: Tensor, average: Tensor) -> Tensor | None:
        """Booleans ``[K, B]``: whose most probable label, of ``p`` ``[K, B, Q]``, is not ``average``'s.

        None where labels cannot be counted.
        """
        single, of_average = self.decide(p), self.decide(average)
        if single is None or of_average is None:
            return None
        return (single != of_average).flatten(2).any(-1) if single.dim() > 2 else single != of_average


class Categorical(Outcome):
    """One of C classes, coded 0 to C - 1; the parameters are logits.

    V is at most 1 - 1/C: C labels, each certain in an equal share of the draws.

    >>> outcome = Categorical(3)
    >>> p = outcome.predict(torch.zeros(2, 3))
    >>> p.shape, outcome.distance(p, torch.eye(3)[:2]).tolist()
    (torch.Size([2, 3]), [0.6666666865348816, 0.6666666865348816])
    """

    name = "categorical"

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = self.num_parameters = self.num_features = self.prediction_size = num_classes
        self.largest_impact = 1 - 1 / num_classes

    def distribution(self, parameters: Tensor) -> TorchDistributionMixin:
        return dist.Categorical(logits=parameters, validate_args=False)

    def features(self, y: Tensor) -> Tensor:
        return F.one_hot(y, self.num_classes)

    def predict(self, parameters: Tensor) -> Tensor:
        if parameters.dim() > 1 and parameters.stride(0) == 1:  # draws side by side; torch would copy first
            return parameters.movedim(0, -1).softmax(-2).movedim(-1, 0)
        return parameters.softmax(-1)

    def distance(self, p: Values, q: Values) -> Values:
        return total_variation(p, q)

    def entropy(self, p: Values) -> Values:
        return entropy(p)

    def placeholder(self, rows: int) -> Tensor:
        return torch.zeros(rows, dtype=torch.long)

    def coordinates(self, parameters: np.ndarray) -> np.ndarray:
        """The C - 1 orthonormal contrasts of the logits, which have no origin."""
        return parameters @ helmert(self.num_classes).T

    def normalise(self, p: Tensor) -> Tensor:
        """Draws of single precision sum to one within 1e-7; so do their averages."""
        return p / p.sum(-1, keepdim=True)

    def decide(self, p: Values) -> Values:
        return p.argmax(-1)

    def flips(self, p: Tensor, average: Tensor) -> Tensor:
        """By largest values, which cost less to find for many draws than where they are."""
        index = average.argmax(-1)[None, :, None].expand(len(p), -1, 1)
        return p.gather(-1, index)[..., 0] < p.amax(-1)


class Ordinal(Categorical):
    """One of C ordered classes, coded 0 to C - 1: a proportional-odds model (McCullagh 1980).

    The one parameter is a score s, and with learnt cut points t_0 < ... < t_{C-2}

        P(y <= c)  =  sigmoid(t_c - s)

    The distance is that of moving probability along the scale, as a share of its length C - 1,

        W(p, q)  =  1 / (C - 1)  sum_{c < C - 1} |P_p(y <= c) - P_q(y <= c)|

    (1-Wasserstein), so that a change from "worse" to "much worse" counts less than one to "well". V is at
    most 1/2: both ends of the scale, each certain in half of the draws.

    >>> outcome = Ordinal(3)
    >>> p = torch.eye(3)
    >>> outcome.distance(p[0], p[1]).item(), outcome.distance(p[0], p[2]).item()
    (0.5, 1.0)
    """

    name = "ordinal"
    parameters_site = "score"
    # Adam moves a number by about the learning rate a step, and a score by the sum of what many weights do.
    # In tenths the cut points keep up with the scores, whose spread they are to follow.
    PACE = 10.0

    def __init__(self, num_classes: int):
        super().__init__(num_classes)
        self.num_parameters = 1
        self.largest_impact = 0.5
        # At a score of 0 all classes are equally probable.
        cuts = torch.logit(torch.arange(1, num_classes) / num_classes)
        self.first_cut = nn.Parameter(cuts[:1] / self.PACE)
        self.raw_gaps = nn.Parameter(torch.log(torch.expm1(cuts.diff())) / self.PACE)

    @property
    def cuts(self) -> Tensor:
        """The cut points t ``[C - 1]``, in rising order."""
        first, gaps = self.PACE * self.first_cut, F.softplus(self.PACE * self.raw_gaps)
        return torch.cat([first, first + gaps.cumsum(0)])

    def log_probabilities(self, parameters: Tensor) -> Tensor:
        """``[..., 1] -> [..., C]``; finite for scores far beyond the cut points too."""
        below = self.cuts - parameters  # [..., C - 1]
        first, last = F.logsigmoid(below[..., :1]), F.logsigmoid(-below[..., -1:])
        # log(sigmoid(b) - sigmoid(a)), a < b, without a difference of numbers near 1
        upper, lower = below[..., 1:], below[..., :-1]
        middle = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))
        return torch.cat([first, middle, last], dim=-1)

    def distribution(self, parameters: Tensor) -> TorchDistributionMixin:
        return dist.Categorical(logits=self.log_probabilities(parameters), validate_args=False)

    def features(self, y: Tensor) -> Tensor:
        """1 for each cut point below the label: neighbours look alike. ``[B, C]``, the first always 1."""
        return y[:, None] >= torch.arange(self.num_classes, device=y.device)

    def predict(self, parameters: Tensor) -> Tensor:
        return self.log_probabilities(parameters).exp()

    def coordinates(self, parameters: np.ndarray) -> np.ndarray:
        return parameters

    def carried_over(self, parameters: np.ndarray, other: Outcome) -> np.ndarray:
        """Scores at the same place beside the middle of the cut points: these differ between outcomes."""
        theirs = other.cuts if isinstance(other, Ordinal) else self.cuts
        return parameters + np.float32((self.cuts.mean() - theirs.mean()).item())

    def distance(self, p: Values, q: Values) -> Values:
        return abs((p - q).cumsum(-1)[..., :-1]).sum(-1) / (self.num_classes - 1)


class Multilabel(Outcome):
    """L binary labels at once, each 0 or 1: ``y`` ``[B, L]``; the parameters are logits.

    Given the latents the labels are independent; averaged over the latents they need not be. A prediction is
    the L probabilities of 1. The distance is the mean over labels of the total variation distance of each,
    ``|p_l - q_l|``, and V is at most 1/2.

    >>> outcome = Multilabel(2)
    >>> outcome.distance(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.5])).item()
    0.19999998807907104
    """

    name = "multilabel"

    def __init__(self, num_labels: int):
        super().__init__()
        self.num_labels = self.num_parameters = self.num_features = self.prediction_size = num_labels
        self.largest_impact = 0.5

    def distribution(self, parameters: Tensor) -> TorchDistributionMixin:
        return dist.Bernoulli(logits=parameters, validate_args=False).to_event(1)

    def features(self, y: Tensor) -> Tensor:
        return y

    def predict(self, parameters: Tensor) -> Tensor:
        return parameters.sigmoid()

    def distance(self, p: Values, q: Values) -> Values:
        return abs(p - q).mean(-1)

    def entropy(self, p: Values) -> Values:
        """Sum of the labels' own entropies, their dependence left out."""
        return (_entr(p) + _entr(1 - p)).sum(-1)

    def placeholder(self, rows: int) -> Tensor:
        return torch.zeros(rows, self.num_labels)

    def decide(self, p: Values) -> Values:
        """Booleans ``[..., L]``: the labels more probable than not."""
        return p > 0.5


class Normal(Outcome):
    """A real number in units of its spread over the training rows: mean 0, standard deviation 1.

    The parameters are location and raw scale of a normal distribution. A prediction, which must average over
    draws, is the integral of the distribution function F over each of `CELLS` equal cells from -`EDGE` to
    `EDGE`, with those of F below and of 1 - F above: `CELLS` + 2 numbers. Their summed absolute differences
    are the 1-Wasserstein distance of two predictions,

        W(F, G)  =  integral |F(t) - G(t)| dt,

    exact but where F - G changes its sign within a cell. It is in units of the label's spread, and so is V:
    0.3 says that knowing the modality is expected to move the prediction by 0.3 standard deviations of the
    label. V has no bound. A label of which nothing is known has V = E|Y - Y'| = 2 / sqrt(pi) = 1.13 for a
    modality that tells it exactly, and that is ``largest_impact``.

    >>> outcome = Normal()
    >>> low, high = outcome.predict(torch.tensor([[0.0, -1.0], [0.75, -1.0]]))
    >>> round(outcome.distance(low, high).item(), 4)
    0.75
    >>> [round(outcome.mean(p).item(), 4) + 0 for p in (low, high)]
    [0.0, 0.75]
    """

    name = "normal"
    parameters_site = "location_and_raw_scale"
    CELLS = 40
    EDGE = 4.0
    WIDTH = 2 * EDGE / CELLS

    def __init__(self) -> None:
        super().__init__()
        self.num_parameters, self.num_features, self.prediction_size = 2, 1, self.CELLS + 2
        self.largest_impact = 2 / math.sqrt(math.pi)

    @staticmethod
    def location_and_scale(parameters: Tensor) -> tuple[Tensor, Tensor]:
        """``[..., 2]`` to two ``[...]``: at parameters of 0 the label's own; a scale of at least 0.001."""
        location, raw = parameters.unbind(-1)
        return location, F.softplus(raw + 0.5413) + 1e-3  # softplus(0.5413) = 1

    def distribution(self, parameters: Tensor) -> TorchDistributionMixin:
        return dist.Normal(*self.location_and_scale(parameters))

    def features(self, y: Tensor) -> Tensor:
        return y[:, None]

    def predict(self, parameters: Tensor) -> Tensor:
        location, scale = (t[..., None] for t in self.location_and_scale(parameters))
        edges = torch.linspace(
            -self.EDGE, self.EDGE, self.CELLS + 1, dtype=parameters.dtype, device=parameters.device
        )
        u = (edges - location) / scale
        density = (-u.square() / 2).exp() / math.sqrt(2 * math.pi)
        below = scale * (u * torch.special.ndtr(u) + density)  # E max(edge - y, 0), the integral of F
        above = scale * (density - u * torch.special.ndtr(-u))  # E max(y - edge, 0)
        return torch.cat([below[..., :1], below.diff(dim=-1), above[..., -1:]], dim=-1)

    def distance(self, p: Values, q: Values) -> Values:
        return abs(p - q).sum(-1)

    def mean(self, p: Values) -> Values:
        """Expected label ``[...]`` of a prediction, in units of the label's spread."""
        return self.EDGE - p[..., :-1].sum(-1) + p[..., -1]

    def entropy(self, p: Values) -> Values:
        """Differential entropy of the label, read to a cell's width (a fifth of its spread)."""
        return entropy(self.cell_probabilities(p)) + math.log(self.WIDTH)

    def cell_probabilities(self, p: Values) -> Values:
        """Probability of each of `CELLS` + 1 places between the middles of neighbouring cells.

        Each cell's mean of F stands for F at its middle, and the outermost places hold what lies beyond.
        """
        cumulative = p[..., 1:-1] / self.WIDTH
        first, last = cumulative[..., :1], 1 - cumulative[..., -1:]
        between = cumulative[..., 1:] - cumulative[..., :-1]
        if isinstance(p, Tensor):
            return torch.cat([first, between, last], dim=-1).clamp(min=0)
        return np.concatenate([first, between, last], axis=-1).clip(min=0)

    def placeholder(self, rows: int) -> Tensor:
        return torch.zeros(rows)


def outcome_named(name: str) -> type[Outcome]:
    """The class of an outcome by its name.

    Raises
    ------
    KeyError
        For a name that no outcome has.

    >>> outcome_named("ordinal").__name__
    'Ordinal'
    """
    return {cls.name: cls for cls in (Categorical, Ordinal, Multilabel, Normal)}[name]
