"""Runs first in the process of every page: how warnings look, and how a page runs an example."""

import runpy
import sys
import warnings
from pathlib import Path

import primo_pyro

# A warning is its text, without the name of a file and a line of code.
warnings.formatwarning = lambda text, kind, *_, **__: f"{kind.__name__}: {text}\n"


def run_example(script: str, *arguments: str) -> None:
    """Print what ``python examples/SCRIPT ARGUMENTS`` prints; a failure is the page's."""
    path = Path(primo_pyro.__file__).parents[1] / "examples" / script
    sys.argv = [str(path), *arguments]
    warnings.simplefilter("ignore")
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{script} ended with {end.code}.") from end
