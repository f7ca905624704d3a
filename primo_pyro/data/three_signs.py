"""Three signs: one number observed, two that may be absent, and an exact answer for every pattern of absence.

    place           ~ uniform over -3, -1, 1, 3
    (c_1, c_2)      = (1, 1)                                                 where the place is -3
                    ~ uniform over (-1, 1), (1, 1)                           where it is -1
                    ~ uniform over (-1, -1), (-1, 1), (1, -1), (1, 1)        where it is 1
                    = (1, -1) with probability 1/4, (1, 1) with 3/4          where it is 3
    (o, m1, m2)     ~ Normal((place, c_1, c_2), 0.5)                         independent of each other
    y               = [o > 0] xor [m1 > 0] xor [m2 > 0]

The label is certain once all three numbers are known. What one of them is worth depends on the row. Near
o = -3 both signs are known beforehand and nothing is worth much. Near -1 the sign of ``m2`` is known and
``m1`` tells all; near 3 it is the other way round, with less doubt. Near 1 neither tells anything alone, and
both together tell everything: the impact of each alone is 0, and that of the set is 1/2. So a choice between
the two must look at the row, and single impacts do not add up to that of a set.

**How the impact is exact.** A cluster k is a place with its (c_1, c_2). Given what is present, the clusters
have posterior weights w_k, and y = 1 has probability p. Where nothing stays absent, y becomes certain and the
expected change is 2 p (1 - p). Let one number m be revealed while the other stays absent, and let r_ks be the
probability of y = 1 in cluster k once m has the sign s. Then

    E |P(y=1 | present, m) - p| = sum over s of | sum over k of w_k P(s | k) (r_ks - p) |,

as if the sign of m alone were revealed. For P(y=1 | present, m) - p keeps its sign while m keeps its own: it
could change only if the other number's centre were positive on average for one centre of m and negative for
the other, and neither centre is negative on average at any place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, softmax

from primo_pyro.data.generation import asked_about, generator_of
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities, RandomState

__all__ = [
    "BAYES_LOG_LOSS",
    "CLUSTERS",
    "MEAN_IMPACT",
    "SCALE",
    "WEIGHTS",
    "make_three_signs",
    "three_signs_impact",
    "three_signs_probability",
]

# Columns: o, m1, m2.
CLUSTERS = np.array(
    [
        *[(-3.0, 1.0, 1.0)],
        *[(-1.0, -1.0, 1.0), (-1.0, 1.0, 1.0)],
        *[(1.0, -1.0, -1.0), (1.0, -1.0, 1.0), (1.0, 1.0, -1.0), (1.0, 1.0, 1.0)],
        *[(3.0, 1.0, -1.0), (3.0, 1.0, 1.0)],
    ]
)
SIXTEENTHS = np.array([4, 2, 2, 1, 1, 1, 1, 1, 3])
WEIGHTS = SIXTEENTHS / 16
SCALE = 0.5
OPTIONAL = ("m1", "m2")

# Averages over the rows, which the tests find again by quadrature. Impact: with ``o`` alone present.
# No forecast has a smaller log loss (nats) with these numbers present; with all three it is 0.
MEAN_IMPACT = {("m1",): 0.140821, ("m2",): 0.103680, ("m1", "m2"): 0.374753}
BAYES_LOG_LOSS = {("o",): 0.544760, ("o", "m1"): 0.378473, ("o", "m2"): 0.413631}


def make_three_signs(rows: int, random_state: RandomState = 0) -> tuple[Modalities, np.ndarray]:
    """Draw rows of the problem of three signs.

    Parameters
    ----------
    rows
        How many, at least 1.
    random_state
        Seed, or a ``numpy.random.Generator``.

    Returns
    -------
    x : Modalities
        ``"o"``, ``"m1"`` and ``"m2"``, each [N, 1], float32 without unit, all present in every row.
    y : integer array [N]
        0 or 1; 44 % are 1.

    Raises
    ------
    ModalityError
        Where ``rows`` is not at least 1.

    Examples
    --------
    >>> x, y = make_three_signs(1000, random_state=0)
    >>> x
    Modalities(1000 rows: o [1] in all, m1 [1] in all, m2 [1] in all)
    >>> o, m1, m2 = (x.values[name][:, 0] > 0 for name in x.names)
    >>> bool((y == (o ^ m1 ^ m2)).all())
    True
    """
    random = generator_of(rows, random_state)
    # With the same seed `choice` would compare the same uniform numbers with the weights as `drop_at_random`
    # with the rate: absence would depend on the place.
    clusters = CLUSTERS.repeat(SIXTEENTHS, axis=0)[random.integers(16, size=rows)]
    points = random.normal(clusters, SCALE).astype(np.float32)
    # The label comes from the rounded numbers, so that it is exact for what the user gets.
    y = np.logical_xor.reduce(points > 0, axis=1)
    return Modalities({"o": points[:, :1], "m1": points[:, 1:2], "m2": points[:, 2:]}), y.astype(np.int64)


def three_signs_probability(
    o: ArrayLike, m1: ArrayLike | None = None, m2: ArrayLike | None = None
) -> np.ndarray:
    """Exact ``P(y = 1 | what is present)``.

    Parameters
    ----------
    o : array [N] or [N, 1]
        The observed number, as in ``x.values["o"]``.
    m1, m2 : arrays [N] or [N, 1]
        The others, NaN in rows in which they are absent; None is absent in every row.

    Returns
    -------
    array [N], float64

    Raises
    ------
    ModalityError
        Where the arrays differ in length, or ``o`` is NaN.

    Examples
    --------
    >>> nan = np.nan
    >>> three_signs_probability([-1, -1, 1, 1], m1=[nan, 1, 1, 1], m2=[1, nan, nan, 1]).round(3)
    array([0.5  , 0.023, 0.5  , 1.   ])
    """
    numbers = _numbers(o, m1, m2)
    return _probability(_posterior(numbers), numbers)


def three_signs_impact(x: Modalities, modality: str | Iterable[str]) -> np.ndarray:
    """Exact impact of revealing a modality or a set, given whatever is present in each row.

        V* = E over what is revealed of | P(y = 1 | present and revealed) - P(y = 1 | present) |

    Parameters
    ----------
    x : Modalities, N rows
        ``"o"`` in every row; ``"m1"`` and ``"m2"`` present or absent in any pattern.
    modality
        ``"m1"``, ``"m2"``, or a set of them such as ``("m1", "m2")``. What is already present changes
        nothing.

    Returns
    -------
    array [N], float64, between 0 and 0.5
        0 in rows in which all of the set is present.

    Raises
    ------
    ModalityError
        Where the set is empty or holds another name, or ``"o"`` is absent in a row.

    Examples
    --------
    >>> x = Modalities({"o": [-3.0, -1.0, 1.0, 3.0], "m1": np.ones(4), "m2": np.ones(4)})
    >>> alone = x.drop("m1", "m2")
    >>> three_signs_impact(alone, "m1").round(2)
    array([0.04, 0.48, 0.  , 0.02])
    >>> three_signs_impact(alone, ("m1", "m2")).round(2)
    array([0.09, 0.5 , 0.5 , 0.4 ])
    >>> three_signs_impact(x.drop("m1"), "m1").round(2)
    array([0.04, 0.5 , 0.5 , 0.04])
    """
    asked = asked_about(modality, OPTIONAL)
    numbers = _numbers(*(_column(x, name) for name in ("o", *OPTIONAL)))
    posterior = _posterior(numbers)
    p = _probability(posterior, numbers)
    impact = np.zeros(len(p))
    absent = np.isnan(numbers[:, 1:])
    revealed = absent & [name in asked for name in OPTIONAL]
    # Where nothing stays absent the label becomes certain: a change of 1 - p with probability p, else of p.
    certain = revealed.any(1) & ~(absent & ~revealed).any(1)
    impact[certain] = 2 * (p * (1 - p))[certain]
    for i in range(len(OPTIONAL)):
        single = revealed[:, i] & (absent & ~revealed).any(1)
        impact[single] = _impact_of_one(1 + i, numbers[single, 0], posterior[single], p[single])
    return impact


def _impact_of_one(place: int, o: np.ndarray, posterior: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Of the number in column ``place``, the other one being absent too; see the head of this module."""
    # P(> 0) in each cluster.
    one, other = (ndtr(CLUSTERS[:, column] / SCALE) for column in (place, 3 - place))
    impact = np.zeros(len(p))
    for positive, share in ((True, one), (False, 1 - one)):
        odd = ((o > 0) ^ positive)[:, None]
        then = np.where(odd, 1 - other, other)
        impact += np.abs((posterior * share * (then - p[:, None])).sum(1))
    return impact


def _posterior(numbers: np.ndarray) -> np.ndarray:
    """P(cluster | what is present) [N, 9]."""
    # Logarithms of the densities, without the square of the number, which is the same for all clusters.
    evidence = (numbers[:, None] * CLUSTERS - CLUSTERS**2 / 2) / SCALE**2
    return softmax(np.log(WEIGHTS) + np.nansum(evidence, -1), axis=1)  # an absent number tells nothing


def _probability(posterior: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """P(y = 1) [N]."""
    # Signs are independent within a cluster: the product of 1 - 2 P(> 0) is 1 - 2 P(odd number of them).
    known = np.where(numbers > 0, -1.0, 1.0)[:, None]
    means = np.where(np.isnan(numbers)[:, None], 1 - 2 * ndtr(CLUSTERS / SCALE), known)
    # Weights add up to 1 but for the last digit.
    return np.clip((posterior * (1 - means.prod(-1)) / 2).sum(1), 0, 1)


def _column(x: Modalities, name: str) -> np.ndarray:
    """One modality [N], NaN absent."""
    column = np.full(len(x), np.nan)
    if name in x.names:
        column[x.present[name]] = x.values[name][x.present[name]].reshape(-1)
    return column


def _numbers(o: ArrayLike, m1: ArrayLike | None, m2: ArrayLike | None) -> np.ndarray:
    """o, m1 and m2 [N, 3], NaN absent."""
    given = np.asarray(o, float).reshape(-1)
    columns = [
        np.full(len(given), np.nan) if v is None else np.asarray(v, float).reshape(-1)
        for v in (given, m1, m2)
    ]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ModalityError(
            f"o, m1 and m2 have {lengths} rows; expected as many in each. Pass one number a row."
        )
    absent = int(np.isnan(given).sum())
    if absent:
        raise ModalityError(
            f"o is absent in {absent} of {len(given)} rows; expected it in all. Pass complete rows of o."
        )
    return np.stack(columns, 1)
