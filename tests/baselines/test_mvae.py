"""MVAE: the objective by hand, and the product of experts."""

import math

import numpy as np
import pytest
import torch

from primo_pyro.baselines import MVAEClassifier
from primo_pyro.training import WarmUp


def normal_log_density(value, loc, scale):
    return float((-0.5 * ((value - loc) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)).sum())


@pytest.fixture
def classifier(rows):
    return MVAEClassifier(latent_dim=2, hidden_dim=8, max_epochs=1, label_weight=3.0, random_state=0).fit(
        *rows
    )


def product(classifier, x, y, row, members):
    """Mean and scale of q(z | members) of one row, expert by expert."""
    guide = classifier.program_.guide
    precision, weighted = np.ones(2), np.zeros(2)
    for m in members:
        if m == "y":
            label = torch.eye(3, dtype=torch.float64)[y[row]]
            loc, scale = guide.label_expert.location_and_scale(label)
        else:
            loc, scale = guide.expert[m].location_and_scale(guide.encoder(x).values[m][row])
        loc, scale = loc.detach().numpy(), scale.detach().numpy()
        precision = precision + 1 / scale**2
        weighted = weighted + loc / scale**2
    return weighted / precision, precision**-0.5


def test_objective_by_hand(classifier, two_rows):
    x, y = two_rows
    program = classifier.program_.double()
    torch.manual_seed(5)
    loss = program(x, torch.as_tensor(y)).item()

    torch.manual_seed(5)
    some = (torch.rand(1, 3) < 0.5)[0].tolist()
    noise = torch.normal(torch.zeros(5, 2, 2).double(), torch.ones(5, 2, 2).double()).numpy()
    names = ["m", "o", "y"]
    subsets = [
        {n for n, chosen in zip(names, some, strict=True) if chosen},
        {"m"},
        {"o"},
        {"y"},
        {"m", "o", "y"},
    ]
    there = [{"m", "o", "y"}, {"o", "y"}]
    expected = 0.0
    for s, subset in enumerate(subsets):
        for row in range(2):
            members = subset & there[row]
            loc, scale = product(classifier, x, y, row, members)
            z = torch.as_tensor(loc + scale * noise[s, row])
            for m in members - {"y"}:
                decoded = program.model.decoder[m](z).base_dist
                target = program.model.values[m](x)[row].numpy()
                expected += normal_log_density(
                    target, decoded.loc.detach().numpy(), decoded.scale.detach().numpy()
                )
            if "y" in members:
                expected += 3.0 * program.model.likelihood(z).log_softmax(-1)[y[row]].item()
            expected -= float((0.5 * (scale**2 + loc**2 - 1) - np.log(scale)).sum())
    assert loss == pytest.approx(-expected, rel=1e-10)


def test_warm_up_scales_the_kl_alone(classifier, two_rows):
    x, y = two_rows
    program = classifier.program_.double()
    losses = []
    for strength in (0.0, 0.5, 1.0):
        torch.manual_seed(5)
        with WarmUp(strength):
            losses.append(program(x, torch.as_tensor(y)).item())
    assert losses[1] - losses[0] == pytest.approx(losses[2] - losses[1], rel=1e-8)
    assert losses[2] > losses[0]


def test_a_row_with_nothing_is_predicted_from_the_prior(classifier, rows):
    x, _ = rows
    with pytest.warns(UserWarning, match="have nothing present"):
        latents = classifier.latents(x[:1].drop("o", "m"))
    np.testing.assert_array_equal(latents, np.zeros((1, 2)))


def test_more_modalities_narrow_the_product(classifier, rows):
    x, _ = rows
    x = x[x.complete]
    both = classifier._posterior(x).base_dist.scale
    one = classifier._posterior(x.drop("m")).base_dist.scale
    assert (both < one).all()
