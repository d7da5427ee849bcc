"""The manager of a v1 container: which it is, and what its record keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirt.cgroups import manager_from_record, open_manager, require
from ocirt.cgroups.v1 import V1Manager, _fill_cpuset
from ocirt.errors import OcirtError
from ocirt.host import Host

HOST = Host(
    cgroup="hybrid",
    cgroup_mounts={"cpu": "/c/cpu,cpuacct", "cpuacct": "/c/cpu,cpuacct", "memory": "/c/memory"},
    cgroup_roots={"memory": "/docker/1"},
    unified_mount="/c/unified",
    own_cgroups={"cpu": "/user", "cpuacct": "/user", "memory": "/docker/1/x", "": "/"},
)


def test_record_and_back() -> None:
    manager = open_manager(HOST, "/a", "id")
    manager.made.append("/c/memory/a")
    again = manager_from_record(manager.record())
    assert isinstance(again, V1Manager)
    assert (again.paths, again.made) == (manager.paths, ["/c/memory/a"])


def cpuset(directory: Path, cpus: str, mems: str) -> str:
    directory.mkdir()
    (directory / "cpuset.cpus").write_text(f"{cpus}\n")
    (directory / "cpuset.mems").write_text(f"{mems}\n")
    return str(directory)


def values(directory: str) -> tuple[str, str]:
    return Path(directory, "cpuset.cpus").read_text(), Path(directory, "cpuset.mems").read_text()


def test_cpusets_are_filled_from_above(tmp_path: Path) -> None:
    """Each from the one above; what is chosen there stays, and what was just made is not read."""
    cpuset(tmp_path / "a", "0-7", "0-1")
    chosen = cpuset(tmp_path / "a" / "b", "3", "")
    made = [cpuset(tmp_path / "a" / "b" / "c", "", ""), cpuset(tmp_path / "a" / "b" / "c" / "d", "", "")]
    _fill_cpuset(made[1], made)
    assert [values(directory) for directory in (chosen, *made)] == [("3\n", "0-1"), ("3", "0-1"), ("3", "0-1")]


def test_no_cpuset_to_fill_from(tmp_path: Path) -> None:
    with pytest.raises(OcirtError, match="has no processors and no parent to copy them from"):
        _fill_cpuset(cpuset(tmp_path / "a", "", "0"), [])


def test_a_host_without_cgroups() -> None:
    with pytest.raises(OcirtError) as caught:
        open_manager(Host(cgroup="none"), None, "id")
    assert caught.value.code == "cgroup"


def test_a_container_without_a_cgroup() -> None:
    with pytest.raises(OcirtError) as caught:
        require(None)
    assert (caught.value.code, caught.value.what) == ("cgroup", "the container has no cgroup of its own")
