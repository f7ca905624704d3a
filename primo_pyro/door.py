"""The door: rows and labels as users bring them in, training rows, integer labels and clear errors out.

Every estimator with networks comes through here, so that all of them take the same input, hold out the same
validation rows for the same seed, and refuse the same mistakes in the same words.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from primo_pyro.errors import LabelError, ModalityError, UnseenPatternWarning
from primo_pyro.modalities import Modalities
from primo_pyro.training import Schedule


class Door:
    """What estimators share before any network is built; mix it into a ``BaseEstimator``.

    The estimator stores ``optional`` (None: whatever is absent in some training row),
    ``validation_fraction``, ``device`` and the fields of `Schedule` under their own names.
    """

    def _schedule(self) -> Schedule:
        return Schedule(**{f.name: getattr(self, f.name) for f in fields(Schedule)})

    def _device(self) -> torch.device:
        return torch.device(
            self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        )

    def _as_training_set(self, x, y, validation: tuple | None, seed: int, goes_on: bool = False):
        """Training rows and labels as integers from 0, then those that choose the epoch.

        Learns ``classes_`` and ``shapes_``, or, where training ``goes_on``, holds the rows against them.
        """
        x, y = self._as_training_rows(x, y)
        if goes_on:
            self._check_known_labels(y)
        else:
            self.classes_ = np.unique(y)
            if len(self.classes_) < 2:
                raise LabelError(
                    f"y has one class only ({self.classes_[0]!r}) in {len(y)} rows; at least two classes are "
                    "wanted. Add rows of another class."
                )
            self.shapes_ = {name: x.values[name].shape[1:] for name in sorted(x.names)}
        self.patterns_ = _patterns(x)
        codes = np.searchsorted(self.classes_, y)
        if validation is None:
            return _split_off(x, codes, self.validation_fraction, seed)
        x_val = self._as_modalities(validation[0])
        y_val = column_or_1d(validation[1])
        self._check_known_labels(y_val)
        return x, codes, x_val, np.searchsorted(self.classes_, y_val)

    def _as_modalities(self, x, **validate) -> Modalities:
        if isinstance(x, Modalities):
            return x
        if isinstance(x, Mapping):
            return Modalities(x)
        return Modalities({"x": validate_data(self, x, dtype=np.float32, **validate)})

    def _as_training_rows(self, x, y) -> tuple[Modalities, np.ndarray]:
        if y is None:
            raise LabelError(
                "This classifier requires y to be passed, but the target y is None. Pass one label a row."
            )
        x = self._as_modalities(x)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if len(x) == 0:
            raise ModalityError("x has 0 rows; at least one row of each class is wanted. Pass some rows.")
        if len(x) != len(y):
            raise LabelError(f"x has {len(x)} rows and y {len(y)} labels. Give one label a row.")
        nowhere = [name for name in x.names if not x.present[name].any()]
        if nowhere:
            raise ModalityError(
                f"Modality {nowhere[0]!r} is absent in every one of {len(x)} training rows; nothing can be "
                "learnt of it. Leave it out, or add rows that have it."
            )
        partly = tuple(name for name in x.names if not x.present[name].all())
        optional = partly if self.optional is None else tuple(self.optional)
        for name in optional:
            if name not in x.names:
                raise ModalityError(
                    f"optional names {name!r}, which is no modality of x ({', '.join(x.names)}). Correct it."
                )
        for name in partly:
            if name not in optional:
                raise ModalityError(
                    f"Modality {name!r} is observed, not optional, but absent in "
                    f"{len(x) - int(x.present[name].sum())} of {len(x)} training rows. Add it to "
                    "optional, or leave these rows out."
                )
        self.optional_ = tuple(sorted(optional))
        return x, y

    def _as_known_rows(self, x) -> Modalities:
        check_is_fitted(self, "model_")
        x = self._as_modalities(x, reset=False)
        if len(x) == 0:
            raise ModalityError("x has 0 rows; at least one was wanted. Pass some rows.")
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
        x = x.select(*self.shapes_)
        unseen = _patterns(x) - self.patterns_
        if unseen:
            warnings.warn(
                "No training row had "
                + " or ".join("only " + (", ".join(p) or "nothing") + " present" for p in sorted(unseen))
                + "; such rows are predicted without the model ever having seen their like. Drop "
                "modalities in training (drop_at_random) to teach it.",
                UnseenPatternWarning,
                stacklevel=3,
            )
        return x

    def _check_known_labels(self, y: np.ndarray) -> None:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise LabelError(
                f"{int(np.isin(y, unknown).sum())} of {len(y)} labels ({unknown[:5]!r}) are not among the "
                f"training classes {self.classes_!r}. Leave these rows out, or train with them."
            )


def _split_off(x: Modalities, y: np.ndarray, fraction: float, seed: int):
    """Training and validation rows; every class keeps at least one training row."""
    order = np.random.default_rng(seed).permutation(len(y))
    first_of_class = np.zeros(len(y), bool)
    first_of_class[[np.flatnonzero(y[order] == c)[0] for c in np.unique(y)]] = True
    spare = order[~first_of_class]
    held_out = np.sort(spare[: int(fraction * len(y))])
    kept = np.setdiff1d(np.arange(len(y)), held_out)
    return x[kept], y[kept], x[held_out], y[held_out]


def _patterns(x: Modalities) -> set[tuple[str, ...]]:
    """The combinations of present modalities that occur."""
    names = sorted(x.names)
    rows = np.unique(np.stack([x.present[name] for name in names], axis=1), axis=0)
    return {tuple(name for name, there in zip(names, row, strict=True) if there) for row in rows}
