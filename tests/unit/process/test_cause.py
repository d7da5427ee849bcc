"""The child that looks for a cause: what it finds is taken over, what becomes of it otherwise costs the cause alone."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt import system
from ocirt.errors import OcirtError
from ocirt.process import cause


def failure(call: str = "execve") -> OcirtError:
    return OcirtError("executable", "exec", call=call, errno=errno.ENOENT, at="/process/args/0")


def children() -> str:
    return Path("/proc/thread-self/children").read_text()


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def test_what_it_finds_is_taken_over() -> None:
    error = failure()

    def look() -> None:
        error.remedy, error.at = "öffne es", "/process/args/1"

    cause.find(error, look)
    assert (error.remedy, error.at) == ("öffne es", "/process/args/1")


def test_an_exception_costs_the_cause_alone() -> None:
    error = failure()

    def look() -> None:
        raise MemoryError

    cause.find(error, look)
    assert (error.remedy, error.at) == ("", "/process/args/0")


def test_what_never_ends_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cause, "DEADLINE", 0.1)
    error = failure()
    cause.find(error, signal.pause)
    assert (error.remedy, error.at) == ("", "/process/args/0")


def test_a_signal_ends_the_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(number: int, frame: object) -> None:
        raise OcirtError("interrupted", f"interrupted by signal {number}")

    before = signal.signal(signal.SIGALRM, interrupted)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    began = time.monotonic()
    try:
        with pytest.raises(OcirtError, match="interrupted"):
            cause.find(failure(), signal.pause)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < cause.DEADLINE


@pytest.mark.parametrize(("call", "looks"), [("clone3", True), ("execve", False)])
def test_without_a_process_to_spare(monkeypatch: pytest.MonkeyPatch, call: str, looks: bool) -> None:
    """Where births are what failed, it looks itself: that is no look at an image."""

    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "no")

    monkeypatch.setattr(system, "fork", fork)
    error, seen = failure(call), []
    if looks:
        cause.find(error, lambda: seen.append(1))
    else:
        with pytest.raises(BlockingIOError):
            cause.find(error, lambda: seen.append(1))
    assert bool(seen) is looks
