"""Encoders of single modalities, and the representations that all conditional distributions look at.

Sizes: B rows, H features of a representation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities
from primo_pyro.program.inputs import FeatureInput, RobustScale, refuse_missing_cells

__all__ = [
    "GRU",
    "MLP",
    "Encoders",
    "HasEncoders",
    "LeNet",
    "Prepared",
    "Representations",
    "encode",
    "encoder_for",
    "encoders_for",
]

# --- Encoders: one modality's values in, [B, H] out ----------------------------------------------------


class MLP(nn.Sequential):
    """``[..., in_features] -> [..., out_features]`` through hidden layers with ReLU and dropout.

    >>> MLP(3, 16, 2)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, in_features: int, hidden_dim: int, out_features: int, *, layers: int = 2, dropout: float = 0.0
    ):
        sizes = [in_features, *[hidden_dim] * (layers - 1)]
        blocks: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            blocks += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(dropout)]
        super().__init__(*blocks, nn.Linear(sizes[-1], out_features))


class GRU(nn.Module):
    """Series ``[B, T, F] -> [B, H]``: a linear map of the last hidden state of a gated recurrent unit.

    >>> GRU(12, 32, 16)(torch.zeros(5, 24, 12)).shape
    torch.Size([5, 16])
    """

    def __init__(self, in_features: int, hidden_dim: int, out_features: int, *, dropout: float = 0.0):
        super().__init__()
        self.recurrent = nn.GRU(in_features, hidden_dim, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden_dim, out_features))

    def forward(self, series: Tensor) -> Tensor:
        _, last = self.recurrent(series)  # [1, B, hidden]
        return self.head(last[0])


class LeNet(nn.Module):
    """Images or spectrograms ``[B, channels, height, width] -> [B, H]``.

    ``layers + 1`` blocks of convolution, batch normalisation, 2 x 2 max-pooling and ReLU; the number of
    feature maps doubles from block to block. The multimodal benchmarks use 3 layers for 28 x 28 images and
    5 for 112 x 112 spectrograms (Liang et al. 2021, MultiBench); ``layers=None`` halves the smaller side
    until a single cell is left, which gives just these.

    >>> LeNet((1, 28, 28), 16)(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 16])
    >>> LeNet((1, 112, 112), 16).layers
    5
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        out_features: int,
        *,
        layers: int | None = None,
        width: int = 6,
        dropout: float = 0.0,
    ):
        super().__init__()
        channels, *sides = shape
        halvings = max(1, int(np.log2(min(sides))))
        self.layers = halvings - 1 if layers is None else layers
        blocks: list[nn.Module] = []
        for level in range(self.layers + 1):
            maps = width * 2**level
            kernel = 5 if level == 0 else 3
            blocks += [
                nn.Conv2d(channels, maps, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(maps),
                nn.MaxPool2d(2),
                nn.ReLU(),  # equal to a ReLU before the pooling, on a quarter of the numbers
            ]
            channels = maps
        cells = int(np.prod([side >> (self.layers + 1) for side in sides]))
        if cells == 0:
            raise ModalityError(
                f"LeNet with {self.layers} layers halves {list(sides)} to nothing; expected at most "
                f"{halvings - 1} layers, which fit. Lower layers."
            )
        # The order of the numbers in memory that convolutions and pooling are fastest with on a processor.
        # torch's hints leave this form of `to` out.
        self.features = nn.Sequential(*blocks).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * cells, out_features)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Prepared(nn.Sequential):
    """A layer of `primo_pyro.program.inputs` and a network, as encoders that are chosen by shape are.

    Unlike other encoders it is given values of any type as they are, NaN included.
    """

    takes_nan = True

    def forward(self, values: Tensor) -> Tensor:
        layer, network = self
        return network(layer(values).to(next(network.parameters()).dtype))


def encoder_for(
    name: str, values: np.ndarray, hidden_dim: int, out_features: int, dropout: float = 0.0
) -> nn.Module:
    """The encoder that fits present training values by their shape.

    ``[N, F]`` gets a two-layer perceptron, ``[N, T, F]`` a gated recurrent unit, both behind a
    `FeatureInput`; ``[N, C, height, width]`` gets a LeNet behind a `RobustScale` of each channel, in which
    missing pixels are filled with the channel's median.

    Raises
    ------
    ModalityError
        For values of any other shape.

    >>> encoder_for("series", np.zeros((10, 24, 12)), 32, 16)(torch.zeros(5, 24, 12)).shape
    torch.Size([5, 16])
    """
    shape = values.shape[1:]
    if len(shape) == 3:
        scale = RobustScale.from_rows(values, channels_first=True)
        return Prepared(scale, LeNet(shape, out_features, dropout=dropout))
    if len(shape) not in (1, 2):
        raise ModalityError(
            f"Modality {name!r} has rows of shape {list(shape)}; expected one for which an encoder is "
            "chosen, [features], [time, features] or [channels, height, width]. Reshape it, or pass "
            f"encoders={{{name!r}: your own module}}."
        )
    inputs = FeatureInput.from_rows(values)
    network = MLP if len(shape) == 1 else GRU
    return Prepared(inputs, network(inputs.out_features, hidden_dim, out_features, dropout=dropout))


# --- Representations: what all conditional distributions look at ---------------------------------------


class Representations:
    """One representation ``[B, H]`` per modality, exactly zero in the rows where the modality is absent.

    Of the absent modalities, rows may ask about some and leave others out of the story. By default each asks
    about all.

    Parameters
    ----------
    values
        Modality to ``[B, H]``.
    present
        Modality to booleans ``[B]``.
    asked
        Modality to booleans ``[B]``: whether a row asks about it where it is absent. None: all about all.
    """

    def __init__(
        self,
        values: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        *,
        asked: Mapping[str, Tensor] | None = None,
    ):
        self.values = dict(values)
        self.present = dict(present)
        self.asked = None if asked is None else dict(asked)

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    def __getitem__(self, rows: slice | np.ndarray | Tensor) -> Representations:
        """The representations of some rows."""

        def some(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: t[rows] for name, t in tensors.items()}

        asked = None if self.asked is None else some(self.asked)
        return Representations(some(self.values), some(self.present), asked=asked)

    def drop(self, *names: str) -> Representations:
        """The same rows as if these modalities were absent in each."""
        return self.hide({name: torch.ones_like(self.present[name]) for name in names})

    def hide(self, where: Mapping[str, Tensor]) -> Representations:
        """The same rows as if each of these modalities were absent ``where`` its booleans ``[B]`` say so."""
        values = {m: self.values[m].masked_fill(rows[:, None], 0.0) for m, rows in where.items()}
        present = {m: self.present[m] & ~rows for m, rows in where.items()}
        return Representations(self.values | values, self.present | present, asked=self.asked)

    def ask(self, about: Mapping[str, Tensor] | Iterable[str]) -> Representations:
        """The same rows, each asking about these absent modalities alone: names, or booleans ``[B]``."""
        if not isinstance(about, Mapping):
            about = {m: torch.ones_like(self.present[m]) for m in about}
        asked = {m: about.get(m, torch.zeros_like(p)) for m, p in self.present.items()}
        return Representations(self.values, self.present, asked=asked)

    def in_play(self, about: Iterable[str]) -> torch.BoolTensor | bool:
        """Rows ``[B]`` in which a latent about these modalities is part of the story; True or False for all.

        It is where one of them is present, or absent and asked about.
        """
        if self.asked is None:
            return True
        rows = cast(torch.BoolTensor, torch.stack([self.present[m] | self.asked[m] for m in about]).any(0))
        return True if rows.all() else rows if rows.any() else False

    def all_present(self, names: Iterable[str]) -> Tensor:
        """Booleans ``[B]``: rows in which each of these modalities is present."""
        return torch.stack([self.present[name] for name in names]).all(0)

    def something_absent(self, abouts: Iterable[Iterable[str]]) -> Tensor:
        """Booleans ``[B]``: rows in which some latent is in play although what it is about is absent.

        ``abouts`` has the names of each latent's modalities.
        """
        rows = torch.zeros(len(self), dtype=torch.bool, device=self.fused().device)
        for about in abouts:
            rows = rows | (self.in_play(about) & ~self.all_present(about))
        return rows

    def fused(self) -> Tensor:
        """All modalities side by side, ``[B, M H]``."""
        return torch.cat(list(self.values.values()), dim=-1)


class Encoders(nn.ModuleDict):
    """An encoder per modality: ``Modalities -> Representations``.

    An encoder only runs on the rows where its modality is present, so that what stands in an absent row is
    never read and batch statistics are those of real values.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], out_features: int):
        super().__init__(encoders)
        self.out_features = out_features

    @property
    def fused_features(self) -> int:
        """Length of all representations side by side."""
        return len(self) * self.out_features

    def represent(self, name: str, values: Tensor) -> Tensor:
        """One modality's values ``[B, ...]`` of any type as ``[B, H]``.

        An encoder of the user's own gets them in the type of the parameters, in which large numbers lose
        their last digits.
        """
        encoder = self[name]
        return encoder(values if isinstance(encoder, Prepared) else values.to(self._like().dtype))

    def _like(self) -> Tensor:
        return next(self.parameters())

    def forward(self, x: Modalities) -> Representations:
        like = self._like()
        refuse_missing_cells(x, dict(self.items()))
        values, present = {}, {}
        for name in self:
            has = np.flatnonzero(x.present[name])
            rows = torch.as_tensor(has, device=like.device)
            h = like.new_zeros(len(x), self.out_features)
            if len(has):
                given = torch.as_tensor(x.values[name][has]).to(like.device)
                h = h.index_copy(0, rows, self.represent(name, given))
            values[name] = h
            present[name] = torch.as_tensor(x.present[name], device=like.device)
        return Representations(values, present)


class HasEncoders(Protocol):
    """A program with an encoder per modality."""

    @property
    def encoder(self) -> Encoders:
        """From rows to representations."""


def encode(program: HasEncoders, x: Modalities | Representations) -> Representations:
    """By the program's encoders; representations pass through untouched.

    So a batch is encoded once, and model, guide and regulariser, each a program in its own right, share the
    result. Where they do, the encoders are not even looked up: Pyro lists every parameter at every look.
    """
    return x if isinstance(x, Representations) else program.encoder(x)


def encoders_for(
    x: Modalities, given: Mapping[str, nn.Module] | None, hidden_dim: int, dropout: float = 0.0
) -> Encoders:
    """An encoder to ``[B, hidden_dim]`` for each modality of the training rows, in alphabetical order.

    Those ``given`` are copied, the others chosen by `encoder_for`.

    Raises
    ------
    ModalityError
        Where ``given`` names something that is no modality, or a modality is called what torch modules
        call something of their own.

    >>> x = Modalities({"o": np.zeros((5, 3)), "m": np.zeros((5, 8, 2))})
    >>> list(encoders_for(x, {"o": MLP(3, 16, 16)}, hidden_dim=16))
    ['m', 'o']
    """
    unknown = sorted(set(given or ()) - set(x.names))
    if unknown:
        raise ModalityError(
            f"encoders names {unknown}, which are no modalities of x ({sorted(x.names)}); expected some of "
            "these. Correct the names."
        )
    known = {*dir(Encoders), *vars(nn.ModuleDict()), "out_features"}
    taken = sorted(name for name in x.names if name in known)
    if taken:
        raise ModalityError(
            f"Modality {taken[0]!r} has the name of a method or attribute of torch modules; expected "
            f"another. Rename it, for example to '{taken[0]}_block'."
        )
    encoders = {
        name: _fitting(name, copy.deepcopy(given[name]), x.values[name][x.present[name]][:2], hidden_dim)
        if given and name in given
        else encoder_for(name, x.values[name][x.present[name]], hidden_dim, hidden_dim, dropout)
        for name in sorted(x.names)
    }
    return Encoders(encoders, hidden_dim)


def _fitting(name: str, module: nn.Module, some: np.ndarray, out_features: int) -> nn.Module:
    """A module that was given, after a look at whether it makes ``[B, out_features]`` of present rows.

    Raises
    ------
    ModalityError
        Where it does not.
    """
    if torch.get_default_device().type == "meta":
        return module  # only shapes are asked for
    training = [(inner, inner.training) for inner in module.modules()]
    try:
        with torch.no_grad():
            h: object = module.eval()(torch.as_tensor(some).float())
        fits = isinstance(h, Tensor) and h.shape == (len(some), out_features) and h.dtype == torch.float32
        found = f"{list(h.shape)} {h.dtype}" if isinstance(h, Tensor) else type(h).__name__
        cause = None
    except Exception as error:  # of a user's own code
        fits, found, cause = False, f"{type(error).__name__}: {error!s:.200}", error
    if not fits:
        raise ModalityError(
            f"The encoder given for {name!r} makes of rows of shape {list(some.shape)}: {found}; expected "
            f"[{len(some)}, {out_features}] in torch.float32. Give a module from [B, ...] to [B, hidden_dim]."
        ) from cause
    for inner, was_training in training:
        inner.training = was_training
    return module
