"""What a report says about a fitted classifier, asked by the classifier's own questions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from primo_pyro.analysis.calibration import FEW_ROWS
from primo_pyro.analysis.certificates import Certificate
from primo_pyro.analysis.decisions import THRESHOLDS, decision_curves
from primo_pyro.analysis.impact import Revealed, impact_frame, impact_gap
from primo_pyro.analysis.report import PRICE, BlocksFound, Findings, rows_to_show
from primo_pyro.errors import PrimoError, PrimoWarning, UnseenPatternWarning
from primo_pyro.modalities import Modalities
from primo_pyro.parameters import Real, check_parameter
from primo_pyro.patterns import rows_by_set
from primo_pyro.primo import PrimoEstimator

__all__ = ["findings_of"]

TOGETHER = 3  # other blocks that are named as absent together
Sets = Sequence[tuple[tuple[str, ...], np.ndarray]]  # modalities that were hidden, and in which rows


def findings_of(
    clf: PrimoEstimator,
    x: Modalities,
    y: np.ndarray,
    modality: str | None,
    classes: np.ndarray,
    shares: Callable[[Modalities], pd.DataFrame],
    *,
    threshold: float | None = None,
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
    threshold
        Of two classes the risk of the second one from which one acts; None: its share among ``y``.

    Raises
    ------
    ModalityError
        Where the modality is not optional, or no row has something to hide.
    PrimoError
        For a threshold that is no risk, or where there are not two classes.
    """
    of_two = len(classes) == 2 and clf._has_classes
    if threshold is not None:
        check_parameter("threshold", threshold, Real(0, 1, above=True, below=True))
        if not of_two:
            raise PrimoError(
                f"threshold is {threshold}, and there are {len(classes)} classes; expected two. Leave it out."
            )
    names = clf._optional_names(modality) or clf.optional_
    has = (np.any if modality is None else np.all)([x.present[name] for name in names], axis=0)
    if not np.any(has):
        clf.impact_gap(x, modality)  # says what is wrong
    rows, labels = x[has], y[has]
    revealed = clf._reveal(rows, modality)
    outcome = clf.model_.outcome
    gap = impact_gap(revealed, outcome)
    cards = rows_to_show(gap["impact_missing"])
    shown = rows[cards].drop(*names)
    sets = rows_by_set({name: rows.present[name] for name in names})
    more: dict[str, Any] = {}
    if of_two:
        more["threshold"] = float((y == classes[1]).mean()) if threshold is None else threshold
        more["curves"] = _curves(clf, rows, labels, revealed, sets, classes)
        if len(cards):
            more["risks"] = clf.sample_predictions(shown)[..., 1].T
    if len(names) > 1 and len(cards):
        more["each"] = _each(clf, rows[cards], names)
    if len(rows) >= FEW_ROWS:
        more["certificate"] = _certificate(clf, rows, labels, sets)
    return Findings(
        modality=" and ".join(filter(None, [", ".join(names[:-1]), names[-1]])),
        classes=classes,
        y=labels,
        missing=revealed.before,
        complete=revealed.after,
        impact=impact_frame(revealed.impact, outcome),
        gap=gap,
        cards=cards,
        shares=shares(shown) if len(cards) else pd.DataFrame(columns=classes),
        labels=rows.row_labels,
        found=_found(clf, x, classes),
        **more,
    )


# --- Decisions -------------------------------------------------------------------------------------------


def _each(clf: PrimoEstimator, x: Modalities, names: tuple[str, ...]) -> pd.DataFrame:
    """What each modality that a row has would change, were all of them hidden and it alone revealed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenPatternWarning)
        each = clf.predictive_impact(x.drop(*names), "each")
    each = each.assign(row=np.repeat(np.arange(len(x)), len(clf.optional_)))
    had = [name in names and bool(x.present[name][row]) for row, name in each[["row", "modality"]].values]
    return each[had]


def _certificate(clf: PrimoEstimator, x: Modalities, y: np.ndarray, sets: Sets) -> Certificate:
    """All rows as certification rows, each about what was hidden of it."""
    codes = clf.labels_.encode(y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrimoWarning)  # of few rows with one set: they count together
        parts = [clf._certificate(x[at], codes[at], about, None, weighted=False) for about, at in sets]
    return Certificate.joined(parts)


def _curves(
    clf: PrimoEstimator,
    x: Modalities,
    y: np.ndarray,
    revealed: Revealed,
    sets: Sets,
    classes: np.ndarray,
) -> pd.DataFrame:
    value = np.zeros((len(x), len(THRESHOLDS)))
    for about, at in sets:
        missing = x[at].drop(*about)
        for place, t in enumerate(THRESHOLDS):
            worth = clf.value_of_revealing(missing, threshold=t, modality=about)["value"]
            value[at, place] = worth
    return decision_curves(y, revealed.before, revealed.after, value, classes=classes, cost=PRICE)


# --- All rows as they came -------------------------------------------------------------------------------


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
    patterns = [(" + ".join(names) or "nothing", len(rows)) for names, rows in rows_by_set(x.present)]
    learnt = clf.reader_.check() if clf.blocks is not None else None
    return BlocksFound(
        rows=len(x),
        blocks=blocks.join(means.reindex(columns=["impact_absent", "expected_absent"]), on="block"),
        columns=None if learnt is None else learnt.query("about == 'column'"),
        patterns=pd.DataFrame(patterns, columns=["present", "rows"]),
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
