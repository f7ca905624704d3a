"""The training loop: exact resume, early stopping, clear stops."""

import sys

import numpy as np
import pyro
import pytest
import torch
from torch import nn

from primo_pyro import Modalities, Objective, PrimoClassifier
from primo_pyro.data import make_xor
from primo_pyro.errors import CheckpointError, TrainingError
from primo_pyro.program import Loss
from primo_pyro.schedule import Schedule
from primo_pyro.training import train
from tests.conftest import make_program, make_rows

SMALL = {"latent_dim": 2, "hidden_dim": 8, "batch_size": 32, "max_epochs": 4, "random_state": 0}


def rows(count=200):
    x, y = make_xor(count, random_state=0)
    return x.drop_at_random("m", random_state=0), y


def parameters(clf):
    return {**clf.model_.state_dict(), **{f"guide.{k}": v for k, v in clf.guide_.state_dict().items()}}


def assert_same_parameters(one, other):
    for (name, a), b in zip(parameters(one).items(), parameters(other).values(), strict=True):
        assert torch.equal(a, b), name


class Killed(Exception):
    pass


@pytest.mark.parametrize("last", [1, 3])
def test_a_killed_run_resumes_to_the_same_parameters(tmp_path, last):
    x, y = rows()
    unbroken = PrimoClassifier(**SMALL).fit(x, y)

    def kill(row):
        if row["epoch"] == last:
            raise Killed

    checkpoint = tmp_path / "run.ckpt"
    with pytest.raises(Killed):
        PrimoClassifier(**SMALL, checkpoint=checkpoint, callbacks=[kill]).fit(x, y)
    assert checkpoint.exists()
    resumed = PrimoClassifier(**SMALL, checkpoint=checkpoint).fit(x, y)
    assert_same_parameters(unbroken, resumed)
    assert unbroken.history_.equals(resumed.history_)
    assert not checkpoint.exists()  # nothing is left of a run that has ended


def test_a_checkpoint_of_other_rows_or_settings_is_refused(tmp_path):
    x, y = rows()
    checkpoint = tmp_path / "run.ckpt"

    def kill(row):
        raise Killed

    with pytest.raises(Killed):
        PrimoClassifier(**SMALL, checkpoint=checkpoint, callbacks=[kill]).fit(x, y)
    for changed in ({"learning_rate": 0.1}, {"hidden_dim": 9}, {"random_state": 1}, {"objective": "paper"}):
        with pytest.raises(CheckpointError, match="other settings or rows"):
            PrimoClassifier(**(SMALL | changed), checkpoint=checkpoint).fit(x, y)
    with pytest.raises(CheckpointError, match="other settings or rows"):
        PrimoClassifier(**SMALL, checkpoint=checkpoint).fit(x[:150], y[:150])
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        PrimoClassifier(**SMALL, checkpoint=checkpoint).fit(x, y)


class Squares(nn.Linear):
    """Remembers its weight at each step."""

    def __init__(self):
        super().__init__(1, 1)
        self.steps = []

    def forward(self, x, y):
        self.steps.append(self.weight.item())
        return super().forward(torch.as_tensor(x.values["x"], dtype=torch.float32)).square().sum()


def trained(scores, **schedule):
    """A model, its history, and the weight that each score was asked for."""
    model, weights, scores = Squares(), [], iter(scores)

    def score():
        weights.append(model.weight.item())
        return {"val_log_loss": next(scores)}

    x, y = Modalities({"x": np.ones(10)}), np.zeros(10, int)
    schedule = Schedule(**{"max_epochs": 6, "batch_size": 5, **schedule})
    history = train(model, x, y, schedule=schedule, seed=0, score=score)
    return model, history, weights


def test_what_is_not_given_goes_by_the_rows():
    """0 epochs and no decay are given; no patience stays none."""
    given = Schedule(max_epochs=0, weight_decay=0.0, patience=None).for_rows(28_000)
    assert (given.max_epochs, given.batch_size, given.weight_decay, given.patience) == (0, 256, 0.0, None)
    assert (Schedule().for_rows(28_000).max_epochs, Schedule().for_rows(300).max_epochs) == (30, 60)


def test_the_best_epoch_is_restored_and_training_stops_early():
    """The score is said to be best after the second epoch."""
    model, history, weights = trained([3.0, 1.0, 2.0, 2.0, 2.0, 2.0], patience=3)
    assert len(history) == 5  # two, and three without improvement
    assert model.weight.item() == weights[1] != weights[4]


def test_the_latest_epoch_that_rows_cannot_tell_from_the_best_is_kept():
    """Paired differences of 1, 1, 1 and -2.9 have a mean of 0.03 and a standard error of 0.98."""
    best = np.array([0.0, 5.0, 1.0, 3.0])
    hardly_worse = best + np.array([1.0, 1.0, 1.0, -2.9])
    model, history, weights = trained([best + 1, best, hardly_worse, best + 0.1], patience=1)
    assert model.weight.item() == weights[2]
    np.testing.assert_allclose(history["val_log_loss"], [3.25, 2.25, 2.275, 2.35])


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_scored_and_kept_are_averages_over_steps(decay):
    """After step n the average moves to the parameters by 1 - min(decay, (1 + n) / (10 + n)); n is 0 first,
    when they are taken as they are."""
    model, _, weights = trained([5.0, 4.0, 3.0, 2.0, 1.0, 0.0], averaging=decay, learning_rate=0.05)
    average, averages = None, []
    for n, weight in enumerate(model.steps[1:]):  # after each step but the last
        forget = min(decay, (1 + n) / (10 + n))
        average = weight if average is None else forget * average + (1 - forget) * weight
        averages.append(average)
    # Two steps an epoch; single precision.
    np.testing.assert_allclose(weights[:5], averages[1::2], rtol=1e-5)
    assert model.weight.item() == weights[5]


def test_history_names_the_parts_of_the_loss():
    x, y = rows()
    history = PrimoClassifier(**SMALL).fit(x, y).history_
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    parts = {"loss", "nll_y", "kl_z_m", "anchor_m", "tie_m", "forecast", "auxiliary_o", "learning_rate"}
    scores = {"val_log_loss", "val_log_loss_missing", "val_log_loss_complete"}
    assert parts | scores <= set(history.columns)
    assert np.isfinite(history.to_numpy(float)).all()


def test_a_loss_that_is_not_finite_stops_with_the_name_of_its_part():
    x, y = make_rows(17)
    model, guide = make_program()
    with torch.no_grad():
        model.likelihood.bias.fill_(torch.nan)
    loss = Loss(model, guide, objective=Objective.named("calibrated"))
    # Pyro's own validation would stop at the invalid logits first, without naming a part.
    with (
        pyro.validation_enabled(False),
        pytest.raises(TrainingError, match=r"epoch 1, step 1 \(not finite: .*nll_y"),
    ):
        train(loss, x, y, schedule=Schedule(max_epochs=1), seed=0)


def test_a_true_answer_of_a_callback_ends_training():
    x, y = rows()
    clf = PrimoClassifier(**SMALL, callbacks=[lambda row: row["epoch"] == 2]).fit(x, y)
    assert len(clf.history_) == 2


def test_no_batch_is_left_with_a_single_row():
    """Batch normalisation wants two rows; 33 rows in batches of 32 must not become 32 + 1."""
    x, y = rows(33)
    PrimoClassifier(**SMALL, validation_fraction=0).fit(x, y)
    PrimoClassifier(**(SMALL | {"batch_size": 1000}), validation_fraction=0).fit(x, y)


def test_an_encoder_runs_once_a_step():
    x, y = rows(64)
    calls = []

    class Counting(nn.Linear):
        def forward(self, values):
            if self.training:
                calls.append(len(values))
            return super().forward(values)

    settings = SMALL | {"max_epochs": 3}
    PrimoClassifier(**settings, encoders={"o": Counting(1, 8)}, validation_fraction=0).fit(x, y)
    assert calls == [32] * 6  # 3 epochs of 2 steps


def test_warm_start_goes_on_where_fit_left_off():
    x, y = rows()
    clf = PrimoClassifier(**SMALL, warm_start=True, patience=None, validation_fraction=0).fit(x, y)
    before = parameters(clf)["likelihood.bias"].clone()
    loss = clf.history_["loss"].iloc[0]
    clf.fit(x, y)
    assert clf.history_["loss"].iloc[0] < loss
    assert not torch.equal(before, parameters(clf)["likelihood.bias"])


def test_a_bar_of_the_notebook_is_looked_for_only_where_one_is_shown(monkeypatch, capsys):
    """In a notebook without widgets the search warns, which a quiet fit must not do."""
    x, y = rows()
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)  # importing it would fail
    PrimoClassifier(**SMALL).fit(x, y)
    assert capsys.readouterr().err == ""
    monkeypatch.undo()
    PrimoClassifier(**SMALL, verbose=1).fit(x, y)
    assert "epoch" in capsys.readouterr().err


def test_weight_decay_is_for_matrices_and_spares_the_likelihood():
    """Under a decay that leaves nothing within a step, what decays is at most as large as a step."""
    (x, y), (model, guide) = make_rows(), make_program()
    loss = Loss(model, guide, objective=Objective())
    before = {name: p.detach().clone() for name, p in loss.named_parameters()}
    rate = 1e-3  # AdamW first multiplies by 1 - rate * decay = 0, and then goes one step of at most the rate
    schedule = Schedule(
        max_epochs=1, batch_size=len(x), learning_rate=rate, weight_decay=1 / rate, averaging=0
    )
    train(loss, x, y, schedule=schedule, seed=0)
    for name, p in loss.named_parameters():
        start, largest = before[name], p.detach().abs().max()
        if "likelihood" in name or p.ndim < 2:
            assert (p.detach() - start).abs().max() <= 1.01 * rate, name
        else:
            assert start.abs().max() > 10 * rate, name
            assert largest <= 1.01 * rate, name


def test_a_story_of_ones_own_spares_its_likelihood_whatever_its_name():
    _, (model, guide) = make_rows(), make_program()
    named = set(map(id, model.likelihood.parameters()))
    model.mechanism = model.likelihood
    del model.likelihood
    loss = Loss(model, guide, objective=Objective())
    assert set(map(id, loss.undecayed)) >= named
    decayed = [p for part in (model.encoder, model.prior) for p in part.parameters()]
    assert not set(map(id, decayed)) & set(map(id, loss.undecayed))


def test_weight_decay_depends_on_the_number_of_rows(monkeypatch):
    given = []

    def adamw(groups, **more):
        given.append({group["weight_decay"] for group in groups})
        return AdamW(groups, **more)

    AdamW = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", adamw)
    for rows, decay in (17, None), (500, None), (17, 0.3):
        (x, y), (model, guide) = make_rows(rows), make_program()
        schedule = Schedule(max_epochs=1, weight_decay=decay)
        train(Loss(model, guide, objective=Objective()), x, y, schedule=schedule, seed=0)
    assert given == [{5.0, 0.0}, {1.6**2, 0.0}, {0.3, 0.0}]
