"""Several fits behind one face: each holds out another part of the training rows, and they are averaged.

What members disagree about is what the model does not know; V is what the absent modality would tell. The
first is the distance of members' averages from their common average, the second an average over members, each
draw being compared with its own member's prediction: latents of different members have nothing in common.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from torch import nn

from primo_pyro.analysis.calibration import FEW_ROWS, ImpactCalibrator, calibrator_of
from primo_pyro.diagnosis import Fitted, diagnose, warn_of_failures
from primo_pyro.errors import ModalityError, UnseenPatternWarning
from primo_pyro.estimator import NetworkEstimator
from primo_pyro.held_out import Rows, folds
from primo_pyro.members import Members, members_of, seed_of_member
from primo_pyro.modalities import Modalities
from primo_pyro.out_of_fold import ALL, PART, out_of_fold_changes
from primo_pyro.parameters import AnyOf, OneOf, Range, Whole
from primo_pyro.program.model import PrimoModel
from primo_pyro.questions import ImpactQuestions

__all__ = ["VALIDATION_SAMPLES", "EnsembleEstimator"]

VALIDATION_SAMPLES = 64  # Sobol draws; enough to compare epochs
ROWS_CHECKED = 1000  # held-out rows that a check uses of all members; more cost time and change little


@dataclass(eq=False, repr=False, kw_only=True)
class EnsembleEstimator(ImpactQuestions, NetworkEstimator):
    """Base of estimators that can have several members.

    Parameters
    ----------
    members
        Independent fits, over which predictions are averaged. Each holds out another part of the training
        rows to choose its epoch, so that ``validation_fraction`` matters only where it is 0: all are then
        trained on all rows, as with a ``validation`` by hand, and differ by their seeds. ``fit`` takes so
        many times longer, and K draws are made of each.
    n_jobs
        Processes that train members, as of joblib; None: one.
    **others
        See `primo_pyro.estimator.NetworkEstimator`.

    Attributes
    ----------
    model_, guide_ : the Pyro programs; of several members `primo_pyro.members.Members`, and a list
    diagnosis_ : DataFrame, a row per check for a known failure, on the rows that each member held out
    fold_of_ : array ``[N]`` of the member that held out each training row, -1 where none did; with several
    out_of_fold_ : DataFrame of V and realised change on training rows, by the member that held each out, see
        `primo_pyro.out_of_fold`; with several. ``expected_change`` is learnt from it.
    """

    members: int = 1
    n_jobs: int | None = None

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "members": Whole(1, 1000),
        "n_jobs": AnyOf(OneOf(None), Whole(-(2**10))),
    }

    def _take_over(self, models: Sequence[Any], guides: Sequence[Any]) -> None:
        several = len(models) > 1
        self.model_ = cast(PrimoModel, Members(models)) if several else models[0]
        self.guide_ = nn.ModuleList(guides) if several else guides[0]

    def _split(self, rows: Rows, groups: np.ndarray | None) -> list[tuple[Rows, Rows]]:
        if self.members == 1 or not self.validation_fraction:
            return super()._split(rows, groups)
        classes = self.labels_.classes_of(rows.y)
        held = folds(rows.x, classes, self.members, self.seed_, groups)
        self.fold_of_ = np.full(len(rows), -1)
        for member, part in enumerate(held):
            self.fold_of_[part] = member
        return [(rows[np.flatnonzero(self.fold_of_ != m)], rows[part]) for m, part in enumerate(held)]

    def _train_each(self, parts: Sequence[tuple[Rows, Rows]], *, warm: bool) -> None:
        has_folds = len(parts) > 1
        stale = ["impact_calibrators_", "certificates_", "label_scores_", "out_of_fold_"]
        for name in stale if has_folds else [*stale, "fold_of_"]:  # they belong to the parameters of before
            self.__dict__.pop(name, None)
        parts = parts if has_folds else [*parts] * self.members
        if self.members == 1:
            self._train(*parts[0], warm=warm)
        else:
            self._train_members(parts, warm)
        fits = [
            Fitted(model, rows.x, rows.y, held_out.x, held_out.y)
            for model, (rows, held_out) in zip(members_of(self.model_), parts, strict=True)
        ]
        most = None if self.members == 1 else -(-ROWS_CHECKED // self.members)
        self.diagnosis_ = diagnose(fits, num_samples=VALIDATION_SAMPLES, seed=self.seed_, most=most)
        warn_of_failures(self.diagnosis_)
        if has_folds and self.optional_:
            self._learn_out_of_fold([held_out.x for _, held_out in parts])

    def _train_members(self, parts: Sequence[tuple[Rows, Rows]], warm: bool) -> None:
        trained = Parallel(n_jobs=self.n_jobs)(
            delayed(_trained)(self._member(member, fitted=warm), *part, warm)
            for member, part in enumerate(parts)
        )
        models, guides, histories = zip(*trained, strict=True)
        self._take_over(models, guides)
        self.history_ = pd.concat(
            [frame.assign(member=member) for member, frame in enumerate(histories)], ignore_index=True
        )

    def _member(self, member: int, fitted: bool) -> Self:
        one = copy.copy(self)
        one.members, one.seed_ = 1, seed_of_member(self.seed_, member)
        one.checkpoint = self.checkpoint and f"{os.fspath(self.checkpoint)}.{member}"
        if fitted:
            one.model_ = cast(PrimoModel, members_of(self.model_)[member])
            one.guide_ = cast(Any, self.guide_)[member]
        return one

    def _learn_out_of_fold(self, held_out: Sequence[Modalities]) -> None:
        """V and change on the rows that each member held out, and what V has meant on them."""
        members = [self._member(member, fitted=True) for member in range(len(held_out))]
        frames = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnseenPatternWarning)  # nobody has asked yet
            questions: list[tuple[tuple[str, ...], str, bool]] = [((m,), m, False) for m in self.optional_]
            if len(self.optional_) > 1:
                questions += [(self.optional_, ALL, False), (self.optional_, PART, True)]
            for about, name, part in questions:
                asked = about if len(about) == 1 else None
                frame = out_of_fold_changes(
                    held_out,
                    about,
                    [partial(member._reveal, modality=asked, part=part) for member in members],
                    self.model_.outcome,
                    self.seed_,
                )
                frames.append(frame.assign(modality=name))
        self.out_of_fold_ = pd.concat(frames, ignore_index=True)
        rows = self.out_of_fold_.groupby("modality").size().reindex(self.optional_, fill_value=0)
        if rows.min() >= FEW_ROWS:
            self.impact_calibrators_ = self._out_of_fold_calibrators(None)

    def _out_of_fold_calibrators(self, names: tuple[str, ...] | None) -> dict[str | None, ImpactCalibrator]:
        frame: pd.DataFrame | None = getattr(self, "out_of_fold_", None)
        if frame is None or (names is not None and len(names) > 1):
            raise ModalityError(
                f"No rows were given, and of {' and '.join(names or self.optional_)} none were held out by "
                "members one after another; expected some. Pass rows that were not trained on, or fit with "
                "members=5."
            )
        kept = dict(getattr(self, "impact_calibrators_", {})) if names is not None else {}
        for key in names or (*self.optional_, *([ALL] if len(self.optional_) > 1 else [])):
            lines = [frame[frame["modality"] == name] for name in ((ALL, PART) if key == ALL else (key,))]
            kept[None if key == ALL else key] = calibrator_of(lines, key)
        if names is None and len(self.optional_) == 1:
            kept[None] = kept[self.optional_[0]]
        return kept


def _trained(
    member: EnsembleEstimator, rows: Rows, held_out: Rows, warm: bool
) -> tuple[nn.Module, nn.Module, pd.DataFrame]:
    member._train(rows, held_out, warm=warm)
    return cast(nn.Module, member.model_), member.guide_, member.history_
