"""What create writes down, and that at no time less of it can be read than was made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ocirt import container as module
from ocirt.box import ROOT_PATH, Box
from ocirt.container import Container
from ocirt.pipeline import Plan, Undo
from ocirt.process.lifecycle import Wishes
from ocirt.process.making import Making
from tests.support import records


class Manager:
    token = "00"
    locked = True

    def __init__(self) -> None:
        self.made = ["/sys/fs/cgroup/pids/web1"]

    def record(self) -> dict[str, Any]:
        return {"kind": "v1", "paths": {"pids": self.made[0]}, "made": self.made, "token": self.token}

    def release(self) -> None:
        self.locked = False


def making(root: Path) -> tuple[Making, Manager]:
    container = Container.make(str(root), "web1", records.RECORD | {"cgroup_wanted": ["/wanted"]}, b"{}")
    container.unlock()
    kernel: Any = None
    box, manager = Box(kernel), Manager()
    box.manager, box.pid = manager, os.getpid()  # type: ignore[assignment]
    box.facts[ROOT_PATH] = "/mnt"
    return Making(container, Plan(clone_flags=0), box, Wishes(pid_file=str(root / "pid")), Undo()), manager


def seen(root: Path) -> Container:
    return Container.load(str(root), "web1")


def test_what_others_see(tmp_path: Path) -> None:
    notes, manager = making(tmp_path)
    assert (seen(tmp_path).status(), seen(tmp_path).record["cgroup_wanted"]) == ("creating", ["/wanted"])
    notes.made()
    assert seen(tmp_path).record["cgroup_wanted"] == ["/wanted"]
    notes.born()
    found = seen(tmp_path)
    assert (found.status(), found.record["cgroup_wanted"], found.record["root_mount"]) == ("creating", [], ["/mnt"])
    assert found.record["cgroup"] == manager.record()
    notes.ready()
    found = seen(tmp_path)
    assert (found.status(), found.pid, found.record["cgroup"]) == ("running", os.getpid(), manager.record())
    assert not manager.locked
    assert not (tmp_path / "pid").exists()
    notes.end()
    assert (tmp_path / "pid").read_text() == str(os.getpid())


def test_a_mark_that_could_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is written once more; nobody finds it half written, for it is not the only one."""
    notes, manager = making(tmp_path)
    notes.made()
    notes.born()
    manager.token = ""
    write, statuses = module._write, []

    def watched(dirfd: int, name: str, data: bytes) -> None:
        write(dirfd, name, data[: len(data) // 2])
        statuses.append((seen(tmp_path).status(), seen(tmp_path).record["root_mount"]))
        write(dirfd, name, data)

    monkeypatch.setattr(module, "_write", watched)
    notes.ready()
    assert statuses == [("running", ["/mnt"])]
    assert seen(tmp_path).record["cgroup"]["token"] == ""
