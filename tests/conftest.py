"""Small programs and rows that many tests share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from primo_pyro import Modalities, PrimoGuide, PrimoModel
from primo_pyro.program import MLP, Categorical, Encoders, one_latent_each

torch.set_num_threads(1)  # the test runner uses one process per core


def make_rows(rows=17, optional=("m",), observed=("o",), rate=0.5, seed=0):
    """Two features per modality; every optional one absent with probability ``rate``."""
    random = np.random.default_rng(seed)
    blocks = {name: random.normal(size=(rows, 2)) for name in (*observed, *optional)}
    x = Modalities(blocks).drop_at_random(*optional, rate=rate, random_state=seed)
    return x, random.integers(0, 3, size=rows)


def make_program(
    optional=("m",),
    observed=("o",),
    latent_dim=2,
    proposes_from_prior=True,
    dropout=0.0,
    dtype=torch.float64,
    seed=0,
    outcome=None,
    latents=None,
):
    """An untrained model and guide for rows of `make_rows`; ``latents`` by hand replace one for each."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = Encoders({name: MLP(2, 8, 4) for name in (*observed, *optional)}, out_features=4)
        model = PrimoModel(
            encoder,
            one_latent_each(optional, latent_dim) if latents is None else latents,
            outcome=Categorical(3) if outcome is None else outcome,
            hidden_dim=8,
            dropout=dropout,
        )
        guide = PrimoGuide(model, hidden_dim=8, gamma=0.5, proposes_from_prior=proposes_from_prior)
    return model.to(dtype), guide.to(dtype)


def subclasses(cls):
    """All of them, children's children too."""
    return {below for child in cls.__subclasses__() for below in (child, *subclasses(child))}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
