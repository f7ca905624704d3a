"""Certification: rows that were not trained on are hidden, revealed and compared; guarantees follow."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from primo_pyro.analysis.absence import compare_rows
from primo_pyro.analysis.calibration import FEW_ROWS
from primo_pyro.analysis.certificates import Certificate
from primo_pyro.door import align_labels, groups_of, split_labels
from primo_pyro.errors import (
    AbsenceWarning,
    CertificateError,
    FewRowsWarning,
    ModalityError,
    warn,
)
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.patterns import rows_by_set
from primo_pyro.program.encoders import encode
from primo_pyro.program.outcomes import Outcome
from primo_pyro.questions import Asked
from primo_pyro.revealing import RevealQuestions

__all__ = ["Certification"]

LABEL_ROWS = 300  # certification rows for one pattern of absence; more hardly move a quantile
RAW = 64  # numbers of a modality in a row up to which rows are compared by them, and not by representations


class Certification(RevealQuestions):
    """What can be promised about new rows is learnt here; a part of `PrimoEstimator`."""

    certificates_: dict[str, Certificate]
    label_scores_: dict[tuple[str, ...], np.ndarray]

    def certify(
        self,
        x: RowsLike,
        y: ArrayLike | None = None,
        modality: Asked = None,
        *,
        groups: ArrayLike | None = None,
        weighted: bool = False,
    ) -> Self:
        """Learn from rows that were not trained on what can be promised about new ones.

        In each row that has the modality it is hidden, its impact predicted, and it is revealed. What follows
        holds for new rows that are exchangeable with these, however good the model is. It is kept with the
        model in ``certificates_`` and ``label_scores_``; training anew forgets it.

        Parameters
        ----------
        x
            Some hundreds of rows. For each modality those that have it certify, what else is absent stays
            absent. Rows that lack it serve to compare both kinds.
        y
            Labels, for `label_sets` and for harm ``"wrong"``.
        modality
            A set of modalities to certify together, beside what has been certified; None: each optional one.
        groups
            A group for each row, for bounds that hold within each group (`change_at_most`).
        weighted
            Whether rows that have the modality are to stand for rows that lack it, by weights
            p(absent | x_o) / p(present | x_o) of what is known of all. Guarantees are then approximate.

        Raises
        ------
        ModalityError
            Where no row has a modality, nothing is optional, or there are no weights to be had.

        Warns
        -----
        FewRowsWarning
            Where fewer than 50 rows have it.
        AbsenceWarning
            Where rows with and without it differ, and there are no weights; or where the weights leave fewer
            than 50 effective rows.
        """
        check_is_fitted(self, "model_")
        self._require_optional()
        if y is not None:
            x, y = split_labels(x, y)
        x = self._as_known_rows(x)
        codes = None if y is None else self.labels_.encode(align_labels(x, y))
        groups = groups_of(x, groups)
        names = self._optional_names(modality)
        certificates = dict(getattr(self, "certificates_", {})) if names is not None else {}
        for about in [names] if names is not None else [(m,) for m in self.optional_]:
            certificates[" + ".join(about)] = self._certificate(x, codes, about, groups, weighted)
        self._kept = None  # what passes found may depend on what was certified before
        self.certificates_ = certificates
        if names is None:
            self.__dict__.pop("label_scores_", None)
        if codes is not None and self._has_classes:
            self.label_scores_ = self._scored_labels(x, codes, weighted)
        return self

    def _certificate(
        self,
        x: Modalities,
        codes: np.ndarray | None,
        about: tuple[str, ...],
        groups: ArrayLike | None,
        weighted: bool,
    ) -> Certificate:
        rows = np.logical_and.reduce([x.present[m] for m in about])
        what, outcome = " and ".join(about), self.model_.outcome
        if not rows.any():
            raise ModalityError(
                f"No row of {len(x)} has {what}; expected some hundreds that were not trained on. Pass rows "
                "that have it."
            )
        if rows.sum() < FEW_ROWS:
            warn(
                f"Few rows have {what}: {rows.sum()}; expected some hundreds. Little can be promised from so "
                "few. Pass more rows that have it.",
                FewRowsWarning,
            )
        lacking = np.logical_and.reduce([~x.present[m] for m in about])
        compared = rows | lacking
        features = self._always_known(x, about)
        check, absence = compare_rows(features[compared], lacking[compared])
        if weighted and absence is None:
            raise ModalityError(
                f"{check.absent} of {len(x)} rows lack {what}, and {features.shape[1]} numbers are known of "
                "all; expected some hundreds of rows, and a number, to learn weights from. Pass rows without "
                "it too, or leave weighted out."
            )
        weights = absence.weights(features[rows]) if weighted and absence is not None else None
        if not weighted and check.selective:
            warn(
                f"Rows without {what} differ from those with it: what is always known tells them apart with "
                f"an AUROC of {check.auroc:.2f} ± {check.auroc_error:.2f}; expected 0.5. Promises learnt on "
                "the ones may fail on the others. Certify with weighted=True.",
                AbsenceWarning,
            )
        if weighted and check.effective < FEW_ROWS:
            warn(
                f"Rows with {what} hardly stand for those without: {check.present} rows are worth "
                f"{check.effective:.0f} after weighting; expected at least {FEW_ROWS}. Certify on more rows, "
                "or ask about rows like those that have it only.",
                AbsenceWarning,
            )
        complete = x[rows]
        hidden = complete.drop(*about)
        asked = self._ask(hidden, about, self._usual_measures(hidden, about), len(hidden))
        asked_all = set(about) == set(self.optional_)
        before = asked["prediction"] if asked_all else self.summarise(hidden).prediction
        after = self.summarise(complete).prediction
        labels = None if codes is None else codes[rows]
        decided = [outcome.decide(p) for p in (before, after)]
        flip: np.ndarray | None = None
        right: list[np.ndarray | None] = [None, None]
        if decided[0] is not None and decided[1] is not None:
            flip = _differ(decided[0], decided[1])
            if labels is not None:
                right = [~_differ(labels, decided[0]), ~_differ(labels, decided[1])]
        return Certificate(
            scores={name: asked[name] for name in ("impact", "flip_probability", "information_gain")}
            | {"entropy": outcome.entropy(before)},
            largest={
                "impact": outcome.largest_impact,
                "flip_probability": 1.0,
                "information_gain": _largest_entropy(outcome),
                "entropy": _largest_entropy(outcome),
            },
            levels=asked["levels"],
            realised=outcome.distance(before, after),
            before=before,
            after=after,
            largest_change=1.0 if flip is not None else float("inf"),
            flip=flip,
            labels=labels,
            right_before=right[0],
            right_after=right[1],
            groups=None if groups is None else np.asarray(groups)[rows],
            weights=weights,
            absence=absence if weighted else None,
            check=check,
        )

    def _scored_labels(
        self, x: Modalities, codes: np.ndarray, weighted: bool
    ) -> dict[tuple[str, ...], np.ndarray]:
        """1 - p(y | x_O) for each pattern O, of rows that have O, cut down to it.

        With weights, of rows whose pattern is O: their labels are known too, and nothing has to stand for
        them.
        """
        of_patterns = dict(rows_by_set(x.present))
        patterns = set(of_patterns) | {
            tuple(m for m in pattern if m not in about.split(" + "))
            for about in self.certificates_
            for pattern in of_patterns
        }
        random, scores = np.random.default_rng(self.seed_), {}
        for pattern in sorted(patterns):
            having = np.logical_and.reduce([np.ones(len(x), bool), *(x.present[m] for m in pattern)])
            usable = of_patterns.get(pattern, np.array([], int)) if weighted else np.flatnonzero(having)
            rows = np.sort(random.permutation(usable)[:LABEL_ROWS])
            if len(rows):
                cut = x[rows].drop(*(m for m in x.names if m not in pattern))
                p = self.summarise(cut).prediction
                scores[pattern] = 1 - p[np.arange(len(rows)), codes[rows]]
        return scores

    def absence_checks(self) -> pd.DataFrame:
        """How rows with and without each certified modality compare in what is always known.

        Returns
        -------
        DataFrame
            A line per modality: ``auroc`` of telling both kinds apart (0.5: no difference), ``auroc_error``,
            numbers of rows ``present`` and ``absent``, the ``effective`` number of rows after weighting,
            ``selective`` (whether they differ by more than three standard errors), and ``weighted``.
        """
        lines = []
        for key, certificate in self._certified().items():
            check = certificate.check
            if check is not None:
                line = {"modality": key} | vars(check)
                lines.append(line | {"selective": check.selective, "weighted": certificate.approximate})
        return pd.DataFrame(lines)

    def _certified(self, modality: Asked = None) -> dict[str, Certificate]:
        check_is_fitted(self, "model_")
        certificates = getattr(self, "certificates_", {})
        names = self._optional_names(modality)
        if names is None and certificates:
            return certificates
        key = "nothing" if names is None else " + ".join(names)
        if key not in certificates:
            raise CertificateError(
                f"{key!r} is asked about, and certified are {list(certificates)}; expected one of them. Call "
                f"certify(x, y{'' if names is None else f', modality={list(names)}'}) on rows that were not "
                "trained on."
            )
        return {key: certificates[key]}

    def _always_known(self, x: Modalities, about: tuple[str, ...]) -> np.ndarray:
        """What is known of every row ``[N, F]``: observed modalities, and which other ones are present.

        A modality of many numbers, as an image, counts by its representation.
        """
        parts = [x.present[m][:, None].astype(float) for m in self.optional_ if m not in about]
        large = []
        for name in x.names:
            if name not in self.optional_ and x.present[name].all():
                values = x.values[name].reshape(len(x), -1)
                if values.shape[1] <= RAW:
                    parts.append(values.astype(float))
                else:
                    large.append(name)
        if large:
            with torch.no_grad():
                h = encode(self.model_, x)
            parts += [h.values[name].cpu().numpy().astype(float) for name in large]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(x), 0))


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether labels ``[N]``, or any of ``[N, L]``, differ."""
    return (np.asarray(a) != np.asarray(b)).reshape(len(a), -1).any(1)


def _largest_entropy(outcome: Outcome) -> float:
    """Of a prediction: that of equal chances; for numbers, whose entropy has no bound, 10 nats."""
    classes = outcome.prediction_size
    if outcome.name in ("categorical", "ordinal"):
        return float(np.log(classes))
    return classes * float(np.log(2)) if outcome.name == "multilabel" else 10.0
