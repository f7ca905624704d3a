"""One HTML page about a data set: what each optional modality is worth, and for which rows.

Numbers and pictures come from `primo_pyro.analysis` and `primo_pyro.analysis.plots`. The page holds all its
pictures and needs no other file and no network. It is a list of sections, each a function of what was found,
which returns no text where it has nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from os import PathLike
from pathlib import Path

import matplotlib
import numpy as np

from primo_pyro.analysis import acquisition, plots
from primo_pyro.analysis.calibration import impact_calibration, impact_calibration_bins
from primo_pyro.analysis.impact import impact_bounds
from primo_pyro.analysis.report_decisions import PRICE, decision_section, promise_section
from primo_pyro.analysis.report_findings import BlocksFound, Findings, rows_to_show
from primo_pyro.analysis.report_page import as_number, page, picture, table
from primo_pyro.analysis.scores import scenario_scores
from primo_pyro.errors import FileError
from primo_pyro.files import write_atomically
from primo_pyro.program.outcomes import entropy

__all__ = ["PRICE", "SECTIONS", "BlocksFound", "Findings", "rows_to_show", "write_report"]

LINES = 30  # of rows with something absent; all of them are a question for predictive_impact
PATTERNS = 30
CARD = (3.6, 2.5)  # inches of a picture


def write_report(findings: Findings, place: str | PathLike[str]) -> Path:
    """Write the page, and return its path.

    Parameters
    ----------
    findings
        What it says.
    place
        A file ``*.html``, or a folder, in which it is ``report.html``. Folders are made where they do not
        exist.

    Raises
    ------
    FileError
        Where it cannot be written; an older page then stands.
    """
    if not isinstance(place, str | PathLike):
        raise FileError(
            f"folder is {type(place).__name__} ({place!r:.60}); expected the name of a folder, or of a file "
            "*.html. Pass a string or a pathlib.Path."
        )
    path = Path(place)
    if path.suffix.lower() not in (".html", ".htm"):
        path /= "report.html"
    with matplotlib.rc_context({"text.parse_math": False}):  # names may hold dollar signs
        text = page(f"The worth of {findings.modality}", (section(findings) for section in SECTIONS))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{path.parent} cannot be made ({error.strerror or error}); expected a folder, or a place for "
            "one. Name another one."
        ) from error
    write_atomically(path, text.encode("utf-8", "replace"))
    return path


# --- What was hidden and revealed ------------------------------------------------------------------------


def _lead(f: Findings) -> str:
    v, name = f.gap["impact_missing"], escape(f.modality)
    of = f" of {f.found.rows:,}" if f.found is not None and f.found.rows > len(f.y) else ""
    have = "any of these blocks, what they have of them" if " and " in f.modality else "it, it"
    return (
        f"<h1>The worth of {name}</h1>\n<p class=lead>In the {len(f.y):,}{of} rows that have {have} was "
        "hidden, its impact V predicted, and then revealed. V, the expected change of the prediction, is "
        f"{v.mean():.2f} on average (total variation distance, 0 to 1), and revealing it changed the "
        f"predicted label of {f.gap['flip'].mean():.0%} of these rows.</p>"
    )


SCORES = {  # name of a score: its title, and a number's format
    "accuracy": ("Accuracy", "{:.1%}"),
    "log_loss": ("Log loss (nats)", "{:.3f}"),
    "brier": ("Brier score", "{:.3f}"),
    "auroc": ("AUROC, mean over classes", "{:.3f}"),
    "auprc": ("AUPRC, mean over classes", "{:.3f}"),
    "calibration_error": ("Class-wise calibration error", "{:.3f}"),
    "mean_impact": ("Mean impact V", "{:.3f}"),
}


def _scores(f: Findings) -> str:
    scenarios = {"missing": f.missing, "complete": f.complete}
    impacts = {s: f.gap[f"impact_{s}"] for s in scenarios}
    scores = scenario_scores(f.y, scenarios, impacts, f.classes)
    scores = scores.pivot_table(index="metric", columns="scenario", values="value", dropna=False)
    lines = "".join(
        f"<tr><th scope=row>{title}</th>"
        + "".join(f"<td>{as_number(scores.loc[metric, s], form)}</td>" for s in scenarios)
        + "</tr>"
        for metric, (title, form) in SCORES.items()
    )
    return (
        f"<h2>Predictions without and with {escape(f.short_name)}</h2>\n<table><thead><tr><td></td>"
        f"<th scope=col>hidden</th><th scope=col>revealed</th></tr></thead>\n<tbody>{lines}</tbody></table>\n"
        f"<p>{len(f.classes)} classes, {len(f.y):,} rows. Low is good for log loss, Brier score and "
        "calibration error, high for the others. V is no score: it says how far predictions are expected to "
        "move once the block is revealed.</p>"
    )


def _order(f: Findings) -> str:
    scores = {
        "V": f.gap["impact_missing"],
        "information gain": f.impact["information_gain"],
        "entropy": entropy(f.missing),
    }
    curves = acquisition.acquisition_curves(f.y, f.missing, f.complete, scores, classes=f.classes)
    summary = acquisition.acquisition_summary(curves).query("metric == 'log_loss'")
    recovered = ", ".join(
        f"{escape(s)} {as_number(r, '{:.0%}')}" for s, r in summary.set_index("score")["recovered"].items()
    )
    return f"""<h2>For which rows to reveal {escape(f.short_name)} first</h2>
<div class=two><figure>{picture(plots.impact_ecdf, f.gap, f.short_name)}<figcaption>Each line says what
share of the rows has at most a certain V. The further right, the more predictions depend on what is not
known.</figcaption></figure>
<figure>{picture(plots.acquisition_curve, curves, "log_loss", f.short_name)}<figcaption>Each score says for
which rows to reveal {escape(f.short_name)} first. With {acquisition.SHARE:.0%} of the rows revealed,
the share of the whole gain is: {recovered}. The oracle knows the labels.</figcaption></figure></div>"""


def _calibration(f: Findings) -> str:
    v, change = f.gap["impact_missing"], f.gap["realised_change"]
    numbers = impact_calibration(v, change)
    bins = impact_calibration_bins(v, change, f.gap["flip"])
    bounds = impact_bounds(v, f.gap["impact_complete"], f.missing, f.complete)
    outside = int((bounds["violation"] > 2 * bounds["realised_se"]).sum())
    return f"""<h2>Does V predict the change</h2>
<div class=two><figure>{picture(plots.impact_calibration, bins, numbers["slope"])}<figcaption>Rows in groups
of similar V. On the dashed line the realised change equals the expected change.</figcaption></figure>
<div><p>Realised over expected change: <b>{as_number(numbers["slope"], "{:.2f}")}</b> (1 is right).</p>
<p>Rank correlation of both: <b>{as_number(numbers["rank_correlation"], "{:.2f}")}</b>.</p>
<p>The tenth of the rows with the highest V changed <b>{as_number(numbers["lift"], "{:.1f}")}</b> times as
much as all rows.</p>
<p>The realised change lies between V hidden - V revealed and V hidden, give or take two standard errors, in
<b>{len(bounds) - outside} of {len(bounds)}</b> groups of rows.</p></div></div>"""


BARS_OF_LABELS = (
    "Bars: the plausible labels of the row, by the share of the clusters of draws that predict each."
)
BARS_OF_RISKS = (
    "Bars: what the risk may become, by the share of draws; now, when revealed, and the threshold from which "
    "one acts."
)


def _rows(f: Findings) -> str:
    half = len(f.cards) // 2
    return f"""<h2>Rows with the highest V</h2>
<p>{BARS_OF_LABELS if f.risks is None else BARS_OF_RISKS}</p>
<div class=cards>{"".join(_card(f, i) for i in range(half))}</div>
<h2>Rows with the lowest V</h2>
<div class=cards>{"".join(_card(f, i) for i in range(half, len(f.cards)))}</div>"""


def _card(f: Findings, i: int) -> str:
    row = int(f.cards[i])
    v = f.gap["impact_missing"].to_numpy()

    def as_text(p: np.ndarray) -> str:
        return f"{f.classes[int(p.argmax())]} ({p.max():.2f})"

    said = {
        "Predicted when hidden": as_text(f.missing[row]),
        "When revealed": as_text(f.complete[row]),
        "True label": str(f.y[row]),
        "Changed by": f"{f.gap['realised_change'].iloc[row]:.2f}",
    } | _each(f, i)
    lines = "".join(f"<dt>{escape(what)}</dt><dd>{escape(text)}</dd>" for what, text in said.items())
    return (
        f"<article class=card><h3>Row {escape(_name(f, row))}</h3>\n<p>V = {v[row]:.2f}, rank "
        f"{1 + int((v > v[row]).sum()):,} of {len(v):,}</p>{_bars(f, i)}\n<dl>{lines}</dl></article>\n"
    )


def _bars(f: Findings, i: int) -> str:
    """The picture of a card."""
    row = int(f.cards[i])
    v, about = f.gap["impact_missing"].iloc[row], f"row {_name(f, row)}"
    if f.risks is None:
        return picture(plots.label_shares_bars, f.shares.iloc[i], v, f.y[row], size=CARD, about=about)
    event, then = str(f.classes[1]), float(f.complete[row, 1])
    return picture(plots.risk_draws, f.risks[i], f.threshold, event, then, size=CARD, about=about)


def _each(f: Findings, i: int) -> dict[str, str]:
    """What each modality alone would change in a row."""
    said = {}
    for line in [] if f.each is None else f.each[f.each["row"] == i].to_dict("records"):
        expected = f" ({line['expected_change']:.2f} expected)" if "expected_change" in line else ""
        said[f"V of {line['modality']} alone"] = f"{line['impact']:.2f}{expected}"
    return said


def _name(f: Findings, row: int) -> str:
    return str(row if f.labels is None else f.labels[row])


# --- All rows as they came -------------------------------------------------------------------------------


def _blocks(f: Findings) -> str:
    if f.found is None:
        return ""
    titles = {
        "block": "Block",
        "role": "Role",
        "features": "Made of",
        "share": "Present in",
        "absent_with": "Where it is absent, also absent",
    }
    return (
        f"<h2>The blocks</h2>\n<p>{f.found.rows:,} rows came, with labels. An observed block is present in "
        "every training row; an optional one may be absent.</p>\n"
        + table(f.found.blocks, titles, {"share": "{:.0%}"})
    )


def _worth(f: Findings) -> str:
    if f.found is None:
        return ""
    blocks = f.found.blocks.query("role == 'optional'")
    calibrated = blocks[["expected", "expected_absent"]].notna().any(axis=None)
    forecast = "Expected change"
    lacking = {"absent": "Rows", "impact_absent": "V"}
    having = {"present": "Rows", "impact": "V"}
    if calibrated:
        lacking["expected_absent"] = having["expected"] = forecast
    having |= {"realised": "Realised change", "flip": "Label changed"}
    forms = dict.fromkeys((*lacking, *having), "{:.3f}")
    forms |= {"absent": "{:,.0f}", "present": "{:,.0f}", "flip": "{:.0%}"}
    shown = table(
        blocks,
        {"block": "Optional block"} | lacking | having,
        forms,
        groups=[
            ("", 1),
            ("rows that lack it", len(lacking)),
            ("rows that have it: hidden, then revealed", len(having)),
        ],
    )
    words = (
        "The expected change is V corrected by calibration."
        if calibrated
        else "Impact is not calibrated: calibrate_impact corrects V on rows that were not trained on."
    )
    return f"""<h2>What each block is worth, side by side</h2>
<p>V of a block says how far the prediction is expected to move once this block alone is revealed: 0 not at
all, 1 from one label to another for certain. {words} In rows that have the block this was checked: V is the
forecast, the realised change is what happened.</p>
{shown}"""


def _columns(f: Findings) -> str:
    if f.found is None or f.found.columns is None:
        return ""
    titles = {
        "name": "Column",
        "block": "Block",
        "became": "Read as",
        "features": "Numbers",
        "missing": "Missing",
        "detail": "Values",
        "note": "Note",
    }
    if not (f.found.columns["note"] != "").any():
        del titles["note"]
    return (
        "<h2>What each block is made of</h2>\n<p>As learnt on the training rows. A category becomes a number "
        "for each frequent value, one for all rare ones, and one for values that no training row had.</p>\n"
        + table(f.found.columns, titles, {"features": "{:,.0f}", "missing": "{:.0%}"})
    )


def _patterns(f: Findings) -> str:
    if f.found is None:
        return ""
    most = f.found.patterns.nlargest(PATTERNS, "rows")
    rest = len(f.found.patterns) - len(most)
    more = f"<p class=note>{rest} more patterns are left out.</p>" if rest else ""
    shown = most.assign(share=most["rows"] / f.found.rows)
    titles = {"present": "Present", "rows": "Rows", "share": "Share"}
    return (
        "<h2>Which blocks are absent together</h2>\n"
        + table(shown, titles, {"rows": "{:,.0f}", "share": "{:.1%}"})
        + more
    )


def _absent(f: Findings) -> str:
    if f.found is None or f.found.absent.empty:
        return ""
    lines = f.found.absent[:LINES]
    titles = {"row": "Row", "modality": "Absent block", "impact": "V", "expected_change": "Expected change"}
    titles |= {"flip_probability": "Label would change", "prediction": "Predicted now"}
    titles = {name: title for name, title in titles.items() if name in lines}
    forms = {"impact": "{:.3f}", "expected_change": "{:.3f}", "flip_probability": "{:.0%}"}
    more = len(f.found.absent) - len(lines)
    note = f"<p class=note>{more:,} more lines have lower values: predictive_impact(x, 'each') gives all.</p>"
    return (
        "<h2>What to acquire first</h2>\n<p>Blocks that rows lack, the highest expected change first.</p>\n"
        + table(lines, titles, {name: form for name, form in forms.items() if name in titles})
        + (note if more else "")
    )


Section = Callable[[Findings], str]
SECTIONS: tuple[Section, ...] = (
    _lead,
    _blocks,
    _worth,
    _absent,
    _scores,
    _order,
    _calibration,
    promise_section,
    decision_section,
    _rows,
    _columns,
    _patterns,
)
