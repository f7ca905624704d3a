"""The door: rows and labels as users bring them in, training rows, integer labels and clear errors out.

Every estimator with networks comes through here, so that all of them take the same input, hold out the same
validation rows for the same seed, and refuse the same mistakes in the same words.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from primo_pyro.errors import LabelError, ModalityError, UnseenPatternWarning
from primo_pyro.modalities import Modalities
from primo_pyro.training import Schedule


class Door:
    """What estimators share before any network is built; mix it into a ``BaseEstimator``.

    The estimator stores ``optional`` (None: whatever is absent in some training row),
    ``validation_fraction``, ``device``, ``random_state`` and the fields of `Schedule` under their own names.
    """

    def _schedule(self) -> Schedule:
        return Schedule(**{f.name: getattr(self, f.name) for f in fields(Schedule)})

    def _device(self) -> torch.device:
        return torch.device(
            self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        )

    def _draw_seed(self) -> int:
        """From ``random_state``; None is fresh entropy, where scikit-learn would move the global state."""
        if self.random_state is None:
            return int(np.random.default_rng().integers(2**31 - 1))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _forget(self) -> None:
        """Back to what the constructor made, so that a fit that fails leaves nothing of an older one."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True  # a mapping of blocks
        return tags

    def _as_training_set(self, x, y, validation: tuple | None, seed: int, goes_on: bool = False):
        """Training rows and labels as integers from 0, then those that choose the epoch.

        Learns ``classes_``, ``shapes_``, ``optional_`` and ``patterns_``, or, where training ``goes_on``,
        holds the rows against them.
        """
        x, y = self._as_modalities(x, reset=not goes_on), self._as_labels(y)
        if len(x) == 0:
            raise ModalityError("x has 0 rows; at least one row of each class is wanted. Pass some rows.")
        if goes_on:
            x = self._of_known_shapes(x)
        _check_lengths(x, y)
        nowhere = [name for name in x.names if not x.present[name].any()]
        if nowhere:
            raise ModalityError(
                f"Modality {nowhere[0]!r} is absent in every one of {len(x)} training rows; nothing can be "
                "learnt of it. Leave it out, or add rows that have it."
            )
        for name in x.names:
            if 0 in x.values[name].shape[1:]:
                raise ModalityError(
                    f"Modality {name!r} has {len(x)} rows of shape {list(x.values[name].shape[1:])}, which "
                    "holds no feature; at least one was wanted. Leave it out."
                )
        optional = self._optional_of(x, goes_on)
        if goes_on:
            codes = self._codes(y)
            self.patterns_ = self.patterns_ | set(_patterns(x))
        else:
            classes = np.unique(y)
            if len(classes) < 2:
                raise LabelError(
                    f"y has one class only ({classes[0]!r}) in {len(y)} rows; at least two classes are "
                    "wanted. Add rows of another class."
                )
            self.classes_, self.optional_, self.patterns_ = classes, optional, set(_patterns(x))
            self.shapes_ = {name: x.values[name].shape[1:] for name in sorted(x.names)}
            codes = self._codes(y)
        if validation is None:
            return _split_off(x, codes, self.validation_fraction, seed)
        x_val = self._of_known_shapes(self._as_modalities(validation[0], reset=False))
        y_val = self._as_labels(validation[1])
        _check_lengths(x_val, y_val)
        return x, codes, x_val, self._codes(y_val)

    def _as_modalities(self, x, **validate) -> Modalities:
        if isinstance(x, Modalities):
            return x
        if isinstance(x, Mapping) and not issparse(x):  # SciPy's "dok" is a mapping too
            return Modalities(x)
        return Modalities({"x": validate_data(self, x, dtype=np.float32, **validate)})

    def _as_labels(self, y) -> np.ndarray:
        if y is None:
            raise LabelError(
                "This classifier requires y to be passed, but the target y is None. Pass one label a row."
            )
        if isinstance(y, pd.Series) and hasattr(y.dtype, "numpy_dtype") and not y.isna().any():
            y = y.to_numpy(y.dtype.numpy_dtype)  # scikit-learn makes floats of nullable integers and booleans
        y = column_or_1d(y, warn=True)
        unusable = pd.isna(y) | (np.isinf(y) if y.dtype.kind == "f" else False)
        if unusable.any():
            raise LabelError(
                f"{int(unusable.sum())} of {len(y)} labels are missing or infinite (first: row "
                f"{int(unusable.argmax())}). Leave these rows out, or label them."
            )
        if len(y):
            try:
                check_classification_targets(y)
            except (TypeError, ValueError) as error:
                raise LabelError(
                    f"The {len(y)} labels are not classes: {error} Give strings, integers or booleans, all "
                    "of one type."
                ) from error
        return y

    def _codes(self, y: np.ndarray) -> np.ndarray:
        """Labels as integers from 0, in the order of ``classes_``."""
        codes = pd.Index(self.classes_).get_indexer(y)
        unknown = codes < 0
        if unknown.any():
            raise LabelError(
                f"{int(unknown.sum())} of {len(y)} labels ({pd.unique(y[unknown])[:5]!r}) are not among the "
                f"training classes {self.classes_!r}. Leave these rows out, or train with them."
            )
        return codes

    def _optional_of(self, x: Modalities, goes_on: bool) -> tuple[str, ...]:
        """The modalities with a latent, in alphabetical order."""
        partly = tuple(name for name in x.names if not x.present[name].all())
        optional = self.optional_ if goes_on else partly if self.optional is None else self.optional
        if isinstance(optional, str):
            raise ModalityError(
                f"optional is the string {optional!r}; names in a sequence were wanted. Write "
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

    def _as_known_rows(self, x) -> Modalities:
        check_is_fitted(self, "model_")
        x = self._of_known_shapes(self._as_modalities(x, reset=False))
        seen = _patterns(x)
        unseen = sorted(pattern for pattern in seen if pattern not in self.patterns_)
        if unseen:
            there = " or ".join("only " + ", ".join(pattern) if pattern else "nothing" for pattern in unseen)
            warnings.warn(
                f"{sum(seen[pattern] for pattern in unseen)} of {len(x)} rows have {there} present, as no "
                "training row had; they are predicted without the model ever having seen their like. Drop "
                "modalities in training (drop_at_random) to teach it.",
                UnseenPatternWarning,
                stacklevel=3,
            )
        return x

    def _of_known_shapes(self, x: Modalities) -> Modalities:
        """The same rows with the modalities of the training rows."""
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
        return x.select(*self.shapes_)


def _check_lengths(x: Modalities, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise LabelError(f"x has {len(x)} rows and y {len(y)} labels. Give one label a row.")


def _split_off(x: Modalities, y: np.ndarray, fraction: float, seed: int):
    """Training and validation rows; every class keeps at least one training row."""
    order = np.random.default_rng(seed).permutation(len(y))
    first_of_class = np.zeros(len(y), bool)
    first_of_class[[np.flatnonzero(y[order] == c)[0] for c in np.unique(y)]] = True
    spare = order[~first_of_class]
    held_out = np.sort(spare[: int(fraction * len(y))])
    kept = np.setdiff1d(np.arange(len(y)), held_out)
    return x[kept], y[kept], x[held_out], y[held_out]


def _patterns(x: Modalities) -> dict[tuple[str, ...], int]:
    """The combinations of present modalities that occur, and in how many rows."""
    names = sorted(x.names)
    there = np.stack([x.present[name] for name in names], axis=1)
    patterns, rows = np.unique(there, axis=0, return_counts=True)
    named = (tuple(name for name, there in zip(names, p, strict=True) if there) for p in patterns)
    return dict(zip(named, rows.tolist(), strict=True))
