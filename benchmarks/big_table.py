"""Training and scoring of a table that stays in a Parquet file: rows per second, and memory, by rows.

    python benchmarks/big_table.py --rows 100000 1000000

For each number of rows a table of two blocks with 25 columns each, half of the rows without the second block,
is written to a temporary folder, row group by row group. A process of its own then trains two epochs on it,
and another one scores it (V of all rows, 64 draws) by the saved model.

``rows/s`` is of processor time, which other programs disturb least: in training of the second epoch,
validation included, without what is read before the first one (``before``) and after the last one. ``wall``
is elapsed time of everything. ``peak`` is the largest resident memory of the process, in GB, of which the
imports alone take ``empty``. Each ratio is to the first line of its kind.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from primo_pyro import PrimoClassifier
from primo_pyro.row_files import ParquetRows
from primo_pyro.scoring import Scorer, score_files

COLUMNS = 25  # of each block
SETTINGS = {"max_epochs": 2, "hidden_dim": 64, "num_samples": 64, "random_state": 0}


def write_table(path: Path, rows: int, group: int) -> None:
    """Numbers; the label depends on one column of each block."""
    import pyarrow as pa
    from pyarrow import parquet

    random, writer = np.random.default_rng(0), None
    names = [f"{block}_{column}" for block in ("history", "labs") for column in range(COLUMNS)]
    for start in range(0, rows, group):
        values = random.normal(size=(min(group, rows - start), 2 * COLUMNS))
        label = (values[:, 0] + values[:, COLUMNS] + random.normal(size=len(values)) > 0).astype(int)
        values[random.random(len(values)) < 0.5, COLUMNS:] = np.nan
        table = pa.Table.from_pandas(pd.DataFrame(values, columns=names).assign(died=label))
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def peak() -> float:
    """Largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def train(folder: Path) -> dict[str, float]:
    """Two epochs, of which the second is timed; a callback says when they end."""
    empty, ends = peak(), []
    x = ParquetRows(folder / "rows.parquet")
    blocks = {"history": "history_*", "labs": "labs_*"}
    tell = [lambda row: ends.append(time.process_time())]
    clf = PrimoClassifier(blocks=blocks, callbacks=tell, **SETTINGS)
    begin, wall = time.process_time(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two epochs teach little
        clf.fit(x, "died")
    wall = time.perf_counter() - wall
    clf.save(folder / "model")
    epoch = ends[1] - ends[0]
    found = {"rows/s": len(x) * (1 - clf.validation_fraction) / epoch, "before": ends[0] - begin - epoch}
    return found | {"wall": wall, "peak": peak(), "empty": empty}


def score(folder: Path) -> dict[str, float]:
    """V of all rows, written to files."""
    empty, rows = peak(), ParquetRows(folder / "rows.parquet")
    scorer = Scorer(folder / "model")
    scorer(rows.read_frame(0)[:10])  # load the model
    begin, wall = time.process_time(), time.perf_counter()
    score_files(scorer, rows, folder / "scores")
    found = {"rows/s": len(rows) / (time.process_time() - begin), "before": 0.0}
    return found | {"wall": time.perf_counter() - wall, "peak": peak(), "empty": empty}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument(
        "--group", type=int, default=10_000, help="rows of a row group; eight are held at a time"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--only", choices=["train", "score"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.only:  # a process of its own, since memory is counted by process
        print(json.dumps({"train": train, "score": score}[args.only](args.folder)))
        return
    lines = []
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as place:
            write_table(Path(place, "rows.parquet"), rows, args.group)
            for part in ("train", "score"):
                given = ["--only", part, "--folder", place, "--threads", str(args.threads)]
                run = subprocess.run(
                    [sys.executable, __file__, *given], stdout=subprocess.PIPE, text=True, check=True
                )
                lines.append({"part": part, "rows": rows, **json.loads(run.stdout.splitlines()[-1])})
    frame = pd.DataFrame(lines).sort_values(["part", "rows"], ascending=[False, True])
    frame["ratio"] = frame["rows/s"] / frame.groupby("part")["rows/s"].transform("first")
    print(f"{args.threads} threads; seconds, GB:")
    print(frame.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
