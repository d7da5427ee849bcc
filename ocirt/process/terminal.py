"""The terminal of `run -t` and `exec -t`: our own terminal made raw, its size, and copying both ways."""

from __future__ import annotations

import _socket
import fcntl

from ocirt import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STDIN, STDOUT = 0, 1
TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414
WINDOW_SIZE = 8  # bytes of struct winsize: rows, columns and two unused shorts
CHUNK = 65536


class Terminal:
    """The master side of the container's terminal, and ours.

    Between attach() and restore() our terminal is raw; restore() must run whatever happens.
    """

    def __init__(self) -> None:
        self._socket, inits = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self.console = inits.detach()
        self.master = -1
        self._saved: list[Any] | None = None

    def attach(self) -> None:
        """Take the master that init has sent, hand our window size on, and make our terminal raw."""
        os.close(self.console)
        _, ancillary, _, _ = self._socket.recvmsg(4096, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        self.master = int.from_bytes(ancillary[0][2][:4], "little")
        self._socket.close()
        self.resize()
        if os.isatty(STDIN):
            self._make_raw()

    def resize(self) -> None:
        """Give the container's terminal the size of ours, when we have one."""
        if os.isatty(STDIN):
            size = fcntl.ioctl(STDIN, TIOCGWINSZ, bytes(WINDOW_SIZE))
            fcntl.ioctl(self.master, TIOCSWINSZ, size)

    def _make_raw(self) -> None:
        """cfmakeraw(3) by hand; ISIG goes, so that Ctrl-C reaches the container as a character."""
        import termios

        self._saved = termios.tcgetattr(STDIN)
        iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(STDIN)
        iflag &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        oflag &= ~termios.OPOST
        lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        cflag = (cflag & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        termios.tcsetattr(STDIN, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])

    def restore(self) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(STDIN, termios.TCSADRAIN, self._saved)

    def copy_in(self) -> bool:
        """Our standard input to the container; False at its end."""
        data = os.read(STDIN, CHUNK)
        _write_all(self.master, data)
        return bool(data)

    def copy_out(self) -> bool:
        """The container's output to ours; False when nobody has the terminal open any more."""
        try:
            data = os.read(self.master, CHUNK)
        except OSError:  # EIO: the last holder of the other side is gone
            return False
        _write_all(STDOUT, data)
        return bool(data)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
