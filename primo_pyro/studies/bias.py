"""The distance of PRIMO's averaged predictions from oracles that do not average (Section 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from primo_pyro.errors import DrawsError
from primo_pyro.modalities import Modalities
from primo_pyro.program.outcomes import total_variation

__all__ = ["bias_analysis"]


def bias_analysis(
    x: Modalities,
    y: ArrayLike,
    x_test: Modalities,
    optional: Sequence[str],
    *,
    primo: Callable[[int], BaseEstimator],
    oracle: Callable[[int], BaseEstimator],
    seeds: Sequence[int] = (0, 1),
    rate: float = 0.5,
) -> pd.DataFrame:
    """The distance of the averaged prediction from oracles that do not marginalise (Section 4.4, Eq. 10-11).

    For each seed the rows are split into two halves. Two oracles are trained on the first half, one on the
    observed modalities alone (unimodal), one on all (multimodal). PRIMO is trained on the second half, with
    the optional modalities dropped at random. Distances are mean total variation distances on test rows.

    Parameters
    ----------
    x, y
        Complete rows and labels ``[N]``.
    x_test
        Complete test rows.
    optional
        The modalities that are optional for PRIMO.
    primo, oracle
        Functions of a seed that make an unfitted estimator with ``fit`` and ``predict_proba``.
    seeds
        One repetition each. Two at least are needed for the distance from seed to seed.
    rate
        Share of rows in which each optional modality is dropped.

    Returns
    -------
    DataFrame
        Tidy: ``first, second, seed, distance``. ``first`` and ``second`` are among ``primo_missing``,
        ``primo_complete``, ``unimodal`` and ``multimodal``. Where both are the same, the distance is that
        between this seed and the next: what chance alone brings. B_missing is the distance of primo_missing
        to unimodal, B_complete that of primo_complete to multimodal.

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
                    "rows; expected present in all, for the oracles. Pass complete rows."
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
