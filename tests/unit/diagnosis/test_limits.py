"""Which cgroup of a tree keeps a limit from being reached: files as cgroup v1 and v2 have them, in a directory."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ocirt import system
from ocirt.diagnosis import limits
from ocirt.diagnosis.limits import cause, processes
from ocirt.errors import OcirtError
from ocirt.kernel.flags import CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS
from ocirt.stages.mappings import WriteMapping


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


def host(monkeypatch: pytest.MonkeyPatch, **texts: str) -> None:
    """Files of /proc as text_if_there() reads them, by the last part of their names."""
    monkeypatch.setattr(system, "text_if_there", lambda path: texts.get(path.rpartition("/")[2].replace("-", "_"), ""))


BIRTH = OcirtError("step-failed", "clone3", call="clone3", errno=errno.ENOSPC)


@pytest.mark.parametrize(
    ("flags", "texts", "says"),
    [
        (CLONE_NEWUTS | CLONE_NEWNET, {"max_net_namespaces": "0"}, "the sysctl user.max_net_namespaces is 0"),
        (CLONE_NEWUTS, {"max_net_namespaces": "0", "max_uts_namespaces": "9"}, ""),
        (CLONE_NEWUSER, {"max_user_namespaces": "0"}, "the sysctl user.max_user_namespaces is 0"),
        (CLONE_NEWUSER, {"max_user_namespaces": "60000"}, "user namespaces are 32 deep here"),
        (CLONE_NEWUSER, {"max_user_namespaces": "5"}, ""),
    ],
)
def test_namespaces(monkeypatch: pytest.MonkeyPatch, flags: int, texts: dict[str, str], says: str) -> None:
    host(monkeypatch, **texts)
    told, at = cause(BIRTH, None, {}, flags, 0)
    assert told.startswith(says)
    assert bool(told) is bool(says)
    assert at == ("/linux/namespaces" if says else "")


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"unprivileged_userns_clone": "0"}, "the sysctl kernel.unprivileged_userns_clone is 0, "),
        (
            {"apparmor_restrict_unprivileged_userns": "1"},
            "the sysctl kernel.apparmor_restrict_unprivileged_userns is 1, ",
        ),
        ({"unprivileged_userns_clone": "1", "apparmor_restrict_unprivileged_userns": "0"}, ""),
    ],
)
def test_users_who_may_make_no_user_namespace(
    monkeypatch: pytest.MonkeyPatch, texts: dict[str, str], says: str
) -> None:
    host(monkeypatch, **texts)
    monkeypatch.setattr(limits.os, "geteuid", lambda: 1000)
    told, _ = cause(OcirtError("step-failed", "", call="clone3", errno=errno.EPERM), None, {}, CLONE_NEWUSER, 1000)
    assert told.startswith(says)
    assert bool(told) is bool(says)


@pytest.mark.parametrize(
    ("uid", "line", "says"),
    [
        (0, "    0:   300 299/299 1000/1000 9000/25000000", "has 1000 of 1000 keys, no disk is full: raise the sysctl"),
        (0, "    0:   300 299/299 1000/1000 9000/25000000", "kernel.keys.root_maxkeys"),
        (1000, " 1000:   300 299/299 200/200 9000/20000", "kernel.keys.maxkeys"),
        (1000, " 1000:   300 299/299 20/200 20000/20000", "has 20000 of 20000 bytes of keys"),
        (1000, " 1000:   300 299/299 20/200 20000/20000", "kernel.keys.maxbytes"),
        (1001, " 1000:   300 299/299 20/200 20000/20000", ""),
    ],
)
def test_keys(monkeypatch: pytest.MonkeyPatch, uid: int, line: str, says: str) -> None:
    host(monkeypatch, key_users=f"    7:     1 1/1 0/200 0/20000\n{line}")
    told, _ = cause(OcirtError("step-failed", "", call="keyctl", errno=errno.EDQUOT), None, {}, 0, uid)
    assert says in told
    assert bool(told) is bool(says)


def test_the_line_of_a_map_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    host(monkeypatch, gid_map="0 1000 1\n1 100000 65536")
    step = WriteMapping("/linux/gidMappings", "gid_map", "0 0 1\n1 60000 10000\n")
    error = OcirtError("step-failed", "", call="write", errno=errno.EPERM)
    assert cause(error, step, {}, 0, 0) == (
        "the ids 60000 to 69999 are not mapped where ocirt runs, which has 0 to 0, 1 to 65536: map ids of those",
        "/linux/gidMappings/1",
    )
    step = WriteMapping("/linux/gidMappings", "setgroups", "deny")
    assert cause(error, step, {}, 0, 0) == ("", "")
