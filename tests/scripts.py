"""Scripts run as a shell would run them, but in this process: a start takes seconds."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest import mock

import matplotlib.pyplot as plt
import pyro


def run_script(
    script: Path,
    flags: Iterable[object],
    ignore: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Warnings are errors, but those whose text begins with one of ``ignore``."""
    command, out, err, code = [str(script), *map(str, flags)], io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ, environment or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
        pyro.get_param_store().scope(),  # as empty as in a process of its own
    ):
        warnings.simplefilter("error")
        for text in ignore:
            warnings.filterwarnings("ignore", text)
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=err)
        finally:
            plt.close("all")
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
