"""Pictures of impact, of labels and of methods: a frame and an ``Axes`` in, the ``Axes`` out.

Every function returns the axes that it drew on, for a title or a limit of your own. The colours can be told
apart by colour-blind readers; what matters differs in line style, marker or label as well. Distances (V, gap,
change) are total variation distances between two predictions, from 0 to 1 and without unit. Figure numbers
are those of the paper.
"""

from primo_pyro.analysis.plots.decisions import decision_curve, promises, risk_draws, skips
from primo_pyro.analysis.plots.impact import (
    acquisition_curve,
    gap_scatter,
    impact_against_truth,
    impact_calibration,
    impact_ecdf,
)
from primo_pyro.analysis.plots.labels import (
    label_scatter,
    label_shares_bars,
    latent_completions,
    shares_by_group,
)
from primo_pyro.analysis.plots.methods import bias_map, method_scores, paired_differences
from primo_pyro.analysis.plots.style import COMPLETE, MISSING, RED

__all__ = [
    "COMPLETE",
    "MISSING",
    "RED",
    "acquisition_curve",
    "bias_map",
    "decision_curve",
    "gap_scatter",
    "impact_against_truth",
    "impact_calibration",
    "impact_ecdf",
    "label_scatter",
    "label_shares_bars",
    "latent_completions",
    "method_scores",
    "paired_differences",
    "promises",
    "risk_draws",
    "shares_by_group",
    "skips",
]
