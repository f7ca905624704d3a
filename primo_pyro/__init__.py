"""Predict with modalities missing, and say how much the missing one would change the prediction."""

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.modalities import Modalities
from primo_pyro.prediction import NormalDraws
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import Anchored, ImportanceELBO, Objective

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
