"""The modes of a terminal, held to what termios(3) says of the same terminal."""

from __future__ import annotations

import errno
import os
import pty
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from ocirt.errors import KernelError
from ocirt.kernel.terminals import make_raw, set_modes


@pytest.fixture
def terminal() -> Iterator[int]:
    master, slave = pty.openpty()
    yield slave
    os.close(slave)
    os.close(master)


def with_every_mode(fd: int) -> list[Any]:
    """All that cfmakeraw(3) clears, beside what it leaves; the terminal's modes then."""
    iflag, oflag, cflag, lflag, _, _, cc = termios.tcgetattr(fd)
    iflag |= termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
    iflag |= termios.ICRNL | termios.IXON | termios.IXOFF | termios.IMAXBEL
    oflag |= termios.OPOST | termios.ONLCR
    cflag = cflag & ~termios.CSIZE | termios.CS7 | termios.PARENB | termios.HUPCL
    lflag |= termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN | termios.TOSTOP
    cc[termios.VINTR] = b"x"
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, termios.B9600, termios.B9600, cc])
    return modes(fd)


def modes(fd: int) -> list[Any]:
    """tcgetattr(3); Python has two of the characters as numbers where they are numbers: in raw modes."""
    *flags, characters = termios.tcgetattr(fd)
    return [*flags, [character if isinstance(character, bytes) else bytes([character]) for character in characters]]


def test_raw_is_what_cfmakeraw_makes(terminal: int) -> None:
    iflag, oflag, cflag, lflag, *rest = with_every_mode(terminal)
    make_raw(terminal)
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
    iflag &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    assert modes(terminal) == [iflag, oflag & ~termios.OPOST, cflag, lflag, *rest]
    assert (iflag & termios.IXOFF, oflag & termios.ONLCR) == (termios.IXOFF, termios.ONLCR)


def test_the_modes_come_back(terminal: int) -> None:
    before = with_every_mode(terminal)
    saved = make_raw(terminal)
    assert modes(terminal) != before
    set_modes(terminal, saved)
    assert modes(terminal) == before


def test_what_is_no_terminal() -> None:
    reading, writing = os.pipe()
    with pytest.raises(KernelError) as refused:
        make_raw(reading)
    assert (refused.value.call, refused.value.errno) == ("ioctl", errno.ENOTTY)
    os.close(reading)
    os.close(writing)
