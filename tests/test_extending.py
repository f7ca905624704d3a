"""Every script in examples/extending is short, uses public names alone, runs, and finds what is known."""

import ast
import importlib
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

from tests.scripts import run_script

FOLDER = Path(__file__).parents[1] / "examples" / "extending"
SCRIPTS = sorted(FOLDER.glob("*.py"))
LONGEST = 30  # lines of code that an extension may take
MARKERS = ("# --- The extension ", "# --- Data, and a check against what is known ")

# At this size training stops long before it has converged, but V must distinguish the rows. Errors are over
# that of the best constant: a V that knows nothing has 1. Over 1000 rows the relative standard error of a
# mean error is at most 0.03 (a standard deviation as large as the mean, over the square root of 1000), so
# that 0.9 is three of them from chance.
SMALL = ("--rows", "1500", "--epochs", "12", "--tolerance", "0.9")
# What the package says of a training that was stopped too early.
STOPPED_EARLY = ("The latent of", "V hardly falls")

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)


def extension(script: Path) -> str:
    """What stands between the two markers."""
    text = script.read_text()
    for marker in MARKERS:
        assert text.count(marker) == 1, marker
    return text.split(MARKERS[0])[1].split(MARKERS[1])[0].split("\n", 1)[1]


def code_lines(text: str) -> int:
    """Lines that hold code: no comments, docstrings or empty lines."""
    told = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    code = {
        line
        for token in tokens
        if token.type not in nothing | {tokenize.ENDMARKER}
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - told)


def run(script: Path, *flags: str) -> subprocess.CompletedProcess:
    return run_script(script, flags, STOPPED_EARLY)


def test_lines_of_code_are_counted():
    text = '"""A."""\n\nx = f(\n    1,  # one\n)\n# nothing\n\ndef g():\n    """B\n    c."""\n    return x\n'
    assert code_lines(text) == 5


@each_script
def test_extension_is_short_and_all_that_is_defined(script):
    text = script.read_text()
    assert 0 < code_lines(extension(script)) <= LONGEST
    tree = ast.parse(text)
    below = text[: text.index(MARKERS[1])].count("\n") + 1
    assert not [n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.lineno > below]


@each_script
def test_names_are_public(script):
    tree = ast.parse(script.read_text())
    private = re.compile(r"_(?!_)\w")  # not _ alone, not __init__
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert not private.match(node.attr), f"line {node.lineno}: {node.attr}"
        elif isinstance(node, ast.Import):
            assert not any("._" in alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module not in {other.stem for other in SCRIPTS}
            if node.module.partition(".")[0] == "primo_pyro":
                public = importlib.import_module(node.module).__all__
                assert {alias.name for alias in node.names} <= set(public)


@each_script
def test_docstring_says_how_to_run_it(script):
    first, empty, *lines = ast.get_docstring(ast.parse(script.read_text())).splitlines()
    assert first.endswith(".")
    assert empty == ""
    assert f"    python examples/extending/{script.name}" in lines
    assert any(line.startswith("Known: ") for line in lines)


@pytest.mark.slow
@each_script
def test_script_finds_what_is_known(script):
    ran = run(script, *SMALL)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (measured,) = re.findall(r"^check: .*: ([\d.]+), expected at most 0\.9$", ran.stdout, re.MULTILINE)
    assert 0 < float(measured) <= 0.9


@pytest.mark.slow
def test_a_check_that_fails_is_told_by_the_exit_status():
    ran = run(FOLDER / "own_outcome.py", "--rows", "1500", "--epochs", "1", "--tolerance", "0.0")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "check: " in ran.stdout
    assert ran.stderr == ""
