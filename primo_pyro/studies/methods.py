"""The methods that are compared, by their names in tables, and which settings each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.ensemble import VotingClassifier

from primo_pyro.baselines import (
    CMMDClassifier,
    FrequencyClassifier,
    I2M2Classifier,
    ImputationClassifier,
    LVAEClassifier,
    MMVAEClassifier,
    MultimodalClassifier,
    MVAEClassifier,
    NeighbourCompletions,
    StackingClassifier,
    UnimodalClassifier,
    prediction_entropy,
)
from primo_pyro.classifier import PrimoClassifier
from primo_pyro.errors import ModalityError
from primo_pyro.members import seed_of_member
from primo_pyro.modalities import Modalities
from primo_pyro.studies.tasks import Task

__all__ = [
    "FREQUENCIES",
    "IMPACT_RIVALS",
    "METHODS",
    "NETWORKS",
    "NEVER_DROPPED",
    "SLOW",
    "TREES",
    "Method",
    "averaged",
    "settings_of",
]

Method = Callable[..., BaseEstimator]  # from a task and settings to an unfitted estimator


def _primo(objective: str) -> Method:
    return lambda task, **kw: PrimoClassifier(task.optional, objective=objective, **kw)


def _unimodal(task: Task, **settings: Any) -> BaseEstimator:
    if task.observed is None:
        raise ModalityError(
            f"A unimodal network needs a modality that is present in every row; each of "
            f"{', '.join(task.optional)} may be absent, and one was expected in all rows. Compare on a task "
            "with an observed modality."
        )
    return UnimodalClassifier(task.observed, **settings)


FREQUENCIES = "class frequencies"  # what is known without any modality
NEVER_DROPPED = "multimodal, never dropped"  # the upper reference: all its training rows are complete

# Networks take the settings of all networks, the other methods do not.
NETWORKS: dict[str, Method] = {
    "unimodal": _unimodal,
    "multimodal": lambda task, **kw: MultimodalClassifier(rows="complete", **kw),
    "multimodal, all rows": lambda task, **kw: MultimodalClassifier(rows="all", **kw),
    NEVER_DROPPED: lambda task, **kw: MultimodalClassifier(rows="complete", **kw),
    "i2m2": lambda task, **kw: I2M2Classifier(**kw),
    "mvae": lambda task, **kw: MVAEClassifier(**kw),
    "mmvae": lambda task, **kw: MMVAEClassifier(**kw),
    "cmmd": lambda task, **kw: CMMDClassifier(optional=task.optional, **kw),
    "lvae": lambda task, **kw: LVAEClassifier(optional=task.optional, **kw),
    "primo (paper)": _primo("paper"),
    "primo": _primo("calibrated"),
}
TREES: dict[str, Method] = {
    "mean imputation": lambda task, **kw: ImputationClassifier(imputer="mean", **kw),
    "iterative imputation": lambda task, **kw: ImputationClassifier(imputer="iterative", **kw),
    "knn imputation": lambda task, **kw: ImputationClassifier(imputer="knn", **kw),
    "boosting with NaN": lambda task, **kw: ImputationClassifier(imputer=None, **kw),
    "stacking": lambda task, **kw: StackingClassifier(**kw),
}
METHODS: dict[str, Method] = {
    **NETWORKS,
    **TREES,
    FREQUENCIES: lambda task, **kw: FrequencyClassifier(**kw),
}
SLOW = frozenset({"lvae", "mvae", "mmvae", "primo (paper)", "primo"})  # those whose fits take longest


def _entropy(classifier: BaseEstimator, task: Task, x: Modalities, x_test: Modalities) -> pd.DataFrame:
    return prediction_entropy(classifier, x_test)


def _neighbours(classifier: BaseEstimator, task: Task, x: Modalities, x_test: Modalities) -> pd.DataFrame:
    if len(task.optional) > 1:
        raise ModalityError(
            f"Neighbours complete one modality, and here {' and '.join(task.optional)} may be absent; "
            "expected one. Compare on a task with one of them."
        )
    return NeighbourCompletions(classifier, task.optional[0]).fit(x).predictive_impact(x_test)


# Estimates of impact that borrow a fitted classifier: from the method that fits it to the estimate's name,
# and to a function of the classifier, the task, its training rows and its test rows, with ``impact`` [N].
IMPACT_RIVALS: dict[
    str, tuple[str, Callable[[BaseEstimator, Task, Modalities, Modalities], pd.DataFrame]]
] = {
    "unimodal": ("entropy", _entropy),
    "multimodal": ("neighbours", _neighbours),
}


def averaged(method: Method, members: int) -> Method:
    """The average over several networks of different seeds: what PRIMO with so many members is compared with.

    >>> from primo_pyro.studies.generated import xor
    >>> network = averaged(METHODS["unimodal"], members=2)(xor(100), random_state=5)
    >>> [one.random_state for _, one in network.estimators]
    [5, 6]
    """

    def make(task: Task, random_state: int, **settings: Any) -> BaseEstimator:
        seeds = (seed_of_member(random_state, member) for member in range(members))
        networks = [(str(seed), method(task, random_state=seed, **settings)) for seed in seeds]
        return VotingClassifier(networks, voting="soft")

    return make


def settings_of(
    method: str,
    of_networks: Mapping[str, object],
    of_primo: Mapping[str, object],
    own: Mapping[str, Mapping[str, object]],
) -> dict[str, object]:
    """The settings of one method.

    Parameters
    ----------
    method
        Its name in `METHODS`, or a name of your own.
    of_networks
        Settings of every method but those in `TREES` and the class frequencies.
    of_primo
        Settings of the methods whose names begin with ``primo``.
    own
        Settings of single methods, by their names; they override the others.

    Returns
    -------
    dict
        Name to value.

    Examples
    --------
    >>> settings_of("mvae", {"hidden_dim": 64, "dropout": 0.1}, {"latent_dim": 8}, {"mvae": {"dropout": 0.2}})
    {'hidden_dim': 64, 'dropout': 0.2}
    """
    settings: dict[str, object] = {}
    if method not in TREES and method != FREQUENCIES:
        settings |= of_networks
    if method.startswith("primo"):
        settings |= of_primo
    return settings | dict(own.get(method, {}))
