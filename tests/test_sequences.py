"""Orders of revealing: their rules, curves and areas, on rows with known answers."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from primo_pyro import Modalities
from primo_pyro.analysis.scores import scores
from primo_pyro.baselines import ValueNetworkClassifier
from primo_pyro.errors import CostError, ModalityError
from primo_pyro.studies.generated import xor
from primo_pyro.studies.orders import (
    HiddenRows,
    Regressions,
    fixed_order,
    oracle,
    random_order,
    value_order,
)
from primo_pyro.studies.sequences import POLICIES, REFERENCE, compare_orders
from primo_pyro.studies.spending import (
    ALLOCATIONS,
    METRICS,
    Path,
    play,
    resampled_scores,
    spend,
    spending_table,
)
from primo_pyro.studies.tasks import Task

WEIGHTS = np.array([2.0, 1.0, 0.3])  # of three independent numbers in the log-odds of y
NAMES = ("a", "b", "c")


def toy(n=600, seed=0, absent=0.0):
    """Rows whose exact probability from what is known follows from the known numbers alone."""
    random = np.random.default_rng(seed)
    values = random.choice([-1.0, 1.0], size=(n, 3))
    y = (random.random(n) < expit(values @ WEIGHTS)).astype(int)
    x = Modalities({"o": random.normal(size=n), **dict(zip(NAMES, values.T, strict=True))})
    return x.drop_at_random(*NAMES, rate=absent, random_state=seed), y


def exact(x):
    """P(y | what is present): an average over the signs that are absent."""
    columns = [np.where(x.present[m], x.values[m][:, 0], np.nan) for m in NAMES]
    p = np.zeros(len(x))
    for signs in np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T:
        filled = [np.where(np.isnan(v), s, v) for v, s in zip(columns, signs, strict=True)]
        p += expit(np.stack(filled, 1) @ WEIGHTS) / 8
    return np.stack([1 - p, p], axis=1)


def alone(x, name):
    return exact(x.drop(*(m for m in NAMES if m != name))[x.present[name]])[:, 1]


@pytest.fixture(scope="module")
def hidden():
    return HiddenRows(*toy(absent=0.2), NAMES, exact)


def played(order, hidden, costs=(1.0, 1.0, 1.0)):
    return play(order, hidden.available, np.array(costs), hidden.probabilities)


def log_loss_area(path, y, allocation="each row"):
    _, areas = spending_table(y, {"one": [path]}, "one")
    return areas.set_index(["allocation", "metric"]).loc[(allocation, "log_loss"), "area"]


def test_predictions_are_of_what_is_known_and_asked_for_once():
    x, y = toy(50)
    asked = []

    def predict(rows):
        asked.append(len(rows))
        return exact(rows)

    hidden = HiddenRows(x, y, NAMES, predict)
    rows, known = np.arange(50), np.tile([True, False, True], (50, 1))
    np.testing.assert_array_equal(hidden.probabilities(rows, known), exact(x.drop("b")))
    before = sum(asked)
    hidden.probabilities(rows[::-1], known)
    assert sum(asked) == before


def test_paths_reveal_everything_that_a_row_has_and_nothing_else(hidden):
    path = played(random_order(*hidden.available.shape, 0), hidden)
    np.testing.assert_array_equal(np.isfinite(path.costs).sum(1), hidden.available.sum(1))
    np.testing.assert_allclose(path.probabilities[:, -1], exact(hidden.x))
    np.testing.assert_allclose(path.probabilities[:, 0], exact(hidden.x.drop(*NAMES)))


def test_no_order_of_one_step_beats_the_oracle(hidden):
    """With a budget of one step the oracle takes the best one of each row; later steps are not its aim."""

    def after_one_step(order):
        path = played(order, hidden)
        return -np.log(path.probabilities[np.arange(len(hidden)), 1, hidden.y])

    best = after_one_step(oracle(hidden))
    rivals = [random_order(*hidden.available.shape, i) for i in range(5)]
    rivals += [fixed_order(hidden, np.ones(3)), value_order(hidden, lambda x: np.tile(WEIGHTS, (len(x), 1)))]
    for rival in rivals:
        assert (best <= after_one_step(rival) + 1e-12).all()


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_the_oracle_has_the_least_area(hidden, allocation):
    """The numbers are independent given y's log-odds, so that greedy by the truth is best here."""
    least = log_loss_area(played(oracle(hidden), hidden), hidden.y, allocation)
    for seed in range(5):
        path = played(random_order(*hidden.available.shape, seed), hidden)
        assert least < log_loss_area(path, hidden.y, allocation)
    assert least < log_loss_area(played(fixed_order(hidden, np.ones(3)), hidden), hidden.y, allocation)


def test_the_fixed_order_follows_the_mean_gain_per_cost(hidden):
    known = np.zeros((1, 3), bool)
    gain = fixed_order(hidden, np.ones(3))(np.arange(1), known)[0]
    assert gain.argsort()[::-1].tolist() == [0, 1, 2]
    costs = np.array([100.0, 1.0, 1.0])
    per_cost = fixed_order(hidden, costs)(np.arange(1), known)[0] / costs
    assert per_cost.argsort()[::-1].tolist() == [1, 2, 0]


def test_regressions_find_the_expected_gain_and_change(hidden):
    """With nothing known the change is the same for every row, up to what 600 rows tell: within 0.03."""
    x = hidden.x.drop(*NAMES)[:20]
    change = Regressions("change", 0).fit(hidden).predict(x)
    exact_change = [abs(alone(hidden.x, m) - 0.5).mean() for m in NAMES]
    np.testing.assert_allclose(change, np.tile(exact_change, (20, 1)), atol=0.03)
    gain = Regressions("gain", 0).fit(hidden).predict(x)
    assert (np.argsort(-gain, axis=1) == [0, 1, 2]).all()


def test_a_modality_that_no_row_has_is_worth_nothing():
    x, y = toy(60)
    hidden = HiddenRows(x.drop("c"), y, NAMES, exact)
    assert (Regressions("gain", 0).fit(hidden).predict(x[:3].drop(*NAMES))[:, 2] == 0).all()
    assert fixed_order(hidden, np.ones(3))(np.arange(1), np.zeros((1, 3), bool))[0].argmin() == 2


# --- Curves and areas ----------------------------------------------------------------------------------


def test_scores_of_the_rows_themselves_are_the_usual_ones():
    random = np.random.default_rng(0)
    for classes in (2, 4):
        y = random.integers(classes, size=100)
        p = random.dirichlet(np.ones(classes), size=100).round(1) + 1e-3  # with ties
        p /= p.sum(1, keepdims=True)
        found = resampled_scores(y, p, np.ones((1, 100), int))
        for metric, value in found.items():
            assert value[0] == pytest.approx(scores(y, p)[metric]), metric


def test_scores_of_a_sample_are_those_of_its_rows():
    random = np.random.default_rng(0)
    y, p = random.integers(2, size=50), random.dirichlet(np.ones(2), size=50)
    copies = random.multinomial(50, np.full(50, 0.02), size=3)
    found = resampled_scores(y, p, copies)
    for i, of_sample in enumerate(copies):
        rows = np.repeat(np.arange(50), of_sample)
        for metric in METRICS:
            assert found[metric][i] == pytest.approx(scores(y[rows], p[rows])[metric]), metric


def test_a_budget_of_each_row_buys_whole_steps():
    p = np.zeros((2, 3, 2))
    path = Path(np.array([[2.0, 1.0], [1.0, np.nan]]), np.ones((2, 2)), p)
    costs, steps = spend(path, "each row")
    np.testing.assert_allclose(costs, [0, 0.5, 1.5, 2.0])
    assert steps.tolist() == [[0, 0], [0, 1], [1, 1], [2, 1]]


def test_a_shared_budget_buys_what_is_worth_most_wherever_it_is():
    worth = np.array([[0.1, 0.5], [0.3, -0.1], [0.05, 0.2]])
    path = Path(np.ones((3, 2)), worth, np.zeros((3, 3, 2)))
    costs, steps = spend(path, "shared")
    # Row 1, then row 0 with the step behind its first, then row 2 likewise; row 1's second step last.
    assert steps.tolist() == [[0, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0], [2, 1, 1], [2, 1, 2], [2, 2, 2]]
    np.testing.assert_allclose(costs, np.array([0, 1, 2, 3, 4, 5, 6]) / 3)


def test_areas_are_means_over_what_is_spent_and_differences_are_paired():
    random = np.random.default_rng(0)
    y = random.integers(2, size=400)
    p = np.stack([random.dirichlet(np.ones(2), size=400) for _ in range(2)], axis=1)
    path = Path(np.ones((400, 1)), np.ones((400, 1)), p)
    shifted = Path(path.costs, path.worth, 0.9 * p + 0.05)
    curves, areas = spending_table(y, {"a": [path], "b": [shifted]}, "a")
    line = areas.set_index(["policy", "allocation", "metric"]).loc[("b", "each row", "log_loss")]
    losses = [-np.log(of[np.arange(400), :, y]).mean(1) for of in (shifted.probabilities, p)]
    difference = losses[0] - losses[1]
    assert line["difference"] == pytest.approx(difference.mean())
    # 200 bootstrap samples know a standard deviation to 5 %; three of these.
    assert line["difference_error"] == pytest.approx(difference.std() / 20, rel=0.15)
    assert line["error"] == pytest.approx(losses[0].std() / 20, rel=0.15)
    assert (areas.loc[areas["policy"] == "a", "difference_error"] == 0).all()
    ends = curves.query("policy == 'a' and allocation == 'each row' and metric == 'log_loss'")
    np.testing.assert_allclose(ends["value"], [-np.log(p[np.arange(400), i, y]).mean() for i in (0, 1)])


# --- The study -----------------------------------------------------------------------------------------


def small_task(rows=300):
    def split(seed):
        x, y = toy(rows, seed, absent=0.1)
        cut = int(0.7 * rows)
        return (x[:cut], y[:cut]), None, (x[cut:], y[cut:])

    return Task("toy", "o", NAMES, split)


def test_all_policies_are_played_on_the_same_rows():
    settings = {"hidden_dim": 8, "max_epochs": 2}
    costs = {"a": 2.0, "b": 1.0, "c": 1.0}
    curves, areas = compare_orders(small_task(150), [3], settings, {"num_samples": 16}, costs)
    assert set(areas["policy"]) == set(POLICIES)
    assert set(areas["seed"]) == {3}
    assert (areas.loc[areas["policy"] == REFERENCE, "difference"] == 0).all()
    by_policy = curves.groupby(["seed", "allocation", "policy"])["cost"]
    for _, ends in by_policy.agg(["min", "max"]).groupby(["seed", "allocation"]):
        assert (ends["min"] == 0).all()
        assert np.ptp(ends["max"]) < 1e-9
    starts = curves[(curves["cost"] == 0) & (curves["policy"] != "value network, own predictions")]
    assert starts.groupby(["seed", "metric"])["value"].agg(np.ptp).max() < 1e-9


def test_tasks_without_an_order_and_costs_without_a_number_are_refused():
    with pytest.raises(ModalityError, match="XOR has 1 optional modality; expected at least 2"):
        compare_orders(xor(100), [0], {})
    with pytest.raises(CostError, match="'c'"):
        compare_orders(small_task(), [0], {}, costs={"a": 1.0, "b": 1.0})


# --- The value network ---------------------------------------------------------------------------------


def test_values_lie_between_0_and_the_entropy_of_the_prediction():
    x, y = toy(200)
    clf = ValueNetworkClassifier(hidden_dim=8, max_epochs=2, random_state=0)
    x = x.drop_at_random(*NAMES, random_state=0)
    gains = clf.fit(x, y).expected_gains(x)
    p = clf.predict_proba(x)
    entropy = -(p * np.log(p)).sum(1)
    for name in NAMES:
        assert gains[name].isna().equals(pd.Series(x.present[name])), name
        of_absent = ~x.present[name]
        assert (gains[name][of_absent] > 0).all()
        assert (gains[name][of_absent] < entropy[of_absent] + 1e-6).all()


def test_a_value_network_without_anything_to_reveal_and_with_wrong_costs():
    x, y = toy(60)
    with pytest.raises(ModalityError, match="Name it in optional"):
        ValueNetworkClassifier().fit(x, y)
    with pytest.raises(CostError, match="'b'"):
        ValueNetworkClassifier(optional=NAMES, costs={"a": 1.0}).fit(x, y)


@pytest.mark.slow
def test_a_value_network_learns_the_expected_gains():
    """Exact: the mutual information of y and each sign.

    The drop of the log loss varies by about 0.7 nats; a modality that is rarely first is revealed first in
    some 300 rows by exploration alone, which tells its mean to 0.04.
    """
    x, y = toy(3000)
    clf = ValueNetworkClassifier(optional=NAMES, hidden_dim=32, max_epochs=15, random_state=0)
    gains = clf.fit(x.drop_at_random(*NAMES, rate=0.3, random_state=0), y)
    found = gains.expected_gains(x[:1].drop(*NAMES)).iloc[0]
    p = [alone(x, m) for m in NAMES]
    truth = [np.log(2) + np.mean(q * np.log(q) + (1 - q) * np.log(1 - q)) for q in p]
    np.testing.assert_allclose(found, truth, atol=0.05)
