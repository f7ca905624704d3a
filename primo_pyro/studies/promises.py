"""Whether guarantees keep what they promise: on simulated rows, and on test rows of a fitted model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from primo_pyro.analysis.absence import compare_rows
from primo_pyro.analysis.certificates import (
    LEVELS,
    Certificate,
    Harm,
    Reached,
    promises_kept,
    promises_reached,
)
from primo_pyro.analysis.guarantees import effective_rows, learn_then_test

__all__ = ["kept_promises", "selective_absence", "simulated_promises", "simulated_rows", "skipped_by_score"]

BATCH = 200  # new rows at a time for false discoveries
POPULATION = 100_000  # rows that stand for all


def simulated_rows(
    rows: int, random: np.random.Generator, strength: float = 0.0
) -> tuple[Certificate, np.ndarray]:
    """Rows whose V is informative and wrong in scale, as of a model that is neither good nor useless.

    V is beta distributed, the realised change V times a gamma variate of mean 0.6, the label flips with twice
    the probability of the change, and labels are not drawn from the predictions.

    Parameters
    ----------
    rows
        Number of rows n.
    random
        Generator.
    strength
        How much the change grows with what is always known, one normal number a row.

    Returns
    -------
    Certificate, array
        And what is always known ``[n, 1]``.
    """
    v = random.beta(1.0, 9.0, rows)
    known = random.normal(size=rows)
    realised = np.minimum(v * random.gamma(2.0, 0.3, rows) * np.exp(strength * known), 1.0)
    flip = random.random(rows) < np.minimum(2 * realised, 1.0)
    before, after = random.dirichlet([1.0, 1.0, 1.0], size=(2, rows))
    labels = (random.random(rows)[:, None] > np.cumsum(0.5 * before + 0.5 * after, axis=1)).sum(1).clip(max=2)
    right = [p.argmax(1) == labels for p in (before, after)]
    certificate = Certificate(
        scores={"impact": v},
        largest={"impact": 2 / 3},
        levels=v[:, None] * (0.5 + LEVELS),
        realised=realised,
        before=before,
        after=after,
        flip=flip,
        labels=labels,
        right_before=right[0],
        right_after=right[1],
    )
    return certificate, known[:, None]


def simulated_promises(
    rows: Sequence[int] = (100, 300, 1000),
    repeats: int = 500,
    *,
    coverage: float = 0.9,
    rate: float = 0.05,
    confidence: float = 0.9,
    false_discovery: float = 0.1,
    random_state: int = 0,
) -> pd.DataFrame:
    """Every guarantee on rows that are exchangeable by construction.

    Parameters
    ----------
    rows
        Numbers n of calibration rows.
    repeats
        Calibration sets for each n, each with 200 new rows.
    coverage, rate, confidence, false_discovery
        What is promised.
    random_state
        Seed.

    Returns
    -------
    DataFrame
        ``rows, guarantee, promised, reached, error`` (the standard error over repeats) and ``size`` (mean
        bound, share skipped or number of labels). For "harm among the skipped", ``reached`` is the share of
        the calibration sets whose threshold keeps the promise in a population of 100,000 rows, to be at least
        the confidence.
    """
    random = np.random.default_rng(random_state)
    promised: dict[str, Any] = {"coverage": coverage, "rate": rate, "confidence": confidence}
    promised["false_discovery"] = false_discovery
    population, _ = simulated_rows(POPULATION, random)
    order = np.argsort(population.scores["impact"])
    score, harmed = population.scores["impact"][order], np.cumsum(population.harm("flip")[order])
    lines = []
    for n in rows:
        for _ in range(repeats):
            calibration, new = simulated_rows(n, random)[0], simulated_rows(BATCH, random)[0]
            found = promises_reached(calibration, new, **promised)
            skip = calibration.skips(score[:1], "flip", rate, confidence)
            up_to = int(np.searchsorted(score, skip.threshold[0], side="right"))
            kept = up_to == 0 or harmed[up_to - 1] / up_to <= rate
            sure = Reached("harm among the skipped", confidence, float(kept), up_to / len(score), True)
            every = [sure if one.guarantee == sure.guarantee else one for one in found]
            lines += [{"rows": n} | asdict(one) for one in every]
    frame = pd.DataFrame(lines).drop(columns="at_least")
    table = frame.groupby(["rows", "guarantee"], sort=False)
    errors = table["reached"].std(ddof=1) / np.sqrt(repeats)
    return table.mean().assign(error=errors).reset_index()


def selective_absence(
    rows: int = 2000, repeats: int = 100, *, coverage: float = 0.9, rate: float = 0.05, random_state: int = 0
) -> pd.DataFrame:
    """A modality that is absent where it would change much, as what is always known tells: both versions.

    A row has it with probability sigmoid(-1.5 o), and what it changes grows with o. Weights are learnt from
    the same rows.

    Parameters
    ----------
    rows
        With and without the modality, in each repeat.
    repeats
        Data sets.
    coverage, rate
        What is promised.
    random_state
        Seed.

    Returns
    -------
    DataFrame
        ``guarantee, version`` ("unweighted" or "weighted"), ``promised, reached, error`` (standard error over
        repeats), ``size`` and ``effective`` rows.
    """
    random = np.random.default_rng(random_state)
    lines = []
    for _ in range(repeats):
        every, known = simulated_rows(rows, random, strength=0.4)
        absent = random.random(rows) < expit(1.5 * known[:, 0])
        calibration, new = every.rows(~absent), every.rows(absent)
        _, model = compare_rows(known, absent)
        if model is None:
            continue
        weights, new_weights = model.weights(known[~absent]), model.weights(known[absent])
        for version, w, new_w in (("unweighted", None, None), ("weighted", weights, new_weights)):
            calibration.weights = w
            found = promises_reached(calibration, new, coverage=coverage, rate=rate, new_weights=new_w)
            n = float(len(calibration)) if w is None else effective_rows(w)
            # Harm among the skipped is promised of a calibration set, and not of one batch of rows.
            means = [one for one in found if one.guarantee != "harm among the skipped"]
            lines += [asdict(one) | {"version": version, "effective": n} for one in means]
    frame = pd.DataFrame(lines).drop(columns="at_least")
    table = frame.groupby(["guarantee", "version"], sort=False)
    errors = table["reached"].std(ddof=1) / np.sqrt(repeats)
    return table.mean().assign(error=errors).reset_index()


def kept_promises(certificate: Certificate, **settings: Any) -> pd.DataFrame:
    """`promises_kept` on rows of one fit, with the share of the mean bound in the mean realised change."""
    table = promises_kept(certificate, **settings)
    bound = table["guarantee"] == "change at most"
    return table.assign(
        bound_over_change=np.where(bound, table["size"] / certificate.realised.mean(), np.nan)
    )


def skipped_by_score(
    certificate: Certificate,
    rate: float = 0.05,
    confidence: float = 0.9,
    harm: Harm = "flip",
    splits: int = 20,
    random_state: int = 0,
) -> pd.DataFrame:
    """The share of rows that may be skipped at a rate of harm, for each score that may order the rows.

    Parameters
    ----------
    certificate
        Rows of one fit; half of them certify, the others are skipped or not.
    rate, confidence, harm
        What is promised.
    splits, random_state
        Random halves, and their seed. Calibrated V is isotonic, learnt on a third of the calibration rows,
        which then certify no more.

    Returns
    -------
    DataFrame
        ``score, risk_control`` (share skipped, harmful skips among all rows controlled) and
        ``learn_then_test`` (share skipped with harm among the skipped controlled).
    """
    random = np.random.default_rng(random_state)
    harmed = certificate.harm(harm)
    lines = []
    for _ in range(splits):
        calibration, rows = np.array_split(random.permutation(len(certificate)), 2)
        third = len(calibration) // 3
        v = certificate.scores["impact"]
        learnt = IsotonicRegression(y_min=0, out_of_bounds="clip").fit(
            v[calibration[:third]], certificate.realised[calibration[:third]]
        )
        scores = {"calibrated V": (learnt.predict(v), calibration[third:], certificate.largest["impact"])}
        for name, values in certificate.scores.items():
            scores[name] = values, calibration, certificate.largest[name]
        for name, (score, known, largest) in scores.items():
            part = Certificate(
                scores={name: score[known]},
                largest={name: largest},
                levels=certificate.levels[known],
                realised=certificate.realised[known],
                before=certificate.before[known],
                after=certificate.after[known],
                flip=harmed[known],
            )
            all_rows = part.skips(score[rows], "flip", rate, by=name).skip.mean()
            threshold = learn_then_test(score[known], harmed[known], rate, confidence, largest=largest)
            lines.append((name, float(all_rows), float((score[rows] <= threshold).mean())))
    frame = pd.DataFrame(lines, columns=["score", "risk_control", "learn_then_test"])
    return frame.groupby("score", sort=False).mean().reset_index()
