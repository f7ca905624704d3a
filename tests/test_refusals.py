"""PrimoClassifier: what is refused, before any training."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.errors import LabelError, ModalityError
from primo_pyro.program.encoders import MLP
from tests.test_classifier import COMPLETE, NAN, X, Y, small


@pytest.fixture(scope="module")
def fitted():
    return small().fit(X, Y)


def refuses(error, *words, x=X, y=Y, validation=None, **settings):
    """Says all these words in this order, and has trained nothing."""
    classifier = small(callbacks=(pytest.fail,), **settings)
    with pytest.raises(error, match="(?s)" + ".*".join(words)):
        classifier.fit(x, y, validation=validation)
    assert not [name for name in ("model_", "guide_", "history_") if hasattr(classifier, name)]


def test_refuses_zero_rows():
    refuses(ModalityError, "0 rows", "at least one row of each class", "Pass some rows", x=X[[]], y=Y[:0])


def test_refuses_a_modality_that_is_absent_in_every_row():
    refuses(ModalityError, "'m'", "absent in every one of 150", "Leave it out", x=X.drop("m"))
    none = {"o": X.values["o"], "m": None}
    refuses(ModalityError, "'m'", "absent in every one of 150", "Leave it out", x=none)


def test_refuses_an_observed_modality_that_is_absent_somewhere():
    absent = int((~X.present["m"]).sum())
    refuses(ModalityError, "'m' is observed", f"{absent} of 150", "Add it to optional", optional=())
    refuses(ModalityError, "'m' is observed", f"{absent} of 150", "Add it to optional", optional=("o",))


def test_refuses_unknown_names():
    refuses(ModalityError, "optional names 'q'", "150 rows", "o, m", "Correct it", optional=("m", "q"))
    refuses(ModalityError, "optional is the string 'm'", r"optional=\('m',\)", optional="m")
    refuses(ModalityError, r"encoders names \['q'\]", "Correct the names", encoders={"q": MLP(1, 8, 8)})
    keys = Modalities({"keys": X.values["o"]})
    refuses(ModalityError, "'keys' has the name of a method", "Rename it", "keys_block", x=keys)


def test_refuses_what_the_blocks_cannot_be():
    """The errors of `Modalities` come through a mapping too."""
    refuses(ModalityError, "'m'", "1 of 2 rows hold infinities", x={"m": [1.0, np.inf]}, y=[0, 1])
    refuses(ModalityError, "o: 2 rows, m: 1 rows", x={"o": [1, 2], "m": [1]}, y=[0, 1])
    refuses(ModalityError, "'m'", "expected numbers", x={"m": ["a", "b"]}, y=[0, 1])
    refuses(ModalityError, "'m'", "2 rows", "no feature", "Leave it out", x={"m": np.ones((2, 0))}, y=[0, 1])
    five = {"m": np.ones((2, 1, 1, 1, 1))}
    refuses(ModalityError, "'m'", r"\[1, 1, 1, 1\]", "Reshape it, or pass encoders", x=five, y=[0, 1])


def test_refuses_labels():
    refuses(LabelError, "150 rows and y 149 labels", "one label a row", y=Y[:-1])
    refuses(LabelError, "one class only", "150 rows", "Add rows of another class", y=np.zeros(150, int))
    refuses(LabelError, "target y is None", "one label a row", y=None)
    refuses(LabelError, "2 of 150 labels are missing", "first: row 148", y=[*Y[:-2].astype(float), NAN, NAN])
    refuses(LabelError, "1 of 150 labels are missing", "first: row 0", y=[None, *"ab" * 74, "a"])
    refuses(LabelError, "1 of 150 labels are .*infinite", y=[np.inf, *Y[1:].astype(float)])
    refuses(LabelError, "150 labels are not classes", "continuous", y=Y + 0.5)
    refuses(LabelError, "150 labels are not classes", "all of one type", y=np.array(["a", 1], object)[Y])
    refuses(LabelError, "150 labels are not classes", "Give strings", y=np.array([b"a", b"b"])[Y])


def test_refuses_validation_rows():
    known = {"y": Y, "x": X}
    refuses(LabelError, "1 of 2 labels", "7", "not among", validation=(X[:2], [0, 7]), **known)
    refuses(LabelError, "2 of 2 labels", "'a'", "not among", validation=(X[:2], ["a", "a"]), **known)
    refuses(LabelError, "3 rows and y 2 labels", validation=(X[:3], Y[:2]), **known)
    refuses(ModalityError, "0 rows", validation=(X[[]], Y[:0]), **known)
    refuses(ModalityError, "Unknown modality 'q' in 2 rows", validation=({"q": [1, 2]}, [0, 1]), **known)
    wide = Modalities({"o": np.ones((2, 3))})
    refuses(
        ModalityError, "'o' has 2 rows", r"\[3\].*\[1\]", "same features", validation=(wide, [0, 1]), **known
    )


def test_a_fit_that_fails_leaves_nothing_of_the_one_before():
    """Else predictions would be of one fit and labels of another."""
    classifier = small().fit(X, Y)
    with pytest.raises(LabelError):
        classifier.fit(X, Y[:-1])
    with pytest.raises(NotFittedError):
        classifier.predict(X)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predictive_impact", "impact_gap", "plausible_labels"]
)
def test_refuses_rows_at_prediction(fitted, method):
    ask = getattr(fitted, method)
    with pytest.raises(ModalityError, match=r"0 rows.*Pass some rows"):
        ask(X[[]])
    with pytest.raises(ModalityError, match=r"Unknown modality 'q' in 2 rows.*m, o.*Correct the name"):
        ask({"o": np.ones(2), "q": np.ones(2)})
    with pytest.raises(ModalityError, match=r"'o' has 2 rows of shape \[3\].*on \[1\].*same features"):
        ask({"o": np.ones((2, 3)), "m": np.ones(2)})
    with pytest.raises(NotFittedError):
        getattr(small(), method)(X)


def test_refuses_modalities_without_a_latent(fitted):
    for ask in (fitted.predictive_impact, fitted.impact_gap):
        for name in ("o", "q"):
            with pytest.raises(
                ModalityError, match=rf"'{name}' has no latent.*\['m'\].*fit with it in optional"
            ):
                ask(COMPLETE, name)
    with pytest.raises(
        ModalityError, match=rf"'m' is absent in {int((~X.present['m']).sum())} of 150.*pass x\["
    ):
        fitted.impact_gap(X, "m")


@pytest.mark.parametrize("x", ["a", 3.0, [["a"], ["b"]]])
def test_what_is_no_rows_is_refused_in_our_words(x):
    with pytest.raises(ModalityError, match="Pass Modalities, a mapping of blocks"):
        PrimoClassifier().fit(x, [0, 1])


@pytest.mark.parametrize("rows", [2.5, None, [0.0, 1.0]])
def test_rows_are_picked_by_positions(rows):
    with pytest.raises(ModalityError, match=r"Give positions of rows, as in x\[\[0, 2\]\]"):
        Modalities({"o": np.ones(3)})[rows]
