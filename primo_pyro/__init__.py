"""Predict with modalities missing, and say how much the missing one would change the prediction."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.draws import NormalDraws
from primo_pyro.modalities import Modalities
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.loss import TrainingModel
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import ImportanceELBO, Objective
from primo_pyro.regressor import PrimoRegressor
from primo_pyro.tables import TableReader, read_table

if TYPE_CHECKING:
    from primo_pyro import baselines, data

__version__ = version("primo-pyro")

Anchored = TrainingModel  # its name up to release 0.1

__all__ = [
    "Anchored",
    "ImportanceELBO",
    "Modalities",
    "NormalDraws",
    "Objective",
    "PrimoClassifier",
    "PrimoGuide",
    "PrimoModel",
    "PrimoRegressor",
    "TableReader",
    "TrainingModel",
    "__version__",
    "baselines",
    "data",
    "read_table",
]


def __getattr__(name: str) -> ModuleType:
    """Import data sets and baselines at their first use: they load libraries that a model does not need."""
    if name in ("baselines", "data"):
        return import_module(f"primo_pyro.{name}")
    raise AttributeError(f"module 'primo_pyro' has no attribute {name!r}")
