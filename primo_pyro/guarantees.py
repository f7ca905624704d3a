"""Decisions with a guarantee: what a row may change by at most, and who can do without a test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from primo_pyro.analysis.certificates import Certificate, Harm
from primo_pyro.analysis.guarantees import conformal_quantiles, coverage_rows
from primo_pyro.analysis.impact import by_row
from primo_pyro.certification import Certification
from primo_pyro.door import groups_of
from primo_pyro.errors import CertificateError, FewRowsWarning, warn
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.patterns import rows_by_set
from primo_pyro.prediction import Measure
from primo_pyro.questions import Asked
from primo_pyro.revealing import spread_over

__all__ = ["Guarantees"]

COVERAGE = 0.9


class Guarantees(Certification):
    """Decisions that rest on a certification; a part of `PrimoEstimator`."""

    def change_at_most(
        self,
        x: RowsLike,
        coverage: float = COVERAGE,
        modality: Asked = None,
        *,
        groups: ArrayLike | None = None,
    ) -> pd.DataFrame:
        """An upper bound of what revealing a modality would change, right for a share of all rows.

        Parameters
        ----------
        x
            Rows with any pattern of absence.
        coverage
            Probability, over certification rows and a new row, that the change is at most the bound. With
            ``groups`` it holds within each group.
        modality
            A certified modality or set; None: each one that was certified.
        groups
            A group for each row, where `certify` had groups.

        Returns
        -------
        DataFrame
            A line per row and modality: ``row``, ``modality``, ``impact`` (V), ``expected_change`` after
            `calibrate_impact`, ``change_at_most``, and ``approximate``, whether it rests on weights. Bounds
            are 0 where the modality is present, and NaN where a part of a set is.

        Raises
        ------
        CertificateError
            Where the modality was not certified.

        Warns
        -----
        FewRowsWarning
            Where so few rows certify that the bound is the largest change there is.
        """
        x = self._as_known_rows(x)
        groups = groups_of(x, groups)
        parts = {}
        for key, certificate in self._certified(modality).items():
            about, lacking = self._lacking(x, key)
            frame = self._asked_frame(x, key, about, lacking)
            if len(certificate) < coverage_rows(coverage):
                self._warn_few(key, len(certificate), coverage_rows(coverage))
            found = self._measured(x, about)
            bound = certificate.change_at_most(
                found["levels"],
                coverage,
                groups=None if groups is None else groups[lacking],
                new_weights=self._weights(certificate, x, about, lacking),
            )
            frame["change_at_most"] = np.where(lacking, spread_over(bound, lacking), frame["impact"])
            parts[key] = frame.assign(approximate=certificate.approximate)
        return by_row(parts, x.row_labels)

    def safe_to_skip(
        self,
        x: RowsLike,
        harm: Harm = "flip",
        rate: float = 0.05,
        confidence: float | None = None,
        false_discovery: float | None = None,
        modality: Asked = None,
        *,
        by: str = "impact",
    ) -> pd.DataFrame:
        """Which rows can do without a modality, with a promise about how often that is wrong.

        Parameters
        ----------
        x
            Rows with any pattern of absence.
        harm
            What must not happen too often: ``"flip"``, the label would have changed; ``"wrong"``, it would
            have become right; a number: the prediction would have changed by more; or a function, see
            `primo_pyro.analysis.certificates.Certificate.harm`.
        rate, confidence
            Without a confidence: at most this share of *all* rows is skipped and harmed, on average
            (conformal risk control). With one, as 0.9: at most this share of the *skipped* is harmed, with
            this probability over the certification rows (learn then test).
        false_discovery
            In their place: of the skipped rows of this batch at most this share is harmed, on average.
        modality
            A certified modality or set; None: each one that was certified.
        by
            Which score orders the rows: ``"impact"`` (V), ``"flip_probability"``, ``"information_gain"`` or
            the ``"entropy"`` of the prediction.

        Returns
        -------
        DataFrame
            A line per row and modality: ``row``, ``modality``, ``impact``, ``score``, ``threshold`` (rows are
            skipped up to it; minus infinity: nobody), ``skip``, ``promise`` in words, ``rows_needed`` (with
            which it could be made; 0 where it is made, or where no number would do since even the lowest
            scores go with harm), and ``approximate``. What is not absent is not skipped.

        Raises
        ------
        CertificateError
            Where the modality was not certified, or the harm cannot be told.

        Warns
        -----
        FewRowsWarning
            Where nothing can be promised, so that nobody is skipped.
        """
        x = self._as_known_rows(x)
        parts = {}
        for key, certificate in self._certified(modality).items():
            about, lacking = self._lacking(x, key)
            frame = self._asked_frame(x, key, about, lacking)
            score = self._entropy(x)[lacking] if by == "entropy" else self._measured(x, about).get(by)
            skips = certificate.skips(
                np.zeros(int(lacking.sum())) if score is None else score,
                harm,
                rate,
                confidence,
                false_discovery,
                by,
                self._weights(certificate, x, about, lacking),
            )
            if lacking.any() and not skips.skip.any() and skips.needed:
                self._warn_few(key, len(certificate), skips.needed)
            frame["score"], frame["threshold"] = (
                spread_over(score, lacking),
                spread_over(skips.threshold, lacking),
            )
            frame["skip"] = spread_over(skips.skip, lacking, 0.0).astype(bool)
            parts[key] = frame.assign(
                promise=skips.promise, rows_needed=skips.needed, approximate=certificate.approximate
            )
        return by_row(parts, x.row_labels)

    def label_sets(self, x: RowsLike, coverage: float = COVERAGE, modality: Asked = None) -> pd.DataFrame:
        """Sets of labels that hold the true one with a given probability, for each pattern of absence.

        Certified by rows that have what a row has, cut down to it (Zaffran et al. 2023), so that the
        probability holds for rows of each pattern where absence is at random. It needs labels in `certify`.

        Parameters
        ----------
        x
            Rows with any pattern of absence.
        coverage
            Probability, over certification rows and a new row, that its label is in the set.
        modality
            A certified modality or set, for the size with it revealed; None: each one that was certified.

        Returns
        -------
        DataFrame
            A line per row and modality: ``row``, ``modality``, ``labels`` (a tuple, the most probable first;
            all of them for a pattern that was not certified; none where no label is typical), its ``size``,
            ``size_revealed``, the expected size once the modality is revealed (that of now where it is
            present, NaN where the pattern with it was not certified), and ``certified``.

        Raises
        ------
        CertificateError
            Where `certify` had no labels, or labels are not one of C classes.
        """
        x = self._as_known_rows(x)
        certified = self._certified(modality)
        if not hasattr(self, "label_scores_"):
            raise CertificateError(
                f"{len(certified)} modalities were certified, without labels that are one of C classes; "
                "expected such labels. Call certify(x, y) with labels."
            )
        p, cut = self._average(x), self._cuts(x, coverage)
        size = (1 - p <= np.where(np.isnan(cut), np.inf, cut)[:, None]).sum(1)
        order = np.argsort(-p, axis=1, kind="stable")
        names = self.labels_.decode(np.arange(p.shape[1]))
        labels = [tuple(row[:of_row]) for row, of_row in zip(names[order], size, strict=True)]
        parts = {}
        for key in certified:
            about, lacking = self._lacking(x, key)
            then = self._cuts(x, coverage, about)[lacking]
            name = f"labels {coverage}"
            found = self._measured(x, about, {name: _set_sizes(then)})
            revealed = np.where(lacking, spread_over(found[name], lacking), size.astype(float))
            parts[key] = pd.DataFrame(
                {
                    "labels": pd.Series(labels, dtype=object),
                    "size": size,
                    "size_revealed": revealed,
                    "certified": ~np.isnan(cut),
                }
            )
        return by_row(parts, x.row_labels)

    def _usual_measures(self, x: Modalities, about: tuple[str, ...]) -> dict[str, Measure]:
        measures = super()._usual_measures(x, about)
        if hasattr(self, "label_scores_"):
            measures[f"labels {COVERAGE}"] = _set_sizes(self._cuts(x, COVERAGE, about))
        return measures

    # --- What answers share ------------------------------------------------------------------------------

    def _lacking(self, x: Modalities, key: str) -> tuple[tuple[str, ...], np.ndarray]:
        about = tuple(key.split(" + "))
        return about, np.logical_and.reduce([~x.present[m] for m in about])

    def _asked_frame(
        self, x: Modalities, key: str, about: tuple[str, ...], lacking: np.ndarray
    ) -> pd.DataFrame:
        """V, and after calibration the expected change; NaN where a part of a set is present."""
        impact = spread_over(self._measured(x, about)["impact"], lacking)
        impact[np.logical_and.reduce([x.present[m] for m in about])] = 0.0
        frame = pd.DataFrame({"impact": impact})
        calibrator = getattr(self, "impact_calibrators_", {}).get(key)
        if calibrator is not None:
            known = np.isfinite(impact)
            frame["expected_change"] = np.where(
                lacking, calibrator.predict(np.where(known, impact, 0.0)), impact
            )
        return frame

    def _weights(
        self, certificate: Certificate, x: Modalities, about: tuple[str, ...], lacking: np.ndarray
    ) -> np.ndarray | None:
        if certificate.absence is None:
            return None
        return certificate.absence.weights(self._always_known(x, about)[lacking])

    def _entropy(self, x: Modalities) -> np.ndarray:
        return self.model_.outcome.entropy(self._average(x))

    def _cuts(self, x: Modalities, coverage: float, about: tuple[str, ...] = ()) -> np.ndarray:
        """Up to which 1 - p(y) a label is in the set of each row, with ``about`` revealed too.

        NaN for patterns that no certification row had.
        """
        cut = np.full(len(x), np.nan)
        for own, rows in rows_by_set(x.present):
            scores = self.label_scores_.get(tuple(m for m in x.names if m in (*own, *about)))
            if scores is not None:
                cut[rows] = float(conformal_quantiles(scores, coverage))
        return cut

    def _warn_few(self, key: str, rows: int, needed: int) -> None:
        warn(
            f"Nothing can be promised about {key!r} with {rows} certification rows; expected at least "
            f"{needed}. Certify on more rows, or promise less.",
            FewRowsWarning,
        )


def _set_sizes(cut: np.ndarray) -> Measure:
    """The mean number of labels over draws, with the threshold of each row; NaN where it has none."""

    def sizes(p: Tensor, centre: Tensor, rows: slice) -> Tensor:
        of_rows = torch.as_tensor(cut[rows], device=p.device)
        inside = (1 - p <= of_rows[:, None].to(p.dtype)).sum(-1).mean(0, dtype=of_rows.dtype)
        return torch.where(of_rows.isnan(), of_rows, inside)

    return sizes
