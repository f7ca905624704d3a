"""The probabilistic program: encoders, conditional distributions, outcomes, model, guide and objective."""

from primo_pyro.program.conditionals import BatchNormDiagNormal, Likelihood
from primo_pyro.program.distributions import either, from_noise, kl_divergence, noise_size
from primo_pyro.program.encoders import GRU, MLP, Encoders, LeNet, Representations, encode, encoder_for
from primo_pyro.program.guide import PrimoGuide
from primo_pyro.program.loss import Loss, TrainingModel
from primo_pyro.program.model import PrimoModel
from primo_pyro.program.objective import ImportanceELBO, Objective
from primo_pyro.program.outcomes import Categorical, Multilabel, Normal, Ordinal, Outcome
from primo_pyro.program.priors import DiagNormal, Latent, one_latent_each
from primo_pyro.program.protocols import LabelProgram, Story

__all__ = [
    "GRU",
    "MLP",
    "BatchNormDiagNormal",
    "Categorical",
    "DiagNormal",
    "Encoders",
    "ImportanceELBO",
    "LabelProgram",
    "Latent",
    "LeNet",
    "Likelihood",
    "Loss",
    "Multilabel",
    "Normal",
    "Objective",
    "Ordinal",
    "Outcome",
    "PrimoGuide",
    "PrimoModel",
    "Representations",
    "Story",
    "TrainingModel",
    "either",
    "encode",
    "encoder_for",
    "from_noise",
    "kl_divergence",
    "noise_size",
    "one_latent_each",
]
