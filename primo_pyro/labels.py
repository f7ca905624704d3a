"""Labels as users bring them, made what an outcome takes: one kind of labels for each kind of outcome."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from primo_pyro.arrays import array_of
from primo_pyro.errors import FewRowsWarning, LabelError, warn
from primo_pyro.program.outcomes import Categorical, Multilabel, Normal, Ordinal, Outcome

__all__ = [
    "NO_LABEL",
    "ClassLabels",
    "IndicatorLabels",
    "Labels",
    "NumberLabels",
    "OrderedLabels",
    "label_count",
    "labels_of",
]


NO_LABEL = ("", "?")  # texts that say "not known"
MANY = 20  # rows; in fewer, labels that are all different are no wonder


class Labels(ABC):
    """What was learnt of the training labels."""

    outcomes: ClassVar[tuple[type[Outcome], ...]]

    @classmethod
    @abstractmethod
    def learn(cls, y: ArrayLike) -> Self:
        """From the labels ``[N]`` of all training rows.

        Raises
        ------
        LabelError
            Where they are no labels of this kind.
        """

    @abstractmethod
    def encode(self, y: ArrayLike) -> np.ndarray:
        """Labels ``[N]`` as numbers that the outcome takes.

        Raises
        ------
        LabelError
            Where they are no labels of this kind, or unlike those of the training rows.
        """

    @abstractmethod
    def decode(self, values: np.ndarray) -> np.ndarray:
        """Labels as users know them, of what an outcome decides or expects."""

    @abstractmethod
    def make(self, outcome: type[Outcome]) -> Outcome:
        """The outcome for these labels."""

    def classes_of(self, codes: np.ndarray) -> np.ndarray:
        """Booleans ``[N, C]``: the rows of each class; of L labels the rows with each, then those without;
        of numbers ``[N, 0]``."""
        return np.zeros((len(codes), 0), bool)

    @property
    def names_of_classes(self) -> list[object]:
        """What the columns of `classes_of` stand for."""
        return []


@dataclass
class ClassLabels(Labels):
    """One of C classes: ``classes`` in sorted order."""

    classes: np.ndarray
    outcomes = (Categorical,)

    @classmethod
    def learn(cls, y: ArrayLike) -> Self:
        y = _as_classes(y)
        classes = cls._at_least_two(np.unique(y), len(y))
        if len(y) >= MANY and len(classes) > len(y) / 2:
            warn(
                f"y has {len(classes)} classes in {len(y)} rows; expected several rows of each. Use "
                "PrimoRegressor if labels are numbers, or pool rare classes.",
                FewRowsWarning,
            )
        return cls(classes)

    @staticmethod
    def _at_least_two(classes: np.ndarray, rows: int) -> np.ndarray:
        texts = [label for label in classes.tolist() if isinstance(label, str)]
        blanks = [text for text in texts if text != text.strip() and text.strip() in texts]
        if blanks:
            raise LabelError(
                f"The labels {blanks[:3]} in {rows} rows differ from others by blanks alone; expected one "
                "way of writing each. Write y = y.str.strip(), or strip them where they come from."
            )
        if len(classes) < 2:
            raise LabelError(
                f"y has one class only ({classes[:1].tolist()[0]!r}) in {rows} rows; expected at least two "
                "classes. Add rows of another class."
            )
        return classes

    def encode(self, y: ArrayLike) -> np.ndarray:
        y = _as_classes(y)
        try:
            codes = pd.Index(self.classes).get_indexer(y)
        except (TypeError, ValueError, NotImplementedError) as error:  # UnicodeError is a ValueError
            raise LabelError(
                f"The {len(y)} labels cannot be told apart: {error!s:.200}; expected strings that can be "
                "written, integers or booleans. Convert them."
            ) from error
        unknown = codes < 0
        if unknown.any():
            raise LabelError(
                f"{int(unknown.sum())} of {len(y)} labels ({pd.unique(y[unknown])[:5]!r}) are not among the "
                f"training classes {self.classes!r}; expected one of them in each row. Leave these rows out, "
                "or train with them."
            )
        return codes

    @property
    def names_of_columns(self) -> np.ndarray:
        """What the columns of predicted probabilities stand for."""
        return self.classes

    def decode(self, values: np.ndarray) -> np.ndarray:
        return self.classes[values]

    def make(self, outcome: type[Outcome]) -> Outcome:
        return outcome(len(self.classes))

    def classes_of(self, codes: np.ndarray) -> np.ndarray:
        return codes[:, None] == np.arange(len(self.classes))

    @property
    def names_of_classes(self) -> list[object]:
        return self.classes.tolist()


@dataclass
class OrderedLabels(ClassLabels):
    """One of C ordered classes: in the order of ordered pandas categories, sorted otherwise."""

    outcomes = (Ordinal,)

    @classmethod
    def learn(cls, y: ArrayLike) -> Self:
        dtype = getattr(y, "dtype", None)
        if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
            return cls(cls._at_least_two(np.asarray(dtype.categories), len(_as_classes(y))))
        return cls(super().learn(y).classes)


@dataclass
class IndicatorLabels(Labels):
    """L binary labels at once, each 0 or 1, in columns with ``names``."""

    names: np.ndarray
    outcomes = (Multilabel,)

    @classmethod
    def learn(cls, y: ArrayLike) -> Self:
        values = cls._values(y)
        constant = [c for c in range(values.shape[1]) if np.ptp(values[:, c]) == 0]
        if constant:
            raise LabelError(
                f"Column {constant[0]} of y is {values[0, constant[0]]:g} in all {len(values)} rows; "
                "expected rows with 0 and rows with 1 in each column. Leave the column out, or add rows."
            )
        return cls(np.asarray(y.columns) if isinstance(y, pd.DataFrame) else np.arange(values.shape[1]))

    @staticmethod
    def _values(y: ArrayLike) -> np.ndarray:
        values = _read(_given(y))
        if values.ndim != 2 or values.shape[1] == 0:
            raise LabelError(
                f"y has shape {list(values.shape)}; expected [rows, labels] of 0 and 1. Give a column to "
                "each label."
            )
        try:
            values = values.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise LabelError(
                f"y cannot be read as 0 and 1 in {values.shape[1]} columns ({error}); expected these alone. "
                "Code each label as 0 or 1."
            ) from error
        wrong = ~np.isin(values, (0, 1))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise LabelError(
                f"y has {int(wrong.sum())} entries that are neither 0 nor 1 (first: {values[row, column]:g} "
                f"in row {row}, column {column}); expected these alone. Code each label as 0 or 1, and leave "
                "out rows without labels."
            )
        return values

    def encode(self, y: ArrayLike) -> np.ndarray:
        values = self._values(y)
        if values.shape[1] != len(self.names):
            raise LabelError(
                f"y has {values.shape[1]} columns; expected the {len(self.names)} labels of the training "
                f"rows ({list(self.names)}). Give a column to each."
            )
        if isinstance(y, pd.DataFrame) and list(y.columns) != list(self.names):
            raise LabelError(
                f"y has the columns {list(y.columns)}; expected {list(self.names)}, as in training. Put them "
                "in this order."
            )
        return values

    @property
    def names_of_columns(self) -> np.ndarray:
        """What the columns of predicted probabilities stand for."""
        return self.names

    def classes_of(self, codes: np.ndarray) -> np.ndarray:
        return np.hstack([codes == 1, codes == 0])

    @property
    def names_of_classes(self) -> list[object]:
        return [*self.names, *(f"not {name}" for name in self.names)]

    def decode(self, values: np.ndarray) -> np.ndarray:
        return values.astype(int)

    def make(self, outcome: type[Outcome]) -> Outcome:
        return outcome(len(self.names))


@dataclass
class NumberLabels(Labels):
    """A real number, in units of the training labels' standard deviation ``scale`` from their ``mean``."""

    mean: float
    scale: float
    outcomes = (Normal,)

    @classmethod
    def learn(cls, y: ArrayLike) -> Self:
        values = cls._values(y)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = float(values.mean()), float(values.std())
        if not np.isfinite([mean, scale]).all():
            raise LabelError(
                f"The {len(values)} labels reach from {values.min():g} to {values.max():g}, and their spread "
                "is beyond double precision; expected a finite one. Divide them by "
                f"{np.abs(values).max():.0e}."
            )
        return cls(mean, scale if scale > 1e-12 * max(1.0, abs(mean)) else 1.0)

    @staticmethod
    def _values(y: ArrayLike) -> np.ndarray:
        values = _one_a_row(_given(y), "For several numbers fit a regressor to each.")
        if values.dtype.kind in "Mm":
            unit = "pd.Timedelta('1D')" if values.dtype.kind == "m" else ""
            less = " / " + unit if unit else " - pd.Timestamp('2000-01-01')) / pd.Timedelta('1D')"
            raise LabelError(
                f"y holds {values.dtype} in {len(values)} rows; expected numbers. Make them days: "
                f"{'' if unit else '('}y{less}."
            )
        try:
            values = values.astype(float)
        except (TypeError, ValueError) as error:
            raise LabelError(
                f"y cannot be read as numbers ({error}); expected such. Give one number a row."
            ) from error
        _refuse_unusable(values)
        return values

    def encode(self, y: ArrayLike) -> np.ndarray:
        return ((self._values(y) - self.mean) / self.scale).astype(np.float32)

    def decode(self, values: np.ndarray) -> np.ndarray:
        return self.mean + self.scale * values

    def make(self, outcome: type[Outcome]) -> Outcome:
        return outcome()


def labels_of(outcome: type[Outcome]) -> type[Labels]:
    """The kind of labels that an outcome, or the nearest of its bases, has.

    Raises
    ------
    LabelError
        For what is no outcome, or derived from none that has labels.

    >>> labels_of(Ordinal).__name__
    'OrderedLabels'
    """
    kinds = (ClassLabels, OrderedLabels, IndicatorLabels, NumberLabels)
    of_base = {base: kind for kind in kinds for base in kind.outcomes}
    for base in getattr(outcome, "__mro__", ()):
        if base in of_base:
            return of_base[base]
    names = ", ".join(base.__name__ for base in of_base)
    raise LabelError(
        f"The outcome is {getattr(outcome, '__name__', outcome)!r}; expected a subclass of one of {names}, "
        "whose labels are known. Derive it from one of them."
    )


def label_count(y: ArrayLike | None) -> int:
    """How many rows have labels here; 0 for what is no sequence.

    Raises
    ------
    LabelError
        Where they cannot be read.

    >>> label_count(["a", "b"]), label_count(3)
    (2, 0)
    """
    shape = _read(_given(y)).shape
    return shape[0] if shape else 0


def _given(y: ArrayLike | None) -> Any:
    """Labels that an array can be made of."""
    if y is None:
        raise LabelError(
            "This estimator requires y to be passed, but the target y is None; expected labels. Pass one "
            "label a row."
        )
    y = _without_gaps(y)
    if issparse(y):
        raise LabelError(
            f"y is a sparse matrix of shape {list(np.shape(cast(Any, y)))}; expected an array. Pass "
            "y.toarray()."
        )
    try:
        return array_of(y)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise LabelError(f"y cannot be read: {error}; expected labels in memory. Pass such.") from error


def _read(y: Any) -> np.ndarray:
    try:
        read = np.asarray(y)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise LabelError(
            f"y cannot be read as one label a row: {error!s:.200}; expected rows of one length. Give each "
            "row as many labels."
        ) from error
    if isinstance(y, list | tuple) and read.dtype.kind in "SUf" and not _told_apart(y, read.dtype.kind):
        raise LabelError(
            f"The {len(y)} labels are not all of one type, and NumPy would read some of them as others; "
            "expected strings, integers, booleans or real numbers alone. Convert them."
        )
    if read.dtype.kind not in "biufSUTOMm":
        raise LabelError(
            f"y holds {read.dtype.name} in its {len(np.atleast_1d(read))} rows; expected strings, integers, "
            "booleans or real numbers. Convert it."
        )
    if read.shape[:1] == (0,):
        raise LabelError("y has 0 labels; expected one a row, and a row at least. Pass some rows.")
    return read


def _without_gaps(y: Any) -> Any:
    """Labels that are no masked array, or one in which nothing is masked."""
    if np.ma.isMaskedArray(y):
        mask = np.asarray(np.ma.getmaskarray(y))
        masked = mask.any(axis=tuple(range(1, mask.ndim)))
        if masked.any():
            raise LabelError(
                f"{int(masked.sum())} of {len(y)} labels are masked (first: row {int(masked.argmax())}); "
                "expected a label in each row. Leave these rows out: x[~mask], y[~mask] with "
                "mask = np.ma.getmaskarray(y)."
            )
        return y.data
    return y


def _told_apart(y: list | tuple, kind: str) -> bool:
    """Whether NumPy's one type for a list keeps its entries: numbers beside strings become strings."""
    if kind == "f":
        whole = (v for v in y if isinstance(v, int | np.integer))
        return all(abs(int(v)) <= 2**53 for v in whole)
    return all(isinstance(v, str | bytes) or not np.isscalar(v) for v in y)


def _as_classes(labels: ArrayLike) -> np.ndarray:
    y = _given(labels)
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        y = y.iloc[:, 0]  # as an array of the frame, nullable integers would become floats
    if isinstance(y, pd.Series) and hasattr(y.dtype, "numpy_dtype") and not y.isna().any():
        y = y.to_numpy(y.dtype.numpy_dtype)  # scikit-learn makes floats of nullable integers and booleans
    y = _one_a_row(y, 'For several binary labels at once set outcome="multilabel".')
    _refuse_unusable(y)
    if len(y):
        try:
            # Floats beyond all integers are no classes either; of many classes `learn` tells, once.
            with np.errstate(invalid="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_classification_targets(y)
        except (TypeError, ValueError) as error:
            raise LabelError(
                f"The {len(y)} labels are not classes ({error}); expected such. Give strings, integers or "
                "booleans, all of one type, or use PrimoRegressor for numbers."
            ) from error
    return y


def _one_a_row(y: ArrayLike, cure: str) -> np.ndarray:
    read = _read(y)
    if len(read.shape) != 1 and read.shape[1:] != (1,):
        raise LabelError(f"y has shape {list(read.shape)}; expected one label a row. {cure}")
    if isinstance(y, np.matrix):
        y = read
    try:
        column = column_or_1d(y, warn=True)
    except (TypeError, ValueError) as error:
        raise LabelError(
            f"y cannot be read as one label a row ({error!s:.200}); expected such. Give a list or an array "
            "of labels."
        ) from error
    if column.dtype.char in "eg":  # pandas knows neither half nor extended precision
        column = column.astype(float)
    return column


def _refuse_unusable(y: np.ndarray) -> None:
    unusable = pd.isna(y) | (np.isinf(y) if y.dtype.kind == "f" else False)
    if y.dtype.kind in "UO":
        unusable |= np.array([isinstance(label, str) and label.strip() in NO_LABEL for label in y], bool)
    if unusable.any():
        raise LabelError(
            f"{int(unusable.sum())} of {len(y)} labels are missing or infinite (first: row "
            f"{int(unusable.argmax())}, {y[unusable][:1].tolist()[0]!r}); expected a label in each. Leave "
            "these rows out, or label them."
        )
