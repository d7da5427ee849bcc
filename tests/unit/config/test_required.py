"""Every property that the specification marks REQUIRED: a configuration without it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocirt.config.bundle import read_config
from ocirt.errors import ConfigError

IDS = [{"containerID": 0, "hostID": 1, "size": 1}]
DISK = {"major": 8, "minor": 0}
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
THROTTLES = ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice")

FULL: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/data", "options": ["bind", "idmap"], "uidMappings": IDS, "gidMappings": IDS}],
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "cwd": "/",
        "args": ["sh"],
        "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}],
        "scheduler": {"policy": "SCHED_OTHER"},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
    },
    "hooks": {kind: [{"path": "/bin/true"}] for kind in HOOKS},
    "linux": {
        "namespaces": [{"type": "user"}],
        "uidMappings": IDS,
        "gidMappings": IDS,
        "devices": [{"type": "c", "path": "/dev/sdx", **DISK}],
        "resources": {
            "devices": [{"allow": True, "access": "r"}],
            "blockIO": {
                "weightDevice": [{**DISK, "weight": 10}],
                **{name: [{**DISK, "rate": 1}] for name in THROTTLES},
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"priorities": [{"name": "lo", "priority": 1}]},
        },
        "memoryPolicy": {"mode": "MPOL_DEFAULT"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {
                    "names": ["mkdir"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
                }
            ],
        },
        "personality": {"domain": "LINUX"},
    },
}

REQUIRED = (
    "/ociVersion",
    "/root",
    "/root/path",
    "/mounts/0/destination",
    *(f"/mounts/0/{side}Mappings/0/{name}" for side in ("uid", "gid") for name in IDS[0]),
    "/process/consoleSize/height",
    "/process/consoleSize/width",
    "/process/cwd",
    "/process/args",
    "/process/args/0",
    "/process/rlimits/0/type",
    "/process/rlimits/0/soft",
    "/process/rlimits/0/hard",
    "/process/scheduler/policy",
    "/process/ioPriority/class",
    "/process/ioPriority/priority",
    *(f"/hooks/{kind}/0/path" for kind in HOOKS),
    "/linux/namespaces/0/type",
    *(f"/linux/{side}Mappings/0/{name}" for side in ("uid", "gid") for name in IDS[0]),
    "/linux/devices/0/type",
    "/linux/devices/0/path",
    "/linux/devices/0/major",
    "/linux/devices/0/minor",
    "/linux/resources/devices/0/allow",
    "/linux/resources/blockIO/weightDevice/0/major",
    "/linux/resources/blockIO/weightDevice/0/minor",
    "/linux/resources/blockIO/weightDevice/0/weight",
    *(f"/linux/resources/blockIO/{name}/0/{member}" for name in THROTTLES for member in ("major", "minor", "rate")),
    "/linux/resources/hugepageLimits/0/pageSize",
    "/linux/resources/hugepageLimits/0/limit",
    "/linux/resources/network/priorities/0/name",
    "/linux/resources/network/priorities/0/priority",
    "/linux/memoryPolicy/mode",
    "/linux/seccomp/defaultAction",
    "/linux/seccomp/syscalls/0/names",
    "/linux/seccomp/syscalls/0/names/0",
    "/linux/seccomp/syscalls/0/action",
    "/linux/seccomp/syscalls/0/args/0/index",
    "/linux/seccomp/syscalls/0/args/0/value",
    "/linux/seccomp/syscalls/0/args/0/op",
    "/linux/personality/domain",
)


def without(pointer: str) -> bytes:
    """The configuration without what pointer points to."""
    config = json.loads(json.dumps(FULL))
    *parents, last = pointer.split("/")[1:]
    node = config
    for step in parents:
        node = node[int(step) if isinstance(node, list) else step]
    del node[int(last) if isinstance(node, list) else last]
    return json.dumps(config).encode()


def test_the_full_one_is_accepted() -> None:
    assert read_config(json.dumps(FULL).encode()).root.path == "rootfs"


@pytest.mark.parametrize("pointer", REQUIRED)
def test_absence_is_refused(pointer: str) -> None:
    """Where: at the object that lacks it, or at an array that is now empty."""
    with pytest.raises(ConfigError) as raised:
        read_config(without(pointer))
    assert pointer.startswith(raised.value.at)
