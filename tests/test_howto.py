"""Pages of how-tos keep to one form: the answer first, the public thread, the limits. The build runs them."""

import re
from pathlib import Path

import pytest

import primo_pyro

DOCS = Path(primo_pyro.__file__).parent.parent / "docs"
HOWTOS = sorted(page for page in (DOCS / "howto").glob("*.md") if page.name != "index.md")
CELL = re.compile(r"```\{code-cell\} ipython3\n(.*?)```", re.DOTALL)
THREAD = re.compile(
    r"\]\(https://(github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+|[\w.]*stackexchange\.com/questions/\d+)\)"
)


def prose_of(text: str) -> str:
    """A page without its front matter and its code."""
    return re.sub(r"```.*?```", "", text.split("---\n", 2)[2], flags=re.DOTALL)


def code_of(text: str) -> list[str]:
    cells = "".join(CELL.findall(text)).splitlines()
    return [line for line in cells if line.strip() and not re.match(r":\w+:", line)]


@pytest.mark.parametrize("page", HOWTOS, ids=lambda page: page.stem)
def test_a_howto_has_the_usual_form(page):
    text = page.read_text()
    prose = prose_of(text)
    assert THREAD.search(text), "expected a link to a public thread"
    assert re.match(r"\s*# .+\?\n\nYou get[ ,]", prose), "expected a question, and what the reader gets"
    assert "\n## Limits\n" in text
    assert 2 <= text.partition("\n## Read on\n")[2].count("\n- [") <= 3
    assert 20 <= sum(bool(line.strip()) for line in prose.splitlines()) <= 60
    assert 5 <= len(code_of(text)) <= 30
    assert max(map(len, code_of(text))) <= 110


@pytest.mark.parametrize("page", HOWTOS, ids=lambda page: page.stem)
def test_code_of_a_howto_is_python(page):
    compile("\n".join(code_of(page.read_text())), page.name, "exec")


def test_the_index_names_every_howto():
    listed = set(re.findall(r"\]\((\w+\.md)\)", (DOCS / "howto" / "index.md").read_text()))
    assert listed == {page.name for page in HOWTOS}


def test_markers_around_results_come_in_pairs():
    results = (DOCS / "results.md").read_text()
    for page in (DOCS / "data").glob("*.md"):
        for marker in re.findall(r':(?:start-after|end-before): "(.+?)"', page.read_text()):
            assert results.count(marker) == 1, f"{page.name}: {marker}"
