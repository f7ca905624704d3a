"""All modalities, fused late.

Objective, per row: the cross-entropy, -log p_theta(y | x), with

    p_theta(y | x) = Categorical(head(encoder_1(x_1), ..., encoder_M(x_M))),

where an absent modality's representation is zero. The baseline "multimodal" of the paper (Section 4) is
trained on complete rows. Trained on all rows it is what most people do about a missing modality: they put
zeros in its place, and leave it to the network to learn what they mean. On XOR either has an accuracy of .975
or more on complete rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from primo_pyro.baselines.base import NetworkClassifier, require_present
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import OneOf, Range

__all__ = ["MultimodalClassifier"]


@dataclass(eq=False, repr=False, kw_only=True)
class MultimodalClassifier(NetworkClassifier):
    """A network on every modality.

    Parameters
    ----------
    rows
        ``"complete"``: trained on the rows where every modality is present, and asked about such rows only.
        ``"all"``: trained on all rows, absent modalities zeroed.
    **others
        See `primo_pyro.baselines.base.NetworkClassifier`.

    Raises
    ------
    ParameterError
        In ``fit``, for any other ``rows``.
    ModalityError
        With ``rows="complete"``: in ``fit``, where no row is complete; in predictions, where some row is not.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> half = x.drop_at_random("m", random_state=0)
    >>> clf = MultimodalClassifier(rows="all", hidden_dim=16, max_epochs=2, random_state=0).fit(half, y)
    >>> clf.predict_proba(x.drop("m")).shape, clf.latents(x).shape
    ((300, 2), (300, 32))
    """

    rows: str = "complete"
    learning_rate: float = 1e-2

    parameter_ranges: ClassVar[dict[str, Range]] = {"rows": OneOf("complete", "all")}

    def _usable(self, x: Modalities) -> np.ndarray:
        return x.complete if self.rows == "complete" else super()._usable(x)

    def _as_known_rows(self, x: RowsLike) -> Modalities:
        x = super()._as_known_rows(x)
        if self.rows == "complete":
            cure = 'Fit with rows="all", or ask a unimodal network about such rows.'
            require_present(x, x.names, "A multimodal network that was trained on complete rows", cure)
        return x
