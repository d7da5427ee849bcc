"""Run a piece of a test in a child with namespaces of its own; its result or its exception comes back."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any

from ocirt.kernel import live
from ocirt.kernel.flags import CLONE_NEWNS, MS_PRIVATE, MS_REC


class FailedInChild(AssertionError):
    """What the child raised, with its traceback as text."""


def in_namespaces(function: Callable[[], Any], flags: int = CLONE_NEWNS) -> Any:
    """Call function in a forked child after unshare(flags); its mounts never reach the host.

    Returns what function returns.  Raises FailedInChild.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        answer = _answer(function, flags)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    good, value = pickle.loads(answer)
    if good:
        return value
    raise FailedInChild(value)


def _answer(function: Callable[[], Any], flags: int) -> bytes:
    try:
        live.unshare(flags)
        if flags & CLONE_NEWNS:
            live.mount("", "/", "", MS_PRIVATE | MS_REC)
        return pickle.dumps((True, function()))
    except BaseException:
        return pickle.dumps((False, traceback.format_exc()))
