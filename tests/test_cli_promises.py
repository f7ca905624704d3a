"""What the command line makes of members, of certification rows, and of parameters that are out of range."""

import pandas as pd
import pytest

from primo_pyro import PrimoClassifier, read_table
from primo_pyro.cli.settings import Settings
from primo_pyro.cli.work import parts_of
from primo_pyro.errors import SettingsError
from tests.test_cli import BLOCKS, FLAGS, OPTIONS_QUICK, QUICK, error_of, patients, run

pytestmark = pytest.mark.filterwarnings("ignore::primo_pyro.errors.PrimoWarning")  # of fits of two epochs
LABEL = ["--label", "died", "--id", "pid"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("promises")
    patients(600).to_csv(folder / "train.csv", index=False)
    patients(120, seed=1).to_csv(folder / "new.csv", index=False)
    result = run(
        "fit", folder / "train.csv", *LABEL, *FLAGS, *QUICK, "--certify", 0.4, "--out", folder / "model"
    )
    assert "240 training rows, 120 held out, 240 to certify, 2 epochs" in result.stdout
    assert "impact calibrated, certified" in result.stdout
    return folder


def test_the_three_parts_have_no_row_in_common(place):
    frame = read_table(place / "train.csv", id="pid")
    parts = parts_of(frame, "died", Settings(certify=0.4), out_of_fold=False)
    rows = [set(part.index) for part in (parts.train, parts.calibrate, parts.certify)]
    assert sum(map(len, rows)) == len(set.union(*rows)) == len(frame)
    shares = [(part["died"] == "yes").mean() for part in (parts.train, parts.calibrate, parts.certify)]
    assert max(shares) - min(shares) < 1 / 120  # stratified: a row more or less
    # What is certified has changed nothing about which rows calibrate.
    alone = parts_of(frame, "died", Settings(), out_of_fold=False)
    assert alone.calibrate.index.tolist() == parts.calibrate.index.tolist()
    assert len(alone.certify) == 0
    for wrong in ({"certify": 1.5}, {"calibrate": -0.1}, {"calibrate": 0.5, "certify": 0.5}):
        with pytest.raises(SettingsError, match=r"--certify|--calibrate"):
            parts_of(frame, "died", Settings(**wrong), out_of_fold=False)
    with pytest.raises(SettingsError, match="1 of 1 rows"):
        parts_of(frame[:1], "died", Settings(), out_of_fold=False)


def test_impact_says_what_is_promised_of_each_line(place, tmp_path):
    run("impact", place / "model", place / "new.csv", "--out", tmp_path / "impact.csv")
    found = pd.read_csv(tmp_path / "impact.csv", dtype={"pid": str}).set_index(["pid", "modality"])
    clf = PrimoClassifier.load(place / "model")
    frame = read_table(place / "train.csv", id="pid")
    rows = parts_of(frame, "died", Settings(certify=0.4), out_of_fold=False).certify
    assert {m: len(c) for m, c in clf.certificates_.items()} == {
        "gas": rows["ph"].notna().sum(),
        "liver": rows["bili"].notna().sum(),
    }
    new = read_table(place / "new.csv", id="pid")
    bound = clf.change_at_most(new).set_index(["row", "modality"]).loc[found.index]
    skip = clf.safe_to_skip(new, confidence=0.9).set_index(["row", "modality"]).loc[found.index]
    assert found["change_at_most"].to_numpy() == pytest.approx(bound["change_at_most"].to_numpy())
    assert found["safe_to_skip"].tolist() == skip["skip"].tolist()
    assert not found["approximate"].any()


def test_what_was_not_certified_has_no_columns_or_empty_cells(place, tmp_path):
    clf = PrimoClassifier(blocks=BLOCKS, random_state=0, **OPTIONS_QUICK)
    train = read_table(place / "train.csv", id="pid")
    clf.fit(train[:400], "died").save(tmp_path / "plain")
    run("impact", tmp_path / "plain", place / "new.csv", "--out", tmp_path / "plain.csv")
    assert "change_at_most" not in pd.read_csv(tmp_path / "plain.csv")
    clf.certify(train[400:], modality="gas").save(tmp_path / "gas")
    run("impact", tmp_path / "gas", place / "new.csv", "--out", tmp_path / "gas.csv")
    found = pd.read_csv(tmp_path / "gas.csv")
    of_gas = found["modality"] == "gas"
    for column in ("change_at_most", "safe_to_skip", "approximate"):
        assert (found[column].notna() == of_gas).all()


def test_numbers_have_bounds_and_no_labels_that_flip(place, tmp_path):
    flags = ["--label", "days", "--id", "pid", *FLAGS, *QUICK, "--outcome", "number", "--certify", 0.3]
    run("fit", place / "train.csv", *flags, "--out", tmp_path / "model")
    run("impact", tmp_path / "model", place / "new.csv", "--out", tmp_path / "impact.csv")
    found = pd.read_csv(tmp_path / "impact.csv")
    assert found["change_at_most"].notna().all()
    assert "safe_to_skip" not in found


def test_weights_from_the_shell(place, tmp_path):
    """Rows without gas are older: certifying says so, and --weighted answers it."""
    frame = patients(600)
    frame.loc[frame["age"] > 60, "ph"] = frame["ph"].where(frame.index % 5 == 0)
    frame.to_csv(tmp_path / "train.csv", index=False)
    fit = ["fit", tmp_path / "train.csv", *LABEL, *FLAGS, *QUICK, "--certify", 0.4, "--out"]
    assert "In the shell: --weighted" in run(*fit, tmp_path / "plain").stderr
    result = run(*fit, tmp_path / "weighted", "--weighted")
    assert "Rows without gas differ" not in result.stderr
    run("impact", tmp_path / "weighted", place / "new.csv", "--out", tmp_path / "impact.csv")
    assert pd.read_csv(tmp_path / "impact.csv")["approximate"].all()


def test_rows_that_cannot_certify_leave_a_note_and_a_model(place, tmp_path):
    frame = patients(300)
    frame.loc[3:, "ph"] = float("nan")
    frame.to_csv(tmp_path / "rare.csv", index=False)
    flags = [*LABEL, *FLAGS, *QUICK, "--calibrate", 0, "--certify", 0.01]
    result = run("fit", tmp_path / "rare.csv", *flags, "--out", tmp_path / "model")
    assert "note: Nothing is certified" in result.stderr
    assert "3 to certify" in result.stdout
    assert "not certified" in result.stdout


def test_members_calibrate_on_what_each_held_out(place, tmp_path):
    flags = [*LABEL, *FLAGS, *QUICK, "--set", "members=2"]
    result = run("fit", place / "train.csv", *flags, "--out", tmp_path / "model")
    assert "600 training rows, 0 held out, 2 members of 2 epochs" in result.stdout
    assert "impact calibrated" in result.stdout
    clf = PrimoClassifier.load(tmp_path / "model")
    assert len(clf.fold_of_) == 600
    run("impact", tmp_path / "model", place / "new.csv", "--out", tmp_path / "impact.csv")
    found = pd.read_csv(tmp_path / "impact.csv")
    assert found["expected_change"].notna().all()
    assert "disagreement" in found
    # Rows held out by hand, where they are asked for.
    result = run("fit", place / "train.csv", *flags, "--calibrate", 0.5, "--out", tmp_path / "other")
    assert "300 training rows, 300 held out" in result.stdout


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("hidden_dim=abc", "hidden_dim is 'abc'; expected a whole number"),
        ("objective=papper", "objective is 'papper'; expected one of 'calibrated', 'paper'"),
        ("max_epochs=-1", "max_epochs is -1; expected None, or a whole number of 0 or more"),
        ("members=0", "members is 0; expected a whole number of 1 to 1000"),
        ("rare=abc", "rare is 'abc'; expected a number from 0 to less than 1"),
        ("present_from=2", "present_from is 2; expected a number from 0 to 1"),
    ],
)
def test_parameters_out_of_range_are_refused_before_the_work(option, words, place, tmp_path):
    fit = ["fit", place / "train.csv", *LABEL, *FLAGS, "--set", option, "--out", tmp_path / "model"]
    assert error_of(*fit).startswith(f"primo-pyro: {words}")
    assert not (tmp_path / "model").exists()


def test_a_parameter_of_classes_is_none_of_numbers(place, tmp_path):
    flags = ["--label", "days", *FLAGS, "--outcome", "number", "--set", "class_weight=balanced"]
    message = error_of("fit", place / "train.csv", *flags, "--out", tmp_path / "model")
    assert "'class_weight' is set, and labels are numbers" in message


def test_the_threshold_of_a_report(place, tmp_path):
    report = ["report", place / "model", place / "new.csv", "--label", "died", "--out", tmp_path / "r.html"]
    run(*report, "--threshold", 0.2)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    for words in ("What can be promised", "Is it worth its price", "V of gas alone"):
        assert words in text
    assert "threshold is 1.2; expected a number" in error_of(*report, "--threshold", 1.2)
