"""Pages whose front matter says ``needs: support2`` run where that data set can be loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from primo_pyro import data

__all__ = ["NOTE", "needs_of", "pages_without_data", "setup"]

LIMIT = 300  # seconds, with a download where there is one
NOTE = ":::{{note}}\nThis page was built without its data ({needs}): outputs of its code are left out.\n:::\n"


def front_matter(text: str) -> dict[str, object]:
    """What stands between the lines ``---`` at the top of a page."""
    if not text.startswith("---\n"):
        return {}
    return yaml.safe_load(text[4:].partition("\n---")[0]) or {}


def needs_of(text: str) -> list[str]:
    """The data sets that a page needs: one, or several in a list or with commas.

    >>> needs_of("---\\nneeds: support2, mimic3\\n---\\n# Title")
    ['support2', 'mimic3']
    """
    needs = front_matter(text).get("needs") or []
    names = needs.split(",") if isinstance(needs, str) else needs
    return [str(name).strip() for name in names]


def why_not(name: str) -> str | None:
    """Why `primo_pyro.data.load_<name>` cannot load; None where it can.

    In a process of its own, since a download that hangs must end.
    """
    loader = name if name.startswith("load_") else f"load_{name}"
    if loader not in data.__all__:
        raise ValueError(f"A page says `needs: {name}`; expected a name NAME of primo_pyro.data.load_NAME.")
    code = f"from primo_pyro import data; data.{loader}()"
    try:
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not loaded within {LIMIT} s"
    return run.stderr.strip().splitlines()[-1] if run.returncode else None


def missing(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Page, data set and reason for each page that cannot run."""
    needs = {page: needs_of(page.read_text(encoding="utf-8")) for page in sorted(folder.rglob("*.md"))}
    names = sorted({name for some in needs.values() for name in some})
    with ThreadPoolExecutor(2) as pool:  # each waits for its process
        reasons = dict(zip(names, pool.map(why_not, names), strict=True))
    for page, some in needs.items():
        for name in some:
            if reason := reasons[name]:
                yield page.relative_to(folder).as_posix(), name, reason


def pages_without_data(folder: Path) -> list[str]:
    """Pages to build without running them, for ``nb_execution_excludepatterns``."""
    found = list(missing(folder))
    for page, name, reason in found:
        print(f"{page} is built without running: no {name} ({reason})")
    return sorted({page for page, *_ in found})


def note(app, docname: str, source: list[str]) -> None:
    """Tell readers, below the title, and Sphinx the language, which it else learns from the run."""
    if f"{docname}.md" in app.config.nb_execution_excludepatterns:
        top, title, rest = source[0].partition("\n# ")
        top = re.sub(r"^( +)name: python3$", r"\g<0>\n\1language: python", top, flags=re.MULTILINE)
        line, _, body = rest.partition("\n")
        needs = ", ".join(needs_of(source[0]))
        source[0] = f"{top}{title}{line}\n\n{NOTE.format(needs=needs)}\n{body}"


def setup(app):
    app.connect("source-read", note)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
