"""The pictures of a data set, from the models that its example has kept; nothing is trained.

    python examples/physionet2012.py --task both     # trains, keeps the models, draws
    python examples/figures.py physionet2012         # draws again

``impact.png`` shows how V is distributed, ``calibration.png`` whether what it foretold came true,
``acquisition.png`` what is gained by revealing the rows of highest V first, ``rows_<model>.png`` the rows of
highest and lowest V with their plausible labels, ``groups_<model>.png`` plausible labels by groups of rows.
The numbers behind the second and third go to ``impact_checks.csv``. All is about at most 2,000 test rows of
seed 0 that have all modalities; impact is calibrated on as many validation rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from common import save

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis import plots
from primo_pyro.analysis.acquisition import SHARE, acquisition_curves, acquisition_summary, recovered_error
from primo_pyro.analysis.calibration import impact_calibration, impact_calibration_bins
from primo_pyro.analysis.clusters import share_agreement
from primo_pyro.analysis.report import rows_to_show
from primo_pyro.data import load_mimic3, load_physionet2012
from primo_pyro.data.mimic3 import ICD9, MORTALITY, STATIC_COLUMNS, read_admissions
from primo_pyro.data.physionet2012 import CLASSES, read_stays
from primo_pyro.errors import DataNotFoundError
from primo_pyro.program.outcomes import entropy
from primo_pyro.studies import tasks
from primo_pyro.studies.comparison import Task

ROWS = 2000  # in a picture; more change nothing that one could see
GROUPED = 200  # rows whose plausible labels are found twice, to see how far they hang on the seed
CARDS = 4  # rows of highest V that are shown one by one, and as many of lowest V
EDGE = {"markersize": 5, "markeredgecolor": "black", "markeredgewidth": 0.7}
WORDS = {"series": "first day's series", "vitals": "vital signs", "labs": "laboratory values"}


# --- Hidden and revealed -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Revealed:
    """N test rows whose optional modalities were hidden, their impact foretold, and then revealed.

    ``at`` [N] are their places in the test part; ``missing`` and ``complete`` [N, C] the predictions before
    and after; ``impact`` and ``gap`` what `PrimoClassifier` says of it, a line per row. ``class_weight`` [C]
    or None decides which labels clusters of draws are named after.
    """

    task: Task
    clf: PrimoClassifier
    at: np.ndarray
    x: Modalities
    y: np.ndarray
    missing: np.ndarray
    complete: np.ndarray
    impact: pd.DataFrame
    gap: pd.DataFrame
    class_weight: np.ndarray | None

    def label_shares(self, x: Modalities, **settings) -> pd.DataFrame:
        return self.clf.plausible_label_shares(x, class_weight=self.class_weight, **settings)

    @property
    def seen(self) -> Modalities:
        return self.x.drop(*self.task.optional)

    @property
    def hidden(self) -> str:
        return "the " + " and ".join(WORDS.get(name, name) for name in self.task.optional)


def reveal(clf: PrimoClassifier, task: Task, rare: bool = False) -> Revealed:
    """Calibrate impact on validation rows, where the task has some, and try it on test rows.

    Of ``rare`` labels, which hardly ever are the most probable ones, plausible labels name those that are
    more probable than they are on average (``class_weight`` of `primo_pyro.analysis.clusters.plausible_labels`).
    """
    _, validation, (x, y) = task.rows(0)
    if validation is not None:
        clf.calibrate_impact(validation[0][some_rows(validation[0].complete)])
    y = np.asarray(y)
    at = some_rows(x.complete & np.isin(y, clf.classes_))  # few training rows may lack a rare class
    x, y = x[at], y[at]
    seen = x.drop(*task.optional)
    missing, complete = clf.predict_proba(seen), clf.predict_proba(x)
    impact, gap = clf.predictive_impact(seen), clf.impact_gap(x)
    weight = 1 / missing.mean(0) if rare else None
    return Revealed(task, clf, at, x, y, missing, complete, impact, gap, weight)


def some_rows(wanted: np.ndarray) -> np.ndarray:
    """Where it is true, at most ROWS places, drawn at random: test files are not always shuffled."""
    places = np.flatnonzero(wanted)
    return np.sort(np.random.default_rng(0).permutation(places)[:ROWS])


# --- Pictures ------------------------------------------------------------------------------------------


def impact_picture(parts: Sequence[Revealed], path: Path) -> None:
    """How V is distributed with what is optional missing and with it there, above each other on one scale."""
    figure, axes = plt.subplots(
        len(parts), figsize=(7.5, 3.6 * len(parts)), sharex=True, squeeze=False, layout="constrained"
    )
    for r, ax in zip(parts, axes[:, 0], strict=True):
        _headed(plots.impact_ecdf(r.gap, r.hidden, ax=ax), r.task.name)
        ax.label_outer()
    axes[0, 0].set_xlim(
        0, 1.03 * max(r.gap[["impact_missing", "impact_complete"]].max(axis=None) for r in parts)
    )
    save(figure, path)


def calibration_picture(parts: Sequence[Revealed], path: Path) -> None:
    """What V foretold and what came, before calibration and after, a line of panels per task."""
    figure, axes = plt.subplots(
        len(parts), 2, figsize=(12, 4.4 * len(parts)), sharex="row", squeeze=False, layout="constrained"
    )
    for r, pair in zip(parts, axes, strict=True):
        change, flip = r.gap["realised_change"], r.gap["flip"]
        for column, head, ax in zip(
            ("impact", "expected_change"), ("V", "V calibrated on validation rows"), pair, strict=True
        ):
            foretold = r.impact[column]
            slope = impact_calibration(foretold, change)["slope"]
            plots.impact_calibration(impact_calibration_bins(foretold, change, flip), slope, ax=ax)
            _headed(ax, f"{r.task.name}: {head}")
        top = max(ax.get_ylim()[1] for ax in pair)
        for ax in pair:
            ax.set_ylim(0, top)
    save(figure, path)


def acquisition_picture(parts: Sequence[Revealed], curves: Sequence[pd.DataFrame], path: Path) -> None:
    """How the log loss falls as rows are revealed in the order of several scores; a frame per part."""
    figure, axes = plt.subplots(
        1, len(parts), figsize=(6.5 * len(parts), 5), squeeze=False, layout="constrained"
    )
    for r, of_r, ax in zip(parts, curves, axes[0], strict=True):
        _headed(plots.acquisition_curve(of_r, "log_loss", r.hidden, ax=ax), r.task.name)
    save(figure, path)


def rows_picture(
    r: Revealed,
    path: Path,
    *,
    seen: Callable | None = None,
    hidden: Callable | None = None,
    about: Sequence[str] | None = None,
    label: str = "Label",
    classes: Sequence[str] | None = None,
) -> None:
    """The rows of highest V and those of lowest: what is seen, what they may turn out to be, what was hidden.

    Bars are plausible labels, markers the predictions with what is optional hidden and revealed.

    ``seen(ax, x)`` and ``hidden(ax, x)`` show a single row; ``about`` says what else is known of each of the
    N rows; ``label`` what the labels are, ``classes`` the names of the labels 0, 1, ...
    """
    impact = r.impact["impact"].to_numpy()
    cards = rows_to_show(impact, CARDS)
    columns = len(cards) // 2
    shares = _named(r.label_shares(r.seen[cards]), classes)
    names = list(shares.columns)
    truth = [names[c] for c in np.searchsorted(r.clf.classes_, r.y[cards])]
    panels = 1 + sum(draw is not None for draw in (seen, hidden))
    figure = plt.figure(figsize=(3.3 * columns, 2 * (0.7 + 2.9 * panels)), layout="constrained")
    halves = figure.subfigures(2, hspace=0.04)
    heads = f"Highest V: the prediction hangs most on {r.hidden}", f"Lowest V: it hangs least on {r.hidden}"
    for half, head in zip(halves, heads, strict=True):
        half.suptitle(f"{r.task.name}. {head}", x=0.01, ha="left", weight="bold")
    axes = [half.subplots(panels, columns, squeeze=False) for half in halves]
    for i, row in enumerate(cards):
        column = iter(axes[i // columns][:, i % columns])
        if seen is not None:
            seen(next(column), r.x[[row]])
        bars = next(column)
        plots.label_shares_bars(shares.iloc[i], impact=impact[row], truth=truth[i], ax=bars)
        for p, shift, marker, colour, name in (
            (r.missing, -0.15, "o", plots.MISSING, f"prediction without {r.hidden}"),
            (r.complete, 0.15, "D", plots.COMPLETE, f"prediction with {r.hidden}"),
        ):
            bars.plot(np.arange(len(names)) + shift, p[row], marker, color=colour, label=name, **EDGE)
        bars.set(xlabel=label, ylabel="Share of clusters (bars)\nprobability (points)")
        if classes is not None:  # words do not fit side by side
            bars.tick_params(axis="x", labelrotation=40)
        if about is not None:
            _headed(bars, about[row])
        if hidden is not None:
            ax = next(column)
            hidden(ax, r.x[[row]])
            p = r.complete[row]
            mark_hidden(ax, f"hidden; once revealed: {names[p.argmax()]} ({p.max():.0%})")
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def mark_hidden(ax, title: str) -> None:
    """An orange frame and title: the model did not see this."""
    ax.set_title(title, loc="left", fontsize="medium", color=plots.RED)
    for spine in ax.spines.values():
        spine.set(visible=True, color=plots.RED, linewidth=3)


def groups_picture(
    r: Revealed, path: Path, groups: Mapping[str, Sequence], label: str, classes: Sequence[str]
) -> None:
    """Plausible labels by groups of rows, a panel for each way to group them."""
    shares = _named(r.label_shares(r.seen), classes)
    figure, axes = plt.subplots(
        len(groups), figsize=(10, 4.2 * len(groups)), squeeze=False, layout="constrained"
    )
    for (name, group), ax in zip(groups.items(), axes[:, 0], strict=True):
        _headed(plots.shares_by_group(shares, group, name, label, ax=ax), r.task.name)
    save(figure, path)


def bias_picture(distances: pd.DataFrame, path: Path) -> None:
    """How far averaged predictions lie from oracles that never averaged (``bias.csv`` of avmnist.py)."""
    figure, ax = plt.subplots(figsize=(6, 5.5))
    plots.bias_map(distances, "the image", ax=ax)
    save(figure, path)


def _named(shares: pd.DataFrame, classes: Sequence[str] | None) -> pd.DataFrame:
    return shares if classes is None else shares.rename(columns=dict(enumerate(classes)))


def _headed(ax, head: str) -> None:
    ax.set_title(f"{head}\n{ax.get_title(loc='left')}", loc="left", fontsize="medium")


# --- Numbers -------------------------------------------------------------------------------------------


def orders_of(r: Revealed) -> dict[str, np.ndarray]:
    """What rows may be revealed by."""
    return {
        "V": r.impact["impact"],
        "calibrated": r.impact["expected_change"],
        "information gain": r.impact["information_gain"],
        "entropy": entropy(r.missing),
    }


def curves_of(r: Revealed) -> pd.DataFrame:
    return acquisition_curves(r.y, r.missing, r.complete, orders_of(r), classes=r.clf.classes_)


def impact_checks(parts: Sequence[Revealed], curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Whether impact is true and of use: ``dataset, score, metric, value``.

    For ``V`` and ``calibrated`` the numbers of `impact_calibration`. For each order of revealing rows,
    ``recovered``, the part of the whole gain in log loss that is reached with 30 % of the rows, and ``area``,
    its mean over all shares of rows; random orders have .3 and .5. ``recovered_error`` is the standard error
    of ``recovered``, from so many rows. ``gain`` is the whole gain in nats; where it is not clearly above 0,
    its parts mean nothing. ``agreement`` is that of the plausible label shares of two seeds, over the first
    rows.
    """
    lines = []
    for r, of_r in zip(parts, curves, strict=True):
        found = [
            (score, metric, value)
            for score, column in (("V", "impact"), ("calibrated", "expected_change"))
            for metric, value in impact_calibration(r.impact[column], r.gap["realised_change"]).items()
        ]
        gains = acquisition_summary(of_r).query("metric == 'log_loss'")
        found += [(g.score, metric, getattr(g, metric)) for g in gains.itertuples() for metric in GAINS]
        errors = recovered_error(r.y, r.missing, r.complete, orders_of(r), classes=r.clf.classes_)
        found += [(score, "recovered_error", error) for score, error in errors.items()]
        ends = of_r.query("metric == 'log_loss' and score == 'oracle'")["value"]
        found.append(("all revealed", "gain", ends.iloc[0] - ends.iloc[-1]))
        first, second = (r.label_shares(r.seen[:GROUPED], random_state=seed) for seed in (0, 1))
        found.append(("plausible labels", "agreement", share_agreement(first, second)))
        lines += [(r.task.name, *line) for line in found]
    return pd.DataFrame(lines, columns=["dataset", "score", "metric", "value"])


GAINS = ("recovered", "area")
CHECKS = {
    "slope": "change / foretold",
    "calibration_error": "bins off by",
    "rank_correlation": "rank corr.",
    "lift": "lift of top 10 %",
    "recovered": f"gain at {SHARE:.0%}",
    "recovered_error": "±",
    "area": "area",
    "gain": "gain, nats",
    "agreement": "two seeds agree",
}


def _print_checks(frame: pd.DataFrame) -> None:
    table = frame.pivot_table(index=["dataset", "score"], columns="metric", values="value", sort=False)
    table = table.reindex(columns=list(CHECKS)).rename(columns=CHECKS).rename_axis(columns=None)
    text = table.to_string(float_format="{:.3f}".format, na_rep="", line_width=200)
    print(f"\nIs impact true, and of use? Test rows, hidden and then revealed\n{text}\n")


# --- Data sets -----------------------------------------------------------------------------------------


def show_digit(ax, x: Modalities, modality: str) -> None:
    """The image of a row of AV-MNIST, or its spectrogram."""
    values = x.values[modality][0, 0]
    if modality == "image":
        ax.imshow(values, cmap="Greys")
        ax.set(xticks=[], yticks=[])
    else:  # low tones at the bottom
        ax.imshow(values, cmap="magma", origin="lower", aspect="auto", extent=(0, 1, 0, 4))
        ax.set(xlabel="time, s", ylabel="frequency, kHz")
    ax.set_title(f"seen: the {modality}", loc="left", fontsize="medium")


def avmnist(models: Mapping[str, PrimoClassifier], out: Path) -> list[Revealed]:
    parts = {case: reveal(clf, tasks.av_mnist(case)) for case, clf in models.items()}
    for case, r in parts.items():
        rows_picture(
            r,
            out / f"rows_{case}.png",
            seen=partial(show_digit, modality=r.task.observed),
            hidden=partial(show_digit, modality=case),
            label="digit",
        )
    if (out / "bias.csv").is_file():
        bias_picture(pd.read_csv(out / "bias.csv"), out / "bias.png")
    return list(parts.values())


def physionet2012(models: Mapping[str, PrimoClassifier], out: Path) -> list[Revealed]:
    known = read_stays().static[load_physionet2012(seed=0).rows["test"]]  # in years and centimetres
    parts = []
    for case, clf in models.items():
        task = case.removesuffix(THREE)
        r = reveal(clf, tasks.physionet2012(task, "three" if case.endswith(THREE) else "two"), rare=True)
        age, sex, _, unit, _ = known[r.at].T
        sexes = [{0: "woman", 1: "man"}.get(s, "sex unknown") for s in sex]
        units = [UNITS.get(u, UNKNOWN) for u in unit]
        about = [f"{a:.0f} years, {s}, {u}" for a, s, u in zip(age, sexes, units, strict=True)]
        label = f"{LABELS[task]} likelier than average"
        rows_picture(r, out / f"rows_{case}.png", about=about, label=label, classes=CLASSES[task])
        groups = {"Age in years": _age_bands(age), "Unit": pd.Categorical(units, [*UNITS.values(), UNKNOWN])}
        groups_picture(r, out / f"groups_{case}.png", groups, label, CLASSES[task])
        parts.append(r)
    return parts


def mimic3(models: Mapping[str, PrimoClassifier], out: Path) -> list[Revealed]:
    demo = mimic3_falls_back()
    test = load_mimic3(demo=demo).rows["test"]
    known = pd.DataFrame(read_admissions(demo=demo)["adm_features_all"][test], columns=STATIC_COLUMNS)
    years = (known["age"] / 365.25).to_numpy()
    conditions = known[[*STATIC_COLUMNS[1:4]]].to_numpy() > 0.5
    # One a row, the first that it has, in the order of their weights in the SAPS II score.
    condition = np.select(list(conditions.T), STATIC_COLUMNS[1:4], default="none of these")
    kinds = [ADMISSIONS.get(kind, "unknown admission") for kind in known["admission type"]]
    parts = []
    for case, clf in models.items():
        r = reveal(clf, tasks.mimic3(case, demo=demo))
        # Ages above 89 are masked in the source.
        ages = [f"{a:.0f} years" if a < 90 else "90 years or more" for a in years]
        about = [f"{a}, {k}" for a, k in zip(ages, kinds, strict=True)]
        about = [a if c == "none of these" else f"{a},\n{c}" for a, c in zip(about, condition, strict=True)]
        label, classes = LABELS[case], MIMIC3_CLASSES[case]
        rows_picture(
            r, out / f"rows_{case}.png", about=[about[i] for i in r.at], label=label, classes=classes
        )
        groups = {
            "mortality": {"Age in years": _age_bands(years[r.at])},
            "icd9_140_239": {"Chronic condition": condition[r.at]},
        }.get(case)
        if groups is not None:
            groups_picture(r, out / f"groups_{case}.png", groups, label, classes)
        parts.append(r)
    return parts


LABELS = {
    "in_hospital_death": "outcome in hospital",
    "mortality6": "death within",
    "mortality": "death within",
    "icd9_140_239": "neoplasm",
    "icd9_460_519": "respiratory disease",
}
THREE = "_three"  # how a model of PhysioNet 2012's three modalities ends
UNITS = {1: "coronary unit", 2: "cardiac surgery unit", 3: "medical unit", 4: "surgical unit"}
UNKNOWN = "unit unknown"
ADMISSIONS = {0: "medical", 1: "scheduled surgery", 2: "unscheduled surgery"}
MIMIC3_CLASSES = {"mortality": MORTALITY} | dict.fromkeys(ICD9, ("no", "yes"))
DEMO = """
***********************************************************************************************
  THE OPEN DEMO OF 118 ADMISSIONS. Its numbers show that the reader works, and are no result.
***********************************************************************************************
"""


def _age_bands(years: np.ndarray) -> pd.Categorical:
    names = ["under 50", "50 to 64", "65 to 79", "80 or more"]
    return pd.cut(years, [-np.inf, 50, 65, 80, np.inf], right=False, labels=names)


@cache
def mimic3_falls_back() -> bool:
    """Whether the open demo has to stand in for MIMIC-III, which is said aloud."""
    try:
        tasks.mimic3()
    except DataNotFoundError as error:
        print(error, DEMO, sep="\n", file=sys.stderr)
        return True
    return False


# --- Models kept and drawn -----------------------------------------------------------------------------

DATA_SETS = {"avmnist": avmnist, "physionet2012": physionet2012, "mimic3": mimic3}


def keep(data: str, models: Mapping[str, PrimoClassifier], out: Path) -> None:
    """Save each model as ``models/<data>_<name>``."""
    for name, clf in models.items():
        clf.save(out / "models" / f"{data}_{name}")


def kept(data: str, models: Path) -> dict[str, PrimoClassifier]:
    """The models of a data set that `keep` has saved."""
    folders = sorted(models.glob(f"{data}_*"))
    if not folders:
        sys.exit(
            f"{models} holds no model of {data} (folders {data}_<name>). Train and keep one: "
            f"python examples/{data}.py"
        )
    return {folder.name.removeprefix(f"{data}_"): PrimoClassifier.load(folder) for folder in folders}


def draw(data: str, models: Mapping[str, PrimoClassifier], out: Path) -> None:
    """All pictures of a data set and ``impact_checks.csv``, from models by their names in `keep`."""
    out.mkdir(parents=True, exist_ok=True)
    parts = DATA_SETS[data](dict(sorted(models.items())), out)
    impact_picture(parts, out / "impact.png")
    calibration_picture(parts, out / "calibration.png")
    curves = [curves_of(r) for r in parts]
    acquisition_picture(parts, curves, out / "acquisition.png")
    checks = impact_checks(parts, curves)
    checks.to_csv(out / "impact_checks.csv", index=False)
    _print_checks(checks)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("data", choices=DATA_SETS, help="which data set")
    flags.add_argument("--models", type=Path, help="where its models were kept (default: out/<data>/models)")
    flags.add_argument("--out", type=Path, help="folder for the pictures (default: out/<data>)")
    args = flags.parse_args()
    home = Path("out") / args.data
    draw(args.data, kept(args.data, args.models or home / "models"), args.out or home)


if __name__ == "__main__":
    main()
