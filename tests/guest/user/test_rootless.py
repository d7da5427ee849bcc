"""Containers of the guest's user, on cgroup v2: in the session without rights, and in a delegated scope."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

OCIRT = os.environ.get("OCIRT_RUNTIME", "ocirt")
BOUND = 120  # seconds; the machine is emulated
SCOPE = ("systemd-run", "--user", "--scope", "--quiet", "--collect", "-p", "Delegate=yes")
CGROUPS = Path("/sys/fs/cgroup")


def call(*command: str, code: int = 0) -> str:
    """Run to the end; what it printed.  Standard error goes along: a failure must say why."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BOUND, check=False
    )
    assert done.returncode == code, (command, done.returncode, done.stdout)
    return done.stdout


def own_cgroup() -> str:
    return Path("/proc/self/cgroup").read_text().strip().partition("::")[2]


class Container:
    def __init__(self, directory: Path) -> None:
        self.path = directory
        self.id = f"guest-{directory.name}"
        root = directory / "rootfs"
        for name in ("bin", "proc", "dev", "sys", "tmp", "etc"):
            (root / name).mkdir(parents=True)
        (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (root / "bin/busybox").chmod(0o755)
        for name in ("sh", "cat", "id", "sleep", "mkdir", "grep"):
            (root / "bin" / name).symlink_to("busybox")
        call(OCIRT, "spec", "--rootless", "--bundle", str(directory))
        self.config: dict[str, Any] = json.loads((directory / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.pid = 0

    def ranges(self) -> Container:
        for which in ("uidMappings", "gidMappings"):
            self.config["linux"][which].append({"containerID": 1, "hostID": 165536, "size": 65536})
        return self

    def save(self, script: str) -> Container:
        self.config["process"]["args"] = ["sh", "-c", script]
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self

    def run(self, script: str, *before: str, code: int = 0) -> str:
        return call(*before, *self.save(script).command("run"), code=code)

    def launch(self, script: str, *before: str) -> None:
        """run --detach, with its output nowhere: the container would keep a pipe open."""
        command = [*before, *self.save(script).command("run", "--detach", "--pid-file", str(self.path / "pid"))]
        with (self.path / "out").open("wb") as out:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=BOUND, check=False)
        assert done.returncode == 0, (self.path / "out").read_text()
        self.pid = int((self.path / "pid").read_text())

    def command(self, verb: str, *options: str) -> list[str]:
        return [OCIRT, verb, *options, "--bundle", str(self.path), self.id]

    def cgroup(self) -> Path:
        return CGROUPS / Path(f"/proc/{self.pid}/cgroup").read_text().strip().partition("::/")[2]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    subprocess.run([OCIRT, "delete", "--force", made.id], stderr=subprocess.DEVNULL, timeout=BOUND, check=False)


def test_without_delegation_it_stays_where_the_user_is(container: Container) -> None:
    assert container.ranges().run("cat /proc/self/uid_map; id -u").split()[-1] == "0"
    container.launch("exec sleep 1000")
    assert container.cgroup() == CGROUPS / own_cgroup().lstrip("/")
    assert call(OCIRT, "exec", container.id, "id", "-u") == "0\n"
    call(OCIRT, "kill", container.id, "KILL")


def test_a_limit_without_delegation_is_refused(container: Container) -> None:
    container.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    said = container.run("true", code=1)
    assert "rootless needs no limits + no cgrouppath when no permission is granted for cgroups" in said
    assert "Delegate=yes" in said
    assert "[/linux/resources/memory/limit]" in said


def test_limits_in_a_delegated_scope(container: Container) -> None:
    """memory.max and pids.max of the container's own cgroup; exec joins it; delete removes it."""
    container.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}
    container.ranges().launch("exec sleep 1000", *SCOPE)
    cgroup = container.cgroup()
    assert cgroup.name == container.id
    assert f"user@{os.getuid()}.service" in str(cgroup)
    assert (cgroup / "memory.max").read_text() == f"{64 << 20}\n"
    assert (cgroup / "pids.max").read_text() == "20\n"
    inside = call(*SCOPE, OCIRT, "exec", container.id, "cat", "/proc/self/cgroup")
    assert inside == "0::/\n"  # the root of its cgroup namespace
    assert json.loads(call(OCIRT, "ps", "--format", "json", container.id)) == [container.pid]
    call(OCIRT, "update", "--pids-limit", "30", container.id)
    assert (cgroup / "pids.max").read_text() == "30\n"
    call(OCIRT, "pause", container.id)
    assert json.loads(call(OCIRT, "state", container.id))["status"] == "paused"
    call(OCIRT, "resume", container.id)
    call(OCIRT, "delete", "--force", container.id)
    assert not cgroup.exists()


def test_memory_is_limited(container: Container) -> None:
    container.config["linux"]["resources"] = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
    script = "x=0123456789abcdef; while true; do x=$x$x; done"
    container.run(script, *SCOPE, code=128 + 9)


def test_exec_from_elsewhere_runs_all_the_same(container: Container) -> None:
    """From the session no process may be moved into the user's systemd: the new one stays in the session's cgroup."""
    container.launch("exec sleep 1000", *SCOPE)
    assert call(OCIRT, "exec", container.id, "id", "-u") == "0\n"


def test_the_cgroup_seen_from_inside(container: Container) -> None:
    said = container.run("grep ' /sys/fs/cgroup ' /proc/self/mountinfo; mkdir /sys/fs/cgroup/x || echo refused", *SCOPE)
    assert " - cgroup2 " in said
    assert said.splitlines()[-1] == "refused"


def test_sysfs_without_a_network_of_its_own(container: Container) -> None:
    mounts = [mount for mount in container.config["mounts"] if not mount["destination"].startswith("/sys")]
    mounts.append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev"]})
    container.config["mounts"] = mounts
    lines = container.run("grep ' /sys' /proc/self/mountinfo").splitlines()
    assert len(lines) > 1
    assert all(line.split()[5].startswith("ro") for line in lines)


def test_state_of_the_session(container: Container) -> None:
    container.launch("exec sleep 1000")
    assert Path(os.environ["XDG_RUNTIME_DIR"], "ocirt", container.id, "state.json").exists()
