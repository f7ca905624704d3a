"""The line that a message about a column gives is run, and gives the numbers that a person would read."""

import datetime
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from primo_pyro import TableReader
from primo_pyro.errors import ModalityError, TableWarning

NAN = np.nan
LINE = re.compile(r"frame\['c'\] = .+?(?=; or |, or | if the| if they| to make|\.? ?$|\. )")


def objects(*values):
    return pd.Series(values, dtype=object)


def arrow(values, kind):
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, kind)))


def days(*dates):
    return [(pd.Timestamp(date) - pd.Timestamp("2000-01-01")).days for date in dates]


JANUARY, MARCH = datetime.date(2020, 1, 31), datetime.date(2021, 3, 1)
# Name: cells, and the numbers that they are.
READ_AFTER_ITS_LINE = {
    "decimal commas": (["1,5", "2,5"], [1.5, 2.5]),
    "decimal commas beside a marker": (["1,5", "?", "2,5", None], [1.5, NAN, 2.5, NAN]),
    "thousands": (["1,500", "2,500,000"], [1500, 2_500_000]),
    "points between thousands": (["1.234,5", "2.345.678,5"], [1234.5, 2_345_678.5]),
    "points alone between thousands": (["1.234.567", "2.345.678"], [1_234_567, 2_345_678]),
    "apostrophes": (["1'234", "2\N{RIGHT SINGLE QUOTATION MARK}345"], [1234, 2345]),
    "narrow blanks": (["1\u202f234", "2\u00a0345"], [1234, 2345]),
    "another minus": (["\N{MINUS SIGN}1.5", "2.5", "3.5"], [-1.5, 2.5, 3.5]),
    "units": (["5 mg", "-7.5 mg"], [5, -7.5]),
    "units and thousands": (["1,500 mg", "2,700 mg"], [1500, 2700]),
    "units beside numbers": (objects(5, "7 mg", "8 mg"), [5, 7, 8]),
    "bounds": (["<5", "7", "9.5"], [5, 7, 9.5]),
    "percent": (["5%", "7.5%"], [5, 7.5]),
    "a currency before": (["$5", "$1,200"], [5, 1200]),
    "a currency behind": (["5 €", "7 €"], [5, 7]),
    "infinity": ([1.0, np.inf, 2.0], [1, NAN, 2]),
    "infinity as a text": (["1", "inf", "2", "?"], [1, NAN, 2, NAN]),
    "infinity as a Decimal": (objects(Decimal("Infinity"), Decimal(1), Decimal(2)), [NAN, 1, 2]),
    "integers beyond floats": (objects(10**400, 1, 2), [NAN, 1, 2]),
    "complex numbers": ([3 + 4j, 1j], [5, 1]),
    "dates": (pd.to_datetime([JANUARY, MARCH]), days(JANUARY, MARCH)),
    "dates of Python": (objects(JANUARY, MARCH), days(JANUARY, MARCH)),
    "dates of NumPy": (objects(np.datetime64(JANUARY), np.datetime64(MARCH)), days(JANUARY, MARCH)),
    "dates of Arrow": (arrow([JANUARY, MARCH], pa.date32()), days(JANUARY, MARCH)),
    "times of Arrow": (
        arrow([pd.Timestamp(JANUARY), None, pd.Timestamp(MARCH)], pa.timestamp("us")),
        [*days(JANUARY), NAN, *days(MARCH)],
    ),
    "a time zone": (pd.to_datetime([JANUARY, MARCH], utc=True), days(JANUARY, MARCH)),
    "two kinds of time": (
        objects(pd.Timestamp(JANUARY, tz="UTC"), pd.Timestamp(MARCH)),
        days(JANUARY, MARCH),
    ),
    "periods": (pd.period_range("2020-01", periods=2, freq="M"), days("2020-01-01", "2020-02-01")),
    "text of a time zone": (["2020-01-31T00:00:00Z", "2021-03-01T00:00:00Z"], days(JANUARY, MARCH)),
    "text of two offsets": (
        ["2020-01-31 12:00:00+01:00", "2021-03-01 12:00:00+02:00"],
        days(JANUARY, MARCH),
    ),
    "the day first": (["1.3.2021", "31.1.2020"], days(MARCH, JANUARY)),
    "the day first, with slashes": (["31/1/2020", "1/3/2021"], days(JANUARY, MARCH)),
    "dates in two forms": (["2020-01-31", "1.3.2021"], days(JANUARY, MARCH)),
    "dates beside a marker": (["2020-01-31", "?", "2021-03-01"], [*days(JANUARY), NAN, *days(MARCH)]),
    "names of months": (["Jan 31, 2020", "Mar 1, 2021"], days(JANUARY, MARCH)),
    "short names of months": (["31-JAN-2020", "01-MAR-2021"], days(JANUARY, MARCH)),
    "hours": (["03:15", "14:30"], [3.25, 14.5]),
    "hours and seconds": (["03:15:00", "14:30:36"], [3.25, 14.51]),
    "hours beside a marker": (["03:15", None, "14:30", "?"], [3.25, NAN, 14.5, NAN]),
    "hours of Python": (objects(datetime.time(3, 15), datetime.time(14, 30)), [3.25, 14.5]),
    "spans": (pd.to_timedelta([12, 48], "h"), [0.5, 2]),
    "spans of Python": (objects(datetime.timedelta(0.5), datetime.timedelta(2)), [0.5, 2]),
    "spans of Arrow": (arrow([datetime.timedelta(0.5), datetime.timedelta(2)], pa.duration("us")), [0.5, 2]),
    "tensors": (objects(torch.tensor(1.5), torch.tensor(2.0), None), [1.5, 2, NAN]),
    "a truth among numbers": (objects(True, 2, 3), [1, 2, 3]),
}
READ_AT_ONCE = {
    "Fractions": (objects(Fraction(1, 2), Fraction(3, 2)), [0.5, 1.5]),
    "decimals of Arrow": (arrow([Decimal("1.5"), None, Decimal("2")], pa.decimal128(10, 2)), [1.5, NAN, 2]),
    "NaT among numbers": (objects(1.0, pd.NaT, 2.0), [1, NAN, 2]),
    "digits of another script": (["\N{ARABIC-INDIC DIGIT ONE}", "\N{ARABIC-INDIC DIGIT TWO}"], [1, 2]),
}


def read(cells):
    frame = pd.DataFrame({"c": pd.Series(cells).reset_index(drop=True)})
    return frame, lambda: TableReader({"m": "c"}).fit_transform(frame).values["m"][:, 0]


@pytest.mark.parametrize("name", READ_AFTER_ITS_LINE)
def test_the_line_of_the_message_makes_numbers(name):
    cells, expected = READ_AFTER_ITS_LINE[name]
    frame, values = read(cells)
    with pytest.raises(ModalityError, match=r"Column 'c' holds.*expected") as refused:
        values()
    exec(LINE.search(str(refused.value)).group(), {"frame": frame, "pd": pd, "np": np})
    np.testing.assert_allclose(values(), expected)


@pytest.mark.parametrize("name", READ_AT_ONCE)
def test_numbers_that_need_no_line(name):
    cells, expected = READ_AT_ONCE[name]
    np.testing.assert_allclose(read(cells)[1](), expected)


@pytest.mark.parametrize("cells", [objects(b"a", b"b", b"a", b"b"), objects(b"a", "b", "a", "b", None)])
def test_bytes_become_texts(cells):
    frame, values = read(cells)
    with pytest.raises(ModalityError, match="holds bytes") as refused:
        values()
    exec(LINE.search(str(refused.value)).group(), {"frame": frame, "pd": pd})
    np.testing.assert_array_equal(values(), [1, 0, 1, 0, NAN][: len(cells)])


def test_half_characters_become_whole_ones():
    """Half of a pair in UTF-16, as a file read in a wrong encoding has it: no file can hold it."""
    frame, values = read(objects("a\ud800", "b", "a\ud800", "b"))
    with pytest.raises(ModalityError, match="half a character") as refused:
        values()
    exec(LINE.search(str(refused.value)).group(), {"frame": frame})
    np.testing.assert_array_equal(values(), [1, 0, 1, 0])


@pytest.mark.parametrize("other", [np.datetime64("2020"), np.timedelta64(3, "D"), np.complex64(1j)])
def test_what_is_no_number_among_numbers(other):
    """numpy takes each of them for one."""
    with pytest.raises(ModalityError, match=f"holds {type(other).__name__} .*expected numbers"):
        read(objects(other, 1, 2))[1]()


def a_reader():
    frame = pd.DataFrame({"age": [71.0, 40, 55, 63], "sex": ["f", "m", "f", "m"]})
    return frame, TableReader({"m": ["age", "sex"]}).fit(frame)


@pytest.mark.parametrize("column", ["age", "sex"])
@pytest.mark.parametrize(
    "cells",
    [
        pd.Timestamp("2020"),
        pd.Timedelta("2D"),
        pd.Period("2020-01"),
        1j,
        datetime.time(3),
        [[1]] * 4,
        [b"f"] * 4,
    ],
    ids=str,
)
def test_cells_of_another_kind_than_in_training(column, cells):
    frame, reader = a_reader()
    with pytest.raises(ModalityError, match=f"Column '{column}' holds"):
        reader.transform(frame.assign(**{column: cells}))


@pytest.mark.parametrize(("text", "number"), [("71 years", 71), ("70,5", 70.5), ("<71", 71)])
def test_numbers_of_training_with_a_unit_at_prediction(text, number):
    frame, reader = a_reader()
    frame = frame.assign(age=text)
    with pytest.raises(ModalityError, match="as in training") as refused:
        reader.transform(frame)
    exec(
        re.search(r"frame\['age'\] = .+?(?=\.$| if the)", str(refused.value)).group(),
        {"frame": frame, "pd": pd},
    )
    assert (reader.transform(frame).values["m"][:, 0] == number).all()


def test_categories_in_other_letters_are_told():
    frame, reader = a_reader()
    new = frame.assign(sex=frame["sex"].str.upper())
    with pytest.warns(TableWarning, match="holds 'F', 'M'.*expected 'f', 'm'") as told:
        reader.transform(new)
    line = re.search(r"frame\['sex'\] = .+?(?=, or)", str(told[0].message)).group()
    exec(line, {"frame": new})
    np.testing.assert_array_equal(reader.transform(new).values["m"], reader.transform(frame).values["m"])


def test_what_check_says_of_doubtful_columns():
    frame = pd.DataFrame(
        {
            "day": 20200100 + np.resize(np.arange(1, 29), 40),
            "sex": np.resize(["f", "F", "m"], 40),
            "number": 2**63 + np.arange(40, dtype="uint64"),
            "a": np.resize([1, 2], 40),
        }
    )
    with pytest.warns(TableWarning, match="nearer to each other"):
        notes = TableReader({"m": "*"}).fit(frame).check().set_index("name")["note"]
    assert "like dates" in notes["day"]
    assert "'F', 'f' differ" in notes["sex"]


def test_categories_that_are_large_integers_stay_apart():
    cells = pd.Series([2**60 + 1, 2**60 + 2] * 2).astype("category")
    assert read(cells)[0]["c"].nunique() == 2
    assert TableReader({"m": "c"}).fit(pd.DataFrame({"c": cells})).columns_["m"][0].categories == (
        str(2**60 + 1),
        str(2**60 + 2),
    )
