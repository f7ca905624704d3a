"""Known failures of training: each is told where it happens, and nowhere else."""

import warnings

import numpy as np
import pytest

from primo_pyro import PrimoClassifier
from primo_pyro.data import make_null_modality
from primo_pyro.diagnosis import collapse, diagnose, impact_stays, overfit
from primo_pyro.errors import CollapseWarning, OverfitWarning, PrimoWarning
from primo_pyro.studies.protocols import DIGIT_HALVES
from primo_pyro.studies.tasks import digit_halves
from tests.conftest import make_program, make_rows


def said_by(classifier, training, validation):
    """The fitted classifier, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PrimoWarning)
        classifier.fit(*training, validation=validation)
    assert {w.filename for w in caught} <= {__file__}  # they point at the call of fit
    return classifier, {(w.category, str(w.message)) for w in caught}


def on_digits(objective, rows=None, **own):
    (x, y), _, validation = digit_halves().rows(0)
    x, y = x[:rows], y[:rows]
    settings = DIGIT_HALVES.networks | DIGIT_HALVES.primo | {"max_epochs": 12} | own
    classifier = PrimoClassifier(("bottom",), objective=objective, random_state=0, **settings)
    return said_by(classifier, (x.drop_at_random("bottom", random_state=0), y), validation)


# --- Fits ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_papers_objective_collapses_on_digits_and_says_so():
    classifier, said = on_digits("paper")
    lines = classifier.diagnosis_.set_index("check")
    texts = [text for category, text in said if category is CollapseWarning]
    assert len(texts) == 2
    for check, beginning in ("collapse", "The latent of 'bottom'"), ("impact stays", "V hardly falls"):
        (text,) = [text for text in texts if text.startswith(beginning)]
        assert lines.loc[check, "found"]
        for number in lines.loc[check, ["measured", "reference"]]:
            assert f"{number:.3f}" in text
        assert "objective='calibrated'" in text


@pytest.mark.slow
def test_the_default_does_not_collapse_on_digits():
    classifier, said = on_digits("calibrated")
    assert set(classifier.diagnosis_["check"]) == {"collapse", "impact stays", "overfit"}
    assert not [text for category, text in said if category is CollapseWarning]


def test_a_modality_that_tells_nothing_has_not_collapsed():
    """That its V, small as it is, does not fall when it is there may be told; it is true."""
    x, y = make_null_modality(1500, random_state=0)
    training = x[:1000].drop_at_random("m", random_state=0), y[:1000]
    settings = {"latent_dim": 2, "hidden_dim": 64, "max_epochs": 12, "learning_rate": 5e-3}
    classifier = PrimoClassifier(**settings, random_state=0)
    classifier, said = said_by(classifier, training, (x[1000:], y[1000:]))
    found = classifier.diagnosis_.set_index("check")["found"]
    assert not found["collapse"]
    assert not found["overfit"]
    assert not [text for _, text in said if text.startswith("The latent")]


@pytest.mark.slow
def test_memorised_rows_are_told():
    """So few digits are known by heart before the network has learnt anything of others."""
    classifier, said = on_digits("calibrated", rows=100, dropout=0.0, max_epochs=60)
    (text,) = [text for category, text in said if category is OverfitWarning]
    line = classifier.diagnosis_.set_index("check").loc["overfit"]
    assert f"{line['measured']:.3f} on training rows and {line['reference']:.3f} on validation rows" in text
    assert "dropout" in text


# --- Decisions -----------------------------------------------------------------------------------------


def test_a_probe_that_gains_by_chance_is_no_evidence():
    """Gains of either sign, whose mean is about their standard error."""
    random = np.random.default_rng(0)
    noisy = np.log(np.clip(0.5 + random.normal(0, 0.1, 100), 0.01, 0.99) / 0.5)
    assert abs(noisy.mean()) < 2 * noisy.std() / 10
    assert not collapse(np.zeros(100), noisy, "m")["found"]


def test_an_impact_of_nearly_zero_may_stay():
    assert not impact_stays(np.full(60, 0.004), np.full(60, 0.004), "m")["found"]


def test_the_same_gap_is_found_on_many_rows_only():
    random = np.random.default_rng(0)
    training, validation = random.exponential(0.3, 5000), random.exponential(0.5, 5000)
    assert overfit(training, validation, "m")["found"]
    assert not overfit(training[:10], validation[:10], "m")["found"]


@pytest.mark.parametrize(
    ("optional", "rows", "lines"),
    [(("m",), 40, 0), ((), 100, 0), (("m",), 100, 3), (("m", "n"), 300, 4)],
)
def test_what_is_looked_at(optional, rows, lines):
    """Nothing without a latent or on few rows; else V and training rows once, collapse for each latent."""
    model, _ = make_program(optional)
    x, y = make_rows(rows, optional, rate=0.0)
    frame = diagnose(model.eval(), x, y, x, y, num_samples=8, seed=0)
    assert len(frame) == lines
    assert list(frame["modality"][2:]) == list(optional[: max(0, lines - 2)])


def test_modalities_that_are_all_optional():
    model, _ = make_program(("m", "n"), observed=())
    x, y = make_rows(100, ("m", "n"), observed=(), rate=0.3)
    frame = diagnose(
        model.eval(), x, y, *make_rows(200, ("m", "n"), observed=(), rate=0.3), num_samples=8, seed=0
    )
    assert np.isfinite(frame[["measured", "reference", "excess"]].to_numpy(float)).all()
