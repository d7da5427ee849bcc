"""--systemd-cgroup for an ordinary user in a login session: units of the user's own systemd."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle, Roots
from tests.support.runtime import Runtime, poll
from tests.support.units import cgroup_of, left_of, show, systemctl, text
from tests.support.units_of_podman import check_podman

SYSTEMD = ("--systemd-cgroup",)
MIB = 1 << 20
PAUSE = "echo up; while :; do sleep 1000; done"
MANAGER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    return Roots(tmp_path_factory.mktemp("roots"))


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    directory = tmp_path / "runtime"
    directory.mkdir()
    runtime = Runtime(directory)
    yield runtime
    runtime.remove_all()


@pytest.fixture
def bundle(tmp_path: Path, runtime: Runtime, roots: Roots) -> Iterator[Bundle]:
    """What `spec --rootless` writes, with a busybox root; nothing may be left of it."""
    bundle = Bundle(tmp_path / f"u{os.getpid()}", roots)
    runtime.ok("spec", "--rootless", "--bundle", str(bundle.path))
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    bundle.config["root"]["readonly"] = False
    bundle.linux.pop("resources", None)
    yield bundle
    runtime.remove_all()
    assert left_of(bundle.id) == []


def create(runtime: Runtime, bundle: Bundle, **resources: Any) -> str:
    bundle.script(PAUSE).namespace("cgroup")
    if resources:
        bundle.resources(**resources)
    runtime.create(bundle, options=SYSTEMD)
    return f"ocirt-{bundle.id}.scope"


@pytest.mark.parametrize(
    ("resources", "properties", "files"),
    [
        ({}, {"Delegate": "yes", "Slice": "user.slice"}, {}),
        ({"memory": {"limit": 64 * MIB}}, {"MemoryMax": "67108864"}, {"memory.max": "67108864"}),
        ({"memory": {"reservation": 32 * MIB}}, {"MemoryLow": "33554432"}, {"memory.low": "33554432"}),
        ({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, {"MemorySwapMax": "0"}, {"memory.swap.max": "0"}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": "100"}, {"cpu.weight": "100"}),
        ({"cpu": {"quota": 25000, "period": 50000}}, {"CPUQuotaPerSecUSec": "500ms"}, {"cpu.max": "25000 50000"}),
        ({"cpu": {"cpus": "1"}}, {"AllowedCPUs": "1"}, {"cpuset.cpus": "1"}),
        ({"pids": {"limit": 20}}, {"TasksMax": "20"}, {"pids.max": "20"}),
        ({"unified": {"memory.high": "33554432"}}, {"MemoryHigh": "33554432"}, {"memory.high": "33554432"}),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_limit_is_a_property_and_a_file(
    runtime: Runtime, bundle: Bundle, resources: dict[str, Any], properties: dict[str, str], files: dict[str, str]
) -> None:
    unit = create(runtime, bundle, **resources)
    assert show(unit, *properties) == properties
    assert show(unit, "ControlGroup") == {"ControlGroup": f"{MANAGER}/user.slice/{unit}"}
    group = cgroup_of(unit)
    assert {name: text(group / name) for name in files} == files
    assert text(group / "cgroup.procs") == str(bundle.pid)


def test_a_life(runtime: Runtime, bundle: Bundle) -> None:
    """From a session's scope nobody may move a process into the unit: systemd does it for exec too."""
    assert "/session-" in Path("/proc/self/cgroup").read_text()
    unit = create(runtime, bundle, memory={"limit": 64 * MIB})
    group = cgroup_of(unit)
    runtime.start(bundle)
    assert runtime.sh(bundle, "cat /proc/self/cgroup") == "0::/\n"
    runtime.ok("exec", "--detach", "--pid-file", f"{bundle.path}/e", bundle.id, "sleep", "1000")
    assert (bundle.path / "e").read_text() in text(group / "cgroup.procs").split()
    runtime.ok("update", "--memory", "128M", "--pids-limit", "40", bundle.id)
    assert show(unit, "MemoryMax", "TasksMax") == {"MemoryMax": "134217728", "TasksMax": "40"}
    assert [text(group / name) for name in ("memory.max", "pids.max")] == ["134217728", "40"]
    runtime.ok("pause", bundle.id)
    assert runtime.status(bundle) == "paused"
    runtime.ok("resume", bundle.id)
    runtime.ok("kill", bundle.id, "KILL")
    poll(lambda: runtime.status(bundle) == "stopped", "the container ends")
    runtime.ok("delete", bundle.id)
    assert left_of(bundle.id) == []


def test_a_slice_of_the_users(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"app-test.slice:pre:{bundle.id}"
    bundle.script(PAUSE)
    runtime.create(bundle, options=SYSTEMD)
    path = f"{MANAGER}/app.slice/app-test.slice/pre-{bundle.id}.scope"
    assert Path(f"/proc/{bundle.pid}/cgroup").read_text() == f"0::{path}\n"
    runtime.ok("delete", "--force", bundle.id)
    systemctl("stop", "app-test.slice")


def test_without_a_bus(runtime: Runtime, bundle: Bundle) -> None:
    bundle.script(PAUSE).save()
    env = {name: value for name, value in os.environ.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
    result = runtime.fails(
        "create",
        "--bundle",
        str(bundle.path),
        bundle.id,
        options=SYSTEMD,
        env={**env, "XDG_RUNTIME_DIR": "/nowhere"},
        says="connect to the user's systemd",
    )
    assert "/nowhere/systemd/private" in result.last_line
    assert "loginctl enable-linger" in result.last_line


def test_podman(bundle: Bundle) -> None:
    """podman calls the runtime as root of a user namespace, in which systemd belongs to nobody it knows."""
    check_podman(bundle)
