"""What people fit to a table today: boosted trees, logistic regression, a random forest.

All take a frame as it is (texts, booleans, numbers, empty cells) and are plain scikit-learn estimators. Each
chooses its settings on inner parts of the training rows alone, by the log loss.

    boosting         scikit-learn's `HistGradientBoostingClassifier` as it comes; it knows categories and NaN
    tuned boosting   the same; learning rate, leaves and share of columns from `BOOSTING_GRID`, the number of
                     trees by early stopping
    logistic         medians for empty numbers and a flag for each column with some, standardised and moved to
                     5 standard deviations where further off; one column a category, empty being one of them;
                     the penalty from `PENALTIES` by five inner folds
    forest           300 trees on the same columns; the least size of a leaf from `LEAVES` by a fifth of the
                     training rows
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import BaseCrossValidator, GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

__all__ = [
    "BOOSTING_GRID",
    "LEAVES",
    "PENALTIES",
    "RIVALS",
    "TunedBoostingClassifier",
    "as_categories",
    "boosting",
    "encoded",
    "forest",
    "logistic",
    "tuned_boosting",
]

BOOSTING_GRID = {"learning_rate": (0.05,), "max_leaf_nodes": (4, 8, 31), "max_features": (0.3, 1.0)}
PENALTIES = tuple(np.logspace(-3, 2, 6))  # C of scikit-learn
LEAVES = (1, 4, 16)  # rows at least in a leaf of the forest
FURTHEST = 5  # standard deviations
SMALLEST_LEAF = 20  # rows, of boosted trees, as scikit-learn has it
EMPTY = "(empty)"


def as_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Every column that holds no numbers as a pandas category, which boosted trees take as such.

    >>> frame = pd.DataFrame({"age": [71, 40], "sex": ["f", None], "smokes": [True, None]})
    >>> as_categories(frame).dtypes.astype(str).tolist()
    ['int64', 'category', 'category']
    """
    texts = _texts(frame)
    return frame.assign(**{column: texts[column].astype("category") for column in texts})


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that hold no numbers, as texts; empty cells stay empty."""
    columns = frame.select_dtypes(exclude="number")
    return columns.astype(object).where(columns.isna(), columns.astype(str))


def _filled_texts(frame: pd.DataFrame) -> pd.DataFrame:
    return _texts(frame).fillna(EMPTY)


def encoded() -> Pipeline:
    """Columns for methods that know neither texts nor empty cells, see the head of this module.

    Returns
    -------
    Pipeline
        From a frame to numbers; unknown categories become zeros.

    Examples
    --------
    >>> frame = pd.DataFrame({"age": [71, None, 40], "sex": ["f", "m", None]})
    >>> encoded().fit_transform(frame).round(1)
    array([[ 1.2, -0.7,  0. ,  1. ,  0. ],
           [ 0. ,  1.4,  0. ,  0. ,  1. ],
           [-1.2, -0.7,  1. ,  0. ,  0. ]])
    """
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        FunctionTransformer(np.clip, kw_args={"a_min": -FURTHEST, "a_max": FURTHEST}),
    )
    texts = make_pipeline(
        FunctionTransformer(_filled_texts), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (texts, make_column_selector(dtype_exclude="number")),
    )


def boosting(seed: int = 0) -> BaseEstimator:
    """Boosted trees with scikit-learn's defaults.

    >>> frame = pd.DataFrame({"age": np.arange(60), "sex": ["f", "m", None] * 20})
    >>> boosting().fit(frame, np.arange(60) > 30).predict_proba(frame).shape
    (60, 2)
    """
    return _on_categories(
        HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)
    )


def tuned_boosting(seed: int = 0) -> BaseEstimator:
    """Boosted trees with settings and number of trees chosen on held-out rows, `TunedBoostingClassifier`."""
    return _on_categories(TunedBoostingClassifier(random_state=seed))


def _on_categories(trees: BaseEstimator) -> Pipeline:
    # Columns with fewer filled cells than a leaf holds cannot be split, and boosting fails on empty ones.
    filled = make_column_transformer(
        ("passthrough", lambda frame: frame.columns[frame.notna().sum() >= SMALLEST_LEAF].tolist()),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    return make_pipeline(FunctionTransformer(as_categories), filled, trees)


def logistic(seed: int = 0) -> BaseEstimator:
    """Logistic regression with the penalty of the smallest log loss over five inner folds.

    >>> frame = pd.DataFrame({"age": np.arange(60), "sex": ["f", "m", None] * 20})
    >>> logistic().fit(frame, np.arange(60) > 30).predict_proba(frame).shape
    (60, 2)
    """
    inner = StratifiedKFold(5, shuffle=True, random_state=seed)
    return _searched(LogisticRegression(max_iter=2000), {"logisticregression__C": PENALTIES}, inner)


def forest(seed: int = 0) -> BaseEstimator:
    """A random forest with the leaf size of the smallest log loss on a fifth of the training rows.

    >>> frame = pd.DataFrame({"age": np.arange(60), "sex": ["f", "m", None] * 20})
    >>> forest().fit(frame, np.arange(60) > 30).predict_proba(frame).shape
    (60, 2)
    """
    inner = StratifiedShuffleSplit(1, test_size=0.2, random_state=seed)
    trees = RandomForestClassifier(n_estimators=300, random_state=seed)
    return _searched(trees, {"randomforestclassifier__min_samples_leaf": LEAVES}, inner)


def _searched(
    classifier: BaseEstimator, grid: dict[str, tuple[float, ...]], inner: BaseCrossValidator
) -> GridSearchCV:
    return GridSearchCV(make_pipeline(encoded(), classifier), grid, scoring="neg_log_loss", cv=inner)


@dataclass(eq=False, repr=False, kw_only=True)
class TunedBoostingClassifier(ClassifierMixin, BaseEstimator):
    """Boosted trees of which inner held-out rows choose the settings and the number.

    Every combination of `BOOSTING_GRID` is fitted on each of ``repeats`` stratified shares of the training
    rows, and stops where the log loss of the rest has not fallen for ``patience`` trees. The combination and
    the number of trees with the smallest mean log loss are then fitted to all training rows.

    Parameters
    ----------
    repeats
        Number of inner divisions, the same for all settings.
    held_out
        Share of the training rows in the rest.
    max_iter
        Trees at most, for each class.
    patience
        Trees without a fall.
    random_state
        Seed of the divisions and of the columns that a split may use.

    Attributes
    ----------
    classes_ : array ``[C]``
    settings_ : dict, the chosen combination
    model_ : the booster

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> x, y = load_breast_cancer(return_X_y=True)
    >>> clf = TunedBoostingClassifier(repeats=1, max_iter=3).fit(x, y)
    >>> sorted(clf.settings_), clf.predict_proba(x).shape
    (['learning_rate', 'max_features', 'max_iter', 'max_leaf_nodes'], (569, 2))
    """

    repeats: int = 3
    held_out: float = 0.2
    max_iter: int = 1000
    patience: int = 20
    random_state: int = 0

    def fit(self, x: pd.DataFrame, y: ArrayLike) -> Self:
        """Choose the settings, and fit to all rows."""
        best = np.inf
        for values in product(*BOOSTING_GRID.values()):
            settings = dict(zip(BOOSTING_GRID, values, strict=True))
            losses = self._losses(x, y, settings)
            if losses.min() < best:
                best = losses.min()
                self.settings_ = settings | {"max_iter": int(losses.argmin()) + 1}
        self.model_ = HistGradientBoostingClassifier(
            **self.settings_,
            early_stopping=False,
            categorical_features="from_dtype",
            random_state=self.random_state,
        ).fit(x, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        """Predicted probabilities ``[N, C]``."""
        return self.model_.predict_proba(x)

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        """Most probable classes ``[N]``."""
        return self.model_.predict(x)

    def _losses(self, x: pd.DataFrame, y: ArrayLike, settings: dict[str, float]) -> np.ndarray:
        """Mean held-out log loss after each tree."""
        curves = []
        for repeat in range(self.repeats):
            trees = HistGradientBoostingClassifier(
                **settings,
                max_iter=self.max_iter,
                early_stopping=True,
                validation_fraction=self.held_out,
                n_iter_no_change=self.patience,
                categorical_features="from_dtype",
                random_state=self.random_state + repeat,  # which decides the division
            ).fit(x, y)
            curves.append(-trees.validation_score_[1:])
        longest = max(map(len, curves))
        # A division that has stopped keeps its last loss, which is above its smallest.
        return np.mean([np.pad(c, (0, longest - len(c)), mode="edge") for c in curves], axis=0)


RIVALS: dict[str, Callable[[int], BaseEstimator]] = {
    "boosting": boosting,
    "tuned boosting": tuned_boosting,
    "logistic": logistic,
    "forest": forest,
}
