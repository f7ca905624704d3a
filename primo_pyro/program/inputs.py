"""What stands between the numbers of a block and its network: one scale for all, and missing cells filled.

Everything here is learnt once, from the training rows, and kept in buffers. Numbers are centred and scaled in
double precision, whatever type they come in, and only then cast: neither the unit of a feature, nor a large
offset, nor the type in which the same numbers are stored changes a result. Integers beyond 2**53 are rounded
first, as double precision has no room for them.

Sizes: B rows, F features, C channels, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities

__all__ = [
    "FeatureInput",
    "RobustScale",
    "Standardise",
    "features_of",
    "missing_cells",
    "refuse_missing_cells",
]

LIMIT = 3.0  # where the smooth clipping ends
FARTHEST = 1e9  # scales from the centre; squares of more are too large for single precision
QUANTILES = np.linspace(1 / 16, 15 / 16, 8)  # not the ends, which are where the outliers are
MEASURED = 2**18  # cells of a feature, about, that its scale is measured on
NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


class Standardise(nn.Module):
    """Subtract a mean and divide by a scale that were measured once, on the training rows; NaN becomes 0."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.double())
        self.register_buffer("scale", scale.double())

    @classmethod
    def from_rows(cls, values: np.ndarray) -> Standardise:
        """From ``[N, F]``, one mean and scale for each of the F features; constants keep scale 1."""
        known = ~np.isnan(values)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, values, 0).sum(0, dtype=np.float64) / count
        scale = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(0) / count)
        scale = np.where(scale > _rounding(values) * np.abs(mean), scale, 1.0)
        return cls(torch.as_tensor(mean), torch.as_tensor(scale))

    def forward(self, values: Tensor) -> Tensor:
        """Single precision, of the shape of ``values`` ``[..., F]``."""
        return ((values.double() - self.mean) / self.scale).float().nan_to_num(0.0)

    def inverse(self, standardised: Tensor) -> Tensor:
        """Back in the unit of the values, in double precision."""
        return standardised.double() * self.scale + self.mean


class RobustScale(nn.Module):
    r"""Numbers of any type and scale as numbers between -3 and 3, of the same shape; NaN becomes 0.

    With the median c and a scale s of the training values, a value x becomes

    .. math:: u / \sqrt{1 + (u / 3)^2}, \quad u = (x - c) / s,

    so that neither an outlier nor a code such as -9999 takes the room of all other values. s is 1.48 times
    the median of those distances from c that are not 0: the standard deviation where a feature is normal,
    and not 0 where most of its values are equal. A feature that never varied in training is 0.

    Parameters
    ----------
    center, rate
        c and 1 / s, in a shape that broadcasts against the values of a row.

    Source: RealMLP (Holzmüller, Grinsztajn and Steinwart 2024, "Better by default"), with another scale.

    Examples
    --------
    >>> values = np.array([[1.0], [2], [3], [4], [1e6]])
    >>> RobustScale.from_rows(values)(torch.as_tensor(values)).squeeze()
    tensor([-0.8614, -0.4447,  0.0000,  0.4447,  3.0000])
    """

    center: Tensor
    rate: Tensor

    def __init__(self, center: Tensor, rate: Tensor):
        super().__init__()
        self.register_buffer("center", center.double())
        self.register_buffer("rate", rate.double())

    @classmethod
    def from_rows(cls, values: np.ndarray, *, channels_first: bool = False) -> Self:
        """From ``[N, ..., F]``, a scale for each of the F features, or ``[N, C, ...]``, for each channel."""
        some = _some_rows(values, values.shape[1 if channels_first else -1])
        columns = np.moveaxis(some, 1 if channels_first else -1, 0)
        center, rate = np.array([_center_and_rate(column.ravel()) for column in columns]).T
        shape = (-1, *[1] * (values.ndim - 2)) if channels_first else (-1,)
        return cls(torch.as_tensor(center).reshape(shape), torch.as_tensor(rate).reshape(shape))

    def scaled(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """u in double precision, 0 where a cell is missing, and where that is."""
        u = (values.double() - self.center) * self.rate
        missing = u.isnan()
        return u.masked_fill(missing, 0.0).clamp(-FARTHEST, FARTHEST), missing

    def forward(self, values: Tensor) -> Tensor:
        """Single precision, of the shape of ``values``."""
        return _bent(self.scaled(values)[0].float())


class FeatureInput(nn.Module):
    """Features ``[B, ..., F]`` of any type and scale as what a network learns well from, ``[B, ..., 3 F]``.

    Side by side, of each feature

    - its value on a robust scale, see `RobustScale`;
    - its *rank* between -1 and 1: its place among Q quantiles of the training values, linear between them,
      which gives the room evenly to the values of a skewed feature;
    - its *indicator*: 1 where the cell is missing, if the feature had missing cells in training, else 0.

    A missing cell has 0 for value and rank, as the median has; the weights of its indicator are what a
    network learns about it instead.

    Parameters
    ----------
    scale
        Of the F features.
    quantiles
        ``[F, Q]``, on that scale.
    had_missing
        Booleans ``[F]``: the features with missing cells in training.

    Source: the rank is a piecewise linear encoding (Gorishniy, Rubachev and Babenko 2022, "On embeddings for
    numerical features in tabular deep learning") averaged over its bins.

    Examples
    --------
    >>> values = np.array([[1.0, 0.0], [10, 0], [100, 0], [1000, np.nan]])
    >>> layer = FeatureInput.from_rows(values)
    >>> layer(torch.tensor([[10.0, np.nan]])).squeeze()
    tensor([-0.6008,  0.0000, -0.4230,  0.0000,  0.0000,  1.0000])
    """

    quantiles: Tensor
    steepness: Tensor
    had_missing: Tensor

    def __init__(self, scale: RobustScale, quantiles: Tensor, had_missing: Tensor):
        super().__init__()
        self.scale = scale
        widths = quantiles.double().diff(dim=-1)
        self.register_buffer("quantiles", quantiles.double())
        self.register_buffer("steepness", torch.where(widths > 0, 1 / widths, 0.0))  # 0: an empty bin
        self.register_buffer("had_missing", had_missing)

    @property
    def out_features(self) -> int:
        """3 F."""
        return 3 * len(self.quantiles)

    @classmethod
    def from_rows(cls, values: np.ndarray) -> Self:
        """From ``[N, ..., F]``."""
        with torch.device("cpu"):  # what is measured is needed, also where only shapes are asked for
            scale = RobustScale.from_rows(values)
            some = torch.as_tensor(_some_rows(values, values.shape[-1]))
            u, missing = (t.flatten(0, -2).T.numpy() for t in scale.scaled(some))
        known = (column[~absent] for column, absent in zip(u, missing, strict=True))
        quantiles = [np.quantile(column if len(column) else [0.0], QUANTILES) for column in known]
        had_missing = np.isnan(values).any(tuple(range(values.ndim - 1)))
        return cls(scale, torch.as_tensor(np.array(quantiles)), torch.as_tensor(had_missing))

    def forward(self, values: Tensor) -> Tensor:
        """Single precision."""
        u, missing = self.scale.scaled(values)
        bins = ((u[..., None] - self.quantiles[:, :-1]) * self.steepness).clamp(0, 1)
        rank = (2 * bins.mean(-1) - 1).masked_fill(missing, 0.0)
        return torch.cat([_bent(u.float()), rank.float(), (missing & self.had_missing).float()], -1)


def _bent(u: Tensor) -> Tensor:
    return u * (1 + (u / LIMIT).square()).rsqrt()


def _some_rows(values: np.ndarray, features: int) -> np.ndarray:
    """As many rows as have about `MEASURED` cells of each feature, evenly from all."""
    return values[:: -(-values.size // (features * MEASURED)) or 1]


def _center_and_rate(column: np.ndarray) -> tuple[float, float]:
    known = column[~np.isnan(column)].astype(np.float64)
    if len(known) == 0:
        return 0.0, 0.0
    center = float(np.median(known))
    distances = np.abs(known - center)
    distances = distances[distances > _rounding(column) * np.median(np.abs(known))]
    return center, min(1 / (NORMAL * float(np.median(distances))), 1e300) if len(distances) else 0.0


def _rounding(values: np.ndarray) -> float:
    """Differences below this share of the values are errors of rounding; integers have none."""
    return 8 * float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0


# --- Missing cells -------------------------------------------------------------------------------------


def missing_cells(x: Modalities) -> dict[str, np.ndarray]:
    """Which features of each modality have missing cells in rows where it is present.

    Booleans ``[F]`` for rows of shape ``[F]`` and ``[T, F]``; a single one for any other shape, whose cells
    have no names.

    >>> missing_cells(Modalities({"a": [[1.0, np.nan], [np.nan, np.nan]], "b": [1, 2]}))
    {'a': array([False,  True]), 'b': array([False])}
    """
    return {name: _features_missing(values, x.present[name]) for name, values in x.values.items()}


def _features_missing(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    features = values.shape[-1] if values.ndim in (2, 3) else 1
    if values.dtype.kind != "f" or not present.any():
        return np.zeros(features, bool)
    missing = np.isnan(values)
    missing &= present.reshape(-1, *[1] * (values.ndim - 1))
    return missing.reshape(-1, features).any(0)


def features_of(x: Modalities, name: str, chosen: np.ndarray) -> str:
    """Features of a modality as messages call them, from booleans: by name where its columns have some.

    >>> features_of(Modalities({"a": [[1.0, 2.0]]}), "a", np.array([False, True]))
    'a, features [1]'
    """
    if x.values[name].ndim not in (2, 3):
        return name
    names = getattr(x, "columns", {}).get(name, range(len(chosen)))
    return f"{name}, features {[names[feature] for feature in np.flatnonzero(chosen)[:10]]}"


def refuse_missing_cells(x: Modalities, encoders: Mapping[str, nn.Module]) -> None:
    """Raise where a modality has missing cells and an encoder that cannot deal with them.

    Raises
    ------
    ModalityError
        Naming the modality, the features, and the cures.

    >>> x = Modalities({"a": [[1.0, np.nan], [2.0, 3.0]]})
    >>> try:
    ...     refuse_missing_cells(x, {"a": nn.Linear(2, 8)})
    ... except ModalityError as error:
    ...     print(str(error)[:57])
    Cells are missing (NaN) in present rows (a, features [1])
    """
    for name, encoder in encoders.items():
        if getattr(encoder, "takes_nan", False) is True or name not in x.values:
            continue
        missing = _features_missing(x.values[name], x.present[name])
        if missing.any():
            raise ModalityError(
                f"Cells are missing (NaN) in present rows ({features_of(x, name, missing)}), and the encoder "
                f"of {name!r}, {type(encoder).__name__}, does not say that it takes them; expected all of a "
                f"row or none of it. Leave {name!r} out of encoders, since those chosen by shape fill "
                "missing cells; or fill them first; or let the module deal with NaN and set its attribute "
                "takes_nan = True."
            )
