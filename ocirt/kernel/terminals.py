"""System calls on pseudoterminals (pty(7), ioctl_tty(2)) and the passing of one descriptor (unix(7))."""

from __future__ import annotations

import _socket
import _struct as struct  # built in; the public module is a file
import fcntl

from ocirt import system as os
from ocirt.errors import KernelError
from ocirt.kernel import numbers
from ocirt.kernel.ffi import address_of, buffer, syscall

TCGETS = 0x5401
TCSETS, TCSETSW = 0x5402, 0x5403
TIOCSCTTY = 0x540E
TIOCGWINSZ = 0x5413
TIOCSWINSZ = 0x5414
TIOCGPTN = 0x80045430
TIOCSPTLCK = 0x40045431
TIOCGPTPEER = 0x5441

# struct termios of the kernel, ioctl_tty(2): the modes of input, output, control and local, and characters.
_TERMIOS = struct.Struct("=IIII20s")
# <asm-generic/termbits.h>; what each does: termios(3).
_IGNBRK, _BRKINT, _PARMRK, _ISTRIP, _INLCR, _IGNCR, _ICRNL, _IXON = 0o1, 0o2, 0o10, 0o40, 0o100, 0o200, 0o400, 0o2000
_OPOST = 0o1
_CSIZE, _CS8, _PARENB = 0o60, 0o60, 0o400
_ISIG, _ICANON, _ECHO, _ECHONL, _IEXTEN = 0o1, 0o2, 0o10, 0o100, 0o100000

_IOVEC = struct.Struct("@PN")
_MSGHDR = struct.Struct("@PIPNPNi0P")  # struct msghdr: name, its length, iov, its length, control, its length, flags
_RIGHTS = struct.Struct("@Niii")  # struct cmsghdr and one descriptor: CMSG_LEN(4) bytes
_DESCRIPTOR = struct.Struct("@i")


def _ioctl(name: str, fd: int, request: int, argument: int | bytes) -> int | bytes:
    try:
        return fcntl.ioctl(fd, request, argument)
    except OSError as error:
        raise KernelError(error.errno or 0, error.strerror or "", "ioctl", name) from None


def pty_number(master: int) -> int:
    """TIOCGPTN: N of /dev/pts/N."""
    answer = _ioctl("TIOCGPTN", master, TIOCGPTN, bytes(4))
    assert isinstance(answer, bytes)
    return int(struct.unpack("i", answer)[0])


def unlock_pty(master: int) -> None:
    """TIOCSPTLCK: allow the other side to be opened."""
    _ioctl("TIOCSPTLCK", master, TIOCSPTLCK, bytes(4))


def open_pty_peer(master: int) -> int:
    """TIOCGPTPEER (Linux 4.13): the other side, without any path that could lead elsewhere (CVE-2025-52565)."""
    peer = _ioctl("TIOCGPTPEER", master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    assert isinstance(peer, int)
    return peer


def window_size(fd: int) -> tuple[int, int]:
    """TIOCGWINSZ: rows and columns of the terminal that is open there; 0 for anything else, and where nobody knows."""
    try:
        answer = _ioctl("TIOCGWINSZ", fd, TIOCGWINSZ, bytes(8))
    except KernelError:
        return 0, 0
    assert isinstance(answer, bytes)
    rows, columns, _, _ = struct.unpack("HHHH", answer)
    return rows, columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ, in characters."""
    _ioctl("TIOCSWINSZ", fd, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def make_raw(fd: int) -> bytes:
    """TCGETS and TCSETS, with cfmakeraw(3) between: each character is handed on as it is, also Ctrl-C.

    Returns what the terminal was like, for set_modes().
    """
    before = _ioctl("TCGETS", fd, TCGETS, bytes(_TERMIOS.size))
    assert isinstance(before, bytes)
    of_input, of_output, of_control, local, characters = _TERMIOS.unpack(before)
    of_input &= ~(_IGNBRK | _BRKINT | _PARMRK | _ISTRIP | _INLCR | _IGNCR | _ICRNL | _IXON)
    local &= ~(_ECHO | _ECHONL | _ICANON | _ISIG | _IEXTEN)
    of_control = of_control & ~(_CSIZE | _PARENB) | _CS8
    _ioctl("TCSETS", fd, TCSETS, _TERMIOS.pack(of_input, of_output & ~_OPOST, of_control, local, characters))
    return before


def set_modes(fd: int, modes: bytes) -> None:
    """TCSETSW: what the terminal is like, as soon as all that was written to it is sent."""
    _ioctl("TCSETSW", fd, TCSETSW, modes)


def set_controlling_terminal(fd: int) -> None:
    """TIOCSCTTY: the terminal of the session that the caller leads."""
    _ioctl("TIOCSCTTY", fd, TIOCSCTTY, 0)


class FdMessage:
    """A message with one descriptor (SCM_RIGHTS) that may be made before the descriptor is there.

    What it needs of memory it has then: to get more may take brk(2) or mmap(2), which a seccomp filter may leave to the
    very process that waits for this message.
    """

    __slots__ = ("_content", "_control", "_header", "_vector")

    def __init__(self, data: bytes) -> None:
        no_descriptor = -1
        rights = (_RIGHTS.size, _socket.SOL_SOCKET, _socket.SCM_RIGHTS, no_descriptor)
        self._content, self._control = buffer(data), buffer(_RIGHTS.pack(*rights))
        self._vector = buffer(_IOVEC.pack(address_of(self._content), len(data)))
        vector, control = address_of(self._vector), address_of(self._control)
        self._header = _MSGHDR.pack(0, 0, vector, 1, control, _RIGHTS.size, 0)

    def send(self, socket: int, fd: int, flags: int) -> None:
        """sendmsg(2) on a connected unix socket, which stays open.

        That one call and no other: to make a socket object of a descriptor, Python asks getsockname(2), which a filter
        may refuse, or leave to an agent.
        """
        _DESCRIPTOR.pack_into(self._control, _RIGHTS.size - _DESCRIPTOR.size, fd)
        syscall("sendmsg", numbers.sendmsg, socket, self._header, flags, detail="SCM_RIGHTS")


def send_fd(socket: int, data: bytes, fd: int) -> None:
    """A FdMessage, made and sent."""
    FdMessage(data).send(socket, fd, _socket.MSG_NOSIGNAL)
