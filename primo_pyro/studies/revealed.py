"""Test rows with optional modalities hidden and then revealed, and whether impact predicted the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.analysis.acquisition import SHARE, acquisition_curves, acquisition_summary, recovered_error
from primo_pyro.analysis.calibration import impact_calibration
from primo_pyro.analysis.clusters import share_agreement
from primo_pyro.classifier import PrimoClassifier
from primo_pyro.modalities import Modalities
from primo_pyro.program.outcomes import entropy
from primo_pyro.studies.tasks import Task

__all__ = ["RevealedRows", "hide_and_reveal", "impact_checks", "print_checks", "sample_rows"]

ROWS = 2000  # of a test part; more rows do not change a picture visibly
GROUPED = 200  # rows whose draws are grouped twice, to see how much plausible labels depend on the seed
MODALITY_NAMES = {"series": "first day's series", "vitals": "vital signs", "labs": "laboratory values"}


@dataclass(frozen=True)
class RevealedRows:
    """N complete test rows and PRIMO's results for them, optional modalities hidden and then revealed.

    Attributes
    ----------
    task, classifier
        The task and PRIMO fitted on it.
    places
        Positions of the rows in the test part ``[N]``.
    x, y
        The complete rows and their labels ``[N]``.
    missing, complete
        Predictions ``[N, C]`` with the optional modalities hidden and revealed.
    impact
        As from `PrimoClassifier.predictive_impact`, with the optional modalities hidden.
    gap
        As from `PrimoClassifier.impact_gap`: impact in both scenarios, and the realised change.
    class_weight
        ``[C]`` or None, as for `PrimoClassifier.plausible_labels`.
    """

    task: Task
    classifier: PrimoClassifier
    places: np.ndarray
    x: Modalities
    y: np.ndarray
    missing: np.ndarray
    complete: np.ndarray
    impact: pd.DataFrame
    gap: pd.DataFrame
    class_weight: np.ndarray | None

    @property
    def hidden(self) -> Modalities:
        """The rows with their optional modalities hidden."""
        return self.x.drop(*self.task.optional)

    @property
    def optional(self) -> str:
        """The optional modalities in words, as in "the vital signs and laboratory values"."""
        return "the " + " and ".join(MODALITY_NAMES.get(name, name) for name in self.task.optional)

    def label_shares(
        self, rows: Sequence[int] | np.ndarray | slice = slice(None), **settings: Any
    ) -> pd.DataFrame:
        """Shares of plausible labels ``[n, C]`` of some of the rows, their optional modalities hidden."""
        return self.classifier.plausible_label_shares(
            self.hidden[rows], class_weight=self.class_weight, **settings
        )

    def reveal_orders(self) -> dict[str, ArrayLike]:
        """Scores ``[N]`` by which rows may be chosen to be revealed first, by name."""
        return {
            "V": self.impact["impact"],
            "calibrated": self.impact["expected_change"],
            "information gain": self.impact["information_gain"],
            "entropy": entropy(self.missing),
        }

    def acquisition_curves(self) -> pd.DataFrame:
        """`primo_pyro.analysis.acquisition.acquisition_curves` of all `reveal_orders`."""
        return acquisition_curves(
            self.y, self.missing, self.complete, self.reveal_orders(), classes=self.classifier.classes_
        )


def hide_and_reveal(classifier: PrimoClassifier, task: Task, rare: bool = False) -> RevealedRows:
    """Hide the optional modalities of test rows of seed 0, predict their impact, and reveal them.

    Where the task has a validation part, impact is calibrated on it first.

    Parameters
    ----------
    classifier
        PRIMO, fitted on the task's training rows of seed 0.
    task
        At most 2,000 of its complete test rows are used, and as many validation rows.
    rare
        Whether labels are so rare that they are hardly ever the most probable ones. Plausible labels are then
        those that a group of draws makes more probable than they are on average (``class_weight`` of
        `primo_pyro.analysis.clusters.plausible_labels`).

    Returns
    -------
    RevealedRows
    """
    _, validation, (x, y) = task.rows(0)
    if validation is not None:
        classifier.calibrate_impact(validation[0][sample_rows(validation[0].complete)])
    y = np.asarray(y)
    places = sample_rows(x.complete & np.isin(y, classifier.classes_))  # training rows may lack a rare class
    x, y = x[places], y[places]
    hidden = x.drop(*task.optional)
    missing, complete = classifier.predict_proba(hidden), classifier.predict_proba(x)
    return RevealedRows(
        task=task,
        classifier=classifier,
        places=places,
        x=x,
        y=y,
        missing=missing,
        complete=complete,
        impact=classifier.predictive_impact(hidden),
        gap=classifier.impact_gap(x),
        class_weight=1 / missing.mean(0) if rare else None,
    )


def sample_rows(usable: np.ndarray, count: int = ROWS) -> np.ndarray:
    """Positions of rows drawn at random, since the rows of a file may be in an order.

    Parameters
    ----------
    usable
        Whether a row may be drawn ``[N]``.
    count
        Number of rows, or fewer where fewer are usable.

    Returns
    -------
    ndarray
        Positions in ascending order.

    Examples
    --------
    >>> sample_rows(np.array([True, False, True]))
    array([0, 2])
    """
    places = np.flatnonzero(usable)
    return np.sort(np.random.default_rng(0).permutation(places)[:count])


def impact_checks(parts: Sequence[RevealedRows], curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Numbers that tell whether impact is right, and useful.

    Parameters
    ----------
    parts
        Hidden and revealed rows of some tasks.
    curves
        Their acquisition curves.

    Returns
    -------
    DataFrame
        ``dataset, score, metric, value``. For ``V`` and ``calibrated`` the numbers of
        `primo_pyro.analysis.calibration.impact_calibration`. For each order of revealing rows: ``recovered``,
        the part of the whole gain in log loss that is reached with 30 % of the rows, with its standard error
        ``recovered_error``, and ``area``, its mean over all shares of rows; random orders have 0.3 and 0.5.
        ``gain`` is the whole gain in nats; its parts mean nothing where it is not clearly above 0.
        ``agreement`` compares the shares of plausible labels of two seeds, over the first 200 rows.
    """
    lines = []
    for rows, of_rows in zip(parts, curves, strict=True):
        found = [
            (score, metric, value)
            for score, column in (("V", "impact"), ("calibrated", "expected_change"))
            for metric, value in impact_calibration(rows.impact[column], rows.gap["realised_change"]).items()
        ]
        gains = acquisition_summary(of_rows).query("metric == 'log_loss'")
        found += [(g.score, metric, getattr(g, metric)) for g in gains.itertuples() for metric in GAINS]
        errors = recovered_error(
            rows.y, rows.missing, rows.complete, rows.reveal_orders(), classes=rows.classifier.classes_
        )
        found += [(score, "recovered_error", error) for score, error in errors.items()]
        ends = of_rows.query("metric == 'log_loss' and score == 'oracle'")["value"]
        found.append(("all revealed", "gain", ends.iloc[0] - ends.iloc[-1]))
        first, second = (rows.label_shares(slice(GROUPED), random_state=seed) for seed in (0, 1))
        found.append(("plausible labels", "agreement", share_agreement(first, second)))
        lines += [(rows.task.name, *line) for line in found]
    return pd.DataFrame(lines, columns=["dataset", "score", "metric", "value"])


GAINS = ("recovered", "area")
CHECK_COLUMNS = {
    "slope": "change / expected",
    "calibration_error": "bins off by",
    "rank_correlation": "rank corr.",
    "lift": "lift of top 10 %",
    "recovered": f"gain at {SHARE:.0%}",
    "recovered_error": "±",
    "area": "area",
    "gain": "gain, nats",
    "agreement": "two seeds agree",
}


def print_checks(checks: pd.DataFrame) -> None:
    """Print the numbers of `impact_checks`, a line for each task and score."""
    table = checks.pivot_table(index=["dataset", "score"], columns="metric", values="value", sort=False)
    table = table.reindex(columns=list(CHECK_COLUMNS)).rename(columns=CHECK_COLUMNS).rename_axis(columns=None)
    text = table.to_string(float_format="{:.3f}".format, na_rep="", line_width=200)
    print(f"\nIs impact right and useful? Test rows, optional modalities hidden and then revealed\n{text}\n")
