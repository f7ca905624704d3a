"""PrimoRegressor: PRIMO for labels that are real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin

from primo_pyro.errors import RowError
from primo_pyro.estimator import labelled_rows
from primo_pyro.labels import NumberLabels
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.primo import PrimoEstimator
from primo_pyro.program.outcomes import Normal
from primo_pyro.rows import by_chunks

__all__ = ["PrimoRegressor"]


@dataclass(eq=False, repr=False, kw_only=True)
class PrimoRegressor(RegressorMixin, PrimoEstimator):
    """Predicts a number from whatever modalities are present, and says what the absent ones would change.

    V is the expected 1-Wasserstein distance between the prediction once the latent is known and the
    prediction now, in standard deviations of the training labels: 0.3 says that the prediction, as a whole
    distribution, is expected to move by 0.3 of them (times ``label_scale_`` in the label's own unit). See
    `primo_pyro.program.Normal`.

    Parameters
    ----------
    **all
        See `primo_pyro.primo.PrimoEstimator` and `primo_pyro.estimator.NetworkEstimator`.

    Attributes
    ----------
    label_mean_, label_scale_ : mean and standard deviation of the training labels
    history_ : DataFrame, a row per epoch
    model_, guide_ : the Pyro programs
    optional_ : tuple of the modalities that may be absent
    diagnosis_ : DataFrame, a row per check for a known failure, see `primo_pyro.diagnosis`

    Examples
    --------
    >>> from primo_pyro.data import make_linear
    >>> x, y = make_linear(300, random_state=0)
    >>> reg = PrimoRegressor(latent_dim=2, hidden_dim=16, max_epochs=3, random_state=0)
    >>> reg.fit(x.drop_at_random("m", random_state=0), y).predict(x.drop("m")).shape
    (300,)
    >>> reg.predictive_impact(x.drop("m")).columns.tolist()
    ['impact', 'impact_se', 'impact_normalised', 'information_gain', 'spread']
    """

    def _outcome_class(self) -> type[Normal]:
        return Normal

    @property
    def _numbers(self) -> NumberLabels:
        return cast(NumberLabels, self.labels_)

    @property
    def label_mean_(self) -> float:
        """Mean of the training labels."""
        return self._numbers.mean

    @property
    def label_scale_(self) -> float:
        """Standard deviation of the training labels."""
        return self._numbers.scale

    @by_chunks
    def predict(self, x: RowsLike) -> np.ndarray:
        """Expected label ``[N]``, in its own unit, averaged over the latents."""
        prediction = self.summarise(x).prediction
        return self.labels_.decode(cast(Normal, self.model_.outcome).mean(prediction))

    def score(self, x: RowsLike, y: ArrayLike | str, sample_weight: ArrayLike | None = None) -> float:
        """Coefficient of determination, of labels or of a column's name as in ``fit``."""
        x, y = labelled_rows(self, x, y)
        return super().score(x, y, x.align("sample_weight", sample_weight, RowError))

    def _predicted_columns(self, x: RowsLike) -> pd.DataFrame:
        return pd.DataFrame({"prediction": self.predict(x)})

    def _labelled_predictions(
        self, x: Modalities, num_samples: int | None
    ) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, Sequence[object]]]]:
        parameters = torch.as_tensor(np.concatenate([*self._parameters(x, num_samples)], axis=1))
        location, scale = (t.double().numpy() for t in Normal.location_and_scale(parameters))
        return {"location": self.labels_.decode(location), "scale": scale * self.label_scale_}, {}

    def log_density(self, x: RowsLike, y: ArrayLike) -> np.ndarray:
        """log p(y | x) ``[N]`` of labels ``y``, averaged over the latents, per unit of the label."""
        return self.summarise(x, y=y).log_likelihood - np.log(self.label_scale_)
