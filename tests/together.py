"""What each of several processes does in tests/test_processes.py; what it finds goes into a file of its own.

torchrun --nproc_per_node 2 tests/together.py folder
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from primo_pyro import Modalities, Objective, PrimoClassifier
from primo_pyro.errors import TrainingError
from primo_pyro.processes import Processes
from primo_pyro.program.loss import Loss
from tests.conftest import make_program

SETTINGS = {"hidden_dim": 8, "max_epochs": 3, "batch_size": 40, "validation_fraction": 0.2, "num_samples": 16}


def images(rows=120):
    random = np.random.default_rng(0)
    x = Modalities({"o": random.normal(size=(rows, 3)), "m": random.normal(size=(rows, 1, 8, 8))})
    return x.drop_at_random("m", rate=0.5, random_state=0), random.integers(0, 2, rows)


def fitted(**more):
    """With batch normalisation in the encoder of ``m``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so little training teaches nothing
        return PrimoClassifier(**SETTINGS | {"random_state": 0} | more).fit(*images())


def parameters(clf) -> torch.Tensor:
    state = [value.double().reshape(-1) for value in clf.model_.state_dict().values()]
    return torch.cat([*state, *(p.detach().double().reshape(-1) for p in clf.guide_.parameters())])


def gradients() -> float:
    """The largest difference between gradients of shares of a batch, added, and those of the batch.

    There is no noise: nothing is optional. Modality ``a`` is present in rows of the first process alone, and
    ``b`` nowhere.
    """
    processes = Processes()
    model, guide = make_program(optional=(), observed=("o", "a", "b"))
    loss = Loss(model, guide, objective=Objective())
    rows = 30
    random = np.random.default_rng(0)
    x = Modalities({name: random.normal(size=(rows, 2)) for name in ("o", "a", "b")})
    x = x.drop("a", where=np.arange(rows) % processes.count > 0).drop("b")
    y, trained, found = torch.as_tensor(random.integers(0, 3, rows)), list(loss.parameters()), []
    for share in (np.arange(rows), processes.own(np.arange(rows))):
        loss.zero_grad()
        (loss(x[share], y[share]) / len(share)).backward()
        if len(share) < rows:
            processes.add_gradients(trained, len(share) / rows)
        found.append([p.grad for p in trained])
    assert [g is None for g in found[0]] == [g is None for g in found[1]]
    assert any(g is None for g in found[0])
    return max(float((a - b).abs().max()) for a, b in zip(*found, strict=True) if a is not None)


def main(folder: Path) -> None:
    """Everything that is compared."""
    rank = PartialState(cpu=True).process_index
    torch.set_num_threads(1)

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    whole = fitted()
    try:
        fitted(checkpoint=folder / "checkpoint", callbacks=[stop])
    except KeyboardInterrupt:
        kept = (folder / "checkpoint").exists()
    again = fitted(checkpoint=folder / "checkpoint")
    told = []
    for wrong in ({"random_state": rank}, {"batch_size": 3}):
        try:
            fitted(**wrong)
        except TrainingError as error:
            told.append(str(error))
    found = {
        "difference": gradients(),
        "parameters": parameters(whole),
        "history": whole.history_.to_numpy().tolist(),
        "resumed": kept and torch.equal(parameters(whole), parameters(again)),
        "told": told,
    }
    torch.save(found, folder / f"found-{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
