"""A network that learns what each absent modality is worth, along the paths it chooses itself.

After DIME (Gadgil, Covert and Lee, 2024, "Estimating conditional mutual information for dynamic feature
selection", ICLR).

With x_S what is known of a row, there are a predictor and a value for each modality that may be absent,

    p(y | x_S) = Categorical(head(h_S))       v_m(x_S) = H(p(. | x_S)) sigmoid(value_m(h_S)),

both on the same representations h_S, zero for what is not known. A row's path begins with its observed
modalities alone. Step by step the modality of highest value (for its cost) is revealed, or with probability
epsilon any other, of those that the row has. Objective, averaged over the steps of a path:

    -log p(y | x_S)  +  ( v_m(x_S) - [ log p(y | x_S, x_m) - log p(y | x_S) ] )^2         m the one revealed

where the difference in brackets and the entropy H pass no gradient. At the optimum v_m is the expected drop
of the log loss: the conditional mutual information of y and x_m, which H bounds. Epsilon falls from 1, where
everything is revealed in random order, to ``exploration`` in the first half of training.

The published method pretrains the predictor on random sets; here the random paths of the beginning do so. The
epoch is chosen by the log loss along the network's own paths on the validation rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from primo_pyro.analysis.acquisition import costs_of
from primo_pyro.baselines.base import NetworkClassifier
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import AnyOf, Is, OneOf, Range, Real
from primo_pyro.program.encoders import MLP, Representations
from primo_pyro.program.model import PrimoModel

__all__ = ["OwnPaths", "ValueNetworkClassifier"]


class OwnPaths(nn.Module):
    """The loss of predictor and values along the paths that the values choose.

    Parameters
    ----------
    model
        The predictor: a `PrimoModel` without latents.
    costs
        The M modalities that may be absent, and what each costs.
    hidden_dim, dropout
        Of the network of the values.
    exploration
        Epsilon once it has fallen.
    """

    costs: Tensor

    def __init__(
        self,
        model: PrimoModel,
        costs: Mapping[str, float],
        *,
        hidden_dim: int,
        dropout: float,
        exploration: float,
    ):
        super().__init__()
        self.costs: Tensor
        self.model, self.optional, self.exploration = model, tuple(costs), exploration
        self.value = MLP(model.encoder.fused_features, hidden_dim, len(costs), dropout=dropout)
        self.register_buffer("costs", torch.tensor(list(costs.values())))
        self.strength = 1.0  # share of the way from random order to the values' own, set by the training loop

    def forward(self, x: Modalities, y: Tensor) -> Tensor:
        """The loss of a batch with labels ``y`` ``[B]``, summed over rows."""
        nll, error = self.walk(x, y, 1 - (1 - self.exploration) * self.strength)
        self.parts = {"nll_y": nll.detach().mean(), "value_error": error.detach().mean()}
        return (nll + error).sum()

    def walk(self, x: Modalities, y: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        """-log p(y) and the squared error of the values ``[B]``, each averaged over a row's path."""
        full = self.model.encoder(x)
        absent = torch.stack([full.present[m] for m in self.optional], dim=1)  # [B, M]: may be revealed
        h = self._hidden(full, absent)
        log_p = self.log_probabilities(h)
        nll = -log_p.gather(1, y[:, None])[:, 0]
        sums, errors, steps = nll, torch.zeros_like(nll), absent.sum(1)
        for _ in range(int(steps.max())):
            active = absent.any(1)
            values = self.values(h, log_p)
            order = (values.detach() / self.costs).masked_fill(~absent, -torch.inf)
            if epsilon:
                any_order = torch.rand_like(order).masked_fill(~absent, -torch.inf)
                order = torch.where((torch.rand_like(nll) < epsilon)[:, None], any_order, order)
            chosen = order.argmax(1, keepdim=True)
            absent = absent.scatter(1, chosen, False)
            h = self._hidden(full, absent)
            log_p = self.log_probabilities(h)
            after = -log_p.gather(1, y[:, None])[:, 0]
            error = (values.gather(1, chosen)[:, 0] - (nll - after).detach()).square()
            errors = errors + active * error
            sums = sums + active * after
            nll = after
        return sums / (1 + steps), errors / steps.clamp(min=1)

    def _hidden(self, h: Representations, rows: Tensor) -> Representations:
        return h.hide({m: rows[:, i] for i, m in enumerate(self.optional)})

    def log_probabilities(self, h: Representations) -> Tensor:
        """log p(y | x_S) ``[B, C]``."""
        return self.model.likelihood(h, {}).log_softmax(-1)

    def values(self, h: Representations, log_p: Tensor) -> Tensor:
        """Expected drop of the log loss ``[B, M]``, between 0 and the entropy of the prediction."""
        log_p = log_p.detach()
        entropy = -(log_p.exp() * log_p).sum(-1, keepdim=True)
        return entropy * self.value(h.fused()).sigmoid()


@dataclass(eq=False, repr=False, kw_only=True)
class ValueNetworkClassifier(NetworkClassifier):
    """Predicts from whatever is present, and says what each absent modality would lower the log loss.

    Parameters
    ----------
    optional
        Modalities that may be absent. None: those absent in some training row.
    costs
        What each of them costs, a positive number; None: 1. Training follows the paths by value per cost.
    exploration
        Share of the steps in which training leaves the path of highest value.
    **others
        See `primo_pyro.baselines.base.NetworkClassifier`.

    Raises
    ------
    ModalityError
        In ``fit``, where no modality is optional.
    CostError
        In ``fit``, where a cost is missing, not positive, or not one number.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> half = x.drop_at_random("m", random_state=0)
    >>> clf = ValueNetworkClassifier(hidden_dim=16, max_epochs=2, random_state=0).fit(half, y)
    >>> clf.predict_proba(x.drop("m")).shape, clf.expected_gains(half).shape
    ((300, 2), (300, 1))
    """

    optional: Sequence[str] | None = None
    costs: Mapping[str, float] | None = None
    exploration: float = 0.1

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "costs": AnyOf(OneOf(None), Is(Mapping)),
        "exploration": Real(0, 1),
    }

    warm_up = 0.5

    def expected_gains(self, x: RowsLike) -> pd.DataFrame:
        """Expected drop of the log loss in nats ``[N, M]`` by revealing each modality; NaN where present."""
        rows = self._as_known_rows(x)
        gains = pd.DataFrame(self._by_rows(self._gains, rows), columns=list(self.optional_))
        return gains.where(~np.stack([rows.present[m] for m in self.optional_], axis=1))

    def _gains(self, x: Modalities) -> Tensor:
        h = self.model_.encoder(x)
        return self.program_.values(h, self.program_.log_probabilities(h))

    def _program(self, x: Modalities) -> nn.Module:
        if not self.optional_:
            raise ModalityError(
                f"None of the modalities ({', '.join(x.names)}) is absent in some of {len(x)} training rows; "
                "expected one that may be revealed. Name it in optional."
            )
        return OwnPaths(
            self._predictor(x),
            {m: float(costs_of(m, self.costs, 1)[0]) for m in self.optional_},
            hidden_dim=self.hidden_dim,
            dropout=self.dropout,
            exploration=self.exploration,
        )

    def _validation_scores(self, x: Modalities, y: np.ndarray) -> dict[str, np.ndarray]:
        self.program_.eval()
        labels = torch.as_tensor(y, device=self._device())
        with torch.no_grad():
            nll, error = self.program_.walk(x, labels, epsilon=0.0)
        return {"val_log_loss": nll.cpu().numpy(), "val_value_error": error.cpu().numpy()}
