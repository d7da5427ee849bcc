"""Directories that nobody has a claim to any more, on an ordinary file system."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.cgroups import claim
from ocirt.cgroups.claim import remove_left


class Clock:
    """Time that passes only when somebody sleeps; after so many seconds `leave` is called."""

    def __init__(self, leave: Callable[[], None], seconds: float) -> None:
        self.now = 0.0
        self.leave = leave
        self.seconds = seconds

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.seconds:
            self.leave()


def test_a_cgroup_is_left_in_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an init that dies with its create: here a file keeps the directory."""
    (tmp_path / "a/b").mkdir(parents=True)
    process = tmp_path / "a/b/process"
    process.touch()
    clock = Clock(lambda: process.unlink(missing_ok=True), 0.5)
    monkeypatch.setattr(claim, "time", clock)
    remove_left([f"{tmp_path}/{name}" for name in ("a", "a/b", "never/made")])
    assert os.listdir(tmp_path) == []
    assert 0.5 <= clock.now < 0.6


def test_who_stays_in_a_cgroup_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One time for all; and none at all for a cgroup that has others below."""
    for name in ("a", "b", "c/d/e"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / name / "process").touch()
    clock = Clock(lambda: None, 0)
    warned: list[str] = []
    monkeypatch.setattr(claim, "time", clock)
    monkeypatch.setattr(claim.log, "warning", warned.append)
    remove_left([f"{tmp_path}/c", f"{tmp_path}/c/d"])
    assert clock.now == 0
    assert warned == []
    remove_left([f"{tmp_path}/a", f"{tmp_path}/b"])
    assert claim.REMOVE_DEADLINE <= clock.now < claim.REMOVE_DEADLINE + 0.1
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
    assert warned == [f"the cgroup {tmp_path}/{name} stays: there are processes in it" for name in ("b", "a")]


def test_a_cgroup_in_which_a_container_is_being_created_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is empty until its init is born."""
    removed: list[str] = []
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/cgroup.procs").touch()
    monkeypatch.setattr(claim, "remove_if_unused", lambda directory: not removed.append(directory))
    with (tmp_path / "theirs/cgroup.procs").open("w") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        remove_left([f"{tmp_path}/theirs"])
        assert removed == []
    remove_left([f"{tmp_path}/theirs"])
    assert removed == [f"{tmp_path}/theirs"]
