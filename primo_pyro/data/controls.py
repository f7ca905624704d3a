"""Generated rows on which the right answer is known: nothing to gain, or a gain that doubt does not show.

Two negative controls, on which no modality is worth anything, and one in which half of the doubt is noise.
Before an impact is reported, it should be looked at on these rows.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from primo_pyro.data.generation import generator_of
from primo_pyro.modalities import Modalities, RandomState

__all__ = ["STEEPNESS", "make_duplicated_modality", "make_half_resolvable", "make_null_modality"]

STEEPNESS = 2.0


def make_null_modality(rows: int, random_state: RandomState = 0) -> tuple[Modalities, np.ndarray]:
    """A modality that tells nothing, beside labels that stay noisy::

        o ~ Normal(0, 1),   m ~ Normal(0, 1),   y ~ Bernoulli(sigmoid(2 o))

    The exact impact of ``m`` is 0 in every row, however uncertain its label.

    Parameters
    ----------
    rows
        Number N of rows, at least 1.
    random_state
        Seed, or a ``numpy.random.Generator``.

    Returns
    -------
    x : Modalities
        The informative ``"o"`` and the useless ``"m"``, both float32 ``[N, 1]`` and present in every row.
    y : integer array [N]
        0 or 1.

    Raises
    ------
    ModalityError
        Where ``rows`` is not at least 1.

    Examples
    --------
    >>> make_null_modality(100)[0]
    Modalities(100 rows: o [1] in all, m [1] in all)
    """
    random = generator_of(rows, random_state)
    o, m = random.normal(size=(2, rows, 1)).astype(np.float32)
    return Modalities({"o": o, "m": m}), _noisy_labels(o, random)


def make_duplicated_modality(rows: int, random_state: RandomState = 0) -> tuple[Modalities, np.ndarray]:
    """A modality that repeats the observed one, beside labels that stay noisy::

        o ~ Normal(0, 1),   m = o,   y ~ Bernoulli(sigmoid(2 o))

    ``m`` alone tells as much as ``o`` alone; once ``o`` is present its exact impact is 0. Parameters,
    returned rows and errors are those of `make_null_modality`.

    >>> x, y = make_duplicated_modality(100)
    >>> bool((x.values["o"] == x.values["m"]).all())
    True
    """
    random = generator_of(rows, random_state)
    o = random.normal(size=(rows, 1)).astype(np.float32)
    return Modalities({"o": o, "m": o.copy()}), _noisy_labels(o, random)


def make_half_resolvable(rows: int, random_state: RandomState = 0) -> tuple[Modalities, np.ndarray]:
    """Doubt that a modality resolves, and as much doubt that nothing resolves::

        g ~ uniform over -1, 1,   m ~ Normal(0, 1),   y = [m > 0] where g = 1, a coin flip where g = -1

    Given ``o``, which holds g, every label is a coin flip: the entropy of the prediction is log 2 in all
    rows. The exact impact of ``m`` and its information gain are 1/2 and log 2 where g = 1, and 0 elsewhere.
    Parameters and errors are those of `make_null_modality`.

    Returns
    -------
    x : Modalities
        ``"o"`` [N, 2], g and a number that means nothing; ``"m"`` [N, 1]; float32 without unit.
    y : integer array [N]
        0 or 1.

    Examples
    --------
    >>> x, y = make_half_resolvable(1000)
    >>> resolvable = x.values["o"][:, 0] == 1
    >>> bool((y == (x.values["m"][:, 0] > 0))[resolvable].all())
    True
    """
    random = generator_of(rows, random_state)
    g = random.choice([-1.0, 1.0], size=rows)
    o = np.column_stack([g, random.normal(size=rows)]).astype(np.float32)
    m = random.normal(size=(rows, 1)).astype(np.float32)
    y = np.where(g == 1, m[:, 0] > 0, random.random(rows) < 0.5)
    return Modalities({"o": o, "m": m}), y.astype(np.int64)


def _noisy_labels(o: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return (random.random(len(o)) < expit(STEEPNESS * o[:, 0])).astype(np.int64)
