"""The way in for missing data: what is read, and what is refused before anything is trained."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from primo_pyro import Modalities
from primo_pyro.errors import ModalityError

NAN = np.nan


def refused(*words):
    """The message has all of these words, in this order: modality, rows and cure."""
    return pytest.raises(ModalityError, match="(?s)" + ".*".join(words))


# --- What comes in --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6.0).reshape(3, 2),
        np.arange(6).reshape(3, 2),
        np.arange(6, dtype=np.uint8).reshape(3, 2),
        np.arange(6, dtype=np.float16).reshape(3, 2),
        np.arange(6, dtype=">f8").reshape(3, 2),
        np.arange(6, dtype=np.longdouble).reshape(3, 2),
        np.arange(6, dtype=object).reshape(3, 2),
        torch.arange(6.0).reshape(3, 2),
        torch.arange(6.0).reshape(3, 2).requires_grad_(),
        torch.arange(6).reshape(3, 2),
        torch.arange(6, dtype=torch.bfloat16).reshape(3, 2),
        pd.DataFrame(np.arange(6).reshape(3, 2)),
        pd.DataFrame(np.arange(6).reshape(3, 2)).astype("Int64"),
        [[0, 1], [2, 3], [4, 5]],
    ],
    ids=lambda v: f"{type(v).__name__}-{getattr(v, 'dtype', '')}",
)
def test_numbers_of_any_kind(values):
    x = Modalities({"a": values})
    np.testing.assert_array_equal(x.values["a"].astype(float), np.arange(6.0).reshape(3, 2))
    assert x.present["a"].all()
    torch.as_tensor(x.values["a"])  # the networks can take them


def test_booleans_bytes_and_single_features():
    x = Modalities({"flag": [True, False], "byte": np.array([3, 255], np.uint8)})
    assert x.values["flag"].dtype == bool
    assert x.values["byte"].dtype == np.uint8
    assert x.values["flag"].shape == x.values["byte"].shape == (2, 1)


ABSENT_IN_THE_SECOND_OF_THREE = {
    "nan": {"m": [[1.0, 2], [NAN, NAN], [3, 4]]},
    "none": {"m": np.array([[1.0, 2], [None, None], [3, 4]])},
    "tensor": {"m": torch.tensor([[1.0, 2], [NAN, NAN], [3, 4]])},
    "frame": {"m": pd.DataFrame({"a": [1, None, 3], "b": [2, None, 4]})},
    "nullable": {"m": pd.DataFrame({"a": [1, None, 3], "b": [2, None, 4]}, dtype="Int64")},
    "masked": {"m": np.ma.array([[1, 2], [9, 9], [3, 4]], mask=[[0, 0], [1, 1], [0, 0]])},
    "series": {"m": np.stack([np.ones((4, 2)), np.full((4, 2), NAN), np.ones((4, 2))])},
}


@pytest.mark.parametrize("blocks", ABSENT_IN_THE_SECOND_OF_THREE.values(), ids=ABSENT_IN_THE_SECOND_OF_THREE)
def test_absent_rows(blocks):
    np.testing.assert_array_equal(Modalities(blocks).present["m"], [True, False, True])


@pytest.mark.parametrize(
    "present", [[True, False, True], [1, 0, 1], np.array([1.0, 0, 1]), pd.Series([True, False, True])]
)
def test_explicit_presence_and_what_stands_in_absent_rows(present):
    """Any value in a row that is said to be absent is no error."""
    values = [[1.0, 2], [np.inf, NAN], [3, 4]]
    x = Modalities({"m": values, "o": np.ones(3)}, present={"m": present})
    np.testing.assert_array_equal(x.present["m"], [True, False, True])
    np.testing.assert_array_equal(x.complete, [True, False, True])


def test_none_is_absent_everywhere():
    x = Modalities({"o": np.ones(3), "m": None})
    assert x.present["m"].tolist() == [False] * 3
    assert len(Modalities({"m": None}, present={"m": np.zeros(4)})) == 4


def test_a_table_with_the_columns_of_each_modality():
    frame = pd.DataFrame({"age": [71, 40], "rate": [90.0, None], "pressure": [1.0, None]}, index=[7, 3])
    x = Modalities(frame, columns={"static": ["age"], "first_day": ("pressure", "rate")})
    assert x.names == ("static", "first_day")
    np.testing.assert_array_equal(x.values["first_day"], [[1, 90], [NAN, NAN]])
    np.testing.assert_array_equal(x.present["first_day"], [True, False])


def test_zero_rows_and_presence_of_integers():
    assert len(Modalities({"a": np.zeros((0, 3))})) == 0
    x = Modalities({"a": np.zeros((2, 3), int)}, present={"a": [False, True]})
    assert x.present["a"].tolist() == [False, True]


# --- What can be done with it ---------------------------------------------------------------------------


@pytest.fixture
def x():
    return Modalities({"o": np.arange(6.0), "m": [0, 1, NAN, 3, NAN, 5]})


@pytest.mark.parametrize(
    "rows",
    [
        [4, 0, 0],
        np.array([True, False, True, False, False, True]),
        [True, False, True, False, False, True],
        pd.Series([True, False, True, False, False, True]),
        slice(1, None, 2),
        slice(None, None, -1),
        np.array([-1]),
        [],
    ],
    ids=repr,
)
def test_rows(x, rows):
    """As NumPy picks them, presence and all."""
    part = x[rows]
    expected = pd.Series(np.arange(6.0)).iloc[rows].to_numpy()
    np.testing.assert_array_equal(part.values["o"][:, 0], expected)
    np.testing.assert_array_equal(part.present["m"], ~np.isin(expected, (2, 4)))
    assert len(part) == len(expected)


def test_a_single_row_is_still_a_table(x):
    assert x[2].values["o"].shape == (1, 1)
    assert x[np.int64(2)].present["m"].tolist() == [False]


def test_iteration_ends(x):
    assert [row.values["o"].item() for row in x] == [0, 1, 2, 3, 4, 5]


def test_dropping_leaves_the_original(x):
    before = x.present["m"].copy()
    assert not x.drop("m").present["m"].any()
    assert x.drop("m", where=x.values["o"][:, 0] > 2).present["m"].tolist() == [True, True, *[False] * 4]
    np.testing.assert_array_equal(x.present["m"], before)


def test_dropping_at_random_is_reproducible_and_of_the_given_rate():
    """The share of 10,000 independent rows is within 5 standard errors."""
    x = Modalities({"a": np.ones(10_000), "b": np.ones(10_000)})
    dropped = x.drop_at_random("a", "b", rate=0.3, random_state=1)
    for name in x.names:
        assert abs(dropped.present[name].mean() - 0.7) < 5 * np.sqrt(0.3 * 0.7 / 10_000)
    both = ~dropped.present["a"] & ~dropped.present["b"]
    assert abs(both.mean() - 0.09) < 5 * np.sqrt(0.09 * 0.91 / 10_000)
    again = x.drop_at_random("a", "b", rate=0.3, random_state=1)
    np.testing.assert_array_equal(again.present["b"], dropped.present["b"])


def test_select_and_pickle(x):
    y = pickle.loads(pickle.dumps(x.select("m", "new")))
    assert y.names == ("m", "new")
    np.testing.assert_array_equal(y.present["m"], x.present["m"])
    assert not y.present["new"].any()


# --- What is refused ------------------------------------------------------------------------------------


def test_rows_with_some_values_are_present():
    x = Modalities({"m": [[1, 2], [1, NAN], [NAN, NAN], [NAN, 0]]})
    np.testing.assert_array_equal(x.present["m"], [True, True, False, True])
    np.testing.assert_array_equal(x.values["m"][1], [1, NAN])


def test_said_to_be_present_and_all_nan():
    with refused("'m'", r"1 of 3 rows \(1\) are present", "nothing but NaN", "Leave 'm' out of present"):
        Modalities({"m": [[1, 2], [NAN, NAN], [1, NAN]]}, present={"m": [True, True, True]})


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_infinite(value):
    """1e39 is beyond single precision, in which the networks compute."""
    with refused(
        "'m'", "1 of 3 rows hold infinities", "first: row 2", "expected finite numbers", "Replace or clip"
    ):
        Modalities({"m": [[1, 2], [3, 4], [5, value]]})


def test_different_lengths():
    with refused("o: 3 rows", "m: 2 rows", "expected as many", "fill the row with NaN"):
        Modalities({"o": np.ones(3), "m": np.ones(2)})
    with refused("o: 3 rows", r"present\['o'\]: 2 rows", "one entry a row"):
        Modalities({"o": np.ones(3)}, present={"o": [True, False]})
    with refused("number of rows is unknown", "Give"):
        Modalities({"o": None})


@pytest.mark.parametrize(
    "strings",
    [
        np.array(["1", "2"]),
        np.array(["1", "2"], object),
        ["a", "b"],
        [["a", 1.0], ["b", 2.0]],
        np.array([b"1", b"2"]),
        np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
    ],
    ids=repr,
)
def test_strings_and_dates(strings):
    with refused("'m'", "2 rows|strings", "expected numbers|numbers of one shape", "Encode|Give"):
        Modalities({"m": strings})


def test_columns_of_strings_are_named():
    frame = pd.DataFrame({"a": [1, 2], "sex": ["f", "m"], "kind": pd.Categorical(["u", "v"])})
    with refused("'m'", r"columns \['sex', 'kind'\]", "2 rows", "get_dummies"):
        Modalities({"m": frame})


def test_rows_of_different_shapes():
    with refused("'m'", "one shape", "same number of numeric features"):
        Modalities({"m": [[1, 2], [3]]})
    with refused("'m'", "single number", "expected a value for each row", r"\[rows, features\]"):
        Modalities({"m": 3.0})


@pytest.mark.parametrize("name", ["first day", "a-b", "a.b", "", 3])
def test_names(name):
    with refused(f"{name!r} cannot name a modality", "expected an identifier", "Use letters"):
        Modalities({name: np.ones(2)})


def test_unknown_names():
    x = Modalities({"o": np.ones(2)})
    for wrong in (lambda: Modalities({"o": [1.0]}, present={"q": [True]}), lambda: x.drop("q")):
        with refused("Unknown modality 'q'", "expected one of 'o'", "Correct the name"):
            wrong()
    with refused(r"x\['o'\] asks for a modality", "expected rows", r"x\.select\('o'\)"):
        x["o"]


@pytest.mark.parametrize("present", [[0.5, 1, 1], [[True], [True], [True]], ["yes", "no", "no"], [2, 0, 1]])
def test_presence_that_is_none(present):
    with refused(r"present\['m'\] has shape", "expected one boolean a row", "Give True or False"):
        Modalities({"m": np.ones(3)}, present={"m": present})


def test_present_without_values():
    with refused("'m' is None", "2 rows have it", "expected none", "Pass its values"):
        Modalities({"m": None, "o": np.ones(3)}, present={"m": [True, False, True]})


@pytest.mark.parametrize("blocks", [{}, None, np.ones(3), [("a", np.ones(3))]], ids=repr)
def test_no_mapping(blocks):
    with refused("blocks is", "expected a mapping", "Write Modalities"):
        Modalities(blocks)


def test_tables_and_columns():
    frame = pd.DataFrame({"age": [71, 40]})
    with refused("1 columns came without", "expected the columns of each modality", "Write Modalities"):
        Modalities(frame)
    with refused("'static'", r"\['weight'\]", "2 rows", r"expected some of \['age'\]", "Correct the names"):
        Modalities(frame, columns={"static": ["age", "weight"]})
    with refused("type dict", "expected one DataFrame", "leave columns out"):
        Modalities({"a": np.ones(2)}, columns={"a": ["age"]})


def test_wrong_where_and_rate():
    x = Modalities({"o": np.ones(3)})
    with refused("where has 2 entries; expected 3", "one boolean a row"):
        x.drop("o", where=[True, False])
    with refused("where has shape", "expected one boolean a row"):
        x.drop("o", where=[0.5, 0.5, 1])
    with refused("rate is 1.5; expected a probability", "from 0 to 1"):
        x.drop_at_random("o", rate=1.5)
