"""What all baselines with networks share: the estimator's training, and a prediction in chunks.

A method adds its Pyro programs and what it does at prediction; where its defaults differ from those of
`primo_pyro.estimator`, ``benchmarks/tune_baselines.py`` has found them on XOR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from primo_pyro.analysis.scores import log_losses
from primo_pyro.errors import ModalityError
from primo_pyro.estimator import ClassesMixin, NetworkEstimator
from primo_pyro.locks import one_at_a_time
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import Modules, Range
from primo_pyro.program.encoders import Encoders, encoders_for
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.outcomes import Categorical

__all__ = ["ROWS_PREDICTED", "NetworkClassifier", "NoLatents", "require_present", "require_roles"]

T = TypeVar("T")

ROWS_PREDICTED = 256  # at a time; hidden layers of more rows outgrow a processor's cache


class NoLatents(nn.Module):
    """The guide of a story without latents."""

    def forward(self, x: Modalities, y: Tensor) -> None:
        """Draw nothing."""


@dataclass(eq=False, repr=False, kw_only=True)
class NetworkClassifier(ClassesMixin, NetworkEstimator):
    """Base of the baselines that train networks.

    Parameters
    ----------
    encoders
        Per modality a module ``[B, ...] -> [B, hidden_dim]``; those not named are chosen by shape, see
        `primo_pyro.program.encoders.encoder_for`.
    **others
        See `primo_pyro.estimator.NetworkEstimator`.

    Attributes
    ----------
    classes_ : array ``[C]``
    history_ : DataFrame, a row per epoch
    model_ : the Pyro program of the story
    program_ : the loss that was minimised, a module
    """

    encoders: Mapping[str, nn.Module] | None = None

    parameter_ranges: ClassVar[dict[str, Range]] = {"encoders": Modules()}

    def _build(self, x: Modalities) -> None:
        self.program_: Any = self._program(x).to(self._device())
        self.model_ = self.program_.model

    def _make_loss(self) -> nn.Module:
        return self.program_

    def _validation_scores(self, x: Modalities, y: np.ndarray) -> dict[str, np.ndarray]:
        return {"val_log_loss": log_losses(y, self._probabilities(x))}

    def predict_proba(self, x: RowsLike) -> np.ndarray:
        """Predicted probabilities ``[N, C]``."""
        return self._probabilities(self._as_known_rows(x))

    def latents(self, x: RowsLike) -> np.ndarray:
        """Where the method puts each row before it predicts, ``[N, d]``.

        The mean of its latent, or, where it has none, the representations side by side.
        """
        return self._by_rows(self._latents, self._as_known_rows(x))

    # --- What a method may say differently ----------------------------------------------------------------

    def _program(self, x: Modalities) -> nn.Module:
        """The loss of a batch and its labels, summed over rows, as a module with the story as ``model``.

        Here: PRIMO's story with no latent, whose negative ELBO is the cross-entropy.
        """
        return Trace_ELBO(max_plate_nesting=1)(self._predictor(x), NoLatents())

    def _predict(self, x: Modalities) -> Tensor:
        """Probabilities ``[B, C]``."""
        return self.model_.likelihood(self.model_.encoder(x), {}).double().softmax(-1)

    def _latents(self, x: Modalities) -> Tensor:
        """``[B, d]``."""
        return self.model_.encoder(x).fused()

    # -----------------------------------------------------------------------------------------------------

    def _encoders(self, x: Modalities) -> Encoders:
        given = {m: e for m, e in (self.encoders or {}).items() if m in x.names}
        return encoders_for(x, given, self.hidden_dim, self.dropout)

    def _predictor(self, x: Modalities) -> PrimoModel:
        """A network from these modalities to the label: PRIMO without latents."""
        return PrimoModel(
            self._encoders(x),
            latents={},
            outcome=self.labels_.make(Categorical),
            hidden_dim=self.hidden_dim,
            dropout=self.dropout,
        )

    def _probabilities(self, x: Modalities) -> np.ndarray:
        return self._by_rows(self._predict, x)

    def _by_rows(
        self,
        function: Callable[[Modalities], Tensor],
        x: Modalities,
        size: int = ROWS_PREDICTED,
        axis: int = 0,
    ) -> np.ndarray:
        """A function of rows, in chunks of some ``size``; ``axis`` of its values is that of the rows."""
        parts = self._chunks(function, x, size)
        return np.concatenate([part.double().cpu().numpy() for part in parts], axis)

    @torch.no_grad()
    def _chunks(self, function: Callable[[Modalities], T], x: Modalities, size: int) -> list[T]:
        parts = []
        for start in range(0, len(x), size):
            with one_at_a_time():
                self.program_.eval()
                parts.append(function(x[start : start + size]))
        return parts


def require_present(x: Modalities, names: Iterable[str], method: str, cure: str) -> None:
    """Refuse rows in which one of these modalities is absent.

    Raises
    ------
    ModalityError
        Naming the modality, how many rows lack it, and the cure.

    >>> require_present(Modalities({"o": [1.0, np.nan]}), ["o"], "This", "Drop them.")
    Traceback (most recent call last):
        ...
    primo_pyro.errors.ModalityError: This needs modality 'o' in every row; it is absent in 1 of 2,
    expected in none. Drop them.
    """
    for name in names:
        absent = len(x) - int(x.present[name].sum()) if name in x.present else len(x)
        if absent:
            raise ModalityError(
                f"{method} needs modality {name!r} in every row; it is absent in {absent} of {len(x)}, "
                f"expected in none. {cure}"
            )


def require_roles(x: Modalities, optional: Sequence[str], method: str) -> None:
    """Refuse training rows of which nothing, or everything, may be absent.

    Raises
    ------
    ModalityError
        Naming the modalities and the cure.

    >>> require_roles(Modalities({"o": [1.0], "m": [2.0]}), (), "This")
    Traceback (most recent call last):
        ...
    primo_pyro.errors.ModalityError: This needs observed modalities and optional ones; of o, m none is
    optional; expected both kinds. Say which may be absent: optional=(name,).
    """
    observed = [m for m in x.names if m not in optional]
    if not optional or not observed:
        raise ModalityError(
            f"{method} needs observed modalities and optional ones; of {', '.join(x.names)} "
            f"{'none' if not optional else 'each'} is optional; expected both kinds. Say which may be "
            "absent: optional=(name,)."
        )
