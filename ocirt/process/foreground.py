"""Stay with a process until it ends: forward signals, reap, copy the terminal; the exit code."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import select

from ocirt import log
from ocirt import system as os
from ocirt.kernel.processes import read_signals, signal_set, signalfd
from ocirt.pipeline import ENDING_SIGNALS, FORWARDED
from ocirt.process.lifecycle import destroy_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.container import Container
    from ocirt.process.terminal import Terminal

SIGCHLD, SIGURG, SIGWINCH = 17, 23, 28
WATCHED = signal_set(FORWARDED)
SIGNALED = 128  # added to the signal's number, as shells do


def stay(pid: int, terminal: Terminal | None) -> int:
    """Wait for our child pid; its exit status, or 128 + the number of the signal that ended it.

    The caller holds FORWARDED back (blocked), and goes on to: they are read here, those too that came before, and
    what comes later is dropped with our end.
    """
    log.release()
    log.phase("wait for the program to end")
    signals = signalfd(WATCHED)
    pidfd = os.pidfd_open(pid)
    try:
        if terminal is not None:
            terminal.attach()
        _serve(signals, pid, pidfd, terminal)
    finally:
        if terminal is not None:
            terminal.restore()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return SIGNALED - code if code < 0 else code


def destroy_ended(container: Container) -> None:
    """After stay(): as destroy_once()."""
    if container.record["poststop"]:
        let_signals_in()
    destroy_once(container)


def let_signals_in() -> None:
    """After stay(), before hooks that a signal shall end: what came meanwhile was for the program, and is dropped."""
    for signal in ENDING_SIGNALS:
        _signal.signal(signal, _dropped)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, ENDING_SIGNALS)


def _dropped(signal: int, frame: object) -> None:
    """Until the hooks begin, which catch_ending_signals()."""


def _serve(signals: int, pid: int, pidfd: int, terminal: Terminal | None) -> None:
    """Until the process has ended and its terminal is drained."""
    while True:
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        if terminal is not None:
            terminal.watch(poll)
        ready = dict(poll.poll())
        if pidfd in ready:  # nothing is left for signals to do
            if terminal is not None:
                terminal.drain()
            return
        if signals in ready:
            _handle(read_signals(signals), pid, pidfd, terminal)
        if terminal is not None:
            terminal.copy(ready)


def _handle(signals: list[int], pid: int, pidfd: int, terminal: Terminal | None) -> None:
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
