"""What a certification keeps of its rows, and the guarantees that follow for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.analysis.absence import AbsenceCheck, AbsenceModel
from primo_pyro.analysis.guarantees import (
    SMALL_SCALE,
    benjamini_hochberg,
    change_bounds,
    conformal_quantiles,
    learn_then_test,
    risk_control,
    rows_needed,
    skip_p_values,
)
from primo_pyro.errors import CertificateError

__all__ = [
    "LEVELS",
    "SCORES",
    "Certificate",
    "Harm",
    "Reached",
    "Skips",
    "promises_kept",
    "promises_reached",
    "skip_curve",
]

# Levels at which quantiles of the distances of a row's draws are kept; between them lines are straight.
LEVELS = np.append(np.arange(10, 20) / 20, 0.99)
SCORES = ("impact", "flip_probability", "information_gain", "entropy")
Harm = str | float | Callable[[pd.DataFrame], ArrayLike]


@dataclass(frozen=True)
class Skips:
    """Which of N rows may be skipped, and by which rule.

    Attributes
    ----------
    skip
        Booleans ``[N]``.
    threshold
        Up to which score ``[N]``; minus infinity where nobody may be skipped. NaN for a batch, whose rule
        depends on all of its rows.
    promise
        The rule in words.
    needed
        The number of certification rows with which the promise could be made; 0 where it is made, or where no
        number would do, since harm is too frequent even among the rows with the lowest scores.
    """

    skip: np.ndarray
    threshold: np.ndarray
    promise: str
    needed: int


@dataclass
class Certificate:
    """n rows that were not trained on: a modality (or set) hidden, revealed, and compared.

    Attributes
    ----------
    scores
        By name (`SCORES`) what was said of each row before ``[n]``.
    largest
        The largest value of each score.
    levels
        Quantiles at `LEVELS` of the distances between a row's draws and their average ``[n, L]``.
    realised
        Realised change ``[n]``, at most ``largest_change``.
    before, after
        Predictions ``[n, Q]`` without and with the modality.
    flip
        Whether the most probable label changed ``[n]``; None where labels cannot be counted.
    labels, right_before, right_after
        Labels ``[n]`` as codes, and whether the decision was right without and with the modality; None
        without labels.
    groups
        A group for each row, for bounds that hold within each; or None.
    weights, absence
        Likelihood ratios of rows that lack the modality, and how they follow from what is always known; None
        where absence does not matter.
    check
        How rows with and without the modality compare.
    """

    scores: dict[str, np.ndarray]
    largest: dict[str, float]
    levels: np.ndarray
    realised: np.ndarray
    before: np.ndarray
    after: np.ndarray
    largest_change: float = 1.0
    flip: np.ndarray | None = None
    labels: np.ndarray | None = None
    right_before: np.ndarray | None = None
    right_after: np.ndarray | None = None
    groups: np.ndarray | None = None
    weights: np.ndarray | None = None
    absence: AbsenceModel | None = None
    check: AbsenceCheck | None = None

    def __len__(self) -> int:
        return len(self.realised)

    @property
    def approximate(self) -> bool:
        """Whether guarantees rest on weights."""
        return self.weights is not None

    def rows(self, at: np.ndarray) -> Certificate:
        """That of some of the rows."""
        arrays = {name: v[at] for name, v in vars(self).items() if isinstance(v, np.ndarray)}
        return replace(self, scores={name: v[at] for name, v in self.scores.items()}, **arrays)

    @staticmethod
    def joined(parts: Sequence[Certificate]) -> Certificate:
        """That of the rows of several ones without weights, in order; what one of them lacks is None."""
        first = parts[0]
        together: dict[str, Any] = {}
        for name in (f.name for f in fields(first)):
            of_parts = [getattr(part, name) for part in parts]
            if any(isinstance(values, np.ndarray) for values in of_parts):
                whole = all(values is not None for values in of_parts)
                together[name] = np.concatenate(of_parts) if whole else None
        scores = {name: np.concatenate([part.scores[name] for part in parts]) for name in first.scores}
        return replace(first, scores=scores, check=None, **together)

    def frame(self) -> pd.DataFrame:
        """A line per row: what a function that says what harm is may look at.

        The scores, ``realised_change``, predictions ``before_0, ...`` and ``after_0, ...``, and, where they
        are known, ``flip``, ``label`` (a code), ``right_before`` and ``right_after``.
        """
        columns = dict(self.scores) | {"realised_change": self.realised}
        for when, p in (("before", self.before), ("after", self.after)):
            columns |= {f"{when}_{c}": p[:, c] for c in range(p.shape[1])}
        known = {
            "flip": self.flip,
            "label": self.labels if self.labels is None or self.labels.ndim == 1 else None,
            "right_before": self.right_before,
            "right_after": self.right_after,
        }
        return pd.DataFrame(columns | {name: v for name, v in known.items() if v is not None})

    def harm(self, harm: Harm) -> np.ndarray:
        """Whether skipping did harm ``[n]``.

        Parameters
        ----------
        harm
            ``"flip"``: the label would have changed. ``"wrong"``: right with the modality, wrong without. A
            number: the realised change is larger. A function of `frame`: booleans ``[n]``.

        Raises
        ------
        CertificateError
            For another word, where what it needs is not known, or where a function does not answer booleans.
        """
        if callable(harm):
            found = np.asarray(harm(self.frame()))
            if found.shape != (len(self),) or found.dtype != bool:
                raise CertificateError(
                    f"harm returned {found.dtype.name} of shape {list(found.shape)}; expected booleans "
                    f"[{len(self)}], one a row. Compare a column with a number, for example."
                )
            return found
        if isinstance(harm, str):
            if harm == "flip" and self.flip is not None:
                return self.flip
            if harm == "wrong" and self.right_before is not None and self.right_after is not None:
                return self.right_after & ~self.right_before
            cure = {
                "flip": "Labels like these cannot be counted. Give a change, as harm=0.1.",
                "wrong": "Pass labels to certify.",
            }
            raise CertificateError(
                f"harm is {harm!r}, which cannot be told of the {len(self)} certification rows; expected "
                "'flip', 'wrong', a change, or a function. " + cure.get(harm, "Choose one of them.")
            )
        return self.realised > float(harm)

    def scale(self, levels: np.ndarray, coverage: float) -> np.ndarray:
        """How large the change of a row may be, by its own draws: their quantile at ``coverage`` ``[N]``."""
        at = np.interp(coverage, LEVELS, np.arange(len(LEVELS)))
        low, high = int(np.floor(at)), int(np.ceil(at))
        return levels[:, low] + (at - low) * (levels[:, high] - levels[:, low]) + SMALL_SCALE

    def change_at_most(
        self,
        levels: np.ndarray,
        coverage: float,
        groups: ArrayLike | None = None,
        new_weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """`primo_pyro.analysis.guarantees.change_bounds` ``[N]`` of rows by the ``levels`` of their draws."""
        return change_bounds(
            self.realised,
            self.scale(self.levels, coverage),
            self.scale(levels, coverage),
            coverage,
            groups=None if groups is None else self.groups,
            new_groups=groups,
            weights=self.weights,
            new_weights=new_weights,
            largest=self.largest_change,
        )

    def skips(
        self,
        score: np.ndarray,
        harm: Harm = "flip",
        rate: float = 0.05,
        confidence: float | None = None,
        false_discovery: float | None = None,
        by: str = "impact",
        new_weights: np.ndarray | None = None,
    ) -> Skips:
        """Which rows may be skipped, by their scores ``[N]``; see `PrimoEstimator.safe_to_skip`."""
        if by not in self.scores:
            raise CertificateError(
                f"by is {by!r}; expected one of {', '.join(map(repr, self.scores))}. Choose one of them."
            )
        if confidence is not None and false_discovery is not None:
            raise CertificateError(
                f"confidence is {confidence} and false_discovery {false_discovery}; expected one of them at "
                "most. Choose: the former is about all rows that a rule skips, the latter about this batch."
            )
        harmed, known = self.harm(harm), self.scores[by]
        name = harm if isinstance(harm, str) else "harm" if callable(harm) else f"change above {harm}"
        if false_discovery is not None:
            p = skip_p_values(known, harmed, score, self.weights, new_weights)
            skip = benjamini_hochberg(p, false_discovery)
            needed = 0 if skip.any() else self._needed(false_discovery, None)
            words = f"of the skipped of this batch at most {false_discovery:.0%} with {name}, on average"
            return Skips(skip, np.full(len(score), np.nan), words, needed)
        if confidence is None:
            weights = np.ones(len(score)) if new_weights is None else new_weights
            thresholds = risk_control(known, harmed, rate, self.weights, weights)
            words = f"skipped with {name}: at most {rate:.0%} of all rows, on average"
        else:
            largest = self.largest[by]
            one = learn_then_test(known, harmed, rate, confidence, largest=largest, weights=self.weights)
            thresholds = np.full(len(score), one)
            words = f"of the skipped at most {rate:.0%} with {name} ({confidence:.0%} confidence)"
        impossible = bool(np.isneginf(thresholds).all())
        needed = self._needed(rate, confidence, harmed, known) if impossible else 0
        words = f"nothing can be promised, so nobody is skipped ({words})" if impossible else words
        return Skips(score <= thresholds, thresholds, words, needed)

    def _needed(
        self,
        rate: float,
        confidence: float | None,
        harmed: np.ndarray | None = None,
        score: np.ndarray | None = None,
    ) -> int:
        """Rows with which the promise could be made, harm going on as it was among those least at risk.

        Thresholds are tested from the smallest on, so that all hangs on the first that has rows enough.
        """
        if confidence is None or harmed is None or score is None:
            return max(rows_needed(rate), len(self) + 1) if len(self) < rows_needed(rate) else 0
        order = np.argsort(score, kind="stable")
        count = np.arange(1, len(order) + 1)
        enough = min(len(order), rows_needed(rate, confidence))
        first = np.argmax(np.append(np.diff(score[order]) > 0, True) & (count >= enough))
        among = rows_needed(rate, confidence, float(harmed[order][: first + 1].mean()))
        return max(int(np.ceil(among * len(order) / count[first])), len(self) + 1) if among else 0


@dataclass(frozen=True)
class Reached:
    """What a guarantee reached on some rows.

    ``size`` says how much it is worth: the mean bound, the share of rows skipped, or the mean number of
    labels; ``at_least`` whether the promise is from below, as of coverage, or from above, as of harm.
    """

    guarantee: str
    promised: float
    reached: float
    size: float
    at_least: bool


def promises_reached(
    calibration: Certificate,
    rows: Certificate,
    *,
    harm: Harm = "flip",
    coverage: float = 0.9,
    rate: float = 0.05,
    confidence: float = 0.9,
    false_discovery: float = 0.1,
    by: str = "impact",
    new_weights: np.ndarray | None = None,
) -> list[Reached]:
    """What each guarantee that some rows certify reaches on others whose outcome is known.

    Parameters
    ----------
    calibration, rows
        Those that certify, and the others.
    harm, coverage, rate, confidence, false_discovery, by
        What is promised, as in `Certificate.skips`.
    new_weights
        Of ``rows``, where ``calibration`` has weights.
    """
    bound = calibration.change_at_most(rows.levels, coverage, new_weights=new_weights)
    share = float((rows.realised <= bound).mean())
    found = [Reached("change at most", coverage, share, float(bound.mean()), True)]
    harmed, score = rows.harm(harm), rows.scores[by]
    for name, promised, sure, q in (
        ("harmful skips among all", rate, None, None),
        ("harm among the skipped", rate, confidence, None),
        ("false discoveries", false_discovery, None, false_discovery),
    ):
        skip = calibration.skips(score, harm, rate, sure, q, by, new_weights).skip
        of = len(skip) if name == "harmful skips among all" else max(int(skip.sum()), 1)
        found.append(Reached(name, promised, float((skip & harmed).sum() / of), float(skip.mean()), False))
    labels = calibration.labels
    if labels is None or rows.labels is None or labels.ndim > 1 or calibration.flip is None:
        return found
    of_new = 1.0 if new_weights is None else new_weights
    for when in ("before", "after"):
        own = 1 - getattr(calibration, when)[np.arange(len(labels)), labels]
        t = conformal_quantiles(own, coverage, calibration.weights, of_new)
        sets = 1 - getattr(rows, when) <= np.broadcast_to(t, len(rows))[:, None]
        share = float(sets[np.arange(len(rows)), rows.labels].mean())
        found.append(Reached(f"label sets, {when}", coverage, share, float(sets.sum(1).mean()), True))
    return found


def promises_kept(
    certificate: Certificate,
    *,
    share: float = 0.5,
    splits: int = 20,
    random_state: int = 0,
    **promised: Any,
) -> pd.DataFrame:
    """Whether each promise is kept on rows whose outcome is known: certified on some, checked on the others.

    Parameters
    ----------
    certificate
        Of all rows; weights are not used.
    share
        Share of the rows that certify.
    splits
        Random splits, over which everything is averaged.
    random_state
        Seed of the splits.
    **promised
        What is promised, as in `promises_reached`.

    Returns
    -------
    DataFrame
        A line per guarantee: what was ``promised``, what was ``reached`` on average, its standard
        ``error`` (from the differences between splits and the number of rows in all), the share of splits in
        which the promise was ``kept``, ``size`` and ``at_least``, as of `Reached`. For harm "among the
        skipped", ``kept`` is to be at least the confidence.
    """
    random = np.random.default_rng(random_state)
    lines: list[Reached] = []
    for _ in range(splits):
        order = random.permutation(len(certificate))
        cut = round(share * len(order))
        calibration, rows = certificate.rows(order[:cut]), certificate.rows(order[cut:])
        lines += promises_reached(calibration, rows, **promised)
    frame = pd.DataFrame(lines)
    above = frame["reached"] >= frame["promised"]
    frame["kept"] = np.where(frame["at_least"], above, frame["reached"] <= frame["promised"])
    table = frame.groupby("guarantee", sort=False).mean()
    spread = frame.groupby("guarantee", sort=False)["reached"].std(ddof=1) if splits > 1 else np.nan
    # Splits share their rows: they tell apart what the split decides, and no more than the rows themselves.
    of_rows = np.sqrt(table["promised"] * (1 - table["promised"]) / len(certificate))
    table["error"] = np.sqrt(np.square(spread) / splits + np.square(of_rows))
    table["at_least"] = table["at_least"] > 0
    return table.reset_index()[["guarantee", "promised", "reached", "error", "kept", "size", "at_least"]]


def skip_curve(score: ArrayLike, harm: ArrayLike) -> pd.DataFrame:
    """Harm against the share of rows that are skipped, those with the lowest scores first.

    Parameters
    ----------
    score, harm
        Of N rows whose outcome is known.

    Returns
    -------
    DataFrame
        A line per distinct score: the ``skipped`` share, ``harm_among_all`` and ``harm_among_skipped``.

    Examples
    --------
    >>> skip_curve([0.1, 0.2, 0.2, 0.4], [False, False, True, True]).round(2)
       skipped  harm_among_all  harm_among_skipped
    0     0.25            0.00                0.00
    1     0.75            0.25                0.33
    2     1.00            0.50                0.50
    """
    score, harm = np.asarray(score, float), np.asarray(harm, float)
    order = np.argsort(score, kind="stable")
    last = np.append(np.diff(score[order]) > 0, True)
    rows, harmed = np.arange(1, len(score) + 1)[last], np.cumsum(harm[order])[last]
    columns = {"skipped": rows / len(score), "harm_among_all": harmed / len(score)}
    return pd.DataFrame(columns | {"harm_among_skipped": harmed / rows})
