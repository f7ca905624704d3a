"""What is released: one version everywhere, a citation that tools read, wheel and sdist that install."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_version_is_one():
    (latest, *_) = re.findall(
        r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert (latest, CITATION["version"]) == (VERSION, VERSION)


def test_the_citation_has_what_its_format_asks_for():
    """The required keys of the Citation File Format 1.2.0, of the file and of a reference in it."""
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= CITATION.keys()
    paper = CITATION["preferred-citation"]
    assert {"type", "title", "authors", "conference", "year"} <= paper.keys()
    for author in (*CITATION["authors"], *paper["authors"]):
        assert author.keys() in ({"name"}, {"family-names", "given-names"})
    page = re.sub(r"\s+", " ", (ROOT / "docs" / "cite.md").read_text())
    assert paper["title"] in page
    assert " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]) in page


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda f: f.name
)
def test_forms_of_issues_are_whole(form):
    fields = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= fields.keys()
    asked = [field for field in fields["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in asked}) == len(asked) > 0
    assert all(field["attributes"]["label"] for field in asked)


def run(*command: object, **settings: object) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Sdist, and the wheel that is built from it, of the files that git would take."""
    folder = tmp_path_factory.mktemp("release")
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "tree" / name).write_bytes((ROOT / name).read_bytes())
    # The build tools of this environment: a build then needs no network.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "tree")
    return folder / "dist"


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package_and_nothing_else(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.name == f"primo_pyro-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"primo_pyro", f"primo_pyro-{VERSION}.dist-info"}
    assert {"primo_pyro/py.typed", f"primo_pyro-{VERSION}.dist-info/licenses/LICENSE"} <= set(names)
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "primo_pyro").rglob("*.py")}
    assert modules <= set(names)
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert modules | {"pyproject.toml", "README.md", "LICENSE", "primo_pyro/py.typed"} <= inside
    assert {name.partition("/")[0] for name in inside} & {"tests", "docs", "benchmarks", "examples"} == set()


@pytest.mark.slow
def test_it_installs_and_runs_in_an_environment_of_its_own(built, tmp_path):
    """The wheel was built from the sdist. What it depends on comes from this environment: no network."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    (packages,) = (place / "lib").glob("python*/site-packages")
    (wheel,) = built.glob("*.whl")
    around = Path(yaml.__file__).parents[1]
    (packages / "around.pth").write_text(f"{around}\n")  # after the environment's own packages
    pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "--quiet"]
    run(*pip, "--no-deps", "--no-index", "--ignore-installed", wheel)
    elsewhere = {"cwd": tmp_path, "env": {"PATH": "/usr/bin:/bin"}}
    assert run(place / "bin" / "primo-pyro", "--version", **elsewhere) == f"primo-pyro {VERSION}\n"
    where = "import importlib.util; print(importlib.util.find_spec('primo_pyro').origin)"
    assert Path(run(place / "bin" / "python", "-c", where, **elsewhere).strip()).is_relative_to(place)
