"""System calls that wait for a supervisor's answer: seccomp_unotify(2), and the signal a filter would send."""

from __future__ import annotations

import errno
import fcntl
from _struct import Struct  # built in; the public module is a file

from ocirt.errors import KernelError
from ocirt.kernel import numbers
from ocirt.kernel.ffi import syscall

# On powerpc too, where the direction's bits have other places: of ID_VALID this is the number that every kernel
# takes, the one with the wrong direction elsewhere.  SET_FLAGS is only asked for, never needed.
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
NOTIF_ID_VALID, NOTIF_SET_FLAGS = 0x80082102, 0x40082104
SYNC_WAKE_UP = 1  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6)
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE (Linux 5.5)

_NOTIFICATION = Struct("=QIIiIQ6Q")  # struct seccomp_notif: id, pid, flags; seccomp_data: nr, arch, ip, args
_ANSWER = Struct("=QqiI")  # struct seccomp_notif_resp: id, val, error, flags
_ID = Struct("=Q")
_WORD = 0xFFFFFFFF


class Notification:
    """A call that waits.  thread: its id here, 0 when it is of no process that we could see.

    number, token, arguments: seccomp_data's nr, arch and args.
    """

    __slots__ = ("arguments", "id", "number", "thread", "token")

    def __init__(self, id: int, thread: int, number: int, token: int, arguments: tuple[int, ...]) -> None:
        self.id = id
        self.thread = thread
        self.number = number
        self.token = token
        self.arguments = arguments


def receive_notification(listener: int) -> Notification | None:
    """The next one; None when the call was given up meanwhile.  Raises KernelError."""
    memory = bytearray(_NOTIFICATION.size)  # the kernel demands zeros
    try:
        fcntl.ioctl(listener, NOTIF_RECV, memory)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise KernelError(error.errno or 0, error.strerror or "", "ioctl", "SECCOMP_IOCTL_NOTIF_RECV") from None
    id, thread, _, number, token, _, *arguments = _NOTIFICATION.unpack(memory)
    return Notification(id, thread, number & _WORD, token, tuple(arguments))


def answer_notification(listener: int, id: int, error: int = 0, flags: int = 0) -> None:
    """The call returns -error (0: it returns 0), or goes on with CONTINUE.  One that was given up is no failure."""
    try:
        fcntl.ioctl(listener, NOTIF_SEND, _ANSWER.pack(id, 0, -error, flags))
    except OSError as failure:
        if failure.errno != errno.ENOENT:
            raise KernelError(failure.errno or 0, failure.strerror or "", "ioctl", "SECCOMP_IOCTL_NOTIF_SEND") from None


def still_waits(listener: int, id: int) -> bool:
    """Whether the call waits still: only then its process is the one that it was."""
    try:
        fcntl.ioctl(listener, NOTIF_ID_VALID, _ID.pack(id))
    except OSError:
        return False
    return True


def wake_at_once(listener: int) -> None:
    """Let who is answered run on the same CPU next: half the time, where the kernel can."""
    try:
        fcntl.ioctl(listener, NOTIF_SET_FLAGS, SYNC_WAKE_UP)
    except OSError:
        pass


def tgkill(process: int, thread: int, signal: int) -> None:
    """tgkill(2)."""
    syscall("tgkill", numbers.tgkill, process, thread, signal, detail=f"process {process}, signal {signal}")
