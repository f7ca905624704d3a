"""Plausible labels: the few different predictions that revealing the absent modality could lead to.

The K draws of one row are K vectors of logits. A mixture finds the groups among them, and each group is
named after the label that it predicts on average (Section 2.2 of the paper). Per row::

    a_k     = the C - 1 orthonormal contrasts of the logits of draw k        (logits have no origin)
    v_t     ~ Beta(1, alpha),   pi_t = v_t prod_{s<t} (1 - v_s),   t = 1..T  (truncated stick-breaking)
    Lambda_t ~ Wishart,   mu_t ~ Normal(mean, Lambda_t^-1)
    a_k     ~ sum_t pi_t Normal(mu_t, Lambda_t^-1)

fitted by variational inference (Blei and Jordan 2006; Bishop 2006, Section 10.2) with the priors of
scikit-learn's ``BayesianGaussianMixture``: alpha = 1/T, one pseudo-observation for the mean, a Wishart prior
of D = C - 1 degrees of freedom at the row's own covariance. Tests compare it with that class.

Many rows are fitted at once. A Gaussian's log density is linear in phi(a) = (1, a, a a^T), so that with phi
computed once, both steps of an iteration are one stacked matrix product each: phi times the natural
parameters gives the responsibilities, and responsibilities times phi give the statistics that the next
parameters need.

Sizes: N rows, K draws, C classes, D contrasts, T clusters at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.special import digamma
from torch import Tensor

from primo_pyro.errors import DrawsError
from primo_pyro.parameters import AnyOf, OneOf, Real, Whole, check_parameter
from primo_pyro.program.outcomes import Categorical, Outcome, total_variation

__all__ = ["FLAT", "fit_mixtures", "joined", "label_shares", "plausible_labels", "share_agreement"]

FLAT = 0.01  # draws of a row with a lower V predict practically the same, and are one cluster
MAX_CONTRASTS = 16  # with more classes: the principal contrasts; a full covariance of more outgrows K draws
FLOOR = 1e-6  # added to every variance of a cluster, in squared logits
SINGLE = 1e-6  # added to the prior's variances, each at most 1, where numbers are in single precision
MAX_ITERATIONS = 100
LOOK_EVERY = 5  # iterations from one check of convergence to the next
TOLERANCE = 1e-4  # share of the draws that may still change cluster in an iteration
IN_CACHE = 2**17  # numbers of phi worked on at a time


def plausible_labels(
    logits: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    outcome: Outcome | None = None,
    max_clusters: int = 10,
    min_weight: float = 0.02,
    class_weight: ArrayLike | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Group the draws of each row, and label each group by what it predicts.

    Parameters
    ----------
    logits
        Array ``[K, N, C]``: K draws for each of N rows; the parameters ``[K, N, P]`` of another outcome.
    classes
        The C labels; None: 0 to C - 1.
    outcome
        What the label is; None: one of C classes. A group of draws that predict several labels at once is
        named after all that are more probable than not, as in ``"fever, cough"``, or ``"none"``.
    max_clusters
        T, the truncation of the Dirichlet process.
    min_weight
        Clusters with a smaller share of the draws are dropped; the weights of the others are scaled to sum
        to 1. A row that would lose all keeps its largest.
    class_weight
        Positive weights ``[C]`` of the classes: a cluster is named after the largest product of weight and
        mean predicted probability. None: all alike, the most probable class. A rare outcome is hardly ever
        that; with ``compute_class_weight("balanced", ...)`` of scikit-learn a cluster is named after the
        class that it makes most probable in relation to its frequency. Not for several labels at once.
    random_state
        Seed of the first guess (k-means++), the same for all rows: a row's clusters depend on its own draws
        alone.
    n_jobs
        Threads; None: one.

    Returns
    -------
    DataFrame
        A line per cluster: ``row`` (0 to N - 1), ``cluster`` (0 is the heaviest of its row), ``weight``,
        ``label``, and ``p_<class>``, the mean predicted distribution of its draws. A row whose draws all
        predict the same (V below 0.01) is one cluster.

    Raises
    ------
    DrawsError
        Where ``logits`` is not ``[K, N, C]`` with K >= 2 and C >= 2, is not finite, or ``classes``,
        ``outcome`` or ``class_weight`` does not fit.

    Examples
    --------
    A row whose draws predict either label, and one whose draws agree:

    >>> random = np.random.default_rng(0)
    >>> undecided = random.normal([2.0, -2.0], 0.3, size=(100, 2)) * np.repeat([1, -1], [70, 30])[:, None]
    >>> settled = random.normal([3.0, -3.0], 0.01, size=(100, 2))
    >>> frame = plausible_labels(np.stack([undecided, settled], axis=1), ["no", "yes"], max_clusters=2)
    >>> frame.round(2)
       row  cluster  weight label  p_no  p_yes
    0    0        0     0.7    no  0.98   0.02
    1    0        1     0.3   yes  0.02   0.98
    2    1        0     1.0    no  1.00   0.00
    """
    check_parameter("max_clusters", max_clusters, Whole(1, 1000))
    check_parameter("min_weight", min_weight, Real(0, 1))
    check_parameter("random_state", random_state, Whole(0))
    check_parameter("n_jobs", n_jobs, AnyOf(OneOf(None), Whole(1), OneOf(-1)))
    draws = _checked(logits, outcome)
    rows = draws.shape[1]
    outcome = Categorical(draws.shape[-1]) if outcome is None else outcome
    num_classes = outcome.prediction_size
    names = np.arange(num_classes) if classes is None else np.asarray(classes)
    if len(names) != num_classes:
        raise DrawsError(
            f"classes names {len(names)} labels; expected {num_classes}, as the draws predict. Name each "
            "class once, in the order of the logits."
        )
    several = outcome.name == "multilabel"
    if several and class_weight is not None:
        raise DrawsError(
            "class_weight was given for several labels at once; expected None. Leave it out: a group is "
            "named after every label that is more probable than not."
        )
    try:
        weights = np.ones(num_classes) if class_weight is None else np.asarray(class_weight, dtype=float)
    except (TypeError, ValueError):
        weights = np.full(0, np.nan)
    if weights.shape != (num_classes,) or not (np.isfinite(weights) & (weights > 0)).all():
        raise DrawsError(
            f"class_weight is {class_weight!r:.80}; expected {num_classes} positive numbers, one for each "
            "class. Give a weight to every class, in the order of the logits."
        )
    dim = min(num_classes - 1, MAX_CONTRASTS)
    at_a_time = int(np.clip(IN_CACHE // (len(draws) * (dim + 1) * (dim + 2) // 2), 4, 64))
    parts = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_clusters_of)(
            draws[:, start : start + at_a_time], outcome, max_clusters, min_weight, random_state
        )
        for start in range(0, rows, at_a_time)
    )
    row = np.concatenate([r + at_a_time * i for i, (r, *_) in enumerate(parts)])
    cluster, weight, p = (np.concatenate(column) for column in list(zip(*parts, strict=True))[1:])
    label = _named(p, names) if several else names[(weights * p).argmax(1)]
    frame = pd.DataFrame({"row": row, "cluster": cluster, "weight": weight, "label": label})
    return pd.concat([frame, pd.DataFrame(p, columns=[f"p_{c}" for c in names])], axis=1)


def _named(p: np.ndarray, names: np.ndarray) -> np.ndarray:
    """What each group of draws predicts, where it predicts several labels ``[clusters, L]``."""
    return np.array([", ".join(map(str, names[row])) or "none" for row in p > 0.5], dtype=object)


def joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The frames of `plausible_labels` of some rows each, in order, as that of all rows."""
    numbered, start = [], 0
    for part in parts:
        numbered.append(part.assign(row=part["row"] + start))
        start += int(part["row"].max()) + 1
    return pd.concat(numbered, ignore_index=True)


def label_shares(frame: pd.DataFrame, classes: Sequence | np.ndarray, by: str = "count") -> pd.DataFrame:
    """Share of each label among a row's plausible labels.

    Parameters
    ----------
    frame
        As `plausible_labels` returns it.
    classes
        The C labels, in the order of the columns.
    by
        ``"count"``: the fraction of clusters with the label, as in the paper: how many different ways lead
        to it. ``"weight"``: the fraction of draws in these clusters: how probable it is.

    Returns
    -------
    DataFrame
        ``[N, C]``, indexed by row; rows sum to 1.

    Examples
    --------
    >>> frame = pd.DataFrame({"row": 0, "label": ["a", "b", "b"], "weight": [0.8, 0.1, 0.1]})
    >>> label_shares(frame, ["a", "b"]).round(3).to_numpy()
    array([[0.333, 0.667]])
    >>> label_shares(frame, ["a", "b"], by="weight").round(3).to_numpy()
    array([[0.8, 0.2]])
    """
    if by not in ("count", "weight"):
        raise DrawsError(f"by is {by!r}; expected 'count' or 'weight'. Choose one of them.")
    value = frame["weight"] if by == "weight" else 1.0
    shares = pd.crosstab(frame["row"], frame["label"], values=value, aggfunc="sum").fillna(0.0)
    shares = shares.reindex(columns=classes, fill_value=0.0).rename_axis(columns=None)
    return shares.div(shares.sum(axis=1), axis=0)


def share_agreement(first: ArrayLike, second: ArrayLike) -> float:
    """1 less the total variation distance between two tables of label shares ``[N, C]``, mean over rows.

    Between two seeds it says how little plausible labels depend on the first guess of the mixture.

    >>> first = pd.DataFrame({"a": [1.0, 0.5], "b": [0.0, 0.5]})
    >>> share_agreement(first, first)
    1.0
    >>> share_agreement(first, first[["b", "a"]].set_axis(["a", "b"], axis=1))
    0.5
    """
    return float(1 - total_variation(np.asarray(first), np.asarray(second)).mean())


def _checked(given: ArrayLike, outcome: Outcome | None) -> np.ndarray:
    logits = np.asarray(given, dtype=float)
    fits = logits.ndim == 3 and logits.shape[0] >= 2
    if outcome is None and not (fits and logits.shape[2] >= 2):
        raise DrawsError(
            f"logits has shape {list(logits.shape)}; expected [draws, rows, classes] with at least 2 draws "
            "and 2 classes. Draw more, or put the axes in this order."
        )
    if outcome is not None and not (fits and logits.shape[2] == outcome.num_parameters):
        raise DrawsError(
            f"The parameters have shape {list(logits.shape)}; expected [draws, rows, "
            f"{outcome.num_parameters}] with at least 2 draws, for an outcome that is {outcome.name}. Pass "
            "draws of its model."
        )
    if not np.isfinite(logits).all():
        bad = ~np.isfinite(logits).all((0, 2))
        raise DrawsError(
            f"{int(bad.sum())} of {logits.shape[1]} rows have logits that are not finite (first: row "
            f"{int(bad.argmax())}); expected finite ones. Look for overflow in the model or in its input."
        )
    return logits


def _clusters_of(
    logits: np.ndarray, outcome: Outcome, max_clusters: int, min_weight: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns ``row, cluster, weight, p`` of some rows' clusters."""
    with torch.no_grad():
        p = outcome.predict(torch.as_tensor(np.ascontiguousarray(logits))).numpy().swapaxes(0, 1)  # [N, K, C]
    draws, rows = p.shape[1], len(p)
    resp = np.zeros((rows, draws, max_clusters))
    resp[:, :, 0] = 1
    varied = outcome.distance(p, p.mean(1, keepdims=True)).mean(1) >= FLAT
    if varied.any() and max_clusters > 1:
        coordinates = outcome.coordinates(logits[:, varied].swapaxes(0, 1))  # [R, K, D]
        resp[varied] = fit_mixtures(coordinates, max_clusters, seed)
    size = resp.sum(1)  # [N, T]
    mean_p = resp.swapaxes(1, 2) @ p / np.maximum(size, 1e-12)[..., None]  # [N, T, C]
    order = np.argsort(-size, axis=1, kind="stable")
    weight = np.take_along_axis(size, order, 1) / draws
    keep = weight >= min_weight
    keep[:, 0] = True
    row, cluster = np.nonzero(keep)
    weight = np.where(keep, weight, 0)
    weight /= weight.sum(1, keepdims=True)
    return row, cluster, weight[row, cluster], mean_p[row, order[row, cluster]]


def fit_mixtures(points: np.ndarray, max_clusters: int, seed: int) -> np.ndarray:
    """Responsibilities ``[N, K, T]`` of one Dirichlet-process mixture per row of ``points`` ``[N, K, D]``."""
    points = points - points.mean(1, keepdims=True)
    variance, axes = np.linalg.eigh(points.swapaxes(1, 2) @ points / (points.shape[1] - 1))
    variance, axes = variance[:, -MAX_CONTRASTS:], axes[:, :, -MAX_CONTRASTS:]
    points = points @ axes
    # Draws side by side in memory, [N, T, K]: torch then works on several of them at a time.
    resp = torch.as_tensor(np.ascontiguousarray(_first_guess(points, max_clusters, seed).swapaxes(1, 2)))

    # In units of each axis' own spread all numbers are near 1, so that the squares in phi lose no precision.
    variance = np.maximum(variance, 0)
    unit = variance + FLOOR
    features = _features(points / np.sqrt(unit)[:, None])  # [N, K, F]
    phi = torch.as_tensor(np.ascontiguousarray(features.swapaxes(1, 2)))
    # Fewer draws than contrasts vary along fewer axes; the prior keeps the others from being singular.
    prior, floor = np.maximum(variance / unit, 1e-9), FLOOR / unit  # diagonals, [N, D]

    def step(resp: Tensor, phi: Tensor, prior: np.ndarray, floor: np.ndarray) -> Tensor:
        eta = _natural_parameters((resp @ phi.mT).double().numpy(), prior, floor)  # [N, F, T]
        return (torch.as_tensor(eta).to(phi).mT @ phi).softmax(1)

    # Single precision is twice as fast, and enough on the way: the prior's covariance of 1 keeps that of each
    # cluster above 1 / (D + K), so that log densities are known to about 1e-3. (Along an axis without spread
    # it is 0, hence `SINGLE`.) The last step is in double.
    result = torch.empty_like(resp)
    active, left, some = torch.arange(len(points)), phi.float(), resp.float()
    size = some.sum(2)
    for iteration in range(1, MAX_ITERATIONS):
        some = step(some, left, prior[active.numpy()] + SINGLE, floor[active.numpy()])
        previous, size = size, some.sum(2)
        # Rows that have converged are taken out. Checking every few iterations saves copies of phi, and
        # checking at fixed iterations keeps a row's result independent of the rows beside it.
        if iteration % LOOK_EVERY == 0:
            go_on = (size - previous).abs().sum(1) / 2 >= TOLERANCE * phi.shape[2]
            if not go_on.all():
                result[active] = some.double()
                active, some, left, size = active[go_on], some[go_on], left[go_on], size[go_on]
            if not len(active):
                break
    result[active] = some.double()
    return step(result, phi, prior, floor).mT.numpy()


def _features(points: np.ndarray) -> np.ndarray:
    """phi: 1, a, and the products a_i a_j with i <= j; ``[N, K, D] -> [N, K, 1 + D + D (D + 1) / 2]``."""
    i, j = np.triu_indices(points.shape[-1])
    return np.concatenate([np.ones_like(points[..., :1]), points, points[..., i] * points[..., j]], axis=-1)


def _natural_parameters(statistics: np.ndarray, prior: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """One M step: sums of phi per cluster ``[N, T, F]`` in, natural parameters ``[N, F, T]`` out.

    phi times the result is E[log pi_t] + E[log Normal(a; mu_t, Lambda_t^-1)], up to a constant. ``prior``
    and ``floor`` ``[N, D]`` are the diagonals of the Wishart prior's covariance and of what is added to each
    cluster's. The prior of the means lies at 0.
    """
    rows, clusters, _ = statistics.shape
    dim = prior.shape[-1]
    i, j = np.triu_indices(dim)
    size = statistics[..., 0]  # [N, T]
    total = statistics[..., 1 : 1 + dim]
    scatter = np.empty((rows, clusters, dim, dim))
    scatter[..., i, j] = scatter[..., j, i] = statistics[..., 1 + dim :]

    # Sticks: q(v_t) = Beta(1 + n_t, alpha + sum of the later n).
    later = size.sum(1, keepdims=True) - size.cumsum(1)
    a, b = 1 + size, 1 / clusters + np.maximum(later, 0)
    log_rest = digamma(b) - digamma(a + b)
    log_weight = digamma(a) - digamma(a + b) + log_rest.cumsum(1) - log_rest

    # Normal-Wishart, with one pseudo-observation at 0 and D degrees of freedom.
    precision_of_mean = 1 + size
    mean = total / precision_of_mean[..., None]
    degrees = dim + size
    covariance = scatter - mean[..., None] * mean[..., None, :] * precision_of_mean[..., None, None]
    diagonal = np.arange(dim)
    covariance[..., diagonal, diagonal] += prior[:, None] + size[..., None] * floor[:, None]
    covariance /= degrees[..., None, None]
    precision = np.linalg.inv(covariance)
    log_det = -np.linalg.slogdet(covariance)[1]
    log_lambda = digamma((degrees[..., None] - diagonal) / 2).sum(-1) - dim * np.log(degrees)
    slope = (precision @ mean[..., None])[..., 0]
    constant = log_weight + (log_det + log_lambda - dim / precision_of_mean - (slope * mean).sum(-1)) / 2
    # a_i a_j stands for both orders of i and j, so off the diagonal the factor 1/2 of the square cancels.
    square = precision[..., i, j] * np.where(i == j, -0.5, -1.0)
    return np.concatenate([constant[..., None], slope, square], axis=-1).swapaxes(1, 2)


def _first_guess(points: np.ndarray, clusters: int, seed: int, iterations: int = 20) -> np.ndarray:
    """Hard assignments ``[N, K, T]`` by k-means with k-means++ seeds (Arthur and Vassilvitskii 2007)."""
    rows, draws, _ = points.shape
    each = np.arange(rows)
    uniform = np.random.default_rng(seed).random(clusters)
    nearest = np.ones((rows, draws))
    seeds: list[np.ndarray] = []
    for u in uniform:
        odds = nearest.cumsum(1)
        chosen = np.minimum((odds < u * odds[:, -1:]).sum(1), draws - 1)
        seeds.append(points[each, chosen])
        distance = np.square(points - seeds[-1][:, None]).sum(-1)
        nearest = distance if len(seeds) == 1 else np.minimum(nearest, distance)
    centres = np.stack(seeds, axis=1)  # [N, T, D]
    owner: np.ndarray | None = None
    for _ in range(iterations):
        distance = np.square(centres).sum(-1)[:, None] - 2 * points @ centres.swapaxes(1, 2)
        previous, owner = owner, distance.argmin(-1)
        if previous is not None and (owner == previous).all():
            break
        hard = (owner[..., None] == np.arange(clusters)).astype(float)
        size = hard.sum(1)[..., None]
        centres = np.where(size > 0, hard.swapaxes(1, 2) @ points / np.maximum(size, 1), centres)
    return hard
