"""The time of a training step by the number of optional modalities.

    python benchmarks/step_time.py --blocks 1 3 8 --steps 40

Each block has 30 columns and is absent in half of the rows, beside 10 columns that are always present;
rows come in batches of 128. A plain step is one of a network with the same encoders, fused late, by
cross-entropy. The sizes take turns, so that the load of the machine falls on all alike; printed are
medians of the processor time in milliseconds, and the slope of its logarithm over that of the number of
blocks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from primo_pyro import Modalities
from primo_pyro.program import Categorical, Loss, Objective, PrimoGuide, PrimoModel, one_latent_each
from primo_pyro.program.encoders import encoders_for

BATCH, COLUMNS, HIDDEN, LATENT = 128, 30, 64, 8


def make_batch(blocks: int) -> tuple[Modalities, Tensor]:
    """Random numbers and labels."""
    random = np.random.default_rng(0)
    names = [f"m{i}" for i in range(blocks)]
    values = {name: random.normal(size=(BATCH, COLUMNS)) for name in names}
    x = Modalities({"o": random.normal(size=(BATCH, 10)), **values}).drop_at_random(*names, random_state=0)
    return x, torch.as_tensor(random.integers(2, size=BATCH))


def primo_step(blocks: int) -> Callable[[], None]:
    """A step of the default objective."""
    x, y = make_batch(blocks)
    latents = one_latent_each([name for name in x.names if name != "o"], LATENT)
    model = PrimoModel(encoders_for(x, None, HIDDEN), latents, outcome=Categorical(2), hidden_dim=HIDDEN)
    guide = PrimoGuide(model, hidden_dim=HIDDEN, gamma=0.5, proposes_from_prior=True)
    loss = Loss(model, guide, objective=Objective())
    return _step(loss, lambda: loss(x, y) / BATCH)


def plain_step(blocks: int) -> Callable[[], None]:
    """A step of a network with the same encoders."""
    x, y = make_batch(blocks)
    encoders = encoders_for(x, None, HIDDEN)
    head = nn.Sequential(nn.Linear(len(x.names) * HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    return _step(nn.ModuleList([encoders, head]), lambda: F.cross_entropy(head(encoders(x).fused()), y))


def _step(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(module.parameters(), fused=True)

    def step() -> None:
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()

    return step


def main(blocks: list[int], steps: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    of_kind = {"PRIMO": primo_step, "plain": plain_step}
    runs = {(kind, n): make(n) for n in blocks for kind, make in of_kind.items()}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for turn in range(steps + 3):
        for key, step in runs.items():
            start = time.process_time()
            step()
            if turn >= 3:  # the first steps allocate
                times[key].append(1000 * (time.process_time() - start))
    table = pd.DataFrame({kind: {n: np.median(times[kind, n]) for n in blocks} for kind in of_kind})
    table["PRIMO / plain"] = table["PRIMO"] / table["plain"]
    print(table.rename_axis("blocks").round(1).to_string())
    if len(blocks) > 1:
        slope = np.polyfit(np.log(table.index.to_numpy(float)), np.log(table["PRIMO"]), 1)[0]
        print(f"log-log slope of PRIMO's time: {slope:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--blocks", type=int, nargs="+", default=[1, 3, 8], help="numbers of optional modalities"
    )
    parser.add_argument("--steps", type=int, default=40, help="timed steps of each size")
    main(**vars(parser.parse_args()))
