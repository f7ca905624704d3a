"""Threads: what several fits and predictions at once end at is what they end at one after another."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from primo_pyro import PrimoClassifier
from primo_pyro.baselines import MVAEClassifier
from primo_pyro.data import make_xor
from primo_pyro.locks import one_at_a_time
from tests.attacks.conftest import TIMES

THREADS = 8
FITS, PREDICTIONS = (4, 40) if TIMES == 1 else (24, 400)
SMALL = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 2, "num_samples": 16}
COMPLETE, Y = make_xor(100, random_state=0)
X = COMPLETE.drop_at_random("m", random_state=0)


def made(number):
    cls = MVAEClassifier if number % 4 == 3 else PrimoClassifier
    return cls(**SMALL, random_state=number)


@pytest.fixture(scope="module")
def one_after_another():
    return [made(number).fit(X, Y) for number in range(FITS)]


def asked(models, number):
    rows = X[number % 20 : number % 20 + 30]
    model = models[number % len(models)]
    if number % 3 == 1:
        return model.predictive_impact(rows)["impact"].to_numpy()
    return model.sample_latents(rows, 8) if number % 3 == 2 else model.predict_proba(rows)


def test_fits_and_predictions_in_threads_are_those_without(one_after_another, tried):
    before = torch.get_rng_state()
    expected = [asked(one_after_another, number) for number in range(PREDICTIONS)]
    with ThreadPoolExecutor(THREADS) as pool:
        fits = [pool.submit(made(number).fit, X, Y) for number in range(FITS)]
        answers = [pool.submit(asked, one_after_another, number) for number in range(PREDICTIONS)]
        for number, answer in enumerate(answers):
            np.testing.assert_array_equal(answer.result(), expected[number])
        for alone, fit in zip(one_after_another, fits, strict=True):
            np.testing.assert_array_equal(fit.result().predict_proba(X), alone.predict_proba(X))
    assert torch.equal(torch.get_rng_state(), before)
    tried["fits in threads"] += FITS
    tried["predictions in threads"] += PREDICTIONS


def test_a_callback_may_predict():
    """The lock is one that its thread can take again."""
    answers = []
    model = PrimoClassifier(**SMALL, random_state=0)
    model.set_params(callbacks=[lambda row: answers.append(model.predict_proba(X[:5]))]).fit(X, Y)
    assert [a.shape for a in answers] == [(5, 2)] * 2


def test_a_raising_callback_lets_go_of_the_lock():
    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PrimoClassifier(**SMALL, callbacks=[stop], random_state=0).fit(X, Y)
    free = []

    def take():
        with one_at_a_time():
            free.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(10)
    assert free == [True]
