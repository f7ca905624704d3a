"""The command line: `primo-pyro fit`, `check`, `predict`, `impact`, `rank`, `report` and `demo`."""

from primo_pyro.cli.app import app, main

__all__ = ["app", "main"]
