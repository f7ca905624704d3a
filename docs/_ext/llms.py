"""``llms.txt`` beside the pages: what the site has, for programs that read text (llmstxt.org).

Each page is listed with its first sentence and the address of its text. ``llms-full.txt`` has all text.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes

__all__ = ["setup"]


def first_sentence(doctree: nodes.document) -> str:
    paragraph = next(iter(doctree.findall(nodes.paragraph)), None)
    text = " ".join(paragraph.astext().split()) if paragraph else ""
    return text.partition(". ")[0].rstrip(".:")


def titles_of(env) -> dict[str, list[str]]:
    """Pages by the section of the front page's toctree that they stand in, in the order of reading."""
    sections: dict[str, list[str]] = {}
    below = env.toctree_includes

    def pages(docname: str) -> list[str]:
        return [docname, *(page for child in below.get(docname, []) for page in pages(child))]

    for child in below.get(env.config.root_doc, []):
        sections[env.titles[child].astext()] = pages(child)
    return sections


def write(app, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    env, out = app.env, Path(app.outdir)
    root = env.get_doctree(env.config.root_doc)
    lines = [f"# {app.config.project}", "", f"> {first_sentence(root)}."]
    whole = []
    for title, pages in titles_of(env).items():
        lines += ["", f"## {title}", ""]
        for docname in dict.fromkeys(pages):
            source = env.doc2path(docname, base=False)
            text = f"_sources/{source}.txt"
            about = first_sentence(env.get_doctree(docname))
            lines.append(f"- [{env.titles[docname].astext()}]({text})" + (f": {about}." if about else ""))
            whole.append(f"<!-- {source} -->\n\n{env.doc2path(docname).read_text(encoding='utf-8')}")
    (out / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "llms-full.txt").write_text("\n\n".join(whole), encoding="utf-8")


def setup(app):
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
