"""Settings of the site: `make docs` builds it into build/site. Warnings are errors there."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import matplotlib.font_manager  # noqa: F401  # builds its cache now, or says so in the first page that draws
from docutils import nodes
from pages_with_data import pages_without_data

from primo_pyro import __version__

HERE = Path(__file__).parent
# What the pages' own processes inherit: one thread each, and no progress bar in the output of a cell.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")  # Pyro looks for the notebook's widgets
# A profile of their own, so that nobody's start-up files run in them; an unencrypted local port is no news.
ipython = tempfile.TemporaryDirectory()
profile = Path(ipython.name, "profile_default")
profile.mkdir()
profile.joinpath("ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 40")
profile.joinpath("startup").mkdir()
shutil.copy(HERE / "_ext" / "kernel_start.py", profile / "startup")
os.environ["IPYTHONDIR"] = ipython.name

project = "primo_pyro"
author = "the authors of primo_pyro"
copyright = "the authors of primo_pyro, Apache 2.0"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",
    "glossary_terms",
    "llms",
    "mathml",
    "pages_with_data",
    "source_pages",
]
exclude_patterns = ["_ext", "_static", "images"]

# --- Pages ---------------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_update_mathjax = False
myst_heading_anchors = 4  # page.md#title, as in the repository
nb_execution_mode = "force"
nb_execution_in_temp = True  # pages may write files
nb_execution_raise_on_error = True
nb_execution_timeout = 180  # seconds a cell
nb_execution_excludepatterns = pages_without_data(HERE)
nb_merge_streams = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# Toctrees take whole folders, and a folder may be empty. (The warning has no name to suppress it by.)
logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: "toctree glob" not in record.msg)
nitpicky = True
# Types of other libraries: their inventories are on the network, and a build needs none.
nitpick_ignore_regex = [("py:.*", r"(?!primo_pyro\.).*")]

# --- API from docstrings -------------------------------------------------------------------------------

default_role = "py:obj"
autodoc_default_options = {"members": True, "inherited-members": "BaseEstimator,Module"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "RowsLike", "Blocks", "RandomState", "AnyPath")}
autodoc_preserve_defaults = True
autosummary_generate = False  # the pages of docs/reference name what they have
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

# --- Looks ---------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_math_renderer = "mathml"
html_title = "primo_pyro"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = True  # llms.txt names the pages' text
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "primo_pyro"},
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "back_to_top_button": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def keep_spreads(app, docname: str, source: list[str]) -> None:
    """In tables, a number and its spread stay on one line."""
    lines = source[0].split("\n")
    source[0] = "\n".join(line.replace(" ± ", "\u00a0±\u00a0") if line[:1] == "|" else line for line in lines)


def trim_blocks(app, doctree: nodes.document) -> None:
    """Included code begins with its first line, and ends with its last one."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext()
        if text != text.strip("\n"):
            block.rawsource = text.strip("\n")
            block.children = [nodes.Text(block.rawsource)]


def share_pages(app, env, docnames: list[str]) -> None:
    """Neighbours go to different processes: a folder's pages take about as long as each other."""
    docnames[:] = [name for start in range(4) for name in docnames[start::4]]


def setup(app) -> None:
    app.connect("env-before-read-docs", share_pages)
    app.connect("source-read", keep_spreads)
    app.connect("doctree-read", trim_blocks)
