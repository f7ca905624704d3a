"""The package's docstrings on the site: formulas stay as they are typed, and every name in them exists."""

from __future__ import annotations

import pkgutil
import re

from docutils import nodes

__all__ = ["NOT_FOR_USERS", "formulas", "setup"]

# What scikit-learn puts on every estimator, and what serves the package alone.
NOT_FOR_USERS = re.compile(r"get_metadata_routing|parameter_ranges|takes_stored|set_\w+_request")
ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
LIST_OR_DIRECTIVE = ("* ", "- ", ".. ", "#. ")


def indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def formulas(lines: list[str]) -> list[str]:
    """Indented blocks as literal ones, which a reader of the code sees the same way.

    >>> formulas(["V is", "", "    E |p - q|", "", "for classes."])
    ['V is', '', '::', '', '    E |p - q|', '', 'for classes.']
    """
    out: list[str] = []
    before, inside = "", None  # the last line with text; the indentation of what a block belongs to
    for line in lines:
        if line.strip():
            if inside is not None and indentation(line) <= inside:
                inside = None
            opens = bool(out) and not out[-1].strip() and indentation(line) > indentation(before)
            if inside is None and opens and before:
                inside = indentation(before)
                if not before.lstrip().startswith(LIST_OR_DIRECTIVE) and not before.endswith("::"):
                    out += [" " * inside + "::", ""]
            before = line
        out.append(line)
    return out


def process(app, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = formulas(lines)


def signature(app, what, name, obj, options, signature: str | None, returned: str | None):
    """Names of types instead of what they stand for; in unions Sphinx writes its own class around them."""
    texts = [text and ALIAS.sub(r"\1", text) for text in (signature, returned)]
    return tuple(texts)


def skip(app, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
    return True if NOT_FOR_USERS.fullmatch(name) else None


def existing(app, env, node, contnode) -> nodes.Node | None:
    """Names without an entry, such as modules, stay text; one that does not exist is left to be a warning."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("primo_pyro"):
        return None
    try:
        pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError):
        return None
    return contnode


def setup(app):
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", existing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
