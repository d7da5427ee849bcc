"""Staying with a process: its status, signals on their way, orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[3]

# A program of its own: stay() takes over the process's signals.
CODE = """
import os, sys
sys.path.insert(0, {tree!r})
from ocirt.process.foreground import stay
pid = os.posix_spawn("/bin/sh", ["sh", "-c", {script!r}], {{"PATH": "/usr/bin:/bin"}}, setsigdef=[1, 2, 10, 15])
sys.exit(stay(pid, None))
"""


def start(script: str) -> subprocess.Popen[str]:
    code = CODE.format(tree=str(HERE), script=script)
    return subprocess.Popen([sys.executable, "-IS", "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_exit_codes(script: str, code: int) -> None:
    with start(script) as process:
        assert process.wait(30) == code


def wait_until_all_are_caught(pid: int) -> None:
    """The script may be ready before stay() is, which catches the last signal last."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line.split()[1] for line in status.split("\n") if line.startswith("SigCgt:"))
        if int(caught, 16) >> (signal.SIGRTMAX - 1) & 1:
            return
    raise TimeoutError("the signals are not caught")


@pytest.mark.parametrize("name", ["TERM", "USR1", "HUP", "INT"])
def test_signals_are_forwarded(name: str) -> None:
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.1; done"
    with start(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_until_all_are_caught(process.pid)
        os.kill(process.pid, getattr(signal, f"SIG{name}"))
        assert process.stdout.readline() == f"got {name}\n"
        assert process.wait(30) == 9
