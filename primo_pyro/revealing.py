"""One pass through the draws for all questions about the same rows, and what revealing is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from primo_pyro.analysis.acquisition import costs_of
from primo_pyro.analysis.certificates import LEVELS
from primo_pyro.analysis.decisions import (
    THRESHOLDS,
    as_utility,
    net_benefit_utility,
    threshold_gain,
    utility_gain,
)
from primo_pyro.analysis.impact import by_row
from primo_pyro.checkpoints import digest
from primo_pyro.errors import PrimoError
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.prediction import Measure, MeasuredSummary, summarise
from primo_pyro.questions import Asked, ImpactQuestions

__all__ = ["Found", "RevealQuestions", "spread_over"]

Found = dict[str, np.ndarray]


class RevealQuestions(ImpactQuestions):
    """What the draws say of revealing absent modalities; a part of `PrimoEstimator`.

    Questions about the same rows are answered from one pass: what it found is kept until other rows are asked
    about, or the model changes.
    """

    _kept: tuple[str, dict[tuple[str, ...], Found]] | None = None

    def value_of_revealing(
        self,
        x: RowsLike,
        utility: str | ArrayLike = "accuracy",
        threshold: float | None = None,
        costs: Mapping[str, ArrayLike] | None = None,
        modality: Asked = None,
        sets: Iterable[Iterable[str]] = (),
    ) -> pd.DataFrame:
        """What revealing each absent modality is expected to add to the worth of the decision.

        The expected value of sample information, `primo_pyro.analysis.decisions.value_of_information`: by the
        model's own draws, and right as far as the model is. V measures change; this measures benefit.

        Parameters
        ----------
        x
            Rows with any pattern of absence.
        utility
            ``"accuracy"``: share of right labels. ``"log"``: log score, so that the value is the information
            gain in nats. Or a matrix ``[A, C]``, what each action is worth under each label.
        threshold
            In place of a utility, for two classes: the risk of the second one from which you would act. The
            value then is in net benefit, that of one true positive being 1.
        costs
            For each optional modality its cost in the unit of the value, one number or one a row; a set costs
            the sum of its members.
        modality
            One modality or a set; None: each optional one.
        sets
            Sets of modalities beside them.

        Returns
        -------
        DataFrame
            A line per row and modality: ``row``, ``modality``, ``value`` (0 where it is present; of a set:
            where a member is), and, with costs, ``cost`` and ``reveal``, whether the value is above the cost.

        Raises
        ------
        PrimoError
            For an unknown utility, or one that does not suit the labels.
        CostError, ModalityError
            Where a cost is missing or a modality is not optional.

        Examples
        --------
        >>> from primo_pyro import PrimoClassifier
        >>> from primo_pyro.data import make_xor
        >>> x, y = make_xor(500, random_state=0)
        >>> clf = PrimoClassifier(hidden_dim=16, max_epochs=3, random_state=0)
        >>> clf = clf.fit(x.drop_at_random("m", random_state=0), y)
        >>> clf.value_of_revealing(x.drop("m"), threshold=0.2, costs={"m": 0.01}).columns.tolist()
        ['row', 'modality', 'value', 'cost', 'reveal']
        """
        x = self._as_known_rows(x)
        self._require_optional()
        measure = self._value_measure(utility, threshold)
        names = self._optional_names(modality)
        asked = [names] if names is not None else [(m,) for m in self.optional_]
        asked += [self._optional_names(each) for each in sets]
        parts = {}
        for about in asked:
            key = " + ".join(about)
            lacking = np.logical_and.reduce([~x.present[m] for m in about])
            found = self._measured(x, about, measure)
            frame = pd.DataFrame({"value": spread_over(found[next(iter(measure))], lacking, 0.0)})
            if costs is not None:
                frame["cost"] = np.sum([costs_of(m, costs, len(x)) for m in about], axis=0)
                frame["reveal"] = frame["value"] > frame["cost"]
            parts[key] = frame
        return by_row(parts, x.row_labels)

    def _value_measure(self, utility: str | ArrayLike, threshold: float | None) -> dict[str, Measure | None]:
        """The name of what is to be measured, and how, where no pass measures it anyway."""
        classes = self.model_.outcome.prediction_size
        if threshold is not None:
            if not self._has_classes or classes != 2:
                raise PrimoError(
                    f"threshold is {threshold}, and the predictions are {classes} numbers of the outcome "
                    f"{self.model_.outcome.name!r}; expected two classes. Give a utility instead."
                )
            near = np.flatnonzero(abs(THRESHOLDS - threshold) < 1e-9)
            matrix = net_benefit_utility(threshold)
            return {f"threshold {near[0]}": None} if near.size else {f"threshold {threshold}": _gain(matrix)}
        if isinstance(utility, str) and utility == "log":
            return {"information_gain": None}
        if not self._has_classes:
            raise PrimoError(
                f"utility is {utility!r}, and labels are of the outcome {self.model_.outcome.name!r}; "
                "expected classes. Use utility='log'."
            )
        if isinstance(utility, str):
            if utility == "accuracy":
                return {"accuracy": None}
            raise PrimoError(
                f"utility is {utility!r}; expected 'accuracy', 'log' or a matrix. Choose one of them, or "
                "give a threshold."
            )
        matrix = as_utility(utility, classes)
        return {f"utility {matrix.shape} {matrix.tobytes().hex()}": _gain(matrix)}

    @property
    def _has_classes(self) -> bool:
        """Whether a label is one of C classes."""
        return self.model_.outcome.name in ("categorical", "ordinal")

    # --- One pass for all questions ----------------------------------------------------------------------

    def _measured(
        self, x: Modalities, about: tuple[str, ...], more: Mapping[str, Measure | None] | None = None
    ) -> Found:
        """What the draws say, for those rows that lack all of ``about``, of revealing it.

        Numbers of a `Summary`; ``levels``, ``accuracy`` and ``threshold 0, ...``, and what is asked for in
        ``more``. The pass is made once for the same rows.
        """
        found = self._remembered(x).setdefault(about, {})
        new = {name: measure for name, measure in (more or {}).items() if name not in found}
        if found and not new:
            return found
        lacking = np.logical_and.reduce([~x.present[m] for m in about])
        measures = {} if found else self._usual_measures(x[lacking], about)
        measures |= {name: measure for name, measure in new.items() if measure is not None}
        found |= self._ask(x[lacking] if lacking.any() else x[:1], about, measures, int(lacking.sum()))
        return found

    def _ask(
        self, x: Modalities, about: tuple[str, ...], measures: Mapping[str, Measure], rows: int
    ) -> Found:
        summary = cast(
            MeasuredSummary, summarise(self.model_, x, **self._drawn(), about=about, measures=measures)
        )
        found = {
            "impact": summary.impact,
            "flip_probability": summary.flip,
            "information_gain": summary.information_gain,
            "prediction": summary.prediction,
            **summary.measured,
        }
        if "thresholds" in found:
            found |= {f"threshold {i}": column for i, column in enumerate(found.pop("thresholds").T)}
        return {name: values[:rows] for name, values in found.items()}

    def _usual_measures(self, x: Modalities, about: tuple[str, ...]) -> dict[str, Measure]:
        """What every pass measures: it costs little beside the networks."""
        outcome = self.model_.outcome

        def levels(p: Tensor, centre: Tensor, rows: slice) -> Tensor:
            at = np.ceil(LEVELS * (len(p) - 1)).astype(int)
            distances = outcome.distance(p, centre.to(p.dtype)).cpu().numpy()
            return torch.as_tensor(np.partition(distances, at, axis=0)[at].T)  # half the time of sorting

        measures: dict[str, Measure] = {"levels": levels}
        if self._has_classes:
            measures["accuracy"] = _accuracy_gain
            if outcome.prediction_size == 2:
                measures["thresholds"] = _threshold_gains
        return measures

    def _average(self, x: Modalities) -> np.ndarray:
        """The prediction ``[N, Q]`` of all rows, from the same pass where one modality alone is optional."""
        kept = self._remembered(x).setdefault((), {})
        if "prediction" not in kept:
            if len(self.optional_) == 1 and not x.present[self.optional_[0]].any():
                kept["prediction"] = self._measured(x, self.optional_)["prediction"]
            else:
                kept["prediction"] = self.summarise(x).prediction
        return kept["prediction"]

    def _remembered(self, x: Modalities) -> dict[tuple[str, ...], Found]:
        """What passes over the same rows found, under the same parameters and draws."""
        key = digest([self._drawn(), self.model_.state_dict(), x])
        if self._kept is None or self._kept[0] != key:
            self._kept = key, {}
        return self._kept[1]


def spread_over(values: np.ndarray | None, rows: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """Values of some rows as numbers of all rows."""
    every = np.full(len(rows), otherwise)
    if values is not None:
        every[rows] = values
    return every


def _gain(utility: np.ndarray) -> Measure:
    def gain(p: Tensor, centre: Tensor, rows: slice) -> Tensor:
        p = p.double()
        return utility_gain(p, centre, torch.as_tensor(utility, dtype=p.dtype, device=p.device))

    return gain


def _accuracy_gain(p: Tensor, centre: Tensor, rows: slice) -> Tensor:
    """`utility_gain` where naming the label is worth 1."""
    return (p.amax(-1).mean(0, dtype=centre.dtype) - centre.amax(-1).mean(0)).clip(min=0)


def _threshold_gains(p: Tensor, centre: Tensor, rows: slice) -> Tensor:
    return threshold_gain(p[..., 1], centre[..., 1].to(p.dtype), THRESHOLDS).double()
