"""Every script of examples/extending runs, whatever is added there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "extending"
SCRIPTS = sorted(FOLDER.glob("*.py"))
# Few rows and epochs: what is checked here is that an extension fits the package. At its own size a script
# checks its numbers itself, and fails where they are off.
SMALL = ["--rows", "300", "--epochs", "1", "--tolerance", "100"]
FEW_ROWS = ["-W", "ignore:Too few validation rows", "-W", "ignore:Few rows have"]


def test_there_are_scripts():
    assert SCRIPTS


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_extension_runs(script):
    command = [sys.executable, "-W", "error", *FEW_ROWS, str(script), *SMALL]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    assert "check:" in ran.stdout
