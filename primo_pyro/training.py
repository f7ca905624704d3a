"""The training loop: an ELBO module, AdamW, averaged parameters, early stopping, exact resume."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from primo_pyro.checkpoints import damaged, fingerprint, read_checkpoint, remove_checkpoint, write_checkpoint
from primo_pyro.divergence import diverged, require_finite, require_finite_scores, told_of_divergence
from primo_pyro.locks import one_at_a_time
from primo_pyro.modalities import Modalities
from primo_pyro.processes import Processes
from primo_pyro.program.loss import Loss, LossParts
from primo_pyro.progress import progress_bar
from primo_pyro.rows import shuffled
from primo_pyro.schedule import FullSchedule, Schedule

__all__ = ["Average", "State", "WarmUp", "train"]


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
        self.trained = list(loss.parameters())
        self.parameters = [p.detach() for p in self.trained]  # the same memory
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
    weights: np.ndarray | None = None,
    schedule: Schedule,
    seed: int,
    warm_up: float = 0.0,
    score: Callable[[], Mapping[str, float | np.ndarray]] | None = None,
    callbacks: Sequence[Callable[[dict[str, float]], object]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    scored_on: object = None,
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
    weights
        What each row counts ``[N]``, passed to the loss as a third argument; None: all the same.
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
    scored_on
        What ``score`` looks at, so that a checkpoint of other validation rows is recognised.

    Returns
    -------
    DataFrame
        A row per epoch: ``epoch``, ``loss`` and its parts as means per row, what ``score`` said,
        ``learning_rate``.

    Raises
    ------
    TrainingError
        At the first loss that is not finite, naming the part; where a step leaves a parameter that is not, or
        the validation loss is not.
    CheckpointError
        Where the checkpoint is damaged, or belongs to other settings or rows, or cannot be written.
    """
    with one_at_a_time():
        file = None if checkpoint is None else Path(checkpoint)
        told = (score, callbacks, file, scored_on, verbose, weights)
        return _train(loss, x, y, schedule.for_rows(len(x)), seed, warm_up, *told)


def _train(
    loss: nn.Module,
    x: Modalities,
    y: np.ndarray,
    schedule: FullSchedule,
    seed: int,
    warm_up: float,
    score: Callable[[], Mapping[str, float | np.ndarray]] | None,
    callbacks: Sequence[Callable[[dict[str, float]], object]],
    checkpoint: Path | None,
    scored_on: object,
    verbose: int,
    weights: np.ndarray | None,
) -> pd.DataFrame:
    device = next(loss.parameters()).device
    labels = torch.as_tensor(y, device=device)
    counts = None if weights is None else torch.as_tensor(weights, dtype=torch.float, device=device)
    optimiser = _optimiser(loss, schedule.weight_decay)
    average, state = Average(loss, schedule.averaging), State()
    identity: dict[str, str] = {}
    processes = Processes()
    if checkpoint is not None or processes.count > 1:
        read = {"rows": x, "labels": y, "weights": weights, "validation rows": scored_on}
        together = [processes.count] if processes.count > 1 else []
        identity = fingerprint(loss, read, [asdict(schedule), seed, warm_up, *together])
        processes.require_same(identity)
    if checkpoint is not None:
        state = _resume(checkpoint, identity, loss, average, optimiser)
        processes.require_same({"checkpoints": str(state.epoch)})

    bar = progress_bar(total=schedule.max_epochs, initial=state.epoch, shown=bool(verbose), unit="epoch")
    with (
        bar,
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        pyro.get_param_store().scope(),  # Pyro registers parameters under names that have no meaning outside
        warnings.catch_warnings(),
    ):
        # Frozen parameters of an encoder are not registered, which is as intended.
        warnings.filterwarnings("ignore", ".* was not registered in the param store", UserWarning)
        # What Pyro warns of here is a TrainingError a moment later.
        warnings.filterwarnings("ignore", "Encountered (NaN|[+-]?inf)", UserWarning)
        while state.epoch < schedule.max_epochs and not _has_stopped(state, schedule):
            # Seeded per epoch, so that a resumed run needs no state of any generator.
            torch.manual_seed(int(np.random.SeedSequence([seed, state.epoch]).generate_state(1)[0]))
            with told_of_divergence(loss, schedule, state.epoch + 1):
                row = _run_epoch(loss, average, x, labels, counts, optimiser, schedule, warm_up, state.epoch)
                require_finite(loss, schedule, state.epoch + 1)
            state.epoch += 1
            processes.share_statistics(loss)
            with average.in_place():
                with told_of_divergence(loss, schedule, state.epoch):
                    row, scores = processes.agree((row, score() if score else {}))
                require_finite_scores(scores, schedule, state.epoch)
                if _is_as_good(state, scores.get("val_log_loss")):
                    state.kept_epoch = state.epoch
                    state.kept_parameters = copy.deepcopy(loss.state_dict())
            row = {"epoch": state.epoch, **row, **{name: float(np.mean(v)) for name, v in scores.items()}}
            state.history.append(row)
            bar.update()
            bar.set_postfix({k: f"{v:.3f}" for k, v in row.items() if k not in ("epoch", "learning_rate")})
            if checkpoint is not None and processes.rank == 0:
                _save(checkpoint, identity, loss, average, optimiser, state)
            answers = [callback(row) for callback in callbacks]
            if processes.agree(any(answers)):
                break
    if state.kept_parameters is not None:
        loss.load_state_dict(state.kept_parameters)
    loss.eval()
    if checkpoint is not None and processes.rank == 0:
        remove_checkpoint(checkpoint)
    return pd.DataFrame(state.history)


def _optimiser(loss: nn.Module, decay: float) -> torch.optim.AdamW:
    spared = set(getattr(loss, "undecayed", ()))
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in loss.parameters():
        decays = parameter.ndim > 1 and parameter not in spared  # vectors are offsets and scales
        groups.setdefault(decay if decays else 0.0, []).append(parameter)
    settings = [{"params": some, "weight_decay": each} for each, some in groups.items()]
    return torch.optim.AdamW(settings, fused=True)


def _run_epoch(
    loss: nn.Module,
    average: Average,
    x: Modalities,
    labels: Tensor,
    counts: Tensor | None,
    optimiser: torch.optim.Optimizer,
    schedule: FullSchedule,
    warm_up: float,
    epoch: int,
) -> dict[str, float]:
    loss.train()
    # Of nearly equal size: none has a single row, which batch normalisation cannot use.
    batches = np.array_split(shuffled(x), math.ceil(len(x) / schedule.batch_size))
    processes = Processes()
    processes.draw_apart(torch.initial_seed())
    of_steps: dict[str, list[Tensor]] = {}
    for step, batch in enumerate(batches):
        rows = processes.own(batch)
        progress = (epoch + step / len(batches)) / schedule.max_epochs
        strength = min(1.0, progress / warm_up) if warm_up else 1.0
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(progress)
        if isinstance(loss, Loss):
            loss.strength = strength
        with LossParts() as reader, WarmUp(strength):
            weights = () if counts is None else (counts[rows],)
            mean_loss = loss(x[rows], labels[rows], *weights) / len(rows)
        terms = loss.parts if isinstance(loss, Loss) else {}
        parts = {"loss": mean_loss.detach(), **reader.parts, **terms}
        if not torch.isfinite(mean_loss):
            broken = [name for name, value in parts.items() if name != "loss" and not torch.isfinite(value)]
            raise diverged(
                f"The loss became {mean_loss.item()} in epoch {epoch + 1}, step {step + 1} "
                f"(not finite: {', '.join(broken) or 'the sum alone'})",
                schedule,
            )
        optimiser.zero_grad()
        mean_loss.backward()
        processes.add_gradients(average.trained, len(rows) / len(batch))
        nn.utils.clip_grad_norm_(average.trained, schedule.clip_norm)
        optimiser.step()
        average.update()
        for name, value in parts.items():
            of_steps.setdefault(name, []).append(value * len(batch))
    means = {name: (torch.stack(values).sum() / len(x)).item() for name, values in of_steps.items()}
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


# --- Checkpoints -----------------------------------------------------------------------------------------


def _save(
    path: Path,
    identity: Mapping[str, str],
    loss: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
    state: State,
) -> None:
    content = {
        "parameters": loss.state_dict(),
        "average": (average.values, average.steps),
        "optimiser": optimiser.state_dict(),
        "state": asdict(state),
    }
    write_checkpoint(path, identity, content)


def _resume(
    path: Path,
    identity: Mapping[str, str],
    loss: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
) -> State:
    content = read_checkpoint(path, identity, next(loss.parameters()).device)
    if content is None:
        return State()
    try:
        loss.load_state_dict(content["parameters"])
        values, average.steps = content["average"]
        torch._foreach_copy_(average.values, values)
        optimiser.load_state_dict(content["optimiser"])
        return State(**content["state"])
    except Exception as error:  # whatever content that does not fit may end in
        raise damaged(path, error) from error
