"""What rows and classes count, checked and as numbers whose mean is 1."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.class_weight import compute_class_weight

from primo_pyro.errors import RowError

__all__ = ["class_weights", "row_weights"]


def row_weights(
    sample_weight: ArrayLike | None, rows: int, of_classes: np.ndarray | None = None
) -> np.ndarray | None:
    """What each row counts ``[N]``, with a mean of 1; None where all count the same.

    Parameters
    ----------
    sample_weight
        A number for each of N rows, none negative; None: 1.
    rows
        N.
    of_classes
        What each row counts by its class ``[N]``, by which they are multiplied.

    Raises
    ------
    RowError
        Where there is not one finite number a row, one is negative, or all are 0.

    Examples
    --------
    >>> row_weights([1, 3], 2)
    array([0.5, 1.5])
    """
    if sample_weight is None and of_classes is None:
        return None
    weights = np.ones(rows)
    if sample_weight is not None:
        try:
            given = np.asarray(sample_weight)
            weights = np.asarray(sample_weight, float) if given.dtype.kind not in "MmUS" else given
        except (TypeError, ValueError) as error:
            raise RowError(
                f"sample_weight cannot be read as numbers ({error}); expected one a row. Give each row a "
                "weight."
            ) from error
        if weights.dtype.kind != "f":
            raise RowError(
                f"sample_weight cannot be read as numbers ({given.dtype.name}: {sample_weight!r:.40}); "
                f"expected one for each of {rows} rows. Give each row a weight; of a column of x, x[name]."
            )
        if weights.shape != (rows,):
            raise RowError(
                f"sample_weight has shape {list(weights.shape)}; expected one number for each of {rows} "
                "rows. Give each row a weight."
            )
        wrong = ~(np.isfinite(weights) & (weights >= 0))
        if wrong.any():
            raise RowError(
                f"sample_weight is {weights[wrong.argmax()]:g} in row {int(wrong.argmax())} and unusable in "
                f"{int(wrong.sum())} of {rows} rows; expected finite numbers, none negative. Correct them."
            )
    if of_classes is not None:
        weights = weights * of_classes
    if not weights.any():
        raise RowError(f"The weights of all {rows} rows are zero; expected some above. Raise them.")
    return weights / weights.mean()


def class_weights(
    class_weight: Mapping | str | None, classes: np.ndarray, y: np.ndarray
) -> np.ndarray | None:
    """What a row of each class counts ``[C]``, as in scikit-learn; None where all count the same.

    Parameters
    ----------
    class_weight
        Class to weight, 1 where it is left out; ``"balanced"``: N / (C * rows of the class); or None.
    classes
        The C classes.
    y
        Classes of the N training rows.

    Raises
    ------
    RowError
        For another word, a class that does not occur, or a weight that is no positive number.

    Examples
    --------
    >>> class_weights("balanced", np.array(["no", "yes"]), np.array(["no", "no", "no", "yes"])).round(2)
    array([0.67, 2.  ])
    """
    if class_weight is None:
        return None
    cure = 'Set class_weight to "balanced", or to a mapping of classes to positive numbers.'
    if isinstance(class_weight, Mapping):
        unknown = [name for name in class_weight if name not in classes.tolist()]
        if unknown:
            raise RowError(
                f"class_weight names {unknown[:5]}; expected some of the {len(classes)} classes "
                f"{classes.tolist()[:10]}. {cure}"
            )
        class_weight = dict.fromkeys(classes.tolist(), 1) | dict(class_weight)
    try:
        weights = np.asarray(compute_class_weight(class_weight, classes=classes, y=y), float)
    except (TypeError, ValueError) as error:
        raise RowError(
            f"class_weight is {class_weight!r}, which cannot be used ({error}); expected positive numbers. "
            f"{cure}"
        ) from error
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise RowError(f"class_weight is {class_weight!r}; expected positive numbers. {cure}")
    return weights
