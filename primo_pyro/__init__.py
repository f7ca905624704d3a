"""Predict with modalities missing, and say how much the missing one would change the prediction."""

from primo_pyro.modalities import Modalities

__all__ = ["Modalities"]
