"""Boosted trees on imputed tables: what people would use today.

All modalities side by side are one table ``[N, F]``, NaN where a modality is absent. The classifier is
scikit-learn's `HistGradientBoostingClassifier`, which lowers the log loss tree by tree, behind one of

    mean        the feature's mean in training
    iterative   each feature regressed on the others in turn (`IterativeImputer`; van Buuren and
                Groothuis-Oudshoorn, 2011)
    knn         the mean of the nearest training rows in the features that a row has (`KNNImputer`;
                Troyanskaya et al., 2001)
    None        no imputation: a tree sends NaN to the side that lowers its loss more

or stacked (Wolpert, 1992): one booster for each modality, trained on the rows that have it, and one on top
that takes their probabilities, out of fold, and a flag for each modality that says whether it is present.

Tables are for numbers: images of thousands of pixels are refused, and the iterative imputation, whose time
grows with the cube of the features, series too.

The number of iterations is chosen on the same held-out rows as the networks' epochs.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from primo_pyro.errors import LabelError, ModalityError
from primo_pyro.estimator import ClassesMixin, ModalityEstimator
from primo_pyro.held_out import Rows
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import OneOf, Range, Real, Whole
from primo_pyro.tables import Blocks, TableReader

__all__ = ["MAX_FEATURES", "BoostedClassifier", "ImputationClassifier", "StackingClassifier", "as_table"]

MAX_FEATURES = 4096  # of a table; 10,000 rows of so many take a third of a gigabyte
MAX_REGRESSED = 200  # of a table whose every feature is regressed on all others, ten times


def as_table(x: Modalities, shapes: dict[str, tuple[int, ...]]) -> np.ndarray:
    """``[N, F]``, the modalities flattened side by side; absent ones are NaN.

    Raises
    ------
    ModalityError
        Where F is above `MAX_FEATURES`.

    >>> as_table(Modalities({"o": [1.0, 2.0], "m": [[3.0, 4.0], [np.nan, np.nan]]}), {"o": (1,), "m": (2,)})
    array([[ 1.,  3.,  4.],
           [ 2., nan, nan]])
    """
    _require_narrow(shapes, MAX_FEATURES, "A table")
    columns = []
    for name, shape in shapes.items():
        block = np.full((len(x), int(np.prod(shape))), np.nan)
        rows = x.present[name]
        block[rows] = x.values[name][rows].reshape(int(rows.sum()), block.shape[1])
        columns.append(block)
    return np.hstack(columns)


def _require_narrow(shapes: dict[str, tuple[int, ...]], most: int, what: str) -> None:
    features = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    if sum(features.values()) > most:
        each = ", ".join(f"{name!r} has {n}" for name, n in features.items())
        raise ModalityError(
            f"{what} takes {most} features at most; modality {each}; expected fewer. Leave out the "
            "largest, bring fewer features of it, or use a network."
        )


@dataclass(eq=False, repr=False, kw_only=True)
class BoostedClassifier(ClassesMixin, ModalityEstimator):
    """Base of the baselines with trees.

    Parameters
    ----------
    max_iter
        Trees per class at most; the held-out rows choose how many.
    learning_rate
        Shrinkage of each tree.
    max_leaf_nodes
        Leaves of each tree.
    validation_fraction
        Share of the training rows held out; 0 keeps all trees.
    blocks
        As in `primo_pyro.estimator.NetworkEstimator`.
    random_state
        Seed of what is held out and of whatever the imputation draws.

    Attributes
    ----------
    classes_ : array ``[C]``
    model_ : the booster
    history_ : DataFrame, a row per iteration: ``epoch``, and ``val_log_loss`` where rows are held out
    """

    max_iter: int = 200
    learning_rate: float = 0.1
    max_leaf_nodes: int = 7
    validation_fraction: float = 0.1
    blocks: Blocks | TableReader | None = None
    random_state: int | np.random.RandomState | None = None

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "max_iter": Whole(1, 2**16),
        "learning_rate": Real(0, above=True),
        "max_leaf_nodes": Whole(2, 2**16),
    }

    def _train(self, rows: Rows, held_out: Rows, *, warm: bool) -> None:
        table = self._learn_features(rows.x, rows.y)
        self.model_ = self._booster().fit(table, rows.y)
        self.history_ = pd.DataFrame({"epoch": np.arange(1, self.model_.n_iter_ + 1)})
        if len(held_out):
            labels = range(len(self.classes_))
            staged = self.model_.staged_predict_proba(self._features(held_out.x))
            self.history_["val_log_loss"] = [log_loss(held_out.y, p, labels=labels) for p in staged]
            best = int(self.history_["val_log_loss"].argmin()) + 1
            self.model_ = self._booster(max_iter=best).fit(table, rows.y)  # the same trees, up to the best

    def predict_proba(self, x: RowsLike) -> np.ndarray:
        """Predicted probabilities ``[N, C]``."""
        x = self._as_known_rows(x)
        return self.model_.predict_proba(self._features(x))

    # --- What a method says -----------------------------------------------------------------------------

    @abstractmethod
    def _learn_features(self, x: Modalities, y: np.ndarray) -> np.ndarray:
        """Learn what the features need; those of the training rows."""

    @abstractmethod
    def _features(self, x: Modalities) -> np.ndarray:
        """What the booster takes, ``[N, features]``."""

    def _booster(self, **changes: int) -> HistGradientBoostingClassifier:
        settings = {
            "max_iter": self.max_iter,
            "learning_rate": self.learning_rate,
            "max_leaf_nodes": self.max_leaf_nodes,
            "early_stopping": False,
            "random_state": self.seed_,
        }
        return HistGradientBoostingClassifier(**settings | changes)


@dataclass(eq=False, repr=False, kw_only=True)
class ImputationClassifier(BoostedClassifier):
    """Impute, then boost.

    Parameters
    ----------
    imputer
        ``"mean"``, ``"iterative"``, ``"knn"``, or None, which hands the booster NaN.
    n_neighbors
        Training rows that ``"knn"`` averages.
    max_reference_rows
        Training rows at most among which ``"knn"`` looks: its time and memory grow with rows times
        references.
    **others
        See `BoostedClassifier`.

    Raises
    ------
    ParameterError
        In ``fit``, for an unknown ``imputer``.
    ModalityError
        In ``fit``, where the modalities have more than `MAX_FEATURES` features together; `MAX_REGRESSED`
        with ``"iterative"``.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> half = x.drop_at_random("m", random_state=0)
    >>> clf = ImputationClassifier(imputer="mean", max_iter=5, random_state=0).fit(half, y)
    >>> clf.predict_proba(x.drop("m")).shape
    (300, 2)
    """

    imputer: str | None = None
    n_neighbors: int = 10
    max_reference_rows: int = 5_000

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "imputer": OneOf(None, "mean", "iterative", "knn"),
        "n_neighbors": Whole(1),
        "max_reference_rows": Whole(1),
    }

    def _learn_features(self, x: Modalities, y: np.ndarray) -> np.ndarray:
        if self.imputer == "iterative":
            _require_narrow(self.shapes_, MAX_REGRESSED, "Iterative imputation")
        table = as_table(x, self.shapes_)
        self.imputer_ = {
            None: lambda: "passthrough",
            "mean": SimpleImputer,
            "iterative": lambda: IterativeImputer(random_state=self.seed_),
            "knn": lambda: KNNImputer(n_neighbors=self.n_neighbors),
        }[self.imputer]()
        self.imputer_ = make_pipeline(StandardScaler(), self.imputer_)
        reference = table
        if self.imputer == "knn" and len(table) > self.max_reference_rows:
            random = np.random.default_rng(self.seed_)
            reference = table[random.choice(len(table), self.max_reference_rows, replace=False)]
        self.imputer_.fit(reference)
        return self.imputer_.transform(table)

    def _features(self, x: Modalities) -> np.ndarray:
        return self.imputer_.transform(as_table(x, self.shapes_))


@dataclass(eq=False, repr=False, kw_only=True)
class StackingClassifier(BoostedClassifier):
    """A booster per modality, and one on top of their probabilities and of flags for what is present.

    Parameters
    ----------
    folds
        Parts of the rows of each modality, fewer where a class has fewer rows of it: the booster on top
        learns from probabilities of rows that those below were not trained on.
    **others
        See `BoostedClassifier`.

    Raises
    ------
    ModalityError
        In ``fit``, where a modality has more than `MAX_FEATURES` features.
    LabelError
        In ``fit``, where only one training row of a class has a modality.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(300, random_state=0)
    >>> half = x.drop_at_random("m", random_state=0)
    >>> clf = StackingClassifier(max_iter=5, random_state=0).fit(half, y)
    >>> clf.predict_proba(x.drop("m")).shape
    (300, 2)
    """

    folds: int = 5

    parameter_ranges: ClassVar[dict[str, Range]] = {"folds": Whole(2)}

    def _learn_features(self, x: Modalities, y: np.ndarray) -> np.ndarray:
        self.single_, out_of_fold = {}, {}
        for name, (rows, table) in self._blocks(x).items():
            parts = StratifiedKFold(self._folds_of(name, y[rows]), shuffle=True, random_state=self.seed_)
            booster = self._booster(max_iter=min(self.max_iter, 50))  # few: nothing is held out for these
            out_of_fold[name] = cross_val_predict(booster, table, y[rows], cv=parts, method="predict_proba")
            self.single_[name] = booster.fit(table, y[rows])
        return self._side_by_side(x, out_of_fold)

    def _folds_of(self, name: str, y: np.ndarray) -> int:
        codes, rows = np.unique(y, return_counts=True)
        if rows.min() < 2:
            raise LabelError(
                f"Only one training row of class {self.classes_[codes[rows.argmin()]]} has {name!r}; "
                "expected two or more, to stack on rows not trained on. Pass a smaller validation_fraction, "
                "more rows, or leave that class out."
            )
        return min(self.folds, int(rows.min()))

    def _features(self, x: Modalities) -> np.ndarray:
        blocks = self._blocks(x).items()
        return self._side_by_side(x, {m: self.single_[m].predict_proba(table) for m, (_, table) in blocks})

    def _blocks(self, x: Modalities) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each modality that some row has, these rows and their values as a table."""
        return {
            name: (rows, as_table(x[rows], {name: shape}))
            for name, shape in self.shapes_.items()
            if (rows := x.present[name]).any()
        }

    def _side_by_side(self, x: Modalities, probabilities: dict[str, np.ndarray]) -> np.ndarray:
        """Each modality's probabilities, 0 where it is absent, and the flag that says so."""
        features = []
        for name, booster in self.single_.items():
            block = np.zeros((len(x), len(self.classes_) + 1))
            block[:, -1] = x.present[name]
            if name in probabilities:
                block[np.ix_(x.present[name], booster.classes_)] = probabilities[name]
            features.append(block)
        return np.hstack(features)
