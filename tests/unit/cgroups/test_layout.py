"""What the texts of /proc say about hosts of every kind."""

from __future__ import annotations

import pytest

from ocirt.cgroups.layout import (
    cgroup_layout,
    parse_cgroup_mounts,
    parse_own_cgroups,
    parse_resctrl_mount,
    unescape,
)

V1_CGROUP = """\
4:cpu,cpuacct:/user.slice
3:memory:/a b
2:pids:/
1:name=systemd:/user.slice/session-1.scope
"""
V1_MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,release_agent=/agent,name=systemd
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 /docker/1 /sys/fs/cgroup/memory rw shared:12 master:1 - cgroup cgroup rw,memory
35 31 0:32 / /mnt/with\\040blank\\134 rw - cgroup cgroup rw,pids
36 22 0:32 / /second/pids rw - cgroup cgroup rw,pids
"""
UNIFIED = "40 31 0:38 / /sys/fs/cgroup/unified rw shared:13 - cgroup2 cgroup2 rw,nsdelegate\n"
V2_MOUNTS = "40 31 0:38 / /sys/fs/cgroup rw shared:13 - cgroup2 cgroup2 rw\n"
NAMED_ONLY = "41 40 0:39 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,none,name=systemd\n"


def layout(mountinfo: str, own: str) -> str:
    mounts, _, unified = parse_cgroup_mounts(mountinfo, parse_own_cgroups(own))
    return cgroup_layout(mounts, unified)


def test_own_cgroups() -> None:
    assert parse_own_cgroups(V1_CGROUP + "0::/x:y\n") == {
        "cpu": "/user.slice",
        "cpuacct": "/user.slice",
        "memory": "/a b",
        "pids": "/",
        "name=systemd": "/user.slice/session-1.scope",
        "": "/x:y",
    }


def test_v1_mounts() -> None:
    mounts, roots, unified = parse_cgroup_mounts(V1_MOUNTS, parse_own_cgroups(V1_CGROUP))
    assert mounts == {
        "name=systemd": "/sys/fs/cgroup/systemd",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
        "pids": "/mnt/with blank\\",
    }
    assert roots == {"memory": "/docker/1"}
    assert unified == ""


def test_hybrid_mounts() -> None:
    mounts, roots, unified = parse_cgroup_mounts(V1_MOUNTS + UNIFIED, parse_own_cgroups(V1_CGROUP + "0::/\n"))
    assert "" not in mounts
    assert "" not in roots
    assert unified == "/sys/fs/cgroup/unified"


def test_layouts() -> None:
    assert layout(V1_MOUNTS, V1_CGROUP) == "v1"
    assert layout(V1_MOUNTS + UNIFIED, V1_CGROUP + "0::/\n") == "hybrid"
    assert layout(V2_MOUNTS, "0::/init.scope\n") == "v2"
    assert layout(UNIFIED, "0::/\n") == "v2"
    assert layout("", "") == "none"


def test_a_named_hierarchy_on_a_v2_host_does_not_make_it_hybrid() -> None:
    assert layout(V2_MOUNTS + NAMED_ONLY, "1:name=systemd:/\n0::/\n") == "v2"


@pytest.mark.parametrize(("text", "path"), [("/a", "/a"), (r"/a\040b\011", "/a b\t"), (r"\134040", r"\040")])
def test_unescape(text: str, path: str) -> None:
    assert unescape(text) == path


@pytest.mark.parametrize("character", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_only_a_newline_ends_a_line(character: str) -> None:
    """The kernel writes every other character of a name as it is."""
    assert parse_own_cgroups(f"0::/a{character}b\n") == {"": f"/a{character}b"}
    others = f"1 0 0:1 / /mnt/a{character}b rw - tmpfs tmpfs rw\n"
    assert parse_cgroup_mounts(others + V2_MOUNTS, {"": "/"}) == ({}, {}, "/sys/fs/cgroup")


def test_resctrl() -> None:
    """By its type alone: a path or a source of that name is none."""
    others = "50 22 0:50 / /sys/fs/resctrl rw - tmpfs resctrl rw\n"
    others += "51 22 0:51 / /mnt/\\040-\\040resctrl\\040 rw - tmpfs x rw\n"
    assert parse_resctrl_mount(V1_MOUNTS + others) == ""
    first = "52 22 0:52 / /mnt/a\\040b rw,relatime shared:5 - resctrl none rw,mba_MBps\n"
    second = "53 22 0:52 / /sys/fs/resctrl rw - resctrl resctrl rw\n"
    assert parse_resctrl_mount(V1_MOUNTS + others + first + second) == "/mnt/a b"
