"""Labels of every kind: what is learnt of them, what comes back, and what is refused in which words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from primo_pyro.errors import LabelError
from primo_pyro.labels import ClassLabels, IndicatorLabels, Labels, NumberLabels, OrderedLabels, labels_of
from primo_pyro.program import Categorical, Multilabel, Normal, Ordinal, Outcome
from tests.conftest import subclasses

NAN = np.nan
SMALL_TALL = np.array(["tall", "small", "small", "tall"])
INDICATORS = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]])


def refused(*words):
    """The message has all of these words, in this order: what was seen, what was expected, and the cure."""
    return pytest.raises(LabelError, match="(?s)" + ".*".join(words))


# --- Kinds ---------------------------------------------------------------------------------------------


def test_every_kind_of_labels_has_outcomes_and_the_other_way_round():
    kinds = {cls for cls in subclasses(Labels) if cls.__module__.startswith("primo_pyro")}
    assert kinds == {ClassLabels, OrderedLabels, IndicatorLabels, NumberLabels}
    by_outcome = {outcome: kind for kind in kinds for outcome in kind.outcomes}
    assert set(by_outcome) == {o for o in subclasses(Outcome) if o.__module__.startswith("primo_pyro")}
    for outcome, kind in by_outcome.items():
        assert labels_of(outcome) is kind


def test_an_outcome_of_ones_own_has_the_labels_of_its_base():
    class Weighted(Ordinal):
        pass

    assert labels_of(Weighted) is OrderedLabels

    class Strange(Outcome):
        pass

    with refused("Strange", "Categorical, Ordinal, Multilabel, Normal", "Derive it from one of them"):
        labels_of(Strange)
    with refused("expected a subclass", "Derive it from one of them"):
        labels_of(lambda size: Categorical(size))


@pytest.mark.parametrize(
    ("kind", "y", "outcome", "size"),
    [
        (ClassLabels, SMALL_TALL, Categorical, 2),
        (OrderedLabels, [3, 1, 2, 3], Ordinal, 3),
        (IndicatorLabels, INDICATORS, Multilabel, 3),
        (NumberLabels, [1.0, 2.0, 4.0], Normal, 42),
    ],
)
def test_labels_make_their_outcome(kind, y, outcome, size):
    """Its size is theirs, and it takes what they encode."""
    labels = kind.learn(y)
    made = labels.make(outcome)
    assert type(made) is outcome
    assert made.prediction_size == size
    codes = torch.as_tensor(labels.encode(y))
    law = made.distribution(torch.zeros(len(codes), made.num_parameters))
    assert law.support.check(codes).all()
    assert law.log_prob(codes).shape == (len(codes),)
    assert codes.dtype in (made.placeholder(1).dtype, torch.int64)


# --- Classes -------------------------------------------------------------------------------------------


CLASSES = {
    "strings": ["b", "a", "c", "a"],
    "integers": [3, -1, 7, -1],
    "floats that are whole": [2.0, 1.0, 3.0, 1.0],
    "booleans": [True, False, False, True],
    "series": pd.Series(["b", "a", "c", "a"], index=[9, 8, 7, 6]),
    "categories": pd.Series(["b", "a", "c", "a"], dtype="category"),
    "nullable integers": pd.Series([3, 1, 7, 1], dtype="Int64"),
    "tensor": torch.tensor([3, 1, 7, 1]),
}


@pytest.mark.parametrize("kind", [ClassLabels, OrderedLabels])
@pytest.mark.parametrize("y", CLASSES.values(), ids=CLASSES)
def test_classes_come_back(kind, y):
    labels = kind.learn(y)
    codes = labels.encode(y)
    values = np.asarray(y)
    assert codes.tolist() == np.searchsorted(np.unique(values), values).tolist()
    assert labels.decode(codes).tolist() == values.tolist()
    assert labels.names_of_columns.tolist() == np.unique(values).tolist()


def test_classes_are_in_sorted_order():
    assert ClassLabels.learn(SMALL_TALL).classes.tolist() == ["small", "tall"]
    assert OrderedLabels.learn(SMALL_TALL).classes.tolist() == ["small", "tall"]


def test_ordered_categories_keep_their_order_also_those_that_do_not_occur():
    grades = ["mild", "moderate", "severe", "fatal"]
    y = pd.Series(pd.Categorical(["severe", "mild", "severe"], categories=grades, ordered=True))
    labels = OrderedLabels.learn(y)
    assert labels.classes.tolist() == grades
    assert labels.encode(y).tolist() == [2, 0, 2]
    assert labels.encode(pd.Categorical(["fatal"], categories=grades, ordered=True)).tolist() == [3]
    assert labels.encode(["moderate", "fatal"]).tolist() == [1, 3]  # names are enough later on
    assert ClassLabels.learn(y).classes.tolist() == ["mild", "severe"]  # an order is nothing to classes
    unordered = pd.Series(pd.Categorical(["severe", "mild"], categories=grades))
    assert OrderedLabels.learn(unordered).classes.tolist() == ["mild", "severe"]


def test_rows_of_each_class():
    labels = ClassLabels.learn(["a", "b", "c"])
    assert labels.classes_of(np.array([1, 1, 0])).T.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]
    several = IndicatorLabels.learn([[1, 0], [0, 1]])
    assert several.classes_of(np.array([[1.0, 1.0], [0.0, 1.0]])).tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize("kind", [ClassLabels, OrderedLabels])
def test_what_no_classes_are(kind):
    with refused("target y is None", "one label a row"):
        kind.learn(None)
    with refused("one class only", "'a'", "3 rows", "expected at least two", "Add rows of another class"):
        kind.learn(["a"] * 3)
    with refused("2 of 3 labels are missing or infinite", "row 1", "Leave these rows out"):
        kind.learn(["a", None, None])
    with refused("1 of 3 labels are missing or infinite", "row 2"):
        kind.learn(pd.Series(pd.Categorical(["a", "b", None], ordered=True)))
    with refused("1 of 2 labels are missing or infinite"):
        kind.learn([1.0, np.inf])
    with refused("2 labels are not classes", "continuous", "use PrimoRegressor for numbers"):
        kind.learn([0.5, 1.5])
    with refused(r"shape \[4, 3\]", "expected one label a row", 'outcome="multilabel"'):
        kind.learn(INDICATORS)


def test_one_ordered_category_alone_is_refused():
    with refused("one class only", "Add rows of another class"):
        OrderedLabels.learn(pd.Series(pd.Categorical(["a", "a"], categories=["a"], ordered=True)))


@pytest.mark.parametrize("kind", [ClassLabels, OrderedLabels])
def test_classes_that_were_not_learnt(kind):
    labels = kind.learn(SMALL_TALL)
    with refused("2 of 3 labels", "huge", "not among the training classes", "small", "Leave these rows out"):
        labels.encode(["huge", "small", "huge"])
    with refused("1 of 1 labels are missing"):
        labels.encode([None])


# --- Several binary labels -----------------------------------------------------------------------------


INDICATOR_KINDS = {
    "integers": INDICATORS,
    "booleans": INDICATORS.astype(bool),
    "floats": INDICATORS.astype(float),
    "lists": INDICATORS.tolist(),
    "tensor": torch.as_tensor(INDICATORS),
    "objects": INDICATORS.astype(object),
    "frame": pd.DataFrame(INDICATORS),
    "nullable frame": pd.DataFrame(INDICATORS).astype("Int64"),
}


@pytest.mark.parametrize("y", INDICATOR_KINDS.values(), ids=INDICATOR_KINDS)
def test_indicators_come_back(y):
    labels = IndicatorLabels.learn(y)
    codes = labels.encode(y)
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(codes, INDICATORS)
    back = labels.decode(codes > 0.5)
    np.testing.assert_array_equal(back, INDICATORS)
    assert back.dtype.kind == "i"
    assert list(labels.names_of_columns) == [0, 1, 2]


def test_columns_of_a_frame_are_names():
    y = pd.DataFrame(INDICATORS, columns=["fever", "cough", "rash"])
    labels = IndicatorLabels.learn(y)
    assert labels.names_of_columns.tolist() == ["fever", "cough", "rash"]
    np.testing.assert_array_equal(labels.encode(y), INDICATORS)
    np.testing.assert_array_equal(labels.encode(INDICATORS), INDICATORS)  # by position
    with refused(r"columns \['cough', 'fever', 'rash'\]", "expected", "as in training", "this order"):
        labels.encode(y[["cough", "fever", "rash"]])


def test_what_no_indicators_are():
    with refused("target y is None", "one label a row"):
        IndicatorLabels.learn(None)
    with refused(r"shape \[4\]", r"expected \[rows, labels\]", "a column to each label"):
        IndicatorLabels.learn([0, 1, 0, 1])
    with refused(r"shape \[4, 0\]", "a column to each label"):
        IndicatorLabels.learn(np.zeros((4, 0)))
    with refused("cannot be read as 0 and 1 in 2 columns", "Code each label"):
        IndicatorLabels.learn([["yes", "no"], ["no", "yes"]])
    with refused("2 entries that are neither 0 nor 1", "first: 2 in row 1, column 0", "Code each label"):
        IndicatorLabels.learn([[0, 1], [2, 0], [1, 3]])
    with refused("1 entries that are neither 0 nor 1", "nan in row 0, column 1", "rows without labels"):
        IndicatorLabels.learn([[0, NAN], [1, 0]])
    with refused("Column 1 of y is 1 in all 2 rows", "expected rows with 0 and rows with 1", "Leave the col"):
        IndicatorLabels.learn([[0, 1], [1, 1]])


def test_indicators_unlike_those_learnt():
    labels = IndicatorLabels.learn(INDICATORS)
    with refused("y has 2 columns", "expected the 3 labels", "Give a column to each"):
        labels.encode(INDICATORS[:, :2])
    np.testing.assert_array_equal(labels.encode([[0, 0, 0]]), [[0, 0, 0]])  # new rows may lack a label


# --- Numbers -------------------------------------------------------------------------------------------


NUMBERS = {
    "floats": [1.5, -2.0, 7.25],
    "integers": [1, 2, 30],
    "series": pd.Series([1.5, -2.0, 7.25], index=[5, 4, 3]),
    "nullable": pd.Series([1, 2, 30], dtype="Int64"),
    "tensor": torch.tensor([1.5, -2.0, 7.25]),
    "strings that are numbers": ["1.5", "-2", "7.25"],
    "large and close together": [1e6 + 1, 1e6 + 2, 1e6 + 4],
}


@pytest.mark.parametrize("y", NUMBERS.values(), ids=NUMBERS)
def test_numbers_come_back(y):
    """In units of their spread, and out again: single precision keeps seven digits of the spread."""
    labels = NumberLabels.learn(y)
    values = np.asarray(y, dtype=float)
    codes = labels.encode(y)
    assert codes.dtype == np.float32
    assert codes.mean() == pytest.approx(0, abs=1e-6)
    assert codes.std() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(labels.decode(codes), values, rtol=0, atol=1e-6 * values.std())


def test_numbers_that_are_all_alike_keep_their_unit():
    labels = NumberLabels.learn([5.0] * 4)
    assert (labels.mean, labels.scale) == (5.0, 1.0)
    assert labels.encode([5.0, 6.0]).tolist() == [0.0, 1.0]
    assert labels.classes_of(np.zeros(3)).shape == (3, 0)


def test_what_no_numbers_are():
    with refused("target y is None", "one label a row"):
        NumberLabels.learn(None)
    with refused("cannot be read as numbers", "one number a row"):
        NumberLabels.learn(["a", "b"])
    with refused("1 of 2 labels are missing or infinite", "row 1", "Leave these rows out"):
        NumberLabels.learn([1.0, NAN])
    with refused("1 of 2 labels are missing or infinite", "row 0"):
        NumberLabels.learn([-np.inf, 1.0])
    with refused(r"shape \[2, 2\]", "expected one label a row", "fit a regressor to each"):
        NumberLabels.learn([[1.0, 2.0], [3.0, 4.0]])
    labels = NumberLabels.learn([1.0, 2.0])
    with refused("1 of 1 labels are missing"):
        labels.encode([NAN])
