"""A container whose cgroup is an ordinary directory: its files keep what was written last, as the kernel's do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.container import Container
from tests.support import records

FILES = {
    "freezer.state": "THAWED",
    "freezer.self_freezing": "0",
    "cgroup.procs": "30\n7\n30\n",
    "pids.max": "max",
    "memory.limit_in_bytes": "1000",
    "memory.memsw.limit_in_bytes": "2000",
    "cpu.shares": "1024",
    "cpu.cfs_quota_us": "-1",
    "cpuset.cpus": "0-1",
    "blkio.weight": "500",
}
CONTROLLERS = ("freezer", "pids", "memory", "cpu", "cpuset", "blkio")


class FakeContainer:
    """root: of the containers.  id: "web1".  cgroup: the directory of every controller.  It runs until stop()."""

    id = "web1"

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.cgroup = directory / "cgroup"
        self.cgroup.mkdir()
        for name, text in FILES.items():
            (self.cgroup / name).write_text(text)
        self._init = records.sleeper()
        cgroup = {"kind": "v1", "paths": dict.fromkeys(CONTROLLERS, str(self.cgroup)), "made": []}
        records.make(self.root, self.id, self._init.pid, cgroup=cgroup)

    def load(self) -> Container:
        return Container.load(str(self.root), self.id)

    def read(self, file: str) -> str:
        return (self.cgroup / file).read_text()

    def stop(self) -> None:
        self._init.kill()
        self._init.wait()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeContainer]:
    container = FakeContainer(tmp_path)
    yield container
    container.stop()
