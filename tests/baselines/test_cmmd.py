"""CMMD: the objective by hand, and the modality that it ignores."""

import math

import numpy as np
import pytest
import torch

from primo_pyro import Modalities
from primo_pyro.baselines import CMMDClassifier
from primo_pyro.baselines.cmmd import maximum_mean_discrepancy
from primo_pyro.errors import ModalityError


def normal_log_density(value, loc, scale):
    return float((-0.5 * ((value - loc) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)).sum())


@pytest.fixture
def classifier(rows):
    weights = {"kl_weight": 0.3, "mmd_weight": 4.0, "label_weight": 2.0}
    return CMMDClassifier(latent_dim=2, hidden_dim=8, max_epochs=1, random_state=0, **weights).fit(*rows)


def test_objective_by_hand(classifier):
    x = Modalities({"o": [[0.3, -1.0, 0.5], [1.2, 0.1, -0.4]], "m": [[0.7, -0.2], [-1.1, 0.4]]})
    y = np.array([2, 0])
    program = classifier.program_.double()
    torch.manual_seed(5)
    loss = program(x, torch.as_tensor(y)).item()

    torch.manual_seed(5)
    noise_q, noise_p = (torch.normal(torch.zeros(2, 2).double(), torch.ones(2, 2).double()) for _ in "qp")
    model, guide = program.model, program.guide
    with torch.no_grad():
        h = model.encoder(x)
        label = torch.eye(3).double()[y]
        q_loc, q_scale = guide.posterior.location_and_scale(torch.cat([h.fused(), label], -1))
        h = h.drop("m")
        p_loc, p_scale = model.prior.location_and_scale(h.fused())
        z, z_p = q_loc + q_scale * noise_q, p_loc + p_scale * noise_p
        decoded = model.decoder["m"](torch.cat([h.fused(), z], -1)).base_dist
        expected = 0.0
        for row in range(2):
            kl = torch.log(p_scale / q_scale) + (q_scale**2 + (q_loc - p_loc) ** 2) / (2 * p_scale**2) - 0.5
            expected += 0.3 * kl[row].sum().item()
            target = model.values["m"](x)[row].numpy()
            expected -= normal_log_density(target, decoded.loc[row].numpy(), decoded.scale[row].numpy())
            expected -= 2.0 * model.likelihood(p_loc).log_softmax(-1)[row, y[row]].item()

        def kernel(u, v):
            return math.exp(-((u - v) ** 2).sum().item() / 4)

        pairs = [(i, j) for i in range(2) for j in range(2)]
        mmd = (
            sum(kernel(z[i], z[j]) + kernel(z_p[i], z_p[j]) - 2 * kernel(z[i], z_p[j]) for i, j in pairs) / 4
        )
        expected += 2 * 0.7 * 4.0 * mmd
    assert loss == pytest.approx(expected, rel=1e-10)


def test_discrepancy_falls_with_the_sample_where_both_are_alike():
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1000, 2, generator=random)
    # The biased estimate of 0 is (2 - 2 E k(a, b)) / n in expectation, below 2 / n.
    assert 0 <= maximum_mean_discrepancy(a, b) < 2 / 1000
    assert maximum_mean_discrepancy(a, b + 1) > 0.1


def test_a_present_modality_is_ignored_at_prediction(rows, classifier):
    x, _ = rows
    np.testing.assert_array_equal(classifier.predict_proba(x), classifier.predict_proba(x.drop("m")))
    np.testing.assert_array_equal(classifier.latents(x), classifier.latents(x.drop("m")))


def test_roles_and_complete_rows_are_needed(rows):
    x, y = rows
    with pytest.raises(ModalityError, match="CMMDClassifier needs observed modalities and optional ones"):
        CMMDClassifier(random_state=0).fit(x.select("o"), y)
    with pytest.raises(ModalityError, match="each is optional"):
        CMMDClassifier(optional=("o", "m"), random_state=0).fit(x, y)
    there = x.present["m"]
    either = Modalities({**x.values, "e": np.zeros((48, 1))}, present={"m": there, "e": ~there})
    with pytest.raises(ModalityError, match=r"None of \d+ rows has every modality"):
        CMMDClassifier(random_state=0).fit(either, y)
