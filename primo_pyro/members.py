"""Several fitted programs as one model: what they agree about, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from torch import nn

from primo_pyro.program.encoders import Encoders
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.priors import Latent
from primo_pyro.program.protocols import Story

__all__ = ["Members", "members_of", "seed_of_member"]


class Members(nn.Module):
    """M programs of the same story that were trained independently.

    `primo_pyro.prediction.summarise` averages over their predictions. Their latents have nothing in common
    but their names and sizes.

    Parameters
    ----------
    members
        Models, at least one, of the same modalities, latents and kind of label.
    """

    def __init__(self, members: Iterable[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Story]:
        return iter(cast(Iterable[Story], self.members))

    @property
    def first(self) -> Any:
        """The first of them, which stands for all in what they have in common."""
        return self.members[0]

    @property
    def outcome(self) -> Outcome:
        """What the label is; what an outcome learns, as cut points, is the first member's."""
        return self.first.outcome

    @property
    def optional(self) -> tuple[str, ...]:
        """The modalities that may be absent."""
        return self.first.optional

    @property
    def latents(self) -> Mapping[str, Latent]:
        """Name to `Latent`."""
        return self.first.latents

    @property
    def encoder(self) -> Encoders:
        """The first member's, for the names of the modalities."""
        return self.first.encoder


def members_of(model: Any) -> tuple[Story, ...]:
    """The members of a model, which is its own only one as a rule.

    >>> one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> len(members_of(one)), len(members_of(Members([one, other])))
    (1, 2)
    """
    return tuple(model) if isinstance(model, Members) else (model,)


def seed_of_member(seed: int, member: int) -> int:
    """The first member's is the seed itself, so that one member alone draws as ever."""
    return seed + member
