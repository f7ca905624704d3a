"""One predictor per modality and one joint predictor, multiplied (I2M2; Madaan et al., 2024, "Jointly
modeling inter- & intra-modality dependencies for multi-modal learning", NeurIPS).

Objective, per row: the cross-entropy, -log p(y | x), of the renormalised product

    p(y | x)  =  p_joint(y | x_1, ..., x_M) prod_m p_m(y | x_m) / constant,

that is, the sum of the log-softmaxes of M + 1 networks; all are trained together, each with encoders of its
own. The factor of an absent modality is left out, and the joint network sees zeros in its place.

For labels that one modality tells alone the single factors learn quickly; labels that take several modalities
together, as in XOR, are left to the joint factor. On XOR the accuracy is .975 or more where m is present, and
about the Bayes rule's .659 where it is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn

from primo_pyro.baselines.base import NetworkClassifier, NoLatents
from primo_pyro.modalities import Modalities
from primo_pyro.program.model import PrimoModel

__all__ = ["I2M2Classifier", "ProductModel"]


class ProductModel(PyroModule):
    """y ~ Categorical(product of predictors).

    Parameters
    ----------
    single
        Per modality a `PrimoModel` of it alone.
    joint
        A `PrimoModel` of all; none has a latent.
    """

    def __init__(self, single: nn.ModuleDict, joint: PrimoModel):
        super().__init__()
        self.single = single
        self.joint = joint

    def forward(self, x: Modalities, y: Tensor | None = None) -> Tensor:
        """Labels ``[B]``: drawn, or ``y`` where given."""
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Categorical(logits=self.logits(x)), obs=y)

    def logits(self, x: Modalities) -> Tensor:
        """Sum ``[B, C]`` of log-probabilities; they need a softmax yet."""
        logits = self.joint.likelihood(self.joint.encoder(x), {}).log_softmax(-1)
        for m, single in self.single.items():
            model = cast(PrimoModel, single)
            h = model.encoder(x)
            logits = logits + h.present[m][:, None] * model.likelihood(h, {}).log_softmax(-1)
        return logits


@dataclass(eq=False, repr=False, kw_only=True)
class I2M2Classifier(NetworkClassifier):
    """Product of one predictor per modality and a joint one; trained on all rows.

    Parameters
    ----------
    **all
        See `primo_pyro.baselines.base.NetworkClassifier`.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> half = x.drop_at_random("m", random_state=0)
    >>> clf = I2M2Classifier(hidden_dim=16, max_epochs=2, random_state=0).fit(half, y)
    >>> clf.predict_proba(x.drop("m")).shape, clf.latents(x).shape
    ((300, 2), (300, 32))
    """

    learning_rate: float = 1e-2

    def _program(self, x: Modalities) -> nn.Module:
        single = nn.ModuleDict({m: self._predictor(x.select(m)) for m in sorted(x.names)})
        model = ProductModel(single, self._predictor(x))
        return Trace_ELBO(max_plate_nesting=1)(model, NoLatents())

    def _predict(self, x: Modalities) -> Tensor:
        return self.model_.logits(x).double().softmax(-1)

    def _latents(self, x: Modalities) -> Tensor:
        return self.model_.joint.encoder(x).fused()
