"""Host: what the machine offers, probed once, a plain value.  A plan for any host can be made on any machine.

Sources: /proc/self/mountinfo (proc_pid_mountinfo(5)), /proc/self/cgroup (cgroups(7)), uname(2).
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.cgroups.layout import cgroup_layout, parse_cgroup_mounts, parse_own_cgroups, parse_resctrl_mount

# The inode of the initial user namespace's nsfs file (PROC_USER_INIT_INO, include/linux/proc_ns.h).
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD
_SYSTEMD_BOOTED = "/run/systemd/system"  # sd_booted(3)

# Where newuidmap(1) and newgidmap(1) may be, the best first; the last is NixOS's.
TOOL_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin")


class Host:
    """One machine as the plan sees it.

    kernel:         release as (6, 18).            machine: as uname(2) prints it, "x86_64".
    euid, egid:     effective user and group id of the runtime.
    mapping_tools:  absolute paths of "newuidmap" and "newgidmap", for a user other than root.
    userns:         the runtime is in a user namespace other than the initial one.
    apparmor, selinux: the security module is there and switched on.
    systemd:        whose systemd this process may ask for a cgroup: "system", "user", "" for none.
    cgroup:         "v1", "hybrid", "v2" or "none".
    cgroup_mounts:  v1 controller -> mount point, named hierarchies as "name=systemd"; controllers
                    mounted together share one mount point.
    cgroup_roots:   v1 controller -> directory of the hierarchy that the mount shows, only where it is not "/".
    unified_mount:  mount point of the v2 hierarchy, "" when there is none; its root in cgroup_roots[""].
    resctrl:        mount point of the resctrl file system, "" when there is none.
    own_cgroups:    controller -> the runtime's own cgroup in that hierarchy, "" for v2.
    """

    __slots__ = (
        "kernel",
        "machine",
        "euid",
        "egid",
        "mapping_tools",
        "userns",
        "apparmor",
        "selinux",
        "systemd",
        "cgroup",
        "cgroup_mounts",
        "cgroup_roots",
        "unified_mount",
        "resctrl",
        "own_cgroups",
    )

    def __init__(
        self,
        *,
        kernel: tuple[int, int] = (6, 1),
        machine: str = "x86_64",
        euid: int = 0,
        egid: int = 0,
        mapping_tools: dict[str, str] | None = None,
        userns: bool = False,
        apparmor: bool = False,
        selinux: bool = False,
        systemd: str = "",
        cgroup: str = "none",
        cgroup_mounts: dict[str, str] | None = None,
        cgroup_roots: dict[str, str] | None = None,
        unified_mount: str = "",
        resctrl: str = "",
        own_cgroups: dict[str, str] | None = None,
    ) -> None:
        self.kernel = kernel
        self.machine = machine
        self.euid = euid
        self.egid = egid
        self.mapping_tools = mapping_tools or {}
        self.userns = userns
        self.apparmor = apparmor
        self.selinux = selinux
        self.systemd = systemd
        self.cgroup = cgroup
        self.cgroup_mounts = cgroup_mounts or {}
        self.cgroup_roots = cgroup_roots or {}
        self.unified_mount = unified_mount
        self.resctrl = resctrl
        self.own_cgroups = own_cgroups or {}

    @property
    def rootless(self) -> bool:
        """Whether the runtime is root of the machine in name only, or not at all."""
        return self.euid != 0 or self.userns


def probe_host() -> Host:
    """The machine ocirt runs on.  Raises OSError when /proc is not there."""
    system = os.uname()
    mountinfo = os.read_text("/proc/self/mountinfo")
    own = parse_own_cgroups(os.read_record("/proc/self/cgroup"))
    mounts, roots, unified = parse_cgroup_mounts(mountinfo, own)
    return Host(
        kernel=parse_release(system.release),
        machine=system.machine,
        euid=os.geteuid(),
        egid=os.getegid(),
        mapping_tools=find_mapping_tools() if os.geteuid() else None,
        userns=os.stat("/proc/self/ns/user").st_ino != _INITIAL_USER_NAMESPACE,
        apparmor=_apparmor_enabled(),
        selinux=" - selinuxfs " in mountinfo,
        systemd=_systemd(),
        cgroup=cgroup_layout(mounts, unified),
        cgroup_mounts=mounts,
        cgroup_roots=roots,
        unified_mount=unified,
        resctrl=parse_resctrl_mount(mountinfo),
        own_cgroups=own,
    )


def find_mapping_tools() -> dict[str, str]:
    """The two programs by name.  PATH is the caller's word: only directories that are root's are searched."""
    return {
        name: f"{directory}/{name}"
        for name in ("newuidmap", "newgidmap")
        for directory in reversed(TOOL_DIRECTORIES)
        if os.path.exists(f"{directory}/{name}")
    }


def parse_release(release: str) -> tuple[int, int]:
    """(major, minor) of a kernel release such as 6.18.44-fc or 6.1-rc3."""
    major, minor = release.split(".")[:2]
    digits = len(minor) - len(minor.lstrip("0123456789"))
    return int(major), int(minor[:digits] or 0)


def _systemd() -> str:
    """Root of a user namespace with a systemd of its own (a system container) sees that one's files as its own; in
    another user namespace, such as podman unshare makes, they belong to somebody without a name."""
    try:
        owner = os.stat(_SYSTEMD_BOOTED).st_uid
    except OSError:
        return ""
    return "system" if os.geteuid() == owner == 0 else "user"


def _apparmor_enabled() -> bool:
    try:
        return os.read_text("/sys/module/apparmor/parameters/enabled").startswith("Y")
    except FileNotFoundError:
        return False
