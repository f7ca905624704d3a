"""What the method asks of a model, whatever its story.

Draws need a `LabelProgram`; training, the guide and the questions about impact need a `Story`. `PrimoModel`
is both. A model of your own is a ``PyroModule`` with these attributes and methods.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from primo_pyro.modalities import Modalities
from primo_pyro.program.encoders import Encoders, Representations
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.priors import Latent

__all__ = ["LabelProgram", "Story"]


class LabelProgram(Protocol):
    """A Pyro program that draws latents for rows, and then their labels at the site ``"y"``.

    Attributes
    ----------
    outcome
        What the label is. The program holds the parameters of its law at the site
        ``outcome.parameters_site``.
    """

    outcome: Outcome

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Tell the story of rows, `Modalities` or `Representations`, and return their labels ``[B]``."""

    @abstractmethod
    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters; at least one, whose device and type are those of the program."""


class Story(LabelProgram, Protocol):
    """A model of labels with latents about absent modalities.

    Attributes
    ----------
    encoder
        One encoder per modality.
    latents
        Name to `Latent`.
    prior
        The same names to modules that return p(z | h) for representations.
    training
        Whether it is in training mode, as of any module.
    """

    encoder: Encoders
    latents: Mapping[str, Latent]
    prior: nn.ModuleDict
    training: bool

    @property
    @abstractmethod
    def optional(self) -> tuple[str, ...]:
        """The modalities that may be absent."""

    @abstractmethod
    def something_absent(self, x: Modalities | Representations, y: Tensor | None = None) -> Tensor:
        """Booleans ``[B]``: rows in which a latent is in play whose modality is absent."""

    @abstractmethod
    def story(self, h: Representations, y: Tensor | None) -> Tensor:
        """Draw latents and labels ``[B]`` inside the plate over rows; labels are ``y`` where given."""

    @abstractmethod
    def train(self, mode: bool = True) -> object:
        """As of any module."""

    @abstractmethod
    def eval(self) -> object:
        """As of any module."""
