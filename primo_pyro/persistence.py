"""Saved estimators: parameters and what ``fit`` learnt, without pickle, so that loading runs no code.

A folder of three files:

``weights.safetensors``
    Every tensor of the model and the guide; the encoders and priors that they share are stored once.
``settings.json``
    The constructor's parameters in their order, and what else ``fit`` learnt: classes, shapes, patterns of
    absence, history, impact calibration, certification.
``manifest.json``
    Kind and version of the format, and the SHA-256 of the other two files.

Functions and modules cannot go into JSON. Callbacks are left out: they belong to the training that is over,
and a loaded estimator has none. Encoders that the user gave are to be given again at loading, where their
parameters and buffers are replaced by the saved ones.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from primo_pyro.analysis.absence import AbsenceCheck, AbsenceModel
from primo_pyro.analysis.calibration import ImpactCalibrator
from primo_pyro.analysis.certificates import Certificate
from primo_pyro.errors import SavedModelError
from primo_pyro.estimator import NetworkEstimator
from primo_pyro.labels import ClassLabels, IndicatorLabels, NumberLabels, OrderedLabels
from primo_pyro.modalities import Modalities
from primo_pyro.program.objective import Objective

__all__ = [
    "FORMAT_VERSION",
    "KINDS",
    "MANIFEST",
    "SETTINGS",
    "WEIGHTS",
    "from_json",
    "load_estimator",
    "save_estimator",
    "to_json",
]

FORMAT = "primo_pyro.PrimoEstimator"
FORMAT_VERSION = 2  # raised whenever a release could misread what another one wrote

MANIFEST, SETTINGS, WEIGHTS = "manifest.json", "settings.json", "weights.safetensors"
NOT_IN_JSON = ("encoders", "callbacks")
NETWORKS = ("model_", "guide_")

Estimator = TypeVar("Estimator", bound=NetworkEstimator)


def save_estimator(estimator: NetworkEstimator, folder: str | os.PathLike[str]) -> None:
    """Write a fitted `PrimoClassifier` or `PrimoRegressor` to a folder.

    The files are written beside the folder, read back, and then put in its place: it holds either the whole
    new model or what it held before.

    Parameters
    ----------
    folder
        New or empty, or a saved model, which is replaced.

    Raises
    ------
    SavedModelError
        Where the folder holds other files, a parameter cannot be written as JSON, or networks and
        parameters no longer fit together, since parameters were changed after ``fit``.

    Source: the file format of https://github.com/huggingface/safetensors

    Examples
    --------
    >>> import tempfile
    >>> from primo_pyro import PrimoClassifier
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(200, random_state=0)
    >>> clf = PrimoClassifier(hidden_dim=8, max_epochs=1, num_samples=16, random_state=0)
    >>> clf = clf.fit(x.drop_at_random("m", random_state=0), y)
    >>> with tempfile.TemporaryDirectory() as place:
    ...     clf.save(f"{place}/xor")
    ...     print(sorted(os.listdir(f"{place}/xor")))
    ...     again = PrimoClassifier.load(f"{place}/xor")
    ['manifest.json', 'settings.json', 'weights.safetensors']
    >>> bool((again.predict_proba(x) == clf.predict_proba(x)).all())
    True
    """
    folder = Path(folder).resolve()
    _check_replaceable(folder)
    partial = _beside(folder)
    partial.mkdir(parents=True)
    parameters = estimator.get_params(deep=False)
    try:
        weights = {name: tensor.cpu().contiguous() for name, tensor in _tensors(estimator).items()}
        save_file(weights, partial / WEIGHTS)
        _write_json(partial / SETTINGS, _settings(estimator))
        checksums = {name: _checksum(partial / name) for name in (SETTINGS, WEIGHTS)}
        manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": checksums}
        _write_json(partial / MANIFEST, manifest)
        load_estimator(
            type(estimator),
            partial,
            encoders=parameters["encoders"],
            programs=copy.deepcopy(_programs(estimator)) if hasattr(estimator, "adopted_") else None,
            device="cpu",
            given={name: parameters[name] for name in _code(parameters)},
        )
        _replace(folder, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_estimator(
    cls: type[Estimator],
    folder: str | os.PathLike[str],
    *,
    encoders: Mapping[str, nn.Module] | None = None,
    programs: tuple[nn.Module, nn.Module] | None = None,
    device: str | None = None,
    given: Mapping[str, object] | None = None,
) -> Estimator:
    """The estimator that `save_estimator` wrote; its predictions are the same to the last bit on one device.

    Parameters
    ----------
    cls
        The class of the estimator that was saved, as `PrimoClassifier`.
    encoders
        One module for each modality whose encoder was given to the estimator.
    programs
        Model and guide, where the estimator had adopted them.
    device
        In place of the estimator's own, for example to load on a machine without its accelerator.
    given
        Constructor parameters that are code, by name, where the estimator had such.

    Raises
    ------
    SavedModelError
        Where a file is missing, truncated or edited; where the format is unknown; where class, encoders,
        programs or given parameters are not those that were saved; where the device does not exist.
    """
    folder = Path(folder)
    manifest = _checked_manifest(folder / MANIFEST)
    for name in (SETTINGS, WEIGHTS):
        _check_sum(folder / name, manifest["sha256"][name])
    settings = _read_json(folder / SETTINGS)
    parameters: dict[str, Any] = {name: from_json(value) for name, value in settings["parameters"].items()}
    if device is not None:
        parameters["device"] = device
    if settings["class"] != cls.__name__:
        raise SavedModelError(
            f"{folder} holds a {settings['class']}; expected a {cls.__name__}. Call "
            f"{settings['class']}.load(folder)."
        )
    _check_given(folder, "encoders", settings["encoders"], encoders, "encoders={{{}}}", "{!r}: module")
    _check_given(folder, "parameters", settings["code"], given, "{}", "{}=value")
    if ("adopted_" in settings["learnt"]) != (programs is not None):
        raise SavedModelError(
            f"{folder} was saved {'with' if programs is None else 'without'} adopted programs, and load got "
            f"{'none' if programs is None else 'some'}. Call load(folder"
            f"{', programs=(model, guide)' if programs is None else ''})."
        )

    estimator = cls(**parameters | dict(given or {}) | {"encoders": encoders})
    for name, value in settings["learnt"].items():
        setattr(estimator, name, from_json(value))
    one_row = Modalities(
        {name: np.zeros((1, *shape), np.float32) for name, shape in estimator.shapes_.items()}
    )
    try:
        if programs is None:
            with torch.random.fork_rng():
                estimator._build(one_row)
        else:
            for name, program in zip(NETWORKS, programs, strict=True):
                setattr(estimator, name, program.to(estimator._device()))
    except (RuntimeError, AssertionError) as error:
        raise SavedModelError(
            f"{folder} was saved with device={parameters['device']!r}, where no networks can be built "
            f"({error}). Name another one: load(folder, device='cpu')."
        ) from error
    _fill(_tensors(estimator), folder / WEIGHTS)
    for program in _programs(estimator):
        program.eval()
    return estimator


def _programs(estimator: NetworkEstimator) -> tuple[nn.Module, nn.Module]:
    model, guide = (getattr(estimator, name) for name in NETWORKS)
    return model, guide


def _tensors(estimator: NetworkEstimator) -> dict[str, Tensor]:
    """Every parameter and buffer under its first name.

    safetensors' ``load_model`` does the same, but fails where batch normalisation is shared: torch never
    reports its counter as missing.
    """
    networks = nn.ModuleDict(dict(zip(("model", "guide"), _programs(estimator), strict=True)))
    state = networks.state_dict()
    unique = dict(networks.named_parameters()) | dict(networks.named_buffers())
    return {name: state[name] for name in unique if name in state}


def _fill(tensors: dict[str, Tensor], path: Path) -> None:
    saved = load_file(path)
    found = {name: [list(tensor.shape), str(tensor.dtype)] for name, tensor in saved.items()}
    expected = {name: [list(tensor.shape), str(tensor.dtype)] for name, tensor in tensors.items()}
    different = [name for name in sorted(found | expected) if found.get(name) != expected.get(name)]
    if different:
        name = different[0]
        raise SavedModelError(
            f"{path} does not fit the networks that {SETTINGS} and the given encoders describe: "
            f"{len(different)} tensors differ, as {name!r}, which is {found.get(name, 'absent')}; "
            f"expected was {expected.get(name, 'absent')}. Give encoders like those that were trained; where "
            "parameters were changed after fit, set them back or fit again before saving."
        )
    for name, tensor in tensors.items():
        tensor.copy_(saved[name])


def _settings(estimator: NetworkEstimator) -> dict[str, Any]:
    parameters = estimator.get_params(deep=False)
    code = _code(parameters)
    learnt = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
    return {
        "class": type(estimator).__name__,
        "parameters": {
            name: to_json(value, name)
            for name, value in parameters.items()
            if name not in NOT_IN_JSON and name not in code
        },
        "code": code,
        "encoders": sorted(parameters["encoders"] or ()),
        "learnt": {name: to_json(value, name) for name, value in learnt.items() if name not in NETWORKS},
    }


def _code(parameters: Mapping[str, object]) -> list[str]:
    """Parameters that are functions or classes, which have to be given again."""
    return sorted(name for name, v in parameters.items() if inspect.isroutine(v) or inspect.isclass(v))


# --- Files ---------------------------------------------------------------------------------------------


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sum(path: Path, expected: str) -> None:
    _check_is_there(path)
    found = _checksum(path)
    if found != expected:
        raise SavedModelError(
            f"{path} was truncated or edited: its SHA-256 is {found}; expected {expected}, as {MANIFEST} "
            "says. Copy the folder anew from where it was saved, or save the model again."
        )


def _check_is_there(path: Path) -> None:
    if not path.is_file():
        raise SavedModelError(
            f"{path} does not exist; a saved model has {SETTINGS}, {WEIGHTS} and {MANIFEST}. Name the folder "
            "that save was given, and copy it as a whole."
        )


def _checked_manifest(path: Path) -> dict:
    _check_is_there(path)
    manifest = _read_json(path)
    found = manifest.get("format"), manifest.get("format_version")
    if found != (FORMAT, FORMAT_VERSION):
        raise SavedModelError(
            f"{path} says format {found[0]!r}, version {found[1]!r}; this release reads {FORMAT!r}, version "
            f"{FORMAT_VERSION}. Load it by the release that saved it, or save it again by this one."
        )
    if set(manifest.get("sha256", ())) != {SETTINGS, WEIGHTS}:
        raise SavedModelError(
            f"{path} was edited: expected the checksums of {SETTINGS} and {WEIGHTS} under 'sha256'. "
            "Copy the folder anew from where it was saved, or save the model again."
        )
    return manifest


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are such
        raise SavedModelError(
            f"{path} was truncated or edited: {path.stat().st_size} bytes that are no JSON object ({error}). "
            "Copy the folder anew from where it was saved, or save the model again."
        ) from error
    return content


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SavedModelError(f"{folder} is a file; expected a folder. Name another one.")
    others = sorted({path.name for path in folder.iterdir()} - {MANIFEST, SETTINGS, WEIGHTS})
    if others:
        raise SavedModelError(
            f"{folder} holds {', '.join(others[:5])}, which saving would delete; expected a new or empty "
            "folder, or a saved model. Name another folder."
        )


def _check_given(
    folder: Path, what: str, expected: list[str], given: Mapping | None, all_of_them: str, each: str
) -> None:
    if sorted(given or ()) != expected:
        example = all_of_them.format(", ".join(map(each.format, expected)))
        raise SavedModelError(
            f"{folder} was saved with {what} of your own for {expected}, and load got them for "
            f"{sorted(given or ())}. Call load(folder{', ' + example if expected else ''})."
        )


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{uuid4().hex}")


def _replace(folder: Path, new: Path) -> None:
    """Put a folder in the place of another, which is moved away first: only an empty one can be replaced."""
    if not folder.exists():
        os.replace(new, folder)
        return
    old = _beside(folder)
    os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        os.replace(old, folder)
        raise
    shutil.rmtree(old)


# --- Values that JSON does not know ----------------------------------------------------------------------


def _attributes_of(cls: type) -> tuple[type, Callable, Callable]:
    def attributes(value: Any) -> dict[str, Any]:
        if type(value) is not cls:
            raise SavedModelError(
                f"{type(value).__name__} is a {cls.__name__} with code of its own, which cannot be saved "
                f"without pickle. Use {cls.__name__} itself, or set the parameter to one before saving."
            )
        return dict(vars(value))

    def from_attributes(attributes: dict[str, Any]) -> object:
        value: object = object.__new__(cls)
        vars(value).update(attributes)
        return value

    return cls, attributes, from_attributes


def _array(content: Any) -> np.ndarray:
    kind, shape, values = content
    array = np.empty(len(values), kind)
    array[:] = values
    return array.reshape(shape)


def _random_state(state: Any) -> np.random.RandomState:
    random_state = np.random.RandomState()
    random_state.set_state(state)
    return random_state


# Tag: type, what it is in simpler values, and back.
KINDS: dict[str, tuple[type, Callable, Callable]] = {
    "scalar": (np.generic, lambda v: [v.dtype.str, v.item()], lambda c: np.array(c[1], c[0])[()]),
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
        f"{name} holds {type(value).__name__} ({value!r:.60}), which cannot be saved without pickle. Give "
        f"numbers, strings, arrays or the package's own objects, or set it to None before saving."
    )


def from_json(content: Any) -> Any:
    """The value that `to_json` wrote."""
    if isinstance(content, list):
        return [from_json(entry) for entry in content]
    if isinstance(content, dict):
        ((tag, simpler),) = content.items()
        return KINDS[tag][2](from_json(simpler))
    return content
