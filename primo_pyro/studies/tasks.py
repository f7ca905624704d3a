"""The data sets as tasks for `primo_pyro.studies.comparison`: rows by seed, roles of modalities, exact answers."""

from __future__ import annotations

import numpy as np

from primo_pyro.data import (
    load_avmnist,
    load_digits_halves,
    load_mimic3,
    load_physionet2012,
    make_xor,
    xor_impact,
)
from primo_pyro.errors import PrimoError
from primo_pyro.studies.comparison import Task


def xor(rows: int = 40_000) -> Task:
    """XOR of two signs: ``m`` may be missing; 70 % of the rows for training, the rest for testing.

    >>> (x, y), validation, (x_test, y_test) = xor(1000).rows(0)
    >>> len(x), validation, len(x_test)
    (700, None, 300)
    """

    def split(seed):
        x, y = make_xor(rows, random_state=seed)
        cut = int(0.7 * rows)
        return (x[:cut], y[:cut]), None, (x[cut:], y[cut:])

    return Task("XOR", "o", ("m",), split, impact=lambda x: xor_impact(x.values["o"][:, 0]))


def digit_halves(rows: int = 1797) -> Task:
    """Handwritten digits: the bottom half may be missing; 70 % for training, shuffled by the seed.

    >>> (x, y), _, (x_test, y_test) = digit_halves().rows(0)
    >>> len(x), len(x_test)
    (1257, 540)
    """
    x, y = load_digits_halves()

    def split(seed):
        order = np.random.default_rng(seed).permutation(len(x))[:rows]
        train, test = np.split(order, [int(0.7 * len(order))])
        return (x[train], y[train]), None, (x[test], y[test])

    return Task("digit halves", "top", ("bottom",), split)


def av_mnist(optional: str = "audio", rows: int | None = None, path=None) -> Task:
    """AV-MNIST: an image and a noisy recording of the same digit, one of which may be missing.

    Parameters
    ----------
    optional
        ``"audio"`` or ``"image"``; the other one is always there.
    rows
        Training rows, drawn by the seed; None is all 55,000. The validation part shrinks with them, and the
        test part has as many at most, so that a small run is small in all.
    path
        As for `primo_pyro.data.load_avmnist`.

    Raises
    ------
    PrimoError
        For another modality.
    DataFileError
        Where there are neither the files nor the parts to build them from.

    Examples
    --------
    >>> av_mnist(optional="smell")
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: optional is 'smell'; 'audio' or 'image' was wanted.
    """
    if optional not in ("audio", "image"):
        raise PrimoError(f"optional is {optional!r}; 'audio' or 'image' was wanted.")
    observed = {"audio": "image", "image": "audio"}[optional]
    return _of_splits(
        f"AV-MNIST, {optional} optional", observed, (optional,), lambda seed: load_avmnist(path), rows
    )


def physionet2012(
    task: str = "in_hospital_death", view: str = "two", rows: int | None = None, path=None
) -> Task:
    """PhysioNet 2012: what is known of a stay when it begins, and its first day, which may be missing.

    64 % of the stays for training, 16 % for validation, 20 % for testing, shuffled by the seed.

    Parameters
    ----------
    task
        ``"in_hospital_death"`` or ``"mortality6"``.
    view
        ``"two"``: the hourly series may be missing. ``"three"``: vital signs and laboratory values may be
        missing, each for itself, on top of the stays that really have none.
    rows, path
        As for `av_mnist` (None is all 7,680), and for `primo_pyro.data.load_physionet2012`.

    Raises
    ------
    PrimoError
        For an unknown task or view.
    DataFileError
        Where the files are nowhere, or damaged.

    Examples
    --------
    >>> physionet2012(view="sideways")
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: view is 'sideways'; 'two' or 'three' was wanted.
    """
    name = "PhysioNet 2012, " + task.replace("_", " ") + (", three modalities" if view == "three" else "")
    optional = ("vitals", "labs") if view == "three" else ("series",)

    def load(seed):
        return load_physionet2012(path, task=task, view=view, seed=seed)

    return _of_splits(name, "static", optional, load, rows)


def mimic3(task: str = "mortality", demo: bool = False, rows: int | None = None, path=None) -> Task:
    """MIMIC-III: what is known at admission, and the first day's hourly series, which may be missing.

    The usual 80/10/10 for every seed: seeds decide which rows lose their series, and about the networks.

    Parameters
    ----------
    task
        ``"mortality"``, ``"icd9_140_239"`` or ``"icd9_460_519"``.
    demo
        Read the open demo instead: 118 admissions, which show that the reader works, and are no result.
    rows, path
        As for `av_mnist`, and for `primo_pyro.data.load_mimic3`.

    Raises
    ------
    PrimoError
        For an unknown task.
    DataFileError
        Where the file is nowhere, or damaged.

    Examples
    --------
    >>> mimic3(task="tomorrow")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: task is 'tomorrow'; one of ('mortality', ...) was wanted.
    """
    name = "MIMIC-III demo" if demo else "MIMIC-III"
    name = f"{name}, {task.replace('_', ' ')}"
    return _of_splits(name, "static", ("series",), lambda seed: load_mimic3(path, task=task, demo=demo), rows)


def _of_splits(name: str, observed: str, optional: tuple[str, ...], load, rows: int | None) -> Task:
    """A task on data that come in three parts; ``load`` is from a seed to `Splits`."""
    if rows is not None and rows < 1:
        raise PrimoError(f"rows is {rows}; at least 1 training row was wanted.")
    load(0)  # whatever is wrong is said now; and a build is made once, not by each of many processes

    def split(seed):
        # Read by each process for itself: files are mapped, and need not be sent from one to another.
        splits = load(seed)
        parts = splits.train, splits.validation, splits.test
        if rows is None or rows >= len(splits.train.y):
            return parts
        share = rows / len(splits.train.y)
        wanted = rows, max(1, round(share * len(splits.validation.y))), min(rows, len(splits.test.y))
        random = np.random.default_rng(seed)
        some = [np.sort(random.permutation(len(y))[:n]) for (_, y), n in zip(parts, wanted, strict=True)]
        # Few training rows may lack a rare class, and nothing can be asked about that.
        known = np.unique(splits.train.y[some[0]])
        kept = [at[np.isin(y[at], known)] for (_, y), at in zip(parts, some, strict=True)]
        return tuple((x[at], y[at]) for (x, y), at in zip(parts, kept, strict=True))

    return Task(name, observed, optional, split)
