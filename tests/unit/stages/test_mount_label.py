"""linux.mountLabel: on which mounts, in which words."""

from __future__ import annotations

import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.box import Box
from ocirt.config.views import Config
from ocirt.errors import ConfigError, OcirtError
from ocirt.host import Host
from ocirt.pipeline import INIT
from ocirt.plan import Options, make_plan
from ocirt.stages.aside import disks
from ocirt.stages.mount_label import MQUEUE_MAGIC, LabelQueues, labelled, with_label
from tests.support.recorder import recorded_box

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
CONTEXT = f'context="{LABEL}"'
CONTROLLERS = ("cpu", "cpuset", "memory", "devices", "freezer", "pids")
V1: dict[str, Any] = {
    "cgroup": "v1",
    "cgroup_mounts": {name: f"/sys/fs/cgroup/{name}" for name in CONTROLLERS},
    "own_cgroups": dict.fromkeys(CONTROLLERS, "/"),
}


def stages(name: str, host: Host, label: str = LABEL, **linux: Any) -> list[Any]:
    """The steps of the stages of this name, of a plan with one mount of each kind."""
    mounts = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/sys", "type": "sysfs"},
        {"destination": "/dev", "type": "tmpfs", "options": ["mode=755", "nosuid"]},
        {"destination": "/dev/pts", "type": "devpts"},
        {"destination": "/dev/mqueue", "type": "mqueue"},
        {"destination": "/bound", "source": "/host", "options": ["bind"]},
        {"destination": "/own", "type": "tmpfs", "options": ["context=u:r:t:s0"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup"},
    ]
    config = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "mounts": mounts,
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}], "mountLabel": label, **linux},
    }
    plan = make_plan(Config(config), host, Options("web1", "/bundle"))
    return [step for stage in plan.part(INIT) if stage.name == name for step in stage.steps]


def test_which_mounts_are_labelled() -> None:
    found = [(step.target, getattr(step, "data", None)) for step in stages("mounts", Host(selinux=True, **V1))]
    assert found == [
        ("/proc", ""),
        ("/sys", ""),
        ("/dev", f"mode=755,{CONTEXT}"),
        ("/dev/pts", CONTEXT),
        ("/dev/mqueue", ""),
        ("/dev/mqueue", None),
        ("/bound", None),
        ("/own", "context=u:r:t:s0"),
        ("/sys/fs/cgroup", f"mode=755,{CONTEXT}"),
    ]


def test_a_disk_is_labelled_where_the_runtime_mounts_it() -> None:
    config = Config({"mounts": [{"destination": "/a", "type": "ext4", "source": "/dev/x"}]})
    (step,) = labelled(disks(config), LABEL, "/linux/mountLabel", Host(selinux=True))
    assert getattr(step, "data", None) == CONTEXT


def test_covers_of_masked_directories_are_labelled() -> None:
    *_, mask, _drop = stages("finish", Host(selinux=True, **V1), maskedPaths=["/proc/acpi"])
    box, kernel = recorded_box(open_in_root=5, fstat=SimpleNamespace(st_mode=stat.S_IFDIR), fsopen=6, fsmount=7)
    mask.apply(box)
    assert ("fsconfig_string", 6, "context", LABEL) in kernel.calls


def test_without_selinux_nothing_is_labelled() -> None:
    found = stages("mounts", Host(**V1))
    assert [step.data for step in found if hasattr(step, "data") and CONTEXT in step.data] == []
    assert [step for step in found if isinstance(step, LabelQueues)] == []


@pytest.mark.parametrize("selinux", [True, False])
def test_what_cannot_be_a_label(selinux: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        stages("mounts", Host(selinux=selinux, **V1), label='u:r:t:s0",exec')
    assert (caught.value.code, caught.value.at) == ("rule", "/linux/mountLabel")


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        ("", CONTEXT),
        ("size=1m", f"size=1m,{CONTEXT}"),
        ("rootcontext=x", f"rootcontext=x,{CONTEXT}"),
        ('context="a:b:c:s0:c1,c2",size=1m', 'context="a:b:c:s0:c1,c2",size=1m'),
    ],
)
def test_data(data: str, labelled: str) -> None:
    assert with_label(data, LABEL) == labelled


def queues(kind: int) -> tuple[Box, Any]:
    return recorded_box(open_in_root=5, statfs_type=kind)


def test_message_queues_are_labelled_by_an_attribute() -> None:
    (step,) = (step for step in stages("mounts", Host(selinux=True, **V1)) if isinstance(step, LabelQueues))
    assert (step.at, step.describe()) == ("/linux/mountLabel", f"label /dev/mqueue {LABEL}")
    box, kernel = queues(MQUEUE_MAGIC)
    step.apply(box)
    assert kernel.calls[-3:] == [
        ("fchdir", 5),
        ("setxattr", ".", "security.selinux", LABEL.encode()),
        ("close", 5),
    ]


def test_nothing_else_in_their_place_is() -> None:
    box, kernel = queues(1)
    with pytest.raises(OcirtError) as caught:
        LabelQueues("", "/dev/mqueue", LABEL).apply(box)
    assert caught.value.what == "/dev/mqueue is not the message queues' file system"
    assert "setxattr" not in kernel.names()
