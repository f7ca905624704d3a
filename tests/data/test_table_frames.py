"""Tables as frames: what they hold of the real files, and that nothing in them is touched."""

import numpy as np
import pandas as pd
import pytest

from primo_pyro.data import (
    Table,
    load_breast_cancer_table,
    load_cervical_cancer,
    load_digits_halves,
    load_digits_table,
    load_heart_disease,
    load_physionet2012_table,
    load_support2_table,
)
from primo_pyro.data.physionet2012_hours import HOURLY_BLOCKS, measured_hours
from primo_pyro.errors import DataFileError, DataNotFoundError, ModalityError


def shares(table):
    """Of rows that lack each modality; those that no row lacks are left out."""
    absent = 1 - table.present.mean()
    return {name: round(share, 3) for name, share in absent.items() if share}


def test_heart_disease(real_data):
    table = load_heart_disease(real_data)
    assert table.frame.shape == (920, 13)
    assert table.y.sum() == 509
    assert shares(table) == {"ecg": 0.002, "exercise": 0.059, "fluoroscopy": 0.664, "scan": 0.528}
    assert table.optional == ("ecg", "exercise", "fluoroscopy", "scan")
    assert not {"id", "num", "dataset"} & set(table.frame)
    assert (table.frame["chol"] == 0).sum() == 172  # as the source has it
    assert table.frame["thal"].dropna().unique().tolist() == ["fixed defect", "normal", "reversable defect"]


def test_cervical_cancer(real_data):
    table = load_cervical_cancer(real_data)
    assert len(table.frame) == 858
    assert table.y.sum() == 55
    assert shares(table) == {"hormones": 0.126, "iud": 0.136, "stds": 0.122}
    assert not {"Hinselmann", "Schiller", "Cytology", "Biopsy"} & set(table.frame)
    assert all(kind.kind in "if" for kind in table.frame.dtypes)  # no "?" is left


@pytest.mark.parametrize(("task", "died"), [("hospital_death", 2360), ("six_month_death", 4265)])
def test_support2(real_data, task, died):
    table = load_support2_table(real_data, task)
    assert table.frame.shape == (9105, 27)
    assert table.y.sum() == died
    assert shares(table) == {
        "background": 0.147,
        "blood_gas": 0.251,
        "liver": 0.225,
        "metabolic": 0.477,
        "urine": 0.534,
        "patient_function": 0.62,
        "surrogate_function": 0.315,
    }
    assert table.frame["alb"].isna().mean() == pytest.approx(0.37, abs=0.005)  # single cells stay empty
    assert table.frame["age"].mean() == pytest.approx(62.65, abs=0.01)  # years


def test_physionet2012(real_data):
    table = load_physionet2012_table(real_data)
    assert table.frame.shape == (12000, 37)
    assert table.y.sum() == 554 + 568 + 585
    counts = (~table.present).sum().to_dict()
    # Blood gas, chemistry and haematology as in the view of five modalities.
    assert counts == {"static": 0, "vitals": 198, "blood_gas": 2877, "chemistry": 249, "haematology": 299}
    with np.load(real_data / "physionet2012" / "events_48h.npz") as content:
        rate = content["var_names"].tolist().index("HR")
        rows = slice(content["offsets"][7], content["offsets"][8])
        first_day = (content["var"][rows] == rate) & (content["time_min"][rows] < 24 * 60)
        minute, value = content["time_min"][rows][first_day], content["value"][rows][first_day]
    hourly = pd.Series(value).groupby(minute // 60).mean()
    assert table.frame["HR"][7] == pytest.approx(hourly.mean(), rel=1e-6)  # single precision in the file


def test_hours_without_a_value_are_left_open():
    codes = [HOURLY_BLOCKS.places[name] for name in ("HR", "NISysABP")]
    series, measured = measured_hours(
        np.zeros(2, int), np.array([70, 130]), np.array(codes), np.array([80.0, 120.0]), 1
    )
    assert measured.sum() == 2
    assert np.isfinite(series).sum() == 2
    assert series[0, 2, HOURLY_BLOCKS.places["SysABP"]] == 120  # the cuff stands in for the arterial line


def test_bundled_tables():
    table = load_breast_cancer_table()
    assert table.optional == ("mean", "error", "worst")
    assert table.frame["worst radius"].max() > 36  # in the source's units
    digits = load_digits_table()
    halves, y = load_digits_halves()
    assert (digits.y == y).all()
    top = digits.frame[[*digits.blocks["top_left"], *digits.blocks["top_right"]]].to_numpy() / 16
    assert sorted(top[5]) == pytest.approx(sorted(halves.values["top"][5]))
    assert {len(columns) for columns in digits.blocks.values()} == {16}


@pytest.mark.parametrize("load", [load_heart_disease, load_cervical_cancer])
def test_a_file_that_is_nowhere_or_another_one(load, tmp_path):
    with pytest.raises(DataNotFoundError, match=r"github\.com/.*folder named tables"):
        load()
    (tmp_path / "tables").mkdir()
    for name in ("heart_disease.csv", "cervical_cancer.csv"):
        (tmp_path / "tables" / name).write_text("num,Biopsy\n1,0\n")
    with pytest.raises(DataFileError, match="truncated, was edited or is another file"):
        load(tmp_path)


FRAME = pd.DataFrame({"age": [71, 40], "sex": ["f", "m"], "smokes": [True, False], "ph": [7.4, None]})


def test_hidden_cells_are_empty_and_keep_their_kind():
    blocks = {"history": ("age", "sex", "smokes"), "gas": ("ph",)}
    table = Table("toy", FRAME, np.array([0, 1]), blocks, ("alive", "died"))
    hidden = table.hide(FRAME, ["history"])
    assert hidden[["age", "sex", "smokes"]].isna().all(axis=None)
    assert hidden["ph"].equals(FRAME["ph"])
    assert hidden["sex"].dtype == FRAME["sex"].dtype
    assert hidden["age"].dtype.kind == "f"
    assert not FRAME["age"].isna().any()
    assert table.optional == ("gas",)


@pytest.mark.parametrize(
    ("blocks", "labels", "words"),
    [
        ({"a": ("age", "weight")}, 2, r"\['weight'\]"),
        ({"a": ("age", "ph"), "b": ("ph",)}, 2, r"share \(\['ph'\]\)"),
        ({"a": ("age",)}, 3, "2 rows and 3 labels"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(blocks, labels, words):
    with pytest.raises(ModalityError, match=words):
        Table("toy", FRAME, np.zeros(labels, int), blocks, ("alive", "died"))
