"""The v2 manager itself against the kernel: what no command shows."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.cgroups.v2 import V2Manager
from ocirt.errors import OcirtError
from tests.support.host import Place


@pytest.fixture
def manager(place: Place) -> Iterator[V2Manager]:
    manager = V2Manager({"": str(place.cgroup("") / "managed")})
    manager.create()
    yield manager
    if manager.exists():
        manager.kill(signal.SIGKILL)
    manager.remove()
    assert not manager.exists()


@pytest.fixture
def sleepers(manager: V2Manager) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two in the cgroup, one in a cgroup below it."""
    processes = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
    for process in processes[:2]:
        manager.join(process.pid)
    below = Path(manager.directory, "below")
    below.mkdir()
    (below / "cgroup.procs").write_text(str(processes[2].pid))
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_pids_below(manager: V2Manager, sleepers: list[subprocess.Popen[bytes]]) -> None:
    assert manager.pids() == sorted(process.pid for process in sleepers)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_kill(
    manager: V2Manager,
    sleepers: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    at_once: bool,
    frozen: bool,
) -> None:
    """cgroup.kill is there since Linux 5.14; a frozen process dies as it is."""
    if not at_once:
        monkeypatch.setattr(V2Manager, "_kill_at_once", lambda self: False)
    if frozen:
        manager.freeze(True)
    manager.kill(signal.SIGKILL)
    assert [process.wait(10) for process in sleepers] == [-signal.SIGKILL] * 3
    assert manager.frozen() == frozen
    assert manager.pids() == []


def test_another_signal_reaches_all_and_leaves_them_running(
    manager: V2Manager, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    manager.kill(signal.SIGTERM)
    assert [process.wait(10) for process in sleepers] == [-signal.SIGTERM] * 3
    assert not manager.frozen()


def test_cgroup_kill_is_not_for_threaded_ones(manager: V2Manager) -> None:
    Path(manager.directory, "inner").mkdir()
    Path(manager.directory, "inner/cgroup.type").write_text("threaded")
    inner = V2Manager({"": f"{manager.directory}/inner"})
    assert not inner._kill_at_once()
    process = subprocess.Popen(["sleep", "1000"])
    manager.join(process.pid)
    inner.join(process.pid)
    assert inner.pids() == [process.pid]
    inner.kill(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL


def test_frozen_at_return(manager: V2Manager, sleepers: list[subprocess.Popen[bytes]]) -> None:
    manager.freeze(True)
    assert "frozen 1" in Path(manager.directory, "cgroup.events").read_text().splitlines()
    manager.freeze(False)
    assert not manager.frozen()


def test_what_is_in_use_is_not_removed(manager: V2Manager, sleepers: list[subprocess.Popen[bytes]]) -> None:
    with pytest.raises(OcirtError) as caught:
        manager.remove()
    assert caught.value.what == f"remove {manager.directory}: 3 process(es) left in it"
