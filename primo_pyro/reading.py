"""How estimators read rows: what they learn of the training rows, and rows for questions like these."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data
from torch import nn

from primo_pyro.door import align_labels, warn_of_answers, warn_of_shapes
from primo_pyro.errors import MissingCellsWarning, ModalityError, NotNumbersError, UnseenPatternWarning, warn
from primo_pyro.identity import Names as ColumnNames
from primo_pyro.labels import Labels, labels_of
from primo_pyro.lifecycle import require_fitted
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import AnyOf, Is, Names, OneOf, Range
from primo_pyro.patterns import rows_by_set
from primo_pyro.program.inputs import features_of, missing_cells, refuse_missing_cells
from primo_pyro.program.outcomes import Categorical, Outcome
from primo_pyro.rows import StoredRows, in_memory, sample_of
from primo_pyro.table_files import as_frame
from primo_pyro.tables import Blocks, TableReader

__all__ = ["RowReader"]


class RowReader(BaseEstimator, ABC):
    """An estimator as far as it reads rows.

    Fitting learns ``labels_``, ``shapes_``, ``columns_``, ``missing_cells_``, ``optional_`` and
    ``patterns_``; with ``blocks`` also ``reader_``.
    """

    takes_stored: ClassVar[bool] = False  # whether it can be trained on rows that stay in files
    blocks: Blocks | TableReader | None = None  # None: rows come as blocks already
    optional: Sequence[str] | None = None  # None: whatever is absent in some training row

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "blocks": AnyOf(
            *(OneOf(None), Is(Mapping), Is(TableReader)),
            cure='Write {"history": ["age", "sex"], "labs": "lab_*"}.',
        ),
        "optional": Names(),
    }

    labels_: Labels
    reader_: TableReader  # where blocks were given
    shapes_: dict[str, tuple[int, ...]]
    columns_: dict[str, ColumnNames]
    missing_cells_: dict[str, np.ndarray]
    optional_: tuple[str, ...]
    patterns_: set[tuple[str, ...]]

    def _outcome_class(self) -> type[Outcome]:
        return Categorical

    def _given_encoders(self) -> Mapping[str, nn.Module]:
        """Encoders of the user's own, which may not take missing cells."""
        return {}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True  # a mapping of blocks
        tags.input_tags.allow_nan = True
        return tags

    def _learn_rows(
        self, x: RowsLike | StoredRows, y: ArrayLike, warm: bool = False
    ) -> tuple[Modalities, np.ndarray]:
        """Rows and encoded labels.

        Learns ``labels_``, ``shapes_``, ``missing_cells_``, ``optional_`` and ``patterns_``, or, where
        training ``warm``, checks the rows against them.
        """
        stored = isinstance(x, StoredRows)
        x = self._of_storage(cast(StoredRows, x), warm) if stored else self._as_modalities(x, reset=not warm)
        if len(x) == 0:
            raise ModalityError("x has 0 rows; expected at least one row of each class. Pass some rows.")
        if warm:
            x = self._of_known_shapes(x)
        some = sample_of(x)
        labels = self.labels_ if warm else None
        if y is not None:
            y = align_labels(x, y)
        if not warm:
            warn_of_shapes(some, getattr(self, "encoders", None))
        for name in x.names:
            if not x.present[name].any():
                raise ModalityError(
                    f"Modality {name!r} is absent in every one of {len(x)} training rows; expected some that "
                    "have it, or nothing can be learnt of it. Leave it out, or add rows that have it."
                )
            if 0 in some.values[name].shape[1:]:
                raise ModalityError(
                    f"Modality {name!r} has {len(x)} rows of shape {list(some.values[name].shape[1:])}, "
                    "which holds no feature; expected at least one. Leave it out."
                )
        refuse_missing_cells(some, self._given_encoders())
        optional = self._optional_of(x, warm)
        labels = labels or labels_of(self._outcome_class()).learn(y)
        codes = labels.encode(y)
        if not (warm or stored or self.blocks is None):
            warn_of_answers(x, codes)
        patterns = set(_patterns(x))
        if warm:
            self.patterns_ = self.patterns_ | patterns
        else:
            self.labels_ = labels
            self.optional_, self.patterns_ = optional, patterns
            self.shapes_ = {name: some.values[name].shape[1:] for name in sorted(x.names)}
            self.columns_ = dict(some.columns)
            self.missing_cells_ = missing_cells(some)
        return x, codes

    def read(self, x: RowsLike) -> Modalities:
        """Rows as the fitted estimator reads them, for picking rows by what they have.

        Rows that stay in files stay there; ``read(x)[:10_000]`` are some of them in memory.

        >>> from primo_pyro import PrimoClassifier
        >>> frame = pd.DataFrame({"age": [71, 40, 55, 63], "lactate": [1.2, np.nan, 0.8, 0.9]})
        >>> clf = PrimoClassifier(blocks={"history": "age", "blood": "lactate"}, max_epochs=1, random_state=0)
        >>> x = clf.fit(frame, [1, 0, 0, 1]).read(frame)
        >>> x[x.present["blood"]]
        Modalities(3 rows: blood [1] in all, history [1] in all)
        """
        require_fitted(self)
        if isinstance(x, StoredRows):
            return cast(Modalities, x if self.blocks is None else x.read_by(self.reader_.transform))
        return self._of_known_shapes(self._as_modalities(x, reset=False))

    def _of_storage(self, x: StoredRows, warm: bool) -> Modalities:
        """Rows that stay in their storage, for whatever looks at no values; columns are learnt of some."""
        if warm or not self.takes_stored:
            what = "a warm start" if warm else type(self).__name__
            in_memory(x, what, "Pass a DataFrame or Modalities of as many as fit.")
        if self.blocks is not None:
            reader = self._new_reader().fit(x.sample_frame())
            self.reader_, x = reader, x.read_by(reader.transform)
        return cast(Modalities, x)

    def _new_reader(self) -> TableReader:
        blocks = self.blocks
        return clone(blocks) if isinstance(blocks, TableReader) else TableReader(cast(Blocks, blocks))

    def _as_modalities(self, x: RowsLike, **validate: bool) -> Modalities:
        in_memory(x, "this question", "Pass some of them: estimator.read(x)[:10_000].")
        if self.blocks is not None:
            return self._read_table(x, validate["reset"])
        if isinstance(x, Modalities):
            return x
        if hasattr(x, "to_pandas"):
            x = as_frame(x)
        if isinstance(x, pd.DataFrame):
            return self._read_frame(x, validate["reset"])
        if isinstance(x, Mapping) and not issparse(x):  # SciPy's "dok" is a mapping too
            return Modalities(x)
        try:
            numbers = validate_data(self, x, dtype=np.float64, ensure_all_finite="allow-nan", **validate)
        except (TypeError, ValueError) as error:
            said = " ".join(str(error).split())[:300].removesuffix(".")
            kind = NotNumbersError if isinstance(error, TypeError) else ModalityError
            raise kind(
                f"x of type {type(x).__name__} cannot be read ({said}); expected rows of numbers. Pass "
                "Modalities, a mapping of blocks, or an array [rows, features]; texts are read with blocks."
            ) from error
        return Modalities({"x": numbers})

    def _read_table(self, x: RowsLike, reset: bool) -> Modalities:
        """By the columns of ``blocks``, learnt where ``reset``."""
        if not reset:
            return x if isinstance(x, Modalities) else self.reader_.transform(x)
        self.reader_ = self._new_reader()
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
                    f"({', '.join(x.names)}); expected one of these. Correct it."
                )
        for name in partly:
            if name not in optional:
                raise ModalityError(
                    f"Modality {name!r} is observed, not optional, but absent in "
                    f"{len(x) - int(x.present[name].sum())} of {len(x)} training rows; expected in all. Add "
                    "it to optional, or leave these rows out."
                )
        return tuple(sorted(optional))

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
                "training row had; expected patterns of training, since the model never learnt from rows "
                "like these. Drop modalities in training (drop_at_random) to teach it.",
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
                f"Cells are missing (NaN) where no training row lacked them ({where}); expected values. They "
                "are filled, and the model never learnt what their absence says. Fill them in a better way "
                "first, or train on rows with such cells.",
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
                    f"{', '.join(self.shapes_)}, and expected these. Correct the name, or leave it out."
                )
        x = x.in_columns(self.columns_)
        for name in x.names:
            shape = x.values[name].shape[1:]
            if x.present[name].any() and shape != self.shapes_[name]:
                raise ModalityError(
                    f"Modality {name!r} has {len(x)} rows of shape {list(shape)}; the model was trained on "
                    f"{list(self.shapes_[name])}, and expected these. Give the same features in the same "
                    "order."
                )
        refuse_missing_cells(x, self._given_encoders())
        return x.select(*self.shapes_)


def _patterns(x: Modalities) -> dict[tuple[str, ...], int]:
    """The combinations of present modalities that occur, and in how many rows."""
    return {names: len(rows) for names, rows in rows_by_set({m: x.present[m] for m in sorted(x.names)})}
