"""What a report says about a fitted classifier, asked by the classifier's own questions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from primo_pyro.analysis.impact import Revealed, impact_frame, impact_gap
from primo_pyro.analysis.report import BlocksFound, Findings, rows_to_show
from primo_pyro.errors import UnseenPatternWarning
from primo_pyro.modalities import Modalities
from primo_pyro.prediction import Summary
from primo_pyro.primo import PrimoEstimator

__all__ = ["findings_of"]

TOGETHER = 3  # other blocks that are named as absent together


def findings_of(
    clf: PrimoEstimator,
    x: Modalities,
    y: np.ndarray,
    modality: str | None,
    classes: np.ndarray,
    shares: Callable[[Modalities], pd.DataFrame],
) -> Findings:
    """Hide and reveal what rows have, and look at what they lack.

    Parameters
    ----------
    clf
        A fitted classifier.
    x, y
        All rows, as it reads them, and their labels ``[N]``.
    modality
        The modality that is hidden in the rows that have it; None: in each row all optional ones it has.
    classes
        The C labels.
    shares
        The plausible label shares of rows.

    Raises
    ------
    ModalityError
        Where the modality is not optional, or no row has something to hide.
    """
    names = clf.optional_ if modality is None else (modality,)
    has = np.any([x.present[name] for name in names if name in x.names], axis=0)
    if not np.any(has) or set(names) - set(clf.optional_):
        clf.impact_gap(x, modality)  # says what is wrong
    rows = x[has]
    revealed = _revealed(clf, rows, names)
    outcome = clf.model_.outcome
    gap = impact_gap(revealed, outcome)
    cards = rows_to_show(gap["impact_missing"])
    return Findings(
        modality=" and ".join(filter(None, [", ".join(names[:-1]), names[-1]])),
        classes=classes,
        y=y[has],
        missing=revealed.before,
        complete=revealed.after,
        impact=impact_frame(revealed.impact, outcome),
        gap=gap,
        cards=cards,
        shares=shares(rows[cards].drop(*names)) if len(cards) else pd.DataFrame(columns=classes),
        labels=rows.row_labels,
        found=_found(clf, x, classes),
    )


def _revealed(clf: PrimoEstimator, x: Modalities, names: tuple[str, ...]) -> Revealed:
    """Rows without and with those of the modalities that they have; V is about these alone."""
    missing = x.drop(*names)
    before, after, remaining = clf.summarise(missing), clf.summarise(x), clf.summarise(x, ())
    present = np.stack([x.present[name] for name in names], axis=1)
    patterns, which = np.unique(present, axis=0, return_inverse=True)
    order, parts = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenPatternWarning)  # said once above
        for place, pattern in enumerate(patterns):
            rows = np.flatnonzero(which.ravel() == place)
            about = [name for name, is_in in zip(names, pattern, strict=True) if is_in]
            order.append(rows)
            parts.append(replace(clf.summarise(missing[rows], about), log_likelihood=None))
    joined = Summary.joined(parts)
    back = np.argsort(np.concatenate(order))
    impact = replace(joined, **{name: v[back] for name, v in vars(joined).items() if v is not None})
    return Revealed(before.prediction, after.prediction, impact, remaining.spread)


def _found(clf: PrimoEstimator, x: Modalities, classes: np.ndarray) -> BlocksFound:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenPatternWarning)
        now = clf.summarise(x).prediction
        each = clf.predictive_impact(x, "each")
        tested = {m: _tested(clf, x[x.present[m]], m, now[x.present[m]]) for m in clf.optional_}
    lacking = np.stack([~x.present[m] for m in clf.optional_], axis=1).ravel()
    likely = [f"{classes[p.argmax()]} ({p.max():.2f})" for p in now]
    each = each.assign(prediction=np.repeat(likely, len(clf.optional_)))[lacking]
    by = "expected_change" if "expected_change" in each else "impact"
    means = each.groupby("modality")[["impact", *({by} - {"impact"})]].mean().reindex(clf.optional_)
    means = means.set_axis(["impact_absent", "expected_absent"][: means.shape[1]], axis=1)
    observed = [name for name in clf.shapes_ if name not in clf.optional_]
    blocks = pd.DataFrame(
        {
            "block": name,
            "role": "optional" if name in clf.optional_ else "observed",
            "features": _made_of(clf, name),
            "present": int(x.present[name].sum()),
            "absent": int((~x.present[name]).sum()),
            "share": float(x.present[name].mean()),
            "absent_with": _together(x, name),
        }
        | dict(tested.get(name, {}))
        for name in (*clf.optional_, *observed)
    )
    stacked = np.stack([x.present[name] for name in x.names], axis=1)
    patterns, rows = np.unique(stacked, axis=0, return_counts=True)
    named = [" + ".join(np.array(x.names)[pattern]) or "nothing" for pattern in patterns]
    learnt = clf.reader_.check() if clf.blocks is not None else None
    return BlocksFound(
        rows=len(x),
        blocks=blocks.join(means.reindex(columns=["impact_absent", "expected_absent"]), on="block"),
        columns=None if learnt is None else learnt.query("about == 'column'"),
        patterns=pd.DataFrame({"present": named, "rows": rows}),
        absent=each.sort_values(by, ascending=False, kind="stable"),
    )


def _made_of(clf: PrimoEstimator, name: str) -> str:
    if clf.blocks is None:
        return f"{' x '.join(map(str, clf.shapes_[name]))} numbers"
    columns = len(clf.reader_.columns_[name])
    return "1 column" if columns == 1 else f"{columns} columns"


def _tested(clf: PrimoEstimator, x: Modalities, name: str, after: np.ndarray) -> dict[str, float]:
    """Means over rows that have a modality, which was hidden and revealed."""
    if len(x) == 0:
        return dict.fromkeys(("impact", "expected", "realised", "flip"), np.nan)
    outcome, missing = clf.model_.outcome, x.drop(name)
    before = clf.summarise(missing).prediction
    forecast = clf.predictive_impact(missing, name)
    expected = forecast["expected_change"].mean() if "expected_change" in forecast else np.nan
    return {
        "impact": forecast["impact"].mean(),
        "expected": expected,
        "realised": outcome.distance(before, after).mean(),
        "flip": (before.argmax(1) != after.argmax(1)).mean(),
    }


def _together(x: Modalities, name: str) -> str:
    """The modalities that are most often absent where this one is, with their share of these rows."""
    absent = ~x.present[name]
    if not absent.any():
        return ""
    shares = {other: float((~x.present[other][absent]).mean()) for other in x.names if other != name}
    most = sorted(shares, key=lambda other: -shares[other])[:TOGETHER]
    return ", ".join(f"{other} {shares[other]:.0%}" for other in most if shares[other] > 0)
