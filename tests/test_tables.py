"""The reader of tables: what columns become, when blocks are absent, and what is kept as JSON."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from primo_pyro import PrimoClassifier, TableReader, read_table
from primo_pyro.errors import DataFileError, ModalityError, TableWarning

NAN = np.nan
ROWS = 40


def column(values, **settings):
    """A column as learnt, and its numbers."""
    frame = pd.DataFrame({"c": values, "other": np.arange(len(values))})
    reader = TableReader({"m": ["c", "other"]}, **settings).fit(frame)
    x = reader.transform(frame)
    return reader.columns_["m"][0], x.values["m"][:, :-1].T


# --- What columns become ---------------------------------------------------------------------------------

NUMBERS = [1.0, NAN, 3.0, 2.0]


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        ["1", None, "3.0", " 2"],
        ["1", "?", "3", "2e0"],
        ["1", " ", "3", "2"],
        pd.array([1, None, 3, 2], dtype="Int64"),
        pd.array([1, None, 3, 2], dtype="float64[pyarrow]"),
        pd.array(["1", None, "3", "2"], dtype="string[pyarrow]"),
        pd.arrays.SparseArray(NUMBERS),
        np.array([1, None, 3, 2], object),
    ],
    ids=lambda v: str(getattr(v, "dtype", v)),
)
def test_numbers(values):
    learnt, (found,) = column(values)
    assert (learnt.kind, learnt.features) == ("number", ("c",))
    np.testing.assert_array_equal(found, NUMBERS)


@pytest.mark.parametrize(
    "values",
    [
        [True, False, None, True],
        ["True", "FALSE", "NA", "true"],
        pd.array([True, False, None, True], dtype="boolean"),
        pd.array([True, False, None, True], dtype="bool[pyarrow]"),
    ],
    ids=lambda v: str(getattr(v, "dtype", v)),
)
def test_booleans(values):
    learnt, (found,) = column(values)
    assert learnt.kind == "boolean"
    np.testing.assert_array_equal(found, [1, 0, NAN, 1])


@pytest.mark.parametrize("kind", [object, "category", "string", "string[pyarrow]"])
def test_categories(kind):
    values = pd.Series(["b", "a", None, " b", "a", "z"], dtype=object).str.strip().astype(kind)
    learnt, found = column(values)
    assert learnt.features == ("c=a", "c=b", "c=(rare)", "c=(unknown)")
    np.testing.assert_array_equal(found[:, :2].T, [[0, 1, 0, 0], [1, 0, 0, 0]])
    assert np.isnan(found[:, 2]).all()  # a missing cell is no category
    np.testing.assert_array_equal(found[:, 5], [0, 0, 1, 0])
    other = pd.Series(["new", None, "a"])
    np.testing.assert_array_equal(
        learnt.encode(other, other.isna().to_numpy()), [[0, 0, 0, 1], [NAN] * 4, [1, 0, 0, 0]]
    )


def test_categories_that_are_numbers_do_not_depend_on_how_a_file_was_read():
    learnt, _ = column(pd.Series([1, 2, 1, 2]).astype("category"))
    for values in [1, 2], [1.0, 2.0], ["1", "2"]:
        np.testing.assert_array_equal(
            learnt.encode(pd.Series(values), np.zeros(2, bool)), [[1, 0, 0], [0, 1, 0]]
        )


def test_ordered_categories_are_ranks():
    values = pd.Categorical(["high", "low", None, "mid"], ["low", "mid", "high"], ordered=True)
    learnt, (found,) = column(values)
    np.testing.assert_array_equal(found, [2, 0, NAN, 1])
    np.testing.assert_array_equal(learnt.encode(pd.Series(["mid", "odd"]), np.zeros(2, bool)), [[1], [NAN]])


def test_markers_of_missing_cells():
    _, (found,) = column([1, -999, 3], na_values=(-999,))
    np.testing.assert_array_equal(found, [1, NAN, 3])
    _, (found,) = column(["1", "unknown", "3"], na_values=("unknown",))
    np.testing.assert_array_equal(found, [1, NAN, 3])


def test_columns_that_say_nothing_are_left_out_with_one_warning():
    frame = pd.DataFrame({"a": np.arange(4), "same": 1, "none": [None] * 4, "ids": list("stuv")})
    with pytest.warns(
        TableWarning, match=r"3 columns.*'same' \(1 in all 4.*'none'.*'ids'.*none of them freq"
    ):
        reader = TableReader({"m": "*"}).fit(frame)
    assert reader.transform(frame).columns["m"] == ("a",)
    lines = reader.check().set_index("name")
    assert lines.loc[["a", "same", "none", "ids"], "became"].tolist() == [
        "number",
        *["constant", "empty"],
        "text",
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["5 mg", "7 mg", "12 mg"], "'5 mg'"),
        (["1,5", "2,5", "3"], "'1,5'"),
        (["1,200", "2,300"], "'1,200'"),
        (["<5", "7", "9"], "'<5'"),
        (["1", "2", "3", "many"], "'many' among numbers"),
        (["2020-01-31", "2021-02-01"], "dates"),
        (["31.1.2020", "1.2.2021"], "dates"),
        (pd.to_datetime(["2020-01-31", "2021-02-01"]), "dates"),
        (pd.to_timedelta([1, 2], "D"), "total_seconds"),
        (pd.period_range("2020", periods=2, freq="M"), "to_timestamp"),
        ([[1, 2], [3, 4]], "holds list"),
        ([1 + 2j, 3j], "complex"),
        ([1.0, np.inf], "infinities"),
    ],
)
def test_refused(values, words):
    frame = pd.DataFrame({"c": values})
    with pytest.raises(ModalityError, match=f"'c' holds.*{words}|'c'.*{words}"):
        TableReader({"m": "c"}).fit(frame)
    (line,) = TableReader({"m": "c"}).check(frame).query("about == 'column'").to_dict("records")
    assert line["became"] == "refused"
    assert words in line["note"]


@pytest.mark.parametrize("values", [["3rd", "2nd", "3rd"], ["18-25", "26-40"], ["$11k", ">$50k"], ["+", "-"]])
def test_texts_with_digits_are_categories(values):
    assert column(values * 3)[0].kind == "category"


def test_all_that_is_wrong_is_said_at_once():
    frame = pd.DataFrame({"a": ["1,5", "2"], "b": ["2020-01-01", "2020-01-02"]})
    with pytest.raises(ModalityError, match=r"(?s)'a' holds.*'b' holds"):
        TableReader({"m": ["a", "b"]}).fit(frame)


# --- Blocks ----------------------------------------------------------------------------------------------


def table():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(20, 90, ROWS),
            "sex": random.choice(["m", "f"], ROWS),
            "lab_a": random.normal(size=ROWS),
            "lab_b": random.choice(["x", "y", None], ROWS),
            "lab_time": np.arange(ROWS),
        },
        index=[f"p{i}" for i in range(ROWS)],
    )
    frame.loc[frame.index[::4], ["lab_a", "lab_b"]] = np.nan
    return frame


BLOCKS = {"history": ["age", "sex"], "labs": ["lab_*", "!lab_time"]}


def test_a_block_is_absent_where_all_cells_are_missing():
    frame = table()
    x = TableReader(BLOCKS).fit_transform(frame)
    np.testing.assert_array_equal(x.present["labs"], frame[["lab_a", "lab_b"]].notna().any(axis=1))
    assert x.index.equals(frame.index)
    both = TableReader(BLOCKS, present_from=1.0).fit_transform(frame)
    np.testing.assert_array_equal(both.present["labs"], frame[["lab_a", "lab_b"]].notna().all(axis=1))


def test_a_lone_string_is_one_name():
    assert TableReader({"age": "age"}).fit_transform(table()).columns["age"] == ("age",)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ({"h": "agee"}, "lacks 1.*'agee'.*'age'"),
        ({"h": "z_*"}, "lacks 1"),
        ({"h": ["age", "sex"], "g": "sex"}, "'sex' is in the blocks 'h' and 'g'"),
        ({"h": []}, "names no column"),
        ({"a b": "age"}, "cannot name a modality"),
        ({}, "expected a mapping"),
        (["age"], "expected a mapping"),
    ],
)
def test_wrong_blocks(blocks, words):
    with pytest.raises(ModalityError, match=words):
        TableReader(blocks).fit(table())


def test_check():
    lines = TableReader(BLOCKS).fit(table()).check()
    blocks = lines.query("about == 'block'").set_index("name")
    assert blocks["became"].to_dict() == {"history": "observed", "labs": "optional"}
    assert blocks.loc["labs", "missing"] == pytest.approx(1 - blocks.loc["labs", "rows"] / ROWS)
    patterns = lines.query("about == 'pattern'")
    assert patterns["name"].tolist() == ["history + labs", "history"]
    assert patterns["rows"].sum() == ROWS


def test_what_was_learnt_is_json():
    frame = table()
    reader = TableReader(BLOCKS).fit(frame)
    again = TableReader.from_json(json.loads(json.dumps(reader.to_json())))
    new = frame.assign(sex="other", extra=1)[::-1][["extra", "lab_b", "sex", "age", "lab_a"]]
    np.testing.assert_array_equal(
        again.transform(new).values["history"], reader.transform(new).values["history"]
    )
    pd.testing.assert_frame_equal(again.check(), reader.check())
    assert not hasattr(clone(again), "columns_")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns=["age", "lab_a"]), "lacks 2 .'age', 'lab_a'"),
        (lambda f: f.assign(age="12 years"), "'age' holds '12 years' in 40 of 40 rows .'p0', 'p1', 'p2'"),
        (lambda f: f.assign(sex=np.arange(ROWS)), "'sex' holds numbers"),
        (lambda f: pd.concat([f, f["age"]], axis=1), "several columns named 'age'"),
        (lambda f: f.to_numpy(), "expected a DataFrame"),
        (lambda f: "file.csv", "read_table"),
    ],
)
def test_rows_unlike_those_of_training(change, words):
    reader = TableReader(BLOCKS).fit(table())
    with pytest.raises(ModalityError, match=words):
        reader.transform(change(table()))


# --- Estimators ------------------------------------------------------------------------------------------


def complete_table():
    """Without missing cells in present blocks."""
    frame = table()
    frame["lab_b"] = frame["lab_b"].fillna("x").where(frame["lab_a"].notna())
    frame["died"] = np.where(frame["age"] > 55, "yes", "no")
    return frame


@pytest.fixture(scope="module")
def fitted():
    clf = PrimoClassifier(
        blocks=BLOCKS, hidden_dim=4, latent_dim=1, max_epochs=1, num_samples=8, random_state=0
    )
    return clf.fit(complete_table(), "died")


def test_round_trip(fitted, tmp_path):
    """Shuffled rows and columns, unknown categories and extra columns: the same numbers by id."""
    fitted.save(tmp_path / "model")
    again = PrimoClassifier.load(tmp_path / "model")
    frame = complete_table()
    frame.loc["p1", "sex"] = "unknown"
    new = frame.assign(extra=0).sample(frac=1, random_state=0)[["extra", "lab_b", "sex", "lab_a", "age"]]
    before = pd.DataFrame(fitted.predict_proba(frame), index=frame.index)
    after = pd.DataFrame(again.predict_proba(new), index=new.index)
    pd.testing.assert_frame_equal(before, after.loc[before.index], rtol=1e-6)  # sums in another order
    impact = again.predictive_impact(new)["impact"]
    pd.testing.assert_series_equal(
        impact.loc[frame.index], fitted.predictive_impact(frame)["impact"], rtol=1e-5, atol=1e-7
    )
    pd.testing.assert_frame_equal(again.reader_.check(), fitted.reader_.check())


def test_the_label_is_a_column_or_labels(fitted):
    frame = complete_table()
    apart = clone(fitted).fit(frame.drop(columns="died"), frame["died"].sample(frac=1, random_state=0))
    np.testing.assert_array_equal(apart.predict_proba(frame), fitted.predict_proba(frame))
    assert fitted.score(frame, "died") == fitted.score(frame, frame["died"])
    assert (
        "died"
        not in clone(fitted).set_params(blocks={"all": "*e*"}).fit(frame, frame["died"]).columns_["all"]
    )


def test_rows_are_picked_by_what_they_have(fitted):
    x = fitted.read(complete_table())
    gap = fitted.impact_gap(x[x.present["labs"]], "labs")
    assert gap.index.equals(x.index[x.present["labs"]])
    assert set(fitted.rank_acquisitions(complete_table())["row"]) == set(x.index[~x.present["labs"]])


def test_a_reader_with_other_settings():
    reader = TableReader(BLOCKS, present_from=1.0)
    clf = PrimoClassifier(blocks=reader, hidden_dim=4, max_epochs=1, num_samples=8, random_state=0)
    clf.fit(complete_table(), "died")
    assert not hasattr(reader, "columns_")  # parameters are left as they are
    assert clf.reader_.present_from == 1.0


# --- Files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.parquet"])
def test_files(name, tmp_path):
    frame = table().rename_axis("patient").reset_index()
    path = tmp_path / name
    if name.endswith("parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_table(path, id="patient")
    expected, again = TableReader(BLOCKS).fit_transform(table()), TableReader(BLOCKS).fit_transform(found)
    assert again.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(again.values["labs"], expected.values["labs"])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataFileError, match="does not exist"):
        read_table(tmp_path / "no.csv")
    for name, content, words in [
        ("t.xlsx", b"x", "ends in 'xlsx'"),
        ("t.csv", b"", "cannot be read"),
        ("u.csv", b"\xff\xfe\x00a", "cannot be read"),
        ("t.parquet", b"PAR1", "cannot be read"),
        ("v.csv", b"a,b\n1,2\n", "no column 'id'"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataFileError, match=words):
            read_table(tmp_path / name, id="id")


def test_ids_keep_leading_zeros_and_numbers_stay_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("id,v\n007,1\n12,2\n")
    (tmp_path / "b.csv").write_text("id,v\n7,1\n12,2\n")
    assert read_table(tmp_path / "a.csv", id="id").index.tolist() == ["007", "12"]
    assert read_table(tmp_path / "b.csv", id="id").index.tolist() == [7, 12]
