"""What `PrimoClassifier` and `PrimoRegressor` share: programs, their training, and questions about impact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Self

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from primo_pyro.analysis.acquisition import rank_acquisitions
from primo_pyro.analysis.calibration import ImpactCalibrator
from primo_pyro.analysis.impact import impact_frame, impact_gap
from primo_pyro.diagnosis import diagnose, warn_of
from primo_pyro.errors import LabelError, ModalityError
from primo_pyro.estimator import NetworkEstimator
from primo_pyro.labels import labels_of
from primo_pyro.modalities import Modalities
from primo_pyro.persistence import load_estimator, save_estimator
from primo_pyro.prediction import Summary, stream_draws, summarise, summarise_until
from primo_pyro.program.encoders import Encoders, encoders_for
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import Loss, Objective
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.priors import one_latent_each

__all__ = ["PrimoEstimator"]

VALIDATION_SAMPLES = 64  # Sobol draws; enough to compare epochs


@dataclass(eq=False, repr=False, kw_only=True)
class PrimoEstimator(NetworkEstimator):
    """Predicts from whatever modalities are present, and says what the absent ones would change.

    Parameters
    ----------
    optional
        Modalities that may be absent; each gets a latent. None: those absent in some training row.
    encoders
        Per modality a module ``[B, ...] -> [B, hidden_dim]``; those not named are chosen by shape, see
        `primo_pyro.program.encoders.encoder_for`.
    latent_dim
        Dimensions of each latent.
    gamma
        Fixed scale of the guide's batch-normalised means.
    objective
        ``"calibrated"``, ``"paper"`` or an `Objective`.
    elbo
        Overrides the objective's bound: ``"trace"``, ``"mean_field"`` or ``"importance"``.
    num_samples
        Draws K per row in predictions.
    draws
        ``"sobol"`` or ``"independent"``.
    **others
        See `primo_pyro.estimator.NetworkEstimator`.

    Attributes
    ----------
    history_ : DataFrame, a row per epoch
    model_, guide_ : the Pyro programs
    optional_ : tuple of the modalities that may be absent
    diagnosis_ : DataFrame, a row per check for a known failure, see `primo_pyro.diagnosis`; no rows with less
        than 50 complete validation rows
    """

    optional: Sequence[str] | None = field(default=None, kw_only=False)
    encoders: Mapping[str, nn.Module] | None = field(default=None, kw_only=False)
    latent_dim: int = 8
    gamma: float = 0.5
    objective: str | Objective = "calibrated"
    elbo: str | None = None
    num_samples: int = 256
    draws: str = "sobol"

    # --- Programs ----------------------------------------------------------------------------------------

    def make_programs(self, encoder: Encoders, outcome: Outcome) -> tuple[PrimoModel, PrimoGuide]:
        """The model and the guide that ``fit`` trains; override it to tell another story.

        Parameters
        ----------
        encoder
            One encoder per modality of the training rows.
        outcome
            What the label is.
        """
        model = PrimoModel(
            encoder,
            one_latent_each(self.optional_, self.latent_dim),
            outcome,
            hidden_dim=self.hidden_dim,
            dropout=self.dropout,
        )
        return model, PrimoGuide(
            model,
            hidden_dim=self.hidden_dim,
            gamma=self.gamma,
            proposes_from_prior=self._objective().propose_from_prior,
        )

    def adopt(self, model: PrimoModel, guide: nn.Module, x, y) -> Self:
        """Take over programs that were trained elsewhere, in place of ``fit``.

        Parameters
        ----------
        model, guide
            The programs; predictions need the model alone.
        x, y
            The rows and labels that they were trained on, for what is learnt of these: names, shapes and
            classes.

        Raises
        ------
        ModalityError, LabelError
            Where the programs and the rows do not fit together.
        """
        self._forget()
        self.seed_ = self._draw_seed()
        x, _ = self._learn_rows(x, y)
        expected = self.labels_.make(self._outcome_class())
        outcome, size = model.outcome, expected.prediction_size
        if labels_of(type(outcome)) is not type(self.labels_) or outcome.prediction_size != size:
            raise LabelError(
                f"The model's outcome is {type(outcome).__name__}, with predictions of "
                f"{outcome.prediction_size} numbers; expected {type(expected).__name__}, of {size}. Give the "
                "model such an outcome, or adopt it by another estimator."
            )
        self._check_roles(model, x)
        self.optional_ = tuple(sorted(model.optional))
        self.model_, self.guide_ = model, guide
        self.adopted_ = True
        return self

    def _check_roles(self, model: PrimoModel, x: Modalities) -> None:
        if sorted(model.encoder) != sorted(x.names) or set(self.optional_) - set(model.optional):
            raise ModalityError(
                f"The model has encoders for {sorted(model.encoder)} and latents about "
                f"{list(model.optional)}; expected {sorted(x.names)} and {list(self.optional_)}. Pass the "
                "rows it was trained on, or make a latent about each modality that may be absent."
            )

    def _objective(self) -> Objective:
        objective = Objective.named(self.objective) if isinstance(self.objective, str) else self.objective
        return objective if self.elbo is None else replace(objective, elbo=self.elbo)

    def _build(self, x: Modalities) -> None:
        encoder = encoders_for(x, self.encoders, self.hidden_dim, self.dropout)
        programs = self.make_programs(encoder, self.labels_.make(self._outcome_class()))
        self._check_roles(programs[0], x)
        self.model_, self.guide_ = (program.to(self._device()) for program in programs)

    # --- Training ----------------------------------------------------------------------------------------

    @property
    def warm_up(self) -> float:
        return self._objective().warm_up

    def _make_loss(self) -> nn.Module:
        return Loss(self.model_, self.guide_, self._objective())

    def _train(self, x, y, x_val, y_val, *, goes_on):
        vars(self).pop("impact_calibrators_", None)  # they belong to the parameters of before
        super()._train(x, y, x_val, y_val, goes_on=goes_on)
        self.diagnosis_ = diagnose(
            self.model_, x, y, x_val, y_val, num_samples=VALIDATION_SAMPLES, seed=self.seed_
        )
        warn_of(self.diagnosis_, stacklevel=3)

    @torch.no_grad()
    def _validation_scores(self, x, y):
        self.model_.eval()
        labels = torch.as_tensor(y, device=self._device())

        def summary(x, labels) -> Summary:
            return summarise(self.model_, x, labels, num_samples=VALIDATION_SAMPLES, kind="sobol", seed=0)

        h = self.model_.encoder(x)
        scores = {"val_log_loss": -summary(h, labels).log_likelihood.mean()}
        complete = np.flatnonzero(x.complete)
        if self.optional_ and len(complete):
            for scenario, rows in ("missing", h[complete].drop(*self.optional_)), ("complete", h[complete]):
                s = summary(rows, labels[complete])
                scores[f"val_log_loss_{scenario}"] = -s.log_likelihood.mean()
                scores[f"val_impact_{scenario}"] = s.impact.mean()
            # The epoch is chosen on the rows as they are, and on complete ones with all optional hidden.
            share = len(complete) / (len(y) + len(complete))
            scores["val_log_loss"] += share * (scores["val_log_loss_missing"] - scores["val_log_loss"])
        return scores

    # --- Impact ------------------------------------------------------------------------------------------

    def summarise(self, x, modality: str | None = None, num_samples: int | None = None, *, y=None) -> Summary:
        """Prediction and impact in one pass through the draws.

        `predict` and `predictive_impact` take one each; this is for who needs both.

        Parameters
        ----------
        x, modality
            As in `predictive_impact`.
        num_samples
            Draws K per row; None: the estimator's own.
        y
            Labels, for their likelihood.

        Returns
        -------
        Summary
            `primo_pyro.prediction.Summary`.

        Raises
        ------
        ModalityError
            Where the modality is not optional.
        LabelError
            Where labels are unlike those of the training rows.
        """
        x = self._as_known_rows(x)
        self._check_optional(modality)
        labels = None if y is None else torch.as_tensor(self.labels_.encode(y), device=self._device())
        return summarise(self.model_, x, labels, **self._drawn(num_samples), modality=modality)

    def _drawn(self, num_samples: int | None = None) -> dict:
        return {"num_samples": num_samples or self.num_samples, "kind": self.draws, "seed": self.seed_}

    def predictive_impact(
        self, x, modality: str | None = None, tolerance: float | None = None
    ) -> pd.DataFrame:
        """How much what is absent would change each row's prediction.

        Parameters
        ----------
        x
            Rows with any pattern of absence.
        modality
            The share of one optional modality, the others averaged out; None: of all together.
        tolerance
            Draws are doubled for those rows whose ``impact_se`` is above it, up to 16,384, or to 1,024 where
            other latents are averaged out for each of them.

        Returns
        -------
        DataFrame
            ``impact`` is V (Eq. 9): the expected distance between the prediction once the latent is known and
            the prediction now, in the outcome's units; for classes the total variation distance, between 0
            and 1 - 1/C. ``impact_se`` is its Monte Carlo standard error, ``impact_normalised`` is V over the
            outcome's largest V, ``flip_probability`` the share of draws that change the most probable label
            (not for numbers), ``information_gain`` the expected drop in log loss in nats. After
            `calibrate_impact` also ``expected_change``: what V has meant on rows that were checked.

        Warns
        -----
        ToleranceWarning
            Where that is not enough for the tolerance.
        """
        x = self._as_known_rows(x)
        self._check_optional(modality)
        if tolerance is None:
            summary = summarise(self.model_, x, **self._drawn(), modality=modality)
        else:
            summary = summarise_until(self.model_, x, tolerance, **self._drawn(), modality=modality)
        frame = impact_frame(summary, self.model_.outcome)
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
            difference, ``realised_change`` the distance between the two predictions and ``flip`` whether the
            label changed (not for numbers).

        Raises
        ------
        ModalityError
            Where the modality is not optional, or absent in some row.
        """
        return impact_gap(*self._hidden_and_revealed(x, modality), self.model_.outcome)

    def _hidden_and_revealed(self, x, modality: str | None) -> tuple[Summary, Summary]:
        """The rows without a modality, or without all optional ones, and as they are."""
        x = self._as_known_rows(x)
        self._check_optional(modality)
        hidden = self.optional_ if modality is None else (modality,)
        for name in hidden:
            absent = len(x) - int(x.present[name].sum())
            if absent:
                raise ModalityError(
                    f"Modality {name!r} is absent in {absent} of {len(x)} rows; the gap expects it in every "
                    f"row. Pass x[x.present[{name!r}]]."
                )
        return self.summarise(x.drop(*hidden)), self.summarise(x)

    def calibrate_impact(self, x, y=None) -> Self:
        """Learn what V means on rows where it can be checked, so that 0.3 means a change of 0.3 on new rows.

        For each optional modality, and for all together, a monotone map from V to the realised change
        (`primo_pyro.analysis.calibration.ImpactCalibrator`) is kept in ``impact_calibrators_``;
        `predictive_impact` then reports ``expected_change`` too. Training anew forgets it.

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

    def _with_expected_change(self, frame: pd.DataFrame, x: Modalities, modality: str | None) -> pd.DataFrame:
        if not hasattr(self, "impact_calibrators_"):
            return frame
        asked = self.optional_ if modality is None else (modality,)
        absent = np.stack([~x.present[m] for m in asked])
        change = self.impact_calibrators_[modality].predict(frame["impact"])
        for name, is_absent in zip(asked, absent, strict=True):
            alone = is_absent & (absent.sum(0) == 1)  # checked as such, with all others present
            change[alone] = self.impact_calibrators_[name].predict(frame["impact"][alone])
        # Where nothing is absent nothing can be revealed: the V that remains is the latent's own spread.
        return frame.assign(expected_change=np.where(absent.any(0), change, 0.0))

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
        ModalityError
            Where nothing is absent.
        """
        x = self._as_known_rows(x)
        absent = {name: np.flatnonzero(~x.present[name]) for name in self.optional_}
        impacts = {name: self.predictive_impact(x[rows], name) for name, rows in absent.items() if len(rows)}
        return rank_acquisitions(absent, impacts, costs, len(x))

    # --- Single draws ------------------------------------------------------------------------------------

    def sample_latents(self, x, num_samples: int | None = None) -> np.ndarray:
        """Latents ``[K, N, d]`` of single draws, those of all optional modalities side by side.

        Raises
        ------
        ModalityError
            Where no modality is optional.
        """
        x = self._as_known_rows(x)
        self._require_optional()
        sites = [f"z_{name}" for name in self.model_.latents]
        drawn = stream_draws(self.model_, x, sites, **self._drawn(num_samples))
        return np.concatenate([np.concatenate([part[s] for s in sites], axis=2) for part in drawn], axis=1)

    def sample_predictions(self, x, num_samples: int | None = None) -> np.ndarray:
        """Predictions ``[K, N, Q]`` under single draws; their average is the prediction."""
        x = self._as_known_rows(x)
        outcome = self.model_.outcome
        like = {"dtype": torch.float64, "device": self._device()}
        with torch.no_grad():
            parts = [outcome.predict(torch.as_tensor(p, **like)) for p in self._parameters(x, num_samples)]
        return torch.cat(parts, dim=1).cpu().numpy()

    def _parameters(self, x: Modalities, num_samples: int | None = None) -> Iterator[np.ndarray]:
        """Parameters ``[K, n, P]`` of the label's law under the draws of a few rows at a time."""
        site = self.model_.outcome.parameters_site
        stream = stream_draws(self.model_, x, [site], **self._drawn(num_samples))
        return (part[site] for part in stream)

    # --- Saving ------------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike) -> None:
        """Write the fitted estimator to a folder, without pickle; see `primo_pyro.persistence`."""
        check_is_fitted(self, "model_")
        save_estimator(self, folder)

    @classmethod
    def load(
        cls,
        folder: str | PathLike,
        encoders: Mapping[str, nn.Module] | None = None,
        *,
        programs: tuple[PrimoModel, nn.Module] | None = None,
        device: str | None = None,
        **given,
    ) -> Self:
        """What `save` wrote: the same predictions to the last bit on one device.

        Parameters
        ----------
        folder
            What `save` was given.
        encoders
            Modules for the modalities whose encoders were given by hand; their parameters are then replaced
            by the saved ones.
        programs
            Model and guide of the kind that were adopted; their parameters are replaced as well.
        device
            Where to put it; None: the estimator's own ``device``.
        **given
            Other constructor parameters that are code of your own, as an ``outcome``.

        Raises
        ------
        SavedModelError
            See `primo_pyro.persistence.load_estimator`.
        """
        return load_estimator(cls, folder, encoders=encoders, programs=programs, device=device, given=given)

    def _require_optional(self) -> None:
        if not self.optional_:
            raise ModalityError(
                f"None of the modalities ({', '.join(self.shapes_)}) is optional, so nothing has an impact. "
                "Fit with rows in which one is absent, or name it in optional."
            )

    def _check_optional(self, modality: str | None) -> None:
        if modality is not None and modality not in self.optional_:
            raise ModalityError(
                f"{modality!r} has no latent; the optional modalities are {list(self.optional_)}. Choose "
                "one of them, or fit with it in optional."
            )
