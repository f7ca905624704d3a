"""What a user would try in place of V to find the rows in which an absent modality matters.

    entropy        H(p(y | x_o)) of a unimodal prediction, in nats: doubt of any kind, whether x_m would
                   resolve it or not
    completions    the spread of p(y | x_o, x_m') over the x_m' of the k training rows whose x_o is nearest:

                   1/k sum_j TVD( p(y | x_o, x_m^j), 1/k sum_l p(y | x_o, x_m^l) ),

                   V (Eq. 9) with neighbours in place of a latent

Nearest neighbours are strong where x_o has few dimensions, as in XOR's one: they then sample from
p(x_m | x_o) itself. In many dimensions no neighbour is near.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from primo_pyro.baselines.base import ROWS_PREDICTED, require_present, require_roles
from primo_pyro.baselines.imputation import as_table
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.program.outcomes import entropy, total_variation

__all__ = ["NeighbourCompletions", "Predictor", "prediction_entropy"]


class Predictor(Protocol):
    """Anything that predicts probabilities."""

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probabilities ``[N, C]`` for rows."""


def prediction_entropy(classifier: Predictor, x: RowsLike) -> pd.DataFrame:
    """``impact``: the entropy ``[N]`` in nats of a classifier's prediction, 0 to log C.

    It ranks rows; it is no estimate of V, and where x_m cannot resolve the doubt it ranks them wrongly.

    Parameters
    ----------
    classifier
        Anything with ``predict_proba``; as a rule a `UnimodalClassifier`.
    x
        Rows that it takes.

    Examples
    --------
    >>> import numpy as np
    >>> class Undecided:
    ...     def predict_proba(self, x):
    ...         return np.full((len(x), 2), 0.5)
    >>> prediction_entropy(Undecided(), Modalities({"o": [1.0]})).round(3)
       impact
    0   0.693
    """
    return pd.DataFrame({"impact": entropy(classifier.predict_proba(x))})


class NeighbourCompletions:
    """The spread of predictions over completions of x_m from the nearest training rows.

    Parameters
    ----------
    classifier
        A fitted classifier of complete rows, as a rule a `MultimodalClassifier`.
    optional
        The modality to complete.
    n_neighbors
        Completions k of each row.

    Raises
    ------
    ModalityError
        In ``fit``, where ``optional`` is no modality, or the only one, fewer than k training rows have
        everything, or the others have more features than `primo_pyro.baselines.imputation.as_table` takes; in
        ``predictive_impact``, where an observed modality is absent.

    Examples
    --------
    >>> import numpy as np
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(2000, random_state=0)
    >>> class Oracle:
    ...     def predict_proba(self, x):
    ...         y = (x.values["o"] > 0) ^ (x.values["m"] > 0)
    ...         return np.hstack([1 - y, y])
    >>> rival = NeighbourCompletions(Oracle(), "m").fit(x)
    >>> rival.predictive_impact(Modalities({"o": [-1.0, 1.5]})).round(1)
       impact
    0     0.5
    1     0.0
    """

    def __init__(self, classifier: Predictor, optional: str, *, n_neighbors: int = 50):
        self.classifier = classifier
        self.optional = optional
        self.n_neighbors = n_neighbors

    def fit(self, x: Modalities) -> NeighbourCompletions:
        """Remember the training rows that have everything."""
        require_roles(x, [m for m in x.names if m == self.optional], type(self).__name__)
        x = x[x.complete]
        if len(x) < self.n_neighbors:
            raise ModalityError(
                f"{len(x)} training rows have every modality; expected at least {self.n_neighbors}, as many "
                "as neighbours. Lower n_neighbors, or bring more complete rows."
            )
        self.rows_ = x
        self.shapes_ = {m: x.values[m].shape[1:] for m in x.names if m != self.optional}
        self.scaler_ = StandardScaler().fit(as_table(x, self.shapes_))
        self.neighbours_ = NearestNeighbors(n_neighbors=self.n_neighbors).fit(self._places(x))
        return self

    def predictive_impact(self, x: Modalities) -> pd.DataFrame:
        """``impact`` ``[N]``, between 0 and 1 - 1/C; a present x_m is not looked at."""
        require_present(x, self.shapes_, type(self).__name__, "Leave these rows out.")
        size = max(1, ROWS_PREDICTED // self.n_neighbors)  # completions are as large as the modality itself
        parts = [self._impact(x[start : start + size]) for start in range(0, len(x), size)]
        return pd.DataFrame({"impact": np.concatenate(parts)})

    def _places(self, x: Modalities) -> np.ndarray:
        """Observed features ``[N, F]`` with mean 0 and scale 1; missing cells have the mean."""
        return np.nan_to_num(self.scaler_.transform(as_table(x, self.shapes_)))

    def _impact(self, x: Modalities) -> np.ndarray:
        nearest = self.neighbours_.kneighbors(self._places(x), return_distance=False)  # [N, k]
        observed = {m: x.values[m].repeat(self.n_neighbors, axis=0) for m in self.shapes_}
        completion = self.rows_.values[self.optional][nearest.reshape(-1)]
        p = self.classifier.predict_proba(Modalities({**observed, self.optional: completion}))
        p = p.reshape(len(x), self.n_neighbors, -1)
        return total_variation(p, p.mean(1, keepdims=True)).mean(1)
