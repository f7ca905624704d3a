"""``python -m primo_pyro``: the command line where the console script is not on the path."""

from __future__ import annotations

from primo_pyro.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
