"""Predict with modalities missing, and say how much the missing one would change the prediction."""

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.guide import PrimoGuide
from primo_pyro.modalities import Modalities
from primo_pyro.model import PrimoModel
from primo_pyro.objective import Anchored, ImportanceELBO, Objective
from primo_pyro.prediction import NormalDraws

__all__ = [
    "Anchored",
    "ImportanceELBO",
    "Modalities",
    "NormalDraws",
    "Objective",
    "PrimoClassifier",
    "PrimoGuide",
    "PrimoModel",
]
