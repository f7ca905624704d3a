"""One modality alone.

Objective, per row: the cross-entropy, -log p_theta(y | x_o), with

    p_theta(y | x_o) = Categorical(head(encoder(x_o))).

This is PRIMO with no optional modality: same encoder, same head, no latent. The baseline "unimodal" of the
paper (Section 4), and what a missing modality leaves to anyone: on XOR the Bayes rule's accuracy of .659.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from primo_pyro.baselines.base import NetworkClassifier, require_present
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import Is, Range

__all__ = ["UnimodalClassifier"]


@dataclass(eq=False, repr=False, kw_only=True)
class UnimodalClassifier(NetworkClassifier):
    """A network on one modality; whatever else the rows hold is ignored.

    Parameters
    ----------
    modality
        The modality it looks at; it must be present in every row.
    **others
        See `primo_pyro.baselines.base.NetworkClassifier`.

    Raises
    ------
    ModalityError
        In ``fit`` and predictions, where the modality is unknown or absent in some row.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> clf = UnimodalClassifier("o", hidden_dim=16, max_epochs=2, random_state=0).fit(x, y)
    >>> clf.predict_proba(x.drop("m")).shape, clf.latents(x).shape
    ((300, 2), (300, 16))
    """

    modality: str = field(kw_only=False)
    learning_rate: float = 5e-3

    parameter_ranges: ClassVar[dict[str, Range]] = {"modality": Is(str)}

    def _as_modalities(self, x: RowsLike, **validate: bool) -> Modalities:
        rows = super()._as_modalities(x, **validate)
        require_present(
            rows,
            [self.modality],
            "A unimodal network",
            f"Leave these rows out, or name another modality ({', '.join(rows.names)}).",
        )
        return rows.select(self.modality)
