"""One import direction, read off the files."""

import ast
from pathlib import Path

import pytest

import primo_pyro

PACKAGE = Path(primo_pyro.__file__).parent
# Each room, and what it may import of the package.
FOUNDATIONS = {"errors"}
KNOWS = {
    "errors": set(),
    "impact": FOUNDATIONS,
    "modalities": FOUNDATIONS,
    "networks": FOUNDATIONS | {"modalities"},
    "model": FOUNDATIONS | {"modalities", "networks"},
    "guide": FOUNDATIONS | {"modalities", "networks"},
    "objective": FOUNDATIONS | {"modalities", "networks", "impact"},
    "training": FOUNDATIONS | {"modalities", "objective"},
    "prediction": FOUNDATIONS | {"modalities", "networks", "impact"},
    "clusters": FOUNDATIONS | {"impact"},
    "evaluation": FOUNDATIONS | {"impact"},
    "diagnosis": FOUNDATIONS | {"modalities", "impact", "prediction", "clusters", "evaluation"},
    "plots": FOUNDATIONS | {"impact", "evaluation"},
    "door": FOUNDATIONS | {"modalities", "training"},
    "data": FOUNDATIONS | {"modalities", "data"},
}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("primo_pyro"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("room", sorted(KNOWS))
def test_imports_point_one_way(room):
    folder = PACKAGE / room
    for path in sorted(folder.glob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]:
        assert imports_of(path) <= KNOWS[room], path.name


@pytest.mark.parametrize("program", ["model", "guide"])
def test_the_programs_know_nothing_of_training_files_or_pictures(program):
    text = (PACKAGE / f"{program}.py").read_text()
    for word in ("optim", "open(", "Path", "plot", "objective"):
        assert word not in text


@pytest.mark.parametrize("program", ["model", "guide"])
def test_the_story_fits_on_one_screen(program):
    assert len((PACKAGE / f"{program}.py").read_text().splitlines()) <= 100
