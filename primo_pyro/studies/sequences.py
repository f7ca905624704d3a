"""Which modality next? Orders in which modalities are revealed, row by row, played against each other.

Each test row starts with its observed modalities alone, and each optional one that it really has may be
bought. All orders are judged by the predictions of the same fitted PRIMO, so that the order alone differs;
one rival also predicts itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch

from primo_pyro.analysis.acquisition import costs_of
from primo_pyro.analysis.policies import ExpectedGain
from primo_pyro.baselines import ValueNetworkClassifier
from primo_pyro.classifier import PrimoClassifier
from primo_pyro.errors import ModalityError, PrimoWarning
from primo_pyro.studies.orders import (
    HiddenRows,
    Regressions,
    fixed_order,
    oracle,
    random_order,
    value_order,
)
from primo_pyro.studies.spending import Path, path_of, play, spending_table
from primo_pyro.studies.tasks import Rows, Task

__all__ = ["POLICIES", "REFERENCE", "area_table", "compare_orders"]

REFERENCE = "PRIMO, expected gain"  # the information gain, calibrated like the expected change
INFORMATION_GAIN, EXPECTED_CHANGE = "PRIMO, information gain", "PRIMO, expected change"
OWN = "value network, own predictions"
POLICIES = (
    REFERENCE,
    INFORMATION_GAIN,
    EXPECTED_CHANGE,
    "fixed order",
    "random order",
    "regression of the gain",
    "regression of the change",
    "value network",
    OWN,
    "oracle",
)
RANDOM_ORDERS = 5  # of which the mean is taken
HELD_OUT = 0.2  # of the training rows, where a task has no validation part
LEAST = 2  # optional modalities that a test row has
CALIBRATED = 2  # random patterns of each validation row on which impact is calibrated


def compare_orders(
    task: Task,
    seeds: Iterable[int],
    settings: Mapping[str, Any],
    primo_settings: Mapping[str, Any] | None = None,
    costs: Mapping[str, float] | None = None,
    n_jobs: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Play all `POLICIES` on the test rows that have at least two optional modalities.

    PRIMO and the value network are trained on the same rows, in which optional modalities were dropped at
    random. What PRIMO says is calibrated, and the fixed order and the regressions are learnt, on the
    validation rows with all that they have.

    Parameters
    ----------
    task
        With at least two optional modalities.
    seeds
        Each decides about data, dropped modalities, networks and random orders.
    settings
        Of both networks.
    primo_settings
        Of PRIMO alone.
    costs
        What each optional modality costs; None: 1.
    n_jobs
        Seeds at the same time, one thread each.

    Returns
    -------
    curves, areas : DataFrame
        Those of `primo_pyro.studies.spending.spending_table`, with ``dataset`` and ``seed``.

    Raises
    ------
    ModalityError
        Where fewer than two modalities are optional, or no test row has two of them.
    CostError
        Where a cost is missing, or not one positive number.

    Examples
    --------
    >>> from primo_pyro.studies.generated import three_signs
    >>> small = {"hidden_dim": 8, "max_epochs": 1}
    >>> curves, areas = compare_orders(three_signs(300), [0], small, {"num_samples": 16})
    >>> curves.columns.tolist()
    ['dataset', 'seed', 'policy', 'allocation', 'cost', 'metric', 'value', 'error']
    >>> set(areas["policy"]) == set(POLICIES)
    True
    """
    if len(task.optional) < LEAST:
        raise ModalityError(
            f"{task.name} has {len(task.optional)} optional modality; expected at least {LEAST}, to have an "
            "order. Choose another task."
        )
    for modality in task.optional:
        costs_of(modality, costs, 1)  # errors are raised now
    run = joblib.delayed(_compare)
    parts = joblib.Parallel(n_jobs=n_jobs)(
        run(task, seed, settings, primo_settings or {}, costs) for seed in seeds
    )
    curves, areas = (pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))
    return curves, areas


def _compare(
    task: Task,
    seed: int,
    settings: Mapping[str, Any],
    primo_settings: Mapping[str, Any],
    costs: Mapping[str, float] | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    torch.set_num_threads(1)
    train, validation, (x, y) = _parts(task, seed)
    optional = tuple(sorted(task.optional))
    enough = np.sum([x.present[m] for m in optional], axis=0) >= LEAST
    if not enough.any():
        raise ModalityError(
            f"None of {len(x)} test rows of {task.name} has {LEAST} of {', '.join(optional)}; expected rows "
            "with an order. Use more rows."
        )
    dropped = [
        (rows.drop_at_random(*optional, rate=task.rate, random_state=seed), labels)
        for rows, labels in (train, validation)
    ]
    with warnings.catch_warnings():
        # Warnings about poor fits, and of patterns that no training row had: the curves show what they do.
        warnings.simplefilter("ignore", PrimoWarning)
        primo = PrimoClassifier(optional, random_state=seed, **settings, **primo_settings)
        primo.fit(*dropped[0], validation=dropped[1])
        network = ValueNetworkClassifier(optional=optional, costs=costs, random_state=seed, **settings)
        network.fit(*dropped[0], validation=dropped[1])
        test = x[enough], np.asarray(y)[enough]
        paths = _paths(primo, network, validation, test, costs, seed)
    labels = primo.labels_.encode(test[1])
    what = {"dataset": task.name, "seed": seed}
    tables = spending_table(labels, paths, REFERENCE, random_state=seed)
    curves, areas = (pd.DataFrame(what, index=table.index).join(table) for table in tables)
    return curves, areas


def _parts(task: Task, seed: int) -> tuple[Rows, Rows, Rows]:
    (x, y), validation, test = task.rows(seed)
    if validation is not None:
        return (x, y), validation, test
    order = np.random.default_rng(seed).permutation(len(x))
    held_out, kept = np.split(order, [int(HELD_OUT * len(x))])
    return (x[kept], y[kept]), (x[held_out], y[held_out]), test


def _paths(
    primo: PrimoClassifier,
    network: ValueNetworkClassifier,
    validation: Rows,
    test: Rows,
    costs: Mapping[str, float] | None,
    seed: int,
) -> dict[str, list[Path]]:
    optional, x = primo.optional_, test[0]
    cost = np.array([1.0 if costs is None else costs[m] for m in optional])
    known_rows, hidden = (
        HiddenRows(rows, primo.labels_.encode(labels), optional, primo.predict_proba)
        for rows, labels in (validation, test)
    )
    at, known = known_rows.random_patterns(CALIBRATED, seed)
    patterns = known_rows.rows(at, known)
    primo.calibrate_impact(patterns)
    expected_gain = ExpectedGain().fit(primo, patterns, np.asarray(validation[1])[at])
    paths = {}
    for policy, by in (
        (REFERENCE, expected_gain),
        (INFORMATION_GAIN, "information_gain"),
        (EXPECTED_CHANGE, "expected_change"),
    ):
        acquired = primo.acquire(
            x.drop(*optional),
            lambda rows, modality: x[rows].select(modality),
            by=by,
            costs=costs,
            threshold=-np.inf,
        )
        paths[policy] = [path_of(acquired, len(optional))]
    of_network = value_order(hidden, network.expected_gains)
    orders = {
        "fixed order": fixed_order(known_rows, cost),
        "regression of the gain": value_order(hidden, Regressions("gain", seed).fit(known_rows).predict),
        "regression of the change": value_order(hidden, Regressions("change", seed).fit(known_rows).predict),
        "value network": of_network,
        "oracle": oracle(hidden),
    }
    paths |= {
        policy: [play(order, hidden.available, cost, hidden.probabilities)]
        for policy, order in orders.items()
    }
    itself = HiddenRows(x, hidden.y, optional, network.predict_proba)
    paths[OWN] = [play(of_network, hidden.available, cost, itself.probabilities)]
    paths["random order"] = [
        play(random_order(len(hidden), len(optional), i), hidden.available, cost, hidden.probabilities)
        for i in range(RANDOM_ORDERS)
    ]
    return {policy: paths[policy] for policy in POLICIES}


def area_table(areas: pd.DataFrame, metric: str, allocation: str) -> pd.DataFrame:
    """Areas under the curves of one score, and their differences to `REFERENCE`, means over seeds.

    Errors are standard errors over seeds; of one seed, those of the bootstrap over rows.

    Parameters
    ----------
    areas
        As from `compare_orders`, of one data set.
    metric, allocation
        Which of them.

    Returns
    -------
    DataFrame
        A line per policy: ``area, error, difference, difference_error``.

    Examples
    --------
    >>> line = {"policy": "oracle", "metric": "log_loss", "allocation": "each row", "error": 0.01}
    >>> areas = pd.DataFrame([line | {"area": a, "difference": a - 0.3, "difference_error": 0.01}
    ...                       for a in (0.2, 0.24)])
    >>> area_table(areas, "log_loss", "each row").round(3)
            area  error  difference  difference_error
    policy
    oracle  0.22   0.02       -0.08              0.02
    """
    chosen = areas[(areas["metric"] == metric) & (areas["allocation"] == allocation)]
    groups = chosen.groupby("policy", sort=False)
    columns = {}
    for value, error in (("area", "error"), ("difference", "difference_error")):
        columns[value] = groups[value].mean()
        over_seeds = groups[value].sem()
        columns[error] = over_seeds.where(groups.size() > 1, groups[error].mean())
    return pd.DataFrame(columns)
