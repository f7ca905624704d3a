"""Known failures of training: each is told where it happens, and nowhere else."""

import warnings

import numpy as np
import pandas as pd
import pytest

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.data import make_null_modality, make_xor
from primo_pyro.errors import CollapseWarning, OverfitWarning, PrimoWarning
from primo_pyro.protocols import DIGIT_HALVES
from primo_pyro.tasks import digit_halves


def said_by(classifier, x, y):
    """The fitted classifier, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PrimoWarning)
        classifier.fit(x, y)
    assert {w.filename for w in caught} <= {__file__}  # they point at the call of fit
    return classifier, [(w.category, str(w.message)) for w in caught]


def digits(objective):
    (x, y), _, (more, labels) = digit_halves().rows(0)
    x = x.drop_at_random("bottom", random_state=0)
    settings = DIGIT_HALVES.networks | DIGIT_HALVES.primo | {"max_epochs": 15}
    # All test rows choose the epoch here: 69 rows of a tenth of the training part would do, barely.
    classifier = PrimoClassifier(("bottom",), objective=objective, random_state=0, **settings)
    return said_by(classifier, x, y)


def test_the_papers_objective_collapses_on_digits_and_says_so():
    classifier, said = digits("paper")
    categories = [category for category, _ in said]
    assert categories.count(CollapseWarning) == len(categories) == 2  # nothing held, and V not about it
    line = classifier.diagnosis_.set_index("check").loc["collapse"]
    text = next(message for _, message in said if "has collapsed" in message)
    for number in (line["seen"], line["reference"]):
        assert f"{number:.3f}" in text
    assert "objective='calibrated'" in text


def test_the_default_does_not_collapse_on_digits():
    classifier, said = digits("calibrated")
    assert said == []
    assert set(classifier.diagnosis_["check"]) == {"collapse", "impact stays", "overfit"}
