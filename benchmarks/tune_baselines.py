"""The few knobs of every baseline, searched with the same budget.

    python benchmarks/tune_baselines.py --trials 8 --out out/tune

For each method as many settings as ``--trials``, drawn without replacement from its grid (all of a smaller
grid), are trained on the same rows and scored on the same validation part by log loss: the mean over the
scenarios that the method can predict, the optional modality hidden and shown. ``tuning.csv`` has a line per
trial; the defaults of the classes are the best settings on XOR.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import ParameterGrid
from tqdm import tqdm

from primo_pyro.comparison import METHODS, NETWORKS, TREES, Task
from primo_pyro.errors import ModalityError
from primo_pyro.evaluation import scores
from primo_pyro.tasks import xor

RATES = {"learning_rate": [1e-3, 2e-3, 5e-3, 1e-2]}
LATENT = {"latent_dim": [2, 4]}
GRIDS = {
    "unimodal": RATES,
    "multimodal": RATES,
    "multimodal, all rows": RATES,
    "i2m2": RATES,
    "mvae": RATES | LATENT | {"label_weight": [1.0, 5.0, 25.0], "warm_up": [0.3, 1.0]},
    "mmvae": RATES | LATENT | {"label_weight": [1.0, 5.0, 25.0], "num_particles": [4, 16]},
    "cmmd": RATES
    | LATENT
    | {"label_weight": [1.0, 5.0, 25.0], "kl_weight": [0.1, 0.5, 0.9], "mmd_weight": [1.0, 10.0]},
    "lvae": RATES | LATENT,
    **{method: {"learning_rate": [0.03, 0.1, 0.3], "max_leaf_nodes": [7, 31]} for method in TREES},
}


def trials(method: str, budget: int) -> list[dict]:
    """The settings to try, the same ones for every run."""
    grid = list(ParameterGrid(GRIDS[method]))
    order = np.random.default_rng(0).permutation(len(grid))[:budget]
    return [grid[i] for i in sorted(order)]


def try_out(task: Task, method: str, settings: dict, schedule: dict) -> dict:
    """One trial: its score, and what it took."""
    torch.set_num_threads(1)
    (x, y), _, (x_val, y_val) = task.rows(1000)  # a seed that no comparison uses
    x = x.drop_at_random(*task.optional, rate=task.rate, random_state=1000)
    classifier = METHODS[method](task, random_state=0, **(schedule if method in NETWORKS else {}) | settings)
    start = time.perf_counter()
    classifier.fit(x, y)
    row = {"method": method, "settings": json.dumps(settings), "fit_seconds": time.perf_counter() - start}
    losses = {}
    for scenario, shown in ("missing", x_val.drop(*task.optional)), ("complete", x_val):
        try:
            p = classifier.predict_proba(shown)
        except ModalityError:
            continue  # what a method cannot do does not count
        losses[f"log_loss_{scenario}"] = scores(y_val, p, classes=classifier.classes_)["log_loss"]
    return row | losses | {"score": float(np.mean(list(losses.values())))}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=["xor"], default="xor")
    parser.add_argument("--methods", nargs="+", choices=list(GRIDS), default=list(GRIDS))
    parser.add_argument("--trials", type=int, default=8, help="settings per method")
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/tune"))
    args = parser.parse_args()
    task = {"xor": xor}[args.dataset](args.rows)
    schedule = {"max_epochs": args.epochs, "batch_size": args.batch_size}
    jobs = [(method, settings) for method in args.methods for settings in trials(method, args.trials)]
    args.out.mkdir(parents=True, exist_ok=True)
    search = joblib.Parallel(n_jobs=args.jobs, return_as="generator_unordered")(
        joblib.delayed(try_out)(task, method, settings, schedule) for method, settings in jobs
    )
    rows = []
    for row in tqdm(search, total=len(jobs), unit="trial"):
        rows.append(row)  # written at once: a search that is stopped keeps what it has found
        frame = pd.DataFrame(rows).sort_values(["method", "score"])
        frame.to_csv(args.out / "tuning.csv", index=False)
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.max_colwidth", None):
        print(frame.groupby("method", sort=False).head(3).to_string(index=False))


if __name__ == "__main__":
    main()
