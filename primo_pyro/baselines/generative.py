"""What the generative baselines share: reconstruction, a joint story, predictions averaged over draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.nn import functional as F

from primo_pyro.baselines.base import NetworkClassifier
from primo_pyro.draws import standard_normal_points
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import NUM_SAMPLES, Range, Whole, check_parameter
from primo_pyro.prediction import Summary, summarise_draws
from primo_pyro.program.encoders import MLP
from primo_pyro.program.inputs import Standardise

__all__ = ["LABEL", "Decoder", "Flattened", "JointModel", "LatentClassifier", "flattened", "with_label"]

CELLS_AT_A_TIME = 2**15  # rows times draws in predictions; larger blocks leave the cache
LABEL = "the label"  # its key beside those of modalities, whose names are identifiers
VALIDATION_SAMPLES = 64  # Sobol draws; enough to compare epochs


class Flattened(nn.Module):
    """The values of one modality as a vector ``[B, F]``, each feature with mean 0 and scale 1 in training.

    Missing cells have the mean.

    This is what the generative baselines reconstruct, whatever the shape: vectors, series and images.

    >>> series = np.arange(24.0).reshape(4, 3, 2)
    >>> flattened = Flattened("s", series)
    >>> t = flattened(Modalities({"s": series}))
    >>> t.shape, flattened.unflatten(t).shape
    (torch.Size([4, 6]), torch.Size([4, 3, 2]))
    >>> bool(np.allclose(flattened.unflatten(t), series, atol=1e-5))
    True
    """

    def __init__(self, name: str, values: np.ndarray):
        super().__init__()
        self.name = name
        self.shape = values.shape[1:]
        self.features = int(np.prod(self.shape))
        self.standardise = Standardise.from_rows(values.reshape(len(values), -1))

    def forward(self, x: Modalities) -> Tensor:
        """``[B, F]``; rows in which the modality is absent are zero and never read."""
        rows = np.flatnonzero(x.present[self.name])
        device = self.standardise.mean.device
        target = torch.zeros(len(x), self.features, device=device)
        if len(rows) == 0:
            return target
        values = torch.as_tensor(x.values[self.name][rows]).to(device).flatten(1)
        return target.index_copy(0, torch.as_tensor(rows, device=device), self.standardise(values))

    def unflatten(self, t: Tensor) -> Tensor:
        """``[..., F]`` back to values ``[..., *shape]`` in their own unit, in double precision."""
        return self.standardise.inverse(t).reshape(*t.shape[:-1], *self.shape)


def flattened(x: Modalities, names: Iterable[str]) -> dict[str, Flattened]:
    """A `Flattened` for each of these modalities of the training rows."""
    return {name: Flattened(name, x.values[name][x.present[name]]) for name in names}


class Decoder(nn.Module):
    """p(x | given) = Normal(mu(given), diag(s^2)) over flattened values ``[..., F]``, s learnt.

    >>> Decoder(2, 16, features=6)(torch.zeros(5, 2))
    Independent(Normal(loc: torch.Size([5, 6]), scale: torch.Size([5, 6])), 1)
    """

    def __init__(self, in_features: int, hidden_dim: int, features: int):
        super().__init__()
        self.loc = MLP(in_features, hidden_dim, features)
        self.log_scale = nn.Parameter(torch.zeros(features))

    def forward(self, given: Tensor) -> dist.Independent:
        scale = self.log_scale.exp() + 1e-2  # the floor keeps features that never vary from ruling the loss
        return dist.Normal(self.loc(given), scale).to_event(1)


def with_label(given: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """``[..., B, H]`` and labels ``[B]`` side by side, ``[..., B, H + C]``."""
    label = F.one_hot(y, num_classes).to(given.dtype)
    return torch.cat([given, label.expand(*given.shape[:-1], -1)], dim=-1)


class JointModel(PyroModule):
    """One latent that explains every modality and the label.

    ::

        z        ~ Normal(0, I)
        x_m | z  ~ Normal(mu_m(z), diag(s_m^2))      for each modality m that is given
        y   | z  ~ Categorical(p_theta(y | z))       where the label is given
    """

    def __init__(
        self,
        values: Mapping[str, Flattened],
        latent_dim: int,
        hidden_dim: int,
        num_classes: int,
        label_weight: float,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.latent_dim = latent_dim
        self.label_weight = label_weight
        self.values = nn.ModuleDict(values)
        self.decoder = nn.ModuleDict(
            {m: Decoder(latent_dim, hidden_dim, v.features) for m, v in values.items()}
        )
        self.likelihood = MLP(latent_dim, hidden_dim, num_classes, layers=3, dropout=dropout)

    def forward(self, x: Modalities, y: Tensor, given: Mapping[str, Tensor]) -> None:
        """``given`` has booleans ``[..., B]`` for each modality and for `LABEL`."""
        with pyro.plate("data", len(y), dim=-1):
            standard = y.new_zeros(self.latent_dim, dtype=next(self.parameters()).dtype)
            z = pyro.sample("z", dist.Normal(standard, 1.0).to_event(1))  # [..., B, d]
            for m, decoder in self.decoder.items():
                with poutine.mask(mask=cast(torch.BoolTensor, given[m])):
                    pyro.sample(f"x_{m}", decoder(z), obs=self.values[m](x))
            with (
                poutine.mask(mask=cast(torch.BoolTensor, given[LABEL])),
                poutine.scale(scale=self.label_weight),
            ):
                pyro.sample("y", dist.Categorical(logits=self.likelihood(z)), obs=y)


@dataclass(eq=False, repr=False, kw_only=True)
class LatentClassifier(NetworkClassifier):
    """Base of the baselines that predict by averaging over draws of something unknown.

    Parameters
    ----------
    latent_dim
        Dimensions of the latent z.
    num_samples
        Draws K per row in predictions: scrambled Sobol points.
    **others
        See `primo_pyro.baselines.base.NetworkClassifier`.
    """

    latent_dim: int = 2
    num_samples: int = 256

    parameter_ranges: ClassVar[dict[str, Range]] = {"latent_dim": Whole(1, 4096), "num_samples": NUM_SAMPLES}

    def summarise(self, x: RowsLike) -> Summary:
        """Prediction and impact in one pass through the draws; see `primo_pyro.prediction.Summary`."""
        x = self._as_known_rows(x)
        points = self._points(self.num_samples)

        def summary(rows: Modalities) -> Summary:
            return summarise_draws(self._draw(rows, points)[1])

        return Summary.joined(self._chunks(summary, x, _rows_at_a_time(len(points))))

    def predict_proba(self, x: RowsLike) -> np.ndarray:
        """Predicted probabilities ``[N, C]``, averaged over draws."""
        return self.summarise(x).probabilities

    def predictive_impact(self, x: RowsLike) -> pd.DataFrame:
        """``impact``: V (Eq. 9), the expected total variation distance from a draw to the average."""
        return pd.DataFrame({"impact": self.summarise(x).impact})

    def sample_predictions(self, x: RowsLike, num_samples: int | None = None) -> np.ndarray:
        """Predictions ``[K, N, C]`` under single draws; their average is ``predict_proba``."""
        return self._sample(1, x, num_samples)

    def sample_latents(self, x: RowsLike, num_samples: int | None = None) -> np.ndarray:
        """The latents z ``[K, N, d]`` of the same draws."""
        return self._sample(0, x, num_samples)

    # --- What a method says -----------------------------------------------------------------------------

    def _noise_dim(self) -> int:
        """Standard normal numbers that one draw takes."""
        return self.latent_dim

    @abstractmethod
    def _draw(self, x: Modalities, points: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``[K, B, d]`` and predictions ``[K, B, C]`` under the noise ``[K, D]``."""

    # -----------------------------------------------------------------------------------------------------

    def _probabilities(self, x: Modalities) -> np.ndarray:
        points = self._points(VALIDATION_SAMPLES)
        return self._by_rows(
            lambda rows: self._draw(rows, points)[1].mean(0), x, _rows_at_a_time(len(points))
        )

    def _sample(self, which: int, x: RowsLike, num_samples: int | None) -> np.ndarray:
        x = self._as_known_rows(x)
        points = self._points(self.num_samples if num_samples is None else num_samples)
        size = _rows_at_a_time(len(points))
        return self._by_rows(lambda rows: self._draw(rows, points)[which], x, size, axis=1)

    def _points(self, num_samples: int) -> Tensor:
        check_parameter("num_samples", num_samples, NUM_SAMPLES)
        points = standard_normal_points(int(num_samples), self._noise_dim(), "sobol", seed=0)
        return points.to(next(self.program_.parameters()))


def _rows_at_a_time(num_samples: int) -> int:
    return max(1, CELLS_AT_A_TIME // num_samples)
