"""The host as a value."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ocirt import host as module
from ocirt.host import Host, find_mapping_tools, parse_release, probe_host


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


def test_the_mapping_tools_are_looked_for_in_directories_of_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory, name in ((first, "newuidmap"), (second, "newuidmap"), (second, "newgidmap"), (tmp_path, "x")):
        directory.mkdir(exist_ok=True)
        (directory / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "TOOL_DIRECTORIES", (str(first), str(second)))
    assert find_mapping_tools() == {"newuidmap": f"{first}/newuidmap", "newgidmap": f"{second}/newgidmap"}


@pytest.mark.parametrize(("euid", "userns", "rootless"), [(0, False, False), (0, True, True), (1000, False, True)])
def test_rootless(euid: int, userns: bool, rootless: bool) -> None:
    assert Host(euid=euid, userns=userns).rootless == rootless


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

    monkeypatch.setattr(module.os, "stat", stat)
    monkeypatch.setattr(module.os, "geteuid", lambda: euid)
    assert module._systemd() == whose
