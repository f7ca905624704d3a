"""Statements about new rows that hold whatever the model is worth, learnt from rows with known outcome.

All of it rests on one condition: the new rows are exchangeable with the calibration rows. A poor model makes
the statements useless (wide bounds, nobody skipped), never wrong. Where modalities are absent for a reason,
the versions with weights hold as well as the weights are right; see `primo_pyro.analysis.absence`.

A row's *score* orders the rows (V, say); a row is skipped where its score is at most a threshold. *Harm* is
whatever must not happen to a skipped row too often: its label flips, say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc
from scipy.stats import binom

from primo_pyro.errors import DrawsError

__all__ = [
    "GRID",
    "SMALL_SCALE",
    "benjamini_hochberg",
    "change_bounds",
    "check_share",
    "conformal_quantiles",
    "coverage_rows",
    "effective_rows",
    "learn_then_test",
    "risk_control",
    "rows_needed",
    "skip_p_values",
]

SMALL_SCALE = 0.01  # added to scales, so that a row with V = 0 has one
# Thresholds that are tested one after another, as shares of the largest score. They are fixed beforehand, as
# the test demands, and fine where scores are small.
GRID = np.concatenate([[0.0], np.geomspace(1e-4, 1, 121)])


def conformal_quantiles(
    scores: ArrayLike, coverage: float, weights: ArrayLike | None = None, new_weights: ArrayLike = 1.0
) -> np.ndarray:
    """The number that a new row's score exceeds with probability 1 - ``coverage`` at most.

    The smallest t for which the calibration rows with scores up to t weigh at least ``coverage`` of all rows,
    the new one with them. Without weights it is the ceil((n + 1) coverage)-th smallest score (Vovk et al.
    2005); with them that of Tibshirani et al. (2019). It is infinite where there are too few rows.

    Parameters
    ----------
    scores
        Of n calibration rows ``[n]``.
    coverage
        Between 0 and 1.
    weights, new_weights
        Likelihood ratios of new against calibration rows, ``[n]`` and ``[N]``; None: all 1.

    Returns
    -------
    array
        One number for each of ``new_weights``.

    Examples
    --------
    >>> float(conformal_quantiles(np.arange(1, 20), 0.9)), float(conformal_quantiles([1.0, 2.0], 0.9))
    (18.0, inf)
    """
    scores, weights = np.asarray(scores, float), _weights(weights, np.shape(scores))
    check_share("coverage", coverage)
    order = np.argsort(scores, kind="stable")
    total = np.cumsum(weights[order])
    new_weights = np.asarray(new_weights, float)
    target = coverage * ((total[-1] if len(total) else 0.0) + new_weights)
    at = np.searchsorted(total, target * (1 - 1e-12), side="left")  # 0.9 x 100 may come out above 90
    return np.append(scores[order], np.inf)[at]


def change_bounds(
    realised: ArrayLike,
    scale: ArrayLike,
    new_scale: ArrayLike,
    coverage: float = 0.9,
    *,
    groups: ArrayLike | None = None,
    new_groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    new_weights: ArrayLike | None = None,
    largest: float = 1.0,
) -> np.ndarray:
    """Upper bounds of the realised change of new rows, each right with probability ``coverage``.

    Normalised split conformal prediction: with s_i = r_i / sigma_i and t their conformal quantile,
    U(x) = min(largest, t sigma(x)).

    Parameters
    ----------
    realised, scale
        Realised change r ``[n]`` of the calibration rows, and a guess sigma of its size, above 0.
    new_scale
        sigma ``[N]`` of the new rows, by the same rule.
    coverage
        Probability that a new row's change is at most U.
    groups, new_groups
        A group for each row: each group is then calibrated by itself (Mondrian), and the probability holds
        within each. A new row of a group without calibration rows gets ``largest``.
    weights, new_weights
        As for `conformal_quantiles`.
    largest
        No change is larger.

    Returns
    -------
    array
        U ``[N]``.

    Raises
    ------
    DrawsError
        Where groups are given for one kind of rows only, or a share is none.

    Examples
    --------
    >>> change_bounds(np.arange(1, 20) / 100, np.full(19, 0.1), [0.1, 0.2, 0.0], 0.9)
    array([0.18, 0.36, 0.  ])
    """
    ratio, new_scale = np.asarray(realised, float) / np.asarray(scale, float), np.asarray(new_scale, float)
    weights = _weights(weights, ratio.shape)
    new_weights = np.ones(len(new_scale)) if new_weights is None else np.asarray(new_weights, float)
    if (groups is None) != (new_groups is None):
        raise DrawsError(
            f"Groups were given for {'new' if groups is None else 'calibration'} rows only; expected them "
            "for both or for none. Give the same grouping to certify and to the question."
        )
    if groups is None or new_groups is None:
        groups, new_groups = np.zeros(len(ratio), int), np.zeros(len(new_scale), int)
    groups, new_groups = np.asarray(groups), np.asarray(new_groups)
    bounds = np.full(len(new_scale), float(largest))
    for group in np.unique(new_groups):
        rows, new = groups == group, new_groups == group
        t = conformal_quantiles(ratio[rows], coverage, weights[rows], new_weights[new])
        # Where nothing can be promised t is infinite, and infinity times a scale of 0 is not a number.
        product = np.full(len(t), np.inf)
        np.multiply(t, new_scale[new], out=product, where=np.isfinite(t))
        bounds[new] = np.minimum(largest, product)
    return bounds


def risk_control(
    score: ArrayLike,
    harm: ArrayLike,
    rate: float = 0.05,
    weights: ArrayLike | None = None,
    new_weights: ArrayLike = 1.0,
) -> np.ndarray:
    """The threshold up to which rows may be skipped, harmful skips being at most ``rate`` of *all* rows.

    Conformal risk control (Angelopoulos et al. 2024): the largest lambda with

        (sum_i 1{score_i <= lambda} harm_i + 1) / (n + 1)  <=  rate

    The share is one in expectation, over calibration and new rows alike.

    Parameters
    ----------
    score, harm
        Of the calibration rows ``[n]``; harm between 0 and 1.
    rate
        Between 0 and 1.
    weights, new_weights
        As for `conformal_quantiles`.

    Returns
    -------
    array
        lambda for each of ``new_weights``: minus infinity where nobody may be skipped, infinity where
        everybody may.

    Examples
    --------
    >>> harm = np.arange(39) % 10 == 9
    >>> float(risk_control(np.arange(39.0), harm, 0.05).round()), float(risk_control([1.0], [False], 0.05))
    (19.0, -inf)
    """
    score, harm = np.asarray(score, float), np.asarray(harm, float)
    check_share("rate", rate)
    weights, new_weights = _weights(weights, score.shape), np.asarray(new_weights, float)
    distinct, where = np.unique(score, return_inverse=True)
    harmed = np.cumsum(np.bincount(where, weights * harm, minlength=len(distinct)))
    allowed = rate * (weights.sum() + new_weights) - new_weights
    slack = 1e-12 * (weights.sum() + new_weights)  # 0.05 x 20 may come out below 1
    first_above = np.searchsorted(harmed, allowed + slack, side="right")
    thresholds = np.append(np.nextafter(distinct, -np.inf), np.inf)[first_above]
    return np.where(allowed < -slack, -np.inf, thresholds)


def learn_then_test(
    score: ArrayLike,
    harm: ArrayLike,
    rate: float = 0.05,
    confidence: float = 0.9,
    *,
    largest: float = 1.0,
    weights: ArrayLike | None = None,
) -> float:
    """The threshold up to which rows may be skipped, at most ``rate`` of the *skipped* being harmed.

    Learn then test (Angelopoulos et al. 2021), by fixed-sequence testing: thresholds of a fixed grid are
    tested from the smallest on; lambda passes where so few harmed rows among the n_lambda with a score up to
    it would have a chance of at most 1 - ``confidence``, were ``rate`` of them harmed,

        P(Binomial(n_lambda, rate) <= k_lambda)  <=  1 - confidence

    and the first that fails ends the test. Thresholds with so few rows that not even no harm at all would
    pass say nothing and are passed over.

    Parameters
    ----------
    score, harm
        Of the calibration rows ``[n]``; harm is true or false.
    rate
        Between 0 and 1.
    confidence
        Probability, over calibration rows, that the threshold keeps the promise.
    largest
        Largest score, by which the grid is scaled; it must not depend on the rows.
    weights
        As for `conformal_quantiles`. The test then is approximate: n_lambda is the effective number of rows,
        and k_lambda the weighted share of harm among them.

    Returns
    -------
    float
        lambda; minus infinity where nobody may be skipped.

    Examples
    --------
    >>> score = np.linspace(0, 1, 200)
    >>> round(learn_then_test(score, score > 0.8, rate=0.1), 2)
    0.86
    >>> learn_then_test(score[:10], score[:10] > 0.8, rate=0.1)  # too few rows to promise anything
    -inf
    """
    score, harm = np.asarray(score, float), np.asarray(harm, bool)
    check_share("rate", rate)
    check_share("confidence", confidence)
    weights = _weights(weights, score.shape)
    passed = -np.inf
    for threshold in GRID * largest:
        skipped = score <= threshold
        w = weights[skipped]
        rows = effective_rows(w)
        if rows < np.log1p(-confidence) / np.log1p(-rate):
            continue
        harmed = rows * (w * harm[skipped]).sum() / w.sum()
        # P(Binomial(n, rate) <= k), also for numbers of rows that weights make fractions.
        chance = betainc(rows - harmed, harmed + 1, 1 - rate) if harmed < rows else 1.0
        if chance > 1 - confidence:
            break
        passed = float(threshold)
    return passed


def skip_p_values(
    score: ArrayLike,
    harm: ArrayLike,
    new_score: ArrayLike,
    weights: ArrayLike | None = None,
    new_weights: ArrayLike | None = None,
) -> np.ndarray:
    """Conformal p-values of "skipping this row does harm", for a batch of new rows (Jin and Candes 2023).

        p_j = (1 + #{i: score_i <= score_j, harm_i}) / (n + 1)

    Ties count against skipping.

    >>> skip_p_values([0.1, 0.2, 0.3], [False, False, True], [0.1, 0.3])
    array([0.25, 0.5 ])
    """
    score, harm, new_score = np.asarray(score, float), np.asarray(harm, float), np.asarray(new_score, float)
    weights = _weights(weights, score.shape)
    new_weights = np.ones(len(new_score)) if new_weights is None else np.asarray(new_weights, float)
    order = np.argsort(score, kind="stable")
    harmed = np.append(0.0, np.cumsum((weights * harm)[order]))
    up_to = harmed[np.searchsorted(score[order], new_score, side="right")]
    return (new_weights + up_to) / (new_weights + weights.sum())


def benjamini_hochberg(p: ArrayLike, rate: float = 0.1) -> np.ndarray:
    """Which of a batch of p-values are discoveries, with an expected share of false ones of at most ``rate``.

    The k smallest, where k is the largest number with p_(k) <= rate k / N (Benjamini and Hochberg 1995).

    >>> benjamini_hochberg([0.01, 0.5, 0.03], 0.05)
    array([ True, False,  True])
    """
    p = np.asarray(p, float)
    check_share("rate", rate)
    ordered = np.sort(p)
    passes = np.flatnonzero(ordered <= rate * np.arange(1, len(p) + 1) / max(len(p), 1) * (1 + 1e-12))
    return p <= ordered[passes[-1]] if passes.size else np.zeros(len(p), bool)


def rows_needed(rate: float, confidence: float | None = None, harmful: float = 0.0) -> int:
    """The smallest number of calibration rows with which a promise about skipping can be made.

    Parameters
    ----------
    rate
        Share of harm that is promised.
    confidence
        That of `learn_then_test`, for which the rows *to be skipped* count; None: `risk_control` or
        `skip_p_values`, for which all do.
    harmful
        Share of harm that is expected among the rows that count; 0 is the best case.

    Returns
    -------
    int
        0 where no number of rows would do, because harm is not below the rate.

    Examples
    --------
    >>> rows_needed(0.05), rows_needed(0.05, 0.9), rows_needed(0.05, 0.9, harmful=0.02)
    (19, 45, 132)
    """
    check_share("rate", rate)
    if harmful >= rate:
        return 0
    if confidence is None:
        return int(np.ceil((1 - rate) / (rate - harmful) - 1e-9))
    check_share("confidence", confidence)
    rows = np.arange(1, 2**20)
    passes = binom.cdf(np.ceil(harmful * rows), rows, rate) <= 1 - confidence
    return int(rows[passes.argmax()]) if passes.any() else 0


def coverage_rows(coverage: float) -> int:
    """The smallest number of calibration rows with which `change_bounds` can say anything.

    >>> coverage_rows(0.9), coverage_rows(0.95)
    (9, 19)
    """
    check_share("coverage", coverage)
    return int(np.ceil(coverage / (1 - coverage) - 1e-9))


def effective_rows(weights: ArrayLike) -> float:
    """(sum w)^2 / sum w^2: as many rows of equal weight are as informative (Kish 1965).

    >>> effective_rows([1.0, 1.0, 1.0]), effective_rows([1.0, 0.0, 0.0]), effective_rows([])
    (3.0, 1.0, 0.0)
    """
    weights = np.asarray(weights, float)
    return float(weights.sum() ** 2 / np.square(weights).sum()) if weights.any() else 0.0


def check_share(name: str, value: float) -> None:
    """`DrawsError` where a coverage, rate or confidence is not between 0 and 1."""
    if not 0 < value < 1:
        raise DrawsError(f"{name} is {value}; expected a share above 0 and below 1. Give one, as 0.9.")


def _weights(weights: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape) if weights is None else np.asarray(weights, float)
