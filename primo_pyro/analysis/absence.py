"""Whether rows with and without a modality differ in what is always known, and weights that allow for that.

Guarantees are learnt on rows that have the modality and used on rows that lack it. Where a test is ordered
for those who seem to need it, the two kinds of rows differ. What differs in what is always known can be seen,
and corrected by weights; what differs in anything else cannot be seen in any data (absence not at random).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from primo_pyro.analysis.guarantees import effective_rows
from primo_pyro.analysis.scores import auroc
from primo_pyro.errors import DrawsError

__all__ = ["SELECTIVE", "AbsenceCheck", "AbsenceModel", "auroc_error", "compare_rows"]

FOLDS = 5
SELECTIVE = 3.0  # standard errors of the AUROC above one half from which rows are said to differ
LARGEST_LOG_ODDS = 20.0


@dataclass
class AbsenceModel:
    """A logistic regression of absence on what is always known, its squares among the features.

    Attributes
    ----------
    mean, scale
        By which features are standardised ``[F]``; where a feature is NaN its mean counts, and the fact.
    coefficients, intercept
        Of the log-odds of absence.
    """

    mean: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    intercept: float

    @classmethod
    def fit(cls, features: np.ndarray, absent: np.ndarray) -> AbsenceModel:
        """Learn from features ``[N, F]`` and absence ``[N]``, of which there must be both kinds."""
        with_values = np.where(np.isfinite(features).any(0), features, 0.0)  # a column of NaN alone is a 0
        mean, scale = np.nanmean(with_values, axis=0), np.nanstd(with_values, axis=0)
        model = cls(mean, np.where(scale > 0, scale, 1.0), np.zeros(0), 0.0)
        regression = LogisticRegression(max_iter=1000).fit(model._expanded(features), absent)
        model.coefficients, model.intercept = regression.coef_[0], float(regression.intercept_[0])
        return model

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """log p(absent | features) / p(present | features) ``[N]``."""
        return np.clip(
            self._expanded(features) @ self.coefficients + self.intercept, -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS
        )

    def weights(self, features: np.ndarray) -> np.ndarray:
        """p(absent | features) / p(present | features) ``[N]``."""
        return np.exp(self.log_odds(features))

    def _expanded(self, features: np.ndarray) -> np.ndarray:
        standard = np.clip((features - self.mean) / self.scale, -5, 5)
        unknown = np.isnan(standard)
        standard = np.where(unknown, 0.0, standard)
        return np.concatenate([standard, np.square(standard), unknown], axis=1)


@dataclass
class AbsenceCheck:
    """How rows with and without a modality compare.

    Attributes
    ----------
    auroc, auroc_error
        Of telling them apart, on rows that the comparison was not learnt from, and its standard error; 0.5 is
        no difference. NaN where there is nothing to compare.
    present, absent
        Numbers of rows.
    effective
        As many rows of those that have the modality the weights leave, see
        `primo_pyro.analysis.guarantees.effective_rows`.
    """

    auroc: float
    auroc_error: float
    present: int
    absent: int
    effective: float

    @property
    def selective(self) -> bool:
        """Whether the rows differ by more than `SELECTIVE` standard errors."""
        return bool(self.auroc - 0.5 > SELECTIVE * self.auroc_error)


def compare_rows(
    features: ArrayLike, absent: ArrayLike, random_state: int = 0
) -> tuple[AbsenceCheck, AbsenceModel | None]:
    """A classifier two-sample test (Lopez-Paz and Oquab 2017) of absent against present, and its weights.

    Parameters
    ----------
    features
        What is known of every row ``[N, F]``; NaN where a single number is not.
    absent
        Whether the modality is absent ``[N]``.
    random_state
        Seed of the five folds.

    Returns
    -------
    AbsenceCheck, AbsenceModel
        No model where there are fewer than five rows of a kind, or no features.

    Raises
    ------
    DrawsError
        Where the arrays do not fit together.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> o = random.normal(size=(1000, 1))
    >>> check, model = compare_rows(o, random.random(1000) < 1 / (1 + np.exp(-2 * o[:, 0])))
    >>> check.selective, round(check.auroc, 1), check.present > check.effective
    (True, 0.8, True)
    >>> compare_rows(o, random.random(1000) < 0.5)[0].selective
    False
    """
    features, absent = np.asarray(features, float), np.asarray(absent, bool)
    if features.ndim != 2 or absent.shape != features.shape[:1]:
        raise DrawsError(
            f"Features of shape {list(features.shape)} and absence of {list(absent.shape)}; expected "
            "[rows, features] and [rows]. Pass the same rows in both."
        )
    kinds = int((~absent).sum()), int(absent.sum())
    nan = float("nan")
    if min(kinds) < FOLDS or features.shape[1] == 0:
        return AbsenceCheck(nan, nan, *kinds, effective=float(kinds[0])), None
    held_out = np.zeros(len(absent))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=random_state).split(
        features, absent
    ):
        held_out[test] = AbsenceModel.fit(features[train], absent[train]).log_odds(features[test])
    model = AbsenceModel.fit(features, absent)
    effective = effective_rows(model.weights(features[~absent]))
    area, error = auroc(absent, held_out), auroc_error(absent, held_out)
    return AbsenceCheck(area, error, *kinds, effective=effective), model


def auroc_error(positive: np.ndarray, score: np.ndarray) -> float:
    """Standard error of an AUROC (DeLong et al. 1988).

    From the share of the other kind that each positive and each negative row is on the right side of.

    >>> round(auroc_error(np.arange(10) % 2 == 1, np.arange(10.0)), 3)
    0.2
    """
    ups, downs = np.sort(score[positive]), np.sort(score[~positive])

    def below(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
        sides = [np.searchsorted(ordered, values, side=side) for side in ("left", "right")]
        return np.mean(sides, axis=0) / len(ordered)

    of_ups, of_downs = below(downs, ups), 1 - below(ups, downs)
    if min(len(ups), len(downs)) < 2:
        return float("nan")
    return float(np.sqrt(of_ups.var(ddof=1) / len(ups) + of_downs.var(ddof=1) / len(downs)))
