"""Links from pages to code, such as ``../primo_pyro/locks.py`` or a folder, lead to pages with that code.

Links are written as they work in the repository. The site has a page for each file or folder that some page
links to, below ``source/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from docutils import nodes

__all__ = ["setup"]

ROOT = Path(__file__).parents[2]
LEXERS = {".py": "python", ".toml": "toml", ".md": "markdown", ".sh": "bash"}


def replace_links(app, doctree: nodes.document) -> None:
    """Before Sphinx takes them for downloads or unknown names."""
    env = app.env
    docname = env.current_document.docname
    links = [node for node in doctree.findall(nodes.Element) if node.get("reftype") == "myst"]
    for node in links:
        if node.get("refdomain") == "doc":  # Markdown, without its suffix; absolute where it is no page
            target = Path(node["reftarget"]).with_suffix(".md")
        else:
            target = Path(env.relfn2path(node["reftarget"].partition("#")[0], docname)[1]).resolve()
        if not target.is_relative_to(ROOT) or target.is_relative_to(env.srcdir):
            continue
        if target.is_dir() or (target.is_file() and target.suffix in LEXERS) or target.name == "Makefile":
            path = target.relative_to(ROOT).as_posix()
            env.source_pages.setdefault(docname, set()).add(path)
            uri = app.builder.get_relative_uri(docname, f"source/{path}")
            node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))


def files_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in LEXERS and "__pycache__" not in p.parts)


def source_pages(app) -> Iterator[tuple[str, dict[str, object], str]]:
    linked = {ROOT / path for paths in app.env.source_pages.values() for path in paths}
    inside = {file for folder in linked if folder.is_dir() for file in files_of(folder)}
    for path in sorted(linked | inside):
        name = f"source/{path.relative_to(ROOT).as_posix()}"
        if path.is_dir():
            items = []
            for file in files_of(path):
                inner = file.relative_to(path).as_posix()
                uri = f"{path.name}/{inner}.html"  # beside the folder's own page
                items.append(f'<li><a href="{escape(uri)}"><code>{escape(inner)}</code></a></li>')
            body = f"<ul>{''.join(items)}</ul>"
        else:
            code = path.read_text(encoding="utf-8")
            body = app.builder.highlighter.highlight_block(code, LEXERS.get(path.suffix, "text"))
        title = path.relative_to(ROOT).as_posix()
        yield name, {"title": title, "body": f"<h1>{escape(title)}</h1>{body}", "parents": []}, "page.html"


def begin(app, env, docnames) -> None:
    if not hasattr(env, "source_pages"):
        env.source_pages = {}


def forget(app, env, docname: str) -> None:
    getattr(env, "source_pages", {}).pop(docname, None)


def merge(app, env, docnames, other) -> None:
    env.source_pages |= {name: other.source_pages[name] for name in docnames if name in other.source_pages}


def setup(app):
    app.connect("env-before-read-docs", begin)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("doctree-read", replace_links, priority=400)
    app.connect("html-collect-pages", source_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
