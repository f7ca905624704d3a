"""Every example runs, small; one that is not listed here fails the test."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
HELPERS = {"common.py"}
COMMON = ["--seeds", "1", "--epochs", "2", "--jobs", "1"]
RUNS = {
    "digits.py": (["--rows", "300"], {"impact.png", "rows.png"}),
    "xor.py": (["--rows", "600"], {"gap.png", "truth.png"}),
}


def test_every_example_is_listed():
    assert {path.name for path in EXAMPLES.glob("*.py")} - HELPERS == set(RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RUNS))
def test_example_runs(name, tmp_path):
    flags, pictures = RUNS[name]
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *COMMON, *flags, "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    results = pd.read_csv(tmp_path / "results.csv")
    assert list(results.columns) == ["dataset", "method", "scenario", "seed", "metric", "value"]
    assert set(results["scenario"]) == {"missing", "complete", "training"}
    assert pictures <= {path.name for path in tmp_path.iterdir()}
    assert "primo" in ran.stdout
