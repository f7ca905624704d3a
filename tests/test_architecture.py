"""Which module may import which, read off the files; what the package shows of itself."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from torch import nn

import primo_pyro

PACKAGE = Path(primo_pyro.__file__).parent
ROOT = PACKAGE.parent

# From the ground up, each floor with its rooms, each room with its modules; "x.*" is the package x with all
# its modules. A room may import from the floors below it, and not from other rooms on its own floor.
FLOORS = (
    {"errors": ["errors"], "arrays": ["arrays"]},
    {
        "modalities": ["identity", "blocks", "modalities", "patterns"],
        "parameters": ["parameters"],
        "locks": ["locks"],
        "files": ["files"],
        "processes": ["processes"],
        "progress": ["progress"],
    },
    {
        "tables": ["cells", "columns", "table_files", "tables"],
        "rows": ["rows", "row_files"],
        "schedule": ["schedule"],
    },
    {
        "encoders": ["program.encoders", "program.inputs"],
        "outcomes": ["program.outcomes"],
        "distributions": ["program.distributions"],
        "lifecycle": ["lifecycle"],
        "checkpoints": ["checkpoints"],
        "divergence": ["divergence"],
    },
    {"priors": ["program.priors"]},
    {"conditionals": ["program.conditionals"]},
    {"protocols": ["program.protocols"]},
    {"model": ["program.model"], "guide": ["program.guide"], "objective": ["program.objective"]},
    {"regulariser": ["program.regulariser"]},
    {"loss": ["program.loss", "program.stacked"]},
    {"program": ["program"]},
    {"door": ["door"]},
    {
        "labels": ["labels"],
        "draws": ["direct", "draws"],
        "training": ["training"],
        "held_out": ["held_out"],
        "weights": ["weights"],
        "members": ["members"],
    },
    {"prediction": ["summaries", "prediction"], "estimator": ["reading", "estimator"]},
    {"analysis": ["analysis.*"]},
    {"out_of_fold": ["out_of_fold"], "hiding": ["hiding"]},
    {
        "diagnosis": ["diagnosis"],
        "persistence": ["persistence", "model_files", "saved_values"],
        "questions": ["questions"],
    },
    {"ensemble": ["ensemble"]},
    {"revealing": ["revealing"]},
    {"certification": ["certification"]},
    {"guarantees": ["guarantees"]},
    {"primo": ["primo"]},
    {"findings": ["findings"]},
    {"classifier": ["classifier"], "regressor": ["regressor"]},
    {"baselines": ["baselines.*"], "data": ["data.*"], "scoring": ["scoring"]},
    {"studies": ["studies.*"]},
    {"front": ["primo_pyro"]},
    {"shell": ["cli.*"]},
    {"main": ["__main__"]},
)
# Rooms that may import less than all floors below.
ONLY = {
    "outcomes": set(),
    "analysis": {"errors", "modalities", "files", "parameters", "outcomes", "prediction"},
    "distributions": set(),
    "protocols": {"modalities", "encoders", "outcomes", "priors"},
    "labels": {"errors", "arrays", "outcomes"},
    "data": {"errors", "modalities"},
}
# Names that a room may take from another one, where these are not all of its public ones.
ONLY_NAMES = {("analysis", "prediction"): {"Summary"}}
LONGEST = 450  # lines of a file, but for those that read data sets
SCREEN = 80  # lines of code of the model and of the guide
POSITIONAL = 2  # arguments of a constructor


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "primo_pyro"


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}


def modules_of(listed: str) -> list[str]:
    package = listed.removesuffix(".*")
    if package == listed:
        return [listed]
    return [module for module in FILES if module == package or module.startswith(f"{package}.")] or [listed]


ROOMS = {
    room: [module for listed in names for module in modules_of(listed)]
    for floor in FLOORS
    for room, names in floor.items()
}
ROOM_OF = {module: room for room, modules in ROOMS.items() for module in modules}


def may_import(room: str) -> set[str]:
    below = set()
    for floor in FLOORS:
        if room in floor:
            return ONLY.get(room, below)
        below |= floor.keys()
    raise KeyError(room)


def imports_of(tree: ast.Module):
    """What a file imports of the package: module, name in it or None, and what that is called here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the whole name"
            package, _, module = node.module.partition(".")
            if package == "primo_pyro":
                for alias in node.names:
                    inner = f"{module}.{alias.name}".lstrip(".")
                    here = alias.asname or alias.name
                    yield (
                        (inner, None, here) if inner in FILES else (module or "primo_pyro", alias.name, here)
                    )
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, _, module = alias.name.partition(".")
                if package == "primo_pyro":
                    yield module or "primo_pyro", None, alias.asname or package


def full_name(module: str) -> str:
    return "primo_pyro" if module == "primo_pyro" else f"primo_pyro.{module}"


def public_names(module: str) -> list[str] | None:
    return getattr(importlib.import_module(full_name(module)), "__all__", None)


def private_names(tree: ast.Module) -> set[str]:
    """Names with a leading underscore that a file takes from other modules."""

    def private(name):
        return name.startswith("_") and not name.startswith("__")

    imported = list(imports_of(tree))
    here = {local for *_, local in imported}
    attributes = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in here and private(node.attr)
    }
    return {name for _, name, _ in imported if name and private(name)} | attributes


def test_every_module_has_one_room():
    listed = [module for modules in ROOMS.values() for module in modules]
    assert sorted(listed) == sorted(set(listed)), "a module is in two rooms"
    assert set(FILES) - set(listed) == set(), "modules without a room: add them to FLOORS"
    assert set(listed) - set(FILES) == set(), "modules that do not exist: take them out of FLOORS"
    assert ONLY.keys() <= ROOMS.keys()


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_down(module):
    room = ROOM_OF[module]
    known = {ROOM_OF[other] for other, *_ in imports_of(TREES[module])}
    assert known - {room} <= may_import(room)


def test_no_import_goes_in_a_circle():
    graph = {module: {other for other, *_ in imports_of(tree)} for module, tree in TREES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(("room", "other"), sorted(ONLY_NAMES))
def test_names_taken_from_another_room(room, other):
    taken = {name for m in ROOMS[room] for of, name, _ in imports_of(TREES[m]) if of in ROOMS[other]}
    assert taken <= ONLY_NAMES[room, other]


@pytest.mark.parametrize("module", sorted(FILES))
def test_no_private_name_leaves_its_module(module):
    assert private_names(TREES[module]) == set()


@pytest.mark.parametrize("module", sorted(FILES))
def test_public_names_are_listed(module):
    public, inner = public_names(module), f"{module}."
    assert public is not None, "no __all__"
    assert len(set(public)) == len(public)
    modules = {other.removeprefix(inner) for other in FILES if other.startswith(inner)}
    assert set(public) <= modules | vars(importlib.import_module(full_name(module))).keys()


PYTHON = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("primo_pyro", "examples", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("file", PYTHON)
def test_names_that_are_imported_are_listed(file):
    for module, name, _ in imports_of(ast.parse((ROOT / file).read_text())):
        if name is not None:
            assert name in (public_names(module) or ()), f"{name} is not in __all__ of {full_name(module)}"


@pytest.mark.parametrize("file", [file for file in PYTHON if not file.startswith("primo_pyro/data/")])
def test_files_are_short(file):
    assert len((ROOT / file).read_text().splitlines()) <= LONGEST


def code_of(path: Path) -> list[str]:
    """The lines of a file without docstrings, comments and blank lines."""
    text = path.read_text()
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = [line for number, line in enumerate(text.splitlines(), 1) if number not in docstrings]
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("program", ["program.model", "program.guide"])
def test_the_programs_know_nothing_of_training_files_or_pictures(program):
    code = "\n".join(code_of(FILES[program]))
    for word in ("optim.", "open(", "Path", "plot", "objective"):
        assert word not in code


@pytest.mark.parametrize("program", ["program.model", "program.guide"])
def test_the_story_fits_on_one_screen(program):
    assert len(code_of(FILES[program])) <= SCREEN


# --- What a user imports -------------------------------------------------------------------------------


def public_classes() -> dict[str, type]:
    """Those that can be made."""
    modules = [
        importlib.import_module(full_name(module)) for module in ("primo_pyro", "program", "baselines")
    ]
    found = {name: getattr(module, name) for module in modules for name in module.__all__}
    return {name: v for name, v in found.items() if inspect.isclass(v) and not inspect.isabstract(v)}


CLASSES = public_classes()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_constructors_take_few_arguments_by_position(name):
    """Building blocks of networks also take their sizes so, in the order of the data's flow, as in torch."""
    cls = CLASSES[name]
    parameters = inspect.signature(cls).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if issubclass(cls, nn.Module):
        positional = [
            p for p in positional if not (p.annotation in ("int", "float") and p.default is p.empty)
        ]
    assert [p.name for p in positional[POSITIONAL:]] == []
    assert not any(p.kind is p.VAR_POSITIONAL for p in parameters)


@pytest.fixture(scope="module")
def loaded():
    """Modules after ``import primo_pyro``, and after a look at data sets and baselines."""
    script = """
import json, sys
import primo_pyro
first = list(sys.modules)
primo_pyro.data.make_xor, primo_pyro.baselines.UnimodalClassifier, primo_pyro.__version__
json.dump([first, list(sys.modules)], sys.stdout)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(run.stdout)


def test_pictures_are_not_loaded_before_they_are_drawn(loaded):
    _, after = loaded
    assert {module.partition(".")[0] for module in after} & {"matplotlib", "seaborn"} == set()


def test_data_sets_and_baselines_are_loaded_at_first_use(loaded):
    first, after = loaded
    assert "primo_pyro.data" not in first
    assert "primo_pyro.baselines" not in first
    assert {"primo_pyro.data", "primo_pyro.baselines"} <= set(after)


def test_unknown_names_of_the_package():
    with pytest.raises(AttributeError, match="no attribute 'bananas'"):
        primo_pyro.bananas  # noqa: B018


def test_hints_are_shipped():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in settings["tool"]["setuptools"]["package-data"]["primo_pyro"]
    assert (PACKAGE / "py.typed").is_file()


# --- Scripts -------------------------------------------------------------------------------------------

SCRIPTS = {
    f"{folder}/{path.name}": path
    for folder in ("examples", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
}


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_scripts_use_no_private_names(script):
    assert private_names(ast.parse(SCRIPTS[script].read_text())) == set()


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_scripts_stand_alone(script):
    path = SCRIPTS[script]
    siblings = {other.stem for other in path.parent.glob("*.py")}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module.partition(".")[0] not in siblings
        elif isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & siblings
        elif isinstance(node, ast.Attribute):
            assert ast.unparse(node) != "sys.path"
