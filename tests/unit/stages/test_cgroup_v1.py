"""Which cgroup steps a container gets, and what they do to the box."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.box import Box
from ocirt.config.views import Config
from ocirt.errors import OcirtError
from ocirt.host import Host
from ocirt.kernel.flags import CLONE_NEWCGROUP
from ocirt.pipeline import Step
from ocirt.stages.cgroup_v1 import (
    OpenExistingCgroup,
    create_cgroup,
    join_cgroup,
    join_cgroup_late,
    join_existing,
    join_existing_late,
    open_existing,
)

CONTROLLERS = ("cpu", "memory", "devices", "freezer", "pids")
HOST = Host(
    cgroup="hybrid",
    cgroup_mounts={name: f"/c/{name}" for name in CONTROLLERS},
    unified_mount="/c/unified",
    own_cgroups={**dict.fromkeys(CONTROLLERS, "/"), "memory": "/own", "": "/"},
)


def config(*namespaces: str, **linux: Any) -> Config:
    return Config({"linux": {"namespaces": [{"type": kind} for kind in namespaces], **linux}})


class Kernel:
    """Notes the calls of steps."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


def applied(steps: Any) -> list[tuple[Any, ...]]:
    """The kernel calls of init's steps; the descriptors are 100 and up in the order of CONTROLLERS."""
    kernel: Any = Kernel()
    box = Box(kernel)
    box.fds = {"cgroup": 99, "cgroup/outside": 98}
    box.fds.update({f"cgroup/{name}": 100 + index for index, name in enumerate(CONTROLLERS)})
    for step in steps:
        step.apply(box)
    calls: list[tuple[Any, ...]] = kernel.calls
    return calls


def names(steps: Any) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_memory_is_joined_last_and_alone() -> None:
    calls = applied(join_cgroup(config("pid"), HOST))
    assert sorted(fd for _, fd, text in calls if text == b"0") == [100, 102, 103, 104]
    assert applied(join_cgroup_late(config("pid"), HOST))[0] == ("write", 101, b"0")


def test_a_new_cgroup_namespace_takes_its_root_from_every_hierarchy() -> None:
    calls = applied(join_cgroup(config("cgroup"), HOST))
    unshare = calls.index(("unshare", CLONE_NEWCGROUP))
    assert sorted(call[1] for call in calls[:unshare]) == [100, 101, 102, 103, 104]
    assert calls[unshare + 1 :] == [("write", 98, b"0")]


def test_a_joined_cgroup_namespace_is_not_unshared() -> None:
    joined = Config({"linux": {"namespaces": [{"type": "cgroup", "path": "/n"}]}})
    assert names(join_cgroup(joined, HOST)) == ["JoinCgroup"]


def test_without_a_memory_hierarchy_nothing_is_left_or_rejoined() -> None:
    host = Host(cgroup="v1", cgroup_mounts={"pids": "/c/pids"}, own_cgroups={"pids": "/"})
    assert names(join_cgroup(config("cgroup"), host)) == ["JoinCgroup", "UnshareCgroupNamespace"]
    assert names(join_cgroup_late(config("cgroup"), host)) == []
    assert names(join_existing_late(host, RECORD)) == []


def described(steps: Any) -> list[tuple[str, str]]:
    return [(step.at, step.describe()) for step in steps]


def test_host_steps() -> None:
    linux = config(cgroupsPath="/box", resources={"pids": {"limit": 5}, "devices": [{"allow": True, "access": "rwm"}]})
    assert described(create_cgroup(linux, HOST, "id")) == [
        (
            "/linux/cgroupsPath",
            "create cgroup /c/cpu/box /c/devices/box /c/freezer/box /c/memory/box /c/pids/box /c/unified/box",
        ),
        ("/linux/resources", "write limits: devices.allow=a, pids.max=5"),
        ("", "open the cgroup for joining"),
    ]


def test_in_a_user_namespace_the_kernel_takes_no_device_rules() -> None:
    host = Host(cgroup="v1", cgroup_mounts=HOST.cgroup_mounts, own_cgroups=HOST.own_cgroups, userns=True)
    assert [name for name in names(create_cgroup(config(), host, "id")) if name == "WriteLimits"] == []


def user_host(kind: str = "v1") -> Host:
    return Host(euid=1000, cgroup=kind, cgroup_mounts=HOST.cgroup_mounts if kind == "v1" else {})


def denied_box(**linux: Any) -> Box:
    """The box after the host's steps for a user who may write to no cgroup."""
    box = Box(Kernel())  # type: ignore[arg-type]
    for step in create_cgroup(config("pid", **linux), user_host(), "id", rootless=True):
        step.apply(box)
    return box


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: str, mode: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("ocirt.system.mkdir", mkdir)


@pytest.mark.usefixtures("denied")
def test_a_user_without_rights_does_without_a_cgroup() -> None:
    box = denied_box()
    assert (box.manager, box.fds) == (None, {})
    for step in (*join_cgroup(config("cgroup"), user_host()), *join_cgroup_late(config(), user_host())):
        step.apply(box)
    assert box.kernel.calls == [("unshare", CLONE_NEWCGROUP)]


@pytest.mark.usefixtures("denied")
def test_a_limit_without_rights_is_refused() -> None:
    with pytest.raises(OcirtError) as caught:
        denied_box(resources={"pids": {"limit": 5}})
    error = caught.value
    assert error.what == "cannot set pids limit: container could not join or create cgroup"
    assert (error.code, error.at) == ("cgroup", "/linux/resources/pids/limit")
    assert "delegated" in error.remedy


@pytest.mark.usefixtures("denied")
def test_a_wanted_place_must_be_permitted() -> None:
    with pytest.raises(PermissionError):
        denied_box(cgroupsPath="/box")


@pytest.mark.usefixtures("denied")
@pytest.mark.parametrize(("kinds", "warned"), [(("pid",), False), ((), True)])
def test_without_cgroup_and_pid_namespace_processes_are_lost(
    kinds: tuple[str, ...], warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("ocirt.log.warning", said.append)
    for step in create_cgroup(config(*kinds), user_host(), "id", rootless=True):
        step.apply(Box(Kernel()))  # type: ignore[arg-type]
    assert bool(said) == warned


def test_a_host_without_cgroups_is_borne_by_a_user() -> None:
    assert names(create_cgroup(config(), user_host("none"), "id", rootless=True)) == ["OpenCgroup"]
    with pytest.raises(OcirtError):
        list(create_cgroup(config(), user_host("none"), "id"))


def test_a_limit_without_its_controller_is_refused_before_anything_is_done() -> None:
    linux = config(resources={"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]})
    with pytest.raises(OcirtError) as caught:
        list(create_cgroup(linux, HOST, "id"))
    assert (caught.value.code, caught.value.at) == ("cgroup", "/linux/resources/hugepageLimits/0/limit")
    assert caught.value.what == "cannot set hugetlb limit: container could not join or create cgroup"


def test_creation_and_its_undo(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary directories have no pseudo files, so that rmdir(2) works on them as on cgroups."""
    (tmp_path / "pids").mkdir()
    host = Host(cgroup="v1", cgroup_mounts={"pids": f"{tmp_path}/pids"}, own_cgroups={"pids": "/"})
    create: Step = next(iter(create_cgroup(config(cgroupsPath="/a/b"), host_without_devices(host), "id")))
    box = Box(SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setattr("ocirt.cgroups.claim.lock", lambda directory: os.open(directory, os.O_RDONLY))
    create.apply(box)
    assert box.manager is not None
    assert box.manager.made == [f"{tmp_path}/pids/a", f"{tmp_path}/pids/a/b"]
    assert os.path.isdir(f"{tmp_path}/pids/a/b")
    create.undo(box)
    assert os.listdir(tmp_path / "pids") == []


def host_without_devices(host: Host) -> Host:
    host.userns = True
    return host


def test_undo_before_creation_does_nothing() -> None:
    create: Step = next(iter(create_cgroup(config(), HOST, "id")))
    create.undo(Box(SimpleNamespace()))  # type: ignore[arg-type]


RECORD = {"kind": "v1", "paths": {name: f"/c/{name}/box" for name in CONTROLLERS}, "made": []}


def test_exec_opens_the_recorded_cgroup() -> None:
    (step,) = open_existing(HOST, RECORD, os.getpid(), ())
    assert step.paths == RECORD["paths"]  # type: ignore[attr-defined]
    assert names(join_existing(HOST)) == ["JoinCgroup"]
    assert applied(join_existing_late(HOST, RECORD)) == [("write", 101, b"0")]


def test_exec_in_a_sub_cgroup_accepts_no_other() -> None:
    (step,) = open_existing(HOST, RECORD, os.getpid(), ("pids:sub",))
    assert step.paths["pids"] == "/c/pids/box/sub"  # type: ignore[attr-defined]
    assert step.instead == {}  # type: ignore[attr-defined]
    with pytest.raises(FileNotFoundError):
        step.apply(Box(SimpleNamespace()))  # type: ignore[arg-type]


def test_exec_goes_where_init_went(tmp_path: Any) -> None:
    for name in CONTROLLERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "tasks").touch()
    now = {name: f"{tmp_path}/{name}" for name in CONTROLLERS}
    box = Box(SimpleNamespace())  # type: ignore[arg-type]
    OpenExistingCgroup(dict.fromkeys(CONTROLLERS, f"{tmp_path}/gone"), now).apply(box)
    assert {os.readlink(f"/proc/self/fd/{fd}") for fd in box.fds.values()} == {f"{path}/tasks" for path in now.values()}
    for fd in box.fds.values():
        os.close(fd)
