"""Is the impact true? Scores per scenario, impact calibration, acquisition curves, bias.

All of it works on rows whose modality is known: hide it, predict, reveal it, and compare. Arrays go in and
tidy frames come out, so that any model's predictions can be judged, not only this package's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import auc, average_precision_score

from primo_pyro.errors import DrawsError
from primo_pyro.impact import standard_error, total_variation

# --- Scores of predictions -----------------------------------------------------------------------------


def scores(y, probabilities, impact=None, classes=None) -> dict[str, float]:
    """Proper scores and ranking scores of predictions, by name.

    Parameters
    ----------
    y
        Labels ``[N]``.
    probabilities
        Predictions ``[N, C]``.
    impact
        V ``[N]``, whose mean is listed too.
    classes
        The C labels in the order of the columns; None: 0 to C - 1.

    Returns
    -------
    dict
        ``accuracy``; ``log_loss`` in nats; ``brier``, the squared distance to the label summed over classes,
        0 to 2; ``auroc`` and ``auprc``, the mean over classes against the rest (with two classes: of the
        second), over those classes that have both kinds of rows, NaN where none has; ``calibration_error``,
        see `classwise_calibration_error`; ``mean_impact`` where ``impact`` is given.

    Raises
    ------
    DrawsError
        Where shapes or labels do not fit together.

    Examples
    --------
    >>> s = scores([0, 1, 1], np.array([[0.8, 0.2], [0.4, 0.6], [0.6, 0.4]]))
    >>> {name: round(value, 3) for name, value in s.items()}
    {'accuracy': 0.667, 'log_loss': 0.55, 'brier': 0.373, 'auroc': 1.0, 'auprc': 1.0,
    'calibration_error': 0.4}
    """
    y, p = _codes(y, probabilities, classes)
    target = y[:, None] == np.arange(p.shape[1])
    result = {
        "accuracy": float((p.argmax(1) == y).mean()),
        "log_loss": float(log_losses(y, p).mean()),
        "brier": float(np.square(p - target).sum(1).mean()),
        "auroc": _over_classes(_auroc, target, p),
        "auprc": _over_classes(average_precision_score, target, p),
        "calibration_error": classwise_calibration_error(y, p),
    }
    return result if impact is None else result | {"mean_impact": float(np.mean(impact))}


def scenario_scores(y, scenarios: Mapping[str, np.ndarray], impacts=None, classes=None) -> pd.DataFrame:
    """`scores` of the same rows under several patterns of missingness.

    Parameters
    ----------
    y
        Labels ``[N]``.
    scenarios
        Scenario to predictions ``[N, C]``, as in ``{"missing": ..., "complete": ...}``.
    impacts
        Scenario to V ``[N]``.
    classes
        As for `scores`.

    Returns
    -------
    DataFrame
        Tidy: ``scenario, metric, value``.

    Examples
    --------
    >>> p = np.array([[0.8, 0.2], [0.4, 0.6], [0.6, 0.4]])
    >>> frame = scenario_scores([0, 1, 1], {"missing": p, "complete": np.eye(2)[[0, 1, 1]]})
    >>> frame.query("metric == 'brier'").round(3)
        scenario metric  value
    2    missing  brier  0.373
    8   complete  brier  0.000
    """
    impacts = impacts or {}
    return pd.DataFrame(
        [
            {"scenario": scenario, "metric": metric, "value": value}
            for scenario, p in scenarios.items()
            for metric, value in scores(y, p, impacts.get(scenario), classes).items()
        ]
    )


def classwise_calibration_error(y, probabilities, bins: int = 15) -> float:
    """How far predicted probabilities lie from frequencies, averaged over classes and rows.

    For each class, rows are put in bins of equal width by its predicted probability; |mean prediction -
    frequency| is averaged over bins by their rows, and then over classes (Kull et al. 2019).

    >>> classwise_calibration_error([0, 1, 1, 1], np.tile([0.25, 0.75], (4, 1)))
    0.0
    """
    y, p = _codes(y, probabilities, None)
    total = 0.0
    for c in range(p.shape[1]):
        cell = np.minimum((p[:, c] * bins).astype(int), bins - 1)
        total += abs(np.bincount(cell, p[:, c] - (y == c), bins)).sum()
    return float(total / p.size)


def _codes(y, probabilities, classes) -> tuple[np.ndarray, np.ndarray]:
    y, p = np.asarray(y), np.asarray(probabilities, float)
    if p.ndim != 2 or p.shape[0] != len(y) or len(y) == 0:
        raise DrawsError(
            f"probabilities has shape {list(p.shape)} for {len(y)} labels; [rows, classes] was wanted. Pass "
            "one prediction a label."
        )
    classes = np.arange(p.shape[1]) if classes is None else np.asarray(classes)
    if len(classes) != p.shape[1] or not np.isin(y, classes).all():
        raise DrawsError(
            f"{int((~np.isin(y, classes)).sum())} of {len(y)} labels are not among the {len(classes)} "
            f"classes of the {p.shape[1]} columns. Pass classes, in the order of the columns."
        )
    order = np.argsort(classes)
    return order[np.searchsorted(classes, y, sorter=order)], p


def log_losses(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """-log p(y) ``[N]``, at most 36: the smallest probability is a rounding error, not certainty."""
    return -np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(float).eps))


def _auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Probability that a positive row scores above a negative one, by ranks (Mann and Whitney 1947)."""
    count = positive.sum()
    above = rankdata(score)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def _over_classes(score, target: np.ndarray, p: np.ndarray) -> float:
    columns = [1] if p.shape[1] == 2 else range(p.shape[1])
    values = [score(target[:, c], p[:, c]) for c in columns if 0 < target[:, c].sum() < len(target)]
    return float(np.mean(values)) if values else float("nan")


# --- Impact calibration --------------------------------------------------------------------------------


def impact_calibration_bins(predicted, realised, flip=None, bins: int = 10) -> pd.DataFrame:
    """Predicted impact beside what really changed, in groups of equal size.

    Parameters
    ----------
    predicted
        V, or the expected change ``[N]``.
    realised
        Total variation distance between the predictions without and with the modality ``[N]``.
    flip
        Whether the label changed ``[N]``.
    bins
        Groups, at most one a row.

    Returns
    -------
    DataFrame
        In order of ``predicted``: ``rows, predicted, realised, realised_se`` and, where given, ``flip``
        (share).

    Examples
    --------
    >>> v = np.linspace(0, 0.5, 100)
    >>> impact_calibration_bins(v, 0.8 * v, bins=2).round(3)
       rows  predicted  realised  realised_se
    0    50      0.124     0.099        0.008
    1    50      0.376     0.301        0.008
    """
    predicted, realised = _paired(predicted, realised)
    columns = {"predicted": predicted, "realised": realised}
    if flip is not None:
        columns["flip"] = _paired(predicted, flip)[1]
    lines = []
    for rows in np.array_split(np.argsort(predicted, kind="stable"), min(bins, len(predicted))):
        line = {"rows": len(rows)} | {name: v[rows].mean() for name, v in columns.items()}
        lines.append(line | {"realised_se": float(standard_error(realised[rows]))})
    order = ["rows", "predicted", "realised", "realised_se", *(["flip"] if flip is not None else [])]
    return pd.DataFrame(lines)[order]


def impact_calibration(predicted, realised, bins: int = 10) -> dict[str, float]:
    """How well V foretells the realised change, in numbers.

    Parameters
    ----------
    predicted, realised, bins
        As for `impact_calibration_bins`.

    Returns
    -------
    dict
        ``slope``: mean realised over mean predicted; ``regression_slope``: of the realised change on V, by
        least squares with an intercept; ``calibration_error``: the mean distance of the bins' means, weighted
        by rows; ``rank_correlation`` (Spearman); ``lift``: mean realised change of the tenth of the rows with
        the highest V over that of all rows. NaN where V or the change does not vary.

    Examples
    --------
    >>> v = np.linspace(0, 0.5, 100)
    >>> {name: round(value, 3) for name, value in impact_calibration(v, 0.8 * v).items()}
    {'slope': 0.8, 'regression_slope': 0.8, 'calibration_error': 0.05, 'rank_correlation': 1.0, 'lift': 1.909}
    """
    predicted, realised = _paired(predicted, realised)
    nan = float("nan")
    varies = np.ptp(predicted) > 0 and np.ptp(realised) > 0
    cells = impact_calibration_bins(predicted, realised, bins=bins)
    top = np.argsort(-predicted, kind="stable")[: max(1, len(predicted) // 10)]
    distance = abs(cells["predicted"] - cells["realised"])
    return {
        "slope": float(realised.mean() / predicted.mean()) if predicted.mean() > 0 else nan,
        "regression_slope": float(np.polyfit(predicted, realised, 1)[0]) if varies else nan,
        "calibration_error": float(np.average(distance, weights=cells["rows"])),
        "rank_correlation": float(spearmanr(predicted, realised).statistic) if varies else nan,
        "lift": float(realised[top].mean() / realised.mean()) if realised.mean() > 0 else nan,
    }


class ImpactCalibrator:
    """A monotone map from V to the change that is to be expected, learnt from rows where it was seen.

    Isotonic regression of the realised change on V, held constant beyond the V that were seen: 0.3 then means
    0.3 on new rows like these.

    Examples
    --------
    >>> v = np.linspace(0, 0.5, 100)
    >>> ImpactCalibrator().fit(v, 0.8 * v).predict([0.25, 0.9]).round(3)
    array([0.2, 0.4])
    """

    def fit(self, impact, realised) -> ImpactCalibrator:
        """Learn from V and realised changes ``[N]``."""
        impact, realised = _paired(impact, realised)
        regression = IsotonicRegression(y_min=0, y_max=1).fit(impact, realised)
        self.impact_, self.change_ = regression.X_thresholds_, regression.y_thresholds_  # the map's knots
        return self

    def predict(self, impact) -> np.ndarray:
        """Expected change ``[N]`` for V ``[N]``."""
        return np.interp(np.asarray(impact, float), self.impact_, self.change_)


def _paired(predicted, realised) -> tuple[np.ndarray, np.ndarray]:
    predicted, realised = np.asarray(predicted, float), np.asarray(realised, float)
    if predicted.ndim != 1 or predicted.shape != realised.shape or len(predicted) == 0:
        raise DrawsError(
            f"Arrays of shape {list(predicted.shape)} and {list(realised.shape)}; one number a row in each "
            "was wanted. Pass the same rows in both."
        )
    if not (np.isfinite(predicted).all() and np.isfinite(realised).all()):
        bad = ~(np.isfinite(predicted) & np.isfinite(realised))
        raise DrawsError(
            f"{int(bad.sum())} of {len(bad)} rows are not finite (first: row {int(bad.argmax())}). Leave "
            "them out."
        )
    return predicted, realised


# --- Acquisition ---------------------------------------------------------------------------------------

SHARES = np.linspace(0, 1, 21)
SHARE = 0.3  # of rows revealed, at which the recovered gain is stated


def acquisition_curves(
    y,
    probabilities_missing,
    probabilities_complete,
    score_of_rows: Mapping[str, np.ndarray],
    *,
    shares: Sequence[float] = SHARES,
    classes=None,
    random_orders: int = 20,
    random_state: int = 0,
) -> pd.DataFrame:
    """Reveal the modality for the rows that a score ranks highest, and see how much better the whole gets.

    Two orders are added to the scores: ``"random"``, the mean of several; and ``"oracle"``, by the drop in
    log loss that each row really brings, which only hindsight knows. (It is best for log loss alone.)

    Parameters
    ----------
    y
        Labels ``[N]``.
    probabilities_missing, probabilities_complete
        Predictions ``[N, C]`` without and with the modality.
    score_of_rows
        Name to a score ``[N]``; rows with a high one are revealed first, equal ones in random order.
    shares
        Shares of rows revealed, 0 to 1.
    classes
        As for `scores`.
    random_orders
        How many random orders are averaged.
    random_state
        Seed of these, and of the order of equal scores.

    Returns
    -------
    DataFrame
        Tidy: ``score, revealed, metric, value`` for the metrics ``log_loss`` (nats) and ``auroc``.

    Examples
    --------
    Two rows are already known, two hang on the modality:

    >>> now = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.5, 0.5]])
    >>> then = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]])
    >>> curves = acquisition_curves([0, 1, 0, 1], now, then, {"V": [0, 0, 0.4, 0.4]}, shares=[0, 0.5, 1])
    >>> curves.query("metric == 'log_loss' and score == 'V'").round(3)
      score  revealed    metric  value
    0     V       0.0  log_loss  0.399
    2     V       0.5  log_loss  0.105
    4     V       1.0  log_loss  0.105
    """
    y, now = _codes(y, probabilities_missing, classes)
    y, then = _codes(y, probabilities_complete, range(now.shape[1]))
    random = np.random.default_rng(random_state)
    orders = {}
    for name, score in score_of_rows.items():
        score, _ = _paired(score, np.zeros(len(y)))
        orders[name] = [np.lexsort((random.random(len(y)), -score))]
    orders["random"] = [random.permutation(len(y)) for _ in range(random_orders)]
    orders["oracle"] = [np.argsort(log_losses(y, then) - log_losses(y, now), kind="stable")]
    target = y[:, None] == np.arange(now.shape[1])

    lines = []
    for name, several in orders.items():
        for share in shares:
            values = []
            for order in several:
                revealed = np.zeros(len(y), bool)
                revealed[order[: round(share * len(y))]] = True
                p = np.where(revealed[:, None], then, now)
                values.append((log_losses(y, p).mean(), _over_classes(_auroc, target, p)))
            for metric, value in zip(("log_loss", "auroc"), np.mean(values, axis=0), strict=True):
                lines.append({"score": name, "revealed": share, "metric": metric, "value": float(value)})
    return pd.DataFrame(lines)


def acquisition_summary(curves: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """How much of the gain of revealing all each score recovers.

    Parameters
    ----------
    curves
        From `acquisition_curves`; they must begin at 0 and end at 1.
    share
        Share of rows revealed at which ``recovered`` is read, between points by straight lines.

    Returns
    -------
    DataFrame
        ``score, metric``; ``recovered``, the part of the gain of revealing everything that is reached at
        ``share`` (random: about ``share``); ``area``, its mean over all shares (random: about 0.5). NaN where
        revealing everything gains nothing.

    Examples
    --------
    >>> curves = pd.DataFrame({"score": "V", "metric": "log_loss", "revealed": [0.0, 0.5, 1.0],
    ...                        "value": [0.4, 0.1, 0.1]})
    >>> acquisition_summary(curves, share=0.25).round(3)
      score    metric  recovered  area
    0     V  log_loss        0.5  0.75
    """
    lines = []
    for (score, metric), curve in curves.groupby(["score", "metric"], sort=False):
        curve = curve.sort_values("revealed")
        revealed, value = curve["revealed"].to_numpy(), curve["value"].to_numpy()
        if revealed[0] != 0 or revealed[-1] != 1:
            raise DrawsError(
                f"The curve of {score!r} runs from {revealed[0]} to {revealed[-1]}; 0 to 1 was wanted. Pass "
                "shares that hold both ends."
            )
        gain = value[-1] - value[0]
        part = (value - value[0]) / gain if abs(gain) > 1e-12 else np.full_like(value, np.nan)
        lines.append(
            {
                "score": score,
                "metric": metric,
                "recovered": float(np.interp(share, revealed, part)),
                "area": float(auc(revealed, part)),
            }
        )
    return pd.DataFrame(lines)


def recovered_error(
    y,
    probabilities_missing,
    probabilities_complete,
    score_of_rows: Mapping[str, np.ndarray],
    *,
    share: float = SHARE,
    classes=None,
    resamples: int = 1000,
    random_state: int = 0,
) -> pd.Series:
    """How far the recovered part of the log loss gain can be told from so many rows.

    The standard deviation over bootstrap samples of the rows, for each score, of what `acquisition_summary`
    calls ``recovered``; NaN where revealing gains nothing. All scores see the same samples. Parameters are
    those of `acquisition_curves`; with few rows that gain little the error is large, whatever the score.

    >>> now, then = np.full((100, 2), 0.5), np.tile([0.9, 0.1], (100, 1))
    >>> recovered_error(np.zeros(100, int), now, then, {"V": np.arange(100)}).round(6)  # rows gain alike
    V    0.0
    dtype: float64
    """
    y, now = _codes(y, probabilities_missing, classes)
    y, then = _codes(y, probabilities_complete, range(now.shape[1]))
    gain = log_losses(y, now) - log_losses(y, then)
    random = np.random.default_rng(random_state)
    orders = {
        name: np.lexsort((random.random(len(y)), -_paired(score, gain)[0]))
        for name, score in score_of_rows.items()
    }
    parts = []
    for _ in range(resamples):
        copies = np.bincount(random.integers(len(y), size=len(y)), minlength=len(y))
        whole = copies @ gain
        part = {}
        for name, order in orders.items():
            before = copies[order].cumsum() - copies[order]
            revealed = np.clip(round(share * len(y)) - before, 0, copies[order])
            part[name] = revealed @ gain[order] / whole if whole else np.nan
        parts.append(part)
    return pd.DataFrame(parts).std()


# --- Bias ----------------------------------------------------------------------------------------------


def bias_analysis(
    x,
    y,
    x_test,
    optional: Sequence[str],
    *,
    primo: Callable[[int], object],
    oracle: Callable[[int], object],
    seeds: Sequence[int] = (0, 1),
    rate: float = 0.5,
) -> pd.DataFrame:
    """How far the averaged prediction lies from oracles that never marginalise (Section 4.4, Eq. 10-11).

    For each seed the rows are cut in two disjoint halves. Two oracles are trained on the first, one on the
    observed modalities alone (unimodal), one on everything (multimodal); PRIMO is trained on the second half,
    with the optional modalities dropped at random. B is the mean total variation distance on test rows.

    Parameters
    ----------
    x, y
        Complete rows (``Modalities``) and labels ``[N]``.
    x_test
        Complete test rows.
    optional
        The modalities that PRIMO may miss.
    primo, oracle
        Functions of a seed that make an unfitted estimator with ``fit`` and ``predict_proba``.
    seeds
        One repetition each; two at least for the distance from seed to seed.
    rate
        Share of rows in which each optional modality is dropped.

    Returns
    -------
    DataFrame
        Tidy: ``first, second, seed, distance``. ``first`` and ``second`` are among ``primo_missing``,
        ``primo_complete``, ``unimodal`` and ``multimodal``; where both are the same, the distance is that
        between this seed and the next, the scale of chance. B_missing is the distance of primo_missing to
        unimodal, B_complete that of primo_complete to multimodal.

    Raises
    ------
    DrawsError
        Where a modality in ``optional`` is absent in some row.

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> from primo_pyro import PrimoClassifier
    >>> x, y = make_xor(200, random_state=0)
    >>> def estimator(seed):
    ...     return PrimoClassifier(hidden_dim=16, max_epochs=1, num_samples=16, random_state=seed)
    >>> frame = bias_analysis(x, y, x[:50], ("m",), primo=estimator, oracle=estimator)
    >>> len(frame), frame.columns.tolist()
    (20, ['first', 'second', 'seed', 'distance'])
    """
    for rows in (x, x_test):
        for name in optional:
            if not rows.present[name].all():
                raise DrawsError(
                    f"Modality {name!r} is absent in {int((~rows.present[name]).sum())} of {len(rows)} "
                    "rows; the oracles want it in all. Pass complete rows."
                )
    y = np.asarray(y)
    observed = [name for name in x.names if name not in optional]
    predictions = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(y))
        first, second = np.sort(order[: len(y) // 2]), np.sort(order[len(y) // 2 :])
        model = primo(seed).fit(x[second].drop_at_random(*optional, rate=rate, random_state=seed), y[second])
        unimodal = oracle(seed).fit(x[first].select(*observed), y[first])
        multimodal = oracle(seed).fit(x[first], y[first])
        predictions.append(
            {
                "primo_missing": model.predict_proba(x_test.drop(*optional)),
                "primo_complete": model.predict_proba(x_test),
                "unimodal": unimodal.predict_proba(x_test.select(*observed)),
                "multimodal": multimodal.predict_proba(x_test),
            }
        )
    lines = []
    for i, (seed, p) in enumerate(zip(seeds, predictions, strict=True)):
        following = predictions[(i + 1) % len(predictions)]
        pairs = [(a, b, p[b]) for a, b in combinations(p, 2)]
        if len(predictions) > 1:
            pairs += [(a, a, following[a]) for a in p]
        lines += [
            {"first": a, "second": b, "seed": seed, "distance": float(total_variation(p[a], q).mean())}
            for a, b, q in pairs
        ]
    return pd.DataFrame(lines)
