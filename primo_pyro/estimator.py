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
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import validate_data
from torch import nn

from primo_pyro.errors import LabelError, ModalityError, UnseenPatternWarning, warn
from primo_pyro.labels import ClassLabels, IndicatorLabels, Labels, label_count, labels_of
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
from primo_pyro.program.outcomes import Categorical, Outcome
from primo_pyro.training import Schedule, train

__all__ = ["ClassesMixin", "ModalityEstimator", "NetworkEstimator"]


class ModalityEstimator(BaseEstimator, ABC):
    """Base of all estimators: from rows and labels as users bring them to training and validation rows.

    A subclass stores ``validation_fraction`` and ``random_state``, and trains in ``_train``. Fitting learns
    ``labels_``, ``shapes_``, ``optional_``, ``patterns_`` and ``seed_``.
    """

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
    shapes_: dict[str, tuple[int, ...]]
    optional_: tuple[str, ...]
    patterns_: set[tuple[str, ...]]
    seed_: int
    history_: pd.DataFrame
    model_: Any  # the kind of method says what it is

    def fit(self, x: RowsLike, y: ArrayLike, validation: tuple[RowsLike, ArrayLike] | None = None) -> Self:
        """Train on rows ``x`` with labels ``y`` ``[N]``.

        Parameters
        ----------
        x
            `Modalities`, a mapping of blocks, or an array ``[N, F]`` (one modality named ``"x"``).
        y
            One label a row.
        validation
            Rows and labels that choose the epoch, in place of ``validation_fraction``.

        Raises
        ------
        ParameterError, ModalityError, LabelError
            For whatever cannot be trained with or on, before training starts.

        A fit that does not end well, for whatever reason, leaves an estimator that is not fitted; with
        ``warm_start``, the one that the fit before had left.
        """
        warm = bool(self.warm_start) and hasattr(self, "model_")
        with one_at_a_time(), kept_or_forgotten(self, keep=warm):
            check_parameters(self)
            if warm:
                check_unchanged(self)
            return self._fit(x, y, validation, warm)

    def _fit(
        self, x: RowsLike, y: ArrayLike, validation: tuple[RowsLike, ArrayLike] | None, warm: bool
    ) -> Self:
        seed = self._draw_seed()
        x, codes = self._learn_rows(x, y, warm)
        if validation is None:
            x, codes, x_val, y_val = self._split_off(x, codes, seed)
        else:
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                raise ModalityError(
                    f"validation is {type(validation).__name__} ({validation!r:.60}); expected rows and "
                    "their labels. Write validation=(x, y)."
                )
            x_val = self._of_known_shapes(self._as_modalities(validation[0], reset=False))
            y_val = self.labels_.encode(validation[1])
            _check_lengths(x_val, y_val)
        self.seed_ = seed
        self._train(*self._only_usable(x, codes), *self._only_usable(x_val, y_val), warm=warm)
        remember(self)
        return self

    # --- What a method says ------------------------------------------------------------------------------

    @abstractmethod
    def _train(
        self, x: Modalities, y: np.ndarray, x_val: Modalities, y_val: np.ndarray, *, warm: bool
    ) -> None:
        """Train on rows and encoded labels; the validation rows may be none. Sets ``model_``."""

    def _outcome_class(self) -> type[Outcome]:
        return Categorical

    def _usable(self, x: Modalities) -> np.ndarray:
        """Booleans ``[N]``: the rows that the method can be trained on."""
        return np.ones(len(x), bool)

    # --- The door ----------------------------------------------------------------------------------------

    def _draw_seed(self) -> int:
        """From ``random_state``; None is fresh entropy, where scikit-learn would move the global state."""
        if self.random_state is None:
            return int(np.random.default_rng().integers(2**31 - 1))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True  # a mapping of blocks
        return tags

    def _learn_rows(self, x: RowsLike, y: ArrayLike, warm: bool = False) -> tuple[Modalities, np.ndarray]:
        """Rows and encoded labels.

        Learns ``labels_``, ``shapes_``, ``optional_`` and ``patterns_``, or, where training ``warm``,
        checks the rows against them.
        """
        x = self._as_modalities(x, reset=not warm)
        if len(x) == 0:
            raise ModalityError("x has 0 rows; expected at least one row of each class. Pass some rows.")
        if warm:
            x = self._of_known_shapes(x)
        labels = self.labels_ if warm else None
        if y is not None:
            _check_lengths(x, y)
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
        return x, codes

    def _as_modalities(self, x: RowsLike, **validate: bool) -> Modalities:
        if isinstance(x, Modalities):
            return x
        if isinstance(x, Mapping) and not issparse(x):  # SciPy's "dok" is a mapping too
            return Modalities(x)
        return Modalities({"x": validate_data(self, x, dtype=np.float32, **validate)})

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

    def _split_off(
        self, x: Modalities, y: np.ndarray, seed: int
    ) -> tuple[Modalities, np.ndarray, Modalities, np.ndarray]:
        """Training and validation rows; every class keeps at least one training row."""
        order = np.random.default_rng(seed).permutation(len(y))
        spare = order[~self.labels_.first_of_each(y[order])]
        held_out = np.sort(spare[: int(self.validation_fraction * len(y))])
        kept = np.setdiff1d(np.arange(len(y)), held_out)
        return x[kept], y[kept], x[held_out], y[held_out]

    def _only_usable(self, x: Modalities, y: np.ndarray) -> tuple[Modalities, np.ndarray]:
        usable = self._usable(x)
        if len(x) and not usable.any():
            raise ModalityError(
                f"None of {len(x)} rows has every modality ({', '.join(x.names)}), and "
                f"{type(self).__name__} is trained on such rows alone. Bring complete rows."
            )
        return (x, y) if usable.all() else (x[usable], y[usable])

    def _as_known_rows(self, x: RowsLike) -> Modalities:
        """Rows as in training; patterns of absence that no training row had are warned about."""
        require_fitted(self)
        x = self._of_known_shapes(self._as_modalities(x, reset=False))
        counts = _patterns(x)
        unknown = sorted(pattern for pattern in counts if pattern not in self.patterns_)
        if unknown:
            what = " or ".join("only " + ", ".join(pattern) if pattern else "nothing" for pattern in unknown)
            warn(
                f"{sum(counts[pattern] for pattern in unknown)} of {len(x)} rows have {what} present, as no "
                "training row had; the model never learnt from rows like these. Drop modalities in training "
                "(drop_at_random) to teach it.",
                UnseenPatternWarning,
            )
        return x

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
            shape = x.values[name].shape[1:]
            if x.present[name].any() and shape != self.shapes_[name]:
                raise ModalityError(
                    f"Modality {name!r} has {len(x)} rows of shape {list(shape)}; the model was trained on "
                    f"{list(self.shapes_[name])}. Give the same features in the same order."
                )
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
        Share of the training rows held out to choose the epoch; 0 trains on all, to the last epoch.
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
    batch_size: int = Schedule.batch_size
    learning_rate: float = Schedule.learning_rate
    weight_decay: float = Schedule.weight_decay
    clip_norm: float = Schedule.clip_norm
    patience: int | None = Schedule.patience
    averaging: float = Schedule.averaging
    validation_fraction: float = 0.1
    warm_start: bool = False
    checkpoint: str | PathLike[str] | None = None
    callbacks: Sequence[Callable[[dict[str, float]], object]] = ()
    device: str = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

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

    def _train(
        self, x: Modalities, y: np.ndarray, x_val: Modalities, y_val: np.ndarray, *, warm: bool
    ) -> None:
        if warm:
            for network in networks_of(self):
                network.to(self._device())
        else:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed_)
                self._build(x)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed_ + 1)  # the networks were drawn from the seed itself
            program = self._make_loss()
        self.history_ = train(
            program,
            x,
            y,
            schedule=Schedule(**{f.name: getattr(self, f.name) for f in fields(Schedule)}),
            seed=self.seed_,
            warm_up=self.warm_up,
            score=(lambda: self._validation_scores(x_val, y_val)) if len(x_val) else None,
            callbacks=self.callbacks,
            checkpoint=self.checkpoint,
            scored_on=(x_val, y_val),
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

    def _device(self) -> torch.device:
        return torch.device(
            self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        )


def _check_lengths(x: Modalities, y: ArrayLike) -> None:
    rows = label_count(y)
    if len(x) != rows:
        raise LabelError(f"x has {len(x)} rows and y {rows} labels; expected one label a row. Correct y.")


def _patterns(x: Modalities) -> dict[tuple[str, ...], int]:
    """The combinations of present modalities that occur, and in how many rows."""
    names = sorted(x.names)
    present = np.stack([x.present[name] for name in names], axis=1)
    patterns, rows = np.unique(present, axis=0, return_counts=True)
    named = (tuple(name for name, is_in in zip(names, p, strict=True) if is_in) for p in patterns)
    return dict(zip(named, rows.tolist(), strict=True))
