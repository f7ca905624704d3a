"""The closed forms of XOR against quadrature and against drawn rows."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from primo_pyro import Modalities
from primo_pyro.data import make_xor, make_xor_twins, xor_impact, xor_probability, xor_twins_impact
from primo_pyro.data.xor import BAYES_ACCURACY, BAYES_LOG_LOSS, MEAN_IMPACT
from primo_pyro.errors import ModalityError


def density(o):
    return (2 * norm.pdf(o, -1, 0.5) + norm.pdf(o, 1, 0.5)) / 3


def average(f):
    parts = [quad(lambda o: f(o) * density(o), *ends, epsabs=1e-12)[0] for ends in ((-6, 0), (0, 6))]
    return sum(parts)


def probability_by_quadrature(o):
    """P(y = 1 | o) with the integral over m done by a machine."""

    def joint(m):
        return sum(norm.pdf(o, a, 0.5) * norm.pdf(m, b, 0.5) for a, b in ((-1, -1), (-1, 1), (1, -1))) / 3

    flips = (-6, 0) if o > 0 else (0, 6)
    return quad(joint, *flips, epsabs=1e-13)[0] / density(o)


@pytest.mark.parametrize("o", [-2.5, -1.0, -0.3, -1e-9, 1e-9, 0.2, 1.0, 2.5])
def test_probability_is_the_integral_over_m(o):
    assert xor_probability([o])[0] == pytest.approx(probability_by_quadrature(o), abs=1e-9)


def test_tails_are_finite_and_at_their_limits():
    p = xor_probability([-1e6, -50, 50, 1e6])
    assert p[:2] == pytest.approx(0.5)
    assert p[2:] == pytest.approx(norm.cdf(2))
    assert np.isfinite(xor_impact([-1e300, 1e300])).all()


def test_averages_are_the_stated_constants():
    def best(o):
        p = xor_probability([o])[0]
        return max(p, 1 - p)

    def entropy(o):
        p = xor_probability([o])[0]
        return -p * np.log(p) - (1 - p) * np.log1p(-p)

    assert average(best) == pytest.approx(BAYES_ACCURACY, abs=1e-6)
    assert average(entropy) == pytest.approx(BAYES_LOG_LOSS, abs=1e-6)
    assert average(lambda o: xor_impact([o])[0]) == pytest.approx(MEAN_IMPACT, abs=1e-6)


def test_drawn_rows_agree_with_the_closed_forms():
    x, y = make_xor(100_000, random_state=3)
    p = xor_probability(x.values["o"])
    # Standard errors are about 0.0014, so 4 of them.
    assert y.mean() == pytest.approx(p.mean(), abs=0.006)
    for part in (x.values["o"][:, 0] > 0, x.values["o"][:, 0] < 0):
        assert y[part].mean() == pytest.approx(p[part].mean(), abs=0.009)
    assert np.abs(y - p).mean() == pytest.approx(MEAN_IMPACT, abs=0.006)


def test_same_seed_same_rows():
    (a, y_a), (b, y_b), (c, _) = make_xor(50, 1), make_xor(50, 1), make_xor(50, 2)
    assert (a.values["o"] == b.values["o"]).all()
    assert (y_a == y_b).all()
    assert (a.values["o"] != c.values["o"]).any()


def test_zero_rows_is_an_error():
    with pytest.raises(ModalityError, match="at least 1"):
        make_xor(0)


def test_twins_are_xor_with_a_copy():
    (x, y), (twins, y_twins) = make_xor(100, 4), make_xor_twins(100, 4)
    assert twins.names == ("o", "m", "twin")
    assert (twins.values["o"] == x.values["o"]).all()
    assert (twins.values["m"] == x.values["m"]).all()
    assert (twins.values["twin"] == x.values["m"]).all()
    assert (y_twins == y).all()


def test_a_twin_changes_nothing_beside_its_twin():
    x, _ = make_xor_twins(400, 4)
    x = x.drop_at_random("m", "twin", random_state=0)
    neither = ~x.present["m"] & ~x.present["twin"]
    assert 0 < neither.sum() < len(x)
    for asked in ("m", "twin", ("m", "twin")):
        impact = xor_twins_impact(x, asked)
        assert (impact[neither] == xor_impact(x.values["o"][neither])).all()
        assert (impact[~neither] == 0).all()
    assert (xor_twins_impact(Modalities({"o": x.values["o"]}), "twin") == xor_impact(x.values["o"])).all()


def test_impact_of_what_is_no_twin_is_refused():
    x, _ = make_xor_twins(3)
    for modality in ("o", (), ("m", "o")):
        with pytest.raises(ModalityError, match=r"; expected one of .* or a set of them"):
            xor_twins_impact(x, modality)
    with pytest.raises(ModalityError, match="o is absent in 1 of 3 rows"):
        xor_twins_impact(x.drop("o", where=[True, False, False]), "m")
