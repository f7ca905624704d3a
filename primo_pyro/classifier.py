"""PrimoClassifier: the model, its training and its questions behind scikit-learn's face."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import log_loss
from sklearn.utils.validation import check_is_fitted
from torch import nn

from primo_pyro.analysis.calibration import ImpactCalibrator
from primo_pyro.analysis.clusters import label_shares, plausible_labels
from primo_pyro.analysis.impact import normalised_impact, uncertainty
from primo_pyro.diagnosis import diagnose, warn_of
from primo_pyro.door import Door
from primo_pyro.errors import CostError, ModalityError, ToleranceWarning
from primo_pyro.modalities import Modalities
from primo_pyro.persistence import load_estimator, save_estimator
from primo_pyro.prediction import Summary, stream_draws, summarise
from primo_pyro.program.encoders import encoders_for
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import Anchored, Objective
from primo_pyro.program.outcomes import total_variation
from primo_pyro.training import train

MAX_SAMPLES = 2**14  # draws per row that a tolerance may ask for
MAX_NESTED_SAMPLES = 2**10  # the same where each draw is an average over as many draws of the other latents
VALIDATION_SAMPLES = 64  # Sobol draws; enough to compare epochs


class PrimoClassifier(Door, ClassifierMixin, BaseEstimator):
    """Predicts from whatever modalities are there, and says what the missing ones would change.

    Parameters
    ----------
    optional
        Modalities that may be absent; each gets a latent. None: those absent in some training row.
    encoders
        Per modality a module ``[B, ...] -> [B, hidden_dim]``; those not named are chosen by shape, see
        `primo_pyro.program.encoders.encoder_for`.
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
        Functions of an epoch's row of the history; a true answer ends training. `save` leaves them out.
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
    diagnosis_ : DataFrame, a row per check for a known failure, see `primo_pyro.diagnosis`; no rows with less
        than 50 complete validation rows

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

        Warns
        -----
        CollapseWarning
            Where validation rows show that a latent holds nothing of its modality, or that V is not about it.
        OverfitWarning
            Where what is always seen has been memorised.
        """
        goes_on = self.warm_start and hasattr(self, "model_")
        if not goes_on:
            self._forget()
        seed, objective = self._draw_seed(), self._objective()
        x_train, y_train, x_val, y_val = self._as_training_set(x, y, validation, seed, goes_on)
        self.seed_ = seed
        vars(self).pop("impact_calibrators_", None)  # they belong to the parameters of before
        if not goes_on:
            self._build(x_train, objective, seed)

        with torch.random.fork_rng():
            torch.manual_seed(seed + 1)  # the networks were drawn from the seed itself
            elbo = objective.make_elbo()(Anchored(self.model_, objective), self.guide_)

        def loss(batch, labels):
            return elbo(self.model_.encoder(batch), labels)  # encoded once, for model, guide and R

        self.history_ = train(
            elbo,
            loss,
            x_train,
            y_train,
            schedule=self._schedule(),
            seed=seed,
            warm_up=objective.warm_up,
            score=(lambda: self._validation_scores(x_val, y_val)) if len(x_val) else None,
            callbacks=self.callbacks,
            checkpoint=self.checkpoint,
            verbose=self.verbose,
        )
        self.diagnosis_ = diagnose(
            self.model_, x_train, y_train, x_val, y_val, num_samples=VALIDATION_SAMPLES, seed=seed
        )
        warn_of(self.diagnosis_, stacklevel=2)
        return self

    def _objective(self) -> Objective:
        objective = Objective.named(self.objective) if isinstance(self.objective, str) else self.objective
        return objective if self.elbo is None else replace(objective, elbo=self.elbo)

    def _build(self, x: Modalities, objective: Objective, seed: int) -> None:
        """Networks for these rows; the same for any order of the modalities."""
        device = self._device()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model_ = PrimoModel(
                encoders_for(x, self.encoders, self.hidden_dim, self.dropout),
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

        def loss(y, summary: Summary) -> float:
            return log_loss(y, summary.probabilities, labels=labels)

        h = self.model_.encoder(x)
        scores = {"val_log_loss": loss(y, summary(h))}
        complete = np.flatnonzero(x.complete)
        if self.optional_ and len(complete):
            for scenario, rows in ("missing", h[complete].drop(*self.optional_)), ("complete", h[complete]):
                s = summary(rows)
                scores[f"val_log_loss_{scenario}"] = loss(y[complete], s)
                scores[f"val_impact_{scenario}"] = s.impact.mean()
            # The epoch is chosen on the rows as they are, and on complete ones with all optional hidden.
            share = len(complete) / (len(y) + len(complete))
            scores["val_log_loss"] += share * (scores["val_log_loss_missing"] - scores["val_log_loss"])
        return scores

    # --- Prediction ------------------------------------------------------------------------------------

    def predict_proba(self, x) -> np.ndarray:
        """Average prediction ``[N, C]`` over the latents (Eq. 8), for any pattern of absence."""
        return self.summarise(x).probabilities

    def predict(self, x) -> np.ndarray:
        """Most probable label ``[N]``."""
        most_probable = self.predict_proba(x).argmax(axis=1)
        return self.classes_[most_probable]

    def predictive_impact(
        self, x, modality: str | None = None, tolerance: float | None = None
    ) -> pd.DataFrame:
        """How much what is absent would change each row's prediction.

        Parameters
        ----------
        x
            Rows as in ``predict_proba``.
        modality
            The share of one optional modality, the others averaged out; None: of all together.
        tolerance
            Draws are doubled for those rows whose ``impact_se`` is above it, up to 16,384, or to 1,024 where
            other latents are averaged out for each of them.

        Returns
        -------
        DataFrame
            ``impact`` is V (Eq. 9): the expected total variation distance between the prediction once the
            latent is known and the prediction now, between 0 and 1 - 1/C. ``impact_se`` is its Monte Carlo
            standard error, ``impact_normalised`` is V / (1 - 1/C), ``flip_probability`` the share of draws
            that change the most probable label, ``information_gain`` the expected drop in log loss in nats.
            After `calibrate_impact` also ``expected_change``: what V has meant on rows that were checked.

        Warns
        -----
        ToleranceWarning
            Where that is not enough for the tolerance.
        """
        x = self._as_known_rows(x)
        frame = self._impact_frame(self.summarise(x, modality))
        if tolerance is not None:
            self._draw_until(frame, x, modality, tolerance)
        return self._with_expected_change(frame, x, modality)

    def impact_gap(self, x, modality: str | None = None) -> pd.DataFrame:
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
        missing, complete = self.summarise(x.drop(*hidden)), self.summarise(x)
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
                "impact_normalised": normalised_impact(summary.impact, len(self.classes_)),
                "flip_probability": summary.flip,
                "information_gain": summary.information_gain,
            }
        )

    def summarise(self, x, modality: str | None = None, num_samples: int | None = None) -> Summary:
        """Prediction and impact in one walk through the draws.

        `predict_proba` and `predictive_impact` take one each; this is for who wants both.

        Parameters
        ----------
        x, modality
            As in `predictive_impact`.
        num_samples
            Draws K per row; None: the estimator's own.

        Returns
        -------
        Summary
            `primo_pyro.prediction.Summary`: ``probabilities`` ``[N, C]``, and ``impact``, ``impact_se``,
            ``flip`` and ``information_gain``, each ``[N]``.

        Raises
        ------
        ModalityError
            Where the modality is not optional.
        """
        x = self._as_known_rows(x)
        if modality is not None:
            self._checked_optional(modality)
        return summarise(
            self.model_,
            x,
            num_samples=num_samples or self.num_samples,
            kind=self.draws,
            seed=self.seed_,
            modality=modality,
        )

    # --- Single draws ----------------------------------------------------------------------------------

    def sample_predictions(self, x, num_samples: int | None = None) -> np.ndarray:
        """Predictions ``[K, N, C]`` under single draws; their average is ``predict_proba``.

        Examples
        --------
        >>> from primo_pyro.data import make_xor
        >>> x, y = make_xor(300, random_state=0)
        >>> clf = PrimoClassifier(latent_dim=2, hidden_dim=16, max_epochs=2, random_state=0)
        >>> clf = clf.fit(x.drop_at_random("m", random_state=0), y)
        >>> clf.sample_predictions(x[:5], 16).shape, clf.sample_latents(x[:5], 16).shape
        ((16, 5, 2), (16, 5, 2))
        """
        x = self._as_known_rows(x)
        logits = np.concatenate([*self._streamed("logits", x, num_samples)], axis=1)
        return softmax(logits.astype(float), axis=-1)

    def sample_latents(self, x, num_samples: int | None = None) -> np.ndarray:
        """The latents ``[K, N, d]`` of the same draws, those of all optional modalities side by side.

        Raises
        ------
        ModalityError
            Where no modality is optional.
        """
        x = self._as_known_rows(x)
        self._require_optional()
        each = [np.concatenate([*self._streamed(f"z_{m}", x, num_samples)], axis=1) for m in self.optional_]
        return np.concatenate(each, axis=2)

    def _streamed(self, site: str, x: Modalities, num_samples: int | None = None) -> Iterator[np.ndarray]:
        """A site of the model ``[K, n, ...]`` under the draws of a few rows at a time."""
        num_samples = num_samples or self.num_samples
        stream = stream_draws(
            self.model_, x, [site], num_samples=num_samples, kind=self.draws, seed=self.seed_
        )
        return (drawn[site] for drawn in stream)

    # --- Plausible labels ------------------------------------------------------------------------------

    def plausible_labels(
        self,
        x,
        max_clusters: int = 10,
        min_weight: float = 0.02,
        class_weight=None,
        random_state: int = 0,
        n_jobs: int | None = None,
    ) -> pd.DataFrame:
        """The few different predictions that what is absent could lead to, for each row of ``x``.

        The draws are those of ``predict_proba``; ``random_state`` is that of the grouping.

        Returns
        -------
        DataFrame
            A line per cluster of draws: ``row, cluster, weight, label, p_<class>...``. See
            `primo_pyro.analysis.clusters.plausible_labels`, also for the other parameters.

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
        parts, start = [], 0
        for logits in self._streamed("logits", x):
            part = plausible_labels(
                logits,
                self.classes_,
                max_clusters=max_clusters,
                min_weight=min_weight,
                class_weight=class_weight,
                random_state=random_state,
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

    # --- What impact means, and what to acquire --------------------------------------------------------

    def uncertainty(self, x) -> pd.DataFrame:
        """Entropy of each prediction in nats, and what the absent modalities could resolve of it.

        ``total, aleatoric, resolvable``, see `primo_pyro.analysis.impact.uncertainty`.
        """
        summary = self.summarise(x)
        return uncertainty(summary.probabilities, summary.information_gain)

    def calibrate_impact(self, x, y=None) -> PrimoClassifier:
        """Learn what V means on rows where it can be checked, so that 0.3 means a change of 0.3 on new rows.

        For each optional modality, and for all together, a monotone map from V to the realised change
        (`primo_pyro.analysis.calibration.ImpactCalibrator`) is kept in ``impact_calibrators_``; `predictive_impact`
        then reports ``expected_change`` too. Training anew forgets it.

        Parameters
        ----------
        x
            Complete rows that were not trained on; some hundreds at least.
        y
            Not looked at: predictions before and after are compared with each other, not with labels.

        Raises
        ------
        ModalityError
            Where an optional modality is absent in some row, or there is none.
        """
        check_is_fitted(self, "model_")
        self._require_optional()

        def learnt(modality):
            gap = self.impact_gap(x, modality)
            return ImpactCalibrator().fit(gap["impact_missing"], gap["realised_change"])

        calibrators = {modality: learnt(modality) for modality in self.optional_}
        together = calibrators[self.optional_[0]] if len(self.optional_) == 1 else learnt(None)
        self.impact_calibrators_ = calibrators | {None: together}
        return self

    def rank_acquisitions(self, x, costs: Mapping[str, object] | None = None) -> pd.DataFrame:
        """What to measure next: absent modalities of all rows, by expected change per cost.

        Parameters
        ----------
        x
            Rows with modalities absent.
        costs
            For each optional modality its cost, one number or one a row, all positive, in any unit; None: 1.

        Returns
        -------
        DataFrame
            A line per absent modality of each row, the most worthwhile first: ``row, modality``, ``impact``
            (V of this modality, the other absent ones averaged out), ``information_gain`` in nats,
            ``expected_change`` (after `calibrate_impact`), ``cost``, and ``change_per_cost``, by which they
            are ordered: ``expected_change``, or ``impact`` without calibration, over the cost.

        Raises
        ------
        CostError
            Where a cost is missing, not positive, or not one a row.
        """
        x = self._as_known_rows(x)
        parts = []
        for modality in self.optional_:
            rows = np.flatnonzero(~x.present[modality])
            cost = _costs_of(modality, costs, len(x))[rows]
            if len(rows):
                impact = self.predictive_impact(x[rows], modality)
                change = impact["expected_change"] if "expected_change" in impact else impact["impact"]
                kept = impact[[c for c in RANKED if c in impact]]
                part = kept.assign(cost=cost, change_per_cost=change / cost)
                part.insert(0, "row", rows)
                part.insert(1, "modality", modality)
                parts.append(part)
        if not parts:
            raise ModalityError(
                f"No optional modality ({', '.join(self.optional_) or 'there is none'}) is absent in any of "
                f"{len(x)} rows; there is nothing to acquire. Pass rows with modalities absent."
            )
        ranked = pd.concat(parts, ignore_index=True)
        return ranked.sort_values("change_per_cost", ascending=False, kind="stable", ignore_index=True)

    def report(self, x, y, folder, modality: str | None = None) -> Path:
        """Write one HTML page about what the optional modalities are worth on these rows.

        It has a table of scores without and with them, the distribution of V, its calibration, acquisition
        curves, and the rows with the highest and the lowest V with their plausible labels.

        Parameters
        ----------
        x, y
            Complete rows and their labels ``[N]``, not trained on.
        folder
            Where ``report.html`` goes.
        modality
            The modality to hide; None: all optional ones together.

        Returns
        -------
        Path
            Of the page, which needs no other file.

        Raises
        ------
        ModalityError
            Where the modality is not optional, or absent in some row.
        """
        from primo_pyro.analysis.report import Findings, rows_to_show, write_report

        x = self._as_known_rows(x)
        gap = self.impact_gap(x, modality)
        hidden = self.optional_ if modality is None else (modality,)
        missing = x.drop(*hidden)
        cards = rows_to_show(gap["impact_missing"])
        return write_report(
            Findings(
                modality=" and ".join(hidden),
                classes=self.classes_,
                y=np.asarray(y),
                missing=self.predict_proba(missing),
                complete=self.predict_proba(x),
                impact=self.predictive_impact(missing),
                gap=gap,
                cards=cards,
                shares=self.plausible_label_shares(missing[cards]),
            ),
            folder,
        )

    def _draw_until(self, frame: pd.DataFrame, x: Modalities, modality: str | None, tolerance: float) -> None:
        """More draws, in place, for the rows whose standard error is too large."""
        num_samples = self.num_samples
        nested = modality is not None and len(self.optional_) > 1
        while (rows := np.flatnonzero(~(frame["impact_se"] <= tolerance))).size:
            num_samples *= 2
            if num_samples > (MAX_NESTED_SAMPLES if nested else MAX_SAMPLES):
                warnings.warn(
                    f"{len(rows)} of {len(x)} rows have a standard error above {tolerance} (the largest: "
                    f"{frame['impact_se'].max():.2g}) with {num_samples // 2} draws. Raise the tolerance.",
                    ToleranceWarning,
                    stacklevel=3,
                )
                return
            frame.iloc[rows] = self._impact_frame(self.summarise(x[rows], modality, num_samples)).to_numpy()

    def _with_expected_change(self, frame: pd.DataFrame, x: Modalities, modality: str | None) -> pd.DataFrame:
        if not hasattr(self, "impact_calibrators_"):
            return frame
        asked = self.optional_ if modality is None else (modality,)
        absent = np.stack([~x.present[m] for m in asked])
        change = self.impact_calibrators_[modality].predict(frame["impact"])
        for name, gone in zip(asked, absent, strict=True):
            alone = gone & (absent.sum(0) == 1)  # checked as such, with all others present
            change[alone] = self.impact_calibrators_[name].predict(frame["impact"][alone])
        # Where all is there nothing is to be revealed: the V that remains is the latent's own spread.
        return frame.assign(expected_change=np.where(absent.any(0), change, 0.0))

    # --- Saving ----------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike) -> None:
        """Write the fitted estimator to a folder, without pickle; see `primo_pyro.persistence`."""
        check_is_fitted(self, "model_")
        save_estimator(self, folder)

    @classmethod
    def load(
        cls,
        folder: str | PathLike,
        encoders: Mapping[str, nn.Module] | None = None,
        device: str | None = None,
    ) -> PrimoClassifier:
        """What `save` wrote: the same predictions to the last bit on one device.

        Parameters
        ----------
        folder
            What `save` was given.
        encoders
            Modules for the modalities whose encoders were given by hand; their parameters are then replaced
            by the saved ones.
        device
            Where to put it; None: the estimator's own ``device``.

        Raises
        ------
        SavedModelError
            See `primo_pyro.persistence.load_estimator`.
        """
        return load_estimator(cls, folder, encoders, device)

    def _require_optional(self) -> None:
        if not self.optional_:
            raise ModalityError(
                f"None of the modalities ({', '.join(self.shapes_)}) is optional, so nothing has an impact. "
                "Fit with rows in which one is absent, or name it in optional."
            )

    def _checked_optional(self, modality: str) -> str:
        if modality not in self.optional_:
            raise ModalityError(
                f"{modality!r} has no latent; the optional modalities are {list(self.optional_)}. Choose "
                "one of them, or fit with it in optional."
            )
        return modality


RANKED = ("impact", "information_gain", "expected_change")


def _costs_of(modality: str, costs: Mapping[str, object] | None, rows: int) -> np.ndarray:
    if costs is not None and modality not in costs:
        raise CostError(
            f"costs names {sorted(costs)}, and not {modality!r}. Give a cost for each optional modality."
        )
    cost = np.asarray(1.0 if costs is None else costs[modality], float)
    if cost.shape not in ((), (rows,)) or not (cost > 0).all():
        raise CostError(
            f"The cost of {modality!r} has shape {list(cost.shape)} and smallest value "
            f"{cost.min(initial=np.inf)}; one positive number, or {rows} of them, was wanted. Correct it."
        )
    return np.broadcast_to(cost, rows)
