"""What `PrimoClassifier` and `PrimoRegressor` share: programs, their training, and questions about impact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from primo_pyro.analysis.labelled_draws import labelled_draws
from primo_pyro.door import align_labels
from primo_pyro.ensemble import VALIDATION_SAMPLES, EnsembleEstimator
from primo_pyro.errors import LabelError, ModalityError
from primo_pyro.guarantees import Guarantees
from primo_pyro.labels import labels_of
from primo_pyro.lifecycle import forget, require_fitted
from primo_pyro.members import members_of, seed_of_member
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import (
    NUM_SAMPLES,
    AnyOf,
    Is,
    Modules,
    OneOf,
    Range,
    Real,
    Whole,
    check_parameter,
    check_parameters,
    ranges_of,
)
from primo_pyro.persistence import load_estimator, save_estimator
from primo_pyro.prediction import Summary, stream_draws, summarise
from primo_pyro.program.encoders import Encoders, Representations, encoders_for
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.loss import Loss
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import Objective
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.priors import one_latent_each
from primo_pyro.questions import Asked
from primo_pyro.rows import by_chunks

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["PrimoEstimator"]


@dataclass(eq=False, repr=False, kw_only=True)
class PrimoEstimator(Guarantees, EnsembleEstimator):
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
        See `primo_pyro.ensemble.EnsembleEstimator` and `primo_pyro.estimator.NetworkEstimator`.

    Attributes
    ----------
    history_ : DataFrame, a row per epoch
    model_, guide_ : the Pyro programs
    optional_ : tuple of the modalities that may be absent
    diagnosis_ : DataFrame, a row per check for a known failure, see `primo_pyro.diagnosis`; NaN in ``found``
        where fewer than 50 validation rows have the modality
    """

    optional: Sequence[str] | None = field(default=None, kw_only=False)
    encoders: Mapping[str, nn.Module] | None = field(default=None, kw_only=False)
    latent_dim: int = 8
    gamma: float = 0.5
    objective: str | Objective = "calibrated"
    elbo: str | None = None
    num_samples: int = 256
    draws: str = "sobol"

    takes_stored: ClassVar[bool] = True
    parameter_ranges: ClassVar[dict[str, Range]] = {
        "encoders": Modules(),
        "latent_dim": Whole(1, 4096),
        "gamma": Real(0, above=True),
        "objective": AnyOf(OneOf("calibrated", "paper"), Is(Objective)),
        "elbo": AnyOf(OneOf(None), Objective.parameter_ranges["elbo"]),
        "num_samples": NUM_SAMPLES,
        "draws": OneOf("sobol", "independent"),
    }

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
            outcome=outcome,
            hidden_dim=self.hidden_dim,
            dropout=self.dropout,
        )
        return model, self.make_guide(model)

    def make_guide(self, model: PrimoModel) -> PrimoGuide:
        """The guide that suits a model and the objective; `make_programs` pairs the two."""
        return PrimoGuide(
            model,
            hidden_dim=self.hidden_dim,
            gamma=self.gamma,
            proposes_from_prior=self._objective().propose_from_prior,
        )

    def adopt(self, model: PrimoModel, guide: nn.Module, x: RowsLike, y: ArrayLike) -> Self:
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
        check_parameters(self)
        forget(self)
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

    def _further_fixed(self) -> dict[str, object]:
        """What the guide was made with; the rest of an objective may change before a warm start."""
        return {"propose_from_prior of the objective": self._objective().propose_from_prior}

    def _build(self, x: Modalities) -> None:
        made = [self._built(x) for _ in range(self.members)]
        self._take_over([model for model, _ in made], [guide for _, guide in made])

    def _built(self, x: Modalities) -> tuple[PrimoModel, PrimoGuide]:
        encoder = encoders_for(x, self.encoders, self.hidden_dim, self.dropout)
        model, guide = self.make_programs(encoder, self.labels_.make(self._outcome_class()))
        self._check_roles(model, x)
        return model.to(self._device()), guide.to(self._device())

    # --- Training ----------------------------------------------------------------------------------------

    def fit(
        self,
        x: RowsLike,
        y: ArrayLike,
        validation: tuple[RowsLike, ArrayLike] | tuple[RowsLike, ArrayLike, ArrayLike] | None = None,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on rows ``x`` with labels ``y`` ``[N]``.

        Parameters
        ----------
        x
            `Modalities`, a mapping of blocks, or an array ``[N, F]`` (one modality named ``"x"``).
        y
            One label a row.
        validation
            Rows and labels that choose the epoch, in place of ``validation_fraction``; and, as a third, what
            each of them counts.
        groups
            A value a row, as the patient's name: rows of one group are trained on or held out together.
        sample_weight
            What each row counts ``[N]``, in all terms of the objective and in the choice of the epoch: a row
            of weight 2 counts as two alike. Only ratios matter: the mean is set to 1.

        Raises
        ------
        ModalityError, LabelError, RowError
            For whatever cannot be trained on, before training starts.

        Warns
        -----
        FewRowsWarning
            Where no validation row has one of the classes.
        """
        return self._fit(x, y, validation, groups, sample_weight)

    @property
    def warm_up(self) -> float:
        return self._objective().warm_up

    def _make_loss(self) -> nn.Module:
        return Loss(self.model_, self.guide_, objective=self._objective())

    @torch.no_grad()
    def _validation_scores(self, x: Modalities, y: np.ndarray) -> dict[str, np.ndarray]:
        self.model_.eval()
        labels = torch.as_tensor(y, device=self._device())

        def summary(x: Representations, labels: Tensor) -> Summary:
            return summarise(self.model_, x, labels, num_samples=VALIDATION_SAMPLES, kind="sobol", seed=0)

        h = self.model_.encoder(x)
        losses = -cast(np.ndarray, summary(h, labels).log_likelihood)
        scores = {}
        some = (
            np.flatnonzero(np.any([x.present[m] for m in self.optional_], axis=0)) if self.optional_ else ()
        )
        if len(some):
            for scenario, rows in ("missing", h[some].drop(*self.optional_)), ("complete", h[some]):
                s = summary(rows, labels[some])
                scores[f"val_log_loss_{scenario}"] = -cast(np.ndarray, s.log_likelihood)
                scores[f"val_impact_{scenario}"] = s.spread
            # The epoch is chosen on the rows as they are, and with all optional modalities hidden.
            losses[some] += scores["val_log_loss_missing"]
            losses *= len(y) / (len(y) + len(some))
        return {"val_log_loss": losses, **scores}

    # --- Prediction --------------------------------------------------------------------------------------

    @by_chunks
    def summarise(
        self,
        x: RowsLike,
        modality: Asked = None,
        num_samples: int | None = None,
        *,
        y: ArrayLike | None = None,
    ) -> Summary:
        """Prediction and impact in one pass through the draws.

        `predict` and `predictive_impact` take one each; this is for who needs both.

        Parameters
        ----------
        x, modality
            As in `predictive_impact`; the prediction then is the average over the latents in play.
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
        about = self._optional_names(modality)
        labels = None
        if y is not None:
            labels = torch.as_tensor(self.labels_.encode(align_labels(x, y)), device=self._place())
        return summarise(self.model_, x, labels, **self._drawn(num_samples), about=about)

    def _place(self) -> torch.device:
        """The device on which the networks are, whatever ``device`` has been set to since."""
        return next(self.model_.parameters()).device

    def _drawn(self, num_samples: int | None = None) -> dict[str, Any]:
        num_samples = self.num_samples if num_samples is None else num_samples
        check_parameter("num_samples", num_samples, NUM_SAMPLES)
        check_parameter("draws", self.draws, ranges_of(type(self))["draws"])
        return {"num_samples": int(num_samples), "kind": self.draws, "seed": self.seed_}

    # --- Single draws ------------------------------------------------------------------------------------

    def sample_latents(self, x: RowsLike, num_samples: int | None = None) -> np.ndarray:
        """Latents ``[K, N, d]`` of single draws, those of all optional modalities side by side.

        With several members, K of each, one member after another: ``[M K, N, d]``. Latents of different
        members have nothing in common.

        Raises
        ------
        ModalityError
            Where no modality is optional.
        """
        x = self._as_known_rows(x)
        self._require_optional()
        sites = [f"z_{name}" for name in self.model_.latents]
        drawn = ([part[s] for s in sites] for part in self._stream(x, sites, num_samples))
        return np.concatenate([np.concatenate(part, axis=2) for part in drawn], axis=1)

    def sample_predictions(self, x: RowsLike, num_samples: int | None = None) -> np.ndarray:
        """Predictions ``[K, N, Q]`` under single draws; their average is the prediction.

        With several members, K of each, one member after another: ``[M K, N, Q]``.
        """
        x = self._as_known_rows(x)
        like: dict[str, Any] = {"dtype": torch.float64, "device": self._place()}
        models, parts = members_of(self.model_), []
        for member, model in enumerate(models):
            one = self if len(models) == 1 else self._member(member, fitted=True)
            with torch.no_grad():
                drawn = (torch.as_tensor(p, **like) for p in one._parameters(x, num_samples))
                parts.append(torch.cat([model.outcome.predict(p) for p in drawn], dim=1).cpu().numpy())
        return np.concatenate(parts)

    def to_xarray(self, x: RowsLike, num_samples: int | None = None) -> Dataset:
        """Single draws with their names, as an ``xarray.Dataset`` of dimensions ``draw`` and ``row``.

        Rows are called as in the index of ``x``. There is one variable for each latent, ``z_<latent>``, and
        ``prediction`` with the dimension ``class`` (``label``, where there are several at once); of numbers
        instead ``location`` and ``scale``, those of the label's normal distribution in its own unit. Draw k
        of all variables is the same draw. With several members the coordinate ``member`` says whose it is.

        Raises
        ------
        PrimoError
            Where xarray is not installed; it is the extra ``xarray``.
        """
        x = self._as_known_rows(x)
        arrays, last = self._labelled_predictions(x, num_samples)
        sites = [f"z_{name}" for name in self.model_.latents]
        parts = list(self._stream(x, sites, num_samples)) if sites else []
        arrays = arrays | {site: np.concatenate([part[site] for part in parts], axis=1) for site in sites}
        return labelled_draws(arrays, x.row_labels, last=last, num_members=len(members_of(self.model_)))

    def _labelled_predictions(
        self, x: Modalities, num_samples: int | None
    ) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, Sequence[object]]]]:
        """What is predicted under single draws, and what the last dimension of each array holds."""
        return {"prediction": self.sample_predictions(x, num_samples)}, {}

    def _parameters(self, x: Modalities, num_samples: int | None = None) -> Iterator[np.ndarray]:
        """Parameters ``[K, n, P]`` of the label's law under the draws of a few rows at a time."""
        site = self.model_.outcome.parameters_site
        return (part[site] for part in self._stream(x, [site], num_samples))

    def _stream(
        self, x: Modalities, sites: Sequence[str], num_samples: int | None
    ) -> Iterator[dict[str, np.ndarray]]:
        """Sites ``[K, n, ...]`` of the draws of a few rows at a time, those of members one after another."""
        drawn, own, models = self._drawn(num_samples), self.model_.outcome, members_of(self.model_)
        streams = [
            stream_draws(model, x, sites, **drawn | {"seed": seed_of_member(drawn["seed"], member)})
            for member, model in enumerate(models)
        ]
        for parts in zip(*streams, strict=True):
            for part, model in zip(parts, models, strict=True):
                if own.parameters_site in part and model.outcome is not own:
                    values = part[own.parameters_site]
                    part[own.parameters_site] = own.carried_over(values, model.outcome)
            yield {site: np.concatenate([part[site] for part in parts]) for site in sites}

    # --- Saving ------------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the fitted estimator to a folder, without pickle; see `primo_pyro.persistence`."""
        require_fitted(self)
        save_estimator(self, folder)

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        encoders: Mapping[str, nn.Module] | None = None,
        *,
        programs: tuple[PrimoModel, nn.Module] | None = None,
        device: str | None = None,
        **given: Any,
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
