"""Each denied call as one JSON line, and then denied: `--seccomp-explain`.

A thread is known by its id; as long as its call waits, no other thread has that id.  Its name is its own choice.
"""

from __future__ import annotations

import select

from ocirt import system as os
from ocirt.config import jsontext
from ocirt.kernel.notifications import CONTINUE, still_waits, tgkill
from ocirt.log import timestamp
from ocirt.options import STANDARD_STREAM
from ocirt.seccomp.profile import ERRNO, LARGEST_DATA
from ocirt.seccomp.reasons import abi_of, action_name
from ocirt.seccomp.sections import ACTION_BITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.kernel.notifications import Notification
    from ocirt.seccomp.reasons import Reasons, Verdict

STDERR = 2
SIGKILL, SIGSYS = 9, 31
EPERM = 1


class Explainer:
    """Tells of the calls that it denies.  path: of a file that grows, or STANDARD_STREAM for standard error."""

    def __init__(self, path: str, reasons: Reasons) -> None:
        self.path = path
        self.reasons = reasons
        self.fd = STDERR
        self._made = False

    def describe(self) -> str:
        where = "standard error" if self.path == STANDARD_STREAM else self.path
        return f"hear of the calls that the filter denies, and explain each in {where}"

    def prepare(self) -> None:
        """Raises OSError."""
        if self.path == STANDARD_STREAM:
            return
        # O_NONBLOCK: to open a FIFO would wait for a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            self.fd = os.open(self.path, flags)
        except FileNotFoundError:
            self.fd = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o644)
            self._made = True

    def undo(self) -> None:
        """What was told stays: it may be why init could not get on."""
        if self._made and not os.fstat(self.fd).st_size:
            os.unlink(self.path)

    def descriptors(self) -> tuple[int, ...]:
        return (self.fd,)

    def answer(self, call: Notification, listener: int) -> tuple[int, int]:
        """(errno, flags) for the call.  What the rule wants killed is killed."""
        verdict = self.reasons.of(call.token, call.number, call.arguments)
        if not verdict.denies:
            return 0, CONTINUE
        status = read_status(call.thread)
        self._tell(call, verdict, status)
        if verdict.action & ACTION_BITS == ERRNO:
            return verdict.action & LARGEST_DATA, 0
        if still_waits(listener, call.id):
            kill(int(status.get("Tgid") or call.thread), call.thread, status)
        return EPERM, 0  # it never sees this: the signal comes first

    def end(self) -> None:
        """All has been told."""

    def _tell(self, call: Notification, verdict: Verdict, status: dict[str, str]) -> None:
        """A full pipe, or a terminal that is told to wait, gets no line: all whose calls are denied would wait too."""
        ready = select.poll()
        ready.register(self.fd, select.POLLOUT)
        if not ready.poll(0):
            return
        line = jsontext.dump(self.document(call, verdict, status)) + "\n"
        try:
            os.write(self.fd, line.encode())
        except OSError:
            pass  # a full disk, or a reader that is gone: the call is denied all the same

    def document(self, call: Notification, verdict: Verdict, status: dict[str, str]) -> dict[str, Any]:
        abi = abi_of(call.token, call.number)
        errno = {"errno": verdict.action & LARGEST_DATA} if verdict.action & ACTION_BITS == ERRNO else {}
        return {
            "time": timestamp(),
            "comm": status.get("Name", "").encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
            "pid": int(status.get("Tgid") or call.thread),
            "tid": call.thread,
            "syscall": (abi and self.reasons.name(abi, call.number)) or f"{call.number}",
            "number": call.number,
            "arch": abi.name if abi else f"{call.token:#x}",
            "args": [f"{argument:#x}" for argument in call.arguments],
            "action": action_name(verdict.action),
            **errno,
            "rule": verdict.at,
            "why": verdict.why,
        }


def read_status(thread: int) -> dict[str, str]:
    """/proc/PID/status; empty when the process is gone, or not ours to see."""
    try:
        lines = os.read_text(f"/proc/{thread}/status").split("\n")  # a name may have other line ends
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def kill(process: int, thread: int, status: dict[str, str]) -> None:
    """End the process as the filter would, by SIGSYS; by SIGKILL where that would not end it.

    A filter can end one thread of several; from outside only the whole process can be ended, and none that is in a pid
    namespace beside ours: its call fails, and no more.
    """
    try:
        tgkill(process, thread, SIGSYS if _ends_by_sigsys(status) else SIGKILL)
    except OSError:
        pass  # it has just ended, or cannot be seen


def _ends_by_sigsys(status: dict[str, str]) -> bool:
    """Not when the program blocks, ignores or catches it, nor the first process of a pid namespace."""
    bit = 1 << SIGSYS - 1
    first = status.get("NSpid", "").split()[1:][-1:] == ["1"]
    masks = [int(status.get(name, "0"), 16) for name in ("SigBlk", "SigIgn", "SigCgt")]
    return bool(status) and not first and not any(mask & bit for mask in masks)
