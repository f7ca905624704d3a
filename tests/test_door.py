"""What comes in through the door in an odd form: read rightly, or refused in our words with a cure."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor, TableReader, read_table
from primo_pyro.errors import (
    FewRowsWarning,
    LabelError,
    ModalityError,
    PositionError,
    PrimoError,
    TableWarning,
)
from primo_pyro.labels import ClassLabels, NumberLabels

ROWS = 60
SMALL = {"hidden_dim": 4, "latent_dim": 1, "max_epochs": 1, "num_samples": 4, "random_state": 0}
BLOCKS = {"history": ["age", "sex"], "gas": "gas"}
pytestmark = pytest.mark.filterwarnings("ignore::primo_pyro.errors.FewRowsWarning")


def a_frame(**columns):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(20, 90, ROWS),
            "sex": np.resize(["f", "m", "f"], ROWS),
            "gas": np.where(np.arange(ROWS) % 3, random.normal(size=ROWS), np.nan),
            "died": np.resize([0, 1, 1], ROWS),
        },
        index=[f"p{i}" for i in range(ROWS)],
    )
    return frame.assign(**columns)


def fit(x, y, **settings):
    return PrimoClassifier(**{"blocks": BLOCKS} | SMALL | settings).fit(x, y)


@pytest.fixture(scope="module")
def fitted():
    return fit(a_frame(), "died")


class Polars:
    """A frame of another library, as far as the door looks at it."""

    def __init__(self, frame):
        self.frame, self.columns = frame, ()

    def to_pandas(self):
        return self.frame


class NoPandas:
    def to_pandas(self):
        raise ModuleNotFoundError("pyarrow is required")


# --- Labels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y",
    [
        lambda f: f["died"][::-1],
        lambda f: f["died"].astype("category"),
        lambda f: f["died"].map({0: "no", 1: "yes"}),
        lambda f: f["died"].astype(bool)[::-1],
    ],
    ids=["another order", "a category", "other names", "booleans"],
)
def test_the_label_does_not_stay_among_the_columns_of_a_pattern(y):
    model = fit(a_frame(), y(a_frame()), blocks={"m": "*"})
    assert [column.name for column in model.reader_.columns_["m"]] == ["age", "sex", "gas"]


def test_a_series_may_have_the_name_of_a_column_that_says_something_else():
    frame = a_frame()
    later = pd.Series(np.resize([0, 0, 1], ROWS), index=frame.index, name="sex")
    assert "sex=f" in fit(frame.drop(columns="died"), later).columns_["history"]


@pytest.mark.parametrize("answer", [np.resize([0, 1, 1], ROWS), np.resize(["b", "a", "a"], ROWS)])
def test_a_column_that_is_the_label_is_told(answer):
    frame = a_frame(answer=answer)
    with pytest.warns(TableWarning, match="'answer.* what the label is in all 60 rows"):
        fit(frame.drop(columns="died"), frame["died"].to_numpy(), blocks={"m": "*"})


def test_a_column_that_is_the_number_in_other_units_is_told():
    y = np.random.default_rng(0).normal(size=ROWS)
    with pytest.warns(TableWarning, match="'answer' say"):
        PrimoRegressor(blocks={"m": ["age", "answer"]}, **SMALL).fit(a_frame(answer=1.8 * y + 32), y)


LABELS = {
    "no name of a class": (["a", "b", "", "a"], "1 of 4 labels are missing.*row 2, ''"),
    "a question mark": (["a", "b", " ? ", "a"], "1 of 4 labels are missing"),
    "blanks around": (["a", "b", "b ", "a"], "differ from others by blanks alone.*y.str.strip"),
    "bytes": ([b"a", b"b"], "Give strings"),
    "decimals": ([Decimal(1), Decimal(2)], "Give strings"),
    "one class": ([3, 3], r"one class only \(3\)"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_are_no_classes(name):
    y, words = LABELS[name]
    with pytest.raises(LabelError, match=words):
        ClassLabels.learn(np.array(y, object) if name == "decimals" else y)


@pytest.mark.parametrize(
    ("y", "line"),
    [
        (pd.Series(pd.date_range("2000-01-02", periods=3)), [1, 2, 3]),
        (pd.Series(pd.to_timedelta([1, 2, 3], "D")), [1, 2, 3]),
    ],
)
def test_dates_are_no_numbers_to_predict(y, line):
    with pytest.raises(LabelError, match=r"expected numbers. Make them days: ") as refused:
        NumberLabels.learn(y)
    days = eval(str(refused.value).partition("Make them days: ")[2].removesuffix("."), {"y": y, "pd": pd})
    assert days.tolist() == line
    NumberLabels.learn(days)


def test_numbers_whose_spread_is_beyond_a_float():
    with pytest.raises(LabelError, match=r"beyond double precision.*Divide them by 1e\+308"):
        NumberLabels.learn([1e300, 1e308])
    NumberLabels.learn(np.array([1e300, 1e308]) / 1e308)


def test_many_classes_are_told_once_and_in_our_words():
    with pytest.warns(FewRowsWarning, match="30 classes in 30 rows.*PrimoRegressor") as told:
        ClassLabels.learn(np.arange(30))
    assert len(told) == 1


FITS = {
    "a mapping for labels": (lambda f: fit(f, {"p1": 1}), LabelError, "y is dict.*Pass a list"),
    "a set for labels": (lambda f: fit(f, {0, 1}), LabelError, "y is set.*Pass a list"),
    "a generator for labels": (lambda f: fit(f, iter([0, 1])), LabelError, "expected one label a row. Pass"),
    "two columns of the label": (
        lambda f: fit(pd.concat([f, f["died"]], axis=1), "died"),
        *(LabelError, "several columns named 'died'.*duplicated"),
    ),
    "a column's number": (lambda f: fit(f, 7), LabelError, "y is 7, and x has the columns"),
    "a block of a set": (lambda f: fit(f, "died", blocks={"m": {"age"}}), ModalityError, "in a list. Write"),
    "a block of a generator": (
        lambda f: fit(f, "died", blocks={"m": iter(["age"])}),
        *(ModalityError, "in a list. Write"),
    ),
    "a block of nothing": (lambda f: fit(f, "died", blocks={"m": None}), ModalityError, "in a list. Write"),
    "a block of lists": (
        lambda f: fit(f, "died", blocks={"m": [["age"]]}),
        *(ModalityError, "in a list. Write"),
    ),
    "blocks of a list": (lambda f: fit(f, "died", blocks=["age"]), PrimoError, '"labs": "lab_'),
    "capitals": (lambda f: fit(f, "died", blocks={"m": "AGE"}), ModalityError, "expected some like 'age'"),
    "no columns": (lambda f: fit(f[[]], [0, 1] * 30), ModalityError, "expected a table with columns"),
    "a marker": (
        lambda f: TableReader(BLOCKS, na_values="NA").fit(f),
        PrimoError,
        r'Write a tuple.*\("\?",\)',
    ),
    "no markers": (lambda f: TableReader(BLOCKS, na_values=None).fit(f), PrimoError, "Write a tuple"),
    "an unfitted reader": (
        lambda f: TableReader(BLOCKS).transform(f),
        PrimoError,
        r"Call fit\(frame\) first",
    ),
    "a row": (lambda f: TableReader(BLOCKS).fit(f.iloc[0]), ModalityError, r"x.to_frame\(\).T"),
    "a record": (lambda f: TableReader(BLOCKS).fit({"age": 3}), ModalityError, r"pd.DataFrame\(\[x\]\)"),
    "an array": (lambda f: TableReader(BLOCKS).fit(f.to_numpy()), ModalityError, r"columns=\[...\]"),
    "another library": (lambda f: TableReader(BLOCKS).fit(NoPandas()), ModalityError, "pyarrow is required"),
    "no table": (lambda f: TableReader(BLOCKS).fit(Polars([1])), ModalityError, "expected a DataFrame"),
    "a frame for a path": (read_table, PrimoError, "path is DataFrame"),
    "weights of dates": (
        lambda f: PrimoClassifier(blocks=BLOCKS, **SMALL).fit(
            f, "died", sample_weight=pd.date_range("2020", periods=ROWS)
        ),
        *(PrimoError, "cannot be read as numbers .datetime64.*Give each row a weight"),
    ),
    "weights by a name": (
        lambda f: PrimoClassifier(blocks=BLOCKS, **SMALL).fit(f, "died", sample_weight="age"),
        *(PrimoError, r"of a column of x, x\[name\]"),
    ),
    "texts without blocks": (
        lambda f: fit(f[["sex"]].to_numpy(), f["died"].to_numpy(), blocks=None),
        *(ModalityError, "texts are read with blocks"),
    ),
    "records without blocks": (
        lambda f: fit(f.to_dict("records"), f["died"].to_numpy(), blocks=None),
        *(ModalityError, "cannot be read"),
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_what_is_refused_before_a_fit(name):
    given, error, words = FITS[name]
    with pytest.raises(error, match=words):
        given(a_frame())


def test_columns_with_numbers_for_names():
    frame = a_frame().drop(columns="sex").set_axis([0, 1, 2], axis=1)
    model = fit(frame, 2, blocks={"m": np.array([0]), "gas": np.int64(1)})
    again = TableReader.from_json(json.loads(json.dumps(model.reader_.to_json())))
    np.testing.assert_array_equal(again.transform(frame).values["gas"], model.read(frame).values["gas"])
    clone(model).fit(frame, 2)


def test_frames_of_other_libraries(fitted):
    expected = fitted.predict_proba(a_frame())
    np.testing.assert_array_equal(fitted.predict_proba(Polars(a_frame())), expected)
    np.testing.assert_array_equal(fit(Polars(a_frame()), "died").predict_proba(a_frame()), expected)
    assert fit(Polars(a_frame()[["age"]]), a_frame()["died"], blocks=None).shapes_ == {"x": (1,)}
    assert Modalities({"m": Polars(a_frame()[["age"]])}).index[0] == "p0"


# --- Rows of a fitted model ------------------------------------------------------------------------------


def test_labels_weights_and_groups_come_in_the_order_of_the_rows(fitted):
    """Also where a fitted model is asked."""
    frame = a_frame()
    y, weights = frame["died"], pd.Series(np.linspace(1, 5, ROWS), index=frame.index)
    groups = pd.Series(np.arange(ROWS) % 2, index=frame.index)
    assert fitted.score(frame, y[::-1], weights[::-1]) == fitted.score(frame, y, weights)

    def certified(order, y):
        model = clone(fitted).fit(frame, "died")
        with pytest.warns(FewRowsWarning):
            model.certify(frame, y, groups=groups[order], modality="gas")
        return model.certificates_["gas"]

    one, other = certified(slice(None), y), certified(slice(None, None, -1), y[::-1])
    for name, values in vars(one).items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(values, getattr(other, name))
    np.testing.assert_array_equal(certified(slice(None), "died").right_before, one.right_before)


X = Modalities({"o": np.arange(6.0), "m": [1.0, np.nan] * 3})
ASKED = {
    "present of a list": (lambda: Modalities({"o": [1, 2]}, present=[True]), "Write present={'o': booleans}"),
    "an index that is a number": (lambda: Modalities({"o": [1, 2]}, index=3), "Pass a list of labels"),
    "an index of lists": (lambda: Modalities({"o": [1, 2]}, index=[[1], [2]]), "Pass a list of labels"),
    "integers beyond floats": (lambda: Modalities({"o": [10**400]}), "too large"),
    "nested tensors": (
        lambda: Modalities({"o": torch.nested.nested_tensor([torch.ones(2)], layout=torch.jagged)}),
        "cannot be read",
    ),
    "a mask of other rows": (lambda: X[np.ones(3, bool)], "a mask of 3 rows; expected one of 6"),
    "a row too many": (lambda: X[[0, 6]], "the row 6; expected positions of 6 rows"),
    "a rate of letters": (lambda: X.drop_at_random("m", rate="x"), "rate is 'x'"),
    "a seed of letters": (lambda: X.drop_at_random("m", random_state="x"), "random_state is 'x'"),
    "a list to select": (lambda: X.select(["o"]), r"select\(\*names\)"),
    "nothing to select": (lambda: X.select(), "expected names"),
    "a mapping to join": (lambda: Modalities.concat([X, {"o": [1]}]), "expected Modalities alone"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", ASKED)
def test_what_modalities_refuse(name):
    asked, words = ASKED[name]
    with pytest.raises(ModalityError, match=words):
        asked()


def test_rows_can_be_walked_through():
    """Python ends a walk over positions by an IndexError."""
    assert issubclass(PositionError, IndexError)
    assert [len(row) for row in X] == [1] * 6


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda m, f: m.rank_acquisitions(f, costs=[1]), r"Write costs=\{'gas': 1.0\}"),
        (lambda m, f: m.rank_acquisitions(f, costs=3), r"Write costs=\{'gas': 1.0\}"),
        (lambda m, f: m.rank_acquisitions(f, costs={"gas": "cheap"}), "'cheap'.*expected one positive"),
        (lambda m, f: m.rank_acquisitions(f, costs={"gas": np.inf}), "expected one positive number"),
        (lambda m, f: m.rank_acquisitions(f, sets=[()]), "expected sets of names"),
        (lambda m, f: m.report(f, "died", None), "folder is NoneType.*Pass a string"),
        (lambda m, f: m.score(f, None), "y is None.*Pass labels"),
    ],
)
def test_questions_that_are_refused(asked, words, fitted):
    with pytest.raises(PrimoError, match=words):
        asked(fitted, a_frame())


# --- What a function of the user's returns ---------------------------------------------------------------

REVEALED = {
    "texts": (lambda rows: ["a"] * len(rows), "expected numbers"),
    "infinities": (lambda rows: np.full(len(rows), np.inf), "expected finite numbers. Replace or clip"),
    "too few": (lambda rows: [1.0], "1 values of 'gas' came for 20 rows.*Fill rows"),
    "one number": (lambda rows: 1.0, "a single number; expected a value for each row"),
    "another shape": (lambda rows: np.ones((len(rows), 3)), "expected .1.. Bring them in the same form"),
    "other rows": (lambda rows: pd.Series(1.0, index=range(len(rows))), "other row labels than x.*to_numpy"),
    "another block": (lambda rows: Modalities({"labs": np.ones(len(rows))}), "Unknown modality 'gas'"),
    "a mapping": (lambda rows: {"gas": np.ones(len(rows))}, "expected numbers of one shape"),
    "dates": (lambda rows: pd.date_range("2020", periods=len(rows)), "expected numbers"),
}


@pytest.mark.parametrize("name", REVEALED)
def test_what_reveal_may_not_return(name, fitted):
    reveal, words = REVEALED[name]
    with pytest.raises(ModalityError, match=f"reveal returned .* for 20 rows of 'gas'.*{words}"):
        fitted.acquire(a_frame(), lambda rows, modality: reveal(rows))


def test_what_reveal_may_return(fitted):
    """Also in another order, where it has labels; and whatever it does to the positions that it is given."""
    values = pd.Series(np.linspace(-1, 1, ROWS), index=a_frame().index)

    def over_its_rows(rows, modality):
        found = values.iloc[rows].to_numpy()
        rows[:] = 0
        return found

    known = fitted.acquire(a_frame(), lambda rows, modality: values.iloc[rows].to_numpy())
    for reveal in (lambda rows, modality: values.iloc[rows[::-1]], over_its_rows):
        pd.testing.assert_frame_equal(fitted.acquire(a_frame(), reveal), known)
    nothing = fitted.acquire(a_frame(), lambda rows, modality: np.full(len(rows), np.nan))
    assert (nothing["step"] == 0).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"by": lambda lines: ["a"] * len(lines)}, "by returned list.*Return, for example, a column"),
        (
            {"by": lambda lines: lines["impact"].set_axis(lines.index + 1)},
            "What by returned has other row labels",
        ),
        ({"threshold": True}, "threshold is True; expected a number"),
        ({"shared": "yes"}, "shared is 'yes'; expected True or False"),
    ],
)
def test_settings_of_acquiring(settings, words, fitted):
    with pytest.raises(PrimoError, match=words):
        fitted.acquire(a_frame(), lambda rows, modality: np.ones(len(rows)), **settings)


def test_a_worth_in_another_order_is_put_in_order(fitted):
    frame = a_frame()

    def path(by):
        return fitted.acquire(frame, lambda rows, modality: np.ones(len(rows)), by=by, budget=5, shared=True)

    one, other = path(lambda lines: lines["impact"]), path(lambda lines: lines["impact"][::-1])
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("rows", [[0, 9], ["a"], [True] * 3])
def test_rows_to_reveal_that_do_not_exist(rows):
    with pytest.raises(ModalityError, match=r"x\[...\] got"):
        X.reveal("m", rows, np.ones(len(rows)))


def test_rows_to_reveal_by_a_mask():
    x = X.reveal("m", ~X.present["m"], [5.0, 6.0, 7.0])
    assert x.values["m"].ravel().tolist() == [1, 5, 1, 6, 1, 7]
