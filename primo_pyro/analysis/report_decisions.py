"""Sections of a report about decisions: what can be promised, and whether revealing is worth its price."""

from __future__ import annotations

from html import escape

from primo_pyro.analysis import plots
from primo_pyro.analysis.certificates import promises_kept, skip_curve
from primo_pyro.analysis.report_findings import Findings
from primo_pyro.analysis.report_page import picture

__all__ = ["PRICE", "decision_section", "promise_section"]

ALLOWED = 0.05  # share of harm that is drawn as a line
PRICE = 0.001  # of revealing, in net benefit: 1,000 times for one more true positive


def promise_section(f: Findings) -> str:
    """Guarantees learnt on some of the rows and checked on the others; nothing without a certificate."""
    if f.certificate is None:
        return ""
    kept = promises_kept(f.certificate)
    curve = skip_curve(f.certificate.scores["impact"], f.certificate.harm("flip"))
    lines = "".join(
        f"<tr><th scope=row>{escape(line.guarantee)}</th><td>{line.promised:.0%}</td>"
        f"<td>{line.reached:.1%} ± {2 * line.error:.1%}</td><td>{line.size:.2f}</td></tr>"
        for line in kept.itertuples()
    )
    return f"""<h2>What can be promised</h2>
<div class=two><figure>{picture(plots.promises, kept)}<figcaption>Half of the rows certify, the others check;
mean over 20 splits, give or take two standard errors. Harm is that the label would have changed.</figcaption>
</figure>
<figure>{picture(plots.skips, curve, ALLOWED, f.short_name)}<figcaption>Rows with the lowest V do without it
first.</figcaption></figure></div>
<div class=scroll tabindex=0><table><thead><tr><td></td><th scope=col>promised</th><th scope=col>reached</th>
<th scope=col>mean bound, share skipped, or labels in the set</th></tr></thead><tbody>{lines}</tbody></table>
</div>"""


def decision_section(f: Findings) -> str:
    """Decision curves of two classes; nothing for more."""
    if f.curves is None:
        return ""
    return f"""<h2>Is it worth its price</h2>
<figure>{picture(plots.decision_curve, f.curves, f.short_name)}<figcaption>Net benefit: true positives less
false ones at the odds of the threshold, per row. Where it pays: revealed where the expected gain of the row
is above {PRICE}.</figcaption></figure>"""
