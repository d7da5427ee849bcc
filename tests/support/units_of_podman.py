"""podman with ocirt and systemd, as root and as a user."""

from __future__ import annotations

import os
import subprocess

from tests.support.bundles import Bundle
from tests.support.units import cgroup_of, left_of, show, text


def podman(*words: str, code: int = 0) -> str:
    """What it prints, without the last newline."""
    command = ["podman", "--runtime", os.environ["OCIRT_RUNTIME"], "--cgroup-manager", "systemd", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}: {done.stderr}"
    return done.stdout.rstrip("\n")


def check_podman(bundle: Bundle) -> None:
    """run, exec, limits, update, pause, stop, rm: each container is a unit that is gone in the end."""
    archive = bundle.path / "image.tar"
    subprocess.run(["tar", "-C", bundle.root, "-cf", archive, "."], check=True, timeout=60)
    image = f"localhost/{bundle.id}"
    podman("import", str(archive), image)
    limits = ("--memory", "64m", "--pids-limit", "30", "--cpus", "0.5")
    name = podman("run", "-d", "--network", "none", *limits, image, "sleep", "1000")
    unit = f"libpod-{name}.scope"
    try:
        assert show(unit, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec") == {
            "MemoryMax": "67108864",
            "TasksMax": "30",
            "CPUQuotaPerSecUSec": "500ms",
        }
        group = cgroup_of(unit)
        assert [text(group / file) for file in ("memory.max", "pids.max", "cpu.max")] == [
            "67108864",
            "30",
            "50000 100000",
        ]
        assert podman("exec", name, "cat", "/proc/self/cgroup") == "0::/"
        podman("exec", name, "sh", "-c", "exit 7", code=7)
        podman("update", "--memory", "96m", name)
        assert show(unit, "MemoryMax") == {"MemoryMax": "100663296"}
        podman("pause", name)
        assert text(group / "cgroup.freeze") == "1"
        podman("unpause", name)
        assert podman("run", "--rm", "--network", "none", image, "cat", "/proc/self/cgroup") == "0::/"
        podman("run", "--rm", "--network", "none", image, "sh", "-c", "exit 3", code=3)
        podman("stop", "-t", "1", name)
        assert podman("inspect", "--format", "{{.State.Status}}", name) == "exited"
    finally:
        podman("rm", "-f", name)
        podman("rmi", image)
    assert left_of(name) == []
