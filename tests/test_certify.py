"""Certification and its answers on fitted estimators: kept, forgotten, saved; tidy, about the right rows."""

import warnings

import numpy as np
import pytest

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor
from primo_pyro.analysis.decisions import net_benefit_utility, value_of_information
from primo_pyro.data import drop_given_observed, make_linear, make_xor
from primo_pyro.errors import (
    AbsenceWarning,
    CertificateError,
    CostError,
    FewRowsWarning,
    LabelError,
    ModalityError,
    PrimoError,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::primo_pyro.errors.CollapseWarning", "ignore::primo_pyro.errors.OverfitWarning"
)


def quickly(cls, x, y, **settings):
    estimator = cls(latent_dim=1, hidden_dim=8, max_epochs=2, num_samples=32, random_state=0, **settings)
    return estimator.fit(x, y)


@pytest.fixture(scope="module")
def xor():
    """A classifier, and rows that it was not trained on."""
    x, y = make_xor(600, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = PrimoClassifier(
            latent_dim=2, hidden_dim=16, max_epochs=20, learning_rate=1e-2, num_samples=64, random_state=0
        ).fit(x.drop_at_random("m", random_state=0), y)
    return clf, *make_xor(300, random_state=1), *make_xor(400, random_state=2)


def two(rows=240, seed=0):
    random = np.random.default_rng(seed)
    o, a, b = random.normal(size=(3, rows))
    return Modalities({"o": o, "a": a, "b": b}), (o + a + b > 0).astype(int)


@pytest.fixture(scope="module")
def several():
    x, y = two()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quickly(PrimoClassifier, x.drop_at_random("a", "b", random_state=0), y)


def test_promises_on_rows_that_had_the_modality(xor):
    clf, x, y, new, labels = xor
    clf.certify(x, y)
    hidden, gap = new.drop("m"), clf.impact_gap(new)
    bound = clf.change_at_most(hidden)
    assert bound.columns.tolist() == ["row", "modality", "impact", "change_at_most", "approximate"]
    # Of n = 300 and 400 new rows the coverage varies by sqrt(.09 / 300 + .09 / 400) = .023.
    assert (gap["realised_change"] <= bound["change_at_most"]).mean() > 0.9 - 3 * 0.023
    np.testing.assert_array_equal(bound["impact"], clf.predictive_impact(hidden)["impact"])
    skip = clf.safe_to_skip(hidden, "flip", 0.1)["skip"]
    assert (skip & gap["flip"]).mean() < 0.1 + 3 * 0.023
    among = clf.safe_to_skip(hidden, "flip", 0.1, confidence=0.9)
    assert (among["skip"] == (among["score"] <= among["threshold"])).all()
    batch = clf.safe_to_skip(hidden, "flip", false_discovery=0.2)
    assert batch["threshold"].isna().all()
    sets = clf.label_sets(hidden)
    inside = np.mean([label in found for label, found in zip(labels, sets["labels"], strict=True)])
    assert abs(inside - 0.9) < 3 * 0.023 + 1 / 300
    assert (sets["size"] == sets["labels"].map(len)).all()
    assert sets["size_revealed"].mean() < sets["size"].mean()


def test_every_harm_and_every_score(xor):
    clf, x, y, new, _ = xor
    clf.certify(x, y)
    for harm in ("flip", "wrong", 0.3, lambda rows: rows["realised_change"] > 0.3):
        for by in ("impact", "flip_probability", "information_gain", "entropy"):
            found = clf.safe_to_skip(new.drop("m"), harm, 0.1, by=by)
            assert found["rows_needed"].eq(0).all()
    same = (
        clf.safe_to_skip(new.drop("m"), 0.3),
        clf.safe_to_skip(new.drop("m"), lambda rows: rows["realised_change"] > 0.3),
    )
    assert (same[0]["skip"] == same[1]["skip"]).all()


def test_answers_do_not_depend_on_what_was_asked_before(xor):
    """Passes are kept for the same rows; changed rows, parameters or certifications make new ones."""
    clf, x, y, new, _ = xor
    hidden = new.drop("m")
    clf.certify(x, y)
    first = clf.change_at_most(hidden), clf.label_sets(hidden, 0.8), clf.value_of_revealing(hidden)
    before = hidden.values["o"][0].copy()
    hidden.values["o"][0] += 1
    other = clf.change_at_most(hidden)
    hidden.values["o"][0] = before
    again = clf.value_of_revealing(hidden), clf.label_sets(hidden, 0.8), clf.change_at_most(hidden)
    for one, two_ in zip(first, again[::-1], strict=True):
        assert one.equals(two_)
    assert not other.equals(first[0])
    clf.certify(x[:60], y[:60])
    assert not clf.change_at_most(hidden).equals(first[0])


def test_one_pass_answers_all(xor, monkeypatch):
    clf, x, y, new, _ = xor
    clf.certify(x, y)
    passes = []
    from primo_pyro import revealing

    def counted(*args, **settings):
        passes.append(settings["about"])
        return real(*args, **settings)

    real = revealing.summarise
    monkeypatch.setattr(revealing, "summarise", counted)
    hidden = new.drop("m")
    clf.change_at_most(hidden), clf.safe_to_skip(hidden), clf.label_sets(hidden)
    clf.value_of_revealing(hidden), clf.value_of_revealing(hidden, threshold=0.3)
    clf.safe_to_skip(hidden, by="entropy"), clf.value_of_revealing(hidden, "log")
    assert passes == [("m",)]


def test_rows_that_have_the_modality_need_no_answer(xor):
    clf, x, y, new, _ = xor
    clf.certify(x, y)
    some = new.drop("m", where=np.arange(len(new)) < 10)
    bound, skip, sets = clf.change_at_most(some), clf.safe_to_skip(some), clf.label_sets(some)
    assert (bound["change_at_most"][10:] == 0).all()
    assert not skip["skip"][10:].any()
    assert (sets["size_revealed"][10:] == sets["size"][10:]).all()
    assert (clf.value_of_revealing(some)["value"][10:] == 0).all()
    alone = clf.change_at_most(new.drop("m")[:10])
    np.testing.assert_allclose(bound["change_at_most"][:10], alone["change_at_most"], rtol=1e-6)
    assert not clf.safe_to_skip(new)["skip"].any()


def test_value_is_that_of_the_draws(xor):
    clf, _, _, new, _ = xor
    hidden = new.drop("m")[:20]
    draws = clf.sample_predictions(hidden)
    utility = np.array([[1.0, -3.0], [0.0, 0.0], [-1.0, 2.0]])
    for settings, matrix in (
        ({}, np.eye(2)),
        ({"utility": utility}, utility),
        ({"threshold": 0.2}, net_benefit_utility(0.2)),  # on the grid of thresholds that every pass measures
        ({"threshold": 0.123}, net_benefit_utility(0.123)),
    ):
        found = clf.value_of_revealing(hidden, **settings)["value"]
        np.testing.assert_allclose(found, value_of_information(draws, matrix), atol=1e-5)  # single precision
    log = clf.value_of_revealing(hidden, "log")["value"]
    np.testing.assert_allclose(log, clf.predictive_impact(hidden)["information_gain"])
    costly = clf.value_of_revealing(hidden, costs={"m": np.linspace(0.001, 0.5, 20)})
    assert (costly["reveal"] == (costly["value"] > costly["cost"])).all()
    with pytest.raises(CostError):
        clf.value_of_revealing(hidden, costs={})
    for wrong in ("luck", np.eye(3)):
        with pytest.raises((PrimoError, ValueError)):
            clf.value_of_revealing(hidden, wrong)


def test_certification_is_saved_and_forgotten(xor, tmp_path):
    clf, x, y, new, _ = xor
    absent = drop_given_observed(x, "m", on="o", strength=0.5, random_state=0)
    groups = np.where(x.values["o"][:, 0] > 0, "right", "left")
    clf.certify(absent, y, weighted=True, groups=groups)
    hidden, of_new = new.drop("m"), np.where(new.values["o"][:, 0] > 0, "right", "left")
    clf.save(tmp_path / "model")
    again = PrimoClassifier.load(tmp_path / "model")
    for ask in (
        lambda c: c.change_at_most(hidden, groups=of_new),
        lambda c: c.safe_to_skip(hidden, "wrong", 0.2),
        lambda c: c.label_sets(hidden),
        lambda c: c.absence_checks(),
    ):
        assert ask(clf).equals(ask(again))
    again.set_params(max_epochs=1).fit(x.drop_at_random("m", random_state=0), y)
    with pytest.raises(CertificateError, match="Call certify"):
        again.change_at_most(hidden)
    assert not hasattr(again, "label_scores_")


def test_few_rows_promise_nothing_and_say_how_many_would(xor):
    clf, x, y, new, _ = xor
    with pytest.warns(FewRowsWarning, match="Few rows have m: 8"):
        clf.certify(x[:8], y[:8])
    hidden = new.drop("m")
    with pytest.warns(FewRowsWarning, match="expected at least 9"):
        bound = clf.change_at_most(hidden)
    assert (bound["change_at_most"] == 1).all()
    with pytest.warns(FewRowsWarning, match="expected at least 19"):
        skip = clf.safe_to_skip(hidden, harm=2.0)
    assert not skip["skip"].any()
    assert (skip["rows_needed"] == 19).all()
    with pytest.warns(FewRowsWarning, match="expected at least 45"):
        assert not clf.safe_to_skip(hidden, 2.0, confidence=0.9)["skip"].any()
    assert (clf.label_sets(hidden)["size"] == 2).all()


def test_no_harm_and_all_harm(xor):
    clf, x, y, new, _ = xor
    clf.certify(x, y)
    hidden = new.drop("m")
    assert clf.safe_to_skip(hidden, 2.0)["skip"].all()
    nobody = clf.safe_to_skip(hidden, -1.0, confidence=0.9)
    assert not nobody["skip"].any()
    assert nobody["promise"].str.startswith("nothing can be promised").all()


def test_absence_for_a_reason_is_said_and_weighted(xor):
    clf, x, y, new, _ = xor
    absent = drop_given_observed(x, "m", on="o", strength=0.8, random_state=0)
    with pytest.warns(AbsenceWarning, match="weighted=True"):
        clf.certify(absent, y)
    assert clf.absence_checks()["selective"].all()
    clf.certify(absent, y, weighted=True)
    check = clf.absence_checks()
    assert (check["effective"] < check["present"]).all()
    assert clf.change_at_most(new.drop("m"))["approximate"].all()
    strong = drop_given_observed(x, "m", on="o", strength=30, random_state=0)
    with pytest.warns(AbsenceWarning, match="hardly stand"):
        clf.certify(strong, y, weighted=True)
    with pytest.raises(ModalityError, match="leave weighted out"):
        clf.certify(x, y, weighted=True)


def test_several_modalities_and_sets(several):
    x, y = two(seed=1)
    several.certify(x.drop_at_random("a", "b", rate=0.3, random_state=1), y)
    several.certify(x, y, modality=("b", "a"))
    assert list(several.certificates_) == ["a", "b", "a + b"]
    new = two(12, seed=2)[0].drop("a").drop("b", where=np.arange(12) < 6)
    bound = several.change_at_most(new)
    assert bound["row"].tolist() == np.repeat(np.arange(12), 3).tolist()
    of_set = bound.query("modality == 'a + b'")["change_at_most"]
    assert of_set[:6].notna().all()
    assert of_set[6:].isna().all()  # of which b is present
    assert several.safe_to_skip(new, modality=["a", "b"])["modality"].unique().tolist() == ["a + b"]
    assert several.label_sets(new, modality="a")["certified"].all()
    worth = several.value_of_revealing(new, sets=[("a", "b")], costs={"a": 0.1, "b": 0.2})
    assert worth.query("modality == 'a + b'")["cost"].tolist() == pytest.approx([0.3] * 12)
    with pytest.raises(ModalityError):
        several.certify(x, y, modality="o")


def test_what_is_refused(several):
    x, y = two(seed=3)
    with pytest.raises(LabelError, match="240 rows and y 5 labels"):
        several.certify(x, y[:5])
    with pytest.raises(ModalityError, match="No row of 240 has a"):
        several.certify(x.drop("a"), y)
    several.certify(x)
    with pytest.raises(CertificateError, match="Pass labels"):
        several.safe_to_skip(x.drop("a"), "wrong")
    with pytest.raises(CertificateError, match="without labels"):
        several.label_sets(x.drop("a"))


def test_one_class():
    x, _ = two(120)
    clf = quickly(PrimoClassifier, x.drop_at_random("a", "b", random_state=0), np.arange(120) % 2)
    clf.certify(x, np.zeros(120, int))  # certified on rows of one class alone
    hidden = x.drop("a")
    assert clf.label_sets(hidden)["size"].between(0, 2).all()
    assert clf.safe_to_skip(hidden, "wrong", 0.2)["skip"].dtype == bool


def test_numbers_have_bounds_and_no_classes():
    x, y = make_linear(200, random_state=0)
    reg = quickly(PrimoRegressor, x.drop_at_random("m", random_state=0), y)
    reg.certify(*make_linear(150, random_state=1))
    new = make_linear(100, random_state=2)[0]
    bound = reg.change_at_most(new.drop("m"))["change_at_most"]
    # The coverage varies by sqrt(.09 / 150 + .09 / 100) = .039.
    assert (reg.impact_gap(new)["realised_change"] <= bound).mean() > 0.9 - 3 * 0.039
    assert reg.safe_to_skip(new.drop("m"), 0.5)["skip"].dtype == bool
    assert (reg.value_of_revealing(new.drop("m"), "log")["value"] >= 0).all()
    with pytest.raises(CertificateError, match="Give a change"):
        reg.safe_to_skip(new.drop("m"))
    for call in (
        lambda: reg.label_sets(new),
        lambda: reg.value_of_revealing(new),
        lambda: reg.value_of_revealing(new, threshold=0.2),
    ):
        with pytest.raises(PrimoError, match="classes"):
            call()
