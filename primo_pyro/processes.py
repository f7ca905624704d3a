"""Training by several processes at once: each takes a share of every batch, and all make the same step.

The processes are those of ``torch.distributed``, which a launcher starts and a script joins, for example
``torchrun`` and Accelerate's ``PartialState()``; where none were joined there is one, and nothing is done.

- **Rows and noise.** All processes draw the same order of rows. Of a batch, process r of n takes every n-th
  row from the r-th on, and from there on draws noise of its own.
- **Gradients** are those of the mean over the whole batch. A parameter that no process has used, as those of
  an encoder whose modality is absent in all rows of the batch, is left alone, as in a single process.
- **Batch normalisation** in an encoder sees the rows of its own process. After each epoch all take over the
  running statistics of the first process.
- **What is decided** (which epoch is kept, when to stop) is decided by the first process for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from primo_pyro.errors import TrainingError

__all__ = ["Processes"]

T = TypeVar("T")


class Processes:
    """Those that train together: this one is the ``rank``-th of ``count``.

    >>> processes = Processes()
    >>> processes.count, processes.own(np.array([3, 1, 2])).tolist()
    (1, [3, 1, 2])
    """

    def __init__(self) -> None:
        joined = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if joined else 0
        self.count = distributed.get_world_size() if joined else 1

    def own(self, batch: np.ndarray) -> np.ndarray:
        """The rows of a batch that this process takes.

        Raises
        ------
        TrainingError
            Where a process would have a single row, which batch normalisation cannot use, or none.
        """
        if self.count > 1 and len(batch) < 2 * self.count:
            raise TrainingError(
                f"A batch has {len(batch)} rows for {self.count} processes; expected at least two rows for "
                "each. Raise batch_size, or start fewer processes."
            )
        return batch[self.rank :: self.count]

    def draw_apart(self, seed: int) -> None:
        """From here on, noise of this process alone."""
        if self.count > 1:
            torch.manual_seed(int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0]))

    def add_gradients(self, parameters: Sequence[nn.Parameter], share: float) -> None:
        """Replace gradients of means over own rows by those of the mean over the batch.

        Parameters
        ----------
        parameters
            The same ones in the same order in all processes.
        share
            Of the batch's rows that this process took.
        """
        if self.count == 1:
            return
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad * share for p in parameters]
        together = torch.cat([used.to(parts[0]), *(part.reshape(-1) for part in parts)])  # one message
        distributed.all_reduce(together)
        used, sums = (
            together[: len(parts)].cpu() > 0,
            together[len(parts) :].split([p.numel() for p in parameters]),
        )
        for parameter, by_any, gradient in zip(parameters, used.tolist(), sums, strict=True):
            parameter.grad = gradient.view_as(parameter) if by_any else None

    def agree(self, value: T) -> T:
        """What the first process has."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def share_statistics(self, module: nn.Module) -> None:
        """All buffers, such as running means, as the first process has them."""
        if self.count > 1:
            for buffer in module.buffers():
                _take_over(buffer)

    def require_same(self, identity: dict[str, str]) -> None:
        """Refuse processes that train something else.

        Raises
        ------
        TrainingError
            Naming what differs.
        """
        if self.count == 1:
            return
        every: list[Any] = [None] * self.count
        distributed.all_gather_object(every, identity)  # so that all of them stop
        different = sorted(
            {name for name in identity if any(one.get(name) != identity[name] for one in every)}
        )
        if different:
            raise TrainingError(
                f"The {self.count} processes train with different {', '.join(different)}; expected the "
                "same in all. Set random_state to a number, and read the same rows in each."
            )


def _take_over(buffer: Tensor) -> None:
    of_first = buffer.detach().clone()
    distributed.broadcast(of_first, src=0)
    buffer.copy_(of_first)
