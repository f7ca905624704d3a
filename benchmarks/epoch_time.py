"""The time of an epoch of PRIMO, against the same networks in a plain PyTorch loop.

    python benchmarks/epoch_time.py --rows 4000 --repeats 7

Both train one epoch on rows with the shapes of AV-MNIST, half of them without audio: PRIMO by
``PrimoClassifier.fit``, the plain loop the same encoders, fused late, by cross-entropy. The plain loop, too,
encodes audio only where it is present. The bytes are random, since time does not depend on them. The two take
turns, and each turn gives one ratio. ``wall`` is elapsed time, ``cpu`` the processor time of the process,
which is more reliable while other programs run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.program.encoders import encoders_for
from primo_pyro.studies.protocols import AV_MNIST

CLASSES = 10


def make_rows(n: int) -> tuple[Modalities, np.ndarray]:
    """Random bytes and labels in AV-MNIST's shapes."""
    random = np.random.default_rng(0)
    image = random.integers(256, size=(n, 1, 28, 28), dtype=np.uint8)
    audio = random.integers(256, size=(n, 1, 112, 112), dtype=np.uint8)
    x = Modalities({"image": image, "audio": audio}).drop_at_random("audio", rate=0.5, random_state=0)
    return x, random.integers(CLASSES, size=n)


def plain_epoch(x: Modalities, y: np.ndarray, batch_size: int, hidden_dim: int, learning_rate: float) -> None:
    """One epoch of a plain training loop."""
    encoders = encoders_for(x, None, hidden_dim)
    head = nn.Sequential(
        nn.Linear(len(x.names) * hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, CLASSES)
    )
    optimiser = torch.optim.AdamW([*encoders.parameters(), *head.parameters()], lr=learning_rate)
    labels = torch.as_tensor(y)
    for rows in torch.randperm(len(x)).split(batch_size):
        loss = F.cross_entropy(head(encoders(x[rows.numpy()]).fused()), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def primo_epoch(x: Modalities, y: np.ndarray, objective: str, **settings: object) -> None:
    """One epoch of PRIMO, with all that ``fit`` does around it except for held-out rows."""
    own = AV_MNIST.primo | (AV_MNIST.own["primo (paper)"] if objective == "paper" else {})
    classifier = PrimoClassifier(
        ("audio",), objective=objective, max_epochs=1, validation_fraction=0, device="cpu", **own, **settings
    )
    classifier.fit(x, y)


def seconds(function: Callable[..., None], *args: object, **kwargs: object) -> dict[str, float]:
    """Elapsed and processor time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function(*args, **kwargs)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--objective", nargs="+", choices=["calibrated", "paper"], default=["calibrated"])
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x, y = make_rows(args.rows)
    settings = {name: AV_MNIST.networks[name] for name in ("batch_size", "hidden_dim", "learning_rate")}
    turns = []
    for turn in range(args.repeats + 1):
        took = {"plain": seconds(plain_epoch, x, y, **settings)}
        took |= {name: seconds(primo_epoch, x, y, name, **settings) for name in args.objective}
        if turn:  # the first turn warms up
            turns += [
                {
                    "objective": name,
                    **{f"plain {clock}, s": took["plain"][clock] for clock in ("wall", "cpu")},
                    **{
                        f"ratio {clock}": took[name][clock] / took["plain"][clock]
                        for clock in ("wall", "cpu")
                    },
                }
                for name in args.objective
            ]
    frame = pd.DataFrame(turns).groupby("objective").agg(["median", "min", "max"])
    print(
        f"{args.rows} rows, {args.threads} threads, {args.repeats} turns; ratio of PRIMO to the plain loop:"
    )
    print(frame.T.round(3).to_string())


if __name__ == "__main__":
    main()
