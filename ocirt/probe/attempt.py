"""Trying one thing in a process of its own: two children, the keeper and the one that does it.

The keeper outlives whatever the trial does to itself, waits for it, takes away what it made, and reports.  It is in a
session of its own, so that neither a key nor a killed caller keeps it from that; the trial dies with the keeper.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from contextlib import suppress

from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.processes import set_child_subreaper, set_pdeathsig
from ocirt.probe import Check, Outcome, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

TIME = 10.0  # seconds for one trial; none takes a tenth of a second
REMOVAL_TIME = 2.0  # seconds: a cgroup is busy until its last process is gone for good
WORKS, FAILS = b"+", b"-"


def attempt(check: Check) -> Outcome:
    """Run the trial; returns when all its processes are gone."""
    return outcome(check, _answer_of(lambda writing: _keep(check, writing)))


def outcome(check: Check, answer: bytes) -> Outcome:
    """The answer is a sign and a note; none at all when the process was killed."""
    if not answer:
        return Outcome(check.name, check.at, False, "the process that tried it was killed")
    return Outcome(check.name, check.at, answer[:1] == WORKS, answer[1:].decode("utf-8", "replace"))


def in_child(function: Callable[[], object]) -> None:
    """Run function in one more child, which dies with its parent.  Raises what it raised, as Unavailable."""
    answer = _answer_of(lambda writing: _report(function, writing))
    if answer[:1] != WORKS:
        raise Unavailable(answer[1:].decode("utf-8", "replace") or "a process of the trial was killed")


def _answer_of(child: Callable[[int], object]) -> bytes:
    """Run it in a child, with the descriptor to answer to; what it wrote, when it has ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _leave_after(lambda: child(writing))
    os.close(writing)
    try:
        return read_all(reading)
    finally:
        os.close(reading)
        os.waitpid(pid, 0)


def _keep(check: Check, writing: int) -> None:
    os.setsid()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    set_child_subreaper(True)
    reading, inner = os.pipe()
    pid = os.fork()
    if pid == 0:
        _leave_after(lambda: _report(check.trial, inner))
    os.close(inner)
    answer = _read_until(reading, time.monotonic() + TIME)
    _end(pid)
    for directory in check.leftovers:
        _remove(directory)
    os.write(writing, answer)


def _report(function: Callable[[], object], writing: int) -> None:
    """Call it, and write what became of it."""
    set_pdeathsig(signal.SIGKILL)
    os.setpgid(0, 0)
    try:
        answer = WORKS + str(function() or "").encode()
    except Exception as error:
        answer = FAILS + reason(error).encode()
    os.write(writing, answer)


def reason(error: Exception) -> str:
    """One line: what was called and what came back."""
    if isinstance(error, KernelError):
        return f"{error.call}: {os.strerror(error.errno or 0).lower()}"
    if isinstance(error, OSError) and error.errno:
        name = f"{error.filename}: " if error.filename else ""
        return name + os.strerror(error.errno).lower()
    if isinstance(error, OcirtError):
        return f"{error.what}: {error.detail}" if error.detail else error.what
    return str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}"


def read_all(fd: int) -> bytes:
    """Until the other end is closed."""
    content = b""
    while block := os.read(fd, 4096):
        content += block
    return content


def _read_until(fd: int, deadline: float) -> bytes:
    """As read_all; at the deadline it gives up, and the answer is that."""
    content = b""
    while select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
        block = os.read(fd, 4096)
        if not block:
            return content
        content += block
    return FAILS + b"no answer within %d seconds" % TIME


def _end(pid: int) -> None:
    """The trial and its children, which are ours now as their subreaper; theirs die with them."""
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    with suppress(OSError):  # it was killed before it had a group of its own
        os.killpg(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _remove(directory: str) -> None:
    """rmdir(2); nothing there is no error."""
    deadline = time.monotonic() + REMOVAL_TIME
    while True:
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno == errno.EBUSY and time.monotonic() < deadline:
                time.sleep(0.005)
                continue
        return


def _leave_after(function: Callable[[], object]) -> NoReturn:
    """In a child: nothing above this frame may run."""
    try:
        function()
    finally:
        os._exit(0)
