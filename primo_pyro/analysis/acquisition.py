"""What is gained by revealing a modality for some rows first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import auc

from primo_pyro.analysis.calibration import paired
from primo_pyro.analysis.scores import auroc, codes_of, log_losses, over_classes
from primo_pyro.errors import CostError, DrawsError, ModalityError

__all__ = [
    "RANKED",
    "SHARE",
    "SHARES",
    "acquisition_curves",
    "acquisition_summary",
    "costs_of",
    "rank_acquisitions",
    "recovered_error",
]

SHARES = np.linspace(0, 1, 21)
SHARE = 0.3  # of rows revealed, at which the recovered gain is stated


def acquisition_curves(
    y: ArrayLike,
    probabilities_missing: ArrayLike,
    probabilities_complete: ArrayLike,
    score_of_rows: Mapping[str, ArrayLike],
    *,
    shares: Sequence[float] | np.ndarray = SHARES,
    classes: ArrayLike | None = None,
    random_orders: int = 20,
    random_state: int = 0,
) -> pd.DataFrame:
    """The scores of all predictions, as the modality is revealed for the rows that a score ranks highest.

    Two orders are added: ``"random"``, the mean of several; and ``"oracle"``, by the drop in log loss that
    each row brings, which is known only afterwards. (It is the best order for log loss alone.)

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

    Raises
    ------
    DrawsError
        Where labels, predictions and scores do not fit together.

    Examples
    --------
    The predictions of two rows depend on the modality, those of the other two do not:

    >>> missing = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.5, 0.5]])
    >>> complete = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]])
    >>> v = {"V": [0, 0, 0.4, 0.4]}
    >>> curves = acquisition_curves([0, 1, 0, 1], missing, complete, v, shares=[0, 0.5, 1])
    >>> curves.query("metric == 'log_loss' and score == 'V'").round(3)
      score  revealed    metric  value
    0     V       0.0  log_loss  0.399
    2     V       0.5  log_loss  0.105
    4     V       1.0  log_loss  0.105
    """
    y, missing = codes_of(y, probabilities_missing, classes)
    y, complete = codes_of(y, probabilities_complete, range(missing.shape[1]))
    random = np.random.default_rng(random_state)
    orders = {}
    for name, score in score_of_rows.items():
        score, _ = paired(score, np.zeros(len(y)))
        orders[name] = [np.lexsort((random.random(len(y)), -score))]
    orders["random"] = [random.permutation(len(y)) for _ in range(random_orders)]
    orders["oracle"] = [np.argsort(log_losses(y, complete) - log_losses(y, missing), kind="stable")]
    target = y[:, None] == np.arange(missing.shape[1])

    lines = []
    for name, several in orders.items():
        for share in shares:
            values = []
            for order in several:
                revealed = np.zeros(len(y), bool)
                revealed[order[: round(share * len(y))]] = True
                p = np.where(revealed[:, None], complete, missing)
                values.append((log_losses(y, p).mean(), over_classes(auroc, target, p)))
            for metric, value in zip(("log_loss", "auroc"), np.mean(values, axis=0), strict=True):
                lines.append({"score": name, "revealed": share, "metric": metric, "value": float(value)})
    return pd.DataFrame(lines)


def acquisition_summary(curves: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """The part of the gain of revealing all rows that each score recovers.

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

    Raises
    ------
    DrawsError
        Where a curve does not begin at 0 and end at 1.

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
                f"The curve of {score!r} runs from {revealed[0]} to {revealed[-1]}; expected 0 to 1. Pass "
                "shares with both ends."
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
    y: ArrayLike,
    probabilities_missing: ArrayLike,
    probabilities_complete: ArrayLike,
    score_of_rows: Mapping[str, ArrayLike],
    *,
    share: float = SHARE,
    classes: ArrayLike | None = None,
    resamples: int = 1000,
    random_state: int = 0,
) -> pd.Series:
    """The standard error of the recovered part of the gain in log loss.

    The standard deviation, over bootstrap samples of the rows, of what `acquisition_summary` calls
    ``recovered``. All scores have the same samples. Where few rows gain little, the error is large for every
    score.

    Parameters
    ----------
    y, probabilities_missing, probabilities_complete, score_of_rows, classes, random_state
        As for `acquisition_curves`.
    share
        Share of rows revealed at which ``recovered`` is read.
    resamples
        Number of bootstrap samples.

    Returns
    -------
    Series
        By score; NaN where revealing gains nothing.

    Raises
    ------
    DrawsError
        As for `acquisition_curves`.

    Examples
    --------
    Where all rows gain alike, the part does not vary:

    >>> missing, complete = np.full((100, 2), 0.5), np.tile([0.9, 0.1], (100, 1))
    >>> recovered_error(np.zeros(100, int), missing, complete, {"V": np.arange(100)}).round(6)
    V    0.0
    dtype: float64
    """
    y, missing = codes_of(y, probabilities_missing, classes)
    y, complete = codes_of(y, probabilities_complete, range(missing.shape[1]))
    gain = log_losses(y, missing) - log_losses(y, complete)
    random = np.random.default_rng(random_state)
    orders = {
        name: np.lexsort((random.random(len(y)), -paired(score, gain)[0]))
        for name, score in score_of_rows.items()
    }
    parts = []
    for _ in range(resamples):
        copies = np.bincount(random.integers(len(y), size=len(y)), minlength=len(y))
        whole = copies @ gain
        part = {}
        for name, order in orders.items():
            earlier = copies[order].cumsum() - copies[order]
            revealed = np.clip(round(share * len(y)) - earlier, 0, copies[order])
            part[name] = revealed @ gain[order] / whole if whole else np.nan
        parts.append(part)
    return pd.DataFrame(parts).std()


RANKED = ("impact", "information_gain", "expected_change")


def rank_acquisitions(
    absent: Mapping[tuple[str, ...], np.ndarray],
    impacts: Mapping[tuple[str, ...], pd.DataFrame],
    costs: Mapping[str, ArrayLike] | None,
    rows: int,
) -> pd.DataFrame:
    """Absent modalities of all rows by expected change per cost; see ``PrimoClassifier.rank_acquisitions``.

    Parameters
    ----------
    absent
        Set of modalities to the positions of the rows that lack all of it.
    impacts
        Set to the impact of these rows, a line each; sets that no row lacks are left out.
    costs
        Modality to its cost, one positive number or one for each of all rows; None: 1.
    rows
        Number of all rows.

    Raises
    ------
    CostError
        Where a cost is missing, not positive, or not one a row.
    ModalityError
        Where no row lacks anything.

    Examples
    --------
    >>> impact = pd.DataFrame({"impact": [0.1, 0.4], "information_gain": [0.0, 0.2]})
    >>> absent = {("gas",): np.array([0, 2])}
    >>> ranked = rank_acquisitions(absent, {("gas",): impact}, {"gas": 2.0}, rows=3)
    >>> ranked[["row", "modality", "change_per_cost"]]
       row modality  change_per_cost
    0    2      gas             0.20
    1    0      gas             0.05
    """
    if not impacts:
        raise ModalityError(
            f"No optional modality ({', '.join(map(' + '.join, absent)) or 'there is none'}) is absent in "
            f"any of {rows} rows, so nothing can be acquired; expected one. Pass rows with modalities absent."
        )
    parts = []
    for names, impact in impacts.items():
        cost = np.sum([costs_of(name, costs, rows) for name in names], axis=0)[absent[names]]
        change = impact["expected_change"] if "expected_change" in impact else impact["impact"]
        kept = impact[[c for c in RANKED if c in impact]]
        part = kept.assign(cost=cost, change_per_cost=change / cost)
        part.insert(0, "row", absent[names])
        part.insert(1, "modality", " + ".join(names))
        parts.append(part)
    ranked = pd.concat(parts, ignore_index=True)
    # A calibration has steps, on which many rows are expected to change alike: V then decides.
    order = np.lexsort((-ranked["impact"] / ranked["cost"], -ranked["change_per_cost"]))
    return ranked.take(order).reset_index(drop=True)


def costs_of(modality: str, costs: Mapping[str, ArrayLike] | None, rows: int) -> np.ndarray:
    if costs is not None and not isinstance(costs, Mapping):
        raise CostError(
            f"costs is {costs!r:.60}; expected a mapping from modalities to numbers. Write "
            f"costs={{{modality!r}: 1.0}}."
        )
    if costs is not None and modality not in costs:
        raise CostError(
            f"costs names {sorted(costs)}, and not {modality!r}; expected all optional modalities. Give a "
            "cost for each."
        )
    try:
        cost = np.asarray(1.0 if costs is None else costs[modality], float)
    except (TypeError, ValueError):
        cost = np.full((1, 1), np.nan)  # of no right shape
    if cost.shape not in ((), (rows,)) or not ((cost > 0) & (cost < np.inf)).all():
        found = f" ({costs[modality]!r:.40})" if costs is not None else ""
        raise CostError(
            f"The cost of {modality!r} has shape {list(cost.shape)} and smallest value "
            f"{cost.min(initial=np.inf)}{found}; expected one positive number, or {rows} of them. Write "
            f"costs={{{modality!r}: 1.0}}."
        )
    return np.broadcast_to(cost, rows)
