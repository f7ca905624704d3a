"""Known failures of training: each is told where it happens, and nowhere else."""

import warnings

import numpy as np
import pytest
import torch

from primo_pyro import PrimoClassifier
from primo_pyro.data import make_null_modality
from primo_pyro.diagnosis import Fitted, collapse, diagnose, impact_stays, overfit, probe_losses
from primo_pyro.errors import CollapseWarning, OverfitWarning, PrimoWarning
from primo_pyro.prediction import summarise
from primo_pyro.program import Categorical, Multilabel, Normal, Ordinal, Outcome
from primo_pyro.studies.protocols import DIGIT_HALVES
from primo_pyro.studies.tasks import digit_halves
from tests.conftest import make_program, make_rows, subclasses


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


@pytest.mark.slow
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
    classifier, said = on_digits("calibrated", rows=100, dropout=0.0, max_epochs=100)
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
    [(("m",), 40, 2), ((), 100, 0), (("m",), 100, 3), (("m", "n"), 300, 7)],
)
def test_what_is_looked_at(optional, rows, lines):
    """Nothing without a latent; on few rows what was not checked; else training rows once, all for each."""
    model, _ = make_program(optional)
    x, y = make_rows(rows, optional, rate=0.0)
    frame = diagnose([Fitted(model.eval(), x, y, x, y)], num_samples=8, seed=0)
    assert len(frame) == lines
    assert set(frame["modality"]) - {" and ".join(optional)} == set(optional if len(optional) > 1 else ())
    assert frame["found"].isna().all() == (rows == 40 or not optional)


OUTCOMES = {  # outcome: its labels out of classes 0, 1 and 2
    Categorical(3): lambda y: y,
    Ordinal(3): lambda y: y,
    Multilabel(3): lambda y: np.eye(3, dtype=np.float32)[y],
    Normal(): lambda y: y.astype(np.float32) - 1,
}


@pytest.mark.parametrize(("outcome", "encode"), OUTCOMES.items(), ids=lambda o: getattr(o, "name", ""))
def test_every_outcome_is_looked_at(outcome, encode):
    """The measured gain is that of the model in its own log likelihood, and the probe is of the same kind."""
    model, _ = make_program(outcome=outcome)
    (x, y), (x_val, y_val) = make_rows(150, rate=0.2), make_rows(100, rate=0.0, seed=1)
    y, y_val = encode(y), encode(y_val)
    frame = diagnose([Fitted(model.eval(), x, y, x_val, y_val)], num_samples=64, seed=0)
    assert frame["check"].tolist() == ["overfit", "impact stays", "collapse"]
    assert np.isfinite(frame[["measured", "reference", "excess"]].to_numpy(float)).all()
    settings = {"num_samples": 64, "seed": 0}
    complete, missing = (
        summarise(model, rows, torch.as_tensor(y_val), **settings) for rows in (x_val, x_val.drop("m"))
    )
    gain = (complete.log_likelihood - missing.log_likelihood).mean()
    assert frame["measured"].iloc[2] == pytest.approx(gain, abs=1e-12)
    assert frame["measured"].iloc[1] == pytest.approx(complete.spread.mean(), abs=1e-12)


def test_every_outcome_has_a_probe():
    assert {type(o) for o in OUTCOMES} == {
        cls for cls in subclasses(Outcome) if cls.__module__.startswith("primo_pyro")
    }


def test_probes_know_what_features_tell():
    """Two of five features tell the label: nearly all of it, of new rows too, and the others nothing."""
    random = np.random.default_rng(0)
    h = random.normal(size=(2, 2000, 5))
    for outcome, encode in OUTCOMES.items():
        y, y_new = (encode(np.digitize(part[:, 0] + part[:, 1], [-0.6, 0.6])) for part in h)
        told = probe_losses(outcome, h[0], y, h[1], y_new)
        blind = probe_losses(outcome, h[0][:, 2:], y, h[1][:, 2:], y_new)
        assert told.shape == (2000,)
        # The loss of the blind is the label's own entropy; a linear probe halves it for each outcome.
        assert told.mean() < 0.7 * blind.mean()


def test_where_labels_do_not_vary_there_is_no_probe():
    """The other checks remain; training rows that have one modality each are enough for its probe."""
    model, _ = make_program(("m", "n"))
    x, y = make_rows(100, ("m", "n"), rate=0.0)
    either = x.drop("m", where=np.arange(100) % 2 == 0).drop("n", where=np.arange(100) % 2 == 1)
    of_each = ["impact stays", "answers differ"]
    for rows, labels, checks in (
        (either, y, [*of_each, "collapse"]),
        (x, np.zeros_like(y), of_each),
    ):
        frame = diagnose([Fitted(model.eval(), rows, labels, x, y)], num_samples=8, seed=0)
        assert frame["check"].tolist() == ["overfit", *checks, *checks]


def test_modalities_that_are_all_optional():
    model, _ = make_program(("m", "n"), observed=())
    x, y = make_rows(100, ("m", "n"), observed=(), rate=0.3)
    frame = diagnose(
        [Fitted(model.eval(), x, y, *make_rows(200, ("m", "n"), observed=(), rate=0.3))],
        num_samples=8,
        seed=0,
    )
    assert np.isfinite(frame[["measured", "reference", "excess"]].to_numpy(float)).all()
