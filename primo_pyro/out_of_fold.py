"""What members say of rows that they were not trained on: V, and what revealing a modality changed.

A prediction is an average over members, but a row was held out by one of them only, and the change of an
average is at most the average of the changes. So the change of the member that held the row out is scaled by

    E d(mean of members without, mean of members with)  /  mean of members' E d(without, with),

over rows that most members were trained on. What training does to the size of a change cancels in this ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from primo_pyro.analysis.impact import Revealed, impact_gap
from primo_pyro.modalities import Modalities
from primo_pyro.program.outcomes import Outcome

__all__ = ["ALL", "PART", "averaging_ratio", "out_of_fold_changes"]

# In the column of modalities: all optional ones that a row has, and a random part of them.
ALL, PART = "all together", "a part together"
ROWS_REVEALED = 1000  # of each set of modalities; a calibration needs no more, and they cost time
ROWS_AVERAGED = 200  # of them, which all members predict, for the ratio of two means

Reveal = Callable[[Modalities], Revealed]  # what is predicted of rows without and with a set of modalities


def out_of_fold_changes(
    held_out: Sequence[Modalities],
    names: Sequence[str],
    reveal: Sequence[Reveal],
    outcome: Outcome,
    seed: int,
) -> pd.DataFrame:
    """V and realised change of rows, by the member that held each out.

    Parameters
    ----------
    held_out
        The rows that each member held out.
    names
        Modalities of which a row has to have one.
    reveal
        For each member what it predicts of rows without and with modalities.
    outcome
        What the label is.
    seed
        Which rows serve, where there are many.

    Returns
    -------
    DataFrame
        A line per row, as of `primo_pyro.analysis.impact.impact_gap`, ``member``, and ``row``, its place
        among the rows that the member held out. ``realised_change`` is scaled by the ratio ``averaging``.
    """
    most = -(-ROWS_REVEALED // len(held_out))
    chosen = []
    for x in held_out:
        having = np.flatnonzero(np.logical_or.reduce([x.present[name] for name in names]))
        chosen.append(np.random.default_rng(seed).permutation(having)[:most])
    if not any(len(rows) for rows in chosen):
        return pd.DataFrame()
    few: list[Modalities] = []
    for x, rows in zip(held_out, chosen, strict=True):
        left = ROWS_AVERAGED - sum(map(len, few))
        if left > 0 and len(rows):
            few.append(x[rows[:left]])
    ratio = averaging_ratio(few, reveal, outcome)
    frames = [
        impact_gap(ask(x[rows]), outcome).assign(member=member, row=rows)
        for member, (x, rows, ask) in enumerate(zip(held_out, chosen, reveal, strict=True))
        if len(rows)
    ]
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(realised_change=frame["realised_change"] * ratio, averaging=ratio)


def averaging_ratio(x: Sequence[Modalities], reveal: Sequence[Reveal], outcome: Outcome) -> float:
    """Mean change of the average over members, over the mean change of single members; at most 1.

    Parameters
    ----------
    x
        Rows, in some parts.
    reveal, outcome
        As of `out_of_fold_changes`.
    """
    single = together = 0.0
    for rows in x:
        said = [ask(rows) for ask in reveal]
        single += sum(float(outcome.distance(part.before, part.after).sum()) for part in said) / len(said)
        before, after = (
            np.mean([getattr(part, side) for part in said], axis=0) for side in ("before", "after")
        )
        together += float(outcome.distance(before, after).sum())
    return together / single if single else 1.0
