"""Small rows for every baseline."""

import numpy as np
import pytest

from primo_pyro import Modalities


@pytest.fixture
def rows():
    """48 rows with a vector that is always there and one that half of them lack; three classes."""
    random = np.random.default_rng(0)
    x = Modalities({"o": random.normal(size=(48, 3)), "m": random.normal(size=(48, 2))})
    return x.drop("m", where=np.arange(48) % 2 == 1), np.arange(48) % 3


@pytest.fixture
def two_rows():
    """A row with everything and one that lacks ``m``, with labels."""
    x = Modalities({"o": [[0.3, -1.0, 0.5], [1.2, 0.1, -0.4]], "m": [[0.7, -0.2], [np.nan, np.nan]]})
    return x, np.array([2, 0])
