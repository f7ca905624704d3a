"""XOR of two signs, where every answer is known exactly.

    python examples/xor.py --out out/xor --methods all

``o`` is always present, ``m`` may be missing. Where o < 0 the label depends on m alone, where o > 0 almost on
o alone; the exact impact of m is a formula (`primo_pyro.data.xor_impact`). ``gap.png`` shows where in the
plane m matters, ``truth.png`` predicted against exact impact. Of every method, ``scores.png`` shows accuracy
and log loss beside the best possible values, ``labels.png`` which labels it predicts where, and
``latents.png`` where its latents lie. In the last two, a method that predicts by draws shows one draw of each
row.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA

from primo_pyro import Modalities
from primo_pyro.analysis.plots import gap_scatter, impact_against_truth, label_scatter, method_scores
from primo_pyro.data.xor import BAYES_ACCURACY, BAYES_LOG_LOSS
from primo_pyro.errors import ModalityError, UnseenPatternWarning
from primo_pyro.studies.figures import new_figure, save_figure
from primo_pyro.studies.generated import xor
from primo_pyro.studies.methods import FREQUENCIES
from primo_pyro.studies.protocols import XOR
from primo_pyro.studies.runner import first_primo, make_parser, run

SCENARIOS = ("missing", "complete")
DRAWS = 512  # of which each row shows one
PICTURED = 1500  # rows in each panel
COLUMNS = 6  # panels side by side


def one_draw(
    clf: BaseEstimator, x: Modalities, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Label ``[N]`` and latent ``[N, d]`` of each row under one of its draws, or those without draws."""
    if not hasattr(clf, "sample_latents"):
        return clf.predict(x), clf.latents(x) if hasattr(clf, "latents") else None
    draw, row = random.integers(DRAWS, size=len(x)), np.arange(len(x))
    label = clf.classes_[clf.sample_predictions(x, DRAWS)[draw, row].argmax(-1)]
    return label, clf.sample_latents(x, DRAWS)[draw, row]


def drawn_rows(classifiers: Mapping[tuple[str, int], BaseEstimator], x: Modalities) -> pd.DataFrame:
    """Predictions of each method of the first seed: ``method, scenario, o, m, label, first, second``.

    More than two latents are shown by their first two principal components.
    """
    parts = []
    for (method, seed), clf in classifiers.items():
        if seed != 0 or method == FREQUENCIES:
            continue
        of_method = []
        for scenario, rows in zip(SCENARIOS, (x.drop("m"), x), strict=True):
            try:
                with warnings.catch_warnings(action="ignore", category=UnseenPatternWarning):
                    label, z = one_draw(clf, rows, np.random.default_rng(0))
            except ModalityError:
                continue  # it cannot predict these rows
            place = {"o": x.values["o"][:, 0], "m": x.values["m"][:, 0]}
            of_method.append((pd.DataFrame({"scenario": scenario, **place, "label": label}), z))
        frame = pd.concat([frame for frame, _ in of_method]).assign(method=method)
        latents = [z for _, z in of_method if z is not None]
        if latents:
            z = np.concatenate(latents)
            frame[["first", "second"]] = z if z.shape[1] == 2 else PCA(2, random_state=0).fit_transform(z)
        parts.append(frame)
    return pd.concat(parts)


def panels(
    rows: pd.DataFrame,
    columns: tuple[str, str],
    heads: Mapping[tuple[str, str], str],
    title: str,
    path: Path,
) -> None:
    """A column per method, without m above and with it below; ``heads`` are titles by method and scenario."""
    methods = list(dict.fromkeys(rows["method"]))
    bands = -(-len(methods) // COLUMNS)
    wide = min(COLUMNS, len(methods))
    figure = new_figure(1 + 2.7 * wide, 5.4 * bands)
    axes = figure.subplots(2 * bands, wide, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, method in enumerate(methods):
        for j, scenario in enumerate(SCENARIOS):
            ax = axes[2 * (i // COLUMNS) + j, i % COLUMNS]
            ax.set_axis_on()
            chosen = rows[(rows["method"] == method) & (rows["scenario"] == scenario)]
            if chosen.empty:
                ax.text(0.5, 0.5, "cannot predict\nwithout m", ha="center", transform=ax.transAxes)
                ax.set(xticks=[], yticks=[])
                ax.set_title(heads[method, scenario], loc="left", fontsize="medium")
            else:
                label_scatter(chosen, *columns, heads[method, scenario], labels=[0, 1], ax=ax)
                legend = ax.get_legend()
                legend.remove()
    names = [text.get_text() for text in legend.get_texts()]
    figure.legend(legend.legend_handles, names, title="label", frameon=False, loc="outside right upper")
    figure.suptitle(title)
    save_figure(figure, path)


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0], XOR, out="out/xor", rows=40_000, rows_help="rows in all")
    args = parser.parse_args()
    task = xor(args.rows)
    (classifiers,) = run([task], args, XOR)

    x, _ = task.rows(0)[-1]
    x = x[:3000]
    gap = first_primo(classifiers).impact_gap(x).assign(o=x.values["o"][:, 0], m=x.values["m"][:, 0])
    figure = new_figure(6.5, 5, layout=None)
    gap_scatter(gap, ax=figure.subplots())
    save_figure(figure, args.out / "gap.png")
    figure = new_figure(5.5, 5.5, layout=None)
    impact_against_truth(gap["impact_missing"], task.impact(x), ax=figure.subplots())
    save_figure(figure, args.out / "truth.png")

    results = pd.read_csv(args.out / "results.csv")
    methods = results.query("metric == 'accuracy'")["method"].nunique()
    figure = new_figure(13, 1.5 + 0.35 * methods)
    axes = figure.subplots(1, 2, sharey=True)
    best = {"missing": BAYES_ACCURACY, "complete": 1.0}
    method_scores(results, "accuracy", "Accuracy", best, ax=axes[0]).get_legend().remove()
    best = {"missing": BAYES_LOG_LOSS, "complete": 0.0}
    method_scores(results, "log_loss", "Log loss (nats; lower is better)", best, ax=axes[1])
    save_figure(figure, args.out / "scores.png")

    accuracy = results.query("metric == 'accuracy' and seed == 0").set_index(["method", "scenario"])["value"]
    rows = drawn_rows(classifiers, x[:PICTURED])
    what = {"missing": "m missing", "complete": "complete"}
    heads = {
        (method, scenario): f"{method}\n{what[scenario]}"
        + (f", accuracy {accuracy[method, scenario]:.3f}" if (method, scenario) in accuracy else "")
        for method in rows["method"].unique()
        for scenario in SCENARIOS
    }
    panels(
        rows,
        ("o", "m"),
        heads,
        "Predicted labels, one draw for each row; accuracy is that of the mean over draws.\n"
        "Where o < 0 the label depends on m: without m (above) both labels should occur there,\n"
        "with m (below) one in each quadrant.",
        args.out / "labels.png",
    )
    panels(
        rows.dropna(subset=["first", "second"]).rename(columns={"first": "latent 1", "second": "latent 2"}),
        ("latent 1", "latent 2"),
        {place: head.split(", accuracy")[0] for place, head in heads.items()},
        "Latents, one draw for each row, in the colour of the label that is predicted there.\n"
        "Methods without draws: their representations. Of more than two dimensions two principal components.",
        args.out / "latents.png",
    )


if __name__ == "__main__":
    main()
