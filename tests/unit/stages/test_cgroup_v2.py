"""Which cgroup steps a container gets on a v2 host, and what they do to the box."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.box import Box
from ocirt.config.views import Config
from ocirt.errors import OcirtError
from ocirt.host import Host
from ocirt.kernel.flags import CLONE_NEWCGROUP
from ocirt.stages.cgroup import BIRTH, BIRTH_INSTEAD, OUTSIDE
from ocirt.stages.cgroup_v2 import (
    LATE,
    LATE_INSTEAD,
    SMALL_MEMORY,
    JoinLate,
    OpenExisting,
    OpenForBirth,
    OpenForLater,
    create_cgroup,
    is_small,
    join_cgroup,
    join_cgroup_late,
    join_existing,
    join_existing_late,
    open_existing,
    owner,
)
from tests.support.recorder import kernel_error, recorded_box

HOST = Host(cgroup="v2", unified_mount="/c", own_cgroups={"": "/user/shell"})
SMALL = {"memory": {"limit": 4 << 20}}
MOUNT = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}


def config(*namespaces: str, mounts: list[dict[str, Any]] | None = None, uid: int = 0, **linux: Any) -> Config:
    return Config(
        {
            "process": {"user": {"uid": uid, "gid": 0}},
            "mounts": mounts or [],
            "linux": {"namespaces": [{"type": kind} for kind in namespaces], **linux},
        }
    )


def names(steps: Any) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_born_in_the_cgroup() -> None:
    plain = config("pid")
    assert names(create_cgroup(plain, HOST, "id")) == ["CreateCgroup", "WriteLimits", "OpenForBirth"]
    assert names(join_cgroup(plain, HOST)) == names(join_cgroup_late(plain, HOST)) == []


def test_a_namespace_takes_its_root_from_where_init_is_born() -> None:
    assert names(join_cgroup(config("cgroup"), HOST)) == ["UnshareCgroupNamespace"]
    box, kernel = recorded_box()
    for step in join_cgroup(config("cgroup"), HOST):
        step.apply(box)
    assert kernel.calls == [("unshare", CLONE_NEWCGROUP)]


def test_little_memory_is_joined_late() -> None:
    plain, own = config("pid", resources=SMALL), config("cgroup", resources=SMALL)
    assert names(create_cgroup(plain, HOST, "id"))[2:] == ["OpenForLater"]
    assert names(create_cgroup(own, HOST, "id"))[2:] == ["OpenForBirth", "OpenForLater"]
    assert names(join_cgroup(plain, HOST)) == []
    assert names(join_cgroup(own, HOST)) == ["UnshareCgroupNamespace", "LeaveCgroup"]
    box, kernel = recorded_box()
    box.fds = {LATE: 7, OUTSIDE: 8}
    for step in (*join_cgroup(own, HOST), *join_cgroup_late(own, HOST)):
        step.apply(box)
    assert kernel.calls == [("unshare", CLONE_NEWCGROUP), ("write", 8, b"0"), ("write", 7, b"0")]


@pytest.mark.parametrize(
    ("resources", "late"),
    [
        ({"memory": {"limit": SMALL_MEMORY}}, False),
        ({"memory": {"limit": SMALL_MEMORY - 1}}, True),
        ({"memory": {"limit": -1}}, False),
        ({"memory": {"limit": 0}}, False),
        ({"memory": {"limit": SMALL_MEMORY}, "unified": {"memory.high": "4096"}}, True),
        ({"unified": {"memory.max": "4M"}}, True),
        ({"unified": {"memory.max": "max"}}, False),
        ({"pids": {"limit": 0}}, True),
        ({"pids": {"limit": 1}}, False),
        ({"unified": {"pids.max": "0"}}, True),
    ],
)
def test_what_is_little(resources: dict[str, Any], late: bool) -> None:
    assert names(join_cgroup_late(config("pid", resources=resources), HOST)) == (["JoinLate"] if late else [])


@pytest.mark.parametrize(("text", "small"), [("max", False), ("", False), ("4096", True), ("99999999999\n", False)])
def test_is_small(text: str, small: bool) -> None:
    assert is_small(text) == small


MAPPINGS = [{"containerID": 0, "hostID": 100000, "size": 10}]
IN_USERNS = {"uidMappings": MAPPINGS, "gidMappings": MAPPINGS}


@pytest.mark.parametrize(
    ("namespaces", "options", "linux", "expected"),
    [
        (["cgroup", "user"], [], IN_USERNS, 100007),
        (["cgroup", "user"], ["rw"], IN_USERNS, 100007),
        (["cgroup", "user"], ["ro"], IN_USERNS, None),
        (["cgroup"], [], {}, 7),
        (["cgroup", "user"], [], {"uidMappings": [{"containerID": 8, "hostID": 1, "size": 1}]}, None),
    ],
)
def test_owner(namespaces: list[str], options: list[str], linux: dict[str, Any], expected: int | None) -> None:
    wanted = config(*namespaces, mounts=[{**MOUNT, "options": options}], uid=7, **linux)
    assert owner(wanted) == expected
    given = [step.uid for step in create_cgroup(wanted, HOST, "id") if type(step).__name__ == "OwnCgroup"]  # type: ignore[attr-defined]
    assert given == ([expected] if expected else [])


def test_no_owner_without_a_namespace_or_a_mount() -> None:
    assert owner(config("cgroup", uid=7)) is None
    without = config("pid", mounts=[{**MOUNT, "options": []}], uid=7)
    assert "OwnCgroup" not in names(create_cgroup(without, HOST, "id"))
    joined = Config(
        {
            "process": {"user": {"uid": 7, "gid": 0}},
            "mounts": [{**MOUNT, "options": []}],
            "linux": {"namespaces": [{"type": "user", "path": "/n"}, {"type": "cgroup"}]},
        }
    )
    assert owner(joined) is None


def test_opening_a_new_cgroup(tmp_path: Path) -> None:
    for name in ("box", "own"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    box, _ = recorded_box()
    manager: Any = SimpleNamespace(paths={"": f"{tmp_path}/box"}, open_for_join=lambda: {"": 77})
    box.manager = manager
    OpenForBirth().apply(box)
    OpenForLater(f"{tmp_path}/own").apply(box)
    assert box.fds.pop(BIRTH) == 77
    assert places(box) == {LATE: f"{tmp_path}/box/cgroup.procs", OUTSIDE: f"{tmp_path}/own/cgroup.procs"}


def places(box: Box) -> dict[str, str]:
    """What the descriptors are, which are closed."""
    found = {name: os.readlink(f"/proc/self/fd/{fd}") for name, fd in box.fds.items()}
    for fd in box.fds.values():
        os.close(fd)
    return found


def existing(tmp_path: Path, memory: str = "max") -> dict[str, Any]:
    for name in ("box", "box/sub", "leaf"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "box/memory.max").write_text(memory)
    return {"kind": "v2", "paths": {"": f"{tmp_path}/box"}, "made": []}


def test_exec_is_born_there_or_where_init_is(tmp_path: Path) -> None:
    record = existing(tmp_path)
    (step,) = open_existing(Host(cgroup="v2", unified_mount=str(tmp_path)), record, os.getpid(), ())
    assert isinstance(step, OpenExisting)
    assert step.directories[0] == f"{tmp_path}/box"
    assert len(step.directories) == 2
    assert names(join_existing(HOST)) == names(join_existing_late(HOST, record)) == []
    box, _ = recorded_box()
    OpenExisting((f"{tmp_path}/box", f"{tmp_path}/leaf"), False).apply(box)
    assert places(box) == {BIRTH: f"{tmp_path}/box", BIRTH_INSTEAD: f"{tmp_path}/leaf"}


def test_exec_with_little_memory_joins_late(tmp_path: Path) -> None:
    record = existing(tmp_path, "4194304")
    assert names(join_existing_late(HOST, record)) == ["JoinLate"]
    box, _ = recorded_box()
    OpenExisting((f"{tmp_path}/gone", f"{tmp_path}/leaf"), True).apply(box)
    assert places(box) == {LATE: f"{tmp_path}/leaf/cgroup.procs"}


def test_exec_in_a_sub_cgroup_accepts_no_other(tmp_path: Path) -> None:
    record = existing(tmp_path)
    (step,) = open_existing(HOST, record, os.getpid(), ("sub",))
    assert isinstance(step, OpenExisting)
    assert step.directories == (f"{tmp_path}/box/sub",)
    (gone,) = open_existing(HOST, record, os.getpid(), ("gone",))
    with pytest.raises(FileNotFoundError):
        gone.apply(recorded_box()[0])


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EOPNOTSUPP, errno.ENODEV])
def test_joining_late_where_init_went(number: int) -> None:
    box, kernel = recorded_box(write=[kernel_error(number), 1])
    box.fds = {LATE: 7, LATE_INSTEAD: 8}
    JoinLate().apply(box)
    assert kernel.calls == [("write", 7, b"0"), ("write", 8, b"0")]


def test_joining_late_may_fail() -> None:
    box, _ = recorded_box(write=kernel_error(errno.EBUSY))
    box.fds = {LATE: 7}
    with pytest.raises(OSError, match="busy"):
        JoinLate().apply(box)


USER = Host(euid=1000, cgroup="v2", unified_mount="/c", own_cgroups={"": "/user/shell"})


def test_a_limit_without_rights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocirt.system.access", lambda _path, _mode: False)
    box = Box(SimpleNamespace())  # type: ignore[arg-type]
    create, limits = list(create_cgroup(config("pid", resources={"pids": {"limit": 5}}), USER, "id", rootless=True))[:2]
    create.apply(box)
    assert box.manager is None
    with pytest.raises(OcirtError) as caught:
        limits.apply(box)
    assert caught.value.what == "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
    assert (caught.value.code, caught.value.at) == ("cgroup", "/linux/resources/pids/limit")


def test_without_rights_init_is_born_where_the_user_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocirt.system.access", lambda _path, _mode: False)
    box = Box(SimpleNamespace())  # type: ignore[arg-type]
    for step in create_cgroup(config("pid"), USER, "id", rootless=True):
        step.apply(box)
    assert (box.manager, box.fds) == (None, {})


@pytest.mark.parametrize(("uid", "given"), [(0, []), (1, [])])
def test_a_user_gives_the_cgroup_to_nobody_else(uid: int, given: list[str]) -> None:
    plain = config("cgroup", mounts=[MOUNT], uid=uid)
    assert [name for name in names(create_cgroup(plain, USER, "id")) if name == "OwnCgroup"] == given


@pytest.mark.parametrize(("may", "opened"), [(True, [BIRTH]), (False, [])])
def test_exec_stays_outside_where_a_user_may_not_move(
    tmp_path: Path, may: bool, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("box", "own"):
        (tmp_path / name).mkdir()
    asked: list[str] = []
    monkeypatch.setattr("ocirt.system.access", lambda path, _mode: asked.append(path) or may)
    box = Box(SimpleNamespace())  # type: ignore[arg-type]
    OpenExisting((f"{tmp_path}/box",), False, f"{tmp_path}/own").apply(box)
    assert asked == [f"{tmp_path}/cgroup.procs"]
    assert list(box.fds) == opened
    for fd in box.fds.values():
        os.close(fd)
    JoinLate().apply(box)


def test_who_names_a_sub_cgroup_must_get_it(tmp_path: Path) -> None:
    (step,) = open_existing(USER, {"paths": {"": str(tmp_path)}}, os.getpid(), ("sub",))
    assert isinstance(step, OpenExisting)
    assert step.own == ""
