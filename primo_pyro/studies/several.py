"""Several modalities that may be absent: are predictions good, and is impact right, for every pattern?

A study of PRIMO on test rows, seed by seed, in five tables:

``patterns``
    Log loss and Brier score of every pattern of optional modalities, beside a network that was trained for
    this pattern alone.
``impact``
    Expected and realised change of each modality, and of all together: revealed where nothing optional was
    present, and in random patterns; before calibration and after.
``exact``
    V beside the exact impact, where it is known, for each pattern and each set of absent modalities.
``agreement``
    What should be small: the spread of draws that remains in complete rows, and how far the averaged
    prediction depends on what was asked about.
``seconds``
    Times of the fit, of the impact of all that is absent, and of each modality's.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping

import joblib
import numpy as np
import pandas as pd
import torch

from primo_pyro.errors import PrimoWarning
from primo_pyro.progress import progress_bar
from primo_pyro.studies.comparison import mean_table
from primo_pyro.studies.measures import (
    Answers,
    Line,
    agreement_lines,
    exact_lines,
    impact_lines,
    network_lines,
    pattern_lines,
    patterns_of,
)
from primo_pyro.studies.methods import METHODS, settings_of
from primo_pyro.studies.tasks import Rows, Task

__all__ = ["several_modalities", "several_tables"]

HELD_OUT = 0.2  # of the training rows, where a task brings no validation part
COPIES = 2  # of each validation row, in random patterns, for the calibration of impact


def several_modalities(
    task: Task,
    seeds: Iterable[int],
    settings: Mapping[str, object],
    primo_settings: Mapping[str, object] | None = None,
    own_settings: Mapping[str, Mapping[str, object]] | None = None,
    *,
    method: str = "primo",
    networks: bool = True,
    n_jobs: int = 1,
    progress: bool = False,
    keep: Callable[[pd.DataFrame], object] | None = None,
) -> pd.DataFrame:
    """Fit PRIMO for each seed, and measure all five tables.

    Impact is calibrated on validation rows, of each of which two copies are brought into random patterns. A
    task without a validation part holds out a fifth of its training rows for that and for the choice of the
    epoch.

    Parameters
    ----------
    task
        With two or more optional modalities.
    seeds, settings, primo_settings, own_settings, n_jobs, progress
        As for `primo_pyro.studies.comparison.compare`.
    method
        ``"primo"`` or ``"primo (paper)"``.
    networks
        Whether to train a network for each pattern; that takes longer than all the rest.
    keep
        Called after each fit with the results so far.

    Returns
    -------
    DataFrame
        Tidy: ``dataset, seed, table, pattern, modality, metric, value``.

    Examples
    --------
    >>> from primo_pyro.studies.generated import three_signs
    >>> settings = {"hidden_dim": 8, "max_epochs": 1}
    >>> results = several_modalities(three_signs(300), [0], settings, {"num_samples": 16}, networks=False)
    >>> results["table"].unique().tolist()
    ['patterns', 'impact', 'exact', 'agreement', 'seconds']
    """
    of_primo = settings_of(method, settings, primo_settings or {}, own_settings or {})
    of_network = settings_of("multimodal", settings, {}, own_settings or {})
    jobs = []
    for seed in seeds:
        jobs.append((seed, joblib.delayed(_primo_study)(task, method, seed, of_primo)))
        if networks:
            jobs.append((seed, joblib.delayed(_network_study)(task, seed, of_network)))
    running = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(job for _, job in jobs)
    parts: list[pd.DataFrame] = []
    for (seed, _), lines in zip(jobs, progress_bar(running, total=len(jobs), shown=progress), strict=True):
        part = pd.DataFrame(lines, columns=["table", "pattern", "modality", "metric", "value"])
        part.insert(0, "dataset", task.name)
        part.insert(1, "seed", seed)
        parts.append(part)
        if keep is not None:
            keep(pd.concat(parts, ignore_index=True))
    return pd.concat(parts, ignore_index=True)


def _parts(task: Task, seed: int) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows, of which nothing is dropped yet."""
    train, validation, (x_test, y_test) = task.rows(seed)
    if validation is None:
        x, y = train
        cut = len(y) - int(HELD_OUT * len(y))
        train, validation = (x[:cut], y[:cut]), (x[cut:], y[cut:])
    return train, validation, (x_test, np.asarray(y_test))


def _dropped(part: Rows, task: Task, seed: int) -> Rows:
    return part[0].drop_at_random(*task.optional, rate=task.rate, random_state=seed), np.asarray(part[1])


def _primo_study(task: Task, method: str, seed: int, settings: Mapping[str, object]) -> list[Line]:
    torch.set_num_threads(1)
    train, validation, (x, y) = _parts(task, seed)
    with warnings.catch_warnings():
        # Of poor fits and rare patterns: the tables show how good they are.
        warnings.simplefilter("ignore", PrimoWarning)
        start = time.perf_counter()
        classifier = METHODS[method](task, random_state=seed, **settings)
        classifier.fit(*_dropped(train, task, seed), validation=_dropped(validation, task, seed))
        seconds = {"fit": time.perf_counter() - start}
        copies = validation[0][np.tile(np.arange(len(validation[0])), COPIES)]
        classifier.calibrate_impact(copies.drop_at_random(*task.optional, random_state=seed))
        answers = Answers(classifier, x, task.optional)
        seconds |= answers.timed_impacts() | {"rows": len(x)}
        seconds["ratio"] = seconds["each"] / seconds["together"]
        return [
            *pattern_lines(answers, y, patterns_of(x, task.optional)),
            *impact_lines(answers, seed),
            *exact_lines(answers, task.impact_of),
            *agreement_lines(answers, y, seed),
            *(("seconds", "", "", metric, value) for metric, value in seconds.items()),
        ]


def _network_study(task: Task, seed: int, settings: Mapping[str, object]) -> list[Line]:
    torch.set_num_threads(1)
    train, validation, test = _parts(task, seed)
    train, validation = (_dropped(part, task, seed) for part in (train, validation))
    patterns = patterns_of(test[0], task.optional)
    return network_lines(train, validation, test, task.optional, patterns, random_state=seed, **settings)


# Of each table a title, what its lines are about, and metrics with the heads of their columns.
TABLES = {
    "patterns": (
        "Every pattern of optional modalities, all others hidden: PRIMO, and a network for that pattern",
        ["pattern"],
        {
            "log_loss": "log loss",
            "network_log_loss": "of the network",
            "excess": "PRIMO less network",
            "brier": "Brier",
            "network_brier": "Brier of the network",
        },
    ),
    "impact": (
        "Expected change V beside the realised change, revealed from rows without any optional modality "
        "(none)\nand from random patterns; before calibration, and after it on validation rows (calibrated)",
        ["pattern", "modality"],
        {
            "mean_impact": "V",
            "realised_change": "change",
            "slope": "change / V",
            "rank_correlation": "rank corr.",
            "expected_change": "calibrated",
            "expected_slope": "change / calibrated",
            "expected_rank_correlation": "rank corr. calibrated",
        },
    ),
    "exact": (
        "V beside the exact impact V* of a modality or a set, given the present ones (pattern)",
        ["pattern", "modality"],
        {"mean_impact": "V", "exact_impact": "V*", "impact_error": "|V - V*|"},
    ),
    "agreement": (
        "What should be small: the spread of draws in complete rows; distances between averaged predictions\n"
        "with all that is absent asked about, with one modality, and with none. And their log losses",
        ["pattern", "modality"],
        {
            "spread": "V_complete",
            "mean_impact": "V_missing",
            "spread_ratio": "ratio",
            "all_to_one": "all to one",
            "one_to_none": "one to none",
            "all_to_none": "all to none",
            "log_loss_all": "log loss, all",
            "log_loss_one": "one",
            "log_loss_none": "none",
        },
    ),
    "seconds": (
        "Seconds: the fit, and V of test rows for all that is absent together and for each modality",
        ["dataset"],
        {
            "fit": "fit",
            "together": "V together",
            "each": "V of each",
            "ratio": "each / together",
        },
    ),
}


def several_tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Means and standard deviations over seeds as texts, for each table that was measured, by its title.

    Parameters
    ----------
    results
        As from `several_modalities`, for one task.

    Returns
    -------
    dict
        Title to DataFrame. Beside what was measured: PRIMO's log loss less the network's.

    Examples
    --------
    >>> line = {"dataset": "d", "seed": 0, "table": "patterns", "pattern": "none", "modality": ""}
    >>> losses = {"log_loss": 0.5, "network_log_loss": 0.4}
    >>> lines = pd.DataFrame([line | {"metric": m, "value": v} for m, v in losses.items()])
    >>> (frame,) = several_tables(lines).values()
    >>> frame
            log loss of the network PRIMO less network
    pattern
    none       0.500          0.400              0.100
    """
    frames = {}
    for name, (title, index, metrics) in TABLES.items():
        lines = results[results["table"] == name]
        if name == "patterns":
            lines = pd.concat([lines, _excess(lines)])
        if len(lines):
            measured = {metric: head for metric, head in metrics.items() if metric in set(lines["metric"])}
            frames[title] = mean_table(lines, measured, index)
            if "rows" in set(lines["metric"]):
                rows = lines[lines["metric"] == "rows"].groupby(index, sort=False)["value"].mean()
                frames[title].insert(0, "rows", rows.round().astype(int))
    return frames


def _excess(lines: pd.DataFrame) -> pd.DataFrame:
    """PRIMO's log loss less that of the network, of the patterns that have both."""
    primo, network = (
        lines[lines["metric"] == metric].set_index(["pattern", "seed"])["value"]
        for metric in ("log_loss", "network_log_loss")
    )
    return (primo - network).dropna().rename("value").reset_index().assign(metric="excess")
