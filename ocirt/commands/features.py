"""ocirt features: what this runtime supports (features.md), from the tables its code works with."""

from __future__ import annotations

from errno import EFAULT

from ocirt import OCI_VERSION, __version__, log
from ocirt.cgroups.unit_properties import ANNOTATION
from ocirt.config import jsontext, shapes
from ocirt.config.mountopts import RECOGNISED
from ocirt.kernel import flags, numbers
from ocirt.kernel.capabilities import CAPABILITIES
from ocirt.kernel.ffi import syscall
from ocirt.seccomp.architectures import ABIS
from ocirt.seccomp.profile import ACTIONS, FLAGS, OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.options import Globals, Option, Parsed

SUMMARY = "print what this runtime supports as JSON"
ARGUMENTS = ""
OPTIONS: tuple[Option, ...] = ()
MAX_ARGS = 0

OLDEST_OCI_VERSION = "1.0.0"


def main(g: Globals, options: Parsed) -> int:
    log.show(jsontext.dump(features(), 4) + "\n")
    return 0


def features() -> dict[str, Any]:
    """The document.  Only supportedFlags depends on the host."""
    return {
        "ociVersionMin": OLDEST_OCI_VERSION,
        "ociVersionMax": OCI_VERSION,
        "hooks": list(shapes.HOOKS[2]),
        "mountOptions": RECOGNISED,
        "linux": {
            "namespaces": sorted(shapes.NAMESPACE_TYPE[1]),
            "capabilities": CAPABILITIES,
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": _seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "memoryPolicy": _memory_policy(),
            "mountExtensions": {"idmap": {"enabled": False}},
            "netDevices": {"enabled": False},
        },
        "annotations": {"ocirt.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [ANNOTATION],  # any property of the container's unit
    }


def _seccomp() -> dict[str, Any]:
    known = sorted(FLAGS)
    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(ABIS),
        "knownFlags": known,
        "supportedFlags": [name for name in known if _kernel_takes(getattr(flags, name))],
    }


def _kernel_takes(flag: int) -> bool:
    """Whether seccomp(2) knows the flag: then it goes on to the filter's address, which is wrong here."""
    if flag == flags.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        flag |= flags.SECCOMP_FILTER_FLAG_NEW_LISTENER  # refused without
    try:
        syscall("seccomp", numbers.seccomp, flags.SECCOMP_SET_MODE_FILTER, flag, None)
    except OSError as error:
        return error.errno == EFAULT
    raise AssertionError("a filter without an address was loaded")


def _memory_policy() -> dict[str, Any]:
    properties = shapes.MEMORY_POLICY[2]
    return {"modes": properties["mode"][1], "flags": properties["flags"][1][1]}
