"""The guest is the machine that the other tests here mean."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def _host_is_as_before() -> None:
    """These run no container."""


def test_only_the_unified_hierarchy() -> None:
    assert [
        line.split()[2] for line in Path("/proc/mounts").read_text().splitlines() if "cgroup" in line.split()[2]
    ] == ["cgroup2"]


def test_systemd_is_process_1() -> None:
    assert os.readlink("/proc/1/exe") == "/usr/lib/systemd/systemd"
    done = subprocess.run(["systemctl", "is-system-running"], check=False, capture_output=True, text=True)
    assert done.stdout in ("running\n", "starting\n")  # the tests themselves are the last job it waits for


def test_security_modules() -> None:
    modules = Path("/sys/kernel/security/lsm").read_text().split(",")
    assert {"landlock", "apparmor"} <= set(modules)
    assert Path("/sys/module/apparmor/parameters/enabled").read_text() == "Y\n"


def test_no_network() -> None:
    assert os.listdir("/sys/class/net") == ["lo"]


def test_ocirt_is_installed() -> None:
    done = subprocess.run([os.environ["OCIRT_RUNTIME"], "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ocirt version ")
