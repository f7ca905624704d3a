"""A function in a process of its own, which may be killed at any step that it makes on the disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from unittest import mock

KILLED = 137
STEPS = ("open", "replace", "fsync", "mkdir", "unlink", "rmdir", "fdopen", "close")


def in_a_fork(function: Callable[[], object]) -> int:
    """Its exit status: 0 where the function returned, 1 where it raised; nothing of it comes back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's threads are idle, and not used below
        child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class HalfWritten:
    """A file of which half of what is written arrives before the kill."""

    def __init__(self, file, kill_if_due):
        self.file, self.kill_if_due = file, kill_if_due

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        self.kill_if_due()
        self.file.write(content[len(content) // 2 :])


def killed_at(step: int, function: Callable[[], object]) -> bool:
    """Run a function in a fork that dies before its ``step``-th step on the disk; whether it did."""

    def run():
        made = 0

        def kill_if_due():
            nonlocal made
            if made == step:
                os._exit(KILLED)
            made += 1

        def dying(real):
            def call(*args, **kwargs):
                kill_if_due()
                result = real(*args, **kwargs)
                return HalfWritten(result, kill_if_due) if real is fdopen else result

            return call

        fdopen = os.fdopen
        with mock.patch.multiple(os, **{name: dying(getattr(os, name)) for name in STEPS}):
            function()

    status = in_a_fork(run)
    assert status in (0, KILLED)
    return status == KILLED
