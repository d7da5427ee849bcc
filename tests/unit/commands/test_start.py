"""start: what it refuses.  That it starts is for tests/e2e."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.commands import start
from ocirt.errors import StateError
from tests.support import records


def test_running(tmp_path: Path) -> None:
    records.make(tmp_path, "web1", os.getpid())
    with pytest.raises(StateError, match="cannot start an already running container"):
        records.run(start, tmp_path, "web1")


def test_creating(tmp_path: Path) -> None:
    records.make(tmp_path, "web1")
    with pytest.raises(StateError, match="cannot start a container in the creating state"):
        records.run(start, tmp_path, "web1")


def test_stopped(tmp_path: Path) -> None:
    process = records.sleeper()
    records.make(tmp_path, "web1", process.pid)
    process.kill()
    process.wait()
    with pytest.raises(StateError, match="cannot start a container that has stopped"):
        records.run(start, tmp_path, "web1")


def test_unknown(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="container does not exist"):
        records.run(start, tmp_path, "web1")
