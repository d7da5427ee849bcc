"""The user of the guest has what rootless containers want."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def test_subordinate_ids() -> None:
    assert os.getuid() == 1000
    for file in ("/etc/subuid", "/etc/subgid"):
        assert "user:165536:65536" in Path(file).read_text().splitlines()
    assert os.access("/usr/bin/newuidmap", os.X_OK)


def test_login_session() -> None:
    assert os.environ["XDG_RUNTIME_DIR"] == "/run/user/1000"
    assert Path("/proc/self/cgroup").read_text().startswith("0::/user.slice/user-1000.slice/session-")


def test_systemd_of_the_user_has_delegated_controllers() -> None:
    done = subprocess.run(
        ["systemctl", "--user", "show", "-p", "ControlGroup"], capture_output=True, text=True, check=True
    )
    group = Path("/sys/fs/cgroup") / done.stdout.strip().removeprefix("ControlGroup=/")
    assert {"cpu", "memory", "pids"} <= set((group / "cgroup.controllers").read_text().split())
    assert group.owner() == "user"
