"""Has training gone wrong in a way that is known? What a fit says about itself, on its validation rows.

Three things happen that no score shows at a glance. Each is looked for in one way: a mean over rows that
should not be positive, and its standard error. It is found where the mean is above two standard errors, so
that on few rows only a gross failure is found. ``A QUARTER`` is what counts as material in all three.

``collapse``
    The latent of a modality holds next to nothing of what the modality tells. The reference is a probe: a
    ridge-penalised logistic regression on the representations of complete training rows, without and with
    the modality. It costs a fraction of a second where a second network would double the fit, and it can
    only fail to see: what a linear map finds in the encoder's features, trained or not, is there. (It
    does not see what lies in an interaction alone.) Mean of: a quarter of the probe's gain in log loss,
    less the model's own gain.
``impact stays``
    V hardly falls when what was missing is there: so it was never about that. Mean of: V_complete, less
    three quarters of V_missing.
``overfit``
    What is always seen has been memorised. Predictions without the modality are surer on training rows
    than on new ones, and there V is too small. Mean of: three quarters of the validation log loss, less
    the training log loss.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from primo_pyro.analysis.clusters import FLAT
from primo_pyro.analysis.scores import log_losses, standard_error
from primo_pyro.errors import CollapseWarning, OverfitWarning
from primo_pyro.modalities import Modalities
from primo_pyro.prediction import Summary, summarise
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.protocols import Story

__all__ = ["collapse", "diagnose", "impact_stays", "overfit", "probe_losses", "warn_of"]

MIN_ROWS = 50  # complete validation rows; on fewer a standard error says little
RIDGE = 0.1  # penalty of the ridge regression per row
PROBE_ROWS = 2000  # complete training rows for the probe; more change little and cost time
MATERIAL = 0.25  # share of a quantity that counts as a material failure, in all three checks
LIMIT = 2.0  # standard errors

ROWS_ENCODED = 512  # through the encoders
COLUMNS = ["check", "modality", "measured", "reference", "excess", "standard_error", "found"]


def diagnose(
    model: Story,
    x: Modalities,
    y: np.ndarray,
    x_val: Modalities,
    y_val: np.ndarray,
    *,
    num_samples: int,
    seed: int,
) -> pd.DataFrame:
    """All checks of a trained model.

    Parameters
    ----------
    model
        A `PrimoModel`.
    x, y
        The rows it was trained on, and labels ``[T]`` as the model takes them.
    x_val, y_val
        Rows it was not trained on, and labels ``[N]``.
    num_samples
        Draws per row.
    seed
        Decides which training rows are looked at, and about the draws.

    Returns
    -------
    DataFrame
        A row per check: ``check``; ``modality``; the two means compared, ``measured`` and ``reference``;
        ``excess``, which should not be positive, its ``standard_error``, and whether the failure was
        ``found``. No rows without an optional modality, or with fewer than 50 complete validation rows.
    """
    optional = model.optional
    complete_rows = np.flatnonzero(x_val.complete)
    if not optional or len(complete_rows) < MIN_ROWS:
        return pd.DataFrame(columns=COLUMNS)
    device = next(model.parameters()).device

    def summary(x: Modalities, y: np.ndarray) -> Summary:
        labels = torch.as_tensor(y, device=device)
        return summarise(model, x, labels, num_samples=num_samples, kind="sobol", seed=seed)

    def missing_losses(x: Modalities, y: np.ndarray) -> np.ndarray:
        return -summary(x.drop(*optional), y).log_likelihood

    order = np.random.default_rng(seed).permutation(len(x))
    rows, labels = x_val[complete_rows], y_val[complete_rows]
    missing, complete = summary(rows.drop(*optional), labels), summary(rows, labels)
    everything, some = " and ".join(optional), order[: len(x_val)]
    lines = [
        impact_stays(missing.impact, complete.impact, everything),
        overfit(missing_losses(x[some], y[some]), missing_losses(x_val, y_val), everything),
    ]
    probed = order[x.complete[order]][:PROBE_ROWS]
    if (np.ptp(y[probed], axis=0) > 0).all():
        train, new = _features(model, x[probed], optional), _features(model, rows, optional)
        probes = {m: probe_losses(model.outcome, train[m], y[probed], new[m], labels) for m in train}
        for m in optional:
            without = missing if optional == (m,) else summary(rows.drop(m), labels)
            gain = complete.log_likelihood - without.log_likelihood
            lines.append(collapse(gain, probes[m] - probes[None], m))
    return pd.DataFrame(lines)


@torch.no_grad()
def _features(model: Story, x: Modalities, optional: tuple[str, ...]) -> dict[str | None, np.ndarray]:
    """Representations side by side ``[N, F]``: without each optional modality, and (None) with all."""
    parts = []
    for start in range(0, len(x), ROWS_ENCODED):
        h = model.encoder(x[start : start + ROWS_ENCODED])
        parts.append({m: (h if m is None else h.drop(m)).fused().cpu().numpy() for m in (None, *optional)})
    return {m: np.concatenate([part[m] for part in parts]) for m in parts[0]}


def collapse(gain: np.ndarray, possible: np.ndarray, modality: str) -> dict[str, Any]:
    """Whether a latent has collapsed, from what the modality gains each row ``[N]`` in log loss.

    ``measured`` is the mean gain of the model, ``reference`` that of the probe.

    >>> collapse(np.zeros(60), np.full(60, 0.7), "m")["found"]
    True
    >>> collapse(np.full(60, 0.7), np.full(60, 0.7), "m")["found"]
    False
    """
    line = _line("collapse", modality, gain, possible, MATERIAL * possible - gain)
    informative = possible.mean() > LIMIT * standard_error(possible)
    return line | {"found": bool(line["found"] and informative)}


def impact_stays(impact_missing: np.ndarray, impact_complete: np.ndarray, modality: str) -> dict[str, Any]:
    """Whether V ``[N]`` is hardly lower with the modality (``measured``) than without (``reference``).

    >>> impact_stays(np.full(60, 0.2), np.full(60, 0.19), "m")["found"]
    True
    >>> impact_stays(np.full(60, 0.2), np.full(60, 0.01), "m")["found"]
    False
    """
    excess = impact_complete - (1 - MATERIAL) * impact_missing
    line = _line("impact stays", modality, impact_complete, impact_missing, excess)
    return line | {"found": bool(line["found"] and impact_missing.mean() > FLAT)}


def overfit(training: np.ndarray, validation: np.ndarray, modality: str) -> dict[str, Any]:
    """Whether log losses without the modality are far lower on training rows ``[T]`` (``measured``) than on
    validation rows ``[N]`` (``reference``).

    >>> random = np.random.default_rng(0)
    >>> overfit(random.exponential(0.1, 200), random.exponential(0.5, 200), "m")["found"]
    True
    >>> overfit(random.exponential(0.5, 200), random.exponential(0.5, 200), "m")["found"]
    False
    """
    share = 1 - MATERIAL
    excess = share * validation.mean() - training.mean()
    error = float(np.hypot(share * standard_error(validation), standard_error(training)))
    return _named("overfit", modality, training, validation, excess, error)


def _line(
    check: str, modality: str, measured: np.ndarray, reference: np.ndarray, excess: np.ndarray
) -> dict[str, Any]:
    return _named(check, modality, measured, reference, excess.mean(), float(standard_error(excess)))


def _named(
    check: str, modality: str, measured: np.ndarray, reference: np.ndarray, excess: float, error: float
) -> dict[str, Any]:
    found = bool(excess > LIMIT * error)
    values = check, modality, measured.mean(), reference.mean(), excess, error, found
    return dict(zip(COLUMNS, values, strict=True))


def probe_losses(
    outcome: Outcome, h: np.ndarray, y: np.ndarray, h_new: np.ndarray, y_new: np.ndarray
) -> np.ndarray:
    """-log p(y_new | h_new) ``[N]`` of a penalised linear model on features ``[T, F]``.

    A logistic regression, one for each of several labels, or a ridge regression with normal residuals. The
    penalty is strong: representations of training rows say more about their labels than those of new rows,
    and many of their features are copies of each other.

    >>> from primo_pyro.program.outcomes import Categorical
    >>> h = np.random.default_rng(0).normal(size=(200, 3))
    >>> y, new = (h[:, 0] > 0).astype(int), np.array([[2.0, 0, 0], [-2.0, 0, 0]])
    >>> right, wrong = (probe_losses(Categorical(2), h, y, new, np.array(v)) for v in ([1, 0], [0, 1]))
    >>> bool((right < wrong).all())
    True
    """
    if outcome.name == "multilabel":
        columns = range(y.shape[1])
        each = [
            _log_losses_of_probe(2, h, y[:, c].astype(int), h_new, y_new[:, c].astype(int)) for c in columns
        ]
        return np.sum(each, axis=0)
    if outcome.name == "normal":
        ridge = make_pipeline(StandardScaler(), Ridge(alpha=RIDGE * len(h))).fit(h, y)
        spread = (y - ridge.predict(h)).std() + 1e-3
        return -norm.logpdf(y_new, ridge.predict(h_new), spread)
    return _log_losses_of_probe(outcome.prediction_size, h, y, h_new, y_new)


def _log_losses_of_probe(
    num_classes: int, h: np.ndarray, y: np.ndarray, h_new: np.ndarray, y_new: np.ndarray
) -> np.ndarray:
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly fitted is as good a reference
        regression.fit(h, y)
    p = np.zeros((len(h_new), num_classes))
    p[:, regression.classes_] = regression.predict_proba(h_new)
    return log_losses(y_new, p)


def warn_of(frame: pd.DataFrame, stacklevel: int) -> None:
    """One warning for each check that has found something.

    Warns
    -----
    CollapseWarning
        For ``collapse`` and ``impact stays``.
    OverfitWarning
        For ``overfit``.
    """
    for check, lines in frame[frame["found"].astype(bool)].groupby("check", sort=False):
        category, what_is_seen, cure = SAYS[check]
        what = "; ".join(what_is_seen.format(**line) for line in lines.to_dict("records"))
        warnings.warn(f"{what}. {cure}", category, stacklevel=stacklevel + 1)


SAYS = {
    "collapse": (
        CollapseWarning,
        "The latent of {modality!r} has collapsed: on complete validation rows {modality!r} lowers the log "
        "loss by {measured:.3f} nats, and that of a logistic regression on the encoders' output by "
        "{reference:.3f}",
        "Predictions with it are hardly better than without, and V says nothing about it. Use "
        "objective='calibrated'; if that is in use, train longer, raise learning_rate, or lower tie and "
        "anchor.",
    ),
    "impact stays": (
        CollapseWarning,
        "V hardly falls once {modality} is there: on complete validation rows it is {reference:.3f} without "
        "and {measured:.3f} with",
        "It then measures label noise, or a latent without shape, and not what is missing. Use "
        "objective='calibrated'; if that is in use, train longer, raise forecast or num_particles, or lower "
        "latent_dim. Trust the gap of impact_gap rather than V.",
    ),
    "overfit": (
        OverfitWarning,
        "With {modality} hidden the log loss is {measured:.3f} on training rows and {reference:.3f} on "
        "validation rows",
        "What is always seen has been memorised, and on new rows V is too small. Raise dropout or "
        "weight_decay, lower max_epochs or patience, or bring more rows; calibrate_impact mends the scale "
        "of V.",
    ),
}
