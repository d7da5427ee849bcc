"""What containers need of a machine and cannot bring with them; looked up in /proc and /sys, nothing is tried.

Trying is `features --probe`.
"""

from __future__ import annotations

from ocirt import system as os
from ocirt import users
from ocirt.doctor import Finding
from ocirt.kernel.processes import rlimit
from ocirt.stages.limits import RESOURCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.host import Host

OLDEST_KERNEL = (5, 6)  # openat2(2)
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
# Capabilities without which root sets up no container (bit, name).
CAPABILITIES = ((0, "CAP_CHOWN"), (7, "CAP_SETUID"), (18, "CAP_SYS_CHROOT"), (21, "CAP_SYS_ADMIN"), (27, "CAP_MKNOD"))
FEW_FILES = 256  # descriptors; a create has some dozens open
NEARLY = 0.9  # of a quota
FEWEST_IDS = 65536


def findings(host: Host, root: str) -> list[Finding]:
    """root: where containers are recorded."""
    found = [_kernel(host), _root(root), *_namespaces(host), *_cgroups(host), _keyrings(host), _files(), _seccomp()]
    if host.euid == 0:
        found.append(_capabilities())
    else:
        found += _ids(host)
    return [*found, _ps(), *_systemd(host)]


def _kernel(host: Host) -> Finding:
    release = ".".join(map(str, host.kernel))
    needed = ".".join(map(str, OLDEST_KERNEL))
    return Finding("kernel", host.kernel >= OLDEST_KERNEL, f"Linux {release}", f"boot Linux {needed} or newer")


def _root(root: str) -> Finding:
    place = root
    while not os.path.exists(place):
        place = os.path.split(place)[0]
    ours = os.access(place, os.W_OK | os.X_OK)
    return Finding(
        "state directory",
        ours,
        f"{root}: {place} is {'' if ours else 'not '}ours to write",
        "export XDG_RUNTIME_DIR=/run/user/$(id -u)   # or ocirt --root DIR",
    )


def _namespaces(host: Host) -> Iterator[Finding]:
    for name in NAMESPACES:
        most = os.number_if_there(f"/proc/sys/user/max_{name}_namespaces")
        if most is not None and (most == 0 or name == "user"):
            yield Finding(
                f"{name} namespaces",
                most > 0,
                f"user.max_{name}_namespaces = {most}",
                f"sysctl -w user.max_{name}_namespaces=15000",
            )
    if host.euid == 0:
        return
    for sysctl, wanted in (("unprivileged_userns_clone", 1), ("apparmor_restrict_unprivileged_userns", 0)):
        found = os.number_if_there(f"/proc/sys/kernel/{sysctl}")
        if found is not None:
            yield Finding(
                "user namespaces of users",
                found == wanted,
                f"kernel.{sysctl} = {found}",
                f"sudo sysctl -w kernel.{sysctl}={wanted}",
            )


def _cgroups(host: Host) -> Iterator[Finding]:
    if host.cgroup == "none":
        yield Finding("cgroups", False, "none is mounted", "mount -t cgroup2 none /sys/fs/cgroup")
        return
    there = available_controllers(host)
    missing = [name for name in CONTROLLERS if name not in there]
    if host.cgroup != "v2":
        mend = f"mount -t cgroup -o {missing[0] if missing else ''} none /sys/fs/cgroup/{missing[0] if missing else ''}"
    elif host.euid != 0:
        mend = "printf '[Service]\\nDelegate=yes\\n' | sudo systemctl edit --stdin user@.service   # then log in again"
    else:
        mend = f"echo '{' '.join('+' + name for name in missing)}' > {host.unified_mount}/cgroup.subtree_control"
    what = f"{host.cgroup}, with " + (f"all of {', '.join(CONTROLLERS)}" if not missing else f"no {', '.join(missing)}")
    yield Finding("cgroups", not missing, what, mend)


def available_controllers(host: Host) -> list[str]:
    """Those that a container's limits can be written to."""
    if host.cgroup != "v2":
        return list(host.cgroup_mounts)
    own = host.own_cgroups.get("", "/") if host.euid != 0 else ""
    return os.text_if_there(f"{host.unified_mount}{own}/cgroup.controllers").split()


def _keyrings(host: Host) -> Finding:
    """A session keyring for each container: proc_keys(5)."""
    limit = "root_maxkeys" if host.euid == 0 else "maxkeys"
    most = os.number_if_there(f"/proc/sys/kernel/keys/{limit}")
    mine = [
        line
        for line in os.text_if_there("/proc/key-users").splitlines()
        if line.split(":")[0].strip() == str(host.euid)
    ]
    used = int(mine[0].split()[1]) if mine else 0
    return Finding(
        "keyrings",
        most is None or used < most * NEARLY,
        f"{used} of {most if most is not None else 'any number of'} keys are in use (kernel.keys.{limit})",
        f"sysctl -w kernel.keys.{limit}={(most or 0) * 10}",
    )


def _files() -> Finding:
    soft, _ = rlimit(0, RESOURCES.index("RLIMIT_NOFILE"))
    return Finding("open files", soft >= FEW_FILES, f"RLIMIT_NOFILE is {soft}", "ulimit -n 1024")


def _seccomp() -> Finding:
    actions = os.text_if_there("/proc/sys/kernel/seccomp/actions_avail")
    return Finding(
        "seccomp", bool(actions), actions or "the kernel has none", "boot a kernel with CONFIG_SECCOMP_FILTER=y"
    )


def _capabilities() -> Finding:
    status = os.text_if_there("/proc/self/status")
    effective = int(status.partition("\nCapEff:")[2].split()[0], 16)
    missing = [name for bit, name in CAPABILITIES if not effective >> bit & 1]
    return Finding(
        "capabilities",
        not missing,
        f"root without {', '.join(missing)}" if missing else "root with what a set-up needs",
        "start ocirt outside of the container it is in, or that container with --privileged",
    )


def user_name(uid: int) -> str:
    """The number itself when it has none."""
    return [*users.names(uid), str(uid)][0]


def subordinate_ranges(kind: str, name: str, uid: int) -> list[tuple[int, int]]:
    """(first id, how many) of a user in /etc/subuid or /etc/subgid, subuid(5).  kind: "uid" or "gid"."""
    lines = [line.split(":") for line in os.text_if_there(f"/etc/sub{kind}").splitlines()]
    return [
        (int(line[1]), int(line[2]))
        for line in lines
        if len(line) == 3 and line[0] in (name, str(uid)) and line[1].isdecimal() and line[2].isdecimal()
    ]


def _ids(host: Host) -> Iterator[Finding]:
    """Subordinate ids, and newuidmap(1)."""
    name = user_name(host.euid)
    for kind in ("uid", "gid"):
        given = sum(count for _, count in subordinate_ranges(kind, name, host.euid))
        yield Finding(
            f"sub{kind}s",
            given >= FEWEST_IDS,
            f"{name} has {given} in /etc/sub{kind}",
            f"sudo usermod --add-sub{kind}s 100000-165535 {name}",
        )
        tool = f"new{kind}map"
        there = tool in host.mapping_tools
        yield Finding(tool, there, host.mapping_tools.get(tool, "not installed"), "sudo apt install uidmap")


def _ps() -> Finding:
    there = any(os.access(f"{place}/ps", os.X_OK) for place in ("/usr/bin", "/bin", "/usr/local/bin"))
    return Finding(
        "ps",
        there,
        "installed" if there else "not installed: `ocirt ps` lists with --format json only",
        "apt install procps",
    )


def _systemd(host: Host) -> Iterator[Finding]:
    """For --systemd-cgroup, where there is a systemd to ask."""
    if not host.systemd:
        return
    from ocirt.cgroups import dbus
    from ocirt.errors import OcirtError

    try:
        dbus.library()
    except OcirtError as error:
        yield Finding("systemd", False, error.what, "apt install python3-jeepney")
    else:
        yield Finding("systemd", True, f"the {host.systemd}'s, and jeepney to ask it")
