"""Class frequencies alone: what is known of a row when none of its modalities is looked at.

    p(y = c) = share of training rows of class c

Where one class is common, this is accurate and tells rows apart not at all: every other accuracy, log loss
and AUPRC is read against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import ClassVar, Self, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.dummy import DummyClassifier

from primo_pyro.errors import LabelError
from primo_pyro.labels import label_count
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import Range, Seed, check_parameters

__all__ = ["FrequencyClassifier"]


class FrequencyClassifier(DummyClassifier):
    """Predicts the class frequencies of the training rows, whatever the row.

    Examples
    --------
    >>> from primo_pyro import Modalities
    >>> x = Modalities({"o": [0.0, 1.0, 2.0, 3.0]})
    >>> FrequencyClassifier().fit(x, [0, 0, 0, 1]).predict_proba(x[:2])
    array([[0.75, 0.25],
           [0.75, 0.25]])
    """

    parameter_ranges: ClassVar[dict[str, Range]] = {"random_state": Seed()}

    def __init__(self, random_state: int | np.random.RandomState | None = None):
        super().__init__(strategy="prior", random_state=random_state)

    def fit(self, x: RowsLike, y: ArrayLike, validation: tuple[RowsLike, ArrayLike] | None = None) -> Self:
        """Count the labels ``y`` ``[N]``; validation rows choose nothing here."""
        check_parameters(self)
        rows = len(Modalities(x)) if isinstance(x, Mapping) else len(cast(Sized, x))
        if label_count(y) != rows:
            raise LabelError(
                f"x has {rows} rows and y {label_count(y)} labels; expected one label a row. Correct y."
            )
        try:
            return super().fit(x, y)
        except (TypeError, ValueError) as error:
            raise LabelError(
                f"The {rows} labels are not classes ({error!s:.200}); expected such. Give strings, integers "
                "or booleans, all of one type."
            ) from error
