"""MMVAE: the objective by hand, and what a mixture of experts can say."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from primo_pyro import Modalities
from primo_pyro.baselines import MMVAEClassifier
from primo_pyro.errors import ModalityError


def normal_log_density(value, loc, scale):
    return float((-0.5 * ((value - loc) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)).sum())


@pytest.fixture
def classifier(rows):
    settings = {"label_weight": 3.0, "num_particles": 4, "latent_dim": 2}
    return MMVAEClassifier(hidden_dim=8, max_epochs=1, random_state=0, **settings).fit(*rows)


@pytest.mark.parametrize("seed", range(4))  # so that either expert is drawn
def test_objective_by_hand(classifier, two_rows, seed):
    x, y = two_rows
    program = classifier.program_.double()
    torch.manual_seed(seed)
    loss = program(x, torch.as_tensor(y)).item()

    torch.manual_seed(seed)
    drawn = torch.rand(2, 2).numpy()
    chosen = [int(drawn[0].argmax()), 1]  # experts in the order m, o; the second row has o alone
    noise = torch.normal(torch.zeros(4, 2, 2).double(), torch.ones(4, 2, 2).double()).numpy()
    loc, scale, _ = (t.detach().numpy() for t in program.guide.experts(x))
    expected = 0.0
    for row, members in enumerate([(0, 1), (1,)]):
        log_weights = []
        for k in range(4):
            z = loc[row, chosen[row]] + scale[row, chosen[row]] * noise[k, row]
            log_q = logsumexp(
                [normal_log_density(z, loc[row, e], scale[row, e]) - math.log(len(members)) for e in members]
            )
            log_p = normal_log_density(z, np.zeros(2), np.ones(2))
            for e in members:
                m = ("m", "o")[e]
                decoded = program.model.decoder[m](torch.as_tensor(z)).base_dist
                target = program.model.values[m](x)[row].numpy()
                log_p += normal_log_density(
                    target, decoded.loc.detach().numpy(), decoded.scale.detach().numpy()
                )
            log_p += 3.0 * program.model.likelihood(torch.as_tensor(z)).log_softmax(-1)[y[row]].item()
            log_weights.append(log_p - log_q)
        expected += logsumexp(log_weights) - math.log(4)
    assert loss == pytest.approx(-expected, rel=1e-10)


def test_prediction_is_the_average_of_what_each_modality_says_alone(rows, classifier):
    x, _ = rows
    x = x[x.complete]
    with pytest.warns(UserWarning, match="only m present"):
        alone = classifier.predict_proba(x.drop("o")), classifier.predict_proba(x.drop("m"))
    # 256 Sobol points, half of them for each expert.
    np.testing.assert_allclose(classifier.predict_proba(x), np.mean(alone, axis=0), atol=0.02)


def test_rows_without_any_modality_are_refused(rows, classifier):
    x, y = rows
    empty = x.drop("o", where=np.arange(48) == 1)
    with pytest.raises(ModalityError, match="1 of 48 rows have no modality at all"):
        MMVAEClassifier().fit(empty, y)
    with pytest.raises(ModalityError, match="2 of 2 rows"):
        classifier.predict(Modalities({"o": None, "m": [[np.nan] * 2] * 2}))
