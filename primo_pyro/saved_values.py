"""Values that JSON does not know, in JSON: with a tag where JSON alone would bring back another type.

Reading makes plain values and the package's own small objects, and runs no code. What a file says is not
believed: sizes are bounded, and objects are made by their constructors, which check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from primo_pyro.analysis.absence import AbsenceCheck, AbsenceModel
from primo_pyro.analysis.calibration import ImpactCalibrator
from primo_pyro.analysis.certificates import Certificate
from primo_pyro.errors import SavedModelError
from primo_pyro.labels import ClassLabels, IndicatorLabels, NumberLabels, OrderedLabels
from primo_pyro.program.objective import Objective
from primo_pyro.tables import TableReader

__all__ = ["KINDS", "from_json", "to_json"]

MOST_BYTES = 2**26  # of one array: more than any that is saved here, and no danger


def _attributes_of(cls: type) -> tuple[type, Callable, Callable]:
    def attributes(value: Any) -> dict[str, Any]:
        if type(value) is not cls:
            raise SavedModelError(
                f"{type(value).__name__} is a {cls.__name__} with code of its own, which cannot be saved "
                f"without pickle; expected one of ours. Use {cls.__name__} itself, or set the parameter to "
                "one before saving."
            )
        return dict(vars(value))

    def from_attributes(attributes: dict[str, Any]) -> object:
        if is_dataclass(cls):
            return cls(**attributes)
        value: object = cls()
        if vars(value).keys() - attributes.keys():
            raise ValueError(f"a {cls.__name__} without {sorted(vars(value).keys() - attributes.keys())}")
        vars(value).update(attributes)
        return value

    return cls, attributes, from_attributes


def _array(content: Any) -> np.ndarray:
    kind, shape, values = content
    dtype = _dtype(kind, len(values))
    array = np.empty(len(values), dtype)
    array[:] = values
    return array.reshape(shape)


def _scalar(content: Any) -> Any:
    kind, value = content
    return np.array(value, _dtype(kind, 1))[()]


def _dtype(kind: object, count: int) -> np.dtype:
    """The type that a file names, where it is one of numbers, strings or objects, and of no great size."""
    dtype = np.dtype(kind) if isinstance(kind, str) else None
    if dtype is None or dtype.kind not in "biufcSUO" or dtype.itemsize * count > MOST_BYTES:
        raise ValueError(f"{count} values of the type {kind!r:.40}")
    return dtype


def _random_state(state: Any) -> np.random.RandomState:
    random_state = np.random.RandomState()
    if not 0 <= state[2] <= 624:  # NumPy would read beyond its memory
        raise ValueError(f"a random state at position {state[2]}")
    random_state.set_state(state)
    return random_state


# Tag: type, what it is in simpler values, and back.
KINDS: dict[str, tuple[type, Callable, Callable]] = {
    "scalar": (np.generic, lambda v: [v.dtype.str, v.item()], _scalar),
    "array": (np.ndarray, lambda v: [v.dtype.str, list(v.shape), v.ravel().tolist()], _array),
    "float": (float, repr, float),  # infinities and NaN
    "tuple": (tuple, list, tuple),
    "set": (set, sorted, set),
    "dict": (dict, lambda v: [list(item) for item in v.items()], dict),
    "frame": (pd.DataFrame, lambda v: {name: v[name].to_numpy() for name in v}, pd.DataFrame),
    "path": (Path, str, Path),
    "device": (torch.device, str, torch.device),
    "random_state": (np.random.RandomState, lambda v: v.get_state(), _random_state),
    "objective": _attributes_of(Objective),
    "impact_calibrator": _attributes_of(ImpactCalibrator),
    "certificate": _attributes_of(Certificate),
    "absence_model": _attributes_of(AbsenceModel),
    "absence_check": _attributes_of(AbsenceCheck),
    "class_labels": _attributes_of(ClassLabels),
    "ordered_labels": _attributes_of(OrderedLabels),
    "indicator_labels": _attributes_of(IndicatorLabels),
    "number_labels": _attributes_of(NumberLabels),
    "table_reader": (TableReader, TableReader.to_json, TableReader.from_json),
}


def to_json(value: Any, name: str) -> Any:
    """As JSON, with a tag where JSON alone would bring back another type."""
    if not isinstance(value, np.generic):  # some NumPy scalars are Python numbers too
        if value is None or isinstance(value, str | int) or (isinstance(value, float) and np.isfinite(value)):
            return value
        if isinstance(value, list):
            return [to_json(entry, name) for entry in value]
    exact_first = sorted(KINDS.items(), key=lambda item: type(value) is not item[1][0])
    for tag, (kind, simpler, _) in exact_first:
        if isinstance(value, kind):
            return {tag: to_json(simpler(value), name)}
    raise SavedModelError(
        f"{name} holds {type(value).__name__} ({value!r:.60}), which cannot be saved without pickle; "
        "expected what can. Give numbers, strings, arrays or the package's own objects, or set it to None "
        "before saving."
    )


def from_json(content: Any) -> Any:
    """The value that `to_json` wrote."""
    if isinstance(content, list):
        return [from_json(entry) for entry in content]
    if isinstance(content, dict):
        ((tag, simpler),) = content.items()
        return KINDS[tag][2](from_json(simpler))
    return content
