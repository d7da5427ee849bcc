"""The explainer's lines: what they hold of others, and that nobody waits for their reader."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.config.views import Seccomp
from ocirt.kernel.notifications import Notification
from ocirt.options import STANDARD_STREAM
from ocirt.seccomp import explained
from ocirt.seccomp.explained import Explainer
from ocirt.seccomp.reasons import Reasons
from tests.support.profiles import X86_64, profile, rule

MKDIR = Notification(1, os.getpid(), 83, X86_64, (0,) * 6)
EIO = 5


@pytest.fixture
def explainer() -> Explainer:
    denies = profile(rule("mkdir", "ERRNO", errno=EIO), default="ALLOW")
    return Explainer(STANDARD_STREAM, Reasons(Seccomp(denies, "/linux/seccomp"), "x86_64"))


@pytest.fixture
def pipe(explainer: Explainer) -> Iterator[tuple[int, int]]:
    reading, explainer.fd = os.pipe()
    yield reading, explainer.fd
    os.close(reading)
    os.close(explainer.fd)


def line(reading: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(os.read(reading, 1 << 16))
    return found


def test_a_full_pipe_is_not_waited_for(explainer: Explainer, pipe: tuple[int, int]) -> None:
    """The call is denied, the line dropped."""
    reading, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * 4096)
    assert explainer.answer(MKDIR, -1) == (EIO, 0)
    assert os.read(reading, 1 << 16) == b"x" * 4096
    assert explainer.answer(MKDIR, -1) == (EIO, 0)
    assert line(reading)["syscall"] == "mkdir"


def test_a_terminal_that_is_told_to_wait_is_not_waited_for(explainer: Explainer) -> None:
    """Ctrl-S."""
    master, explainer.fd = pty.openpty()
    termios.tcflow(explainer.fd, termios.TCOOFF)
    assert explainer.answer(MKDIR, -1) == (EIO, 0)
    termios.tcflow(explainer.fd, termios.TCOON)
    assert explainer.answer(MKDIR, -1) == (EIO, 0)
    assert line(master)["syscall"] == "mkdir"
    os.close(explainer.fd)
    os.close(master)


def test_a_reader_that_is_gone(explainer: Explainer) -> None:
    reading, explainer.fd = os.pipe()
    os.close(reading)
    assert explainer.answer(MKDIR, -1) == (EIO, 0)
    os.close(explainer.fd)


@pytest.mark.parametrize(
    ("name", "comm"), [(b"\xff", "\ufffd"), (b"a\xc3\xa9", "a\u00e9"), (b"a\x0bTgid:\t1", "a\x0bTgid:\t1")]
)
def test_names_that_are_no_text(
    explainer: Explainer, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, name: bytes, comm: str
) -> None:
    """In UTF-8 without surrogates, whole, and in one member."""
    own = Path("/proc/self/comm").read_bytes()
    Path("/proc/self/comm").write_bytes(name)
    try:
        explainer.answer(MKDIR, -1)
    finally:
        Path("/proc/self/comm").write_bytes(own.rstrip(b"\n"))
    found = line(pipe[0])
    assert found["comm"] == comm
    assert found["pid"] == os.getpid()


def test_standard_error(explainer: Explainer) -> None:
    explainer.prepare()
    assert explainer.fd == explained.STDERR
