"""PRIMO beside what people fit to tables: one record a fit, kept as it goes, and what it adds up to."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator

from primo_pyro.analysis.scores import scores
from primo_pyro.data import Table
from primo_pyro.errors import PrimoError, PrimoWarning
from primo_pyro.progress import progress_bar
from primo_pyro.studies.tables import METHODS, PRIMO, TEST_SHARE, divided

__all__ = [
    "COLUMNS",
    "LEAST_TEST_ROWS",
    "METRICS",
    "Record",
    "change_lines",
    "differences",
    "resampled_error",
    "score_table",
    "table_suite",
]

METRICS = {"log_loss": "log loss", "brier": "Brier", "auroc": "AUROC"}
CHANGES = {"change_over_v": "change / V", "change_over_expected": "change / expected change"}
LEAST_TEST_ROWS = 300  # a table with fewer says little about realised change
COLUMNS = ["table", "fold", "method", "modality", "metric", "value"]
SECONDS = "seconds"  # the last line of each fit: without it a record was cut
Job = tuple[str, int, str]  # table, fold, method
Lines = list[tuple[str, str, float]]  # modality, metric, value


class Record:
    """A CSV file to which each finished fit is added at once, so that a cut loses at most the running fits.

    Parameters
    ----------
    path
        Of the file; what it holds of fits that were cut is removed.

    Raises
    ------
    PrimoError
        Where the file has other columns.

    Examples
    --------
    >>> import tempfile
    >>> record = Record(Path(tempfile.mkdtemp()) / "results.csv")
    >>> record.add(("toy", 0, "forest"), [("", "log_loss", 0.4), ("", "seconds", 1.0)])
    >>> record.jobs()
    {('toy', 0, 'forest')}
    >>> Record(record.path).frame()["value"].tolist()
    [0.4, 1.0]
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            pd.DataFrame(columns=COLUMNS).to_csv(path, index=False)
            return
        found = self.frame()
        if list(found.columns) != COLUMNS:
            raise PrimoError(
                f"{path} has the columns {list(found.columns)}; expected {COLUMNS}. Name another file, or "
                "remove this one."
            )
        whole = found.set_index(COLUMNS[:3]).index.isin(list(self.jobs()))
        if not whole.all():
            found[whole].to_csv(path, index=False)

    def frame(self) -> pd.DataFrame:
        """``table, fold, method, modality, metric, value``; ``modality`` is empty where it means nothing."""
        return pd.read_csv(self.path, keep_default_na=False, na_values={"value": ["", "nan"]})

    def jobs(self) -> set[Job]:
        """Table, fold and method of each fit that is on record."""
        frame = self.frame()
        done = frame[frame["metric"] == SECONDS]
        return set(zip(done["table"], done["fold"], done["method"], strict=True))

    def add(self, job: Job, lines: Lines) -> None:
        """Add the lines of a fit, the seconds last."""
        frame = pd.DataFrame([(*job, *line) for line in lines], columns=COLUMNS)
        with self.path.open("a", newline="") as file:
            file.write(frame.to_csv(index=False, header=False))


@dataclass(frozen=True)
class _Fit:
    """One fit, with all that another process needs to make it."""

    table: Table
    fold: int
    method: str
    settings: Mapping[str, object]
    changes: bool

    def _estimator(self) -> BaseEstimator:
        settings = self.settings if self.method in PRIMO else {}
        return METHODS[self.method](self.table, self.fold, **settings)

    def __call__(self) -> Lines:
        torch.set_num_threads(1)
        table, (train, test) = self.table, divided(self.table.y, self.fold)
        frame, y = table.frame.iloc[train], table.y[train]
        with warnings.catch_warnings():
            # Warnings about poor fits: the results say how good they are.
            warnings.simplefilter("ignore", PrimoWarning)
            start = time.perf_counter()
            estimator = self._estimator().fit(frame, y)
            seconds = time.perf_counter() - start
            p = estimator.predict_proba(table.frame.iloc[test])
            measured = scores(table.y[test], p, classes=estimator.classes_)
            lines = [("", metric, measured[metric]) for metric in METRICS]
            if self.changes and self.method in PRIMO and len(test) >= LEAST_TEST_ROWS:
                if not getattr(estimator, "impact_calibrators_", None):
                    estimator = self._calibrated(train)
                lines += change_lines(estimator, table, test)
        return [*lines, ("", SECONDS, seconds)]

    def _calibrated(self, train: np.ndarray) -> BaseEstimator:
        """A fit to four fifths of the training rows, calibrated on the others."""
        fitted, rest = divided(self.table.y[train], self.fold)
        frame = self.table.frame.iloc[train]
        estimator = self._estimator()
        estimator.fit(frame.iloc[fitted], self.table.y[train][fitted])
        estimator.calibrate_impact(frame.iloc[rest])
        return estimator


def change_lines(estimator: Any, table: Table, rows: np.ndarray) -> Lines:
    """What revealing each modality really changes in rows that have it, over what was expected.

    Parameters
    ----------
    estimator
        Fitted to other rows of the table, its impact calibrated; ``predictive_impact`` and ``impact_gap`` are
        asked with frames.
    table
        Whose optional modalities are hidden one at a time; whatever else a row lacks stays absent.
    rows
        Positions ``[n]`` of rows that were neither fitted nor calibrated on.

    Returns
    -------
    list of tuples
        Modality, metric, value; ``mean_impact`` (V), ``expected_change`` and ``realised_change``, means over
        the rows that have the modality. Without a name of a modality ``change_over_v`` and
        ``change_over_expected``: sums over all modalities and rows, one over the other.
    """
    lines: Lines = []
    sums = dict.fromkeys(("mean_impact", "expected_change", "realised_change"), 0.0)
    present = table.present.iloc[rows]
    for modality in table.optional:
        having = table.frame.iloc[rows[present[modality].to_numpy()]]
        if len(having) == 0:
            continue
        asked = estimator.predictive_impact(table.hide(having, [modality]), modality)
        changed = estimator.impact_gap(having, modality)["realised_change"]
        values = {
            "mean_impact": asked["impact"].mean(),
            "expected_change": asked["expected_change"].mean(),
            "realised_change": changed.mean(),
        }
        lines += [(modality, metric, float(value)) for metric, value in values.items()]
        sums = {metric: total + len(having) * values[metric] for metric, total in sums.items()}
    for metric, over in zip(CHANGES, ("mean_impact", "expected_change"), strict=True):
        ratio = sums["realised_change"] / sums[over] if sums[over] > 0 else np.nan
        lines.append(("", metric, float(ratio)))
    return lines


def table_suite(
    tables: Mapping[str, Table],
    methods: Iterable[str],
    folds: Iterable[int],
    record: Record,
    *,
    settings: Mapping[str, object] | None = None,
    changes: bool = True,
    n_jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Fit every method on every fold of every table, but for what is on record.

    Parameters
    ----------
    tables
        By name, as from `primo_pyro.studies.tables.load_tables`.
    methods
        Names in `primo_pyro.studies.tables.METHODS`.
    folds
        Numbers of divisions, see `primo_pyro.studies.tables.divided`; each is also the seed of the fits.
    record
        Where results go as soon as they are known. What it holds is not made again, whatever the settings.
    settings
        Of PRIMO, over its defaults.
    changes
        Also measure the realised over the expected change of PRIMO, on tables with at least 300 test rows.
        An estimator that is not calibrated by its own ``fit`` is fitted a second time for that, to four
        fifths of the training rows, and calibrated on the others.
    n_jobs
        Fits at a time, one thread each.
    progress
        Show a bar.

    Returns
    -------
    DataFrame
        The whole record: ``table, fold, method, modality, metric, value``. Metrics: ``log_loss, brier,
        auroc`` of the test rows as they are, ``seconds`` of the fit, and those of `change_lines`.
    """
    done = record.jobs()
    jobs = [(t, fold, m) for t in tables for fold in folds for m in methods if (t, fold, m) not in done]
    fits = [_Fit(tables[name], fold, method, settings or {}, changes) for name, fold, method in jobs]
    finished = progress_bar(_in_turn(fits, n_jobs), total=len(jobs), desc="fits", shown=progress)
    for number, lines in finished:
        record.add(jobs[number], lines)
    return record.frame()


def _in_turn(fits: list[_Fit], n_jobs: int) -> Iterator[tuple[int, Lines]]:
    """The number of each fit and its lines, as soon as they are known."""
    run = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    return run(delayed(_numbered)(number, fit) for number, fit in enumerate(fits))


def _numbered(number: int, fit: _Fit) -> tuple[int, Lines]:
    return number, fit()


def resampled_error(values: np.ndarray, test_share: float = TEST_SHARE) -> float:
    """Standard error of a mean over repeated divisions of the same rows.

    Training rows of two divisions overlap, so that the usual standard error is too small. Nadeau and Bengio
    (Machine Learning 52, 2003) correct the variance of the mean of J divisions to
    (1/J + test rows / training rows) times that of one.

    >>> values = np.array([0.1, 0.2, 0.3, 0.2])
    >>> round(resampled_error(values), 4), round(float(values.std(ddof=1) / 2), 4)
    (0.0577, 0.0408)
    """
    if len(values) < 2:
        return float("nan")
    return float(np.sqrt((1 / len(values) + test_share / (1 - test_share)) * np.var(values, ddof=1)))


def differences(results: pd.DataFrame, metric: str, method: str = "primo") -> pd.DataFrame:
    """A method less each rival on the same folds.

    Parameters
    ----------
    results
        As from `table_suite`.
    metric
        ``"log_loss"``, ``"brier"`` or ``"auroc"``.
    method
        The one that is compared with all others.

    Returns
    -------
    DataFrame
        ``table, rival, folds, difference, error``: mean over the folds that both have, and its corrected
        standard error (`resampled_error`). A line of the rival ``"best"`` for each table names in
        ``best`` the rival with the best mean.

    Examples
    --------
    >>> rows = [("t", f, m, "", "log_loss", v + 0.1 * f) for f in (0, 1) for m, v in (("primo", 1), ("a", 2))]
    >>> differences(pd.DataFrame(rows, columns=COLUMNS), "log_loss")[["rival", "folds", "difference"]]
      rival  folds  difference
    0     a      2        -1.0
    1  best      2        -1.0
    """
    chosen = results[results["metric"] == metric]
    lines = []
    for table, of_table in chosen.groupby("table", sort=False):
        values = of_table.pivot_table(index="fold", columns="method", values="value")
        if method not in values:
            continue
        rivals = {}
        for rival in (name for name in dict.fromkeys(of_table["method"]) if name not in PRIMO):
            apart = (values[method] - values[rival]).dropna().to_numpy()
            if len(apart):
                rivals[rival] = (len(apart), apart.mean(), resampled_error(apart))
        lines += [(table, rival, *numbers, "") for rival, numbers in rivals.items()]
        if rivals:
            # Against the best rival the difference is the largest; the smallest, where more is better.
            pick = min if metric == "auroc" else max
            best = pick(rivals, key=lambda rival: rivals[rival][1])
            lines.append((table, "best", *rivals[best], best))
    columns = ["table", "rival", "folds", "difference", "error", "best"]
    return pd.DataFrame(lines, columns=columns)


def score_table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over folds of every score, a row a table and method, as texts.

    >>> rows = [("t", fold, "forest", "", "log_loss", 0.4 + 0.1 * fold) for fold in (0, 1)]
    >>> score_table(pd.DataFrame(rows, columns=COLUMNS))
                          log loss
    table method
    t     forest    0.4500 ± 0.071
    """
    heads = METRICS | CHANGES | {SECONDS: "seconds a fit"}
    whole = results[(results["modality"] == "") & results["metric"].isin(heads)]

    def cell(values: pd.Series) -> str:
        values = values.dropna()
        if values.empty:
            return ""
        spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
        return f"{values.mean():.4f}{spread}"

    frame = whole.pivot_table(
        index=["table", "method"], columns="metric", values="value", aggfunc=cell, sort=False
    )
    frame = frame.reindex(columns=[m for m in heads if m in frame]).rename(columns=heads).fillna("")
    frame.columns.name = None
    return frame
