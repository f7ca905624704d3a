"""Pictures: drawn where they were told to, with the numbers that they were given, and legible alone."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from primo_pyro.analysis import plots
from primo_pyro.analysis.acquisition import acquisition_curves
from primo_pyro.analysis.certificates import skip_curve
from primo_pyro.analysis.decisions import decision_curves
from primo_pyro.errors import DrawsError


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    figure.canvas.draw()  # some warnings come only here, and warnings are errors
    plt.close(figure)


@pytest.fixture
def gaps():
    random = np.random.default_rng(0)
    missing, complete = random.beta(2, 4, 200), random.beta(1, 20, 200)
    return pd.DataFrame(
        {
            "o": random.normal(size=200),
            "m": random.normal(size=200),
            "impact_missing": missing,
            "impact_complete": complete,
            "gap": missing - complete,
        }
    )


def assert_readable(ax, drawn):
    assert drawn is ax
    assert ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_no_import_chooses_a_backend_and_a_picture_needs_none(tmp_path):
    script = (
        "import pkgutil, importlib, pathlib, sys, matplotlib; matplotlib.use('svg')\n"
        "import primo_pyro.studies, primo_pyro.analysis\n"
        "for room in primo_pyro.studies, primo_pyro.analysis:\n"
        "    for module in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "from primo_pyro.studies.figures import new_figure, save_figure\n"
        "save_figure(new_figure(1, 1), pathlib.Path(sys.argv[1]))\n"
        "assert matplotlib.get_backend() == 'svg'\n"
    )
    picture = tmp_path / "picture.png"
    ran = subprocess.run([sys.executable, "-c", script, picture], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_impact_ecdf_is_the_distribution_of_v(ax, gaps):
    assert_readable(ax, plots.impact_ecdf(gaps, "sound", ax=ax))
    missing = next(line for line in ax.lines if "missing" in str(line.get_label()))
    x, share = missing.get_data()
    median = gaps["impact_missing"].median()
    assert np.interp(median, x, share) == pytest.approx(0.5, abs=1 / 200)
    assert f"{median:.2f}" in ax.get_title(loc="left")


def test_label_shares_bars_are_the_shares(ax):
    shares = pd.Series([0.2, 0.5, 0.3], index=["cat", "dog", "cow"])
    assert_readable(ax, plots.label_shares_bars(shares, impact=0.25, truth="cow", ax=ax))
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in ax.patches}
    assert heights == pytest.approx({0: 0.2, 1: 0.5, 2: 0.3})
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["cat", "dog", "cow\ntrue"]
    assert "V = 0.25" in ax.get_title(loc="left")


def test_gap_scatter_shows_every_row(ax, gaps):
    assert_readable(ax, plots.gap_scatter(gaps, ax=ax))
    np.testing.assert_allclose(ax.collections[0].get_offsets(), gaps[["o", "m"]])


def test_method_scores_are_means_and_deviations_over_seeds(ax):
    lines = [
        {"method": m, "scenario": s, "seed": i, "metric": "accuracy", "value": v}
        for m, s, values in [
            ("unimodal", "missing", (0.64, 0.66)),
            ("unimodal", "complete", (0.65, 0.65)),
            ("multimodal", "complete", (0.97, 0.99)),
        ]
        for i, v in enumerate(values)
    ]
    drawn = plots.method_scores(pd.DataFrame(lines), "accuracy", "Accuracy", {"complete": 1.0}, ax=ax)
    assert drawn is ax
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["unimodal", "multimodal"]
    dots = {c.get_label(): c.lines[0].get_xdata() for c in ax.containers}
    np.testing.assert_allclose(dots["missing"], [0.65])
    np.testing.assert_allclose(sorted(dots["complete"]), [0.65, 0.98])
    (bar,) = ax.containers[0].lines[2][0].get_segments()
    assert bar[1, 0] - bar[0, 0] == pytest.approx(2 * np.std([0.64, 0.66], ddof=1))
    assert "best possible" in ax.get_title(loc="left")
    plain = plots.method_scores(pd.DataFrame(lines), "accuracy", "Accuracy", ax=plt.figure().subplots())
    assert plain.get_title(loc="left") == "Accuracy of each method"
    plt.close(plain.figure)


def test_label_scatter_keeps_a_label_s_colour_where_another_is_lacking(ax, gaps):
    frame = gaps.assign(label=(gaps["o"] > 0).astype(int))
    assert_readable(ax, plots.label_scatter(frame, "o", "m", "unimodal", ax=ax))
    np.testing.assert_allclose(ax.collections[0].get_offsets(), gaps[["o", "m"]])
    ones = frame["label"] == 1
    both = ax.collections[0].get_facecolors()[ones]
    alone = plots.label_scatter(frame[ones], "o", "m", "a", labels=[0, 1], ax=plt.figure().subplots())
    np.testing.assert_array_equal(alone.collections[0].get_facecolors(), both)
    assert [text.get_text() for text in alone.get_legend().get_texts()] == ["0", "1"]
    plt.close(alone.figure)


def test_impact_against_truth_states_the_error(ax):
    assert_readable(ax, plots.impact_against_truth([0.2, 0.4], [0.3, 0.5], ax=ax))
    assert "off by 0.10" in ax.get_title(loc="left")


def test_impact_calibration_shows_bins_and_flips(ax):
    bins = pd.DataFrame(
        {"rows": 50, "predicted": [0.1, 0.3], "realised": [0.1, 0.2], "realised_se": 0.01, "flip": [0.0, 0.3]}
    )
    assert_readable(ax, plots.impact_calibration(bins, ax=ax))
    assert "0.75 times" in ax.get_title(loc="left")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "share of rows whose label changed" in labels
    plain = plots.impact_calibration(bins.drop(columns="flip"), slope=0.9, ax=plt.figure().subplots())
    assert "0.90 times" in plain.get_title(loc="left")
    plt.close(plain.figure)


@pytest.mark.parametrize("metric", ["log_loss", "auroc"])
def test_acquisition_curve_draws_every_score_as_it_is(ax, metric):
    random = np.random.default_rng(0)
    y, now = random.integers(2, size=200), random.dirichlet([2, 2], size=200)
    curves = acquisition_curves(y, now, np.eye(2)[y] * 0.8 + 0.1, {"V": now[:, 0], "my own": now[:, 1]})
    assert_readable(ax, plots.acquisition_curve(curves, metric, "sound", ax=ax))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["V", "my own", "random", "oracle"]
    drawn = ax.lines[0].get_ydata()
    np.testing.assert_allclose(drawn, curves.query("score == 'V' and metric == @metric")["value"])


def test_acquisition_curve_says_what_its_first_score_recovers(ax):
    shares = [0.0, 0.3, 1.0]
    drawn = {"cost": [0.5, 0.38, 0.3], "V": [0.5, 0.4, 0.3], "random": [0.5, 0.44, 0.3]}
    curves = pd.concat(
        pd.DataFrame({"score": score, "metric": "log_loss", "revealed": shares, "value": values})
        for score, values in drawn.items()
    )
    title = plots.acquisition_curve(curves, ax=ax).get_title(loc="left")
    assert title == "Revealing 30% by cost brings 60% of the gain, at random 30%"


def test_acquisition_curve_of_an_unknown_metric_names_the_known_ones():
    curves = pd.DataFrame({"score": "V", "metric": "log_loss", "revealed": [0.0, 1.0], "value": 0.3})
    with pytest.raises(DrawsError, match="metric is 'accuracy'; expected one of log_loss, auroc"):
        plots.acquisition_curve(curves, "accuracy")


@pytest.mark.parametrize("after", [0.3, 0.4])
def test_acquisition_curve_says_where_revealing_does_not_help(ax, after):
    curves = pd.DataFrame({"score": "V", "metric": "log_loss", "revealed": [0.0, 1.0], "value": [0.3, after]})
    plots.acquisition_curve(curves, modality="sound", ax=ax)
    assert ax.get_title(loc="left") == "Revealing sound does not lower the log loss over all rows"


def test_bias_map_puts_each_seed_at_its_two_distances(ax):
    pairs = {
        ("primo_missing", "unimodal"): 0.05,
        ("primo_missing", "multimodal"): 0.31,
        ("primo_complete", "unimodal"): 0.3,
        ("primo_complete", "multimodal"): 0.08,
        ("unimodal", "multimodal"): 0.33,
    }
    lines = [
        {"first": a, "second": b, "seed": seed, "distance": distance + 0.01 * seed}
        for (a, b), distance in pairs.items()
        for seed in (0, 1)
    ]
    assert_readable(ax, plots.bias_map(pd.DataFrame(lines), "vision", ax=ax))
    missing = next(c for c in ax.collections if c.get_label() == "PRIMO without vision")
    np.testing.assert_allclose(missing.get_offsets(), [[0.05, 0.31], [0.06, 0.32]])


@pytest.mark.parametrize("classes", [2, 6])
def test_shares_by_group_are_the_means(ax, classes):
    shares = pd.DataFrame(np.random.default_rng(0).dirichlet(np.ones(classes), size=30))
    groups = pd.Series(pd.cut(np.arange(30), [-1, 9, 29], labels=["young", "old"]))
    assert_readable(ax, plots.shares_by_group(shares, groups, "Age", "outcome", ax=ax))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["young\n10 rows", "old\n20 rows"]
    heights = np.reshape([bar.get_height() for bar in ax.patches], (classes, 2))
    np.testing.assert_allclose(heights.T, [shares[:10].mean(), shares[10:].mean()])


def test_latent_completions_shows_every_prior(ax):
    random = np.random.default_rng(0)
    completions = pd.DataFrame(random.normal(size=(10, 2)), columns=["mean_1", "mean_2"])
    completions = completions.assign(scale_1=0.2, scale_2=0.1, label=np.arange(10) % 2)
    missing = pd.DataFrame({"mean_1": [0.5], "mean_2": 1.0, "scale_1": 2.0, "scale_2": 1.5})
    assert_readable(ax, plots.latent_completions(missing, completions, "paper", ax=ax))
    assert ax.get_title(loc="left").startswith("paper\nCompletions of different labels lie")
    grey, *others = sorted(ax.patches, key=lambda patch: -patch.width)
    assert (grey.center, grey.width, grey.height) == ((0.5, 1.0), 8.0, 6.0)  # two standard deviations
    assert len(others) == 1 + len(completions)
    np.testing.assert_allclose(ax.collections[1].get_offsets(), completions[["mean_1", "mean_2"]][1::2])


def test_guarantees_and_decisions(ax):
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "guarantee": ["change at most", "harm among the skipped"],
            "promised": [0.9, 0.05],
            "reached": [0.7, 0.04],
            "error": [0.01, 0.01],
            "at_least": [True, False],
        }
    )
    drawn = plots.promises(table, ax=ax)
    assert drawn.get_title(loc="left").startswith("1 of 2 promises kept")
    ax.clear()
    assert_readable(
        ax, plots.skips(skip_curve(random.uniform(size=50), random.random(50) < 0.1), 0.05, ax=ax)
    )
    ax.clear()
    y, p = random.integers(2, size=50), random.dirichlet([1, 1], 50)
    curves = decision_curves(y, p, np.eye(2)[y], np.ones((50, 19)))
    assert_readable(ax, plots.decision_curve(curves, "lab", ax=ax))
    ax.clear()
    nothing = decision_curves(y, p, p, np.ones((50, 19)))
    assert plots.decision_curve(nothing, "lab", ax=ax).get_title(loc="left") == "Lab adds no net benefit"
    ax.clear()
    assert_readable(ax, plots.risk_draws(random.beta(1, 9, 64), 0.2, "death", 0.3, ax=ax))
