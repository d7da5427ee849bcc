"""What is decided before CRIU is asked for a checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.criu.mounts import parse_mountinfo
from ocirt.errors import StateError, UsageError
from ocirt.host import Host
from ocirt.process.checkpoint import (
    cgroup_roots,
    external_namespaces,
    require_checkpointable,
    standard_streams,
    status_fd,
    write_descriptors,
)


@pytest.mark.parametrize("status", ["creating", "created", "stopped"])
def test_a_status_that_is_refused(status: str) -> None:
    with pytest.raises(StateError) as caught:
        require_checkpointable(status)
    assert caught.value.what == f"Container cannot be checkpointed in {status} state"
    assert caught.value.code == "status"


@pytest.mark.parametrize("status", ["running", "paused"])
def test_a_status_that_will_do(status: str) -> None:
    require_checkpointable(status)


def test_status_fd() -> None:
    reading, writing = os.pipe()
    assert status_fd("") == -1
    assert status_fd(str(writing)) == writing
    for text, says in {
        str(reading): f"invalid --status-fd argument {reading}: not writable",
        "999999": "invalid --status-fd argument 999999: bad file descriptor",
        "9" * 30: f"invalid --status-fd argument {'9' * 30}: bad file descriptor",
        "-1": 'invalid value "-1" for flag -status-fd: not a number of a descriptor',
    }.items():
        with pytest.raises(UsageError) as caught:
            status_fd(text)
        assert caught.value.what == says
    os.close(reading)
    os.close(writing)


def test_standard_streams(tmp_path: Path) -> None:
    """A pipe, a file of a mount that the container does not have, and one of a mount that it has."""
    outside = tmp_path / "log"
    with outside.open("w") as log:
        process = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stdout=log, stderr=subprocess.DEVNULL)
    try:
        assert process.stdin is not None
        pipe = os.readlink(f"/proc/self/fd/{process.stdin.fileno()}")
        text = Path(f"/proc/{process.pid}/mountinfo").read_text()
        number = next(
            int(line.split(":")[1])
            for line in Path(f"/proc/{process.pid}/fdinfo/1").read_text().splitlines()
            if line.startswith("mnt_id")
        )
        mounted = [mount for mount in parse_mountinfo(text) if mount.number != number]
        names = standard_streams(process.pid, mounted)
        assert names == [pipe, f"file[{number:x}:{outside.stat().st_ino:x}]", "/dev/null"]
        assert standard_streams(process.pid, parse_mountinfo(text)) == [pipe, str(outside), "/dev/null"]
    finally:
        process.kill()
        process.communicate()
    assert standard_streams(2**22 + 1, []) == ["", "", ""]


def test_descriptors_are_written_as_runc_does(tmp_path: Path) -> None:
    write_descriptors(str(tmp_path), ["pipe:[7]", "/dev/null", ""])
    assert json.loads((tmp_path / "descriptors.json").read_text()) == ["pipe:[7]", "/dev/null", ""]
    assert (tmp_path / "descriptors.json").stat().st_mode & 0o777 == 0o600


def test_namespaces_that_were_joined() -> None:
    namespaces = [
        {"type": "pid"},
        {"type": "network", "path": "/proc/1/ns/net"},
        {"type": "ipc", "path": "/proc/1/ns/ipc"},
    ]
    config = Config({"ociVersion": "1.3.0", "linux": {"namespaces": namespaces}})
    number = os.stat("/proc/self/ns/net").st_ino
    assert external_namespaces(config, os.getpid()) == [f"net[{number}]:extRootNetNS"]
    assert external_namespaces(Config({"ociVersion": "1.3.0"}), os.getpid()) == []


OWN = "4:cpu,cpuacct:/me/web/init\n1:name=systemd:/me/web\n3:pids:/elsewhere\n2:devices:/me/webs\n0::/me/web\n"


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ({}, []),
        ({"": "/cg/unified/me/web"}, [("", "/me/web")]),
        (
            {
                "cpu": "/cg/cpu,cpuacct/me/web",
                "name=systemd": "/cg/systemd/me/web",
                "pids": "/cg/pids/me/web",
                "devices": "/cg/devices/me/web",
            },
            [("cpu,cpuacct", "/me/web"), ("name=systemd", "/me/web")],
        ),
    ],
)
def test_the_containers_own_cgroups(
    monkeypatch: pytest.MonkeyPatch, paths: dict[str, str], found: list[tuple[str, str]]
) -> None:
    """Where init is in or below; /me/webs and /elsewhere are others."""
    controllers = {"cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct", "name=systemd": "systemd"}
    mounts = {name: f"/cg/{controllers.get(name, name)}" for name in (*controllers, "pids", "devices")}
    host = Host(cgroup="hybrid", cgroup_mounts=mounts, unified_mount="/cg/unified")
    monkeypatch.setattr("ocirt.process.checkpoint.os.read_text", {"/proc/7/cgroup": OWN}.get)
    manager = SimpleNamespace(paths=paths) if paths else None
    container: Any = SimpleNamespace(pid=7, manager=lambda: manager)
    assert cgroup_roots(container, host) == [{"ctrl": name, "path": path} for name, path in found]
