"""Descriptors of the caller: socket activation and --preserve-fds."""

from __future__ import annotations

import os

import pytest

from ocirt.errors import OcirtError, UsageError
from ocirt.process import inherited


def test_activation_counts_only_when_it_names_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a:b"}
    monkeypatch.setattr(inherited.os, "getenv", lambda name: variables.get(name, ""))
    assert inherited.listen_fds() == (2, ("LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=a:b"))
    variables["LISTEN_PID"] = "1"
    assert inherited.listen_fds() == (0, ())
    variables.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="two")
    assert inherited.listen_fds() == (0, ())


def test_everything_above_the_kept_becomes_close_on_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int, int]] = []
    monkeypatch.setattr(inherited, "close_range", lambda *args: calls.append(args))
    monkeypatch.setattr(inherited, "_is_inherited", lambda fd: True)
    assert inherited.close_inherited("2", 1) == 2
    assert inherited.close_inherited("", 0) == 0
    assert [first for first, _, _ in calls] == [6, 3]


def test_a_descriptor_that_is_not_open_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inherited, "_is_inherited", lambda fd: fd == 3)
    with pytest.raises(OcirtError) as caught:
        inherited.close_inherited("2", 0)
    assert caught.value.what == "unable to stat preserved-fd 1 (of 2): bad file descriptor"


@pytest.mark.parametrize("text", ["-1", "x", "1.5", " "])
def test_no_number(text: str) -> None:
    with pytest.raises(UsageError):
        inherited.close_inherited(text, 0)


def test_what_python_opens_is_not_inherited() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    assert inherited._is_inherited(writing)
    assert not inherited._is_inherited(reading)
    os.close(reading)
    os.close(writing)
    assert not inherited._is_inherited(writing)
