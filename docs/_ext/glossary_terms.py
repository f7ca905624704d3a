"""Each term of the glossary is the end of links: ``glossary.md#impact``, ``glossary.md#missing-cell``."""

from __future__ import annotations

from docutils import nodes

__all__ = ["setup", "slugs_of"]


def slugs_of(term: str) -> list[str]:
    """What a bold term is called in links; several where a comma parts it.

    >>> slugs_of("present, absent"), slugs_of("Missing cell")
    (['present', 'absent'], ['missing-cell'])
    """
    return [part.strip().lower().replace(" ", "-") for part in term.split(",")]


def add_terms(app, doctree: nodes.document) -> None:
    if app.env.current_document.docname != "glossary":
        return
    known = app.env.metadata["glossary"].setdefault("myst_slugs", {})
    for item in doctree.findall(nodes.list_item):
        term = next(iter(item.findall(nodes.strong)), None)
        for slug in slugs_of(term.astext()) if term else []:
            if slug not in known:
                item["ids"].append(slug)
                known[slug] = (item.line, slug, term.astext())


def setup(app):
    app.connect("doctree-read", add_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
