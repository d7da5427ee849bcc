"""Which cgroup of a tree keeps a limit from being reached: files as cgroup v1 and v2 have them, in a directory."""

from __future__ import annotations

import errno
from pathlib import Path

from ocirt.diagnosis.limits import cause, processes
from ocirt.errors import OcirtError


def files(directory: Path, **texts: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, text in texts.items():
        (directory / name.replace("_", ".", 1)).write_text(f"{text}\n")
    return directory


def told(error: OcirtError) -> str:
    return cause(error, None, {}, 0, 0)[0]


def refused(path: Path, number: int) -> OcirtError:
    return OcirtError("cgroup", "write", call="write", errno=number, detail=str(path))


def test_the_containers_own_limit_on_processes(tmp_path: Path) -> None:
    files(tmp_path, pids_max="4", pids_current="4")
    assert processes({"pids": str(tmp_path)}) == (
        "the container has all the processes that linux.resources.pids.limit allows, 4: raise it"
    )


def test_a_limit_on_processes_further_up(tmp_path: Path) -> None:
    files(tmp_path, pids_max="4", pids_current="4")
    leaf = files(tmp_path / "leaf", pids_max="max", pids_current="1")
    assert processes({"": str(leaf)}) == f"pids.max of the cgroup {tmp_path} is 4, which is reached: raise it"


def test_a_controller_that_is_not_given_on(tmp_path: Path) -> None:
    """v2: the highest cgroup that has it and does not give it."""
    files(tmp_path, cgroup_controllers="cpu pids", cgroup_subtree_control="cpu")
    parent = files(tmp_path / "a", cgroup_controllers="cpu", cgroup_subtree_control="")
    assert told(refused(parent / "leaf/pids.max", errno.ENOENT)) == (
        f"the controller pids is not given to what is below {tmp_path}: echo +pids > cgroup.subtree_control there"
    )


def test_a_controller_that_nobody_has(tmp_path: Path) -> None:
    files(tmp_path, cgroup_controllers="cpu", cgroup_subtree_control="cpu")
    assert told(refused(tmp_path / "leaf/rdma.max", errno.ENOENT)) == (
        "this kernel offers no controller rdma on cgroup v2: remove the setting"
    )


def test_cpus_of_the_cgroup_above(tmp_path: Path) -> None:
    files(tmp_path, cpuset_cpus="0-1")
    assert told(refused(tmp_path / "leaf/cpuset.cpus", errno.EACCES)) == (
        f"the cgroup above, {tmp_path}, has 0-1: choose of these"
    )


def test_what_is_not_known_is_not_told(tmp_path: Path) -> None:
    assert told(refused(tmp_path / "memory.max", errno.EIO)) == ""
    assert told(OcirtError("step-failed", "x", call="mount", errno=errno.EPERM)) == ""
