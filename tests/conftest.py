"""What all tests share: the markers that end-to-end tests carry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MARKERS = (
    "only_ocirt(reason): not for other runtimes, and why",
    "cgroup_v1(reason): skipped where there is only cgroup v2, and why; tests/guest/root has what is for v2",
    "differs(runc=reason, crun=reason): skipped on the runtimes named, and why",
)


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_runtest_setup(item: pytest.Item) -> None:
    runtime = os.environ.get("RUNTIME", "ocirt")
    only = item.get_closest_marker("only_ocirt")
    if only and runtime != "ocirt":
        pytest.skip(f"{runtime}: {only.args[0]}")
    v1 = item.get_closest_marker("cgroup_v1")
    if v1 and Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip(f"cgroup v1 only: {v1.args[0]}")
    for marker in item.iter_markers("differs"):
        if runtime in marker.kwargs:
            pytest.skip(f"{runtime}: {marker.kwargs[runtime]}")
