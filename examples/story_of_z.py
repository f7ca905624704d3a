"""The story of z as a script: it runs the code of docs/teach/story_of_z.md, from above to below.

    python examples/story_of_z.py --out out/story_of_z     tables on the screen, pictures in the folder
    python examples/story_of_z.py --print > story.py       the code alone, in cells, to change and to run

The page is the one place where the code stands; `definitions` gives its functions to whoever wants to call
them. Errors name the line of the page.
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path
from typing import Any

import matplotlib

PAGE = Path(__file__).resolve().parents[1] / "docs" / "teach" / "story_of_z.md"
CELL = re.compile(r"^```\{code-cell\} ipython3\n(?::[^\n]*\n)*\n?(.*?)^```$", re.MULTILINE | re.DOTALL)
DEFINES = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef


def cells(page: Path = PAGE) -> list[tuple[int, str]]:
    """First line and code of each cell."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)) + 1, found[1]) for found in CELL.finditer(text)]


def parsed(page: Path = PAGE) -> list[ast.Module]:
    """The cells, with the lines of the page."""
    return [ast.increment_lineno(ast.parse(code), line - 1) for line, code in cells(page)]


def definitions(page: Path = PAGE) -> dict[str, Any]:
    """What the page imports and defines, by name; nothing is trained."""
    body = [node for cell in parsed(page) for node in cell.body if isinstance(node, DEFINES)]
    names: dict[str, Any] = {}
    exec(compile(ast.Module(body, []), str(page), "exec"), names)
    return names


def run(out: Path, page: Path = PAGE) -> dict[str, Any]:
    """Run every cell; tables are printed, pictures saved. Returns what is defined in the end."""
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    names: dict[str, Any] = {}
    for number, cell in enumerate(parsed(page), 1):
        last = cell.body.pop() if isinstance(cell.body[-1], ast.Expr) else None
        exec(compile(cell, str(page), "exec"), names)
        value = eval(compile(ast.Expression(last.value), str(page), "eval"), names) if last else None
        if value is not None:
            print(value, end="\n\n", flush=True)
        for figure in plt.get_fignums():
            plt.figure(figure).savefig(out / f"cell_{number:02}.png", dpi=150)
        plt.close("all")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/story_of_z"), help="folder of the pictures")
    parser.add_argument("--print", action="store_true", help="print the code, and run nothing")
    args = parser.parse_args()
    if args.print:
        print("\n".join(f"# %%\n{code}" for _, code in cells()), end="")
        return
    matplotlib.use("Agg")
    run(args.out)


if __name__ == "__main__":
    main()
