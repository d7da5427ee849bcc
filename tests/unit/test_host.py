"""The host as a value."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

from ocirt import host as host_module
from ocirt.host import Host, parse_release, probe_host


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.18.44-fc-v657", (6, 18)), ("6.1-rc3", (6, 1)), ("5.10.0-28-amd64", (5, 10)), ("7.0", (7, 0)), ("4.x", (4, 0))],
)
def test_release(release: str, expected: tuple[int, int]) -> None:
    assert parse_release(release) == expected


def test_probe_says_what_the_system_says() -> None:
    host = probe_host()
    assert host.machine == os.uname().machine
    assert host.euid == os.geteuid()
    assert os.uname().release.startswith(f"{host.kernel[0]}.{host.kernel[1]}")
    assert all(os.path.isdir(mount) for mount in host.cgroup_mounts.values())


def test_probe_is_quick() -> None:
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        probe_host()
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.001


def test_a_host_can_be_made_up() -> None:
    host = Host(cgroup="v2", unified_mount="/sys/fs/cgroup", userns=True)
    assert (host.cgroup, host.userns, host.cgroup_mounts, host.own_cgroups) == ("v2", True, {}, {})


@pytest.mark.parametrize(
    ("euid", "owner", "whose"), [(0, 0, "system"), (1000, 0, "user"), (0, 65534, "user"), (0, None, "")]
)
def test_whose_systemd(monkeypatch: pytest.MonkeyPatch, euid: int, owner: int | None, whose: str) -> None:
    """(0, 65534) is root of a user namespace as podman unshare makes one."""

    def stat(path: str) -> SimpleNamespace:
        assert path == "/run/systemd/system"
        if owner is None:
            raise FileNotFoundError
        return SimpleNamespace(st_uid=owner)

    monkeypatch.setattr(host_module.os, "stat", stat)
    monkeypatch.setattr(host_module.os, "geteuid", lambda: euid)
    assert host_module._systemd() == whose
