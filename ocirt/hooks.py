"""Run programs of the host, hooks above all: spawn, standard input, timeout by pidfd (config.md, POSIX-platform Hooks).

Works in the runtime and, for createContainer and startContainer, in the sealed init.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import select
import time

from ocirt import log
from ocirt import system as os
from ocirt.errors import OcirtError
from ocirt.kernel.processes import reap
from ocirt.pipeline import ENDING_SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ocirt.config.views import Hook

SIGKILL = 9
SIGNALS = range(1, 65)
KERNEL_ONLY = (9, 19, 32, 33)  # SIGKILL and SIGSTOP cannot be set; 32 and 33 are the C library's own
END_DEADLINE = 10.0  # seconds for a program that has ended or was killed to be gone
OUTPUT_TAIL = 2048  # bytes of the hook's output that go into the error


class Program:
    """One call as plain data.  title: its name in messages; timeout: seconds or None."""

    __slots__ = ("args", "at", "env", "path", "timeout", "title")

    kind = "program"

    def __init__(
        self, title: str, at: str, path: str, args: tuple[str, ...], env: dict[str, str], timeout: float | None
    ) -> None:
        self.title = title
        self.at = at
        self.path = path
        self.args = args
        self.env = env
        self.timeout = timeout

    def describe(self) -> str:
        return f"run {self.title}: {self.path}"

    def fault(self, what: str, **more: Any) -> OcirtError:
        return OcirtError("step-failed", what, at=self.at, **more)


class HookCall(Program):
    """kind: createRuntime ...; number: its place in the list."""

    __slots__ = ()

    kind = "hook"

    def __init__(self, kind: str, number: int, hook: Hook) -> None:
        env = dict(item.split("=", 1) for item in hook.env if item.find("=") > 0)  # what names nothing is nothing
        args = hook.args or (hook.path,)
        super().__init__(f"{kind} hook #{number}", hook.at, hook.path, args, env, hook.timeout)

    def fault(self, what: str, **more: Any) -> OcirtError:
        return OcirtError("hook", what, at=self.at, **more)


def hook_calls(kind: str, hooks: Iterable[Hook]) -> tuple[HookCall, ...]:
    return tuple(HookCall(kind, number, hook) for number, hook in enumerate(hooks))


def run_program(call: Program, given: bytes) -> None:
    """Run it to its end with `given` on its standard input.  Raises OcirtError unless it ends with 0.

    Standard output and error go to a memory file: no pipe to fill, and a daemon the program leaves
    behind never gets SIGPIPE.
    """
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        # Held back until there is a pid to kill: a signal would else end the command and leave the program behind.
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
        try:
            pid, writing = _spawn(call, output)
        except OcirtError:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
            raise
        began = time.monotonic()
        deadline = None if call.timeout is None else began + call.timeout
        in_time = False
        try:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
            in_time = _feed_and_wait(pid, writing, given, deadline)
        finally:  # a signal that ends the command ends its program too
            if not in_time:
                os.kill(pid, SIGKILL)
            status = reap(pid, END_DEADLINE)
        seconds = time.monotonic() - began
        if not in_time:
            reason = f"{call.kind} ran past specified timeout of {float(call.timeout or 0)}s"
            raise _failed(call, reason, output, seconds)
        if status is None:
            raise _failed(call, f"it was killed and does not end within {END_DEADLINE:.0f} s", output, seconds)
        if status:
            code = os.waitstatus_to_exitcode(status)
            raise _failed(call, f"signal {-code}" if code < 0 else f"exit status {code}", output, seconds)
    finally:
        os.close(output)


def _spawn(call: Program, output: int) -> tuple[int, int]:
    """(pid, the writing end of its standard input)."""
    env = call.env
    if log.tracer is not None and call.kind == HookCall.kind:
        env = log.tracer.environment(env)
    reading, writing = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    try:
        pid = os.posix_spawn(
            call.path,
            call.args,
            env,
            file_actions=actions,
            setsigmask=[],
            setsigdef=[signal for signal in SIGNALS if signal not in KERNEL_ONLY],
        )
    except OSError as error:
        os.close(writing)
        raise call.fault(
            f"error running {call.title}: {call.path}", call="execve", errno=error.errno or 0, detail=call.path
        ) from None
    finally:
        os.close(reading)
    return pid, writing


def _feed_and_wait(pid: int, writing: int, given: bytes, deadline: float | None) -> bool:
    """Write as the program reads, close, wait for its end; False when the deadline passed."""
    pidfd = os.pidfd_open(pid)
    os.set_blocking(writing, False)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(writing, select.POLLOUT)
    feeding = True
    try:
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            events = dict(poll.poll(left))
            if not events:
                return False
            if pidfd in events:
                return True
            try:
                given = given[os.write(writing, given) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:  # a program need not read its standard input
                given = b""
            if not given:
                poll.unregister(writing)
                os.close(writing)  # the program's end of file
                feeding = False
    finally:
        os.close(pidfd)
        if feeding:
            os.close(writing)


def _failed(call: Program, reason: str, output: int, seconds: float) -> OcirtError:
    """With the last of its output, what it was called with and how long it ran."""
    size = os.fstat(output).st_size
    tail = os.pread(output, OUTPUT_TAIL, max(0, size - OUTPUT_TAIL)).decode("utf-8", "replace").strip()
    what = f"error running {call.title}: {reason}"
    detail = f"{' '.join((call.path, *call.args[1:]))}, after {seconds:.2f} s"
    return call.fault(f"{what}, output: {tail}" if tail else what, detail=detail)
