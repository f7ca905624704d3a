"""Checks of a fitted model for four known failures, on its validation rows.

No score alone reveals these failures. Each check is a mean over rows that should not be positive, with its
standard error. A failure is found where the mean is above two standard errors, so that on few rows only a
gross failure is found. `MATERIAL` is the share that counts as a failure in all four. Each optional modality
is checked on the rows that have it, whatever else is absent in them.

``collapse``
    The latent of a modality carries almost nothing of what the modality tells about the label. The reference
    is a probe: a ridge-penalised linear model on the representations of training rows, without and with the
    modality. It costs a fraction of a second, where a second network would double the time of the fit. It
    never reports more than the encoder's features hold, and it misses what only an interaction of modalities
    tells. Mean of: a quarter of the probe's gain in log loss, less the model's own gain.
``impact stays``
    Revealing the modality hardly reduces the spread of the draws, so that V does not measure what the
    modality tells. Mean of: the spread with the modality, less three quarters of V without it.
``overfit``
    The observed modalities have been memorised. Predictions without the optional modalities are more certain
    on training rows than on new ones, and on new rows V is too small. Mean of: three quarters of the
    validation log loss, less the training log loss.
``answers differ``
    With several optional modalities: the average prediction depends on which of the absent ones are asked
    about, which it should not. Mean of: the distance between the predictions that ask about everything absent
    and about one modality alone, less a quarter of V of everything absent.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
from primo_pyro.errors import CollapseWarning, FewRowsWarning, OverfitWarning, warn
from primo_pyro.modalities import Modalities
from primo_pyro.prediction import Summary, summarise
from primo_pyro.program.outcomes import Outcome
from primo_pyro.program.protocols import Story

__all__ = [
    "Fitted",
    "answers_differ",
    "collapse",
    "diagnose",
    "impact_stays",
    "overfit",
    "probe_losses",
    "warn_of_failures",
]

MIN_ROWS = 50  # validation rows that have the modality; on fewer a standard error says little
RIDGE = 0.1  # penalty of the ridge regression per row
PROBE_ROWS = 2000  # complete training rows for the probe; more change little and cost time
MATERIAL = 0.25  # share of a quantity that counts as a failure, in all four checks
LIMIT = 2.0  # standard errors

ROWS_ENCODED = 512  # through the encoders
COLUMNS = ["check", "modality", "rows", "measured", "reference", "excess", "standard_error", "found"]


@dataclass(frozen=True)
class Fitted:
    """A trained model, the rows it was trained on, and rows that it was not.

    Attributes
    ----------
    model
        A `PrimoModel`.
    x, y
        Training rows, and labels ``[T]`` as the model takes them.
    x_val, y_val
        Rows it was not trained on, and labels ``[N]``.
    """

    model: Story
    x: Modalities
    y: np.ndarray
    x_val: Modalities
    y_val: np.ndarray


def diagnose(fits: Sequence[Fitted], *, num_samples: int, seed: int, most: int | None = None) -> pd.DataFrame:
    """All checks of a trained model, or of several, each on its own validation rows.

    Parameters
    ----------
    fits
        One, or the members of an ensemble: means are then taken over the validation rows of all.
    num_samples
        Draws per row.
    seed
        Selects the training rows that are used, and the draws.
    most
        Validation rows that a check uses of each fit; None: all.

    Returns
    -------
    DataFrame
        A row per check and modality: ``check``; ``modality``; the number of ``rows``; the two means compared,
        ``measured`` and ``reference``; ``excess``, which should not be positive, its ``standard_error``, and
        whether the failure was ``found``: NaN where fewer than 50 validation rows serve, and nothing was
        checked. No rows without an optional modality or without validation rows.
    """
    optional = fits[0].model.optional
    if not optional or not any(len(fit.y_val) for fit in fits):
        return pd.DataFrame(columns=COLUMNS)
    checks = [_Checks(fit, num_samples, seed, most) for fit in fits]
    lines = []
    if sum(len(c.every) for c in checks) >= MIN_ROWS:
        training, validation = _side_by_side([c.missing_losses() for c in checks])
        lines.append(overfit(training, validation, " and ".join(optional)))
    for m in optional:
        count = sum(len(c.rows_with(m)) for c in checks)
        if count < MIN_ROWS:
            lines += [_unchecked(check, m, count) for check in ("impact stays", "collapse")]
            continue
        measured = [c.revealed(m) for c in checks if len(c.rows_with(m))]
        stays, differ, gains = zip(*measured, strict=True)
        spread, impact = _side_by_side(stays)
        lines.append(impact_stays(impact, spread, m))
        if len(optional) > 1:
            distance, impact = _side_by_side(differ)
            lines.append(answers_differ(distance, impact, m))
        probed = [gain for gain in gains if gain is not None]
        if probed:
            gain, possible = _side_by_side(probed)
            lines.append(collapse(gain, possible, m))
    return pd.DataFrame(lines, columns=COLUMNS)


def _side_by_side(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(column) for column in zip(*pairs, strict=True)]


class _Checks:
    """What the checks compare, of one fit."""

    def __init__(self, fit: Fitted, num_samples: int, seed: int, most: int | None):
        self.fit, self.num_samples, self.seed = fit, num_samples, seed
        self.optional = fit.model.optional
        self.order = np.random.default_rng(seed).permutation(len(fit.x))
        self.most = most
        self.every = np.arange(len(fit.y_val))[:most]

    def rows_with(self, modality: str) -> np.ndarray:
        """Validation rows that have it."""
        return np.flatnonzero(self.fit.x_val.present[modality])[: self.most]

    def _summary(
        self, x: Modalities, y: np.ndarray | None = None, about: tuple[str, ...] | None = None
    ) -> Summary:
        model = self.fit.model
        labels = None if y is None else torch.as_tensor(y, device=next(model.parameters()).device)
        return summarise(model, x, labels, num_samples=self.num_samples, seed=self.seed, about=about)

    def missing_losses(self) -> tuple[np.ndarray, np.ndarray]:
        """Log losses without the optional modalities, of as many training rows and of validation rows."""
        fit, some = self.fit, self.order[: len(self.every)]
        sides = (fit.x[some], fit.y[some]), (fit.x_val[self.every], fit.y_val[self.every])
        training, validation = (-self._summary(x.drop(*self.optional), y).log_likelihood for x, y in sides)
        return training, validation

    def revealed(self, m: str) -> tuple:
        """On validation rows with a modality: spread with it and V without; distances of answers and V; and
        gains in log loss of the model and of the probe, where there is one."""
        fit, rows, order, alone = self.fit, self.rows_with(m), self.order, len(self.optional) == 1
        revealed, labels = fit.x_val[rows], fit.y_val[rows]
        hidden = revealed.drop(m)
        after, before = self._summary(revealed, labels), self._summary(hidden, labels)
        v = before if alone else self._summary(hidden, about=(m,))
        remaining = after if alone else self._summary(revealed, about=())
        distance = fit.model.outcome.distance(before.prediction, v.prediction)
        gains = None
        probed = order[fit.x.present[m][order]][:PROBE_ROWS]
        if len(probed) and (np.ptp(fit.y[probed], axis=0) > 0).all():
            losses = {}
            for without in (None, m):
                train, new = (_features(fit.model, part, without) for part in (fit.x[probed], revealed))
                losses[without] = probe_losses(fit.model.outcome, train, fit.y[probed], new, labels)
            gains = after.log_likelihood - before.log_likelihood, losses[m] - losses[None]
        return (remaining.spread, v.impact), (distance, before.impact), gains


@torch.no_grad()
def _features(model: Story, x: Modalities, without: str | None) -> np.ndarray:
    """Representations side by side ``[N, F]``, without one modality, or with all that is present."""
    parts = []
    for start in range(0, len(x), ROWS_ENCODED):
        h = model.encoder(x[start : start + ROWS_ENCODED])
        parts.append((h if without is None else h.drop(without)).fused().cpu().numpy())
    return np.concatenate(parts)


def collapse(gain: np.ndarray, possible: np.ndarray, modality: str) -> dict[str, Any]:
    """Whether a latent has collapsed, from the gain in log loss of each row ``[N]`` by the modality.

    ``measured`` is the mean gain of the model, ``reference`` that of the probe.

    >>> collapse(np.zeros(60), np.full(60, 0.7), "m")["found"]
    True
    >>> collapse(np.full(60, 0.7), np.full(60, 0.7), "m")["found"]
    False
    """
    line = _line("collapse", modality, gain, possible, MATERIAL * possible - gain)
    informative = possible.mean() > LIMIT * standard_error(possible)
    return line | {"found": bool(line["found"] and informative)}


def impact_stays(impact: np.ndarray, spread: np.ndarray, modality: str) -> dict:
    """Whether the spread ``[N]`` with the modality (``measured``) is hardly below V without (``reference``).

    >>> impact_stays(np.full(60, 0.2), np.full(60, 0.19), "m")["found"]
    True
    >>> impact_stays(np.full(60, 0.2), np.full(60, 0.01), "m")["found"]
    False
    """
    excess = spread - (1 - MATERIAL) * impact
    line = _line("impact stays", modality, spread, impact, excess)
    return line | {"found": bool(line["found"] and impact.mean() > FLAT)}


def answers_differ(distance: np.ndarray, impact: np.ndarray, modality: str) -> dict:
    """Whether predictions depend on what is asked about: distances ``[N]`` (``measured``) between those that
    ask about everything absent and about one modality alone, beside V of everything absent (``reference``).

    >>> answers_differ(np.full(60, 0.1), np.full(60, 0.2), "m")["found"]
    True
    >>> answers_differ(np.full(60, 0.01), np.full(60, 0.2), "m")["found"]
    False
    """
    return _line("answers differ", modality, distance, impact, distance - MATERIAL * impact)


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
    values = check, modality, len(reference), measured.mean(), reference.mean(), excess, error, found
    return dict(zip(COLUMNS, values, strict=True))


def _unchecked(check: str, modality: str, rows: int) -> dict:
    nothing = dict.fromkeys(COLUMNS, float("nan"))
    return nothing | {"check": check, "modality": modality, "rows": rows}


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


def warn_of_failures(frame: pd.DataFrame) -> None:
    """One warning for each check that has found something, and one where something could not be checked.

    Warns
    -----
    CollapseWarning
        For ``collapse``, ``impact stays`` and ``answers differ``.
    OverfitWarning
        For ``overfit``.
    FewRowsWarning
        Where fewer than 50 validation rows have a modality.
    """
    for check, lines in frame[frame["found"] == True].groupby("check", sort=False):  # noqa: E712
        category, what, cure = MESSAGES[check]
        findings = "; ".join(what.format(**line) for line in lines.to_dict("records"))
        warn(f"{findings}. {cure}", category)
    unchecked = frame[frame["found"].isna()].drop_duplicates("modality")
    if len(unchecked):
        counts = ", ".join(f"{line.modality} in {line.rows:.0f}" for line in unchecked.itertuples())
        warn(
            f"Too few validation rows have a modality to check its latent ({counts}); expected at least "
            f"{MIN_ROWS}. Raise validation_fraction, add rows, or compare V with the realised change "
            "on new rows (impact_gap).",
            FewRowsWarning,
        )


MESSAGES = {
    "collapse": (
        CollapseWarning,
        "The latent of {modality!r} has collapsed: on validation rows {modality!r} lowers the log "
        "loss by {measured:.3f} nats, and that of a linear model on the encoders' output by "
        "{reference:.3f}",
        "Predictions with it are hardly better than without, and V says nothing about it. Use "
        "objective='calibrated'; if that is in use, train longer, raise learning_rate, or lower tie and "
        "anchor.",
    ),
    "impact stays": (
        CollapseWarning,
        "V hardly falls once {modality!r} is revealed: on validation rows it is {reference:.3f} without it, "
        "and a spread of {measured:.3f} remains with it",
        "V then measures noise of the label rather than what the modality tells. Use "
        "objective='calibrated'; if that is in use, train longer, raise forecast or spread_penalty, or lower "
        "latent_dim. Use the gap of impact_gap in place of V.",
    ),
    "answers differ": (
        CollapseWarning,
        "Predictions depend on what is asked about: those that ask about {modality!r} alone are at a "
        "distance of {measured:.3f} from those that ask about everything absent, whose V is {reference:.3f}",
        "V of single modalities is then not reliable. Train longer, or add rows.",
    ),
    "overfit": (
        OverfitWarning,
        "With {modality} hidden the log loss is {measured:.3f} on training rows and {reference:.3f} on "
        "validation rows",
        "The other modalities have been memorised, and on new rows V is too small. Raise dropout or "
        "weight_decay, lower max_epochs or patience, or add rows; calibrate_impact corrects the scale "
        "of V.",
    ),
}
