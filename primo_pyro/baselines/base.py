"""What all baselines with networks share, so that a comparison compares methods and nothing else.

Same door, same encoders, same held-out rows for the same seed, same training loop and stopping rule as
`primo_pyro.PrimoClassifier`. A method adds its Pyro programs and what it does at prediction; where its
defaults differ from those here, ``benchmarks/tune_baselines.py`` has found them on XOR.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pyro.infer import Trace_ELBO
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import log_loss
from torch import Tensor, nn

from primo_pyro.door import Door
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities
from primo_pyro.program.encoders import Encoders, encoders_for
from primo_pyro.program.model import PrimoModel
from primo_pyro.training import train

ROWS_AT_A_TIME = 256  # in predictions; hidden layers of more rows outgrow a processor's cache


def no_latents(x: Modalities, y: Tensor) -> None:
    """The guide of a story without latents."""


@dataclass(eq=False, repr=False, kw_only=True)
class NetworkClassifier(Door, ClassifierMixin, BaseEstimator):
    """Base of the baselines that train networks; its parameters are every one's.

    Parameters
    ----------
    encoders
        Per modality a module ``[B, ...] -> [B, hidden_dim]``; those not named are chosen by shape, see
        `primo_pyro.program.encoders.encoder_for`.
    hidden_dim
        Size of representations and hidden layers.
    dropout
        Dropout rate in encoders and label networks.
    max_epochs, batch_size, learning_rate, weight_decay, clip_norm, patience
        See `primo_pyro.training.Schedule`.
    validation_fraction
        Share of the training rows held out to choose the epoch; 0 trains on all, to the last epoch.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    random_state
        Seed of everything random; the global random state is never touched.
    verbose
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : array ``[C]``
    history_ : DataFrame, a row per epoch
    model_ : the Pyro program of the story
    program_ : the loss that was minimised, a module
    """

    encoders: Mapping[str, nn.Module] | None = None
    hidden_dim: int = 64
    dropout: float = 0.0
    max_epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    patience: int | None = 15
    validation_fraction: float = 0.1
    device: str = "auto"
    random_state: object = None
    verbose: int = 0

    optional = None  # whatever is absent somewhere may be absent; a method that tells roles apart has a field
    warm_up = 0.0

    def fit(self, x, y, validation: tuple | None = None) -> NetworkClassifier:
        """Train on rows ``x`` with labels ``y`` ``[N]``.

        Parameters
        ----------
        x
            `Modalities`, a mapping of blocks, or an array ``[N, F]`` (one modality named ``"x"``).
        y
            Labels of any type that scikit-learn takes.
        validation
            Rows and labels that choose the epoch, in place of ``validation_fraction``.

        Raises
        ------
        ModalityError, LabelError
            For whatever cannot be trained on, before training starts.
        """
        seed = self._draw_seed()
        x_train, y_train, x_val, y_val = self._as_training_set(x, y, validation, seed)
        x_train, y_train = self._only_usable(x_train, y_train)
        x_val, y_val = self._only_usable(x_val, y_val)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            program = self._program(x_train).to(self._device())
        self.program_, self.model_ = program, program.model

        def score():
            labels = range(len(self.classes_))
            return {"val_log_loss": log_loss(y_val, self._probabilities(x_val), labels=labels)}

        self.history_ = train(
            program,
            program,
            x_train,
            y_train,
            schedule=self._schedule(),
            seed=seed,
            warm_up=self.warm_up,
            score=score if len(x_val) else None,
            verbose=self.verbose,
        )
        return self

    def predict_proba(self, x) -> np.ndarray:
        """Predicted probabilities ``[N, C]``."""
        return self._probabilities(self._as_known_rows(x))

    def predict(self, x) -> np.ndarray:
        """Most probable label ``[N]``."""
        return self.classes_[self.predict_proba(x).argmax(axis=1)]

    def latents(self, x) -> np.ndarray:
        """Where the method puts each row before it predicts, ``[N, d]``.

        The mean of its latent, or, where it has none, the representations side by side.
        """
        return self._by_rows(self._latents, self._as_known_rows(x))

    # --- What a method may say differently ----------------------------------------------------------------

    def _program(self, x: Modalities) -> nn.Module:
        """The loss of a batch and its labels, summed over rows, as a module with the story as ``model``.

        Here: PRIMO's story with no latent, whose negative ELBO is the cross-entropy.
        """
        return Trace_ELBO(max_plate_nesting=1)(self._predictor(x), no_latents)

    def _usable(self, x: Modalities) -> np.ndarray:
        """Booleans ``[N]``: the rows that the method can be trained on."""
        return np.ones(len(x), bool)

    def _predict(self, x: Modalities) -> Tensor:
        """Probabilities ``[B, C]``."""
        return self.model_.likelihood(self.model_.encoder(x), {}).double().softmax(-1)

    def _latents(self, x: Modalities) -> Tensor:
        """``[B, d]``."""
        return self.model_.encoder(x).fused()

    # -----------------------------------------------------------------------------------------------------

    def _only_usable(self, x: Modalities, y: np.ndarray) -> tuple[Modalities, np.ndarray]:
        usable = self._usable(x)
        if len(x) and not usable.any():
            raise ModalityError(
                f"None of {len(x)} rows has every modality ({', '.join(x.names)}), and "
                f"{type(self).__name__} is trained on such rows alone. Bring complete rows."
            )
        return x[usable], y[usable]

    def _encoders(self, x: Modalities) -> Encoders:
        given = {m: e for m, e in (self.encoders or {}).items() if m in x.names}
        return encoders_for(x, given, self.hidden_dim, self.dropout)

    def _predictor(self, x: Modalities) -> PrimoModel:
        """A network from these modalities to the label: PRIMO without latents."""
        return PrimoModel(
            self._encoders(x),
            optional=(),
            num_classes=len(self.classes_),
            latent_dim=0,
            hidden_dim=self.hidden_dim,
            dropout=self.dropout,
        )

    def _probabilities(self, x: Modalities) -> np.ndarray:
        return self._by_rows(self._predict, x)

    def _by_rows(self, function, x: Modalities, size: int = ROWS_AT_A_TIME, axis: int = 0) -> np.ndarray:
        """A function of rows, in chunks of some ``size``; ``axis`` of its values is that of the rows."""
        parts = self._chunks(function, x, size)
        return np.concatenate([part.double().cpu().numpy() for part in parts], axis)

    @torch.no_grad()
    def _chunks(self, function, x: Modalities, size: int) -> list:
        self.program_.eval()
        return [function(x[start : start + size]) for start in range(0, len(x), size)]


def require_present(x: Modalities, names, method: str, cure: str) -> None:
    """Refuse rows in which one of these modalities is absent.

    Raises
    ------
    ModalityError
        Naming the modality, how many rows lack it, and the cure.

    >>> require_present(Modalities({"o": [1.0, np.nan]}), ["o"], "This", "Drop them.")
    Traceback (most recent call last):
        ...
    primo_pyro.errors.ModalityError: This wants modality 'o' in every row; it is absent in 1 of 2. Drop them.
    """
    for name in names:
        absent = len(x) - int(x.present[name].sum()) if name in x.present else len(x)
        if absent:
            raise ModalityError(
                f"{method} wants modality {name!r} in every row; it is absent in {absent} of {len(x)}. {cure}"
            )


def require_roles(x: Modalities, optional: Iterable[str], method: str) -> None:
    """Refuse training rows of which nothing, or everything, may be absent.

    Raises
    ------
    ModalityError
        Naming the modalities and the cure.

    >>> require_roles(Modalities({"o": [1.0], "m": [2.0]}), (), "This")
    Traceback (most recent call last):
        ...
    primo_pyro.errors.ModalityError: This wants observed modalities and optional ones; of o, m none is
    optional. Say which may be absent: optional=(name,).
    """
    observed = [m for m in x.names if m not in optional]
    if not optional or not observed:
        raise ModalityError(
            f"{method} wants observed modalities and optional ones; of {', '.join(x.names)} "
            f"{'none' if not optional else 'each'} is optional. Say which may be absent: optional=(name,)."
        )
