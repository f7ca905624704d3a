"""The command line: `primo-pyro fit`, `check`, `predict`, `impact`, `rank`, `report` and `demo`."""

from primo_pyro.cli.commands import app, main

__all__ = ["app", "main"]
