"""The exact answers against draws from the story, and the constants against quadrature."""

import numpy as np
import pytest
from scipy.special import xlogy
from scipy.stats import norm

from primo_pyro import Modalities
from primo_pyro.data import make_three_signs, three_signs_impact, three_signs_probability
from primo_pyro.data.three_signs import BAYES_LOG_LOSS, CLUSTERS, MEAN_IMPACT, SCALE, WEIGHTS
from primo_pyro.errors import ModalityError

DRAWS = 30_000
NOTHING = float("nan")
# m1 and m2, NaN absent.
PRESENT = [(NOTHING, NOTHING), (-0.4, NOTHING), (0.7, NOTHING), (NOTHING, -1.2), (NOTHING, 0.1)]


def draw(o, present):
    """m1 and m2 [N, 2] and y of rows with these numbers, drawn as the story says: first a cluster."""
    random = np.random.default_rng(0)
    known = np.array([o, *present])
    density = np.where(np.isnan(known), 1, norm.pdf(known, CLUSTERS, SCALE)).prod(1) * WEIGHTS
    cluster = random.choice(len(CLUSTERS), DRAWS, p=density / density.sum())
    m = np.where(np.isnan(present), random.normal(CLUSTERS[cluster, 1:], SCALE), present)
    return m, (o > 0) ^ (m[:, 0] > 0) ^ (m[:, 1] > 0)


@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize("o", [-3.2, -2.0, -1.0, -0.2, 0.3, 1.0, 2.0, 3.1])
def test_probability_and_impact_are_those_of_draws(o, present):
    def near(sample):
        # Of 160 comparisons one is off by 4.5 standard errors with a probability of 0.001.
        return pytest.approx(sample.mean(), abs=4.5 * sample.std() / np.sqrt(DRAWS) + 1e-12)

    m, y = draw(o, present)
    p = three_signs_probability([o], *([number] for number in present))[0]
    assert p == near(y)
    row = Modalities({"o": [o], "m1": [present[0]], "m2": [present[1]]})
    for asked in (("m1",), ("m2",), ("m1", "m2")):
        known = [name in asked for name in ("m1", "m2")] | ~np.isnan(present)
        then = np.where(known, m, NOTHING)
        change = np.abs(three_signs_probability(np.full(DRAWS, o), *then.T) - p)
        assert three_signs_impact(row, asked)[0] == near(change)


def grid(step, end):
    """Midpoints of cells, of which 0 is a border: nothing that jumps there falls into a cell."""
    return np.arange(-end + step / 2, end, step)


def entropy(p):
    return -xlogy(p, p) - xlogy(1 - p, 1 - p)


def test_averages_are_the_stated_constants():
    o = grid(0.002, 6.5)
    density = norm.pdf(o[:, None], CLUSTERS[:, 0], SCALE) @ WEIGHTS * 0.002
    for asked, expected in MEAN_IMPACT.items():
        impact = three_signs_impact(Modalities({"o": o}), asked)
        assert impact @ density == pytest.approx(expected, abs=2e-6)
    assert entropy(three_signs_probability(o)) @ density == pytest.approx(BAYES_LOG_LOSS["o",], abs=2e-6)
    o, m = (v.ravel() for v in np.meshgrid(grid(0.025, 6.5), grid(0.025, 4.0), indexing="ij"))
    for i, name in ((1, "m1"), (2, "m2")):
        both = norm.pdf(o[:, None], CLUSTERS[:, 0], SCALE) * norm.pdf(m[:, None], CLUSTERS[:, i], SCALE)
        average = entropy(three_signs_probability(o, **{name: m})) @ (both @ WEIGHTS) * 0.025**2
        assert average == pytest.approx(BAYES_LOG_LOSS["o", name], abs=1e-5)


def test_drawn_rows_follow_the_stated_law():
    x, y = make_three_signs(100_000, random_state=3)
    o, m1, m2 = (x.values[name][:, 0] for name in x.names)
    assert (y == ((o > 0) ^ (m1 > 0) ^ (m2 > 0))).all()
    # At least 24,000 rows in each bin; 4 standard errors.
    for low, high in ((-9, -2), (-2, 0), (0, 2), (2, 9)):
        rows = (low < o) & (o <= high)
        for present in ({}, {"m1": m1[rows]}, {"m2": m2[rows]}):
            off = y[rows] - three_signs_probability(o[rows], **present)
            for weight in (np.ones(rows.sum()), *(number > 0.5 for number in present.values())):
                assert np.mean(off * weight) == pytest.approx(0, abs=4 * 0.5 / np.sqrt(rows.sum()))
    np.testing.assert_allclose(three_signs_probability(o, m1, m2), y, atol=1e-14)  # sums of nine weights


def test_each_regime_is_in_its_place():
    x = Modalities({"o": [-3.0, -1.0, 1.0, 3.0]})
    m1, m2, both = (three_signs_impact(x, asked) for asked in ("m1", "m2", ("m1", "m2")))
    assert (both[[0]] < 0.1).all()
    assert (m1 > 0.4).tolist() == [False, True, False, False]
    assert (m2 > 0.3).tolist() == [False, False, False, True]
    assert max(m1[2], m2[2]) < 0.001
    assert both[2] > 0.499


def test_rows_of_all_patterns_at_once():
    x, _ = make_three_signs(60, random_state=1)
    x = x.drop_at_random("m1", "m2", random_state=2)
    for asked in ("m1", "m2", ("m1", "m2")):
        together = three_signs_impact(x, asked)
        single = [three_signs_impact(x[[i]], asked)[0] for i in range(len(x))]
        np.testing.assert_allclose(together, single, atol=1e-15)
        assert ((together >= 0) & (together <= 0.5)).all()
    assert (three_signs_impact(x, "m1")[x.present["m1"]] == 0).all()
    lone = x.present["m1"] & ~x.present["m2"]
    np.testing.assert_array_equal(
        three_signs_impact(x, ("m2",))[lone], three_signs_impact(x, {"m1", "m2"})[lone]
    )


def test_values_of_absent_rows_are_not_read():
    x, _ = make_three_signs(200, random_state=1)
    absent = Modalities({"o": x.values["o"]})
    np.testing.assert_array_equal(
        three_signs_impact(x.drop("m1", "m2"), "m1"), three_signs_impact(absent, "m1")
    )


def test_far_from_all_clusters_answers_stay_finite():
    x = Modalities({"o": [-1e6, -60, 60, 1e6]})
    for asked in ("m1", "m2", ("m1", "m2")):
        impact = three_signs_impact(x, asked)
        assert np.isfinite(impact).all()
    assert three_signs_probability([-60, 60])[0] == pytest.approx(2 * norm.cdf(2) * norm.cdf(-2))


def test_same_seed_same_rows():
    (a, y_a), (b, y_b), (c, _) = (make_three_signs(50, seed) for seed in (1, 1, 2))
    assert all((a.values[m] == b.values[m]).all() for m in a.names)
    assert (y_a == y_b).all()
    assert (a.values["o"] != c.values["o"]).any()


def test_what_cannot_be_answered_is_refused():
    x, _ = make_three_signs(5)
    with pytest.raises(ModalityError, match="at least 1"):
        make_three_signs(0)
    for modality in ("o", "m3", (), ("m1", "o")):
        with pytest.raises(ModalityError, match=r"; expected one of .* or a set of them"):
            three_signs_impact(x, modality)
    with pytest.raises(ModalityError, match="o is absent in 2 of 5 rows"):
        three_signs_impact(x.drop("o", where=[True, False, True, False, False]), "m1")
    with pytest.raises(ModalityError, match=r"have \[2, 3, 2\] rows"):
        three_signs_probability([0.0, 1.0], m1=[0.0, 1.0, 2.0])


@pytest.mark.parametrize("seed", range(4))
def test_rows_and_drops_of_the_same_seed_are_independent(seed):
    x, _ = make_three_signs(4000, random_state=seed)
    dropped = x.drop_at_random("m1", "m2", random_state=seed)
    for name in ("m1", "m2"):
        # Four standard errors of a correlation over 4,000 rows.
        correlation = np.corrcoef(x.values["o"][:, 0], dropped.present[name])[0, 1]
        assert abs(correlation) < 4 / np.sqrt(4000)
