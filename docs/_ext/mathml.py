"""Formulas as MathML by docutils: the browser draws them, and no script has to come from a network."""

from __future__ import annotations

from docutils.writers.html5_polyglot import HTMLTranslator

__all__ = ["setup"]


def visit(translator: HTMLTranslator, node) -> None:
    translator.math_output, translator.math_options = "mathml", ""
    HTMLTranslator.visit_math(translator, node)


def setup(app) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(visit, None), block_renderers=(visit, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
