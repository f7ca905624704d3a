"""What all estimators share: the door for rows and labels, one `fit`, and the training of networks.

All take the same input, hold out the same validation rows for the same seed, refuse the same mistakes in the
same words, and are trained by the same loop with the same defaults, so that a comparison compares methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import validate_data
from torch import nn

from primo_pyro.door import align_labels, split_labels, warn_of_shapes
from primo_pyro.errors import MissingCellsWarning, ModalityError, RowError, UnseenPatternWarning, warn
from primo_pyro.held_out import Rows, codes_of_groups, held_out_rows, warn_of_absent_classes
from primo_pyro.identity import Names as ColumnNames
from primo_pyro.labels import ClassLabels, IndicatorLabels, Labels, labels_of
from primo_pyro.lifecycle import check_unchanged, kept_or_forgotten, networks_of, remember, require_fitted
from primo_pyro.locks import one_at_a_time
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import (
    AnyOf,
    Callables,
    CheckpointFile,
    Device,
    Flag,
    Names,
    Range,
    Real,
    Seed,
    Whole,
    check_parameters,
)
from primo_pyro.program.inputs import features_of, missing_cells, refuse_missing_cells
from primo_pyro.program.outcomes import Categorical, Outcome
from primo_pyro.tables import Blocks, TableReader
from primo_pyro.training import Schedule, train
from primo_pyro.weights import row_weights

__all__ = ["ClassesMixin", "ModalityEstimator", "NetworkEstimator", "labelled_rows"]


class ModalityEstimator(BaseEstimator, ABC):
    """Base of all estimators: from rows and labels as users bring them to training and validation rows.

    A subclass stores ``validation_fraction`` and ``random_state``, and trains in ``_train``. Fitting learns
    ``labels_``, ``shapes_``, ``columns_``, ``missing_cells_``, ``optional_``, ``patterns_`` and
    ``seed_``; with ``blocks`` also ``reader_``.
    """

    blocks: Blocks | TableReader | None = None  # None: rows come as blocks already
    optional: Sequence[str] | None = None  # None: whatever is absent in some training row
    warm_start: bool = False
    validation_fraction: float
    random_state: int | np.random.RandomState | None

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "optional": Names(),
        "warm_start": Flag(),
        "validation_fraction": Real(0, 1, below=True),
        "random_state": Seed(),
    }

    labels_: Labels
    reader_: TableReader  # where blocks were given
    shapes_: dict[str, tuple[int, ...]]
    columns_: dict[str, ColumnNames]
    missing_cells_: dict[str, np.ndarray]
    optional_: tuple[str, ...]
    patterns_: set[tuple[str, ...]]
    seed_: int
    history_: pd.DataFrame
    model_: Any  # the kind of method says what it is

    def fit(
        self,
        x: RowsLike,
        y: ArrayLike | str,
        validation: tuple[RowsLike, ArrayLike | str] | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Train on rows ``x`` with labels ``y`` ``[N]``.

        Parameters
        ----------
        x
            `Modalities`, a mapping of blocks, or an array ``[N, F]`` (one modality named ``"x"``). With
            ``blocks``, a DataFrame.
        y
            One label a row, or the name of a column of ``x``. A Series is put into the order of the rows, see
            `primo_pyro.identity`.
        validation
            Rows and labels that choose the epoch, in place of ``validation_fraction``.
        groups
            A value a row, as the patient's name: rows of one group are trained on or held out together.

        Raises
        ------
        ParameterError, ModalityError, LabelError, RowError
            For whatever cannot be trained with or on, before training starts.

        Warns
        -----
        FewRowsWarning
            Where no validation row has one of the classes.

        Notes
        -----
        A fit that does not end well, for whatever reason, leaves an estimator that is not fitted; with
        ``warm_start``, the one that the fit before had left.
        """
        return self._fit(x, y, validation, groups)

    def _fit(
        self,
        x: RowsLike,
        y: ArrayLike,
        validation: tuple[RowsLike, ArrayLike] | tuple[RowsLike, ArrayLike, ArrayLike] | None,
        groups: ArrayLike | None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        warm = bool(self.warm_start) and hasattr(self, "model_")
        with one_at_a_time(), kept_or_forgotten(self, keep=warm):
            check_parameters(self)
            if warm:
                check_unchanged(self)
            self._fit_alone(x, y, validation, groups, sample_weight, warm)
            remember(self)
        return self

    def _fit_alone(
        self,
        x: RowsLike,
        y: ArrayLike,
        validation: tuple[RowsLike, ArrayLike] | tuple[RowsLike, ArrayLike, ArrayLike] | None,
        groups: ArrayLike | None,
        sample_weight: ArrayLike | None,
        warm: bool,
    ) -> None:
        seed = self._draw_seed()
        given_rows, given_labels = split_labels(x, y)
        x, codes = self._learn_rows(given_rows, given_labels, warm)
        of_class = self._class_weights(codes)
        sample_weight = x.align("sample_weight", sample_weight, RowError)
        weights = row_weights(sample_weight, len(x), None if of_class is None else of_class[codes])
        rows = Rows(x, codes, weights)
        given = codes_of_groups(x.align("groups", groups, RowError), len(rows))
        self.seed_ = seed
        if validation is None:
            parts = self._split(rows, given)
        else:
            if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
                raise ModalityError(
                    f"validation is {type(validation).__name__} ({validation!r:.60}); expected rows and "
                    "their labels. Write validation=(x, y)."
                )
            given_rows, given_labels = split_labels(*validation[:2])
            x_val = self._of_known_shapes(self._as_modalities(given_rows, reset=False))
            y_val = self.labels_.encode(align_labels(x_val, given_labels))
            by_class = None if of_class is None else of_class[y_val]
            given_weights = validation[2] if len(validation) == 3 else None
            weights = row_weights(x_val.align("weights", given_weights, RowError), len(x_val), by_class)
            parts = [(rows, Rows(x_val, y_val, weights))]
        warn_of_absent_classes(
            self.labels_.classes_of(codes),
            [self.labels_.classes_of(held_out.y) for _, held_out in parts],
            self.labels_.names_of_classes,
        )
        usable = [(self._only_usable(train), self._only_usable(held_out)) for train, held_out in parts]
        self._train_each(usable, warm=warm)

    # --- What a method says ------------------------------------------------------------------------------

    @abstractmethod
    def _train(self, rows: Rows, held_out: Rows, *, warm: bool) -> None:
        """Train on rows and encoded labels; the validation rows may be none. Sets ``model_``."""

    def _outcome_class(self) -> type[Outcome]:
        return Categorical

    def _train_each(self, parts: Sequence[tuple[Rows, Rows]], *, warm: bool) -> None:
        """Train on the training and validation rows of each fit, of which there is one as a rule."""
        ((rows, held_out),) = parts
        self._train(rows, held_out, warm=warm)

    def _class_weights(self, codes: np.ndarray) -> np.ndarray | None:
        """What a row of each class counts ``[C]``, from the encoded training labels; None: all the same."""
        return None

    def _usable(self, x: Modalities) -> np.ndarray:
        """Booleans ``[N]``: the rows that the method can be trained on."""
        return np.ones(len(x), bool)

    def _given_encoders(self) -> Mapping[str, nn.Module]:
        """Encoders of the user's own, which may not take missing cells."""
        return {}

    # --- The door ----------------------------------------------------------------------------------------

    def _draw_seed(self) -> int:
        """From ``random_state``; None is fresh entropy, where scikit-learn would move the global state."""
        if self.random_state is None:
            return int(np.random.default_rng().integers(2**31 - 1))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True  # a mapping of blocks
        tags.input_tags.allow_nan = True
        return tags

    def _learn_rows(self, x: RowsLike, y: ArrayLike, warm: bool = False) -> tuple[Modalities, np.ndarray]:
        """Rows and encoded labels.

        Learns ``labels_``, ``shapes_``, ``missing_cells_``, ``optional_`` and ``patterns_``, or, where
        training ``warm``, checks the rows against them.
        """
        x = self._as_modalities(x, reset=not warm)
        if len(x) == 0:
            raise ModalityError("x has 0 rows; expected at least one row of each class. Pass some rows.")
        if warm:
            x = self._of_known_shapes(x)
        labels = self.labels_ if warm else None
        if y is not None:
            y = align_labels(x, y)
        if not warm:
            warn_of_shapes(x, getattr(self, "encoders", None))
        for name in x.names:
            if not x.present[name].any():
                raise ModalityError(
                    f"Modality {name!r} is absent in every one of {len(x)} training rows; nothing can be "
                    "learnt of it. Leave it out, or add rows that have it."
                )
            if 0 in x.values[name].shape[1:]:
                raise ModalityError(
                    f"Modality {name!r} has {len(x)} rows of shape {list(x.values[name].shape[1:])}, which "
                    "holds no feature; expected at least one. Leave it out."
                )
        refuse_missing_cells(x, self._given_encoders())
        optional = self._optional_of(x, warm)
        labels = labels or labels_of(self._outcome_class()).learn(y)
        codes = labels.encode(y)
        patterns = set(_patterns(x))
        if warm:
            self.patterns_ = self.patterns_ | patterns
        else:
            self.labels_ = labels
            self.optional_, self.patterns_ = optional, patterns
            self.shapes_ = {name: x.values[name].shape[1:] for name in sorted(x.names)}
            self.columns_ = dict(x.columns)
            self.missing_cells_ = missing_cells(x)
        return x, codes

    def read(self, x: RowsLike) -> Modalities:
        """Rows as the fitted estimator reads them, for picking rows by what they have.

        >>> from primo_pyro import PrimoClassifier
        >>> frame = pd.DataFrame({"age": [71, 40, 55, 63], "lactate": [1.2, np.nan, 0.8, 0.9]})
        >>> clf = PrimoClassifier(blocks={"history": "age", "blood": "lactate"}, max_epochs=1, random_state=0)
        >>> x = clf.fit(frame, [1, 0, 0, 1]).read(frame)
        >>> x[x.present["blood"]]
        Modalities(3 rows: blood [1] in all, history [1] in all)
        """
        require_fitted(self)
        return self._of_known_shapes(self._as_modalities(x, reset=False))

    def _as_modalities(self, x: RowsLike, **validate: bool) -> Modalities:
        if self.blocks is not None:
            return self._read_table(x, validate["reset"])
        if isinstance(x, Modalities):
            return x
        if isinstance(x, pd.DataFrame):
            return self._read_frame(x, validate["reset"])
        if isinstance(x, Mapping) and not issparse(x):  # SciPy's "dok" is a mapping too
            return Modalities(x)
        numbers = validate_data(self, x, dtype=np.float64, ensure_all_finite="allow-nan", **validate)
        return Modalities({"x": numbers})

    def _read_table(self, x: RowsLike, reset: bool) -> Modalities:
        """By the columns of ``blocks``, learnt where ``reset``."""
        if not reset:
            return x if isinstance(x, Modalities) else self.reader_.transform(x)
        blocks = self.blocks
        self.reader_ = clone(blocks) if isinstance(blocks, TableReader) else TableReader(cast(Blocks, blocks))
        return self.reader_.fit_transform(x)

    def _read_frame(self, x: pd.DataFrame, reset: bool) -> Modalities:
        """A DataFrame of numbers as one modality, with scikit-learn's names of what was learnt of it."""
        rows = Modalities({"x": x})
        if reset:
            self.n_features_in_ = x.shape[1]
            if all(isinstance(name, str) for name in x.columns):
                self.feature_names_in_ = np.asarray(x.columns, object)
        return rows

    def _optional_of(self, x: Modalities, warm: bool) -> tuple[str, ...]:
        """The modalities that may be absent, in alphabetical order."""
        partly = tuple(name for name in x.names if not x.present[name].all())
        optional: Sequence[str] = (
            self.optional_ if warm else partly if self.optional is None else self.optional
        )
        if isinstance(optional, str):
            raise ModalityError(
                f"optional is the string {optional!r}; expected names in a sequence. Write "
                f"optional=({optional!r},)."
            )
        for name in optional:
            if name not in x.names:
                raise ModalityError(
                    f"optional names {name!r}, which is no modality of x with its {len(x)} rows "
                    f"({', '.join(x.names)}). Correct it."
                )
        for name in partly:
            if name not in optional:
                raise ModalityError(
                    f"Modality {name!r} is observed, not optional, but absent in "
                    f"{len(x) - int(x.present[name].sum())} of {len(x)} training rows. Add it to "
                    "optional, or leave these rows out."
                )
        return tuple(sorted(optional))

    def _split(self, rows: Rows, groups: np.ndarray | None) -> list[tuple[Rows, Rows]]:
        """Training and validation rows of each fit, one as a rule."""
        held = held_out_rows(
            rows.x, self.labels_.classes_of(rows.y), self.validation_fraction, self.seed_, groups
        )
        return [(rows[np.setdiff1d(np.arange(len(rows)), held)], rows[held])]

    def _only_usable(self, rows: Rows) -> Rows:
        usable = self._usable(rows.x)
        if len(rows) and not usable.any():
            raise ModalityError(
                f"None of {len(rows)} rows has every modality ({', '.join(rows.x.names)}), and "
                f"{type(self).__name__} is trained on such rows alone. Bring complete rows."
            )
        return rows if usable.all() else rows[usable]

    def _as_known_rows(self, x: RowsLike) -> Modalities:
        """Rows as in training; patterns of absence that no training row had are warned about."""
        require_fitted(self)
        x = self._of_known_shapes(self._as_modalities(x, reset=False))
        self._warn_of_missing_cells(x)
        counts = _patterns(x)
        unknown = sorted(pattern for pattern in counts if pattern not in self.patterns_)
        if unknown:
            some = ["only " + ", ".join(pattern) if pattern else "nothing" for pattern in unknown[:3]]
            what = " or ".join([*some, *(["others"] if len(unknown) > 3 else [])])
            warn(
                f"{sum(counts[pattern] for pattern in unknown)} of {len(x)} rows have {what} present, as no "
                "training row had; the model never learnt from rows like these. Drop modalities in training "
                "(drop_at_random) to teach it.",
                UnseenPatternWarning,
            )
        return x

    def _warn_of_missing_cells(self, x: Modalities) -> None:
        new = {
            name: missing & ~self.missing_cells_[name]
            for name, missing in missing_cells(x).items()
            if missing.any()
        }
        where = "; ".join(features_of(x, name, chosen) for name, chosen in new.items() if chosen.any())
        if where:
            warn(
                f"Cells are missing (NaN) where no training row lacked them ({where}); they are filled, and "
                "the model never learnt what their absence says. Fill them in a better way first, or train "
                "on rows with such cells.",
                MissingCellsWarning,
            )

    def _of_known_shapes(self, x: Modalities) -> Modalities:
        """The same rows with the modalities of the training rows."""
        if len(x) == 0:
            raise ModalityError("x has 0 rows; expected at least one. Pass some rows.")
        for name in x.names:
            if name not in self.shapes_:
                raise ModalityError(
                    f"Unknown modality {name!r} in {len(x)} rows; the model was trained on "
                    f"{', '.join(self.shapes_)}. Correct the name, or leave it out."
                )
        x = x.in_columns(self.columns_)
        for name in x.names:
            shape = x.values[name].shape[1:]
            if x.present[name].any() and shape != self.shapes_[name]:
                raise ModalityError(
                    f"Modality {name!r} has {len(x)} rows of shape {list(shape)}; the model was trained on "
                    f"{list(self.shapes_[name])}. Give the same features in the same order."
                )
        refuse_missing_cells(x, self._given_encoders())
        return x.select(*self.shapes_)


class ClassesMixin(ClassifierMixin):
    """What classifiers have beside ``predict_proba``."""

    labels_: Labels

    @abstractmethod
    def predict_proba(self, x: RowsLike) -> np.ndarray:
        """Predicted probabilities ``[N, C]``."""

    @property
    def classes_(self) -> np.ndarray:
        """The C classes; the names of the L labels, where there are several."""
        require_fitted(self, "labels_")
        return cast(ClassLabels | IndicatorLabels, self.labels_).names_of_columns

    def predict(self, x: RowsLike) -> np.ndarray:
        """Most probable label ``[N]``."""
        p = self.predict_proba(x)
        return self.labels_.decode(p.argmax(axis=1))

    def score(self, x: RowsLike, y: ArrayLike | str, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy, of labels or of a column's name as in ``fit``."""
        x, y = labelled_rows(cast(ModalityEstimator, self), x, y)
        return super().score(x, y, sample_weight)


@dataclass(eq=False, repr=False, kw_only=True)
class NetworkEstimator(ModalityEstimator):
    """Base of all estimators that train networks.

    Parameters
    ----------
    hidden_dim
        Size of representations and hidden layers.
    dropout
        Dropout rate in encoders and label networks.
    max_epochs, batch_size, learning_rate, weight_decay, clip_norm, patience
        See `primo_pyro.training.Schedule`.
    validation_fraction
        Share of the training rows held out to choose the epoch, alike in classes and in what is absent; 0
        trains on all, to the last epoch.
    blocks
        Which columns of a DataFrame make up each modality, names or patterns (``{"labs": ["lab_*"]}``), or a
        `primo_pyro.tables.TableReader`. Everything then takes DataFrames: texts, missing cells and all.
    warm_start
        Whether ``fit`` goes on from the parameters of the last ``fit``.
    checkpoint
        File that allows a killed ``fit`` to be resumed exactly.
    callbacks
        Functions of an epoch's row of the history; a true answer ends training. Saving leaves them out.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    random_state
        Seed of everything random; the global random state is never touched.
    verbose
        1 shows a progress bar with the parts of the loss.

    Attributes
    ----------
    history_ : DataFrame, a row per epoch
    model_ : the Pyro program of the story
    optional_ : tuple of the modalities that may be absent
    """

    hidden_dim: int = 64
    dropout: float = 0.0
    max_epochs: int = Schedule.max_epochs
    batch_size: int | None = Schedule.batch_size
    learning_rate: float = Schedule.learning_rate
    weight_decay: float = Schedule.weight_decay
    clip_norm: float = Schedule.clip_norm
    patience: int | None = Schedule.patience
    averaging: float = Schedule.averaging
    validation_fraction: float = 0.1
    blocks: Blocks | TableReader | None = None
    warm_start: bool = False
    checkpoint: str | PathLike[str] | None = None
    callbacks: Sequence[Callable[[dict[str, float]], object]] = ()
    device: str = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    def _given_encoders(self) -> Mapping[str, nn.Module]:
        if hasattr(self, "adopted_"):
            return dict(self.model_.encoder.items())
        return getattr(self, "encoders", None) or {}

    parameter_ranges: ClassVar[dict[str, Range]] = Schedule.parameter_ranges | {
        "hidden_dim": Whole(1, 2**16),
        "dropout": Real(0, 1, below=True),
        "checkpoint": CheckpointFile(),
        "callbacks": Callables(),
        "device": Device(),
        "verbose": AnyOf(Flag(), Whole(0)),
    }

    @property
    def warm_up(self) -> float:
        """Share of training during which KL terms and factors rise to full weight."""
        return 0.0

    def _train(self, rows: Rows, held_out: Rows, *, warm: bool) -> None:
        if warm:
            for network in networks_of(self):
                network.to(self._device())
        else:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed_)
                self._build(rows.x)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed_ + 1)  # the networks were drawn from the seed itself
            program = self._make_loss()
        self.history_ = train(
            program,
            rows.x,
            rows.y,
            weights=rows.weights,
            schedule=Schedule(**{f.name: getattr(self, f.name) for f in fields(Schedule)}),
            seed=self.seed_,
            warm_up=self.warm_up,
            score=(lambda: self._weighted_scores(held_out)) if len(held_out) else None,
            callbacks=self.callbacks,
            checkpoint=self.checkpoint,
            scored_on=[held_out.x, held_out.y, held_out.weights],
            verbose=self.verbose,
        )

    @abstractmethod
    def _build(self, x: Modalities) -> None:
        """Make ``model_`` and whatever else is trained, for rows like these, on `_device`."""

    @abstractmethod
    def _make_loss(self) -> nn.Module:
        """The loss of a batch and its labels, summed over rows, as a module of all that is trained."""

    @abstractmethod
    def _validation_scores(self, x: Modalities, y: np.ndarray) -> dict[str, np.ndarray]:
        """Numbers of the N validation rows, whose means the history has; ``val_log_loss`` decides."""

    def _weighted_scores(self, held_out: Rows) -> dict[str, np.ndarray]:
        scores, weights = self._validation_scores(held_out.x, held_out.y), held_out.weights
        if weights is not None and weights.any():
            scores["val_log_loss"] = scores["val_log_loss"] * (weights / weights.mean())
        return scores

    def _device(self) -> torch.device:
        return torch.device(
            self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        )


def labelled_rows(
    estimator: ModalityEstimator, x: RowsLike, y: ArrayLike | str
) -> tuple[Modalities, ArrayLike]:
    """Rows as a fitted estimator reads them, and their labels in the same order."""
    rows, labels = split_labels(x, y)
    known = estimator.read(rows)
    return known, align_labels(known, labels)


def _patterns(x: Modalities) -> dict[tuple[str, ...], int]:
    """The combinations of present modalities that occur, and in how many rows."""
    names = sorted(x.names)
    present = np.stack([x.present[name] for name in names], axis=1)
    patterns, rows = np.unique(present, axis=0, return_counts=True)
    named = (tuple(name for name, is_in in zip(names, p, strict=True) if is_in) for p in patterns)
    return dict(zip(named, rows.tolist(), strict=True))
