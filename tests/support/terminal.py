"""A program on a pseudoterminal of the test's, as a person at a shell would start it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios


class OnTerminal:
    """A command of the runtime whose three descriptors are a pseudoterminal of ours, as in a login shell."""

    def __init__(self, arguments: list[str], rows: int = 24, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.child = subprocess.Popen(["setsid", "--ctty", *arguments], stdin=slave, stdout=slave, stderr=slave)

    def write(self, data: bytes) -> None:
        os.write(self.master, data)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def finish(self) -> int:
        """The exit code; the terminal must be as it was."""
        code = self.child.wait(30)
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return code
