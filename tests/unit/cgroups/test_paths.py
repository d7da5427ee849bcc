"""Where a container's cgroups are."""

from __future__ import annotations

import pytest

from ocirt.cgroups.paths import nearest_above, one_controller_each, sub_cgroups, v1_paths, v2_path
from ocirt.errors import UsageError
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


def v2_host(own: str, root: str = "/") -> Host:
    roots = {"": root} if root != "/" else {}
    return Host(cgroup="v2", unified_mount="/c", cgroup_roots=roots, own_cgroups={"": own})


@pytest.mark.parametrize(
    ("own", "path", "directory"),
    [
        ("/user/shell", "/a/b", "/c/a/b"),
        ("/user/shell", "a/b", "/c/user/a/b"),
        ("/user/shell", None, "/c/user/id"),
        ("/shell", "", "/c/id"),
        ("/", None, "/c/id"),
        ("/user/shell", "../../x", "/c/user/x"),
        ("/user/shell", "/../x", "/c/x"),
    ],
)
def test_v2_has_one_directory_beside_the_runtimes_own(own: str, path: str | None, directory: str) -> None:
    """Not below: a cgroup that holds the runtime cannot give controllers to the container's."""
    assert v2_path(v2_host(own), path, "id") == directory


def test_v2_in_a_container_that_sees_a_part_of_the_hierarchy() -> None:
    assert v2_path(v2_host("/docker/1/shell", "/docker/1"), None, "id") == "/c/id"


def test_v2_has_no_controllers_to_choose_from() -> None:
    assert sub_cgroups({"": "/c/box"}, ("a/b",)) == {"": "/c/box/a/b"}
    with pytest.raises(UsageError):
        sub_cgroups({"": "/c/box"}, ("cpu:a",))


@pytest.mark.parametrize(
    ("own", "directory", "above"),
    [("/c/a/b", "/c/a/x", "/c/a"), ("/c/a", "/c/a/x/y", "/c/a"), ("/c/a/b", "/c/ab", "/c"), ("/c", "/c", "/c")],
)
def test_nearest_above(own: str, directory: str, above: str) -> None:
    assert nearest_above(own, directory) == above
