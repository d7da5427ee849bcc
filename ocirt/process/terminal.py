"""The terminal of `run -t` and `exec -t`: our own terminal made raw, its size, and copying both ways."""

from __future__ import annotations

import _socket
import fcntl
import select

from ocirt import system as os
from ocirt.kernel.terminals import TIOCGWINSZ, TIOCSWINSZ, make_raw, set_modes

STDIN, STDOUT = 0, 1
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
        self._saved: bytes | None = None  # of our terminal
        self._pending = b""  # input that the container's terminal has not taken yet
        self._reads_input = True
        self._reads_output = True
        self._writes_output = True

    def attach(self) -> None:
        """Take the master that init has sent, hand our window size on, and make our terminal raw."""
        os.close(self.console)
        _, ancillary, _, _ = self._socket.recvmsg(4096, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        self.master = int.from_bytes(ancillary[0][2][:4], "little")
        os.set_blocking(self.master, False)  # input that nobody reads must not keep us from output and signals
        self._socket.close()
        self.resize()
        if os.isatty(STDIN):
            self._saved = make_raw(STDIN)

    def resize(self) -> None:
        """Give the container's terminal the size of ours, when we have one."""
        if os.isatty(STDIN):
            size = fcntl.ioctl(STDIN, TIOCGWINSZ, bytes(WINDOW_SIZE))
            fcntl.ioctl(self.master, TIOCSWINSZ, size)

    def restore(self) -> None:
        if self._saved is not None:
            try:
                set_modes(STDIN, self._saved)
            except OSError:
                pass  # our terminal is gone

    def watch(self, poll: select.poll) -> None:
        """Register what copy() waits for: no more input while the container has not taken the last."""
        if self._reads_output:
            poll.register(self.master, select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._reads_input and not self._pending:
            poll.register(STDIN, select.POLLIN)

    def copy(self, ready: dict[int, int]) -> None:
        """Move what can be moved.  ready: descriptor -> events, of poll(2)."""
        events = ready.get(self.master, 0)
        if events & ~select.POLLOUT:
            self._copy_out()
        if STDIN in ready:
            self._read_input()
        if self._pending:
            self._write_input()

    def drain(self) -> None:
        """The process has ended: the rest of its output."""
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        while self._reads_output and poll.poll(0):
            self._copy_out()

    def _read_input(self) -> None:
        try:
            self._pending = os.read(STDIN, CHUNK)
        except OSError:  # our terminal is gone
            self._pending = b""
        self._reads_input = bool(self._pending)

    def _write_input(self) -> None:
        try:
            self._pending = self._pending[os.write(self.master, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody in the container has the terminal open any more
            self._pending = b""
            self._reads_input = False

    def _copy_out(self) -> None:
        try:
            data = os.read(self.master, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last holder of the other side is gone
            data = b""
        self._reads_output = bool(data)
        if self._writes_output:
            try:
                os.write_all(STDOUT, data)
            except OSError:  # nobody reads it any more; the container goes on
                self._writes_output = False
