"""Rows are matched by their labels and columns by their names: aligned or refused, never otherwise."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import BaggingClassifier
from sklearn.inspection import permutation_importance
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor
from primo_pyro.errors import CostError, LabelError, ModalityError

ROWS = 60
IDS = pd.Index([f"p{i * 7 % ROWS:02}" for i in range(ROWS)], name="patient")  # not sorted
RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(RANDOM.normal(size=(ROWS, 4)), index=IDS, columns=list("abcd"))
FRAME.loc[IDS[::3], ["c", "d"]] = np.nan
Y = pd.Series((FRAME["a"] > 0).astype(int), name="y")


def blocks(frame=FRAME):
    return {"o": frame[["a", "b"]], "m": frame[["c", "d"]]}


def small(cls=PrimoClassifier, **more):
    return cls(hidden_dim=4, latent_dim=1, max_epochs=1, num_samples=8, random_state=0, **more)


@pytest.fixture(scope="module")
def fitted():
    return small().fit(blocks(), Y)


# --- Any part in any order -----------------------------------------------------------------------------

labels = st.one_of(
    st.lists(st.integers(-5, 5), min_size=1, max_size=6),
    st.lists(st.sampled_from("uvwxyz"), min_size=1, max_size=6),
)


@st.composite
def two_orders(draw):
    """Labels of rows, perhaps with repeats, and other ones: permuted, changed, or as they are."""
    own = draw(labels)
    other = draw(st.permutations(own))
    if draw(st.booleans()):
        other = draw(st.lists(st.sampled_from(own), min_size=1, max_size=7))
    return own, list(other)


@settings(max_examples=200, deadline=None)
@given(two_orders(), st.sampled_from(["block", "present", "y", "costs", "mask", "where"]))
def test_aligned_or_refused(orders, part):
    """What comes back is what an independent look-up by label finds; nothing else is accepted."""
    own, other = orders
    first = pd.Series(np.arange(1.0, len(own) + 1), index=own)
    second = pd.Series(np.arange(1.0, len(other) + 1), index=other)
    flags = second % 2 == 0
    rows = Modalities({"o": first})
    ask = {
        "block": lambda: Modalities({"o": first, "m": second}).values["m"][:, 0],
        "present": lambda: Modalities({"o": first}, present={"o": flags}).present["o"],
        "y": lambda: np.asarray(rows.align("y", second, LabelError)),
        "costs": lambda: np.asarray(rows.align("costs", second, CostError)),
        "mask": lambda: np.isin(np.arange(1, len(own) + 1), rows[flags].values["o"][:, 0]),
        "where": lambda: ~rows.drop("o", where=flags).present["o"],
    }
    expected = flags if part in ("present", "mask", "where") else second
    if own == other:
        np.testing.assert_array_equal(ask[part](), expected.to_numpy())
    elif sorted(own) == sorted(other) and len(set(own)) == len(own):
        np.testing.assert_array_equal(ask[part](), [expected[label] for label in own])
    else:
        with pytest.raises((ModalityError, LabelError, CostError), match="other row labels"):
            ask[part]()


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 2), elements=st.floats(-9, 9, width=32)), st.permutations(["p", "q"]))
def test_columns_are_put_in_order(values, order):
    x = Modalities({"o": pd.DataFrame(values, columns=["p", "q"])[list(order)]})
    np.testing.assert_array_equal(x.in_columns({"o": ("p", "q")}).values["o"], values)


@pytest.mark.parametrize(
    ("index", "other"),
    [
        (pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]), pd.MultiIndex.from_tuples([("a", 2), ("a", 1)])),
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), pd.to_datetime(["2021-01-01", "2020-01-01"])),
        (pd.CategoricalIndex(["u", "v"]), pd.Index(["v", "u"])),
        (pd.Index([1, 2]), pd.Index([2.0, 1.0])),
    ],
)
def test_labels_of_any_kind(index, other):
    x = Modalities({"o": pd.Series([1.0, 2.0], index=index), "m": pd.Series([2.0, 1.0], index=other)})
    np.testing.assert_array_equal(x.values["o"], x.values["m"])


@pytest.mark.parametrize("other", [["1", "2"], pd.MultiIndex.from_tuples([(1, 1), (2, 2)]), [True, False]])
def test_labels_of_another_kind(other):
    with pytest.raises(ModalityError, match=r"'m' has other row labels than o: it lacks 2 \(1, 2\)"):
        Modalities({"o": pd.Series([1.0, 2.0], index=[1, 2]), "m": pd.Series([2.0, 1.0], index=other)})


# --- Estimators ----------------------------------------------------------------------------------------


def test_a_fit_depends_on_labels_and_not_on_the_order_of_y(fitted):
    again = small().fit(blocks(), Y.sample(frac=1, random_state=0))
    np.testing.assert_array_equal(again.predict_proba(blocks()), fitted.predict_proba(blocks()))
    shuffled = Y.sample(frac=1, random_state=1)
    assert again.score(blocks(), shuffled) == again.score(blocks(), Y)
    likelihood = again.summarise(blocks(), y=shuffled).log_likelihood
    np.testing.assert_array_equal(likelihood, again.summarise(blocks(), y=Y).log_likelihood)
    with pytest.raises(LabelError, match=r"y has other row labels than x: it lacks 1 \('p00'\)"):
        small().fit(blocks(), Y.iloc[1:])


def test_columns_at_prediction(fitted):
    swapped = {"m": FRAME[["d", "c"]], "o": FRAME[["b", "a"]]}
    np.testing.assert_array_equal(fitted.predict_proba(swapped), fitted.predict_proba(blocks()))
    with pytest.raises(
        ModalityError, match=r"'o' has other columns .* lacks 1 \('b'\) and has 1 more \('c'\)"
    ):
        fitted.predict_proba({"o": FRAME[["a", "c"]]})
    one = small().fit(FRAME[["a", "b"]], Y)
    np.testing.assert_array_equal(one.predict_proba(FRAME[["b", "a"]]), one.predict_proba(FRAME[["a", "b"]]))


def test_every_frame_carries_the_index(fitted):
    x, absent = blocks(), IDS[::3]
    assert fitted.predictive_impact(x).index.equals(IDS)
    assert set(fitted.predictive_impact(x, "each")["row"]) == set(IDS)
    assert set(fitted.rank_acquisitions(x)["row"]) == set(absent)
    assert set(fitted.plausible_labels(x)["row"]) == set(IDS)
    assert fitted.plausible_label_shares(x).index.equals(IDS)
    assert fitted.uncertainty(x).index.equals(IDS)
    complete = FRAME.dropna()
    assert fitted.impact_gap(blocks(complete)).index.equals(complete.index)
    path = fitted.acquire(x, lambda rows, modality: np.zeros((len(rows), 2)), threshold=-1.0)
    assert set(path.query("step == 1")["row"]) == set(absent)


def test_costs_and_budgets_follow_the_labels(fitted):
    cost = pd.Series(np.arange(1.0, ROWS + 1), index=IDS)
    ranked = fitted.rank_acquisitions(blocks(), {"m": cost[::-1]})
    np.testing.assert_array_equal(ranked["cost"], cost[ranked["row"]])
    with pytest.raises(CostError, match="other row labels"):
        fitted.rank_acquisitions(blocks(), {"m": cost.iloc[1:]})
    path = fitted.acquire(
        blocks(),
        lambda rows, m: np.zeros((len(rows), 2)),
        budget=(cost > 30)[::-1].astype(float),
        threshold=-1,
    )
    assert set(path.query("step == 1")["row"]) == {i for i in IDS[::3] if cost[i] > 30}


def test_a_regressor_scores_by_labels():
    clf = small(PrimoRegressor).fit(blocks(), FRAME["a"])
    assert clf.score(blocks(), FRAME["a"].sample(frac=1, random_state=0)) == clf.score(blocks(), FRAME["a"])


def test_joined_blocks_are_put_in_order():
    x = Modalities({"o": pd.Series([1.0, 2.0, 3.0], index=list("abc"))})
    blood = pd.DataFrame({"p": [30.0, 10.0, np.nan], "q": [3.0, 1.0, np.nan]}, index=list("cab"))
    for further in ({"blood": blood}, Modalities({"blood": blood})):
        joined = x.join(further)
        assert joined.index.tolist() == list("abc")
        assert joined.columns["blood"] == ("p", "q")
        np.testing.assert_array_equal(joined.present["blood"], [True, False, True])
        np.testing.assert_array_equal(joined.values["blood"][[0, 2]], [[10, 1], [30, 3]])
    # What has no labels is in the order of the rows; labels come from whichever side has them.
    image = x.join({"image": np.zeros((3, 1, 4, 4))}, {"image": [True, False, True]})
    assert image.present["image"].tolist() == [True, False, True]
    assert Modalities({"o": [1.0, 2.0, 3.0]}).join({"blood": blood}).index.tolist() == list("cab")
    for wrong, words in (
        ({"o": [1, 2, 3]}, "join got o, which these rows have already"),
        ({"m": [1, 2]}, "index: 3 rows, m: 2 rows"),
        ({"m": pd.Series([1, 2, 3], index=list("abd"))}, r"it lacks 1 \('c'\) and has 1 more \('d'\)"),
    ):
        with pytest.raises(ModalityError, match=words):
            x.join(wrong)
    with pytest.raises(ModalityError, match=r"join got 2 rows; expected 1\. Give an entry for each row"):
        Modalities({"o": [1.0]}).join({"m": [1.0, 2.0]})


def test_revealed_values_are_put_in_order():
    x = Modalities(blocks())
    new = pd.DataFrame({"d": [4.0, 8.0], "c": [3.0, 7.0]}, index=IDS[[3, 0]])
    assert x.reveal("m", [0, 3], new).values["m"][[0, 3]].tolist() == [[7.0, 8.0], [3.0, 4.0]]


def test_concat():
    x = Modalities(blocks())
    again = Modalities.concat([x[:20], x.select("o")[20:40], x[40:]])
    assert again.index.equals(IDS)
    np.testing.assert_array_equal(again.values["o"], x.values["o"])
    assert not again.present["m"][20:40].any()
    with pytest.raises(ModalityError, match="1 of 2 parts have labels"):
        Modalities.concat([x, Modalities({"o": np.ones((2, 2))})])
    with pytest.raises(ModalityError, match="other columns"):
        Modalities.concat([x, Modalities({"o": FRAME[["a", "c"]]})])
    with pytest.raises(ModalityError, match="different shapes"):
        Modalities.concat([Modalities({"o": np.ones((2, 2))}), Modalities({"o": np.ones((2, 3))})])


def test_tools_for_arrays(fitted):
    x = Modalities(blocks())
    with pytest.raises(ModalityError, match=r"give x\.positions"):
        np.asarray(x)
    pipeline = make_pipeline(FunctionTransformer(x.recombine), fitted)
    found = permutation_importance(pipeline, x.positions, Y.to_numpy(), n_repeats=2, random_state=0)
    assert found.importances_mean.shape == (2,)
    bagged = BaggingClassifier(make_pipeline(FunctionTransformer(x.recombine), small()), 2, random_state=0)
    assert bagged.fit(x.positions, Y.to_numpy()).predict_proba(x.positions).shape == (ROWS, 2)


@pytest.mark.parametrize("wrap", [pd.Series, lambda y: pd.DataFrame({"y": y})], ids=["series", "frame"])
def test_large_nullable_integers_stay_apart(wrap):
    y = pd.array([2**53 + i % 2 for i in range(ROWS)], dtype="Int64")
    clf = small().fit(FRAME[["a", "b"]].to_numpy(), wrap(y))
    assert clf.classes_.tolist() == [2**53, 2**53 + 1]


def test_masked_labels_are_refused():
    y = np.ma.array(Y.to_numpy(), mask=np.arange(ROWS) == 2)
    for cls in PrimoClassifier, PrimoRegressor:
        with pytest.raises(LabelError, match=r"1 of 60 labels are masked \(first: row 2"):
            small(cls).fit(FRAME[["a", "b"]].to_numpy(), y)
