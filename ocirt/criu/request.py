"""The options of checkpoint and restore: their tables, and what of them CRIU is told: pure."""

from __future__ import annotations

from ocirt import system as os
from ocirt.errors import UsageError
from ocirt.options import FLAG, LIST, VALUE, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.options import Parsed

DUMP_LOG, RESTORE_LOG = "dump.log", "restore.log"
DESCRIPTORS = "descriptors.json"
IMAGES = "checkpoint"  # below the working directory, when --image-path is not given
DEBUG = 4  # log_level: a log that explains a failure costs a few MiB
CLONE_NEWNET = 0x40000000  # empty_ns is a mask of these

# criu_cg_mode.  With CRIU's default, soft, cgroups that exist keep their settings: they are ours.
CGROUP_MODES = {"": 3, "soft": 3, "full": 4, "strict": 5, "ignore": 0}
# criu_network_lock_method
NETWORK_LOCKS = {"iptables": 1, "nftables": 2, "skip": 3}
CONFIG_ANNOTATION = "org.criu.config"
CONFIG_FILES = ("/etc/criu/ocirt.conf", "/etc/criu/runc.conf")

SHARED = (
    Option("image-path", "", VALUE, "directory of the images (default: checkpoint)", "DIR"),
    Option("work-path", "", VALUE, "directory of the log and the statistics (default: that of the images)", "DIR"),
    Option("tcp-established", "", FLAG, "allow established TCP connections"),
    Option("ext-unix-sk", "", FLAG, "allow UNIX sockets that are connected to the outside"),
    Option("shell-job", "", FLAG, "allow a session and a terminal that are not the container's own"),
    Option("file-locks", "", FLAG, "allow file locks"),
    Option("manage-cgroups-mode", "", VALUE, "soft (default), full, strict or ignore", "MODE"),
    Option("empty-ns", "", LIST, "a namespace whose content is left out: network", "TYPE"),
    Option("auto-dedup", "", FLAG, "remove from the images of before what is in newer ones, or is restored"),
    Option("lazy-pages", "", FLAG, "leave memory behind, to be fetched when it is needed (userfaultfd)"),
    Option("network-lock", "", VALUE, "how connections are held: iptables, nftables or skip", "METHOD"),
)
# Option -> field of criu_opts, both of the same name.
FLAGS = (
    "tcp_established",
    "tcp_skip_in_flight",
    "tcp_close",
    "ext_unix_sk",
    "shell_job",
    "file_locks",
    "auto_dedup",
    "lazy_pages",
    "link_remap",
    "leave_running",
    "lsm_profile",
    "lsm_mount_context",
)


def options_of(parsed: Parsed, *, may_use_iptables: bool = True) -> dict[str, Any]:
    """What checkpoint and restore both tell CRIU, as fields of criu_opts.  Raises UsageError.

    The network of a namespace is made by whoever made the namespace, so it is always left out.
    may_use_iptables: iptables-restore, which CRIU calls by default, is there.
    """
    if parsed.manage_cgroups_mode not in CGROUP_MODES:
        raise UsageError("invalid manage-cgroups-mode value", remedy="one of soft, full, strict, ignore")
    for name in parsed.empty_ns:
        if name != "network":
            raise UsageError(f'namespace "{name}" is not supported', remedy="--empty-ns takes network")
    fields = {
        "log_level": DEBUG,
        "manage_cgroups": True,  # of CRIU before it had modes
        "manage_cgroups_mode": CGROUP_MODES[parsed.manage_cgroups_mode],
        "empty_ns": CLONE_NEWNET,
        "orphan_pts_master": True,
        "notify_scripts": True,
    }
    fields |= {name: value for name in FLAGS if (value := getattr(parsed, name, False))}
    if parsed.network_lock:
        if parsed.network_lock not in NETWORK_LOCKS:
            raise UsageError(f"unknown network lock method {parsed.network_lock}", remedy="iptables, nftables or skip")
        fields["network_lock"] = NETWORK_LOCKS[parsed.network_lock]
    elif not may_use_iptables:
        fields["network_lock"] = NETWORK_LOCKS["nftables"]
    return fields


def page_server(text: str) -> tuple[str, int] | None:
    """ADDRESS:PORT, an IPv6 address in brackets; None for "".  Raises UsageError in runc's words."""
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif ":" in address:
        address = ""
    if not address or not port:
        raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError("Invalid port number")
    return address, int(port)


def check_parent(images: str, parent: str) -> None:
    """--parent-path, relative to the images.  Raises UsageError in runc's words."""
    if parent.startswith("/"):
        raise UsageError("--parent-path must be relative")
    path = os.path.join(images, parent)
    if not os.path.exists(images):  # --check, which makes nothing
        path = os.path.normpath(path)
    try:
        os.stat(path)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise UsageError(f"invalid --parent-path: stat {path}: {reason}") from None
    if not os.path.isdir(path):
        raise UsageError(f"invalid --parent-path: {path}: not a directory")


def config_file(annotations: dict[str, str]) -> str:
    """CRIU's configuration file, whose settings win over ours; "" for none."""
    if CONFIG_ANNOTATION in annotations:
        return annotations[CONFIG_ANNOTATION]
    return next((path for path in CONFIG_FILES if os.path.exists(path)), "")
