"""V as a frame, the realised change beside it, and the bounds that hold for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.analysis.scores import standard_error
from primo_pyro.errors import DrawsError
from primo_pyro.prediction import Summary
from primo_pyro.program.outcomes import Categorical, Outcome, total_variation

__all__ = ["Revealed", "by_row", "impact_bounds", "impact_frame", "impact_gap", "uncertainty"]


def impact_frame(summary: Summary, outcome: Outcome) -> pd.DataFrame:
    """V of each row, its Monte Carlo error, and what else the draws say.

    Returns
    -------
    DataFrame
        ``impact`` (V), ``impact_se``, ``impact_normalised`` (V over the outcome's largest V, so that tasks
        with different numbers of classes compare), ``flip_probability`` (where labels can be counted) and
        ``information_gain`` in nats. All are about what is absent: 0 where nothing is. ``spread`` is that of
        single draws over all latents, those of present modalities too. With several members also
        ``disagreement``: the expected distance of a member's prediction from the average over members.
    """
    columns = {
        "impact": summary.impact,
        "impact_se": summary.impact_se,
        "impact_normalised": summary.impact / outcome.largest_impact,
        "flip_probability": summary.flip,
        "information_gain": summary.information_gain,
        "spread": summary.spread,
    }
    if outcome.decide(summary.prediction) is None:
        del columns["flip_probability"]
    if summary.disagreement is not None:
        columns["disagreement"] = summary.disagreement
    return pd.DataFrame(columns)


def by_row(frames: Mapping[str, pd.DataFrame], labels: pd.Index) -> pd.DataFrame:
    """Answers about each modality, a line per row each, as one tidy frame in the order of the rows.

    The column ``row`` has the labels of the rows ``[N]``.

    >>> of_a, of_b = pd.DataFrame({"impact": [0.1, 0.2]}), pd.DataFrame({"impact": [0.3, 0.4]})
    >>> by_row({"a": of_a, "b": of_b}, pd.Index(["ann", "bob"]))
       row modality  impact
    0  ann        a     0.1
    1  ann        b     0.3
    2  bob        a     0.2
    3  bob        b     0.4
    """
    parts = [frame.reset_index(drop=True) for frame in frames.values()]
    frame = pd.concat(parts, keys=list(frames), names=["modality", "row"]).reset_index()
    columns = ["row", "modality", *next(iter(frames.values())).columns]
    order = np.argsort(frame["row"].to_numpy(), kind="stable")
    frame = frame.loc[order, columns].reset_index(drop=True)
    return frame.assign(row=labels.take(frame["row"]))


@dataclass(frozen=True)
class Revealed:
    """N rows of which modalities were hidden and then revealed.

    Attributes
    ----------
    before, after
        Predictions ``[N, Q]`` without and with the modalities.
    impact
        What the draws say of the impact of the hidden modalities.
    spread
        Expected distance ``[N]`` of single draws from the average once they are revealed (V_complete).
    """

    before: np.ndarray
    after: np.ndarray
    impact: Summary
    spread: np.ndarray


def impact_gap(revealed: Revealed, outcome: Outcome) -> pd.DataFrame:
    """V of hidden modalities, and the realised change once they are revealed.

    Returns
    -------
    DataFrame
        ``impact_missing`` (V), ``impact_complete`` (the spread that remains), their difference ``gap``,
        ``realised_change`` (the distance of the two average predictions) and ``flip`` (whether the decision
        changed, where labels can be counted).
    """
    v, spread = revealed.impact.impact, revealed.spread
    frame = pd.DataFrame(
        {
            "impact_missing": v,
            "impact_complete": spread,
            "gap": v - spread,
            "realised_change": outcome.distance(revealed.before, revealed.after),
        }
    )
    before, after = outcome.decide(revealed.before), outcome.decide(revealed.after)
    if before is None or after is None:
        return frame
    return frame.assign(flip=(before != after).reshape(len(frame), -1).any(1))


def uncertainty(
    probabilities: np.ndarray, information_gain: np.ndarray, outcome: Outcome | None = None
) -> pd.DataFrame:
    """What the absent modality could resolve of each row's uncertainty, in nats.

    With p the average prediction and p(. | z) that of one draw::

        H(p)  =  E_z H(p(. | z))  +  [H(p) - E_z H(p(. | z))]
        total =  aleatoric        +  resolvable

    The last term is the mutual information of y and z given what is present: the expected drop in log loss if
    the modality were revealed.

    Parameters
    ----------
    probabilities
        Average prediction p ``[N, C]``.
    information_gain
        The last term ``[N]``, as in `primo_pyro.prediction.Summary`.
    outcome
        What the label is; None: one of C classes.

    Returns
    -------
    DataFrame
        ``total``, ``aleatoric`` (left when the modality is known) and ``resolvable``.

    Examples
    --------
    >>> uncertainty(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0.0, 0.6])).round(2)
       total  aleatoric  resolvable
    0   0.69       0.69         0.0
    1   0.69       0.09         0.6
    """
    probabilities = np.asarray(probabilities, float)
    total = (outcome or Categorical(probabilities.shape[-1])).entropy(probabilities)
    return pd.DataFrame(
        {"total": total, "aleatoric": total - information_gain, "resolvable": information_gain}
    )


def impact_bounds(
    impact_missing: ArrayLike,
    impact_complete: ArrayLike,
    probabilities_missing: ArrayLike,
    probabilities_complete: ArrayLike,
    bins: int = 10,
) -> pd.DataFrame:
    """Check the bounds on the realised change, on rows whose modality was hidden and then revealed.

    If p(z | x_o) is the mixture of its completions p(z | x_o, x_m), then the missing prediction is the
    mean of the complete predictions, and by the triangle inequality and Jensen's::

        V_missing - E[V_complete | x_o]  <=  E[realised change | x_o]  <=  V_missing

    Expectations given x_o are estimated by means over rows of similar V_missing.

    Parameters
    ----------
    impact_missing, impact_complete
        V ``[N]`` without and with the modality.
    probabilities_missing, probabilities_complete
        Average predictions ``[N, C]`` without and with it.
    bins
        Groups of equal size, in order of V_missing; at most one a row.

    Returns
    -------
    DataFrame
        A line per group: ``rows``, ``lower`` and ``upper`` bound, ``realised`` change and its standard error
        ``realised_se``; ``violation``, how far it lies outside (0 within); ``drift``, the total variation
        distance between the mean predictions without and with the modality, which the assumption says is 0
        in expectation, and ``drift_noise``, its expected value under the assumption, by chance alone.

    Raises
    ------
    DrawsError
        Where the arrays do not fit together.

    Examples
    --------
    A prediction of 0.5 that becomes 0.9 or 0.1:

    >>> before, after = np.full((100, 2), 0.5), np.tile([[0.9, 0.1], [0.1, 0.9]], (50, 1))
    >>> impact_bounds(np.full(100, 0.42), np.full(100, 0.05), before, after, bins=1).round(2)
       rows  lower  realised  realised_se  upper  violation  drift  drift_noise
    0   100   0.37       0.4          0.0   0.42        0.0    0.0         0.03
    """
    v_missing, v_complete = (np.asarray(v, float) for v in (impact_missing, impact_complete))
    before, after = (np.asarray(p, float) for p in (probabilities_missing, probabilities_complete))
    if not (
        before.ndim == 2
        and before.shape == after.shape
        and len(before) == len(v_missing) == len(v_complete) > 0
    ):
        raise DrawsError(
            f"Impacts of {v_missing.shape} and {v_complete.shape} and predictions of {before.shape} and "
            f"{after.shape}; expected [rows] twice and [rows, classes] twice. Pass the same rows in all."
        )
    realised = total_variation(before, after)
    lines = []
    for rows in np.array_split(np.argsort(v_missing, kind="stable"), min(bins, len(v_missing))):
        lower, upper = (v_missing - v_complete)[rows].mean(), v_missing[rows].mean()
        change, shift = realised[rows].mean(), (after - before)[rows]
        lines.append(
            {
                "rows": len(rows),
                "lower": lower,
                "realised": change,
                "realised_se": standard_error(realised[rows]),
                "upper": upper,
                "violation": max(lower - change, change - upper, 0.0),
                "drift": abs(shift.mean(0)).sum() / 2,
                # E|e| of a normal e is sqrt(2 / pi) of its standard deviation.
                "drift_noise": np.sqrt(2 / np.pi) * standard_error(shift).sum() / 2,
            }
        )
    return pd.DataFrame(lines)
