"""The digits of scikit-learn in half a minute: nothing to download, nothing to prepare."""

from __future__ import annotations

import sys
from pathlib import Path

from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.data.digits import load_digits_halves

__all__ = ["demo"]


def demo(epochs: int, seed: int, report: Path | None) -> str:
    """Train on digits whose bottom half may be missing, and say what it is worth."""
    x, y = load_digits_halves()
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
    clf = PrimoClassifier(max_epochs=epochs, random_state=seed, verbose=int(sys.stderr.isatty()))
    clf.fit(x_train.drop_at_random("bottom", random_state=seed), y_train)
    half = x_test.drop("bottom")
    impact = clf.predictive_impact(half)
    lines = [
        "1,797 handwritten digits: the top half is always present, the bottom half may be missing.",
        "",
        f"{'':<22}{'accuracy':>10}{'log loss':>10}",
    ]
    for name, rows in ("bottom half missing", half), ("both halves present", x_test):
        p = clf.predict_proba(rows)
        lines.append(f"{name:<22}{accuracy_score(y_test, p.argmax(1)):>10.3f}{log_loss(y_test, p):>10.3f}")
    most = impact["impact"].nlargest(3).index
    lines += ["", "The digits whose bottom half would change the prediction most:"]
    shares = clf.plausible_label_shares(half[most], by="weight")
    for place, row in enumerate(most):
        likely = shares.iloc[place].nlargest(3)
        may_be = ", ".join(f"{label} ({share:.0%})" for label, share in likely.items() if share > 0)
        lines.append(f"  digit {row}: V = {impact['impact'][row]:.2f}; it may turn out to be {may_be}")
    if report is not None:
        lines += ["", f"The page is {clf.report(x_test, y_test, report)}"]
    return "\n".join(lines)
