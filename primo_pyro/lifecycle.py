"""What an estimator is before, during and after a fit: not fitted, or fitted whole, never half."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sklearn.base import BaseEstimator
from torch import nn

from primo_pyro.errors import ParameterError, UnfittedError
from primo_pyro.parameters import as_python

__all__ = [
    "FREE",
    "check_unchanged",
    "forget",
    "kept_or_forgotten",
    "networks_of",
    "remember",
    "require_fitted",
]

# Parameters that a warm start takes anew. All others have gone into the networks, or into what they learnt.
FREE = {
    *("max_epochs", "batch_size", "learning_rate", "weight_decay", "clip_norm", "patience", "averaging"),
    *("validation_fraction", "warm_start", "warm_up", "checkpoint", "callbacks", "device", "random_state"),
    *("verbose", "num_samples", "draws", "objective", "elbo", "max_iter"),
}


def forget(estimator: BaseEstimator) -> None:
    """Back to what the constructor made: nothing that was learnt remains."""
    for name in [name for name in vars(estimator) if name.endswith("_")]:
        delattr(estimator, name)


def networks_of(estimator: BaseEstimator) -> list[nn.Module]:
    """The modules among what was learnt; several members have a list of some."""
    learnt = [value for name, value in vars(estimator).items() if name.endswith("_")]
    listed = [entry for value in learnt for entry in (value if isinstance(value, list) else [value])]
    return [value for value in listed if isinstance(value, nn.Module)]


@contextmanager
def kept_or_forgotten(estimator: BaseEstimator, *, keep: bool) -> Iterator[None]:
    """A fit: what was learnt before goes at its start; where it breaks off, nothing of it remains.

    With ``keep`` the fit goes on from what was learnt before, which comes back where it breaks off.
    """
    learnt = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
    states = (
        [(network, copy.deepcopy(network.state_dict())) for network in networks_of(estimator)] if keep else []
    )
    modes = [(module, module.training) for network, _ in states for module in network.modules()]
    if not keep:
        forget(estimator)
    try:
        yield
    except BaseException:  # an interrupt too
        forget(estimator)
        if keep:
            for network, state in states:
                network.load_state_dict(state)
            for module, training in modes:
                module.training = training
            vars(estimator).update(learnt)
        raise


def require_fitted(estimator: BaseEstimator, attribute: str = "model_") -> None:
    """Refuse to answer before a fit has ended well, or learnt an attribute.

    Raises
    ------
    UnfittedError
        A ``sklearn.exceptions.NotFittedError``, with the cure.
    """
    if not hasattr(estimator, attribute):
        name = type(estimator).__name__
        raise UnfittedError(
            f"This {name} is not fitted: fit was not called, or did not end well; expected a fitted one. "
            "Call fit, and let it end, first."
        )


def remember(estimator: Any) -> None:
    """Keep, in ``fitted_with_``, what must not change before a warm start."""
    estimator.fitted_with_ = _fixed(estimator)


def check_unchanged(estimator: Any) -> None:
    """Refuse a warm start with parameters that the networks were not made with.

    Raises
    ------
    ParameterError
        Naming the parameter, what it is and what it was.
    """
    now = _fixed(estimator)
    for name, before in getattr(estimator, "fitted_with_", {}).items():
        if now.get(name) != before:
            raise ParameterError(
                f"{name} is {now.get(name, 'absent')}; expected {before}, with which the networks were made "
                "that a warm start goes on from. Set it back, or set warm_start=False to begin anew."
            )


def _fixed(estimator: Any) -> dict[str, str]:
    values = {k: v for k, v in estimator.get_params(deep=False).items() if k not in FREE}
    values |= getattr(estimator, "_further_fixed", dict)()
    return {name: _described(value) for name, value in values.items()}


def _described(value: Any) -> str:
    """The same text for the same value in another process."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{k!r}: {_described(v)}" for k, v in value.items())) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        entries = [_described(v) for v in value]
        return f"({', '.join(sorted(entries) if isinstance(value, set | frozenset) else entries)})"
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    if getattr(type(value), "__repr__", None) is object.__repr__:  # which tells an address
        return f"{type(value).__module__}.{type(value).__qualname__}"
    return repr(as_python(value))
