"""What is measured of a fitted PRIMO where several modalities may be absent.

Each function gives lines of one table, ``(table, pattern, modality, metric, value)``; the study in
`primo_pyro.studies.several` collects them over seeds. A pattern is named by the optional modalities that are
present, all others being hidden.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from primo_pyro.analysis.calibration import impact_calibration
from primo_pyro.analysis.scores import codes_of, log_losses, scores
from primo_pyro.baselines import FrequencyClassifier, MultimodalClassifier
from primo_pyro.modalities import Modalities
from primo_pyro.program.outcomes import total_variation
from primo_pyro.questions import EACH
from primo_pyro.studies.revealed import sample_rows
from primo_pyro.studies.tasks import Rows

__all__ = [
    "ALL",
    "NONE",
    "RANDOM",
    "Answers",
    "Line",
    "Pattern",
    "agreement_lines",
    "exact_lines",
    "impact_lines",
    "network_lines",
    "pattern_lines",
    "patterns_of",
]

NONE, RANDOM = "none", "random"  # patterns from which modalities are revealed
ALL = "all together"
LEAST_ROWS = 200  # test rows of a pattern whose log loss is worth a line
LEAST_TRAINED = 50  # training rows of a pattern for which a network is trained
COMPARED = 1000  # rows of which predictions under several questions are compared

Pattern = tuple[str, ...]  # optional modalities that are present; all others are absent
Line = tuple[str, str, str, str, float]  # table, pattern, modality, metric, value


@dataclass
class Answers:
    """What a fitted PRIMO says of test rows under several patterns, each question being asked only once.

    Attributes
    ----------
    classifier
        Fitted; of it `summarise` and `predictive_impact` are used.
    x
        Test rows ``[N]``.
    optional
        The modalities that may be absent.
    """

    classifier: BaseEstimator
    x: Modalities
    optional: Pattern
    _predictions: dict[Pattern | None, np.ndarray] = field(default_factory=dict, repr=False)
    _impacts: dict[tuple[Pattern, Pattern], pd.DataFrame] = field(default_factory=dict, repr=False)

    def rows(self, pattern: Pattern) -> np.ndarray:
        """Positions of the test rows that have all of a pattern."""
        return np.flatnonzero(_has_all(self.x, pattern))

    def cut(self, pattern: Pattern) -> Modalities:
        """These rows, with every other optional modality hidden."""
        return self.x[self.rows(pattern)].drop(*_others(self.optional, pattern))

    def predictions(self, pattern: Pattern | None) -> np.ndarray:
        """Probabilities ``[n, C]`` of the rows of `cut`; None: all test rows as they are."""
        if pattern not in self._predictions:
            rows = self.x if pattern is None else self.cut(pattern)
            self._predictions[pattern] = self.classifier.summarise(rows).probabilities
        return self._predictions[pattern]

    def impact(self, pattern: Pattern, asked: Pattern) -> pd.DataFrame:
        """`predictive_impact` of a set, in the rows of `cut`."""
        if (pattern, asked) not in self._impacts:
            self._impacts[pattern, asked] = self.classifier.predictive_impact(self.cut(pattern), asked)
        return self._impacts[pattern, asked]

    def timed_impacts(self) -> dict[str, float]:
        """Ask about all together and about each, where nothing optional is present; seconds by metric."""
        start = time.perf_counter()
        self.impact((), self.optional)
        together = time.perf_counter()
        each = self.classifier.predictive_impact(self.cut(()), EACH)
        end = time.perf_counter()
        for name, frame in each.groupby("modality", sort=False):
            frame = frame.sort_values("row").drop(columns=["row", "modality"])
            self._impacts[(), (name,)] = frame.reset_index(drop=True)
        return {"together": together - start, "each": end - together}


def _has_all(x: Modalities, names: Iterable[str]) -> np.ndarray:
    return np.logical_and.reduce([np.ones(len(x), bool), *(x.present[name] for name in names)])


def _others(optional: Pattern, pattern: Iterable[str]) -> Pattern:
    return tuple(name for name in optional if name not in pattern)


def _subsets(names: Pattern) -> Iterable[Pattern]:
    """All of them, from the empty one to all names."""
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))


def _named(pattern: Pattern) -> str:
    return " + ".join(pattern) or NONE


def patterns_of(x: Modalities, optional: Pattern, least: int = LEAST_ROWS) -> list[Pattern]:
    """Patterns of optional modalities that enough rows have, the smallest first.

    Parameters
    ----------
    x
        Rows ``[N]``. A row has a pattern where all of it is present; the rest of the row is then hidden.
    optional
        The modalities that may be absent.
    least
        Number of rows that a pattern needs; or all rows, where there are fewer.

    Returns
    -------
    list of tuples of str
        The empty one, nothing optional present, among them.

    Examples
    --------
    >>> x = Modalities({"o": np.ones(3), "a": [1.0, 1.0, np.nan], "b": [np.nan, 1.0, np.nan]})
    >>> patterns_of(x, ("a", "b"), least=2)
    [(), ('a',)]
    """
    least = min(least, len(x))
    return [pattern for pattern in _subsets(optional) if _has_all(x, pattern).sum() >= least]


def pattern_lines(answers: Answers, y: np.ndarray, patterns: Iterable[Pattern]) -> list[Line]:
    """PRIMO's log loss and Brier score for each pattern, of the labels ``y`` ``[N]`` of the test rows."""
    lines = []
    for pattern in patterns:
        rows = answers.rows(pattern)
        measured = scores(y[rows], answers.predictions(pattern), classes=answers.classifier.classes_)
        values = {"rows": len(rows), "log_loss": measured["log_loss"], "brier": measured["brier"]}
        lines += [("patterns", _named(pattern), "", metric, value) for metric, value in values.items()]
    return lines


def network_lines(
    train: Rows,
    validation: Rows,
    test: Rows,
    optional: Pattern,
    patterns: Iterable[Pattern],
    **settings: Any,
) -> list[Line]:
    """Log loss and Brier score of networks, each trained for one pattern alone.

    Parameters
    ----------
    train, validation, test
        Each ``(x, y)``, with modalities dropped as for PRIMO: the network of a pattern is trained on those
        rows that have all of it, cut down to it. Thus it knows no more of a modality than PRIMO does.
    optional
        The modalities that may be absent; all others are part of each pattern.
    patterns
        For which to train. Left out are those that fewer than 50 training rows have, or whose rows lack a
        class.
    **settings
        Of `MultimodalClassifier`. Where a pattern holds nothing at all, class frequencies are used.

    Returns
    -------
    list of tuples
    """
    lines = []
    for pattern in patterns:
        names = [m for m in train[0].names if m not in _others(optional, pattern)]
        of_pattern = [_cut_to(part, names) for part in (train, validation, test)]
        (x, y), held_out, (x_test, y_test) = of_pattern
        if len(y) < LEAST_TRAINED or set(y) != set(train[1]) or len(held_out[1]) == 0:
            continue
        if names:
            network = MultimodalClassifier(rows="complete", **settings)
        else:  # whatever the rows hold is not looked at
            network = FrequencyClassifier(random_state=settings.get("random_state"))
        p = network.fit(x, y, validation=held_out).predict_proba(x_test)
        measured = scores(y_test, p, classes=network.classes_)
        lines += [
            ("patterns", _named(pattern), "", f"network_{metric}", measured[metric])
            for metric in ("log_loss", "brier")
        ]
    return lines


def _cut_to(part: Rows, names: list[str]) -> Rows:
    """Rows that have all these modalities, cut down to them; without names all rows, not cut."""
    x, y = part
    rows = np.flatnonzero(_has_all(x, names))
    return (x.select(*names) if names else x)[rows], np.asarray(y)[rows]


def impact_lines(answers: Answers, seed: int = 0) -> list[Line]:
    """Expected and realised change of each optional modality, and of all that a row has together.

    Parameters
    ----------
    answers
        About test rows.
    seed
        Decides about the random patterns: beside what is really absent, each optional modality is hidden with
        probability 1/2.

    Returns
    -------
    list of tuples
        Patterns ``none``: a modality is revealed in rows in which all others are hidden. ``random``: in
        random patterns. Metrics: ``rows``; ``mean_impact`` (V) and ``realised_change``, means over the rows
        that have the modality; ``slope``, their ratio, and ``rank_correlation``; and, where impact has been
        calibrated, ``expected_change``, ``expected_slope`` and ``expected_rank_correlation``.
    """
    x, optional, lines = answers.x, answers.optional, []
    has = np.stack([x.present[m] for m in optional], axis=1)
    for name in optional:
        rows = answers.rows((name,))
        before, after = answers.predictions(())[rows], answers.predictions((name,))
        lines += _measured(NONE, name, answers.impact((), (name,)).iloc[rows], before, after)
    some = has.any(1)
    before, after = answers.predictions(())[some], answers.predictions(None)[some]
    together = _impact_of_sets(answers, x[some].drop(*optional), has[some])
    lines += _measured(NONE, ALL, together, before, after)

    kept = has & (np.random.default_rng(seed).random(has.shape) < 0.5)
    start = _keep(x, optional, kept)
    at_start = answers.classifier.summarise(start).probabilities
    for i, name in enumerate(optional):
        # The start is one side of the change, and the row with this modality turned over is the other.
        rows = answers.rows((name,))
        turned = kept[rows].copy()
        turned[:, i] = ~turned[:, i]
        other = answers.classifier.summarise(_keep(x[rows], optional, turned)).probabilities
        was_kept = kept[rows, i, None]
        before, after = np.where(was_kept, other, at_start[rows]), np.where(was_kept, at_start[rows], other)
        impact = answers.classifier.predictive_impact(start[rows].drop(name), (name,))
        lines += _measured(RANDOM, name, impact, before, after)
    hidden = has & ~kept
    some = hidden.any(1)
    together = _impact_of_sets(answers, start[some], hidden[some])
    lines += _measured(RANDOM, ALL, together, at_start[some], answers.predictions(None)[some])
    return lines


def _keep(x: Modalities, optional: Pattern, kept: np.ndarray) -> Modalities:
    """Rows of which these optional modalities ``[N, M]`` alone are present."""
    for name, is_kept in zip(optional, kept.T, strict=True):
        x = x.drop(name, where=~is_kept)
    return x


def _impact_of_sets(answers: Answers, missing: Modalities, hidden: np.ndarray) -> pd.DataFrame:
    """Impact of what was hidden in each row, booleans ``[N, M]``: rows of the same set are asked together."""
    parts = []
    for which in np.unique(hidden, axis=0):
        rows = np.flatnonzero((hidden == which).all(1))
        asked = tuple(np.array(answers.optional)[which].tolist())
        impact = answers.classifier.predictive_impact(missing[rows], asked)
        parts.append(impact.set_axis(rows))
    return pd.concat(parts).sort_index()


def _measured(
    pattern: str, modality: str, impact: pd.DataFrame, before: np.ndarray, after: np.ndarray
) -> list[Line]:
    if len(impact) == 0:
        return []
    change = total_variation(before, after)
    values = {
        "rows": len(impact),
        "mean_impact": impact["impact"].mean(),
        "realised_change": change.mean(),
    }
    for column, prefix in ("impact", ""), ("expected_change", "expected_"):
        if column in impact:
            measured = impact_calibration(impact[column], change)
            values |= {f"{prefix}{metric}": measured[metric] for metric in ("slope", "rank_correlation")}
    if "expected_change" in impact:
        values["expected_change"] = impact["expected_change"].mean()
    return [("impact", pattern, modality, metric, float(value)) for metric, value in values.items()]


def exact_lines(
    answers: Answers, impact_of: Callable[[Modalities, Iterable[str]], np.ndarray] | None
) -> list[Line]:
    """V beside the exact impact, for each pattern and each set that it lacks; nothing where it is unknown."""
    lines: list[Line] = []
    if impact_of is None:
        return lines
    for pattern in _subsets(answers.optional):
        x = answers.cut(pattern)
        for asked in _subsets(_others(answers.optional, pattern)):
            if asked:
                v, exact = answers.impact(pattern, asked)["impact"], impact_of(x, asked)
                values = {
                    "mean_impact": v.mean(),
                    "exact_impact": exact.mean(),
                    "impact_error": np.abs(v - exact).mean(),
                }
                lines += [("exact", _named(pattern), _named(asked), *line) for line in values.items()]
    return lines


def agreement_lines(answers: Answers, y: np.ndarray, seed: int = 0) -> list[Line]:
    """What should be small: the spread of draws in complete rows, and what a question does to a prediction.

    Parameters
    ----------
    answers, y
        About test rows, and their labels ``[N]``.
    seed
        Decides about the random patterns, as in `impact_lines`.

    Returns
    -------
    list of tuples
        Pattern ``complete``: ``spread`` (V_complete), V of the same rows with all hidden (``mean_impact``),
        and their ratio ``spread_ratio``. Patterns ``none`` and ``random``, over at most 1,000 rows that lack
        the modality: mean total variation distances between averaged predictions with all that is absent
        asked about, with one modality, and with none (``all_to_one, one_to_none, all_to_none``), and log
        losses of these predictions (``log_loss_all, log_loss_one, log_loss_none``). Those of ``all together``
        are about all these rows.
    """
    classifier, optional, lines = answers.classifier, answers.optional, []
    complete = answers.rows(optional)
    if len(complete):
        spread = classifier.summarise(answers.x[complete]).spread.mean()
        v = answers.impact((), optional)["impact"].iloc[complete].mean()
        values = {"spread": spread, "mean_impact": v, "spread_ratio": spread / v if v > 0 else np.nan}
        lines += [("agreement", "complete", ALL, *line) for line in values.items()]

    chosen = sample_rows(np.ones(len(answers.x), bool), COMPARED)
    x, y = answers.x[chosen], np.asarray(y)[chosen]
    kept = np.random.default_rng(seed).random((len(x), len(optional))) < 0.5

    def log_loss(p: np.ndarray, labels: np.ndarray) -> float:
        return float(log_losses(*codes_of(labels, p, classifier.classes_)).mean())

    for pattern, start in (NONE, x.drop(*optional)), (RANDOM, _keep(x, optional, kept)):
        asked_all = classifier.summarise(start).probabilities
        asked_none = classifier.summarise(start, ()).probabilities
        found = [
            (ALL, "all_to_none", total_variation(asked_all, asked_none).mean()),
            (ALL, "log_loss_all", log_loss(asked_all, y)),
            (ALL, "log_loss_none", log_loss(asked_none, y)),
        ]
        for name in optional:
            lacks = np.flatnonzero(~start.present[name])
            if len(lacks):
                asked_one = classifier.summarise(start[lacks], (name,)).probabilities
                found += [
                    (name, "all_to_one", total_variation(asked_all[lacks], asked_one).mean()),
                    (name, "one_to_none", total_variation(asked_one, asked_none[lacks]).mean()),
                    (name, "log_loss_one", log_loss(asked_one, y[lacks])),
                ]
        lines += [("agreement", pattern, name, metric, float(value)) for name, metric, value in found]
    return lines
