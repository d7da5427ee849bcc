"""The bundles of the benchmarks: busybox, and the config of `runc spec` without a terminal."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
PROFILE = HERE.parents[1] / "tests/configs/seccomp/docker-default.json"
MOUNTS = 200


def add_seccomp(config: dict[str, Any]) -> None:
    config["linux"]["seccomp"] = json.loads(PROFILE.read_text())


def add_mounts(config: dict[str, Any]) -> None:
    options = ["nosuid", "nodev", "size=4k"]
    for number in range(MOUNTS):
        mount = {"destination": f"/tmp/{number}", "type": "tmpfs", "source": "tmpfs", "options": options}
        config["mounts"].append(mount)


def make_bundle(bundle: Path, args: list[str], change: Callable[[dict[str, Any]], None] | None = None) -> None:
    """args: of busybox.  change: of the config."""
    (bundle / "rootfs/bin").mkdir(parents=True)
    (bundle / "rootfs/tmp").mkdir()
    for number in range(MOUNTS):  # the root is read-only
        (bundle / f"rootfs/tmp/{number}").mkdir()
    shutil.copy2(shutil.which("busybox") or sys.exit("busybox-static is missing"), bundle / "rootfs/bin/busybox")
    config = json.loads((HERE / "config.json").read_text())
    config["process"]["args"] = ["/bin/busybox", *args]
    if change is not None:
        change(config)
    (bundle / "config.json").write_text(json.dumps(config, indent=2))
