"""The glossary: its names exist, and no text has the words that it forbids. Links of pages lead somewhere."""

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

import primo_pyro

PACKAGE = Path(primo_pyro.__file__).parent
ROOT = PACKAGE.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
TEXTS = [
    *(page for page in PAGES if page != "docs/glossary.md"),
    *sorted(
        path.relative_to(ROOT).as_posix()
        for folder in ("primo_pyro", "examples", "benchmarks", "docs")
        for path in (ROOT / folder).rglob("*.py")
    ),
]

# --- Terms and their names -----------------------------------------------------------------------------

ENTRY = re.compile(r"^- \*\*(?P<term>.+?)\*\* \((?P<names>`.+?`)\):", re.MULTILINE)
NAMES = [
    (entry["term"].replace("\n ", ""), name)
    for entry in ENTRY.finditer(re.sub(r"\n +", " ", GLOSSARY.read_text()))
    for name in re.findall(r"`([^`]+)`", entry["names"])
]
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = [ast.parse(path.read_text()) for path in FILES]


@cache
def defined() -> dict[str, object]:
    """Everything public that the package's modules define, by name."""
    found = {}
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        found |= {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return found


def has(cls: type, name: str) -> bool:
    """Whether instances of a class have an attribute: of the class, declared, or set on ``self``."""
    declared = any(name in vars(base).get("__annotations__", ()) for base in cls.__mro__)
    return hasattr(cls, name) or declared or f"self.{name}" in inspect.getsource(cls)


@cache
def columns() -> set[str]:
    """Strings in the code, such as the names of a frame's columns."""
    constants = (node.value for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Constant))
    keywords = (node.arg for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.keyword))
    return {text for text in (*constants, *keywords) if isinstance(text, str)}


def test_the_glossary_has_a_name_for_every_term():
    text = GLOSSARY.read_text()
    assert len(ENTRY.findall(re.sub(r"\n +", " ", text))) == text.count("- **") > 40


@pytest.mark.parametrize(("term", "name"), NAMES)
def test_names_of_the_glossary_exist(term, name):
    outer, _, inner = name.partition(".")
    known = defined()
    assert outer in known or (not inner and outer in columns())
    assert not inner or has(known[outer], inner)


# --- Words ---------------------------------------------------------------------------------------------

THING = r"(it|this|they|which|that|[mx]|x_m|modality|modalities|images?|sound|audio|series|bottom|half|rows?)"
FORBIDDEN = {  # what to write instead, and what not to write
    "expected": r"\bforetold\b|\bforetells?\b",
    "expected X, got Y": r"\b(was|were|is|are) wanted\b|\bwanted again\b|\bwants (a|an|the|one|at least)\b",
    "present": (
        rf"\b(with|without|what|whatever) (the )?{THING}? ?(is |are )?(all |always )?there\b(?! (is|are))"
    ),
    "observed": r"\balways (seen|shown|there)\b",
    "revealed": rf"\b{THING} (is|are|was|were) (shown|seen|gone)\b",
    "in plain words": (
        r"nobody'?s business|as good as can be|was never about|wants? the average first|\bA_QUARTER\b"
    ),
}


def offences(text: str) -> list[str]:
    text = re.sub(r"\s+(#|\"|f\")?\s*", " ", text)  # phrases go on from line to line
    found = (
        (word, match)
        for word, pattern in FORBIDDEN.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
    )
    return [f"...{text[max(0, m.start() - 40) : m.end() + 20]}... (write: {word})" for word, m in found]


@pytest.mark.parametrize("file", TEXTS)
def test_no_forbidden_words(file):
    assert offences((ROOT / file).read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "its impact foretold, and then revealed",
        "a folder was wanted",
        "with the series there, boosting is best",
        "the top half is always seen",
        "before m is seen",
        "whatever is there",
    ],
)
def test_the_patterns_find_what_they_are_for(text):
    assert len(offences(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "there is one latent for each modality",
        "the file is not there",
        "what there is to know",
        "as seen in the picture",
        "the rows with the highest V are drawn",
    ],
)
def test_the_patterns_leave_other_uses_alone(text):
    assert offences(text) == []


# --- Links ---------------------------------------------------------------------------------------------

LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
]


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_lead_somewhere(page, link):
    assert (ROOT / page).parent.joinpath(link).exists()
