"""The file system stages of a container, run for real in a child; then a function looks at it from inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ocirt.box import Box
from ocirt.config.views import Config
from ocirt.errors import OcirtError
from ocirt.host import probe_host
from ocirt.kernel import live
from ocirt.kernel.flags import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from ocirt.pipeline import HOST, INIT, Stage, run
from ocirt.stages.console import console
from ocirt.stages.devices import devices
from ocirt.stages.masks import masks
from ocirt.stages.mounts import mount_sources, mounts
from ocirt.stages.pivot import pivot, root_propagation
from ocirt.stages.rootfs import finish_root, prepare_root
from ocirt.stages.sysctl import sysctl
from tests.support.namespaces import in_namespaces

FLAGS = {
    "mount": CLONE_NEWNS,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "cgroup": CLONE_NEWCGROUP,
    "user": CLONE_NEWUSER,
}

PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]}
PTS = {
    "destination": "/dev/pts",
    "type": "devpts",
    "source": "devpts",
    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
}
SYS = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}


class Failed(Exception):
    """A stage failed; .record is the error's record."""

    def __init__(self, record: list[str]) -> None:
        super().__init__(" | ".join(record))
        self.code, self.what, self.stage, self.step, self.at, self.call, self.errno = record[:7]


def configuration(*mounts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A config.json with these mounts; keywords of linux go to linux, `process` and `root` to the top."""
    kinds = more.pop("namespaces", ("mount", "pid", "ipc", "network", "uts"))
    top = {name: more.pop(name) for name in ("root", "process") if name in more}
    return {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "mounts": list(mounts),
        "linux": {"namespaces": [{"type": kind} for kind in kinds], **more},
        **top,
    }


def inside(
    bundle: Path,
    value: dict[str, Any],
    look: Callable[[], Any] = lambda: None,
    *,
    no_pivot: bool = False,
    console_socket: int = -1,
) -> Any:
    """What look() returns in the finished root.  Raises Failed when a stage fails."""
    config = Config(value)
    flags = 0
    for namespace in config.linux.namespaces if config.linux else ():
        flags |= FLAGS[namespace.type]
    box = Box(live)
    box.proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    if console_socket >= 0:
        box.fds["console-socket"] = console_socket

    def child() -> Any:
        if flags & CLONE_NEWUSER:
            _map_root_only()
        return _fork_into_pid_namespace(lambda: _look(box, config, str(bundle), no_pivot, look), flags)

    try:
        run((Stage("sources", HOST, mount_sources(config, str(bundle))),), box)
        good, answer = in_namespaces(child, flags or CLONE_NEWUTS)
    except OcirtError as error:
        raise Failed(error.to_record()) from None
    finally:
        for fd in (box.proc, *box.fds.values()):
            if fd != console_socket:
                os.close(fd)
    if good == "failed":
        raise Failed(answer)
    return answer


def _map_root_only() -> None:
    """The one mapping that a process may write for itself, user_namespaces(7)."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text("0 0 1")
    Path("/proc/self/gid_map").write_text("0 0 1")


def _fork_into_pid_namespace(function: Callable[[], Any], flags: int) -> Any:
    """unshare(CLONE_NEWPID) takes effect in children only, and a new procfs needs it."""
    return in_namespaces(function, 0) if flags & CLONE_NEWPID else function()


def _look(box: Box, config: Config, bundle: str, no_pivot: bool, look: Callable[[], Any]) -> tuple[str, Any]:
    try:
        os.setsid()
        run(tuple(_stages(config, bundle, no_pivot)), box)
        return "good", look()
    except OcirtError as error:
        return "failed", error.to_record()


def _stages(config: Config, bundle: str, no_pivot: bool) -> Iterator[Stage]:
    yield Stage("rootfs", INIT, prepare_root(config, bundle, no_pivot))
    yield Stage("mounts", INIT, mounts(config, probe_host(), bundle))
    yield Stage("devices", INIT, devices(config))
    yield Stage("pivot_root", INIT, pivot(config, no_pivot))
    yield Stage("console", INIT, console(config.process) if config.process else ())
    yield Stage(
        "finish", INIT, finish_root(config), sysctl(config.linux), masks(config.linux), root_propagation(config)
    )


def mountinfo(path: str = "") -> list[str]:
    """ "point options fstype" of the mounts at or below path, by the container's own /proc."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point, options = before.split(" ")[4:6]
        if point == path or point.startswith(f"{path}/"):
            found.append(f"{point} {options} {after.split(' ')[0]}")
    return found
