"""One thread at a time where Pyro and torch keep global state.

Pyro's stack of handlers, its store of parameters and torch's default random generator belong to the whole
process: two threads that train or predict at once would read each other's. Whatever enters Pyro or forks the
generator therefore holds one lock, for a whole fit, or for a few rows of a prediction. It is re-entrant:
callbacks of a fit may predict.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["alone", "one_at_a_time"]

P = ParamSpec("P")
R = TypeVar("R")

_lock = threading.RLock()


def _renew() -> None:
    """In a forked process: the thread that held the lock does not exist there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock of the process; a thread that holds it may take it again.

    >>> with one_at_a_time(), one_at_a_time():
    ...     "no deadlock"
    'no deadlock'
    """
    with _lock:
        yield


def alone(function: Callable[P, R]) -> Callable[P, R]:
    """The function, holding the lock from its start to its end."""

    @wraps(function)
    def holding(*args: P.args, **kwargs: P.kwargs) -> R:
        with _lock:
            return function(*args, **kwargs)

    return holding
