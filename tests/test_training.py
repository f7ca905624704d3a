"""The training loop: exact resume, early stopping, clear stops."""

import copy

import numpy as np
import pyro
import pytest
import torch
from torch import nn

from primo_pyro import Modalities, Objective, PrimoClassifier
from primo_pyro.data import make_xor
from primo_pyro.errors import CheckpointError, TrainingError
from primo_pyro.program import Loss
from primo_pyro.training import Schedule, train
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


def test_the_best_epoch_is_restored_and_training_stops_early():
    """The score is told to be best after the second epoch."""

    class Squares(nn.Linear):
        def forward(self, x, y):
            return super().forward(torch.as_tensor(x.values["x"], dtype=torch.float32)).square().sum()

    model = Squares(1, 1)
    states, scores = [], iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])

    def score():
        states.append(copy.deepcopy(model.state_dict()))
        return {"val_log_loss": next(scores)}

    history = train(
        model,
        Modalities({"x": np.ones(10)}),
        np.zeros(10, int),
        schedule=Schedule(max_epochs=6, patience=3, batch_size=5),
        seed=0,
        score=score,
    )
    assert len(history) == 5  # two, and three without improvement
    assert torch.equal(model.weight, states[1]["weight"])
    assert not torch.equal(model.weight, states[4]["weight"])


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
