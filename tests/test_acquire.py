"""Modalities revealed one after another: on an estimator with known answers, and on fitted ones."""

import numpy as np
import pandas as pd
import pytest

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor
from primo_pyro.analysis.policies import ExpectedGain
from primo_pyro.data import make_linear
from primo_pyro.errors import CostError, ModalityError, PrimoError
from primo_pyro.questions import ImpactQuestions

NAN = np.nan
# What each modality is worth, by what is present of a, b, c.
WORTH = {
    "": (0.3, 0.2, 0.1),
    "a": (0.0, 0.05, 0.4),
    "b": (0.3, 0.0, 0.1),
    "c": (0.1, 0.2, 0.0),
    "ab": (0.0, 0.0, 0.2),
    "ac": (0.0, 0.01, 0.0),
    "bc": (0.3, 0.0, 0.0),
    "abc": (0.0, 0.0, 0.0),
}


class Known(ImpactQuestions):
    """An estimator that says what WORTH says; its information gain is what is left to 1."""

    summarise = _drawn = _train = _out_of_fold_calibrators = None  # not needed here

    optional_ = ("a", "b", "c")

    def __init__(self, scale=1.0):
        self.scale = np.asarray(scale)  # of each row, by its number in o
        self.asked = []

    def _as_known_rows(self, x):
        return x

    def _predicted_columns(self, x):
        return pd.DataFrame({"p_yes": np.mean([x.present[m] for m in self.optional_], axis=0)})

    def predictive_impact(self, x, modality):
        assert modality == "each"
        number = x.values["o"][:, 0].astype(int)
        self.asked += number.tolist()
        worth = np.array(
            [WORTH["".join(m for m in "abc" if x.present[m][i])] for i in range(len(x))]
        ) * np.broadcast_to(self.scale, 9)[number].reshape(-1, 1)
        return pd.DataFrame(
            {
                "row": np.repeat(np.arange(len(x)), 3),
                "modality": list("abc") * len(x),
                "impact": worth.ravel(),
                "information_gain": np.where(worth > 0, 1 - worth, 0).ravel(),
            }
        )


def rows(n, **present):
    """n rows numbered in o; a, b and c absent where not given."""
    blocks = {"o": np.arange(float(n)), **dict.fromkeys("abc"), **present}
    return Modalities(blocks)


def give(at, modality):
    return np.ones(len(at))


def order(path, row=0):
    of_row = path[(path["row"] == row) & (path["step"] > 0)]
    assert of_row["step"].tolist() == list(range(1, len(of_row) + 1))
    return "".join(of_row["modality"])


def test_each_row_takes_what_is_worth_most_now_and_is_asked_again():
    clf = Known()
    path = clf.acquire(rows(2, b=[NAN, 1.0]), give)
    assert order(path, 0) == "acb"
    assert order(path, 1) == "ac"
    assert path.loc[path["row"] == 0, "impact"].tolist()[1:] == [0.3, 0.4, 0.01]
    assert path.loc[path["row"] == 0, "p_yes"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert path.loc[path["row"] == 0, "spent"].tolist() == [0, 1, 2, 3]
    # Once for each state that has something absent: three of row 0, two of row 1.
    assert sorted(clf.asked) == [0, 0, 0, 1, 1]
    assert list(path.columns) == [
        *("row", "step", "modality", "impact", "information_gain", "value_per_cost", "cost", "spent"),
        "p_yes",
    ]


def test_by_information_gain():
    assert order(Known().acquire(rows(1), give, by="information_gain")) == "cab"


def test_by_a_function_of_what_is_said():
    def twice_the_gain(asked):
        return 2 * asked["information_gain"]

    path = Known().acquire(rows(1), give, by=twice_the_gain)
    assert order(path) == "cab"
    assert path["value_per_cost"].tolist()[1:] == (2 * path["information_gain"]).tolist()[1:]
    with pytest.raises(PrimoError, match=r"by returned numbers of shape \[1\] for 6 lines"):
        Known().acquire(rows(2), give, by=lambda asked: [1.0])


def test_value_is_per_cost():
    path = Known().acquire(rows(2), give, costs={"a": [6.0, 1.0], "b": 1.0, "c": 1.0})
    assert order(path, 0) == "bca"
    assert order(path, 1) == "acb"
    assert path.loc[path["row"] == 0, "value_per_cost"].tolist()[1:] == pytest.approx([0.2, 0.1, 0.05])
    assert path.loc[path["row"] == 0, "spent"].tolist() == [0, 1, 2, 8]


def test_threshold_ends_a_path():
    assert order(Known().acquire(rows(1), give, threshold=0.1)) == "ac"
    assert order(Known().acquire(rows(1), give, threshold=0.3)) == ""  # no more than the threshold
    assert order(Known().acquire(rows(1, a=[1.0], c=[1.0]), give, threshold=0.01)) == ""


def test_budget_is_that_of_each_row_and_buys_what_it_can_afford():
    costs = {"a": 2.0, "b": 1.0, "c": 3.0}
    path = Known().acquire(rows(4), give, costs=costs, budget=[0.5, 1.0, 5.0, 6.0])
    assert [order(path, row) for row in range(4)] == ["", "b", "ba", "bac"]
    tenth = dict.fromkeys("abc", 0.1)
    assert order(Known().acquire(rows(1), give, costs=tenth, budget=0.3)) == "acb"  # .3 - .1 - .1 < .1


def test_a_shared_budget_goes_to_the_rows_where_it_is_worth_most():
    scale = [1.0, 0.1, 0.01, 1.0]
    path = Known(np.resize(scale, 9)).acquire(rows(4), give, budget=4, shared=True)
    assert path["cost"].sum() == 4
    assert [order(path, row) for row in range(4)] == ["ac", "", "", "ac"]
    path = Known(np.resize(scale, 9)).acquire(rows(4), give, budget=100, shared=True)
    assert [order(path, row) for row in range(4)] == ["acb"] * 4


def test_what_cannot_be_had_is_struck_off_costs_nothing_and_is_not_asked_for_again():
    clf, wanted = Known(), []

    def some(at, modality):
        wanted.append((modality, at.tolist()))
        if modality == "c":
            return None
        return np.where(np.isin(at, [0] if modality == "a" else [0, 1, 2])[:, None], 1.0, NAN)

    path = clf.acquire(rows(3), some)
    assert [order(path, row) for row in range(3)] == ["ab", "b", "b"]
    assert path.groupby("row")["spent"].max().tolist() == [2, 1, 1]
    pairs = [(modality, row) for modality, at in wanted for row in at]
    assert len(pairs) == len(set(pairs))
    assert sorted(clf.asked) == [0, 0, 1, 1, 2, 2]  # struck off without being asked about anew


def test_of_equal_ones_the_first_is_revealed():
    class Equal(Known):
        def predictive_impact(self, x, modality):
            return super().predictive_impact(x, modality).assign(impact=0.5)

    assert order(Equal().acquire(rows(1), give)) == "abc"


def test_unknown_worth_is_never_bought():
    class Unknown(Known):
        def predictive_impact(self, x, modality):
            return super().predictive_impact(x, modality).assign(impact=NAN)

    assert len(Unknown().acquire(rows(2), give, threshold=-np.inf)) == 2


def test_rows_with_nothing_absent_keep_their_first_line():
    clf = Known()
    path = clf.acquire(rows(2, a=[1.0, NAN], b=[1.0, 1.0], c=[1.0, 1.0]), give)
    assert path["row"].tolist() == [0, 1, 1]
    path = clf.acquire(rows(2, a=[1.0, 1.0], b=[1.0, 1.0], c=[1.0, 1.0]), pytest.fail)
    assert path["step"].tolist() == [0, 0]
    assert clf.asked == [1]


def test_modalities_may_be_returned():
    def some(at, modality):
        return Modalities({modality: np.ones(len(at))}, present={modality: at == 1})

    path = Known().acquire(rows(2), some)
    assert [order(path, row) for row in range(2)] == ["", "acb"]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"by": "impact"}, PrimoError, "by is 'impact'; expected 'expected_change' or"),
        ({"reveal": np.ones(3)}, PrimoError, "reveal is of type ndarray; expected a function"),
        ({"threshold": NAN}, PrimoError, "threshold is nan; expected a number"),
        ({"costs": {"a": 1.0, "b": 1.0}}, CostError, "and not 'c'"),
        ({"costs": {"a": 1.0, "b": 0.0, "c": 1.0}}, CostError, "'b'.*smallest value 0.0"),
        ({"costs": {"a": 1.0, "b": [1.0, 2.0], "c": 1.0}}, CostError, r"'b' has shape \[2\]"),
        ({"budget": -1}, CostError, "smallest value -1.0; expected one number, or 3 of them"),
        ({"budget": NAN}, CostError, "budget"),
        ({"budget": [1, 2]}, CostError, r"budget has shape \[2\]"),
        ({"budget": [1, 2, 3], "shared": True}, CostError, "expected one number for all rows together"),
    ],
)
def test_errors_come_before_the_work(settings, error, words):
    clf = Known()
    with pytest.raises(error, match=words):
        clf.acquire(rows(3), **{"reveal": pytest.fail} | settings)
    assert clf.asked == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((3, 2)), "3 values of 'a' came for 2 rows"),
        ([[1.0, NAN], [1.0, 1.0]], r"shape \(\[2\]\).*expected \[1\]"),
        (Modalities({"b": np.ones(2)}), "Unknown modality 'a'"),
        (np.ones((2, 3)), r"shape \(\[3\]\).*expected \[1\]"),
    ],
)
def test_values_that_do_not_fit(values, words):
    x = rows(3, a=[NAN, NAN, 1.0], b=[1.0] * 3, c=[1.0] * 3)
    with pytest.raises(ModalityError, match=words):
        Known().acquire(x, lambda at, modality: values)


# --- Fitted estimators ---------------------------------------------------------------------------------

SMALL = {
    "random_state": 0,
    "validation_fraction": 0.0,
    "latent_dim": 1,
    "hidden_dim": 8,
    "max_epochs": 2,
    "num_samples": 16,
}


@pytest.fixture(scope="module")
def two_optional():
    random = np.random.default_rng(0)
    a, b, o = random.normal(size=(3, 300))
    x = Modalities({"o": o, "a": a, "b": b})
    y = np.where(a + 0.3 * b + 0.1 * o > 0, "up", "down")
    return PrimoClassifier(**SMALL).fit(x.drop_at_random("a", "b", random_state=0), y), x


def test_predictions_along_the_path_are_those_of_what_is_known(two_optional):
    clf, x = two_optional
    x = x[:40]
    start = x.drop("a", where=np.arange(40) < 30).drop("b", where=np.arange(40) >= 10)
    path = clf.acquire(start, lambda rows, m: x.values[m][rows])
    np.testing.assert_array_equal(path.loc[path["step"] == 0, ["p_down", "p_up"]], clf.predict_proba(start))
    last = path.groupby("row").last()
    np.testing.assert_allclose(last[["p_down", "p_up"]], clf.predict_proba(x), atol=1e-6)
    ranked = clf.rank_acquisitions(start).groupby("row").first().sort_index()
    first = path[path["step"] == 1].set_index("row")
    np.testing.assert_allclose(first["value_per_cost"], ranked["change_per_cost"], atol=1e-6)


def test_after_calibration_the_expected_change_decides(two_optional):
    clf, x = two_optional
    clf.calibrate_impact(x)
    path = clf.acquire(x[:20].drop("a", "b"), lambda rows, m: x.values[m][rows])
    bought = path[path["step"] > 0]
    np.testing.assert_array_equal(bought["value_per_cost"], bought["expected_change"])
    assert not np.array_equal(bought["value_per_cost"], bought["impact"])


def test_an_expected_gain_is_what_was_gained_on_average(two_optional):
    """Least squares keeps the mean; of a modality that is absent everywhere nothing can be learnt."""
    clf, x = two_optional
    y = np.where(x.values["a"][:, 0] > 0, "up", "down")
    gain = ExpectedGain().fit(clf, x, y)
    before, after = (clf.summarise(rows, y=y).log_likelihood for rows in (x.drop("a"), x))
    asked = clf.predictive_impact(x.drop("a"), "each")
    expected = gain(asked)
    of_a = asked["modality"] == "a"
    assert expected[of_a].mean() == pytest.approx((after - before).mean())
    by_told = expected[of_a][np.argsort(asked.loc[of_a, "information_gain"], kind="stable")]
    assert (np.diff(by_told) >= 0).all()
    assert len(clf.acquire(x[:9].drop("a", "b"), lambda rows, m: x.values[m][rows], by=gain)) > 9
    with pytest.raises(ModalityError, match="No row of 300 has 'b'"):
        ExpectedGain().fit(clf, x.drop("b"), y)


def test_numbers_have_paths_too():
    x, y = make_linear(200, random_state=0)
    reg = PrimoRegressor(**SMALL).fit(x.drop_at_random("m", random_state=0), y)
    path = reg.acquire(x[:5].drop("m"), lambda rows, m: x.values[m][rows], by="information_gain")
    np.testing.assert_allclose(path.groupby("row")["prediction"].last(), reg.predict(x[:5]), rtol=1e-5)


def test_without_an_optional_modality_there_is_nothing_to_acquire():
    x, y = make_linear(100, random_state=0)
    reg = PrimoRegressor(**SMALL).fit(x, y)
    with pytest.raises(ModalityError, match="is optional, so nothing has an impact"):
        reg.acquire(x, give)
