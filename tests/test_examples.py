"""Every example runs, small; one that is not listed here fails the test."""

import ast
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from primo_pyro.studies.dataset_figures import DATA_SETS, mimic3_needs_demo
from primo_pyro.studies.methods import FREQUENCIES, METHODS, NEVER_DROPPED
from primo_pyro.studies.protocols import XOR
from primo_pyro.studies.runner import chosen_methods, make_parser
from primo_pyro.studies.sequences import POLICIES
from tests.scripts import run_script

EXAMPLES, BENCHMARKS = (Path(__file__).parents[1] / folder for folder in ("examples", "benchmarks"))
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
REDRAWS = "figures.py"  # it is run on the models that examples have kept
SEQUENCES = "sequences.py"  # it plays orders, and compares no methods
STORY = "story_of_z.py"  # it runs a page; tests/test_story_of_z.py
TABLE = "support2.py"  # it takes a file, and compares no methods; tests/test_front_door.py has its like
COMMON = ["--seeds", "1", "--epochs", "2", "--jobs", "1"]


def write_avmnist(home):
    """Noise in the usual layout."""
    random = np.random.default_rng(0)
    for part, rows in ("train", 120), ("test", 30):
        for kind, shape in ("image", (784,)), ("audio", (112, 112)):
            (home / kind).mkdir(parents=True, exist_ok=True)
            np.save(home / kind / f"{part}_data.npy", random.integers(256, size=(rows, *shape), dtype="u1"))
        np.save(home / f"{part}_labels.npy", np.arange(rows) % 10)


def write_physionet2012(home):
    """Stays of noise as the text files of set a; some have no laboratory value, others no blood gas."""
    random = np.random.default_rng(0)
    (home / "set-a").mkdir(parents=True)
    outcomes = ["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"]
    for record in range(100, 300):
        died = record % 3 == 0
        rows = ["Time,Parameter,Value", f"00:00,RecordID,{record}", f"00:00,Age,{random.integers(20, 90)}"]
        rows += [f"{hour:02}:00,HR,{random.integers(50, 150)}" for hour in range(0, 24, 6)]
        rows += [f"07:10,pH,{random.normal(7.4, 0.1):.2f}"] if record % 4 else []
        rows += [f"07:20,HCT,{random.integers(20, 50)}"]
        rows += [f"07:30,BUN,{random.integers(5, 80)}"] if record % 10 else []
        (home / "set-a" / f"{record}.txt").write_text("\n".join(rows))
        outcomes.append(f"{record},1,1,5,{3 if died else -1},{int(died)}")
    (home / "Outcomes-a.txt").write_text("\n".join(outcomes) + "\n")


def write_mimic3(home):
    """Noise in the processed file's layout."""
    random = np.random.default_rng(0)
    home.mkdir()
    np.savez(
        home / "imputed-normed-ep_1_24.npz",
        ep_tdata=random.normal(size=(200, 24, 12)),
        adm_features_all=random.normal(size=(200, 5)),
        adm_labels_all=random.random((200, 6)) < 0.3,
        y_icd9=random.random((200, 20)) < 0.5,
    )


GENERATED = {"avmnist": write_avmnist, "physionet2012": write_physionet2012, "mimic3": write_mimic3}
OVERVIEW = {"impact.png", "calibration.png", "acquisition.png", "impact_checks.csv"}
XOR_PICTURES = {"gap.png", "truth.png", "scores.png", "labels.png", "latents.png"}
# Of each run: the example, its flags, what it writes beside results.csv, and the models that it keeps.
RUNS = {
    "digits": ("digits.py", ["--rows", "300"], {"impact.png", "rows.png"}, set()),
    "xor": ("xor.py", ["--rows", "600"], XOR_PICTURES, set()),
    "xor, all methods": (
        "xor.py",
        ["--rows", "400", "--methods", "all", "--objective", "calibrated"],
        XOR_PICTURES,
        set(),
    ),
    "avmnist": (
        "avmnist.py",
        ["--rows", "100", "--objective", "calibrated"],
        {"rows_audio.png", "rows_image.png"} | OVERVIEW,
        {"avmnist_audio", "avmnist_image"},
    ),
    "physionet2012": (
        "physionet2012.py",
        ["--task", "both"],
        {
            *(
                f"{kind}_{task}.png"
                for kind in ("rows", "groups")
                for task in ("in_hospital_death", "mortality6")
            ),
            *OVERVIEW,
        },
        {"physionet2012_in_hospital_death", "physionet2012_mortality6"},
    ),
    "physionet2012, three modalities": (
        "physionet2012.py",
        ["--view", "three", "--objective", "paper", "--methods", "default", "mvae"],
        {"rows_in_hospital_death_three.png", "groups_in_hospital_death_three.png"} | OVERVIEW,
        {"physionet2012_in_hospital_death_three"},
    ),
    "mimic3": (
        "mimic3.py",
        ["--task", "icd9_140_239"],
        {"rows_icd9_140_239.png", "groups_icd9_140_239.png"} | OVERVIEW,
        {"mimic3_icd9_140_239"},
    ),
}


# Examples that compare no methods: their flags, what they write, and what they print.
SMALL = ["--rows", "200", "--epochs", "1"]
SEVERAL = [*SMALL, "--seeds", "1", "--jobs", "1"]
OTHER_RUNS = {
    "tables": (
        "tables.py",
        [
            *("--tables", "breast_cancer", "--methods", "primo", "boosting", "logistic"),
            *("--folds", "2", "--epochs", "1", "--jobs", "2"),
        ],
        {"results.csv", "differences_primo.csv", "differences_primo.png"},
        ["primo less each rival on the same folds, log loss", "at most 0.005 on"],
    ),
    "worth the test, physionet2012": (
        "worth_the_test.py",
        [*SMALL, "--task", "physionet2012"],
        {"physionet2012.png"},
        ["can do without series", "harm among the skipped", "calibrated V", "Net benefit"],
    ),
    "many modalities": ("many_modalities.py", SMALL, {"many_modalities.png"}, ["A copy", "Three signs"]),
    **{
        f"several modalities, {task}": (
            "several_modalities.py",
            ["--task", task, *SEVERAL, *flags],
            {"several.csv"},
            ["change / V", *printed],
        )
        for task, flags, printed in (
            ("three_signs", [], ["|V - V*|", "PRIMO less network"]),
            ("breast_cancer", ["--no-networks", "--objective", "paper"], ["mean + error + worst"]),
            ("physionet2012_five", ["--no-networks"], ["haematology"]),
            ("support2", ["--no-networks"], ["patient_function"]),
        )
    },
}

SCRIPTS = sorted([*EXAMPLES.glob("*.py"), *BENCHMARKS.glob("*.py")])


def test_every_example_is_listed():
    listed = {
        REDRAWS,
        SEQUENCES,
        STORY,
        TABLE,
        *(name for name, *_ in [*RUNS.values(), *OTHER_RUNS.values()]),
    }
    assert {path.name for path in EXAMPLES.glob("*.py")} == listed


def test_every_example_that_keeps_models_can_be_drawn_again():
    assert {Path(name).stem for name, *_, models in RUNS.values() if models} == set(DATA_SETS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_docstring_is_a_sentence_and_a_command_line(script):
    first, empty, *lines = ast.get_docstring(ast.parse(script.read_text())).splitlines()
    assert first[0].isupper()
    assert first.endswith(".")
    assert empty == ""
    command = f"    python {script.parent.name}/{script.name}"
    assert any(line == command or line.startswith(f"{command} ") for line in lines)


# Tests have few rows, and their estimators say so.
FEW_ROWS = ("Too few validation rows", "Few rows have")


def python(name, flags, data):
    mimic3_needs_demo.cache_clear()  # asked once a process, as a script is
    return run_script(EXAMPLES / name, flags, FEW_ROWS, {"PRIMO_DATA": str(data)})


def test_methods_are_a_set_or_names_and_primo(capsys):
    def chosen(*flags):
        return chosen_methods(make_parser("", XOR, out="out", rows=1).parse_args(flags))

    default = [FREQUENCIES, "unimodal", "multimodal", NEVER_DROPPED, "primo (paper)", "primo"]
    assert chosen() == chosen("--methods", "default") == default
    assert sorted(chosen("--methods", "all")) == sorted(METHODS)
    assert chosen("--methods", "lvae", "unimodal", "lvae", "--objective", "paper") == [
        "lvae",
        "unimodal",
        "primo (paper)",
    ]
    with pytest.raises(SystemExit):
        chosen("--methods", "magic")
    assert "invalid choice: 'magic'" in capsys.readouterr().err


def run(name, flags, data, out):
    ran = python(name, [*COMMON, *flags, "--out", out], data)
    assert ran.returncode == 0, ran.stderr
    results = pd.read_csv(out / "results.csv")
    assert list(results.columns) == ["dataset", "method", "scenario", "seed", "metric", "value"]
    assert set(results["scenario"]) - {"present"} == {"missing", "complete", "training"}
    assert "class frequencies" in ran.stdout
    assert "primo" in ran.stdout
    return ran, results


def generated(stem, folder):
    folder.mkdir()
    if stem in GENERATED:
        GENERATED[stem](folder / stem)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(RUNS))
def test_example_runs(case, tmp_path):
    name, flags, written, models = RUNS[case]
    data, out = generated(Path(name).stem, tmp_path / "data"), tmp_path / "out"
    ran, results = run(name, flags, data, out)
    folders = {"models"} if models else set()
    assert written | {"results.csv"} | folders == {path.name for path in out.iterdir()}
    assert models == {path.name for path in out.glob("models/*")}
    assert "DEMO" not in ran.stdout
    if "all" in flags:
        assert set(results["method"]) == {*METHODS, "entropy", "neighbours"} - {"primo (paper)"}
    if "three" in flags:
        assert "left out, neighbours" in ran.stdout
    assert ("present" in set(results["scenario"])) == ("three" in flags)  # where modalities are really absent


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(OTHER_RUNS))
def test_example_without_a_comparison_runs(case, tmp_path):
    name, flags, written, printed = OTHER_RUNS[case]
    data, out = tmp_path / "data", tmp_path / "out"
    if "support2" in flags:  # the reader wants the known file
        data = Path(os.environ.get("PRIMO_DATA", BESIDE))
        if not (data / "support2").is_dir():
            pytest.skip("no SUPPORT2: set PRIMO_DATA")
    else:
        generated("physionet2012" if "physionet" in case else "none", data)
    ran = python(name, [*flags, "--out", out], data)
    assert ran.returncode == 0, ran.stderr
    assert written == {path.name for path in out.iterdir()}
    assert all(words in ran.stdout for words in printed), ran.stdout
    if "several.csv" in written:
        results = pd.read_csv(out / "several.csv")
        columns = ["dataset", "seed", "table", "pattern", "modality", "metric", "value"]
        assert list(results.columns) == columns
        exact = {"exact"} if "|V - V*|" in printed else set()
        assert set(results["table"]) == {"patterns", "impact", "agreement", "seconds"} | exact


@pytest.mark.slow
def test_figures_draws_the_same_again_without_training(tmp_path):
    data, out, again = generated("mimic3", tmp_path / "data"), tmp_path / "out", tmp_path / "again"
    run("mimic3.py", ["--task", "mortality", "--objective", "calibrated"], data, out)
    ran = python(REDRAWS, ["mimic3", "--models", out / "models", "--out", again], data)
    assert ran.returncode == 0, ran.stderr
    drawn = {path.name: path.read_bytes() for path in again.iterdir()}
    assert {"rows_mortality.png", "groups_mortality.png"} | OVERVIEW == drawn.keys()
    for name, content in drawn.items():
        assert content == (out / name).read_bytes(), name


def test_figures_without_models_names_the_command_that_trains_them(tmp_path):
    ran = python(REDRAWS, ["physionet2012", "--models", tmp_path, "--out", tmp_path], tmp_path)
    assert ran.returncode != 0
    assert "python examples/physionet2012.py" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_bias_of_avmnist(tmp_path):
    data, out = generated("avmnist", tmp_path / "data"), tmp_path / "out"
    flags = ["--bias", "--rows", "100", "--seeds", "2", "--epochs", "1", "--out", out]
    ran = python("avmnist.py", flags, data)
    assert ran.returncode == 0, ran.stderr
    assert {"bias.csv", "bias.png"} == {path.name for path in out.iterdir()}
    distances = pd.read_csv(out / "bias.csv")
    assert list(distances.columns) == ["dataset", "first", "second", "seed", "distance"]
    assert set(distances["seed"]) == {0, 1}


@pytest.mark.slow
def test_sequences(tmp_path):
    flags = ["--rows", "200", "--costs", "mean=1", "error=2", "worst=3", "--out", tmp_path]
    ran = python(SEQUENCES, [*COMMON, *flags], tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert {"sequences.csv", "areas.csv", "sequences.png"} == {path.name for path in tmp_path.iterdir()}
    curves = pd.read_csv(tmp_path / "sequences.csv")
    assert set(curves["policy"]) == set(POLICIES)
    assert set(curves["metric"]) == {"log_loss", "accuracy", "auroc"}
    assert curves["cost"].max() == pytest.approx(6)
    assert "oracle" in ran.stdout


@pytest.mark.slow
def test_without_mimic3_its_demo_is_read_and_said_to_be_no_result(tmp_path):
    data = Path(os.environ.get("PRIMO_DATA", BESIDE))
    if not (data / "mimic3demo").is_dir():
        pytest.skip("no MIMIC-III demo: set PRIMO_DATA")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mimic3demo").symlink_to(data / "mimic3demo")
    ran, results = run("mimic3.py", ["--task", "mortality"], tmp_path / "data", tmp_path / "out")
    assert "are no result" in ran.stdout
    assert set(results["dataset"]) == {"MIMIC-III demo, mortality"}
