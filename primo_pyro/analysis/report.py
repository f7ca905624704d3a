"""One HTML page about a data set: what the absent modality is worth, and for which rows.

Numbers and pictures come from `primo_pyro.analysis` and `primo_pyro.analysis.plots`. The page holds all its
pictures and needs no other file and no network.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from string import Template
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from primo_pyro.analysis import acquisition, plots
from primo_pyro.analysis.calibration import impact_calibration, impact_calibration_bins
from primo_pyro.analysis.certificates import Certificate, promises_kept, skip_curve
from primo_pyro.analysis.impact import impact_bounds
from primo_pyro.analysis.scores import scenario_scores
from primo_pyro.errors import FileError
from primo_pyro.files import write_atomically
from primo_pyro.program.outcomes import entropy

__all__ = ["Findings", "rows_to_show", "write_report"]


@dataclass(frozen=True)
class Findings:
    """What a page reports about N complete rows whose modality was hidden and then revealed.

    Attributes
    ----------
    modality
        Its name.
    classes
        The C labels.
    y
        Labels ``[N]``.
    missing, complete
        Predictions ``[N, C]`` without and with the modality.
    impact
        ``impact`` and ``information_gain`` of each row, without the modality.
    gap
        ``impact_missing, impact_complete, gap, realised_change, flip`` of each row.
    cards
        The rows that are described one by one: positions, the highest V first.
    shares
        Plausible label shares of these rows ``[cards, C]``.
    each
        ``row`` (place among the cards), ``modality``, ``impact`` and, where known, ``expected_change``: what
        each hidden modality alone would change; None where there is one.
    certificate
        The same rows as certification rows, by which promises are checked; None leaves that out.
    risks
        Of two classes: risks of the second one under single draws of the cards' rows ``[cards, K]``.
    threshold
        The risk from which one acts.
    curves
        From `primo_pyro.analysis.decisions.decision_curves`.
    """

    modality: str
    classes: Sequence | np.ndarray
    y: np.ndarray
    missing: np.ndarray
    complete: np.ndarray
    impact: pd.DataFrame
    gap: pd.DataFrame
    cards: np.ndarray
    shares: pd.DataFrame
    each: pd.DataFrame | None = None
    certificate: Certificate | None = None
    risks: np.ndarray | None = None
    threshold: float | None = None
    curves: pd.DataFrame | None = None


def rows_to_show(impact: ArrayLike, count: int = 3) -> np.ndarray:
    """Positions of the rows with the highest V and of those with the lowest, at most ``count`` of each.

    >>> rows_to_show(np.array([0.1, 0.5, 0.0, 0.3]), count=1)
    array([1, 2])
    """
    order = np.argsort(-np.asarray(impact), kind="stable")
    count = min(count, len(order) // 2)
    return np.concatenate([order[:count], order[len(order) - count :]])


def write_report(findings: Findings, folder: str | PathLike[str]) -> Path:
    """Write ``report.html`` into ``folder``, which is made where it does not exist, and return its path.

    Raises
    ------
    FileError
        Where it cannot be written; an older page then stands.
    """
    path = Path(folder) / "report.html"
    with matplotlib.rc_context({"text.parse_math": False}):  # labels may hold dollar signs
        page = _page(findings).encode("utf-8", "replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{folder} cannot be made ({error.strerror or error}); expected a folder, or a place for one. "
            "Name another one."
        ) from error
    write_atomically(path, page)
    return path


def _page(f: Findings) -> str:
    name = escape(f.modality)
    v = f.gap["impact_missing"]
    scores = {"V": v, "information gain": f.impact["information_gain"], "entropy": entropy(f.missing)}
    curves = acquisition.acquisition_curves(f.y, f.missing, f.complete, scores, classes=f.classes)
    summary = acquisition.acquisition_summary(curves).query("metric == 'log_loss'")
    recovered = summary.set_index("score")["recovered"]
    calibration = impact_calibration(v, f.gap["realised_change"])
    bins = impact_calibration_bins(v, f.gap["realised_change"], f.gap["flip"])
    bounds = impact_bounds(v, f.gap["impact_complete"], f.missing, f.complete)
    outside = int((bounds["violation"] > 2 * bounds["realised_se"]).sum())
    return PAGE.substitute(
        modality=name,
        rows=f"{len(f.y):,}",
        classes=len(f.classes),
        mean_impact=f"{v.mean():.2f}",
        flips=f"{f.gap['flip'].mean():.0%}",
        scenarios=_scenario_table(f),
        ecdf=_picture(plots.impact_ecdf, f.gap, f.modality),
        calibration=_picture(plots.impact_calibration, bins, calibration["slope"]),
        curve=_picture(plots.acquisition_curve, curves, "log_loss", f.modality),
        slope=f"{calibration['slope']:.2f}",
        rank=f"{calibration['rank_correlation']:.2f}",
        lift=f"{calibration['lift']:.1f}",
        inside=f"{len(bounds) - outside} of {len(bounds)}",
        share=f"{acquisition.SHARE:.0%}",
        recovered=", ".join(f"{escape(s)} {r:.0%}" for s, r in recovered.items()),
        decisions=_decisions(f),
        bars=CARDS_OF_RISKS if f.risks is not None else CARDS_OF_LABELS,
        highest="".join(_card(f, i) for i in range(len(f.cards) // 2)),
        lowest="".join(_card(f, i) for i in range(len(f.cards) // 2, len(f.cards))),
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


def _scenario_table(f: Findings) -> str:
    scenarios = {"missing": f.missing, "complete": f.complete}
    impacts = {s: f.gap[f"impact_{s}"] for s in scenarios}
    table = scenario_scores(f.y, scenarios, impacts, f.classes)
    table = table.pivot_table(index="metric", columns="scenario", values="value", dropna=False)
    lines = [
        f"<tr><th scope=row>{title}</th>"
        + "".join(f"<td>{form.format(table.loc[metric, s])}</td>" for s in scenarios)
        + "</tr>"
        for metric, (title, form) in SCORES.items()
    ]
    return "".join(lines)


def _decisions(f: Findings) -> str:
    """Promises and decisions, where there is something to check them by."""
    parts = []
    if f.certificate is not None:
        kept = promises_kept(f.certificate)
        curve = skip_curve(f.certificate.scores["impact"], f.certificate.harm("flip"))
        parts.append(
            PROMISES.substitute(
                promises=_picture(plots.promises, kept),
                skips=_picture(plots.skips, curve, 0.05, f.modality),
                lines="".join(
                    f"<tr><th scope=row>{escape(line.guarantee)}</th><td>{line.promised:.0%}</td>"
                    f"<td>{line.reached:.1%} ± {2 * line.error:.1%}</td><td>{line.size:.2f}</td></tr>"
                    for line in kept.itertuples()
                ),
            )
        )
    if f.curves is not None:
        parts.append(CURVES.substitute(curve=_picture(plots.decision_curve, f.curves, f.modality)))
    return "".join(parts)


def _card(f: Findings, i: int) -> str:
    row = int(f.cards[i])
    v = f.gap["impact_missing"].to_numpy()
    rank = 1 + int((v > v[row]).sum())
    small: dict[str, Any] = {"size": (3.6, 2.5), "about": f"row {row}"}
    if f.risks is None:
        bars = _picture(plots.label_shares_bars, f.shares.iloc[i], v[row], f.y[row], **small)
    else:
        event, then = str(f.classes[1]), float(f.complete[row, 1])
        bars = _picture(plots.risk_draws, f.risks[i], f.threshold, event, then, **small)

    def as_text(p: np.ndarray) -> str:
        return f"{escape(str(f.classes[int(p.argmax())]))} ({p.max():.2f})"

    return CARD.substitute(
        row=row,
        impact=f"{v[row]:.2f}",
        place=f"rank {rank:,} of {len(v):,}",
        now=as_text(f.missing[row]),
        then=as_text(f.complete[row]),
        truth=escape(str(f.y[row])),
        change=f"{f.gap['realised_change'].iloc[row]:.2f}",
        each=_each(f, i),
        bars=bars,
    )


def _each(f: Findings, i: int) -> str:
    """What each modality alone would change in a row."""
    lines = []
    for line in [] if f.each is None else f.each[f.each["row"] == i].to_dict("records"):
        expected = f" ({line['expected_change']:.2f} expected)" if "expected_change" in line else ""
        lines.append(f"<dt>V of {escape(line['modality'])} alone</dt><dd>{line['impact']:.2f}{expected}</dd>")
    return "".join(lines)


def _picture(
    draw: Callable[..., Axes], *args: Any, size: tuple[float, float] = (6.4, 4.2), about: str = ""
) -> str:
    """An ``img`` that holds its own bytes; its title is the text for readers who cannot see it."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    ax = draw(*args, ax=figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120)
    text = escape(f"{about} {ax.get_title(loc='left')}".strip(), quote=True)
    return f'<img alt="{text}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


CARD = Template("""<article class=card><h3>Row $row</h3><p>V = $impact, $place</p>$bars
<dl><dt>Predicted now</dt><dd>$now</dd><dt>When revealed</dt><dd>$then</dd>
<dt>True label</dt><dd>$truth</dd><dt>Changed by</dt><dd>$change</dd>$each</dl></article>
""")

CARDS_OF_LABELS = (
    "Bars: the plausible labels of the row, by the share of the clusters of draws that predict each."
)
CARDS_OF_RISKS = (
    "Bars: what the risk may become, by the share of draws; now, when revealed, and the threshold."
)

PROMISES = Template("""<h2>What can be promised</h2>
<div class=two><figure>$promises<figcaption>Half of the rows certify, the others check; mean over 20 splits,
give or take two standard errors. Harm is that the label would have changed.</figcaption></figure>
<figure>$skips<figcaption>Rows with the lowest V do without it first.</figcaption></figure></div>
<table><thead><tr><td></td><th scope=col>promised</th><th scope=col>reached</th>
<th scope=col>mean bound, share skipped, or labels in the set</th></tr></thead><tbody>$lines</tbody></table>
""")

CURVES = Template("""<h2>Is it worth its price</h2>
<figure>$curve<figcaption>Net benefit: true positives less false ones at the odds of the threshold, per row.
Where it pays: revealed where the expected gain of the row is above 0.001.</figcaption></figure>
""")

PAGE = Template("""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1">
<title>The worth of $modality</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 66rem; margin: 2rem auto; padding: 0 1rem }
h1, h2, h3 { line-height: 1.2 }
h2 { margin-top: 2.5rem }
img { max-width: 100%; height: auto }
figure { margin: 0 }
figcaption { font-size: .95rem }
table { border-collapse: collapse }
th, td { padding: .3rem .9rem; border-bottom: 1px solid #ddd; text-align: right }
th[scope=row] { text-align: left; font-weight: normal }
.lead { font-size: 1.2rem }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem;
  align-items: start }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem }
.card { border: 1px solid #ccc; border-radius: .5rem; padding: .75rem }
.card h3, .card p { margin: 0 0 .3rem }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0 .75rem; margin: .5rem 0 0; font-size: .9rem }
dt { color: #555 }
dd { margin: 0; text-align: right }
</style>
</head><body>
<h1>The worth of $modality</h1>
<p class=lead>In $rows rows with all modalities, $modality was hidden, its impact V predicted, and then
revealed. V, the expected change of the prediction, is $mean_impact on average (total variation distance, 0 to
1), and revealing it changed the predicted label of $flips of the rows.</p>
<h2>Predictions without and with $modality</h2>
<table><thead><tr><td></td><th scope=col>missing</th><th scope=col>complete</th></tr></thead>
<tbody>$scenarios</tbody></table>
<p>$classes classes. Low is good for log loss, Brier score and calibration error, high for the others. V is no
score: it says how far predictions are expected to move once $modality is revealed.</p>
<h2>For which rows to reveal it</h2>
<div class=two><figure>$ecdf<figcaption>Each line says what share of the rows has at most a certain V. The
further right, the more predictions depend on what is not known.</figcaption></figure>
<figure>$curve<figcaption>Each score says for which rows to reveal $modality first. With $share of the rows
revealed, the share of the whole gain is: $recovered. The oracle knows the labels.</figcaption></figure></div>
<h2>Does V predict the change</h2>
<div class=two><figure>$calibration<figcaption>Rows in groups of similar V. On the dashed line the
realised change equals the expected change.</figcaption></figure>
<div><p>Realised over expected change: <b>$slope</b> (1 is right).</p><p>Rank correlation of both:
<b>$rank</b>.</p> <p>The tenth of the rows with the highest V changed <b>$lift</b> times as much as all
rows.</p> <p>The realised change lies between V missing - V complete and V missing, give or take two standard
errors, in <b>$inside</b> groups of rows.</p></div></div>
$decisions<h2>Rows with the highest V</h2>
<p>$bars</p>
<div class=cards>$highest</div>
<h2>Rows with the lowest V</h2>
<div class=cards>$lowest</div>
</body></html>
""")
