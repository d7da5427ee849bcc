"""Stay with a process until it ends: forward signals, reap, copy the terminal; the exit code."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import select

from ocirt import log
from ocirt import system as os
from ocirt.pipeline import FORWARDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.process.terminal import Terminal

SIGCHLD, SIGURG, SIGWINCH = 17, 23, 28
SIGNALED = 128  # added to the signal's number, as shells do


def stay(pid: int, terminal: Terminal | None) -> int:
    """Wait for our child pid; its exit status, or 128 + the number of the signal that ended it.

    Signals may be held back until here: see HELD_SIGNALS.
    """
    log.release()
    log.phase("wait for the program to end")
    wakeup = _catch_signals()
    pidfd = os.pidfd_open(pid)
    try:
        if terminal is not None:
            terminal.attach()
        _serve(wakeup, pid, pidfd, terminal)
    finally:
        if terminal is not None:
            terminal.restore()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return SIGNALED - code if code < 0 else code


def _catch_signals() -> int:
    """fd from which the numbers of arriving signals are read, one byte each."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for signal in FORWARDED:
        _signal.signal(signal, _noted)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, FORWARDED)
    return reading


def _noted(signal: int, frame: object) -> None:
    """The wake-up descriptor has it."""


def _serve(wakeup: int, pid: int, pidfd: int, terminal: Terminal | None) -> None:
    """Until the process has ended and its terminal is drained."""
    while True:
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        if terminal is not None:
            terminal.watch(poll)
        ready = dict(poll.poll())
        if wakeup in ready:
            _handle(os.read(wakeup, 512), pid, pidfd, terminal)
        if terminal is not None:
            terminal.copy(ready)
        if pidfd in ready:
            if terminal is not None:
                terminal.drain()
            return


def _handle(signals: bytes, pid: int, pidfd: int, terminal: Terminal | None) -> None:
    for signal in signals:
        if signal == SIGCHLD:
            _reap_others(pid)
        elif signal == SIGWINCH and terminal is not None:
            terminal.resize()
        elif signal != SIGURG:
            try:
                _signal.pidfd_send_signal(pidfd, signal)
            except ProcessLookupError:
                pass  # it has just ended


def _reap_others(pid: int) -> None:
    """As subreaper we inherit orphans of the container; our own child stays for stay() to reap."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == pid:
            return
        os.waitpid(found.si_pid, os.WNOHANG)
