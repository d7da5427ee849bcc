"""ocirt features: what this runtime supports (features.md), from the tables its code works with.

--probe is another question: what works on this machine.  It is answered by ocirt/probe, which is loaded for it alone.
"""

from __future__ import annotations

from ocirt import OCI_VERSION, __version__, log
from ocirt.cgroups.unit_properties import ANNOTATION
from ocirt.config import jsontext, shapes
from ocirt.config.mountopts import RECOGNISED
from ocirt.errors import UsageError
from ocirt.kernel import flags
from ocirt.kernel.capabilities import CAPABILITIES
from ocirt.kernel.questions import seccomp_flag_known
from ocirt.options import VALUE, Option
from ocirt.seccomp.architectures import ABIS
from ocirt.seccomp.profile import ACTIONS, FLAGS, OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.options import Globals, Parsed

SUMMARY = "print what this runtime supports as JSON"
ARGUMENTS = ""
OPTIONS = (
    Option("probe", help="try what works on this machine instead; it is left as it is"),
    Option("format", "f", VALUE, 'with --probe: "table" (default) or "json"', "FORMAT"),
)
MAX_ARGS = 0

OLDEST_OCI_VERSION = "1.0.0"


def main(g: Globals, options: Parsed) -> int:
    if not options.probe:
        if options.format not in ("", "json"):
            raise UsageError(f"--format {options.format} is for --probe: the document of features is JSON")
        log.show(jsontext.dump(features(), 4) + "\n")
        return 0
    if options.format not in ("", "table", "json"):
        raise UsageError(f"invalid format option: {options.format}")
    from ocirt.probe import report

    host, outcomes = report.try_all()
    if options.format == "json":
        log.show(jsontext.dump(report.document(host, outcomes), 4) + "\n")
    else:
        log.show(report.table(host, outcomes))
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
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": _memory_policy(),
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"ocirt.version": __version__, "org.opencontainers.runc.checkpoint.enabled": "true"},
        # any property of the container's unit; a file whose settings CRIU takes before ours
        "potentiallyUnsafeConfigAnnotations": [ANNOTATION, "org.criu.config"],
    }


def _seccomp() -> dict[str, Any]:
    known = sorted(FLAGS)
    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(ABIS),
        "knownFlags": known,
        "supportedFlags": [name for name in known if seccomp_flag_known(getattr(flags, name))],
    }


def _memory_policy() -> dict[str, Any]:
    properties = shapes.MEMORY_POLICY[2]
    return {"modes": properties["mode"][1], "flags": properties["flags"][1][1]}
