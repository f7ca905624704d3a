"""What all estimators share: the door for rows and labels, one `fit`, and the training of networks.

All take the same input, hold out the same validation rows for the same seed, refuse the same mistakes in the
same words, and are trained by the same loop with the same defaults, so that a comparison compares methods.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from torch import nn

from primo_pyro.door import align_labels, split_labels
from primo_pyro.errors import LabelError, ModalityError, RowError
from primo_pyro.held_out import Rows, codes_of_groups, held_out_rows, warn_of_absent_classes
from primo_pyro.labels import ClassLabels, IndicatorLabels, Labels
from primo_pyro.lifecycle import (
    check_unchanged,
    kept_or_forgotten,
    networks_of,
    remember,
    require_fitted,
)
from primo_pyro.locks import one_at_a_time
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import (
    AnyOf,
    Callables,
    CheckpointFile,
    Device,
    Flag,
    Range,
    Real,
    Seed,
    Whole,
    check_parameters,
)
from primo_pyro.reading import RowReader
from primo_pyro.rows import sample_of
from primo_pyro.schedule import Schedule
from primo_pyro.tables import Blocks, TableReader
from primo_pyro.training import train
from primo_pyro.weights import row_weights

__all__ = ["ClassesMixin", "ModalityEstimator", "NetworkEstimator", "labelled_rows"]

MOST_HELD_OUT = 2**14  # validation rows of a storage, which are held in memory


class ModalityEstimator(RowReader):
    """Base of all estimators: from rows and labels as users bring them to training and validation rows.

    A subclass stores ``validation_fraction`` and ``random_state``, and trains in ``_train``.
    """

    warm_start: bool = False
    validation_fraction: float
    random_state: int | np.random.RandomState | None

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "warm_start": Flag(),
        "validation_fraction": Real(0, 1, below=True),
        "random_state": Seed(),
    }

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
        warm = Flag().holds(self.warm_start) and bool(self.warm_start) and hasattr(self, "model_")
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
        usable = [
            (self._only_usable(train), self._only_usable(held_out).in_memory(MOST_HELD_OUT, seed))
            for train, held_out in parts
        ]
        self._train_each(usable, warm=warm)

    # --- What a method says ------------------------------------------------------------------------------

    @abstractmethod
    def _train(self, rows: Rows, held_out: Rows, *, warm: bool) -> None:
        """Train on rows and encoded labels; the validation rows may be none. Sets ``model_``."""

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

    # --- The door ----------------------------------------------------------------------------------------

    def _draw_seed(self) -> int:
        """From ``random_state``; None is fresh entropy, where scikit-learn would move the global state."""
        if self.random_state is None:
            return int(np.random.default_rng().integers(2**31 - 1))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

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
                f"{type(self).__name__} is trained on such rows alone; expected some. Bring complete rows."
            )
        return rows if usable.all() else rows[usable]


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
        return super().score(x, y, x.align("sample_weight", sample_weight, RowError))


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
        See `primo_pyro.schedule.Schedule`.
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
    max_epochs: int | None = Schedule.max_epochs
    batch_size: int | None = Schedule.batch_size
    learning_rate: float = Schedule.learning_rate
    weight_decay: float | None = Schedule.weight_decay
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
                self._build(sample_of(rows.x))
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
    if labels is None:
        raise LabelError(
            f"The target y is None, and x has {len(known)} rows; expected one label a row. Pass labels."
        )
    return known, align_labels(known, labels)
