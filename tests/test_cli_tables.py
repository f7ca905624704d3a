"""Real tables on the command line: what `check` says of them, and from file to page in four commands."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from primo_pyro import PrimoClassifier
from primo_pyro.cli import app

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("PRIMO_DATA", ROOT.parent / "shared" / "data"))

HEART = [
    "--id=id", "--label=num", "--block=history=age,sex,cp,trestbps", "--block=blood=chol,fbs",
    "--block=ecg=restecg", "--block=exercise=thalch,exang,oldpeak,slope", "--block=fluoroscopy=ca",
    "--block=scan=thal",
]  # fmt: skip
CERVICAL = [
    "--label=Biopsy", "--block=base=Age,Num*,First*,Smokes*,Dx*", "--block=hormones=Hormonal*",
    "--block=iud=IUD*", "--block=stds=STDs*,!STDs: Time*,!STDs: Number of diagnosis",
]  # fmt: skip
SUPPORT2 = [
    "--id=sno", "--label=hospdead", "--block=history=age,sex,race,dz*,ca", "--block=gas=pafi,ph",
    "--block=liver=alb,bili", "--block=metabolic=glucose,bun", "--block=urine=urine", "--block=function=adlp",
]  # fmt: skip
# What the README of the data says of each file, as lines of what `check` prints.
CHECKED = {
    "tables/heart_disease.csv": (
        HEART,
        [
            r"920 rows, 15 columns",
            r"history +cp +category +5 +920 +0.0%",
            r"blood +fbs +boolean +1 +830",
            r"fluoroscopy +ca +number +1 +309 +66.4%",
            r"scan +thal +category +4 +434 +52.8%",
            r"Label num: 1 in 509 rows, 0 in 411 rows",
        ],
    ),
    "tables/cervical_cancer.csv": (
        CERVICAL,
        [
            r"858 rows, 36 columns",
            r"stds +STDs:AIDS +constant +0 .*0.0 in all 753 cells: left out",
            r"iud +IUD \(years\) +number +1 +741 +13.6%",
            r"stds +optional +\d+ +753 +12.2%",
            r"Label Biopsy: 0 in 803 rows, 1 in 55 rows",
        ],
    ),
    "support2/support2.csv": (
        SUPPORT2,
        [
            r"9105 rows, 47 columns",
            r"history +dzgroup +category +9 +9105",
            r"gas +optional +2 +6823 +25.1%",
            r"urine +optional +1 +4243 +53.4%",
            r"function +optional +1 +3464 +62.0%",
            r"Label hospdead: 0 in 6745 rows, 1 in 2360 rows",
        ],
    ),
}


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def file_of(table):
    if not (DATA / table).is_file():
        pytest.skip("needs the table")
    return DATA / table


@pytest.mark.parametrize("table", CHECKED)
def test_check_says_what_is_in_real_tables(table):
    flags, lines = CHECKED[table]
    printed = run("check", file_of(table), *flags)
    for line in lines:
        assert re.search(line, printed), line
    assert "Refused" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("table", [table for table in CHECKED if table.startswith("tables/")])
def test_from_the_file_to_a_page_in_four_commands(table, tmp_path):
    rows, (flags, _) = pd.read_csv(file_of(table)), CHECKED[table]
    rows[::2].to_csv(tmp_path / "train.csv", index=False)
    rows[1::2].to_csv(tmp_path / "test.csv", index=False)
    model, test = tmp_path / "model", tmp_path / "test.csv"
    run("fit", tmp_path / "train.csv", *flags, "--set", "max_epochs=2", "--out", model)
    run("impact", model, test, "--out", tmp_path / "impact.csv")
    run("rank", model, test, "--budget", 10, "--out", tmp_path / "rank.csv")
    label = next(flag for flag in flags if flag.startswith("--label"))
    run("report", model, test, label, "--out", tmp_path / "r.html")
    impact = pd.read_csv(tmp_path / "impact.csv")
    # V is not known of a row that lacks a block that every training row had, and of no other.
    clf = PrimoClassifier.load(model)
    x = clf.read(pd.read_csv(test))
    has_observed = np.all([x.present[m] for m in x.names if m not in clf.optional_], axis=0)
    lines = np.stack([~x.present[m] for m in clf.optional_], axis=1)
    assert impact["impact"].isna().sum() == lines[~has_observed].sum()
    known = impact.dropna(subset="impact")
    assert known["impact"].between(0, 0.5).all()
    assert known["expected_change"].notna().all()
    assert len(pd.read_csv(tmp_path / "rank.csv")) == 10
    assert (tmp_path / "r.html").stat().st_size > 0
