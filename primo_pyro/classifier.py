"""PrimoClassifier: the model, its training and its questions behind scikit-learn's face."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import log_loss
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import nn

from primo_pyro.clusters import label_shares, plausible_labels
from primo_pyro.errors import LabelError, ModalityError, UnseenPatternWarning
from primo_pyro.guide import PrimoGuide
from primo_pyro.impact import total_variation
from primo_pyro.modalities import Modalities
from primo_pyro.model import PrimoModel
from primo_pyro.networks import Encoders, encoder_for
from primo_pyro.objective import Anchored, Objective
from primo_pyro.prediction import Summary, stream_logits, summarise
from primo_pyro.training import Schedule, train

VALIDATION_SAMPLES = 64  # Sobol draws; enough to compare epochs


class PrimoClassifier(ClassifierMixin, BaseEstimator):
    """Predicts from whatever modalities are there, and says what the missing ones would change.

    Parameters
    ----------
    optional
        Modalities that may be absent; each gets a latent. None: those absent in some training row.
    encoders
        Per modality a module ``[B, ...] -> [B, hidden_dim]``; those not named are chosen by shape, see
        `primo_pyro.networks.encoder_for`.
    latent_dim
        Dimensions of each latent.
    hidden_dim
        Size of representations and hidden layers.
    gamma
        Fixed scale of the guide's batch-normalised means.
    dropout
        Dropout rate in encoders and likelihood.
    objective
        ``"calibrated"``, ``"paper"`` or an `Objective`.
    elbo
        Overrides the objective's bound: ``"trace"``, ``"mean_field"`` or ``"importance"``.
    max_epochs, batch_size, learning_rate, weight_decay, clip_norm
        See `primo_pyro.training.Schedule`.
    patience
        Epochs without improvement on the validation rows before training stops; None never stops.
    validation_fraction
        Share of the training rows held out to choose the epoch; 0 trains on all, to the last epoch.
    num_samples
        Draws K per row in predictions.
    draws
        ``"sobol"`` or ``"independent"``.
    warm_start
        Whether ``fit`` goes on from the parameters of the last ``fit``.
    checkpoint
        File that allows a killed ``fit`` to be resumed exactly.
    callbacks
        Functions of an epoch's row of the history; a true answer ends training.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    random_state
        Seed of everything random; the global random state is never touched.
    verbose
        1 shows a progress bar with the parts of the loss.

    Attributes
    ----------
    classes_ : array ``[C]``
    history_ : DataFrame, a row per epoch
    model_, guide_ : the Pyro programs
    optional_ : tuple of the modalities with a latent

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(500, random_state=0)
    >>> clf = PrimoClassifier(latent_dim=2, hidden_dim=32, max_epochs=3, random_state=0)
    >>> clf.fit(x.drop_at_random("m", random_state=0), y).predict_proba(x.drop("m")).shape
    (500, 2)
    >>> clf.predictive_impact(x.drop("m")).columns.tolist()
    ['impact', 'impact_se', 'impact_normalised', 'flip_probability', 'information_gain']
    """

    def __init__(
        self,
        optional: Sequence[str] | None = None,
        encoders: Mapping[str, nn.Module] | None = None,
        latent_dim: int = 8,
        hidden_dim: int = 64,
        gamma: float = 0.5,
        dropout: float = 0.0,
        objective: str | Objective = "calibrated",
        elbo: str | None = None,
        max_epochs: int = 60,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        clip_norm: float = 5.0,
        patience: int | None = 15,
        validation_fraction: float = 0.1,
        num_samples: int = 256,
        draws: str = "sobol",
        warm_start: bool = False,
        checkpoint: str | None = None,
        callbacks: Sequence[Callable[[dict], object]] = (),
        device: str = "auto",
        random_state=None,
        verbose: int = 0,
    ):
        self.optional = optional
        self.encoders = encoders
        self.latent_dim = latent_dim
        self.hidden_dim = hidden_dim
        self.gamma = gamma
        self.dropout = dropout
        self.objective = objective
        self.elbo = elbo
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.num_samples = num_samples
        self.draws = draws
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # --- Training --------------------------------------------------------------------------------------

    def fit(self, x, y, validation: tuple | None = None) -> PrimoClassifier:
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
        x, y = self._as_training_rows(x, y)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        goes_on = self.warm_start and hasattr(self, "model_")
        if goes_on:
            self._check_known_labels(y)
        else:
            self.classes_ = np.unique(y)
            if len(self.classes_) < 2:
                raise LabelError(
                    f"y has one class only ({self.classes_[0]!r}) in {len(y)} rows; at least two classes are "
                    "wanted. Add rows of another class."
                )
        codes = np.searchsorted(self.classes_, y)
        if validation is not None:
            x_val = self._as_modalities(validation[0])
            y_val = column_or_1d(validation[1])
            self._check_known_labels(y_val)
            x_train, y_train = x, codes
            y_val = np.searchsorted(self.classes_, y_val)
        else:
            x_train, y_train, x_val, y_val = _split_off(x, codes, self.validation_fraction, seed)
        objective = self._objective()
        if not goes_on:
            self._build(x_train, objective, seed)
        self.patterns_ = _patterns(x)

        elbo = objective.make_elbo()(Anchored(self.model_, objective), self.guide_)
        self.history_ = train(
            elbo,
            lambda batch, labels: elbo(self.model_.encoder(batch), labels),  # encoded once a step
            x_train,
            y_train,
            schedule=Schedule(
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                clip_norm=self.clip_norm,
                patience=self.patience,
            ),
            seed=seed,
            warm_up=objective.warm_up,
            score=(lambda: self._validation_scores(x_val, y_val)) if len(x_val) else None,
            callbacks=self.callbacks,
            checkpoint=self.checkpoint,
            verbose=self.verbose,
        )
        return self

    def _objective(self) -> Objective:
        objective = Objective.named(self.objective) if isinstance(self.objective, str) else self.objective
        return objective if self.elbo is None else replace(objective, elbo=self.elbo)

    def _build(self, x: Modalities, objective: Objective, seed: int) -> None:
        """Networks for these rows; the same for any order of the modalities."""
        self.shapes_ = {name: x.values[name].shape[1:] for name in sorted(x.names)}
        given = dict(self.encoders or {})
        device = torch.device(
            self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoders = {}
            for name in self.shapes_:
                if name in given:
                    encoders[name] = copy.deepcopy(given.pop(name))
                else:
                    values = x.values[name][x.present[name]]
                    encoders[name] = encoder_for(name, values, self.hidden_dim, self.hidden_dim, self.dropout)
            if given:
                raise ModalityError(
                    f"encoders names {sorted(given)}, which are no modalities of x ({sorted(x.names)}). "
                    "Correct the names."
                )
            self.model_ = PrimoModel(
                Encoders(encoders, self.hidden_dim),
                self.optional_,
                num_classes=len(self.classes_),
                latent_dim=self.latent_dim,
                hidden_dim=self.hidden_dim,
                dropout=self.dropout,
            ).to(device)
            self.guide_ = PrimoGuide(
                self.model_, self.hidden_dim, self.gamma, objective.propose_from_prior
            ).to(device)

    @torch.no_grad()
    def _validation_scores(self, x: Modalities, y: np.ndarray) -> dict[str, float]:
        self.model_.eval()
        labels = range(len(self.classes_))

        def summary(x):
            return summarise(self.model_, x, num_samples=VALIDATION_SAMPLES, kind="sobol", seed=0)

        scores = {"val_log_loss": log_loss(y, summary(x).probabilities, labels=labels)}
        complete = np.flatnonzero(x.complete)
        if self.optional_ and len(complete):
            shown = self.model_.encoder(x[complete])
            for scenario, h in ("missing", shown.drop(*self.optional_)), ("complete", shown):
                s = summary(h)
                scores[f"val_log_loss_{scenario}"] = log_loss(y[complete], s.probabilities, labels=labels)
                scores[f"val_impact_{scenario}"] = s.impact.mean()
        return scores

    # --- Prediction ------------------------------------------------------------------------------------

    def predict_proba(self, x) -> np.ndarray:
        """Average prediction ``[N, C]`` over the latents (Eq. 8), for any pattern of absence."""
        return self._summary(x).probabilities

    def predict(self, x) -> np.ndarray:
        """Most probable label ``[N]``."""
        return self.classes_[self.predict_proba(x).argmax(axis=1)]

    def predictive_impact(self, x, modality: str | None = None) -> pd.DataFrame:
        """How much what is absent would change each row's prediction.

        Parameters
        ----------
        x
            Rows as in ``predict_proba``.
        modality
            The share of one optional modality, the others averaged out; None: of all together.

        Returns
        -------
        DataFrame
            ``impact`` is V (Eq. 9): the expected total variation distance between the prediction once the
            latent is known and the prediction now, between 0 and 1 - 1/C. ``impact_se`` is its Monte Carlo
            standard error, ``impact_normalised`` is V / (1 - 1/C), ``flip_probability`` the share of draws
            that change the most probable label, ``information_gain`` the expected drop in log loss in nats.
        """
        return self._impact_frame(self._summary(x, modality))

    def impact_gap(self, x, modality: str | None = None, y=None) -> pd.DataFrame:
        """Hide a modality, predict its impact, reveal it, and measure what really changed.

        Parameters
        ----------
        x
            Rows in which the modality is present.
        modality
            The modality to hide; None: all optional ones.

        Returns
        -------
        DataFrame
            ``impact_missing`` and ``impact_complete`` are V without and with the modality, ``gap`` their
            difference, ``realised_change`` the total variation distance between the two predictions and
            ``flip`` whether the label changed.

        Raises
        ------
        ModalityError
            Where the modality is not optional, or absent in some row.
        """
        x = self._as_known_rows(x)
        hidden = self.optional_ if modality is None else (self._checked_optional(modality),)
        for name in hidden:
            absent = len(x) - int(x.present[name].sum())
            if absent:
                raise ModalityError(
                    f"Modality {name!r} is absent in {absent} of {len(x)} rows; the gap wants it in every "
                    f"row. Pass x[x.present[{name!r}]]."
                )
        missing, complete = self._summary(x.drop(*hidden)), self._summary(x)
        return pd.DataFrame(
            {
                "impact_missing": missing.impact,
                "impact_complete": complete.impact,
                "gap": missing.impact - complete.impact,
                "realised_change": total_variation(missing.probabilities, complete.probabilities),
                "flip": missing.probabilities.argmax(1) != complete.probabilities.argmax(1),
            }
        )

    def _impact_frame(self, summary: Summary) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "impact": summary.impact,
                "impact_se": summary.impact_se,
                "impact_normalised": summary.impact / (1 - 1 / len(self.classes_)),
                "flip_probability": summary.flip,
                "information_gain": summary.information_gain,
            }
        )

    def _summary(self, x, modality: str | None = None) -> Summary:
        x = self._as_known_rows(x)
        if modality is not None:
            self._checked_optional(modality)
        return summarise(
            self.model_,
            x,
            num_samples=self.num_samples,
            kind=self.draws,
            seed=self._draws_seed(),
            modality=modality,
        )

    def _draws_seed(self) -> int:
        return (
            0 if self.random_state is None else int(check_random_state(self.random_state).randint(2**31 - 1))
        )

    # --- Plausible labels ------------------------------------------------------------------------------

    def plausible_labels(
        self, x, max_clusters: int = 10, min_weight: float = 0.02, n_jobs=None
    ) -> pd.DataFrame:
        """The few different predictions that what is absent could lead to, for each row of ``x``.

        Returns
        -------
        DataFrame
            A line per cluster of draws: ``row, cluster, weight, label, p_<class>...``. See
            `primo_pyro.clusters.plausible_labels`, also for the other parameters.

        Examples
        --------
        >>> from primo_pyro.data import make_xor
        >>> x, y = make_xor(300, random_state=0)
        >>> clf = PrimoClassifier(hidden_dim=16, max_epochs=2, num_samples=64, random_state=0)
        >>> clf = clf.fit(x.drop_at_random("m", random_state=0), y)
        >>> clf.plausible_labels(x[:5].drop("m")).columns.tolist()
        ['row', 'cluster', 'weight', 'label', 'p_0', 'p_1']
        >>> clf.plausible_label_shares(x[:5].drop("m"), by="weight").shape
        (5, 2)
        """
        x = self._as_known_rows(x)
        seed, parts, start = self._draws_seed(), [], 0
        stream = stream_logits(self.model_, x, num_samples=self.num_samples, kind=self.draws, seed=seed)
        for logits in stream:
            part = plausible_labels(
                logits,
                self.classes_,
                max_clusters=max_clusters,
                min_weight=min_weight,
                random_state=seed,
                n_jobs=n_jobs,
            )
            parts.append(part.assign(row=part["row"] + start))
            start += logits.shape[1]
        return pd.concat(parts, ignore_index=True)

    def plausible_label_shares(self, x, by: str = "count", **settings) -> pd.DataFrame:
        """Share of each label among each row's plausible labels, ``[N, C]``.

        By ``"count"`` of clusters, as in the paper, or by their ``"weight"``; ``settings`` are those of
        `plausible_labels`.
        """
        return label_shares(self.plausible_labels(x, **settings), self.classes_, by=by)

    # --- The door --------------------------------------------------------------------------------------

    def _as_modalities(self, x, **validate) -> Modalities:
        if isinstance(x, Modalities):
            return x
        if isinstance(x, Mapping):
            return Modalities(x)
        return Modalities({"x": validate_data(self, x, dtype=np.float32, **validate)})

    def _as_training_rows(self, x, y) -> tuple[Modalities, np.ndarray]:
        if y is None:
            raise LabelError(
                "This classifier requires y to be passed, but the target y is None. Pass one label a row."
            )
        x = self._as_modalities(x)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if len(x) == 0:
            raise ModalityError("x has 0 rows; at least one row of each class is wanted. Pass some rows.")
        if len(x) != len(y):
            raise LabelError(f"x has {len(x)} rows and y {len(y)} labels. Give one label a row.")
        nowhere = [name for name in x.names if not x.present[name].any()]
        if nowhere:
            raise ModalityError(
                f"Modality {nowhere[0]!r} is absent in every one of {len(x)} training rows; nothing can be "
                "learnt of it. Leave it out, or add rows that have it."
            )
        partly = tuple(name for name in x.names if not x.present[name].all())
        optional = partly if self.optional is None else tuple(self.optional)
        for name in optional:
            if name not in x.names:
                raise ModalityError(
                    f"optional names {name!r}, which is no modality of x ({', '.join(x.names)}). Correct it."
                )
        for name in partly:
            if name not in optional:
                raise ModalityError(
                    f"Modality {name!r} is observed, not optional, but absent in "
                    f"{len(x) - int(x.present[name].sum())} of {len(x)} training rows. Add it to "
                    "optional, or leave these rows out."
                )
        self.optional_ = tuple(sorted(optional))
        return x, y

    def _as_known_rows(self, x) -> Modalities:
        check_is_fitted(self, "model_")
        x = self._as_modalities(x, reset=False)
        if len(x) == 0:
            raise ModalityError("x has 0 rows; at least one was wanted. Pass some rows.")
        for name in x.names:
            if name not in self.shapes_:
                raise ModalityError(
                    f"Unknown modality {name!r} in {len(x)} rows; the model was trained on "
                    f"{', '.join(self.shapes_)}. Correct the name, or leave it out."
                )
            shape = x.values[name].shape[1:]
            if x.present[name].any() and shape != self.shapes_[name]:
                raise ModalityError(
                    f"Modality {name!r} has {len(x)} rows of shape {list(shape)}; the model was trained on "
                    f"{list(self.shapes_[name])}. Give the same features in the same order."
                )
        x = x.select(*self.shapes_)
        unseen = _patterns(x) - self.patterns_
        if unseen:
            warnings.warn(
                "No training row had "
                + " or ".join("only " + (", ".join(p) or "nothing") + " present" for p in sorted(unseen))
                + "; such rows are predicted without the model ever having seen their like. Drop "
                "modalities in training (drop_at_random) to teach it.",
                UnseenPatternWarning,
                stacklevel=3,
            )
        return x

    def _checked_optional(self, modality: str) -> str:
        if modality not in self.optional_:
            raise ModalityError(
                f"{modality!r} has no latent; the optional modalities are {list(self.optional_)}. Choose "
                "one of them, or fit with it in optional."
            )
        return modality

    def _check_known_labels(self, y: np.ndarray) -> None:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise LabelError(
                f"{int(np.isin(y, unknown).sum())} of {len(y)} labels ({unknown[:5]!r}) are not among the "
                f"training classes {self.classes_!r}. Leave these rows out, or train with them."
            )


def _split_off(x: Modalities, y: np.ndarray, fraction: float, seed: int):
    """Training and validation rows; every class keeps at least one training row."""
    order = np.random.default_rng(seed).permutation(len(y))
    first_of_class = np.zeros(len(y), bool)
    first_of_class[[np.flatnonzero(y[order] == c)[0] for c in np.unique(y)]] = True
    spare = order[~first_of_class]
    held_out = np.sort(spare[: int(fraction * len(y))])
    kept = np.setdiff1d(np.arange(len(y)), held_out)
    return x[kept], y[kept], x[held_out], y[held_out]


def _patterns(x: Modalities) -> set[tuple[str, ...]]:
    """The combinations of present modalities that occur."""
    names = sorted(x.names)
    rows = np.unique(np.stack([x.present[name] for name in names], axis=1), axis=0)
    return {tuple(name for name, there in zip(names, row, strict=True) if there) for row in rows}
