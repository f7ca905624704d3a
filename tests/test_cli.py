"""The command line: from a CSV to a model, answers and a page, without a line of Python."""

from __future__ import annotations

import filecmp
import io
import re
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split
from typer.testing import CliRunner

from primo_pyro import PrimoClassifier, PrimoRegressor, read_table
from primo_pyro.cli import app, main
from primo_pyro.cli.settings import OPTIONS, Settings, read_settings
from primo_pyro.errors import SettingsError

pytestmark = pytest.mark.filterwarnings("ignore::primo_pyro.errors.PrimoWarning")  # of fits of two epochs

BLOCKS = {"history": ["age", "sex"], "gas": ["ph"], "liver": ["bili", "kind"]}
FLAGS = ["--block", "history=age,sex", "--block", "gas=ph", "--block", "liver=bili,kind"]
QUICK = ["--set", "max_epochs=2", "--set", "hidden_dim=16", "--set", "num_samples=32"]
OPTIONS_QUICK = {"max_epochs": 2, "hidden_dim": 16, "num_samples": 32}


def patients(rows=300, seed=0):
    random = np.random.default_rng(seed)
    gas = random.normal(7.3, 0.2, rows)
    frame = pd.DataFrame(
        {
            "pid": [f"{1000 * seed + i:05d}" for i in range(rows)],
            "age": random.integers(20, 90, rows),
            "sex": random.choice(["f", "m"], rows),
            "ph": gas.round(3),
            "bili": random.normal(1, 0.4, rows).round(3),
            "kind": random.choice(["a", "b", "c"], rows),
            "died": np.where(random.random(rows) < 1 / (1 + np.exp(-8 * (gas - 7.3))), "yes", "no"),
            "days": random.gamma(2.0, 3.0, rows).round(1),
        }
    )
    frame.loc[random.random(rows) < 0.5, "ph"] = np.nan
    frame.loc[random.random(rows) < 0.4, ["bili", "kind"]] = np.nan
    return frame


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


def error_of(*arguments, code=1):
    """The message of a command that fails: one line that is not a note."""
    lines = run(*arguments, code=code).stderr.splitlines()
    errors = [line for line in lines if not line.startswith("primo-pyro: note: ")]
    assert len(errors) == 1
    return errors[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Files of rows, and a model fitted on them."""
    folder = tmp_path_factory.mktemp("shell")
    patients(300).to_csv(folder / "train.csv", index=False)
    patients(120, seed=1).to_csv(folder / "new.csv", index=False)
    flags = ["--label", "died", "--id", "pid", *FLAGS, *QUICK, "--seed", 3]
    result = run("fit", folder / "train.csv", *flags, "--out", folder / "model")
    assert "240 training rows, 60 held out, 2 epochs" in result.stdout
    assert "impact calibrated" in result.stdout
    return folder


# --- From one end to the other ---------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_files_as_python(place, tmp_path):
    frame = read_table(place / "train.csv", id="pid")
    train, held_out = train_test_split(frame, test_size=0.2, stratify=frame["died"], random_state=3)
    clf = PrimoClassifier(blocks=BLOCKS, random_state=3, **OPTIONS_QUICK).fit(train, "died")
    clf.calibrate_impact(held_out)
    clf.save(tmp_path / "model")
    for name in ("weights.safetensors", "settings.json"):
        assert filecmp.cmp(place / "model" / name, tmp_path / "model" / name, shallow=False), name

    new = read_table(place / "new.csv", id="pid")
    run("predict", place / "model", place / "new.csv", "--out", tmp_path / "p.csv")
    p = pd.read_csv(tmp_path / "p.csv", dtype={"pid": str})
    assert p.columns.tolist() == ["pid", "prediction", "p_no", "p_yes"]
    assert p["pid"].tolist() == new.index.tolist()
    assert p["prediction"].tolist() == clf.predict(new).tolist()
    np.testing.assert_array_equal(p[["p_no", "p_yes"]], clf.predict_proba(new))


def test_impact_has_a_line_for_each_absent_block(place, tmp_path):
    run("impact", place / "model", place / "new.csv", "--out", tmp_path / "impact.csv")
    found = pd.read_csv(tmp_path / "impact.csv", dtype={"pid": str})
    new = patients(120, seed=1)
    assert len(found) == new["ph"].isna().sum() + new["bili"].isna().sum()
    assert set(found.loc[found["modality"] == "gas", "pid"]) == set(new.loc[new["ph"].isna(), "pid"])
    assert (found["impact"] > 0).all()
    assert {"impact_se", "flip_probability", "information_gain", "expected_change"} <= set(found)
    each = PrimoClassifier.load(place / "model").predictive_impact(new.set_index("pid"), "each")
    expected = each.merge(
        found[["pid", "modality"]], left_on=["row", "modality"], right_on=["pid", "modality"]
    )
    np.testing.assert_array_equal(found["impact"], expected["impact"])


def test_rank_spends_at_most_the_budget(place):
    def ranked(*flags):
        result = run("rank", place / "model", place / "new.csv", *flags)
        lines = result.stdout.splitlines()
        return pd.DataFrame([line.split(",") for line in lines[1:]], columns=lines[0].split(",")), result

    everything, _ = ranked("--cost", "gas=3", "--cost", "liver=2")
    assert everything["change_per_cost"].astype(float).is_monotonic_decreasing
    some, result = ranked("--cost", "gas=3", "--budget", 10)
    assert "No cost was given for 'liver': taken as 1" in result.stderr
    spent = some["spent"].astype(float)
    assert spent.iloc[-1] <= 10 < spent.iloc[-1] + 3
    assert (some["cost"].astype(float).cumsum() == spent).all()
    assert some.columns[0] == "pid"


def test_check_names_types_and_patterns_and_trains_nothing(place, tmp_path):
    out = tmp_path / "check.csv"
    result = run("check", place / "train.csv", "--label", "died", "--id", "pid", *FLAGS, "--out", out)
    for words in (
        r"gas +ph +number",
        r"history +sex +category +3 +300",
        r"history +observed",
        r"\d+ history \+ gas \+ liver",
        r"Label died: no in \d+ rows, yes in \d+ rows",
    ):
        assert re.search(words, result.stdout), words
    assert set(pd.read_csv(out)["about"]) == {"column", "block", "pattern"}


def test_report_is_one_page_with_rows_by_their_labels(place, tmp_path):
    run("report", place / "model", place / "new.csv", "--label", "died", "--out", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<title>The worth of gas and liver</title>" in text
    assert re.search(r"Row 010\d\d", text)  # leading zeros stay
    assert "Expected change" in text
    assert "<th scope=row>sex</th>" in text


def test_numbers_as_labels(place, tmp_path):
    flags = ["--label", "days", "--id", "pid", *FLAGS, *QUICK, "--outcome", "number"]
    run("fit", place / "train.csv", *flags, "--out", tmp_path / "model")
    result = run("predict", tmp_path / "model", place / "new.csv")
    assert result.stdout.splitlines()[0] == "pid,prediction"
    assert PrimoRegressor.load(tmp_path / "model").optional_ == ("gas", "liver")
    message = error_of(
        "report", tmp_path / "model", place / "new.csv", "--label", "days", "--out", tmp_path / "r.html"
    )
    assert "predicts numbers" in message


def test_the_version_is_that_of_the_package_however_it_is_started():
    said = f"primo-pyro {version('primo-pyro')}\n"
    assert run("--version").stdout == said
    command = [sys.executable, "-m", "primo_pyro", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == said


def test_demo_needs_no_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = run("demo", "--epochs", 1)
    assert re.search(r"bottom half missing +0\.\d+", result.stdout)
    assert list(tmp_path.iterdir()) == []


def test_answers_for_some_rows_at_a_time_are_those_of_all(place, monkeypatch):
    def answers():
        texts = [run(command, place / "model", place / "new.csv").stdout for command in ("predict", "impact")]
        return [pd.read_csv(io.StringIO(text)) for text in texts]

    at_once = answers()
    monkeypatch.setattr("primo_pyro.cli.work.PART", 37)
    for parts, whole in zip(answers(), at_once, strict=True):
        # Networks compute in single precision, whose rounding may depend on the place in the batch.
        pd.testing.assert_frame_equal(parts, whole, rtol=0, atol=1e-5)


# --- The same rows in another form -----------------------------------------------------------------------


def test_the_form_of_a_file_changes_no_number(place, tmp_path):
    new = patients(120, seed=1)
    run("predict", place / "model", place / "new.csv", "--out", tmp_path / "p.csv")
    p = pd.read_csv(tmp_path / "p.csv", dtype={"pid": str}).set_index("pid")
    other = new.sample(frac=1, random_state=0)[[*reversed(new.columns)]].assign(extra="x")
    files = {"other.csv": ",", "semicolons.csv": ";", "tabs.tsv": "\t", "packed.csv.gz": ","}
    for name, sep in files.items():
        other.to_csv(tmp_path / name, sep=sep, index=False)
    other.to_parquet(tmp_path / "other.parquet", index=False)
    for name in (*files, "other.parquet"):
        run("predict", place / "model", tmp_path / name, "--out", tmp_path / "q.parquet")
        q = pd.read_parquet(tmp_path / "q.parquet").set_index("pid")
        assert q.index.tolist() == other["pid"].tolist()
        # Networks compute in single precision, whose rounding may depend on the place in the batch.
        pd.testing.assert_frame_equal(q.loc[p.index], p, rtol=1e-5, check_dtype=False)


def test_a_category_that_is_not_known_is_predicted_with(place, tmp_path):
    new = patients(120, seed=1)
    new["kind"] = new["kind"].where(new["kind"] != "a", "new kind")
    new.to_csv(tmp_path / "new.csv", index=False)
    run("predict", place / "model", tmp_path / "new.csv", "--out", tmp_path / "p.csv")
    clf = PrimoClassifier.load(place / "model")
    p = pd.read_csv(tmp_path / "p.csv")[["p_no", "p_yes"]]
    np.testing.assert_array_equal(p, clf.predict_proba(new.set_index("pid")))


# --- Settings --------------------------------------------------------------------------------------------


SETTINGS = """
label = "died"
id = "pid"
seed = 3
[blocks]
history = ["age", "sex"]
gas = "ph"
liver = ["bili", "kind"]
[options]
max_epochs = 9
hidden_dim = 16
num_samples = 32
[costs]
gas = 3
"""


def test_a_file_of_settings_and_flags_that_win(place, tmp_path):
    (tmp_path / "settings.toml").write_text(SETTINGS)
    config = ["--config", tmp_path / "settings.toml"]
    run("fit", place / "train.csv", *config, "--set", "max_epochs=2", "--out", tmp_path / "model")
    names = ("weights.safetensors", "settings.json")
    assert all(filecmp.cmp(place / "model" / n, tmp_path / "model" / n, shallow=False) for n in names)
    result = run("rank", place / "model", place / "new.csv", *config, "--cost", "liver=0.5")
    assert "No cost" not in result.stderr
    costs = {line.split(",")[1]: line.split(",")[-2] for line in result.stdout.splitlines()[1:]}
    assert costs == {"gas": "3.0", "liver": "0.5"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sead = 3", r"setting 'sead' is not known; the nearest known one is 'seed'"),
        ("[options]\nmax_epoch = 3", r"option 'max_epoch' .* 'max_epochs'"),
        ("seed = 'three'", r"seed is str \('three'\); expected a whole number"),
        ("seed = true", r"seed is bool"),
        ("blocks = 3", r"blocks is int"),
        ("[blocks]\nlabs = 3", r"block 'labs' is 3"),
        ("[costs]\nlabs = '3 euros'", r"the cost of 'labs' is '3 euros'"),
        ("seed = ", r"cannot be read as TOML"),
    ],
)
def test_settings_that_are_refused(tmp_path, text, words):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words) as error:
        read_settings(path)
    assert str(path) in str(error.value)


def test_every_option_is_a_parameter():
    assert {"max_epochs", "rare", "present_from", "objective"} <= set(OPTIONS)
    assert "blocks" not in OPTIONS
    assert Settings(options={"rare": 0.1}).changed(options={"max_epochs": 1}).options == {
        "rare": 0.1,
        "max_epochs": 1,
    }


# --- What is wrong ---------------------------------------------------------------------------------------


def spoilt(place, tmp_path, **columns):
    frame = patients(120, seed=1)
    for name, (row, value) in columns.items():
        frame[name] = frame[name].astype(object)
        frame.loc[row, name] = value
    frame.to_csv(tmp_path / "spoilt.csv", index=False)
    return tmp_path / "spoilt.csv"


def fit_error(table, *more, code=1):
    flags = ["--id", "pid", *FLAGS, *QUICK, "--out", table.with_name("none")]
    return error_of("fit", table, *flags, *more, code=code)


def test_errors_of_files(place, tmp_path):
    missing = tmp_path / "no.csv"
    assert f"{missing} does not exist" in fit_error(missing, "--label", "died")
    assert f"{missing} does not exist" in error_of("predict", place / "model", missing)
    assert "manifest.json" in error_of("predict", tmp_path / "no_model", place / "new.csv")
    assert "ends in '.txt'" in error_of(
        "report", place / "model", place / "new.csv", "--label", "died", "--out", tmp_path / "r.txt"
    )
    assert "ends in 'xls'" in error_of(
        "predict", place / "model", place / "new.csv", "--out", tmp_path / "p.xls"
    )
    assert "pid" in error_of("predict", place / "model", place / "new.csv", "--id", "pud")


def test_a_place_that_cannot_be_written_is_refused_before_the_work(place, tmp_path, monkeypatch):
    monkeypatch.setattr("primo_pyro.cli.commands.fitted", lambda *_: pytest.fail("trained"))
    (tmp_path / "notes.txt").touch()
    fit = ["fit", place / "train.csv", "--label", "died", *FLAGS, "--out"]
    assert "holds files and no model" in error_of(*fit, tmp_path)
    assert "is a file" in error_of(*fit, tmp_path / "notes.txt")
    assert "notes.txt" in error_of(*fit, tmp_path / "notes.txt" / "model")


def test_a_report_of_one_row(place, tmp_path):
    complete = patients(120, seed=1).dropna()
    complete.head(1).to_csv(tmp_path / "one.csv", index=False)
    run("report", place / "model", tmp_path / "one.csv", "--label", "died", "--out", tmp_path / "r.html")
    assert "1 rows" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_errors_of_columns_and_rows_name_them(place, tmp_path):
    train = place / "train.csv"
    message = fit_error(train, "--label", "die")
    assert message.startswith(f"primo-pyro: {train} has no column 'die'")
    message = fit_error(train, "--label", "died", "--block", "labs=lab_*")
    assert f"{train}: Block 'labs'" in message
    for row in range(5, 10):  # wherever it is: among training rows or those held out
        message = fit_error(spoilt(place, tmp_path, age=(row, "61 years")), "--label", "died")
        words = rf"spoilt.csv: Column 'age' .*'61 years'.*first in row '0100{row}'.*--na"
        assert re.search(words, message)
    message = fit_error(spoilt(place, tmp_path, died=(5, None)), "--label", "died")
    assert re.search(r"spoilt.csv: column 'died' is empty in 1 of 120 rows \('01005'\)", message)
    message = error_of("predict", place / "model", spoilt(place, tmp_path, age=(7, "61 years")))
    assert re.search(r"spoilt.csv: Column 'age' holds '61 years' .*'01007'", message)
    without = patients(20, seed=2).drop(columns="bili")
    without.to_csv(tmp_path / "without.csv", index=False)
    message = error_of("impact", place / "model", tmp_path / "without.csv")
    assert re.search(r"without.csv: .*lacks 1 \('bili'\)", message)


def test_a_marker_of_the_users_own_is_a_missing_cell(place, tmp_path):
    table = spoilt(place, tmp_path, ph=(7, "not done"))
    assert run("check", table, "--id", "pid", *FLAGS, code=1).stderr.count("refuse 1 column") == 1
    assert "refused" not in run("check", table, "--id", "pid", *FLAGS, "--na", "not done").stdout


def test_errors_of_settings(place, tmp_path):
    rank = ["rank", place / "model", place / "new.csv"]
    assert re.search(r"cost of 'gaz'; .*'gas', 'liver'", error_of(*rank, "--cost", "gaz=3"))
    assert "budget is -1" in error_of(*rank, "--budget", "-1")
    train = place / "train.csv"
    assert "calibrate is 1.0" in fit_error(train, "--label", "died", "--calibrate", 1)
    assert "seed is -1" in fit_error(train, "--label", "died", "--seed", -1)
    assert "outcome is 'numbers'" in fit_error(train, "--label", "died", "--outcome", "numbers")
    assert "--outcome number" in fit_error(train, "--label", "days")
    assert "No label" in fit_error(train)
    assert "No blocks" in error_of("fit", train, "--label", "died", "--out", tmp_path / "m")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit"],
        ["fit", "rows.csv", "--out", "m", "--block", "age"],
        ["fit", "rows.csv", "--out", "m", "--set", "max_epoch=3"],
        ["fit", "rows.csv", "--out", "m", "--seed", "three"],
        ["rank", "model", "rows.csv", "--cost", "gas=much"],
        ["predikt", "model", "rows.csv"],
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    run(*arguments, code=2)


def test_rows_that_cannot_calibrate_leave_a_note(place, tmp_path):
    frame = patients(300)
    frame.loc[3:, "ph"] = np.nan
    frame.to_csv(tmp_path / "rare.csv", index=False)
    flags = ["--label", "died", "--id", "pid", *FLAGS, *QUICK, "--calibrate", 0.01]
    result = run("fit", tmp_path / "rare.csv", *flags, "--out", tmp_path / "model")
    assert "note: Impact is not calibrated" in result.stderr
    assert "impact not calibrated" in result.stdout


def test_a_fault_of_the_program_is_one_line_too(monkeypatch, capsys):
    def broken(**settings):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("primo_pyro.cli.commands.app", broken)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "primo-pyro: unexpected RuntimeError: two lines This is a fault of the program.\n"
    )


def test_parquet_without_its_library_names_the_extra(monkeypatch, place, tmp_path):
    monkeypatch.setattr("primo_pyro.table_files.find_spec", lambda name: None)
    (tmp_path / "rows.parquet").touch()
    assert "primo-pyro[parquet]" in error_of("predict", place / "model", tmp_path / "rows.parquet")
    assert "primo-pyro[parquet]" in error_of(
        "predict", place / "model", place / "new.csv", "--out", tmp_path / "p.parquet"
    )
