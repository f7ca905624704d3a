"""What people would use instead of PRIMO, behind the same face.

Every estimator has ``fit(x, y)``, ``predict_proba(x)`` and ``predict(x)``; those with networks also
``history_`` and ``latents(x)``.
"""

from primo_pyro.baselines.multimodal import MultimodalClassifier
from primo_pyro.baselines.unimodal import UnimodalClassifier

__all__ = [
    "MultimodalClassifier",
    "UnimodalClassifier",
]
