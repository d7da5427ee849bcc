"""The process beside a container that answers its filter's notifications: the recorder's, or the explainer's.

It is a child of the runtime that outlives it, and ends with the last process that has the filter.  It has no part in
the container's confinement: where it dies, what it would have been asked about fails with ENOSYS.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import _socket
import select
import sys

from ocirt import system as os
from ocirt.errors import OcirtError
from ocirt.kernel import flags as f
from ocirt.kernel.notifications import answer_notification, receive_notification, wake_at_once
from ocirt.kernel.processes import close_range, reap, set_name
from ocirt.log import warning
from ocirt.seccomp import notifies
from ocirt.seccomp.architectures import native_abi
from ocirt.seccomp.explained import Explainer
from ocirt.seccomp.reasons import Reasons
from ocirt.seccomp.recorded import Recorder
from ocirt.seccomp.watched import notify_about_all, notify_about_denials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ocirt.config.views import Seccomp

NAME = "ocirt:seccomp"  # as ps shows it: 15 bytes at most
FIRST, LAST = 3, 2**32 - 1  # descriptors that are no standard streams
END_DEADLINE = 10.0  # seconds for the watcher to end when the container has ended
LONGEST_REPORT = 4096


# Linux.  Before 5.9 nothing says that the last process with the filter has ended; since 5.19 a signal cannot make a
# call fail that waits for its answer.
ENDS_ARE_SEEN, WAITS_ARE_KILLABLE = (5, 9), (5, 19)


class Watch:
    """What the watcher does, and once it runs: pid, and report, the descriptor from which its last words come."""

    def __init__(self, watcher: Recorder | Explainer, program: bytes, flags: int) -> None:
        self.watcher = watcher
        self.program = program
        self.flags = flags
        self.pid = 0
        self.report = -1

    def finish(self) -> None:
        """After the container's end: until the watcher has ended too.  What it could not do is a warning."""
        poll = select.poll()
        poll.register(self.report, select.POLLIN)
        if not poll.poll(END_DEADLINE * 1000):
            warning(f"processes of the container still run: process {self.pid} goes on watching their system calls")
            return
        if words := os.read(self.report, LONGEST_REPORT):
            warning(words.decode("utf-8", "replace"))
        os.close(self.report)
        reap(self.pid, END_DEADLINE)


def record(path: str, profile: Seccomp | None, machine: str, kernel: tuple[int, int]) -> Watch:
    """A watch over every call, whatever the profile says, which is not in force.  kernel: the version.

    Raises OcirtError.
    """
    flags = _flags(profile, kernel)
    native = native_abi(machine)
    if native is None:
        raise OcirtError("unsupported", f"seccomp filters for a {machine} machine")
    return Watch(Recorder(path, native), notify_about_all(native), flags)


def explain(path: str, profile: Seccomp | None, machine: str, kernel: tuple[int, int]) -> Watch:
    """A watch over the calls that the profile denies.  Raises OcirtError."""
    flags = _flags(profile, kernel)
    if profile is None:
        raise OcirtError("usage", "there is no seccomp profile whose denials could be explained", at="/linux/seccomp")
    reasons = Reasons(profile, machine)
    program = notify_about_denials(reasons.filter.native, reasons.program)
    return Watch(Explainer(path, reasons), program, flags | reasons.flags)


def _flags(profile: Seccomp | None, kernel: tuple[int, int]) -> int:
    """For seccomp(2).  Raises OcirtError where the profile has a listener of its own: the kernel takes one only."""
    if profile is not None and notifies(profile):
        raise OcirtError(
            "usage",
            "a profile that notifies an agent cannot be watched as well: a process has one listener",
            at=f"{profile.at}/listenerPath",
            remedy="take the rules with SCMP_ACT_NOTIFY out meanwhile",
        )
    if kernel < ENDS_ARE_SEEN:
        raise OcirtError("unsupported", "a watcher of system calls needs Linux 5.9")
    killable = f.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV if kernel >= WAITS_ARE_KILLABLE else 0
    return f.SECCOMP_FILTER_FLAG_NEW_LISTENER | killable


def main(watch: Watch, connection: _socket.socket, report: int) -> NoReturn:
    """In the child.  connection: where init sends the listener; report: told what fails."""
    watcher = watch.watcher
    try:
        _leave_the_runtime({connection.fileno(), report, *watcher.descriptors()})
        listener = _receive(connection)
        connection.close()
        if listener >= 0:
            _serve(watcher, listener)
            watcher.end()
    except BaseException as error:
        what = error.what if isinstance(error, OcirtError) else f"{type(error).__name__}: {error}"
        try:
            os.write(report, f"the watcher of system calls failed: {what}".encode()[:LONGEST_REPORT])
        except OSError:
            pass  # nobody is left to hear it
    finally:
        os._exit(0)


def _leave_the_runtime(kept: set[int]) -> None:
    """Own session, no terminal's signals, none of the runtime's descriptors: an engine waits for the ends of its pipes,
    and others for the container's lock."""
    os.setsid()
    for signal in range(1, _signal.NSIG):
        if _signal.getsignal(signal) not in (None, _signal.SIG_DFL, _signal.SIG_IGN):
            _signal.signal(signal, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in range(FIRST):
        if fd not in kept:
            os.dup2(null, fd)
    first = FIRST
    for fd in sorted(kept):
        if first < fd:
            close_range(first, fd - 1, 0)
        first = max(first, fd + 1)
    close_range(first, LAST, 0)
    set_name(NAME)
    os.chdir("/")


def _receive(connection: _socket.socket) -> int:
    """The listener; -1 when init ended before it had one."""
    _, ancillary, _, _ = connection.recvmsg(16, _socket.CMSG_LEN(4), _socket.MSG_CMSG_CLOEXEC)
    return int.from_bytes(ancillary[0][2][:4], sys.byteorder) if ancillary else -1


def _serve(watcher: Recorder | Explainer, listener: int) -> None:
    """Until no process has the filter any more."""
    wake_at_once(listener)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ((_, events),) = poll.poll()
        if not events & select.POLLIN:
            return
        call = receive_notification(listener)
        if call is not None:
            answer_notification(listener, call.id, *watcher.answer(call, listener))
