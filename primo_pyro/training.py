"""The training loop: an ELBO module, AdamW, averaged parameters, early stopping, exact resume."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from tqdm import tqdm

from primo_pyro.errors import CheckpointError, TrainingError
from primo_pyro.modalities import Modalities
from primo_pyro.parameters import AnyOf, OneOf, Range, Real, Whole, as_python, check_parameters
from primo_pyro.program.loss import Loss, LossParts

__all__ = ["Average", "Schedule", "State", "WarmUp", "train"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; its defaults are those of all estimators.

    The learning rate follows half a cosine from ``learning_rate`` to nearly 0 at ``max_epochs``. What is
    scored, and kept in the end, are the parameters averaged over about the last 1 / (1 - ``averaging``)
    steps, fewer at first; with 0, those of the last step. Kept is the latest epoch whose validation loss is
    not above the smallest one by more than a standard error of the difference, row by row: what few rows
    cannot tell apart does not end a training. With ``patience``, it stops after that many epochs above.

    Raises
    ------
    ParameterError
        Where a number is out of its range.

    Examples
    --------
    >>> Schedule(learning_rate=-1.0)
    Traceback (most recent call last):
        ...
    primo_pyro.errors.ParameterError: learning_rate is -1.0; expected a finite number above 0. Set it to such a
    value.
    """

    max_epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    patience: int | None = 15
    averaging: float = 0.99

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "max_epochs": Whole(0),  # none: the networks as they were drawn
        "batch_size": Whole(1),
        "learning_rate": Real(0, above=True),
        "weight_decay": Real(0),
        "clip_norm": Real(0, math.inf, above=True),
        "patience": AnyOf(OneOf(None), Whole(1)),
        "averaging": Real(0, 1, below=True),
    }

    def __post_init__(self) -> None:
        check_parameters(self)
        for name in self.parameter_ranges:  # JSON does not know NumPy's numbers
            object.__setattr__(self, name, as_python(getattr(self, name)))

    def rate(self, progress: float) -> float:
        """Learning rate at a share of training between 0 and 1."""
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass
class State:
    """Everything that changes from epoch to epoch, and so all that a checkpoint holds."""

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_losses: Tensor | None = None
    kept_epoch: int = 0
    kept_parameters: dict[str, Any] | None = None


class WarmUp(poutine.messenger.Messenger):
    """Scales what is not data: the KL of each latent to its prior, and factors."""

    def __init__(self, strength: float):
        super().__init__()
        self.strength = strength

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"] or isinstance(msg["fn"], dist.Unit):
            msg["scale"] = msg["scale"] * self.strength


class Average:
    """Parameters of a loss, averaged over steps: exponentially, with the first ones forgotten faster."""

    def __init__(self, loss: nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.parameters = [p.detach() for p in loss.parameters()]  # the same memory
        self.values = [p.clone() for p in self.parameters]

    def update(self) -> None:
        """Take in the parameters after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.steps else 0.0
        torch._foreach_lerp_(self.values, self.parameters, 1 - decay)
        self.steps += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The loss with averaged parameters, and back with its own."""
        own = [p.clone() for p in self.parameters]
        torch._foreach_copy_(self.parameters, self.values)
        try:
            yield
        finally:
            torch._foreach_copy_(self.parameters, own)


def train(
    loss: nn.Module,
    x: Modalities,
    y: np.ndarray,
    *,
    schedule: Schedule,
    seed: int,
    warm_up: float = 0.0,
    score: Callable[[], Mapping[str, float | np.ndarray]] | None = None,
    callbacks: Sequence[Callable[[dict[str, float]], object]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    verbose: int = 0,
) -> pd.DataFrame:
    """Minimise a loss; it is changed in place and ends at the averaged parameters of one epoch.

    Parameters
    ----------
    loss
        The loss of a batch and its labels, summed over rows, as a module of everything that is trained: as a
        rule, one of Pyro's ELBO modules.
    x, y
        Training rows, and labels ``[N]`` as the loss takes them.
    seed
        Decides the order of rows and every draw.
    warm_up
        Share of training during which KL terms and factors rise linearly from 0 to full weight.
    score
        Called after each epoch; the means of what it returns go into the history, and its
        ``"val_log_loss"``, one for each validation row, decides the epoch and early stopping. Without it the
        last epoch is kept.
    callbacks
        Each is called with the epoch's row of the history; a true return value ends the training.
    checkpoint
        File that is written after every epoch and removed at the end. Where it exists already,
        training continues from it, and reaches the parameters that an uninterrupted run would have reached.

    Returns
    -------
    DataFrame
        A row per epoch: ``epoch``, ``loss`` and its parts as means per row, what ``score`` said,
        ``learning_rate``.

    Raises
    ------
    TrainingError
        At the first loss that is not finite, naming the part.
    CheckpointError
        Where the checkpoint belongs to other settings or rows.
    """
    device = next(loss.parameters()).device
    labels = torch.as_tensor(y, device=device)
    # foreach gives the numbers of the default, in less time.
    optimiser = torch.optim.AdamW(loss.parameters(), weight_decay=schedule.weight_decay, foreach=True)
    average = Average(loss, schedule.averaging)
    state = State()
    identity = json.dumps([asdict(schedule), seed, warm_up, *_fingerprint(loss, x, y)])
    if checkpoint is not None and Path(checkpoint).exists():
        state = _resume(checkpoint, identity, loss, average, optimiser)

    bar = tqdm(total=schedule.max_epochs, initial=state.epoch, disable=not verbose, unit="epoch")
    with (
        bar,
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        pyro.get_param_store().scope(),  # Pyro registers parameters under names that have no meaning outside
        warnings.catch_warnings(),
    ):
        # Frozen parameters of an encoder are not registered, which is as intended.
        warnings.filterwarnings("ignore", ".* was not registered in the param store", UserWarning)
        while state.epoch < schedule.max_epochs and not _has_stopped(state, schedule):
            # Seeded per epoch, so that a resumed run needs no state of any generator.
            torch.manual_seed(int(np.random.SeedSequence([seed, state.epoch]).generate_state(1)[0]))
            row = _run_epoch(loss, average, x, labels, optimiser, schedule, warm_up, state.epoch)
            state.epoch += 1
            with average.in_place():
                scores = score() if score else {}
                if _is_as_good(state, scores.get("val_log_loss")):
                    state.kept_epoch = state.epoch
                    state.kept_parameters = copy.deepcopy(loss.state_dict())
            row = {"epoch": state.epoch, **row, **{name: float(np.mean(v)) for name, v in scores.items()}}
            state.history.append(row)
            bar.update()
            bar.set_postfix({k: f"{v:.3f}" for k, v in row.items() if k not in ("epoch", "learning_rate")})
            if checkpoint is not None:
                _save(checkpoint, identity, loss, average, optimiser, state)
            answers = [callback(row) for callback in callbacks]
            if any(answers):
                break
    if state.kept_parameters is not None:
        loss.load_state_dict(state.kept_parameters)
    loss.eval()
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    return pd.DataFrame(state.history)


def _run_epoch(
    loss: nn.Module,
    average: Average,
    x: Modalities,
    labels: Tensor,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    warm_up: float,
    epoch: int,
) -> dict[str, float]:
    loss.train()
    # Batches of nearly equal size: none has a single row, which batch normalisation cannot use.
    batches = np.array_split(torch.randperm(len(x)).numpy(), math.ceil(len(x) / schedule.batch_size))
    sums: dict[str, Tensor] = {}
    for step, rows in enumerate(batches):
        progress = (epoch + step / len(batches)) / schedule.max_epochs
        strength = min(1.0, progress / warm_up) if warm_up else 1.0
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(progress)
        if isinstance(loss, Loss):
            loss.strength = strength
        with LossParts() as reader, WarmUp(strength):
            mean_loss = loss(x[rows], labels[rows]) / len(rows)
        terms = loss.parts if isinstance(loss, Loss) else {}
        parts = {"loss": mean_loss.detach(), **reader.parts, **terms}
        if not torch.isfinite(mean_loss):
            broken = [name for name, value in parts.items() if name != "loss" and not torch.isfinite(value)]
            raise TrainingError(
                f"The loss became {mean_loss.item()} in epoch {epoch + 1}, step {step + 1} "
                f"(not finite: {', '.join(broken) or 'the sum alone'}). Lower learning_rate (now "
                f"{schedule.learning_rate:g}) or clip_norm (now {schedule.clip_norm:g}), and look for "
                "extreme values in the inputs."
            )
        optimiser.zero_grad()
        mean_loss.backward()
        nn.utils.clip_grad_norm_(loss.parameters(), schedule.clip_norm)
        optimiser.step()
        average.update()
        for name, value in parts.items():
            sums[name] = sums.get(name, 0) + value * len(rows)
    means = {name: (value / len(x)).item() for name, value in sums.items()}
    return {**means, "learning_rate": schedule.rate((epoch + 1) / schedule.max_epochs)}


def _is_as_good(state: State, losses: float | np.ndarray | None) -> bool:
    """Whether an epoch's validation losses are the smallest so far, or at most a standard error above."""
    if losses is None:
        return True
    current = torch.atleast_1d(torch.as_tensor(losses, dtype=torch.float64))
    if state.best_losses is None or current.mean() < state.best_losses.mean():
        state.best_losses = current
        return True
    excess = current - state.best_losses
    return len(excess) > 1 and bool(excess.mean() <= excess.std() / len(excess) ** 0.5)


def _has_stopped(state: State, schedule: Schedule) -> bool:
    waited = state.epoch - state.kept_epoch
    return schedule.patience is not None and state.epoch > 0 and waited >= schedule.patience


def _fingerprint(loss: nn.Module, x: Modalities, y: np.ndarray) -> list:
    """Cheap to compute, and different for other networks, rows or labels."""
    return [
        repr(loss),
        len(x),
        {name: [list(x.values[name].shape), int(x.present[name].sum())] for name in x.names},
        float((np.asarray(y, float).reshape(len(y), -1).T * (1 + np.arange(len(y)) % 997)).sum()),
    ]


def _save(
    path: str | os.PathLike[str],
    identity: str,
    loss: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
    state: State,
) -> None:
    partial = Path(f"{path}.partial")
    content = {
        "identity": identity,
        "parameters": loss.state_dict(),
        "average": (average.values, average.steps),
        "optimiser": optimiser.state_dict(),
        "state": asdict(state),
    }
    torch.save(content, partial)
    os.replace(partial, path)  # a run that is killed here leaves the last complete checkpoint


def _resume(
    path: str | os.PathLike[str],
    identity: str,
    loss: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
) -> State:
    try:
        content = torch.load(path, weights_only=True)
        if content["identity"] != identity:
            raise CheckpointError(
                f"{path} was written by a training with other settings or rows "
                f"({content['identity']}) than this one ({identity}). Delete it, or name another file."
            )
        loss.load_state_dict(content["parameters"])
        values, average.steps = content["average"]
        torch._foreach_copy_(average.values, values)
        optimiser.load_state_dict(content["optimiser"])
        return State(**content["state"])
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({error}). Delete it.") from error
