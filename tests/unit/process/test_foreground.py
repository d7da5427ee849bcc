"""Staying with a process: its status, signals on their way, orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runtime import poll

HERE = Path(__file__).resolve().parents[3]

# A program of its own: the process's signals are held back.
CODE = """
import os, signal, sys
sys.path.insert(0, {tree!r})
from ocirt.pipeline import FORWARDED
from ocirt.process.foreground import let_signals_in, stay
signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
{before}
pid = os.posix_spawn("/bin/sh", ["sh", "-c", {script!r}], {{"PATH": "/usr/bin:/bin"}}, setsigmask=[])
code = stay(pid, None)
{after}
sys.exit(code)
"""
SAYS = "trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.1; done"


def start(script: str, before: str = "", after: str = "") -> subprocess.Popen[str]:
    code = CODE.format(tree=str(HERE), script=script, before=before, after=after)
    return subprocess.Popen([sys.executable, "-IS", "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_exit_codes(script: str, code: int) -> None:
    with start(script) as process:
        assert process.wait(30) == code


@pytest.mark.parametrize("name", ["TERM", "USR1", "HUP", "INT", "WINCH", "CONT", "RTMIN", "RTMAX"])
def test_signals_are_forwarded(name: str) -> None:
    """SIGWINCH, too, which is ignored by default."""
    with start(SAYS.format(name=name)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, getattr(signal, f"SIG{name}"))
        assert process.stdout.readline() == f"got {name}\n"
        assert process.wait(30) == 9


def test_what_came_before_is_forwarded() -> None:
    with start("exec sleep 1000", before="os.kill(os.getpid(), signal.SIGUSR2)") as process:
        assert process.wait(30) == 128 + signal.SIGUSR2


def waits(pid: int, number: int) -> bool:
    """Whether the signal is pending: proc_pid_status(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(mask >> number - 1 & 1 for mask in masks)


def test_what_is_not_for_the_program() -> None:
    """Go's runtime sends itself SIGURG all the time; SIGCHLD is of our own children."""
    script = "trap 'echo got URG' URG; trap 'echo got CHLD' CHLD; trap 'exit 9' USR1; echo ready; while :; do :; done"
    with start(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        others = (signal.SIGURG, signal.SIGCHLD)
        for number in others:
            os.kill(process.pid, number)
        poll(lambda: not any(waits(process.pid, number) for number in others), "them to be read: USR1 would be first")
        os.kill(process.pid, signal.SIGUSR1)
        assert process.stdout.read() == ""
        assert process.wait(30) == 9


def test_what_comes_after_is_dropped() -> None:
    """A hook may be interrupted then, and not by what was sent to the program."""
    after = "os.kill(os.getpid(), 15); let_signals_in(); print('alive', signal.pthread_sigmask(0, ()) & {1, 2, 3, 15})"
    with start("exit 4", after=after) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "alive set()\n"
        assert process.wait(30) == 4
