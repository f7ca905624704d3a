"""LVAE: the objective by hand, and draws of what is missing."""

import math

import numpy as np
import pytest
import torch

from primo_pyro import Modalities
from primo_pyro.baselines import LVAEClassifier
from primo_pyro.baselines.lvae import MAX_DRAWN
from primo_pyro.data import make_xor
from primo_pyro.errors import ModalityError


def normal_log_density(value, loc, scale):
    return float((-0.5 * ((value - loc) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)).sum())


def kl(q, p):
    (q_loc, q_scale), (p_loc, p_scale) = q, p
    ratio = (q_scale / p_scale) ** 2
    return (0.5 * (ratio + ((q_loc - p_loc) / p_scale) ** 2 - 1 - torch.log(ratio))).sum(-1)


@pytest.fixture
def classifier(rows):
    return LVAEClassifier(hidden_dim=8, max_epochs=1, random_state=0).fit(*rows)


def test_objective_by_hand(classifier, two_rows):
    x, y = two_rows
    program = classifier.program_.double()
    torch.manual_seed(5)
    loss = program(x, torch.as_tensor(y)).item()

    torch.manual_seed(5)
    noise_m, noise_z = (torch.normal(torch.zeros(2, 2).double(), torch.ones(2, 2).double()) for _ in "mz")
    model, guide = program.model, program.guide
    label = torch.eye(3).double()[y]
    with torch.no_grad():
        h = model.encoder(x)
        h_o, nothing = h.values["o"], torch.zeros(2, 8).double()
        p_m = model.covariate["m"].location_and_scale(torch.cat([nothing, h_o], -1))  # alphabetical: m, o
        q_m = guide.covariate["m"].location_and_scale(torch.cat([nothing, h_o, label], -1))
        scaler = model.values["m"].standardise
        drawn = (q_m[0] + q_m[1] * noise_m)[1] * scaler.scale + scaler.mean
        h_m = torch.stack([h.values["m"][0], model.encoder["m"](drawn)])
        p_z = model.prior.location_and_scale(torch.cat([h_m, h_o], -1))
        q_z = guide.posterior.location_and_scale(torch.cat([h_m, h_o, label], -1))
        z = q_z[0] + q_z[1] * noise_z
        hidden = (
            model.likelihood.bias
            + model.likelihood.from_observed["m"](h_m)
            + model.likelihood.from_observed["o"](h_o)
            + model.likelihood.from_latent["z"](z)
        )
        log_p = model.likelihood.head(hidden).log_softmax(-1)
        expected = log_p[0, y[0]] + log_p[1, y[1]] - kl(q_z, p_z).sum() - kl(q_m, p_m)[1]
        seen = (torch.tensor([0.7, -0.2]).double() - scaler.mean) / scaler.scale
        expected = expected.item() + normal_log_density(seen.numpy(), p_m[0][0].numpy(), p_m[1][0].numpy())
    assert loss == pytest.approx(-expected, rel=1e-6)  # inputs pass through single precision


def test_a_complete_row_is_not_drawn(classifier, rows):
    x, _ = rows
    x = x[x.complete]
    classifier.program_.eval()
    with torch.no_grad():
        h = classifier.model_.encoder(x)
        drawn = {"m": torch.full((len(x), 2), 1e3)}
        completed = classifier.model_.completed(h, drawn)
        assert torch.equal(completed.values["m"], h.values["m"])
        absent = classifier.model_.completed(h.drop("m"), drawn)
        assert not torch.equal(absent.values["m"], h.values["m"])


def test_roles_are_needed(rows):
    x, y = rows
    with pytest.raises(ModalityError, match="LVAEClassifier needs observed modalities and optional ones"):
        LVAEClassifier().fit(x.select("o"), y)


def test_a_modality_of_too_many_numbers_is_refused():
    x = Modalities({"o": np.zeros((20, 1)), "m": np.zeros((20, MAX_DRAWN + 1))})
    with pytest.raises(ModalityError, match="4096 numbers at most; m would be 4097"):
        LVAEClassifier(optional=("m",)).fit(x, np.arange(20) % 2)


@pytest.mark.slow
def test_xor_is_learnt_and_its_impact_is_in_the_draws():
    x, y = make_xor(6_000, random_state=0)
    x, y, x_test, y_test = x[:4000].drop_at_random("m", random_state=0), y[:4000], x[4000:], y[4000:]
    classifier = LVAEClassifier(max_epochs=12, batch_size=64, learning_rate=5e-3, random_state=0).fit(x, y)
    # A predictor that knows x_o alone has 0.66; 2,000 rows tell 0.95 from that by 27 standard errors.
    assert (classifier.predict(x_test) == y_test).mean() > 0.95
    impact = classifier.predictive_impact(x_test.drop("m"))["impact"]
    o = x_test.values["o"][:, 0]
    # Exact means: 0.499 where o < 0 and 0.078 where o > 0.
    assert impact[o < 0].mean() > 0.3 > 0.2 > impact[o > 0].mean()
