"""The terminal of run and exec: copying that never waits for one side only."""

from __future__ import annotations

import os
import pty
import select
import tty
from collections.abc import Iterator

import pytest

from ocirt.process import terminal as module
from ocirt.process.terminal import Terminal


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Terminal, int, int, int]]:
    """(terminal, the container's side, our input's writing end, our output's reading end)."""
    made = Terminal()
    os.close(made.console)
    made.master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(made.master, False)
    stdin, feed = os.pipe()
    shown, stdout = os.pipe()
    monkeypatch.setattr(module, "STDIN", stdin)
    monkeypatch.setattr(module, "STDOUT", stdout)
    yield made, slave, feed, shown
    for fd in (made.master, slave, stdin, feed, shown, stdout):
        try:
            os.close(fd)
        except OSError:
            continue


def step(terminal: Terminal) -> dict[int, int]:
    poll = select.poll()
    terminal.watch(poll)
    ready = dict(poll.poll(0))
    terminal.copy(ready)
    return ready


def test_both_ways(inside: tuple[Terminal, int, int, int]) -> None:
    terminal, slave, feed, shown = inside
    os.write(feed, b"in")
    os.write(slave, b"out")
    step(terminal)
    assert (os.read(slave, 10), os.read(shown, 10)) == (b"in", b"out")


def test_output_while_the_input_is_full(inside: tuple[Terminal, int, int, int]) -> None:
    terminal, slave, feed, shown = inside
    for _ in range(64):  # 256 KiB: more than a terminal's buffer holds
        if not select.select([], [feed], [], 0)[1]:
            break
        os.write(feed, b"x" * 4096)
        step(terminal)
    assert step(terminal) == {}
    os.write(slave, b"out")
    step(terminal)
    assert os.read(shown, 10) == b"out"


def test_output_that_nobody_reads(inside: tuple[Terminal, int, int, int]) -> None:
    terminal, slave, _, shown = inside
    os.close(shown)
    for _ in range(3):
        os.write(slave, b"out")
        assert terminal.master in step(terminal)
    assert step(terminal) == {}


def test_input_after_the_container_closed_its_side(inside: tuple[Terminal, int, int, int]) -> None:
    terminal, slave, feed, _ = inside
    os.close(slave)
    os.write(feed, b"in")
    step(terminal)
    assert step(terminal) == {}
