"""Speed and memory, as ratios to what a user would write by hand, in one run.

    python -m benchmarks.bench            all of it: minutes, on a machine that does nothing else
    python -m benchmarks.bench --quick    the same on small sizes in under a minute

Writes ``bench.csv`` (one line a measurement), ``performance.png`` and ``performance.md``.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import pandas as pd
import torch

from benchmarks.bench.measure import MEMORY, PARTS, memory_of
from benchmarks.bench.page import draw, write


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and few turns")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="folder of the CSV")
    parser.add_argument("--page", type=Path, help="folder of the page and its picture; else that of the CSV")
    parser.add_argument("--memory", choices=list(MEMORY), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if args.memory:
        print(*memory_of(args.memory))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    start, lines = time.perf_counter(), []
    for part in args.parts:
        lines += list(PARTS[part](args.quick))
        frame = pd.DataFrame(lines)
        frame.to_csv(args.out / "bench.csv", index=False)  # what is measured stays, should a later part fail
        print(f"{part}: done after {time.perf_counter() - start:.0f} s", flush=True)
    folder = args.page or args.out
    (folder / "images").mkdir(parents=True, exist_ok=True)
    draw(frame, folder / "images" / "performance.png")
    command = "make bench" if not args.quick else "python -m benchmarks.bench --quick"
    load = os.getloadavg()[0]
    write(frame, folder / "performance.md", command, time.perf_counter() - start, load)
    print((folder / "performance.md").read_text())


if __name__ == "__main__":
    main()
