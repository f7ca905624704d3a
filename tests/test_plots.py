"""Pictures: drawn where they were told to, with the numbers that they were given, and legible alone."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from primo_pyro import plots


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
    assert [text.get_position()[0] for text in ax.texts] == [2]
    assert "V = 0.25" in ax.get_title(loc="left")


def test_gap_scatter_shows_every_row(ax, gaps):
    assert_readable(ax, plots.gap_scatter(gaps, ax=ax))
    np.testing.assert_allclose(ax.collections[0].get_offsets(), gaps[["o", "m"]])


def test_impact_against_truth_states_the_error(ax):
    assert_readable(ax, plots.impact_against_truth([0.2, 0.4], [0.3, 0.5], ax=ax))
    assert "off by 0.10" in ax.get_title(loc="left")
