"""A trial: its answer, its reasons, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.errors import KernelError, OcirtError
from ocirt.probe import Check, Outcome, Unavailable, attempt


def tried(trial: Callable[[], str], *leftovers: Path) -> tuple[bool, str]:
    outcome = attempt.attempt(Check("a.name", "/hostname", trial, tuple(map(str, leftovers))))
    assert isinstance(outcome, Outcome)
    assert (outcome.name, outcome.at) == ("a.name", "/hostname")
    return outcome.works, outcome.note


def raising(error: Exception) -> Callable[[], str]:
    def trial() -> str:
        raise error

    return trial


@pytest.mark.parametrize("note", ["", "with a note", "ü" * 5000])
def test_it_works(note: str) -> None:
    assert tried(lambda: note) == (True, note)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("there is none"), "there is none"),
        (KernelError(1, "Operation not permitted", "mount", "a lot"), "mount: operation not permitted"),
        (FileNotFoundError(2, "No such file or directory", "/nonesuch"), "/nonesuch: no such file or directory"),
        (OSError(38, "Function not implemented"), "function not implemented"),
        (OcirtError("cgroup", "connect", detail="to nobody"), "connect: to nobody"),
        (ValueError("an odd one"), "ValueError: an odd one"),
    ],
)
def test_it_does_not(error: Exception, reason: str) -> None:
    assert tried(raising(error)) == (False, reason)


def test_it_is_killed() -> None:
    def trial() -> str:
        os.kill(os.getpid(), signal.SIGSYS)
        return "never"

    assert tried(trial) == (False, "the process that tried it was killed")


def test_it_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its children too are gone when the answer is there."""
    monkeypatch.setattr(attempt, "TIME", 0.2)

    def trial() -> str:
        pid = os.fork()
        (tmp_path / str(pid or os.getpid())).touch()
        time.sleep(600)
        return ""

    assert tried(trial) == (False, "no answer within 0 seconds")
    pids = [int(file.name) for file in tmp_path.iterdir()]
    assert pids
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_leftovers_are_removed_whatever_becomes_of_it(tmp_path: Path) -> None:
    made = tmp_path / "made"

    def trial() -> str:
        made.mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    assert not tried(trial, made, tmp_path / "never")[0]
    assert not made.exists()


def test_the_caller_stays_as_it_is() -> None:
    def trial() -> str:
        os.chdir("/proc")
        os.umask(0o777)
        os.environ["CHANGED"] = "1"
        return os.getcwd()

    before = os.getcwd(), set(os.listdir("/proc/self/fd"))
    assert tried(trial) == (True, "/proc")
    assert (os.getcwd(), set(os.listdir("/proc/self/fd"))) == before
    assert "CHANGED" not in os.environ


def test_a_child_of_a_trial() -> None:
    def trial() -> str:
        attempt.in_child(lambda: None)
        attempt.in_child(raising(Unavailable("deep down")))
        return ""

    assert tried(trial) == (False, "deep down")
