"""Where a process is born when the kernel does not take the first cgroup, and whose network namespace is made ahead."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.errors import KernelError
from ocirt.extensions import Extension
from ocirt.host import Host
from ocirt.plan import Options, make_plan
from ocirt.process import birth
from ocirt.stages.cgroup import BIRTH, BIRTH_INSTEAD
from tests.support.recorder import kernel_error, recorded_box


def test_without_a_cgroup() -> None:
    box, kernel = recorded_box(clone3=(9, -1))
    assert birth.clone(box, 3) == (9, False)
    assert kernel.calls == [("clone3", 3)]


def test_in_the_cgroup() -> None:
    box, kernel = recorded_box(clone3=(9, -1))
    box.fds = {BIRTH: 5, BIRTH_INSTEAD: 6}
    assert birth.clone(box, 3) == (9, False)
    assert kernel.calls == [("clone3", 3, ("cgroup", 5))]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EOPNOTSUPP, errno.ENODEV])
def test_in_the_other_cgroup(number: int) -> None:
    box, kernel = recorded_box(clone3=[kernel_error(number, "clone3"), (9, -1)])
    box.fds = {BIRTH: 5, BIRTH_INSTEAD: 6}
    assert birth.clone(box, 3) == (9, False)
    assert kernel.calls[1] == ("clone3", 3, ("cgroup", 6))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOENT, errno.EACCES, errno.E2BIG, errno.EINVAL])
def test_outside_and_then_moved(number: int, tmp_path: Path) -> None:
    box, kernel = recorded_box(clone3=[kernel_error(number, "clone3"), (9, -1)])
    (tmp_path / "cgroup.procs").touch()
    box.fds = {BIRTH: os.open(tmp_path, os.O_RDONLY)}
    box.pid, outside = birth.clone(box, 3)
    assert outside
    assert kernel.calls[1] == ("clone3", 3)
    birth.move_in(box)
    assert (tmp_path / "cgroup.procs").read_text() == "9"
    os.close(box.fds[BIRTH])


def test_moved_to_the_other_cgroup_where_the_first_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exec in a container that gave its controllers away, while init is where pids.max is reached."""
    full = kernel_error(errno.EAGAIN, "clone3")
    box, kernel = recorded_box(clone3=[kernel_error(errno.EBUSY, "clone3"), full, (9, -1)])
    for name in (BIRTH, BIRTH_INSTEAD):
        directory = tmp_path / name.replace("/", "-")
        directory.mkdir()
        (directory / "cgroup.procs").touch()
        box.fds[name] = os.open(directory, os.O_RDONLY)
    box.pid, outside = birth.clone(box, 3)
    assert outside
    assert [call[2:] for call in kernel.calls] == [
        (("cgroup", box.fds[BIRTH]),),
        (("cgroup", box.fds[BIRTH_INSTEAD]),),
        (),
    ]
    write, refused = os.write, []

    def busy_once(fd: int, data: bytes) -> int:
        if not refused:
            refused.append(os.readlink(f"/proc/self/fd/{fd}"))
            raise OSError(errno.EBUSY, "busy")
        return write(fd, data)

    monkeypatch.setattr(birth.os, "write", busy_once)
    birth.move_in(box)
    monkeypatch.undo()
    assert refused == [str(tmp_path / "cgroup/cgroup.procs")]
    assert (tmp_path / "cgroup-instead/cgroup.procs").read_text() == "9"
    for name in (BIRTH, BIRTH_INSTEAD):
        os.close(box.fds[name])


@pytest.mark.parametrize(("number", "fds"), [(errno.EBUSY, {BIRTH: 5}), (errno.EPERM, {BIRTH: 5}), (errno.EAGAIN, {})])
def test_other_refusals_are_failures(number: int, fds: dict[str, int]) -> None:
    box, _ = recorded_box(clone3=kernel_error(number, "clone3"))
    box.fds = dict(fds)
    with pytest.raises(KernelError) as caught:
        birth.clone(box, 3)
    assert caught.value.errno == number


MOUNT, NETWORK, USER = {"type": "mount"}, {"type": "network"}, {"type": "user"}
MAPPED = {name: [{"containerID": 0, "hostID": 100000, "size": 1}] for name in ("uidMappings", "gidMappings")}


@pytest.mark.parametrize(
    ("ahead", "linux"),
    [
        pytest.param(True, {"namespaces": [MOUNT, NETWORK]}, id="new"),
        pytest.param(True, {"namespaces": [NETWORK, {"type": "ipc", "path": "/proc/9/ns/ipc"}]}, id="another-joined"),
        pytest.param(False, {"namespaces": [MOUNT]}, id="the-host-s"),
        pytest.param(False, {"namespaces": [{**NETWORK, "path": "/run/netns/one"}]}, id="joined"),
        pytest.param(False, {"namespaces": [NETWORK, USER], **MAPPED}, id="a-user-namespace-s"),
        pytest.param(False, {"namespaces": [NETWORK, {"type": "pid", "path": "/proc/9/ns/pid"}]}, id="by-a-joiner"),
        pytest.param(
            False,
            {"namespaces": [NETWORK, {"type": "time"}], "timeOffsets": {"monotonic": {"secs": 1}}},
            id="by-a-joiner-for-the-time",
        ),
        pytest.param(False, {"namespaces": [NETWORK], "netDevices": {"eth1": {}}}, id="devices-move-before-GO"),
    ],
)
def test_what_network_namespace_is_made_ahead(ahead: bool, linux: dict[str, Any]) -> None:
    config = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "linux": linux}
    plan = make_plan(Config(config), Host(cgroup="v2"), Options("web1", "/bundle", cgroup_manager="disabled"))
    assert plan.network_ahead is ahead


def test_none_is_where_stages_of_others_may_look_for_it() -> None:
    config = Config({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "linux": {"namespaces": [NETWORK]}})
    stage = Extension("look", SimpleNamespace(PLACE="beside", AFTER="namespaces", steps=lambda *_: ()))
    options = Options("web1", "/bundle", cgroup_manager="disabled", extensions=(stage,))
    assert make_plan(config, Host(cgroup="v2"), options).network_ahead is False
