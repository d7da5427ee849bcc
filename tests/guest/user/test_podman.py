"""Rootless podman with ocirt on cgroup v2, cgroups by cgroupfs: run, exec, limits, stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.podman import IMAGE, Podman


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    directory = tmp_path_factory.mktemp("podman")
    podman = Podman(directory, os.environ.get("OCIRT_RUNTIME", "/usr/local/bin/ocirt"))
    podman.make_image(directory / "root.tar")
    yield podman
    podman.close()


def test_run(podman: Podman) -> None:
    assert podman.run(IMAGE, "id", "-u") == "0\n"
    podman.run(IMAGE, "sh", "-c", "exit 7", code=7)
    podman.run(IMAGE, "nosuch", code=127)


def test_keep_id(podman: Podman) -> None:
    assert podman.run("--userns", "keep-id", IMAGE, "id", "-u") == "1000\n"


def test_life_with_a_memory_limit(podman: Podman) -> None:
    podman.launch("one", "--memory", "64m", IMAGE, "sh", "-c", "echo up; exec sleep 1000")
    group = Path(f"/proc/{podman.state('one')['Pid']}/cgroup").read_text().strip().partition("::/")[2]
    cgroup = Path("/sys/fs/cgroup", group)
    assert (cgroup / "memory.max").read_text() == f"{64 << 20}\n"
    assert podman("exec", "one", "cat", "/proc/1/comm") == "sleep\n"
    podman("exec", "one", "sh", "-c", "exit 3", code=3)
    assert podman("logs", "one") == "up\n"
    podman("pause", "one")
    podman("unpause", "one")
    podman("stop", "--time", "1", "one")
    assert podman.state("one")["Status"] == "exited"
    podman("rm", "one")
    assert not cgroup.exists()
