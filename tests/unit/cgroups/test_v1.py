"""Where a v1 container's cgroups are."""

from __future__ import annotations

import pytest

from ocirt.cgroups import manager_from_record, open_manager, require
from ocirt.cgroups.v1 import V1Manager, one_controller_each, sub_cgroups, v1_paths
from ocirt.errors import OcirtError, UsageError
from ocirt.host import Host

HOST = Host(
    cgroup="hybrid",
    cgroup_mounts={"cpu": "/c/cpu,cpuacct", "cpuacct": "/c/cpu,cpuacct", "memory": "/c/memory"},
    cgroup_roots={"memory": "/docker/1"},
    unified_mount="/c/unified",
    own_cgroups={"cpu": "/user", "cpuacct": "/user", "memory": "/docker/1/x", "": "/"},
)


def test_absolute_path_is_below_the_mounts() -> None:
    assert v1_paths(HOST, "/a/b", "id") == {
        "cpu": "/c/cpu,cpuacct/a/b",
        "cpuacct": "/c/cpu,cpuacct/a/b",
        "memory": "/c/memory/a/b",
        "": "/c/unified/a/b",
    }


@pytest.mark.parametrize(("path", "name"), [("a/b", "a/b"), (None, "id"), ("", "id"), ("./a//b/", "a/b")])
def test_other_paths_are_below_the_runtimes_own_cgroup(path: str | None, name: str) -> None:
    """In a container /proc tells the host's path, of which the mount shows only what is below its root."""
    paths = v1_paths(HOST, path, "id")
    assert paths["cpu"] == f"/c/cpu,cpuacct/user/{name}"
    assert paths["memory"] == f"/c/memory/x/{name}"
    assert paths[""] == f"/c/unified/{name}"


@pytest.mark.parametrize(("path", "expected"), [("/../../a", "/c/memory/a"), ("../../b", "/c/memory/x/b")])
def test_no_path_leads_out_of_the_hierarchy(path: str, expected: str) -> None:
    assert v1_paths(HOST, path, "id")["memory"] == expected


def test_without_v2_there_is_no_v2_directory() -> None:
    host = Host(cgroup="v1", cgroup_mounts={"memory": "/c/memory"}, own_cgroups={"memory": "/"})
    assert v1_paths(host, None, "id") == {"memory": "/c/memory/id"}


def test_each_directory_once_and_memory_by_its_name() -> None:
    assert one_controller_each({"cpu": "/a", "cpuacct": "/a", "pids": "/b"}) == {"/a": "cpu", "/b": "pids"}
    assert one_controller_each({"cpu": "/a", "memory": "/a"}) == {"/a": "memory"}


def test_record_and_back() -> None:
    manager = open_manager(HOST, "/a", "id")
    manager.made.append("/c/memory/a")
    again = manager_from_record(manager.record())
    assert isinstance(again, V1Manager)
    assert (again.paths, again.made) == (manager.paths, ["/c/memory/a"])


@pytest.mark.parametrize(("layout", "code"), [("v2", "unsupported"), ("none", "cgroup")])
def test_hosts_without_v1(layout: str, code: str) -> None:
    with pytest.raises(OcirtError) as caught:
        open_manager(Host(cgroup=layout), None, "id")
    assert caught.value.code == code


def test_a_container_without_a_cgroup() -> None:
    with pytest.raises(OcirtError) as caught:
        require(None)
    assert (caught.value.code, caught.value.what) == ("cgroup", "the container has no cgroup of its own")


PATHS = {"cpu": "/c/cpu/x", "memory": "/c/memory/x", "": "/c/unified/x"}


@pytest.mark.parametrize(
    ("wanted", "changed"),
    [
        ((), {}),
        (("/sub",), {"cpu": "/c/cpu/x/sub", "memory": "/c/memory/x/sub", "": "/c/unified/x/sub"}),
        (("cpu:a/b",), {"cpu": "/c/cpu/x/a/b"}),
        (("cpu,memory:s",), {"cpu": "/c/cpu/x/s", "memory": "/c/memory/x/s"}),
        (("cpu:a", "memory:b"), {"cpu": "/c/cpu/x/a", "memory": "/c/memory/x/b"}),
    ],
)
def test_sub_cgroups(wanted: tuple[str, ...], changed: dict[str, str]) -> None:
    assert sub_cgroups(PATHS, wanted) == {**PATHS, **changed}


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (("cpu:a", "b"), "missing <controller>: prefix"),
        ((":a",), "empty <controller> prefix"),
        (("cpu:a", "cpu:b"), "controller cpu specified multiple times"),
        (("rdma:a",), "unknown controller rdma"),
        (("../other",), "bad sub cgroup path"),
        (("cpu:a/../../..",), "bad sub cgroup path"),
    ],
)
def test_bad_sub_cgroups(wanted: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        sub_cgroups(PATHS, wanted)
    assert says in caught.value.what
