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

Nothing that a file says is believed before it was compared: each file is read once, and what is parsed is
what was hashed; the networks that the settings describe are made without memory first, and their shapes
compared with those that the weights declare. How the files are put in place, `primo_pyro.model_files` says.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn

from primo_pyro.errors import PrimoError, SavedModelError
from primo_pyro.estimator import NetworkEstimator
from primo_pyro.labels import Labels, labels_of
from primo_pyro.locks import alone
from primo_pyro.modalities import Modalities
from primo_pyro.model_files import (
    FORMAT_VERSION,
    MANIFEST,
    SETTINGS,
    WEIGHTS,
    Declared,
    OpenModel,
    open_model,
    write_model,
)
from primo_pyro.parameters import Device, check_parameters
from primo_pyro.saved_values import KINDS, from_json, to_json

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

NOT_IN_JSON = ("encoders", "callbacks")
NETWORKS = ("model_", "guide_")
LARGEST_ROW = 2**24  # numbers in one row of a modality

Estimator = TypeVar("Estimator", bound=NetworkEstimator)
# What fit learns, where it has a type that is relied on.
TYPES: dict[str, type | tuple[type, ...]] = {
    "labels_": Labels,
    "shapes_": dict,
    "columns_": dict,
    "missing_cells_": dict,
    "optional_": tuple,
    "patterns_": set,
    "seed_": int,
    "history_": pd.DataFrame,
    "diagnosis_": pd.DataFrame,
    "impact_calibrators_": dict,
    "certificates_": dict,
    "label_scores_": dict,
    "fitted_with_": dict,
}
ONLY_SOMETIMES = {
    "diagnosis_",
    "impact_calibrators_",
    "certificates_",
    "label_scores_",
    "fitted_with_",
    "history_",
}


@alone
def save_estimator(estimator: NetworkEstimator, folder: str | os.PathLike[str]) -> None:
    """Write a fitted `PrimoClassifier` or `PrimoRegressor` to a folder.

    What is to be written is made, and read back, in memory. Whenever writing breaks off, by an error, a kill
    or a power cut, the folder is what it was or the whole new model.

    Parameters
    ----------
    folder
        New or empty, or a saved model, which is replaced.

    Raises
    ------
    SavedModelError
        Where the folder holds other files, a parameter cannot be written as JSON, networks and parameters no
        longer fit together, since parameters were changed after ``fit``, or the files cannot be written.

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
    folder = _as_path(folder).resolve()
    parameters = estimator.get_params(deep=False)
    weights = {name: tensor.cpu().contiguous() for name, tensor in _tensors(estimator).items()}
    settings = json.dumps(_settings(estimator), indent=1, allow_nan=False) + "\n"
    files = {SETTINGS: settings.encode(), WEIGHTS: safetensors.torch.save(weights)}
    with OpenModel.in_memory(folder, files) as saved:
        _restore(
            type(estimator),
            saved,
            encoders=parameters["encoders"],
            programs=copy.deepcopy(_programs(estimator)) if hasattr(estimator, "adopted_") else None,
            device="cpu",
            given={name: parameters[name] for name in _code(parameters)},
        )
    write_model(folder, files)


@alone
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

    While another process saves into the folder, this is the old or the new estimator, never parts of both.

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
    with open_model(_as_path(folder)) as saved:
        return _restore(cls, saved, encoders=encoders, programs=programs, device=device, given=given)


def _as_path(folder: object) -> Path:
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder) or "\0" in str(folder):
        raise SavedModelError(
            f"folder is {folder!r:.80}; expected the name of a folder. Pass a string or a pathlib.Path."
        )
    return Path(folder)


def _restore(
    cls: type[Estimator],
    saved: OpenModel,
    *,
    encoders: Mapping[str, nn.Module] | None,
    programs: tuple[nn.Module, nn.Module] | None,
    device: str | None,
    given: Mapping[str, object] | None,
) -> Estimator:
    try:
        estimator = _bare(cls, saved, encoders, programs, device, given)
        _fill(estimator, saved, programs)
    except PrimoError as error:
        if isinstance(error, SavedModelError):
            raise
        raise _misfit(saved, error) from error
    except Exception as error:  # whatever a file that was made up may end in
        raise _misfit(saved, error) from error
    for program in _programs(estimator):
        program.eval()
    return estimator


def _misfit(saved: OpenModel, error: Exception) -> SavedModelError:
    return SavedModelError(
        f"{saved.folder} cannot be read as a saved model ({type(error).__name__}: {error!s:.300}); expected "
        "what this release writes, and programs and encoders like those that were trained. Copy the folder "
        "anew from where it was saved, or save the model again."
    )


def _bare(
    cls: type[Estimator],
    saved: OpenModel,
    encoders: Mapping[str, nn.Module] | None,
    programs: tuple[nn.Module, nn.Module] | None,
    device: str | None,
    given: Mapping[str, object] | None,
) -> Estimator:
    """The estimator with its parameters and what it learnt, without networks."""
    folder, settings = saved.folder, saved.settings
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
            f"{'none' if programs is None else 'some'}; expected the same. Call "
            f"load(folder{', programs=(model, guide)' if programs is None else ''})."
        )
    estimator = cls(**parameters | dict(given or {}) | {"encoders": encoders})
    # A checkpoint's folder may be that of another machine; so may the device, of which more is said below.
    check_parameters(estimator, leave_out={"checkpoint", "device"} | set(given or ()))
    if not Device().holds(estimator.device):
        raise SavedModelError(
            f"{folder} was saved with device={parameters['device']!r}, where no networks can be built; "
            "expected a device that this machine has. Name another one: load(folder, device='cpu')."
        )
    for name, content in settings["learnt"].items():
        value = from_json(content)
        if not _may_be_learnt(cls, name) or not isinstance(value, TYPES.get(name, object)):
            raise SavedModelError(
                f"{saved.folder} was edited: {SETTINGS} says that {name} was learnt, a "
                f"{type(value).__name__}; expected what fit learns. Copy the folder anew from where it was "
                "saved."
            )
        setattr(estimator, name, value)
    shapes, kind = estimator.shapes_, labels_of(estimator._outcome_class())
    if lacking := TYPES.keys() - ONLY_SOMETIMES - vars(estimator).keys():
        raise ValueError(f"{sorted(lacking)} are not there")
    names = {*estimator.optional_, *(name for pattern in estimator.patterns_ for name in pattern)}
    if type(estimator.labels_) is not kind or not names <= shapes.keys() or sorted(shapes) != list(shapes):
        raise ValueError(f"labels {type(estimator.labels_).__name__}, modalities {list(shapes)} and {names}")
    return estimator


def _may_be_learnt(cls: type, name: str) -> bool:
    plain = name.isidentifier() and name.endswith("_") and not name.startswith("_")
    return plain and name not in NETWORKS and not hasattr(cls, name)


def _fill(
    estimator: NetworkEstimator, saved: OpenModel, programs: tuple[nn.Module, nn.Module] | None
) -> None:
    """Make the networks, and give them the saved tensors."""
    if programs is not None:
        for name, program in zip(NETWORKS, programs, strict=True):
            setattr(estimator, name, program.to(estimator._device()))
        _check_tensors(saved, _tensors(estimator))
    else:
        sizes = {
            name: int(np.prod([int(n) for n in shape], dtype=object))
            for name, shape in estimator.shapes_.items()
        }
        if max(sizes.values()) > LARGEST_ROW or min(sizes.values()) < 1:
            raise ValueError(f"rows of {sizes} numbers; at most {LARGEST_ROW} are read")
        one_row = Modalities(
            {name: np.zeros((1, *shape), np.float32) for name, shape in estimator.shapes_.items()}
        )
        try:
            expected = _tensors_without_memory(estimator, one_row)
        except (RuntimeError, NotImplementedError):  # a module of one's own looks at numbers as it is made
            expected = None
        if expected is not None:
            _check_tensors(saved, expected)
        with torch.random.fork_rng():
            estimator._build(one_row)
    content = saved.tensors()
    for name, tensor in _tensors(estimator).items():
        tensor.copy_(content[name])


def _tensors_without_memory(estimator: NetworkEstimator, one_row: Modalities) -> dict[str, Tensor]:
    """Shapes and types of all tensors, however large the networks are."""
    shadow = copy.copy(estimator)
    shadow.device = "meta"
    with torch.device("meta"), torch.random.fork_rng():
        shadow._build(one_row)
    return _tensors(shadow)


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


def _check_tensors(saved: OpenModel, tensors: dict[str, Tensor]) -> None:
    """Compare what the weights declare with what the networks have, before any of it is read."""
    found = saved.declared()
    expected = {name: Declared(list(tensor.shape), str(tensor.dtype)) for name, tensor in tensors.items()}
    different = [name for name in sorted(found | expected) if found.get(name) != expected.get(name)]
    if different:
        name = different[0]
        saved.check_weights()  # where they were edited, that is the message
        raise SavedModelError(
            f"{saved.folder / WEIGHTS} does not fit the networks that {SETTINGS} and the given encoders "
            f"describe: {len(different)} tensors differ, as {name!r}, which is {found.get(name, 'absent')}; "
            f"expected was {expected.get(name, 'absent')}. Give encoders like those that were trained; where "
            "parameters were changed after fit, set them back or fit again before saving."
        )


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


def _check_given(
    folder: Path, what: str, expected: list[str], given: Mapping | None, all_of_them: str, each: str
) -> None:
    if sorted(given or ()) != expected:
        example = all_of_them.format(", ".join(map(each.format, expected)))
        raise SavedModelError(
            f"{folder} was saved with {what} of your own for {expected}, and load got them for "
            f"{sorted(given or ())}. Call load(folder{', ' + example if expected else ''})."
        )
