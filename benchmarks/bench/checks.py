"""What checks cost: their share of the time of a fit and of a prediction."""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from primo_pyro import Modalities, PrimoClassifier, TableReader
from primo_pyro.blocks import read_blocks
from primo_pyro.cells import refuse_numbers_in_texts, refuse_what_is_no_cell
from primo_pyro.door import align_labels, groups_of, split_labels, warn_of_answers, warn_of_shapes
from primo_pyro.identity import aligned, order_of_columns
from primo_pyro.labels import ClassLabels
from primo_pyro.parameters import check_parameter, check_parameters
from primo_pyro.program.inputs import missing_cells, refuse_missing_cells
from primo_pyro.reading import RowReader

__all__ = ["ROWS", "checks", "timed"]

ROWS = 10_000
FUNCTIONS: dict[str, tuple[Callable[..., Any], ...]] = {
    "parameters": (check_parameter, check_parameters),
    "identity": (aligned, order_of_columns),
    "door": (align_labels, groups_of, split_labels, warn_of_answers, warn_of_shapes),
    "cells": (refuse_what_is_no_cell, refuse_numbers_in_texts),
    "rows": (read_blocks, missing_cells, refuse_missing_cells),
}
READING = "reading"  # making numbers of a table's cells, which is work and no check
METHODS: dict[str, tuple[tuple[type, str], ...]] = {
    "rows": ((RowReader, "_of_known_shapes"), (RowReader, "_warn_of_missing_cells")),
    "labels": ((ClassLabels, "learn"), (ClassLabels, "encode")),
    "columns": ((TableReader, "_require"),),
    READING: ((TableReader, "fit"), (TableReader, "transform")),
}


@contextmanager
def timed(clock: Callable[[], float] = time.process_time) -> Iterator[Counter[str]]:
    """Seconds in the functions above while this is open, by kind; each without those inside it."""
    spent: Counter[str] = Counter()
    inside = [0.0]  # seconds of the calls that each open call has made

    def watched(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **settings: Any) -> Any:
            inside.append(0.0)
            start = clock()
            try:
                return function(*args, **settings)
            finally:
                seconds = clock() - start
                spent[kind] += seconds - inside.pop()
                inside[-1] += seconds

        return call

    patches = []
    for kind, functions in FUNCTIONS.items():
        for function in functions:
            for name, module in list(sys.modules.items()):
                if name.startswith("primo_pyro") and vars(module).get(function.__name__) is function:
                    patches.append(patch.object(module, function.__name__, watched(function, kind)))
    for kind, methods in METHODS.items():
        for owner, name in methods:
            given = vars(owner)[name]
            if isinstance(given, classmethod):
                patches.append(patch.object(owner, name, classmethod(watched(given.__func__, kind))))
            else:
                patches.append(patch.object(owner, name, watched(given, kind)))
    for each in patches:
        each.start()
    try:
        yield spent
    finally:
        for each in patches:
            each.stop()


def a_table(rows: int) -> pd.DataFrame:
    """Numbers, a category and a boolean in two blocks, the second absent in half of the rows."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(rows, 30)), columns=[f"lab_{i}" for i in range(30)])
    frame[random.random(rows) < 0.5] = np.nan
    for i in range(8):
        frame[f"known_{i}"] = random.normal(size=rows)
    frame["known_sex"] = random.choice(["f", "m"], rows)
    frame["known_ward"] = random.choice([f"ward {i}" for i in range(12)], rows)
    frame["known_smoker"] = random.random(rows) < 0.3
    frame["died"] = random.choice(["no", "yes"], rows)
    return frame.set_index(pd.Index([f"p{i}" for i in random.permutation(rows)], name="patient"))


def checks(quick: bool) -> Iterator[dict[str, Any]]:
    """Percent of the processor time of a fit of five epochs, and of each question, by kind of check.

    The default has more epochs: of a longer fit the share is smaller.
    """
    rows, epochs = (1000, 1) if quick else (ROWS, 5)
    table = a_table(rows)
    y = table["died"].to_numpy()
    blocks = {"known": "known_*", "labs": "lab_*"}
    read = TableReader(blocks).fit_transform(table)
    cases: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "table": (table, "died", {"blocks": blocks}),
        "arrays": (Modalities(read.values, read.present), y, {}),
    }
    for case, (x, labels, settings) in cases.items():
        clf = PrimoClassifier(max_epochs=epochs, random_state=0, device="cpu", **settings)
        runs: dict[str, Callable[[], object]] = {
            f"fit, {epochs} epochs": functools.partial(clf.fit, x, labels),
            "predict_proba": functools.partial(clf.predict_proba, x),
            "predictive_impact": functools.partial(clf.predictive_impact, x),
        }
        for what, run in runs.items():
            with timed() as spent:
                start = time.process_time()
                run()
                whole = time.process_time() - start
            shares = {"all checks": sum(spent.values()) - spent[READING]} | dict(spent)
            for kind, seconds in shares.items():
                line = {"part": "checks", "case": f"{case}: {what}", "what": kind, "turn": 0}
                yield line | {"value": 100 * seconds / whole, "unit": "%"}
