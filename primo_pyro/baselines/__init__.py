"""What people would use instead of PRIMO, behind the same face.

Every estimator has ``fit(x, y)``, ``predict_proba(x)`` and ``predict(x)``; those with networks also
``history_`` and ``latents(x)``, and those that predict by averaging over draws ``sample_predictions(x)`` and
``predictive_impact(x)``.
"""

from primo_pyro.baselines.cmmd import CMMDClassifier
from primo_pyro.baselines.frequencies import FrequencyClassifier
from primo_pyro.baselines.i2m2 import I2M2Classifier
from primo_pyro.baselines.impact_rivals import NeighbourCompletions, prediction_entropy
from primo_pyro.baselines.imputation import ImputationClassifier, StackingClassifier
from primo_pyro.baselines.lvae import LVAEClassifier
from primo_pyro.baselines.mmvae import MMVAEClassifier
from primo_pyro.baselines.multimodal import MultimodalClassifier
from primo_pyro.baselines.mvae import MVAEClassifier
from primo_pyro.baselines.unimodal import UnimodalClassifier
from primo_pyro.baselines.value_network import ValueNetworkClassifier

__all__ = [
    "CMMDClassifier",
    "FrequencyClassifier",
    "I2M2Classifier",
    "ImputationClassifier",
    "LVAEClassifier",
    "MMVAEClassifier",
    "MVAEClassifier",
    "MultimodalClassifier",
    "NeighbourCompletions",
    "StackingClassifier",
    "UnimodalClassifier",
    "ValueNetworkClassifier",
    "prediction_entropy",
]
