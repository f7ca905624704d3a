"""Which objective training maximises: every choice by name, and the bounds on log p(y | x).

docs/objective.md says why the default is not the paper's objective to the letter, and
`primo_pyro.program.regulariser` and `primo_pyro.program.loss` what the names stand for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from primo_pyro.errors import ParameterError
from primo_pyro.parameters import (
    Flag,
    OneOf,
    Range,
    Real,
    Whole,
    as_python,
    check_parameter,
    check_parameters,
)

__all__ = ["ImportanceELBO", "Objective", "TraceELBO"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Every choice in what is maximised, by name.

    Parameters
    ----------
    elbo
        ``"trace"`` (Pyro's ``Trace_ELBO``), ``"mean_field"`` (``TraceMeanField_ELBO``, analytic KL) or
        ``"importance"`` (`ImportanceELBO`).
    num_particles
        Draws of the latents per row and step.
    propose_from_prior
        Whether the guide proposes from the prior where a modality is present.
    anchor
        Weight of KL(p_m || N(0, I)).
    tie
        Weight of KL(p_c || p_m).
    tie_on_complete
        Share of the tie's gradient that reaches p_c, the prior that knows the modality. At 1 the tie is the
        paper's. Below, it moves p_m towards the mixture of its completions and taxes what x_m tells less.
    forecast
        Weight of the energy score of p_m as a forecast of the prediction under p_c, in units of the largest
        V; needs two particles.
    residual_spread
        With several optional modalities: weight of half the mean distance between predictions with everything
        revealed, in the same units. A spread that remains is noise.
    agreement
        With several optional modalities: weight of the squared distance between average predictions that ask
        about different absent ones, in units of the largest V.
    auxiliary
        Weight of each encoder's own log loss, by a linear head on its representation. Without it an encoder
        that learns slowly is never heard beside one that learns fast.
    spread_penalty
        With the importance bound: share of the mean of the log weights, in place of the log of their mean, in
        rows where nothing in play is absent. There a spread of the predictions stands for nothing; the log
        of the mean does not mind it, the mean of the logs does.
    warm_up
        Share of training during which the KL to the prior and all factors rise linearly from 0 to full
        weight.

    Raises
    ------
    ParameterError
        For an unknown bound, a weight that is negative or no number, or fewer particles than the forecast
        needs.

    Examples
    --------
    >>> Objective.named("paper").tie_on_complete
    1.0
    >>> from dataclasses import replace
    >>> replace(Objective.named("calibrated"), num_particles=8).num_particles
    8
    """

    elbo: str = "importance"
    num_particles: int = 8
    propose_from_prior: bool = True
    anchor: float = 0.1
    tie: float = 0.3
    tie_on_complete: float = 0.0
    forecast: float = 10.0
    residual_spread: float = 1.0
    agreement: float = 1.0
    auxiliary: float = 1.0
    spread_penalty: float = 1.0
    warm_up: float = 0.0

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "elbo": OneOf("trace", "mean_field", "importance"),
        "num_particles": Whole(1, 2**16),
        "propose_from_prior": Flag(),
        "tie_on_complete": Real(0, 1),
        "spread_penalty": Real(0, 1),
        "warm_up": Real(0, 1),
    } | dict.fromkeys(("anchor", "tie", "forecast", "residual_spread", "agreement", "auxiliary"), Real(0))

    def __post_init__(self) -> None:
        check_parameters(self)
        for name in self.parameter_ranges:  # JSON does not know NumPy's numbers
            object.__setattr__(self, name, as_python(getattr(self, name)))
        if (self.forecast or self.residual_spread) and self.num_particles < 2:
            raise ParameterError(
                f"forecast is {self.forecast:g} and residual_spread {self.residual_spread:g} with "
                f"{self.num_particles} particle; expected at least two draws, between which both take "
                "distances. Raise num_particles, or set both to 0."
            )

    @staticmethod
    def named(name: str) -> Objective:
        """``"paper"``: Eq. 7 to the letter. ``"calibrated"``: the default (docs/objective.md)."""
        check_parameter("objective", name, OneOf(*OBJECTIVES))
        return OBJECTIVES[name]

    def make_elbo(self) -> ELBO:
        """The bound as a Pyro ELBO; all sites stand in one plate."""
        settings: dict[str, Any] = {
            "num_particles": self.num_particles,
            "max_plate_nesting": 1,
            "vectorize_particles": True,
        }
        if self.elbo == "importance":
            return ImportanceELBO(**settings, spread_penalty=self.spread_penalty)
        return ELBOS[self.elbo](**settings)


class ImportanceELBO(Trace_ELBO):
    """log mean_k of the importance weights, for each row on its own (Burda et al. 2016).

    A row's weight is the product of all its model sites over all its guide sites. With one particle this
    is ``Trace_ELBO``; with many it approaches log p(y | x) from below. As an ELBO module it has
    parameters, which Pyro's ``RenyiELBO(alpha=0)``, of equal value, has not.

    Parameters
    ----------
    spread_penalty
        In rows where nothing in play is absent, the share of mean_k log in place of log mean_k. It needs a
        `TrainingModel`.
    **others
        Those of ``Trace_ELBO``.
    """

    def __init__(self, *, spread_penalty: float = 0.0, **others: Any):
        super().__init__(**others)
        self.spread_penalty = spread_penalty

    def average(self, log_weights: Tensor, something_absent: Callable[[], Tensor]) -> Tensor:
        """The bound ``[B]`` of log weights ``[K, B]``, given which rows lack something in play."""
        bound = log_weights.logsumexp(0) - math.log(len(log_weights))
        if not self.spread_penalty or len(log_weights) == 1:
            return bound
        penalised = bound + self.spread_penalty * (log_weights.mean(0) - bound)
        return torch.where(something_absent(), bound, penalised)

    def differentiable_loss(
        self, model: Any, guide: Any, *args: Any, row_weights: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """The negative bound, summed over rows, or over rows times ``row_weights`` ``[B]``."""
        (traces,) = self._get_traces(model, guide, args, kwargs)
        model_trace, guide_trace = traces
        log_weights = cast(
            Tensor, sum(_log_probs(model_trace)) - sum(_log_probs(guide_trace))
        )  # [K, B] or [B]
        if log_weights.dim() == 1:
            log_weights = log_weights[None]
        bound = self.average(log_weights, lambda: model.something_absent(*args))
        return -(bound if row_weights is None else row_weights * bound).sum()

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The negative bound as a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The negative bound; gradients are added to the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()


class TraceELBO(Trace_ELBO):
    """Pyro's ``Trace_ELBO``, which can average log weights as well."""

    def average(self, log_weights: Tensor, something_absent: Callable[[], Tensor]) -> Tensor:
        """The bound ``[B]`` of log weights ``[K, B]``."""
        return log_weights.mean(0)


ELBOS = {"trace": TraceELBO, "mean_field": TraceMeanField_ELBO, "importance": ImportanceELBO}


def _log_probs(trace: Trace) -> list[Tensor]:
    return [site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample"]


OBJECTIVES = {
    "paper": Objective(
        elbo="trace",
        num_particles=1,
        propose_from_prior=False,
        anchor=1.0,
        tie=1.0,
        tie_on_complete=1.0,
        forecast=0.0,
        residual_spread=0.0,
        agreement=0.0,
        auxiliary=0.0,
        spread_penalty=0.0,
    ),
    "calibrated": Objective(),
}
