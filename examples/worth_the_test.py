"""Which cases can do without a test: a statement about new cases, checked on cases that it is true of.

    python examples/worth_the_test.py --task support2 --out out/worth

PRIMO is trained once. Cases that were not trained on certify it, and others are asked about: which can do
without the test, if at most 5 % of those spared may be such as would have changed class (90 % confidence).
Of two outcomes, to change class is to change sides of the risk from which one acts: a rare outcome is hardly
ever the more probable one. Since these others had the test, the promise is checked on them, and then over 20
splits of all cases that were not trained on. Printed as well: what is promised where cases that lack the
test differ from those who had it, and what the test is worth to who acts from that risk on. The data are read
from the folder that PRIMO_DATA names.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis import plots
from primo_pyro.analysis.certificates import skip_curve
from primo_pyro.analysis.decisions import THRESHOLDS, decision_curves
from primo_pyro.errors import PrimoWarning
from primo_pyro.studies.figures import new_figure, save_figure
from primo_pyro.studies.promises import kept_promises, skipped_by_score
from primo_pyro.studies.protocols import AV_MNIST, DIGIT_HALVES, PHYSIONET_2012, SUPPORT2
from primo_pyro.studies.runner import common_flags, network_settings
from primo_pyro.studies.tasks import av_mnist, digit_halves, physionet2012, support2

TASKS = {  # how its rows are made, its settings, and the test in question
    "support2": (support2, SUPPORT2, "blood_gas"),
    "physionet2012": (physionet2012, PHYSIONET_2012, "series"),
    "physionet2012_six": (partial(physionet2012, "mortality6"), PHYSIONET_2012, "series"),
    "digits": (digit_halves, DIGIT_HALVES, "bottom"),
    "avmnist": (av_mnist, AV_MNIST, "audio"),
}


def changed_class(rows: pd.DataFrame, threshold: float) -> np.ndarray:
    """Whether each row got to the other side of the risk, or, of several classes, to another class."""
    if "before_2" in rows:
        return rows["flip"].to_numpy()
    return ((rows["before_1"] >= threshold) != (rows["after_1"] >= threshold)).to_numpy()


def show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n{table.to_string(index=False, float_format='{:.3f}'.format)}")


def main() -> None:
    parser = common_flags(__doc__.splitlines()[0], out="out/worth", rows=None, rows_help="training rows")
    parser.add_argument("--task", choices=list(TASKS), default="support2", help="data set")
    parser.add_argument("--rate", type=float, default=0.05, help="share of the spared who may change class")
    parser.add_argument("--confidence", type=float, default=0.9, help="in that promise")
    parser.add_argument("--threshold", type=float, default=0.2, help="risk from which one acts")
    args = parser.parse_args()
    make, protocol, test = TASKS[args.task]
    name = test.replace("_", " ")
    args.out.mkdir(parents=True, exist_ok=True)
    task = make() if args.rows is None else make(rows=args.rows)
    harm = partial(changed_class, threshold=args.threshold)
    train, validation, other = task.rows(0)
    if validation is None:
        cut = len(other[0]) // 2
        validation, other = ((other[0][at], other[1][at]) for at in (slice(cut), slice(cut, None)))
    settings = network_settings(protocol, args) | dict(protocol.primo) | {"random_state": 0}
    drawn = train[0]
    for i, modality in enumerate(task.optional):
        drawn = drawn.drop_at_random(modality, rate=task.rate, random_state=i)
    clf = PrimoClassifier(optional=task.optional, **settings).fit(drawn, train[1])

    # Patients who were not trained on and had the test. What else they lack stays as it is.
    certifying, asked = ((x[x.present[test]], np.asarray(y)[x.present[test]]) for x, y in (validation, other))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", PrimoWarning)
        clf.certify(certifying[0], modality=test)
        hidden = asked[0].drop(test)
        answer = clf.safe_to_skip(hidden, harm, args.rate, args.confidence)
        bound = clf.change_at_most(hidden)["change_at_most"]
    print(*(f"note: {warning.message}" for warning in said), sep="\n")
    gap, spared = clf.impact_gap(asked[0], test), answer["skip"].to_numpy()
    p = clf.predict_proba(hidden), clf.predict_proba(asked[0])
    sides = [pd.DataFrame(q).add_prefix(f"{when}_") for q, when in zip(p, ("before", "after"), strict=True)]
    changed = harm(pd.concat([*sides, gap["flip"]], axis=1))
    print(
        f"\n{spared.sum()} of {len(spared)} cases can do without {name} (V up to "
        f"{answer['threshold'].iloc[0]:.4f}, learnt from {len(certifying[0])} cases);\n"
        f"at most {args.rate:.0%} of those spared would have changed class ({args.confidence:.0%} "
        "confidence)."
    )
    if spared.any():
        print(f"Of those spared {changed[spared].mean():.1%} changed class when it was revealed.")
    print(
        f"The change of a case is at most {bound.mean():.3f} on average (90 % coverage: reached "
        f"{(gap['realised_change'] <= bound).mean():.1%}); it was {gap['realised_change'].mean():.3f}."
    )

    everybody = certifying[0].names
    pooled = Modalities(
        {m: np.concatenate([certifying[0].values[m], asked[0].values[m]]) for m in everybody},
        {m: np.concatenate([certifying[0].present[m], asked[0].present[m]]) for m in everybody},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrimoWarning)
        # With labels every pattern of absence is certified too, which takes long where there are many.
        labels = np.concatenate([certifying[1], asked[1]]) if len(task.optional) == 1 else None
        clf.certify(pooled, labels, modality=test)
    known = clf.certificates_[test]
    promised = kept_promises(known, harm=harm, rate=args.rate, confidence=args.confidence)
    show("Promised and reached over 20 splits of the cases that were not trained on", promised)
    shares = skipped_by_score(known, args.rate, args.confidence, harm)
    show(f"Share that may be skipped at {args.rate:.0%} changes, by the score that orders them", shares)

    figure = new_figure(19, 4.4)
    axes = figure.subplots(1, 3)
    plots.promises(promised, ax=axes[0])
    plots.skips(skip_curve(known.scores["impact"], known.harm(harm)), args.rate, name, ax=axes[1])
    if len(clf.classes_) == 2:
        value = np.stack(
            [clf.value_of_revealing(hidden, threshold=t, modality=test)["value"] for t in THRESHOLDS], axis=1
        )
        curves = decision_curves(asked[1], *p, value, classes=clf.classes_, cost=0.001)
        plots.decision_curve(curves, name, ax=axes[2])
        near = THRESHOLDS[abs(THRESHOLDS - args.threshold).argmin()]
        show(f"Net benefit for who acts from a risk of {near:.0%}", curves[curves["threshold"] == near])
    else:
        plots.risk_draws(known.scores["impact"], event="a change (V)", ax=axes[2])
    save_figure(figure, args.out / f"{args.task}.png")

    lacking = ~validation[0].present[test]
    if lacking.sum() >= 50:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", PrimoWarning)
            clf.certify(validation[0], modality=test, weighted=True)
            without = other[0][~other[0].present[test]]
            answer = clf.safe_to_skip(without, harm, args.rate, args.confidence)
        print(*(f"note: {warning.message}" for warning in said), sep="\n")
        show("Patients who had the test, and who had not", clf.absence_checks())
        print(
            f"\nOf {len(without)} cases that really lack {name}, {answer['skip'].sum()} can do without it "
            "by the same promise. It is approximate: cases that had it stand for them by weights."
        )


if __name__ == "__main__":
    main()
