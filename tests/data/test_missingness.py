import numpy as np
import pytest

from primo_pyro import Modalities
from primo_pyro.data import drop_given_label, drop_given_observed
from primo_pyro.errors import LabelError, ModalityError

N = 20_000


@pytest.fixture(scope="module")
def x():
    random = np.random.default_rng(0)
    return Modalities(
        {"o": random.normal(7, 3, (N, 2)), "m": random.normal(size=N), "b": random.integers(256, size=(N, 4))}
    )


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("strength", [-2.0, 0.0, 4.0])
def test_given_observed_matches_rate_and_follows_the_score(x, rate, strength):
    gone = ~drop_given_observed(x, "m", on="o", rate=rate, strength=strength, random_state=1).present["m"]
    assert gone.mean() == pytest.approx(rate, abs=4 * 0.5 / np.sqrt(N))
    correlation = np.corrcoef(gone, x.values["o"].mean(1))[0, 1]
    assert correlation == pytest.approx(0, abs=0.03) if strength == 0 else correlation * strength > 0.3


def test_given_observed_depends_on_nothing_else(x):
    gone = ~drop_given_observed(x, "m", on="o", rate=0.5, random_state=1).present["m"]
    assert abs(np.corrcoef(gone, x.values["m"][:, 0])[0, 1]) < 0.03


def test_given_observed_reads_bytes_and_rows_where_it_is_absent(x):
    bytes_ = Modalities({"b": x.values["b"].astype(np.uint8), "m": x.values["m"]})
    half = bytes_.drop("b", where=np.arange(N) % 2 == 0)
    gone = ~drop_given_observed(half, "m", on="b", rate=0.3, random_state=0).present["m"]
    assert gone.mean() == pytest.approx(0.3, abs=0.02)
    spoilt = Modalities({"b": np.where(half.present["b"][:, None], x.values["b"], 99), "m": x.values["m"]})
    again = drop_given_observed(
        spoilt.drop("b", where=~half.present["b"]), "m", on="b", rate=0.3, random_state=0
    )
    assert (again.present["m"] == ~gone).all()


@pytest.mark.parametrize("rate", [0, 1])
def test_given_observed_at_the_ends(x, rate):
    assert drop_given_observed(x, "m", on="o", rate=rate).present["m"].mean() == 1 - rate


def test_given_observed_with_a_constant_block_is_at_random():
    x = Modalities({"o": np.ones(N), "m": np.ones(N)})
    present = drop_given_observed(x, "m", on="o", rate=0.25, random_state=0).present["m"]
    assert present.mean() == pytest.approx(0.75, abs=0.02)


def test_given_label_has_each_rate(x):
    y = np.random.default_rng(1).choice(["no", "yes", "maybe"], N)
    present = drop_given_label(x, y, "m", {"no": 0.0, "yes": 0.2, "maybe": 1.0}, random_state=0).present["m"]
    assert present[y == "no"].all()
    assert not present[y == "maybe"].any()
    assert present[y == "yes"].mean() == pytest.approx(0.8, abs=0.02)


def test_what_was_absent_stays_absent_and_the_input_is_untouched(x):
    first = x.drop("m", where=np.arange(N) < 100)
    for then in (
        drop_given_observed(first, "m", on="o", rate=0.1, random_state=0),
        drop_given_label(first, np.zeros(N), "m", {0: 0.1}, random_state=0),
    ):
        assert not then.present["m"][:100].any()
    assert x.complete.all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: drop_given_observed(x, "q", on="o"), "Unknown modality 'q'"),
        (lambda x: drop_given_observed(x, "m", on="q"), "Unknown modality 'q'"),
        (lambda x: drop_given_observed(x, "m", on="m"), "drop_at_random"),
        (lambda x: drop_given_observed(x, "m", on="o", rate=1.5), "1.5"),
        (lambda x: drop_given_label(x, np.zeros(N), "m", {0: -1}), "-1"),
        (lambda x: drop_given_label(x, np.arange(N) % 3, "m", {0: 0.5}), r"\[1, 2\] in y have no rate"),
        (lambda x: drop_given_label(x, np.zeros(3), "m", {0: 0.5}), r"expected \[20000\], as many as rows"),
    ],
)
def test_errors_say_what_to_do(x, call, message):
    with pytest.raises((ModalityError, LabelError), match=message):
        call(x)
