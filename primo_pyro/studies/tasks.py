"""Tasks, and those on data that are read: rows by seed, roles of modalities. Others are in `generated`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike

import numpy as np

from primo_pyro.data import (
    load_avmnist,
    load_breast_cancer_blocks,
    load_digits_halves,
    load_mimic3,
    load_physionet2012,
    load_support2,
)
from primo_pyro.data.splits import Part, Splits
from primo_pyro.data.support2 import MODALITIES as SUPPORT2_MODALITIES
from primo_pyro.errors import PrimoError
from primo_pyro.modalities import Modalities

__all__ = [
    "TRAINING_SHARE",
    "Rows",
    "Task",
    "av_mnist",
    "breast_cancer",
    "digit_halves",
    "mimic3",
    "physionet2012",
    "support2",
]

Rows = tuple[Modalities, np.ndarray]  # N rows and their labels [N]
TRAINING_SHARE = 0.7  # of the rows of data sets that have no parts of their own


@dataclass(frozen=True)
class Task:
    """Rows on which methods are compared.

    Attributes
    ----------
    name
        Value of the column ``dataset`` in results.
    observed
        A modality that is present in every row, which a unimodal network looks at; None where there is none.
        All that are not optional are observed.
    optional
        The modalities that may be absent.
    rows
        From a seed to training, validation and test rows, each ``(x, y)``. Validation may be None; every
        method then holds out the same part of the training rows.
    rate
        Share of the training and validation rows in which each optional modality is dropped at random.
    impact
        From test rows to their exact impact V* ``[N]`` of all optional modalities together, all of them
        hidden, where it is known.
    impact_of
        From rows with any pattern of absence, and a set of optional modalities, to the exact impact V*
        ``[N]`` of that set, where it is known.
    """

    name: str
    observed: str | None
    optional: tuple[str, ...]
    rows: Callable[[int], tuple[Rows, Rows | None, Rows]]
    rate: float = 0.5
    impact: Callable[[Modalities], np.ndarray] | None = None
    impact_of: Callable[[Modalities, Iterable[str]], np.ndarray] | None = None


def digit_halves(rows: int = 1797) -> Task:
    """Handwritten digits: the bottom half is optional; 70 % for training, the others for testing.

    Parameters
    ----------
    rows
        In all, drawn and shuffled by the seed; at most 1797.

    Returns
    -------
    Task

    Examples
    --------
    >>> (x, y), _, (x_test, y_test) = digit_halves().rows(0)
    >>> len(x), len(x_test)
    (1257, 540)
    """
    x, y = load_digits_halves()

    def split(seed: int) -> tuple[Rows, None, Rows]:
        train, test = _shuffled(len(x), rows, seed)
        return (x[train], y[train]), None, (x[test], y[test])

    return Task("digit halves", "top", ("bottom",), split)


def breast_cancer(rows: int = 569) -> Task:
    """Cell nuclei of breast tumours in three blocks, all optional; 70 % for training, the others for testing.

    Parameters
    ----------
    rows
        In all, drawn and shuffled by the seed; at most 569.

    Returns
    -------
    Task
        No modality is observed, so that every pattern of absence occurs, that of nothing present among them.

    Examples
    --------
    >>> task = breast_cancer()
    >>> (x, y), _, (x_test, y_test) = task.rows(0)
    >>> task.observed, task.optional, len(x), len(x_test)
    (None, ('mean', 'error', 'worst'), 398, 171)
    """
    names = load_breast_cancer_blocks()[0].names

    def split(seed: int) -> tuple[Rows, None, Rows]:
        train, test = _shuffled(len(load_breast_cancer_blocks()[1]), rows, seed)
        x, y = load_breast_cancer_blocks(standardise_by=train)
        return (x[train], y[train]), None, (x[test], y[test])

    return Task("breast cancer", None, names, split)


def _shuffled(count: int, rows: int, seed: int) -> list[np.ndarray]:
    """Positions of training and test rows among ``count``, of which at most ``rows`` are taken."""
    order = np.random.default_rng(seed).permutation(count)[:rows]
    return np.split(order, [int(TRAINING_SHARE * len(order))])


def av_mnist(optional: str = "audio", rows: int | None = None, path: str | PathLike | None = None) -> Task:
    """AV-MNIST: an image and a noisy recording of the same digit, one of which is optional.

    Parameters
    ----------
    optional
        ``"audio"`` or ``"image"``; the other one is observed.
    rows
        Training rows, drawn by the seed; None is all 55,000. The validation part has the same share of its
        rows, and the test part at most as many as the training part, so that a small run is small in all.
    path
        As for `primo_pyro.data.load_avmnist`.

    Returns
    -------
    Task

    Raises
    ------
    PrimoError
        For another modality, or less than one row.
    DataFileError
        Where neither the files nor the parts from which they are built are found.

    Examples
    --------
    >>> av_mnist(optional="smell")
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: optional is 'smell'; expected 'audio' or 'image'. Choose one of them.
    """
    if optional not in ("audio", "image"):
        raise PrimoError(f"optional is {optional!r}; expected 'audio' or 'image'. Choose one of them.")
    observed = {"audio": "image", "image": "audio"}[optional]
    return _of_splits(
        f"AV-MNIST, {optional} optional", observed, (optional,), lambda seed: load_avmnist(path), rows
    )


OPTIONAL_BY_VIEW = {
    "two": ("series",),
    "three": ("vitals", "labs"),
    "five": ("vitals", "blood_gas", "chemistry", "haematology"),
}


def physionet2012(
    task: str = "in_hospital_death",
    view: str = "two",
    rows: int | None = None,
    path: str | PathLike | None = None,
) -> Task:
    """PhysioNet 2012: what is known of a stay when it begins, and its first day, which is optional.

    64 % of the stays for training, 16 % for validation, 20 % for testing, shuffled by the seed.

    Parameters
    ----------
    task
        ``"in_hospital_death"`` or ``"mortality6"``.
    view
        ``"two"``: the hourly series is optional. ``"three"``: vital signs and laboratory values are optional
        one by one. ``"five"``: vital signs, blood gas, chemistry and haematology are. In some stays they are
        absent in the data.
    rows, path
        As for `av_mnist` (None is all 7,680), and for `primo_pyro.data.load_physionet2012`.

    Returns
    -------
    Task

    Raises
    ------
    PrimoError
        For an unknown task or view, or less than one row.
    DataFileError
        Where the files are not found, or damaged.

    Examples
    --------
    >>> physionet2012(view="sideways")
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: view is 'sideways'; expected 'two', 'three' or 'five'. Choose one of them.
    """
    if view not in OPTIONAL_BY_VIEW:
        raise PrimoError(f"view is {view!r}; expected 'two', 'three' or 'five'. Choose one of them.")
    optional = OPTIONAL_BY_VIEW[view]
    name = "PhysioNet 2012, " + task.replace("_", " ") + ("" if view == "two" else f", {view} modalities")

    def load(seed: int) -> Splits:
        return load_physionet2012(path, task=task, view=view, seed=seed)

    return _of_splits(name, "static", optional, load, rows)


def mimic3(
    task: str = "mortality", demo: bool = False, rows: int | None = None, path: str | PathLike | None = None
) -> Task:
    """MIMIC-III: what is known at admission, and the first day's hourly series, which is optional.

    The usual 80/10/10 split for every seed: seeds decide in which rows the series is dropped, and about the
    networks.

    Parameters
    ----------
    task
        ``"mortality"``, ``"icd9_140_239"`` or ``"icd9_460_519"``.
    demo
        Read the open demo instead: 118 admissions, which show that the reader works. Its scores are not a
        result.
    rows, path
        As for `av_mnist`, and for `primo_pyro.data.load_mimic3`.

    Returns
    -------
    Task

    Raises
    ------
    PrimoError
        For an unknown task, or less than one row.
    DataFileError
        Where the file is not found, or damaged.

    Examples
    --------
    >>> mimic3(task="tomorrow")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: task is 'tomorrow'; ...
    """
    name = "MIMIC-III demo" if demo else "MIMIC-III"
    name = f"{name}, {task.replace('_', ' ')}"
    return _of_splits(name, "static", ("series",), lambda seed: load_mimic3(path, task=task, demo=demo), rows)


SUPPORT2_OBSERVED = ("history", "physiology")  # all others are absent in some patients


def support2(
    task: str = "hospital_death", rows: int | None = None, path: str | PathLike | None = None
) -> Task:
    """SUPPORT2: history and physiology of seriously ill patients, and seven modalities that are optional.

    64 % of the patients for training, 16 % for validation, 20 % for testing, shuffled by the seed.

    Parameters
    ----------
    task
        ``"hospital_death"`` or ``"six_month_death"``.
    rows, path
        As for `av_mnist` (None is all 5,827), and for `primo_pyro.data.load_support2`.

    Returns
    -------
    Task
        Each optional modality is really absent in 15 to 62 % of the patients.

    Raises
    ------
    PrimoError
        For an unknown task, or less than one row.
    DataFileError
        Where the file is not found, or is not the known one.

    Examples
    --------
    >>> support2(task="tomorrow")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: task is 'tomorrow'; ...
    """
    return _of_splits(
        f"SUPPORT2, {task.replace('_', ' ')}",
        "history",
        tuple(name for name in SUPPORT2_MODALITIES if name not in SUPPORT2_OBSERVED),
        lambda seed: load_support2(path, task=task, seed=seed),
        rows,
    )


def _of_splits(
    name: str, observed: str, optional: tuple[str, ...], load: Callable[[int], Splits], rows: int | None
) -> Task:
    """A task on data that come in three parts; ``load`` is from a seed to them."""
    if rows is not None and rows < 1:
        raise PrimoError(f"rows is {rows}; expected at least 1 training row. Ask for more, or for None: all.")
    load(0)  # errors are raised now; and files are built once, not by each of many processes

    def split(seed: int) -> tuple[Rows, Rows, Rows]:
        # Each process reads for itself: files are mapped, and need not be sent from one to another.
        splits = load(seed)
        parts = splits.train, splits.validation, splits.test
        if rows is None or rows >= len(splits.train.y):
            return parts
        share = rows / len(splits.train.y)
        sizes = rows, max(1, round(share * len(splits.validation.y))), min(rows, len(splits.test.y))
        random = np.random.default_rng(seed)
        drawn = [np.sort(random.permutation(len(y))[:n]) for (_, y), n in zip(parts, sizes, strict=True)]
        # Rows of a class that no training row has are left out: a classifier cannot predict it.
        known = np.unique(splits.train.y[drawn[0]])

        def of_known_classes(part: Part, at: np.ndarray) -> Rows:
            at = at[np.isin(part.y[at], known)]
            return part.x[at], part.y[at]

        train, validation, test = map(of_known_classes, parts, drawn)
        return train, validation, test

    return Task(name, observed, optional, split)
