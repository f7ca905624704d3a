"""On a GPU: training, prediction and saved models, beside the processor. Skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from primo_pyro import PrimoClassifier
from primo_pyro.data import make_xor
from primo_pyro.program import Loss, Objective, stacked
from tests.conftest import make_program, make_rows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SETTINGS = {"latent_dim": 2, "hidden_dim": 32, "max_epochs": 15, "learning_rate": 1e-2, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    x, y = make_xor(3000, random_state=0)
    clf = PrimoClassifier(**SETTINGS, device="cuda")
    return clf.fit(x.drop_at_random("m", random_state=0), y), x, y


def test_a_fit_on_a_gpu_learns(fitted):
    clf, x, y = fitted
    assert next(clf.model_.parameters()).is_cuda
    # XOR is learnt without error where both signs are known; chance is .5.
    assert clf.score(x, y) > 0.9


def test_answers_are_those_of_the_processor(fitted, tmp_path):
    """The same parameters and the same draws, in single precision on either side."""
    clf, x, _ = fitted
    clf.save(tmp_path / "model")
    elsewhere = PrimoClassifier.load(tmp_path / "model", device="cpu")
    for rows in (x[:500], x[:500].drop("m")):
        np.testing.assert_allclose(clf.predict_proba(rows), elsewhere.predict_proba(rows), atol=1e-3)
        one, other = (c.predictive_impact(rows)["impact"] for c in (clf, elsewhere))
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_killed_fit_goes_on(tmp_path):
    x, y = make_xor(500, random_state=0)
    settings = {**SETTINGS, "max_epochs": 4, "device": "cuda"}
    whole = PrimoClassifier(**settings).fit(x.drop_at_random("m", random_state=0), y)

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    file = tmp_path / "fit.pt"
    for callbacks in ([stop], []):
        clf = PrimoClassifier(**settings, checkpoint=file, callbacks=callbacks)
        try:
            clf.fit(x.drop_at_random("m", random_state=0), y)
        except KeyboardInterrupt:
            assert file.exists()
    # Sums on a GPU come in no fixed order.
    np.testing.assert_allclose(clf.predict_proba(x), whole.predict_proba(x), atol=1e-2)


def test_the_loss_is_that_of_the_processor(monkeypatch):
    monkeypatch.setattr(
        stacked.Normals, "draws", lambda self, num: self.loc[:, None].expand(-1, num, *self.loc.shape[1:])
    )
    x, y = make_rows(40, ("m",))
    losses = []
    for device in ("cpu", "cuda"):
        model, guide = make_program(("m",))
        torch.manual_seed(0)  # of the encoders' own heads
        loss = Loss(model.to(device), guide.to(device), objective=Objective()).to(device)
        losses.append(loss(x, torch.as_tensor(y, device=device)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-8)  # double precision
