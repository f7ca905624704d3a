"""Pages, without building them: links, commands, the reference, and what the site's own code does."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_command

import primo_pyro
from primo_pyro import baselines, data, errors, program
from primo_pyro.analysis import plots
from primo_pyro.cli.commands import app

ROOT = Path(primo_pyro.__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(p.relative_to(ROOT).as_posix() for p in (*ROOT.glob("*.md"), *DOCS.glob("**/*.md")))
TEXT = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^ *(```+|:::+|~~~+).*?^ *\1 *$", re.MULTILINE | re.DOTALL)

# --- Links ---------------------------------------------------------------------------------------------

ANCHORED = [
    (page, path, anchor)
    for page in PAGES
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", TEXT[page])
]


def slug(title: str) -> str:
    """What a heading is called in links, on GitHub and on the site."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = {slug(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    found |= set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
    if page.name == "glossary.md":  # docs/_ext/glossary_terms.py
        for term in re.findall(r"^- \*\*(.+?)\*\*", text, re.MULTILINE | re.DOTALL):
            found |= {" ".join(part.split()).lower().replace(" ", "-") for part in term.split(",")}
    return found


@pytest.mark.parametrize(("page", "path", "anchor"), ANCHORED)
def test_links_lead_to_a_place_in_a_page(page, path, anchor):
    target = (ROOT / page).parent / path if path else ROOT / page
    assert anchor in anchors(target)


# --- Commands ------------------------------------------------------------------------------------------

CODE = re.compile(
    r"^ *```(?:bash|sh|console|shell)\n(?P<fenced>.*?)^ *```$"
    r"|^    (?P<line>(?:\$ )?(?:primo-pyro|make|python) [^\n]*)$"
    r"|`(?P<inline>(?:primo-pyro|make|python)(?: [^`]+)?)`",
    re.MULTILINE | re.DOTALL,
)
MAKEFILE = (ROOT / "Makefile").read_text()
GROUP = get_command(app)


def commands_of(text: str) -> list[list[str]]:
    """Words of each command in shell blocks, indented lines and inline code.

    >>> commands_of("Run `make bench`.\\n\\n    primo-pyro rank model x.csv --cost a=3  # by worth\\n")
    [['make', 'bench'], ['primo-pyro', 'rank', 'model', 'x.csv', '--cost', 'a=3']]
    """
    found = []
    for match in CODE.finditer(text):
        code = " ".join((match["inline"] or "").split()) or match["line"] or match["fenced"]
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if words and words[0] in ("primo-pyro", "make", "python", "torchrun"):
                found.append(words)
    return found


COMMANDS = [(page, words) for page in PAGES for words in commands_of(TEXT[page])]


def unknown_flags(words: list[str], known: set[str]) -> list[str]:
    return [word for word in words if re.match(r"--?[a-zA-Z]", word) and word.partition("=")[0] not in known]


def faults(words: list[str]) -> list[str]:
    """What of a command does not exist: a target, a script, a module, a command or flags."""
    if words[:3] == ["python", "-m", "primo_pyro"]:
        words = ["primo-pyro", *words[3:]]
    tool, *rest = words
    if tool == "make":
        return [name for name in rest if not re.search(rf"^{re.escape(name)}:", MAKEFILE, re.MULTILINE)]
    if tool == "primo-pyro":
        if not rest or rest[0].startswith("-"):
            return unknown_flags(rest, {option for p in GROUP.params for option in p.opts} | {"--help"})
        command = GROUP.commands.get(rest[0])
        if command is None:
            return rest[:1]
        return unknown_flags(rest[1:], {o for p in command.params for o in (*p.opts, *p.secondary_opts)})
    if tool == "python" and rest[:1] == ["-m"]:
        if importlib.util.find_spec(rest[1]) is None:
            return rest[1:2]
        source = Path(importlib.util.find_spec(rest[1]).origin).read_text()
    elif rest and rest[0].endswith(".py") and "/" in rest[0]:
        if not (ROOT / rest[0]).is_file():
            return rest[:1]
        source = (ROOT / rest[0]).read_text()
    else:
        return []
    if "primo_pyro" not in source and "argparse" not in source:
        return []
    source += "".join(path.read_text() for path in (ROOT / "primo_pyro" / "studies").glob("*.py"))
    source += "".join(path.read_text() for path in (ROOT / "examples" / "extending").glob("*.py"))
    known = set(re.findall(r"[\"'](--?[a-z][\w-]*)[\"']", source))
    return unknown_flags(rest[2 if rest[0] == "-m" else 1 :], known | {"--help"})


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=lambda value: " ".join(value)[:60])
def test_commands_exist(page, words):
    assert faults(words) == []


@pytest.mark.parametrize(
    "words",
    [
        ["make", "bananas"],
        ["primo-pyro", "peel", "model"],
        ["primo-pyro", "fit", "t.csv", "--bananas", "3"],
        ["python", "examples/bananas.py"],
        ["python", "examples/xor.py", "--bananas"],
        ["python", "-m", "benchmarks.bananas"],
    ],
    ids=" ".join,
)
def test_commands_that_do_not_exist_are_found(words):
    assert len(faults(words)) == 1


# --- Reference -----------------------------------------------------------------------------------------

REFERENCE = "\n".join(text for page, text in TEXT.items() if page.startswith("docs/reference/"))


@pytest.mark.parametrize("module", [primo_pyro, program, data, baselines, plots, errors])
def test_the_reference_has_every_public_name(module):
    entries = set(re.findall(r"^\.\. auto\w+:: (\w+)$", REFERENCE, re.MULTILINE))
    public = {getattr(module, name) for name in module.__all__ if callable(getattr(module, name))}
    assert {value.__name__ for value in public} - entries <= {"warn"}


def test_the_reference_has_every_method_of_the_classifier():
    listed = set(re.findall(r"~PrimoClassifier\.(\w+)", REFERENCE))
    cls = primo_pyro.PrimoClassifier
    methods = {
        name
        for name, value in inspect.getmembers(cls)
        if (inspect.isfunction(value) or inspect.ismethod(value)) and not name.startswith("_")
        if value.__module__.startswith("primo_pyro")
    }
    assert listed == methods - {"parameter_ranges"}


# --- The site's own code -------------------------------------------------------------------------------

PARTS = sorted((DOCS / "_ext").glob("*.py"))


def loaded(path: Path):
    pytest.importorskip("docutils")
    pytest.importorskip("yaml")
    spec = importlib.util.spec_from_file_location(f"site_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_examples_in_docstrings(path):
    assert doctest.testmod(loaded(path)).failed == 0


NEEDING = [(page, text) for page, text in TEXT.items() if re.match(r"---\n(?:.*\n)*?needs:", text)]


def test_pages_name_data_sets_that_exist():
    needs_of = loaded(DOCS / "_ext" / "pages_with_data.py").needs_of
    for page, text in NEEDING:
        for name in needs_of(text):
            assert f"load_{name.removeprefix('load_')}" in data.__all__, page


def test_pages_without_their_data_are_not_run(tmp_path, monkeypatch, capsys):
    part = loaded(DOCS / "_ext" / "pages_with_data.py")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("---\nneeds: support2\n---\n# A\n")
    (tmp_path / "docs" / "b.md").write_text("---\nneeds: heart_disease\n---\n# B\n")
    (tmp_path / "docs" / "c.md").write_text("# C\n")
    reasons = {"support2": "support2.csv was not found", "heart_disease": None}
    monkeypatch.setattr(part, "why_not", reasons.get)
    assert part.pages_without_data(tmp_path / "docs") == ["a.md"]
    assert (
        capsys.readouterr().out == "a.md is built without running: no support2 (support2.csv was not found)\n"
    )


def test_pages_that_are_not_run_say_so():
    part = loaded(DOCS / "_ext" / "pages_with_data.py")
    site = SimpleNamespace(config=SimpleNamespace(nb_execution_excludepatterns=["start/a.md"]))
    page = "---\nkernelspec:\n  name: python3\nneeds: support2\n---\n\n# A\n\nText.\n"
    source = [page]
    part.note(site, "start/b", source)
    assert source == [page]
    part.note(site, "start/a", source)
    top, _, below = source[0].partition("\n# A\n")
    assert "  name: python3\n  language: python\n" in top  # else code has no colours
    assert below.startswith("\n:::{note}\nThis page was built without its data (support2)")
    assert below.endswith(":::\n\n\nText.\n")


def test_why_data_cannot_be_loaded(tmp_path, monkeypatch):
    part = loaded(DOCS / "_ext" / "pages_with_data.py")
    monkeypatch.setenv("PRIMO_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "support2.csv was not found" in part.why_not("support2")
    with pytest.raises(ValueError, match="needs: bananas"):
        part.why_not("bananas")


def test_wide_pages_are_found(tmp_path):
    pytest.importorskip("playwright")
    spec = importlib.util.spec_from_file_location("check_width", DOCS / "check_width.py")
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    if check.browser() is None:
        pytest.skip("needs Chromium")
    box = "<div style='{}'><div style='width: 900px'>wide</div></div>"
    head = "<!doctype html><meta name=viewport content='width=device-width'>"
    (tmp_path / "wide.html").write_text(head + box.format(""))
    (tmp_path / "boxed.html").write_text(head + box.format("overflow-x: auto"))
    assert [line.partition(":")[0] for line in check.too_wide(tmp_path)] == ["wide.html at 400 px"]
