"""Host: what the machine offers, probed once, a plain value.  A plan for any host can be made on any machine.

Sources: /proc/self/mountinfo (proc_pid_mountinfo(5)), /proc/self/cgroup (cgroups(7)), uname(2).
"""

from __future__ import annotations

import os

# The inode of the initial user namespace's nsfs file (PROC_USER_INIT_INO, include/linux/proc_ns.h).
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD
# A host is "v2" when the unified hierarchy is mounted here, whatever named v1 hierarchies lie beside it.
_CGROUP_ROOT = "/sys/fs/cgroup"


class Host:
    """One machine as the plan sees it.

    kernel:         release as (6, 18).            machine: as uname(2) prints it, "x86_64".
    euid:           effective user id of the runtime.
    userns:         the runtime is in a user namespace other than the initial one.
    apparmor, selinux: the security module is there and switched on.
    cgroup:         "v1", "hybrid", "v2" or "none".
    cgroup_mounts:  v1 controller -> mount point, named hierarchies as "name=systemd"; controllers
                    mounted together share one mount point.
    cgroup_roots:   v1 controller -> directory of the hierarchy that the mount shows, only where it is not "/".
    unified_mount:  mount point of the v2 hierarchy, "" when there is none; its root in cgroup_roots[""].
    own_cgroups:    controller -> the runtime's own cgroup in that hierarchy, "" for v2.
    """

    __slots__ = (
        "kernel",
        "machine",
        "euid",
        "userns",
        "apparmor",
        "selinux",
        "cgroup",
        "cgroup_mounts",
        "cgroup_roots",
        "unified_mount",
        "own_cgroups",
    )

    def __init__(
        self,
        *,
        kernel: tuple[int, int] = (6, 1),
        machine: str = "x86_64",
        euid: int = 0,
        userns: bool = False,
        apparmor: bool = False,
        selinux: bool = False,
        cgroup: str = "none",
        cgroup_mounts: dict[str, str] | None = None,
        cgroup_roots: dict[str, str] | None = None,
        unified_mount: str = "",
        own_cgroups: dict[str, str] | None = None,
    ) -> None:
        self.kernel = kernel
        self.machine = machine
        self.euid = euid
        self.userns = userns
        self.apparmor = apparmor
        self.selinux = selinux
        self.cgroup = cgroup
        self.cgroup_mounts = cgroup_mounts or {}
        self.cgroup_roots = cgroup_roots or {}
        self.unified_mount = unified_mount
        self.own_cgroups = own_cgroups or {}


def probe_host() -> Host:
    """The machine ocirt runs on.  Raises OSError when /proc is not there."""
    system = os.uname()
    mountinfo = _read("/proc/self/mountinfo")
    own = parse_own_cgroups(_read("/proc/self/cgroup"))
    mounts, roots, unified = parse_cgroup_mounts(mountinfo, own)
    return Host(
        kernel=parse_release(system.release),
        machine=system.machine,
        euid=os.geteuid(),
        userns=os.stat("/proc/self/ns/user").st_ino != _INITIAL_USER_NAMESPACE,
        apparmor=_apparmor_enabled(),
        selinux=" - selinuxfs " in mountinfo,
        cgroup=cgroup_layout(mounts, unified),
        cgroup_mounts=mounts,
        cgroup_roots=roots,
        unified_mount=unified,
        own_cgroups=own,
    )


def parse_release(release: str) -> tuple[int, int]:
    """(major, minor) of a kernel release such as 6.18.44-fc or 6.1-rc3."""
    major, minor = release.split(".")[:2]
    digits = len(minor) - len(minor.lstrip("0123456789"))
    return int(major), int(minor[:digits] or 0)


def parse_own_cgroups(text: str) -> dict[str, str]:
    """/proc/<pid>/cgroup as controller -> path; "" is the v2 hierarchy (cgroups(7))."""
    own: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def parse_cgroup_mounts(mountinfo: str, own: dict[str, str]) -> tuple[dict[str, str], dict[str, str], str]:
    """(controller -> mount point, controller -> shown root, v2 mount point) from the text of mountinfo.

    own tells controllers from mount options.  Of several mounts of a hierarchy the first counts.
    """
    mounts: dict[str, str] = {}
    roots: dict[str, str] = {}
    unified = ""
    for line in mountinfo.splitlines():
        if " - cgroup" not in line:
            continue
        before, after = line.split(" - ", 1)
        root, point = before.split(" ")[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" and not unified:
            unified = _unescape(point)
            _note_root(roots, "", root)
        elif kind == "cgroup":
            for controller in options.split(","):
                if controller in own and controller not in mounts:
                    mounts[controller] = _unescape(point)
                    _note_root(roots, controller, root)
    return mounts, roots, unified


def cgroup_layout(mounts: dict[str, str], unified: str) -> str:
    """ "v1", "hybrid", "v2" or "none"."""
    if unified == _CGROUP_ROOT or (unified and not mounts):
        return "v2"
    if mounts:
        return "hybrid" if unified else "v1"
    return "none"


def _note_root(roots: dict[str, str], controller: str, root: str) -> None:
    if root != "/":
        roots[controller] = _unescape(root)


def _unescape(name: str) -> str:
    r"""A path of mountinfo with \040 and the like as characters."""
    if "\\" not in name:
        return name
    first, *rest = name.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _apparmor_enabled() -> bool:
    try:
        return _read("/sys/module/apparmor/parameters/enabled").startswith("Y")
    except FileNotFoundError:
        return False


def _read(path: str) -> str:
    """The whole file: procfs hands out at most a page per read, so read until the end."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while block := os.read(fd, 65536):
            text += block
        return text.decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)
