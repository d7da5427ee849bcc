"""ocirt spec: a config.json to start from, the one `runc spec` writes."""

from __future__ import annotations

from ocirt import OCI_VERSION
from ocirt import system as os
from ocirt.config import jsontext
from ocirt.errors import OcirtError
from ocirt.options import VALUE, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.options import Globals, Parsed

SUMMARY = "write a config.json to start from"
ARGUMENTS = ""
OPTIONS = (
    Option("bundle", "b", kind=VALUE, metavar="DIR", help="directory to write config.json to (default: the current)"),
    Option("rootless", help="for a user without privileges: a user namespace, no network namespace, no resources"),
)
MAX_ARGS = 0

CONFIG = "config.json"
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
ROOTLESS_NAMESPACES = ("pid", "ipc", "uts", "mount", "user")
MASKED_PATHS = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
]
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def main(g: Globals, options: Parsed) -> int:
    path = os.path.join(options.bundle or ".", CONFIG)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise OcirtError("bundle", f"File {CONFIG} exists. Remove it first") from None
    ids = (os.geteuid(), os.getegid()) if options.rootless else None
    on_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    with open(fd, "w", encoding="utf-8") as file:
        file.write(jsontext.dump(example(ids, on_v2), 4) + "\n")
    return 0


def example(ids: tuple[int, int] | None, on_v2: bool) -> dict[str, Any]:
    """The configuration; with ids (uid, gid) for a user namespace in which these are root."""
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "ocirt",
        "mounts": _mounts(rootless=ids is not None),
        "linux": _linux(ids, on_v2),
    }


def _mounts(rootless: bool) -> list[dict[str, Any]]:
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if not rootless:
        pts.append("gid=5")  # tty; no group but 0 is mapped for a rootless container
    safe = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc"),
        _mount("/dev", "tmpfs", options=["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", options=pts),
        _mount("/dev/shm", "tmpfs", "shm", [*safe, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", options=safe),
        # A new sysfs needs a network namespace of the same user namespace.
        _mount("/sys", "none", "/sys", ["rbind", *safe, "ro"])
        if rootless
        else _mount("/sys", "sysfs", options=[*safe, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", options=[*safe, "relatime", "ro"]),
    ]


def _mount(destination: str, kind: str, source: str = "", options: list[str] | None = None) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source or kind}
    if options:
        mount["options"] = options
    return mount


def _linux(ids: tuple[int, int] | None, on_v2: bool) -> dict[str, Any]:
    namespaces = [*(ROOTLESS_NAMESPACES if ids else NAMESPACES), *(["cgroup"] if on_v2 else [])]
    own: dict[str, Any]
    if ids:
        uid, gid = ids
        own = {
            "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
        }
    else:
        own = {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    return {
        **own,
        "namespaces": [{"type": namespace} for namespace in namespaces],
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": READONLY_PATHS,
    }
