"""The manager of a v1 container: which it is, and what its record keeps."""

from __future__ import annotations

import pytest

from ocirt.cgroups import manager_from_record, open_manager, require
from ocirt.cgroups.v1 import V1Manager
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


def test_a_host_without_cgroups() -> None:
    with pytest.raises(OcirtError) as caught:
        open_manager(Host(cgroup="none"), None, "id")
    assert caught.value.code == "cgroup"


def test_a_container_without_a_cgroup() -> None:
    with pytest.raises(OcirtError) as caught:
        require(None)
    assert (caught.value.code, caught.value.what) == ("cgroup", "the container has no cgroup of its own")
