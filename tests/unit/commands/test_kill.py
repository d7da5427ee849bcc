"""kill: which process gets which signal, and what is said when there is none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from ocirt.commands import kill
from ocirt.container import Container
from ocirt.errors import OcirtError, StateError
from tests.support import records


@pytest.fixture
def init() -> Iterator[Popen[bytes]]:
    process = records.sleeper()
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("words", "signal"), [([], 15), (["TERM"], 15), (["SIGKILL"], 9), (["9"], 9), (["usr1"], 10), (["SigInt"], 2)]
)
def test_signal_reaches_init(tmp_path: Path, init: Popen[bytes], words: list[str], signal: int) -> None:
    records.make(tmp_path, "web1", init.pid)
    assert records.run(kill, tmp_path, "web1", *words) == 0
    assert init.wait(10) == -signal


def test_unknown_signal_comes_before_the_container(tmp_path: Path) -> None:
    with pytest.raises(OcirtError) as caught:
        records.run(kill, tmp_path, "absent", "NOSIG")
    assert (caught.value.code, caught.value.what) == ("signal", 'unknown signal "NOSIG"')


@pytest.mark.parametrize("signal", ["TERM", "KILL", "0"])
def test_stopped(tmp_path: Path, init: Popen[bytes], signal: str) -> None:
    records.make(tmp_path, "web1", init.pid)
    init.kill()
    init.wait()
    with pytest.raises(StateError) as caught:
        records.run(kill, tmp_path, "web1", signal)
    assert (caught.value.code, caught.value.what) == ("status", "container not running")
    assert records.run(kill, tmp_path, "--all", "web1", signal) == 0


def test_unknown_container(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="container does not exist"):
        records.run(kill, tmp_path, "-a", "web1")


class Cgroup:
    """Stands in for the manager: remembers what it was told."""

    def __init__(self, pids: list[int], frozen: bool = False, ours: bool = True) -> None:
        self._pids, self._frozen, self._ours = pids, frozen, ours
        self.calls: list[object] = []

    def exists(self) -> bool:
        return True

    def ours(self) -> bool:
        return self._ours

    def pids(self) -> list[int]:
        return self._pids

    def frozen(self) -> bool:
        return self._frozen

    def kill(self, signal: int) -> None:
        self.calls.append(("kill", signal))

    def freeze(self, on: bool) -> None:
        self.calls.append(("freeze", on))


@pytest.mark.parametrize(
    ("namespaces", "frozen", "signal", "calls"),
    [
        ([{"type": "pid"}], False, "KILL", []),
        ([{"type": "pid"}], True, "KILL", [("freeze", False)]),
        ([], False, "KILL", [("kill", 9)]),
        ([{"type": "pid", "path": "/proc/1/ns/pid"}], True, "9", [("kill", 9), ("freeze", False)]),
        ([], True, "TERM", []),
    ],
)
def test_cgroup(
    tmp_path: Path,
    init: Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    namespaces: list[dict[str, str]],
    frozen: bool,
    signal: str,
    calls: list[object],
) -> None:
    cgroup = Cgroup([init.pid], frozen)
    monkeypatch.setattr(Container, "manager", lambda self: cgroup)
    container = records.make(tmp_path, "web1", init.pid)
    config = {"ociVersion": "1.3.0", "linux": {"namespaces": namespaces}}
    Path(tmp_path, "web1", "config.json").write_text(json.dumps(config))
    assert container.pid == init.pid
    assert records.run(kill, tmp_path, "web1", signal) == 0
    assert cgroup.calls == calls


def test_leftovers_of_a_dead_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a shared pid namespace processes may outlive init; killing them is a success."""
    cgroup = Cgroup([os.getpid()])
    monkeypatch.setattr(Container, "manager", lambda self: cgroup)
    records.make(tmp_path, "web1", 0, {"ociVersion": "1.3.0", "linux": {}})
    assert records.run(kill, tmp_path, "web1", "KILL") == 0
    assert cgroup.calls == [("kill", 9)]


def test_container_that_run_removes_at_once(
    tmp_path: Path, init: Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` in the foreground may see init's end before we look further: the signal did what it was for."""
    cgroup = Cgroup([init.pid])
    monkeypatch.setattr(Container, "manager", lambda self: cgroup)
    records.make(tmp_path, "web1", init.pid)
    Path(tmp_path, "web1", "config.json").unlink()
    assert records.run(kill, tmp_path, "web1", "KILL") == 0
    assert (init.wait(10), cgroup.calls) == (-9, [])
