"""Which limit, quota or permission of the host a failed call ran into: namespaces, processes, keys, ids, cgroups."""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.host import probe_host
from ocirt.kernel.flags import CLONE_NEWUSER
from ocirt.kernel.processes import rlimit
from ocirt.stages.cgroup import CreateCgroup
from ocirt.stages.limits import RESOURCES, SetRlimit
from ocirt.stages.mappings import WriteMapping
from ocirt.stages.namespaces import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.errors import OcirtError
    from ocirt.pipeline import Step

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
# Sysctls that keep users from making user namespaces: name, the value that allows it.
USERS = (("unprivileged_userns_clone", 1), ("apparmor_restrict_unprivileged_userns", 0))


def cause(
    error: OcirtError, step: Step | None, controllers: dict[str, str], clone_flags: int, uid: int
) -> tuple[str, str]:
    """(cause and remedy in one sentence, pointer of the setting that is wrong), each "" when not known.

    controllers: the container's cgroups.  clone_flags: of init.  uid: init's, for what is counted by user.
    Raises OSError.
    """
    if error.call in ("clone3", "unshare"):
        return _birth(error.errno, controllers, clone_flags)
    if error.call == "keyctl" and error.errno == errno.EDQUOT:
        return _keys(uid), ""
    if isinstance(step, WriteMapping) and error.errno == errno.EPERM:
        return _mapping(step)
    if isinstance(step, SetRlimit) and error.errno == errno.EPERM:
        return _rlimit(step), ""
    if error.code == "cgroup" and error.call == "write":
        return _write(error), ""
    if isinstance(step, CreateCgroup):
        return _make(error, step), ""
    return "", ""


def _birth(number: int, controllers: dict[str, str], clone_flags: int) -> tuple[str, str]:
    if number == errno.ENOSPC:
        text = _namespaces(clone_flags)
        return text, "/linux/namespaces" if text else ""
    if number == errno.EAGAIN:
        return processes(controllers), ""
    if number == errno.EPERM:
        return _users(), ""
    return "", ""


def _namespaces(clone_flags: int) -> str:
    """user.max_*_namespaces: of our user namespace, namespaces(7)."""
    for flag, name in NAMESPACES.values():
        sysctl = f"user.max_{name}_namespaces"
        if clone_flags & flag and os.number_if_there(f"/proc/sys/user/max_{name}_namespaces") == 0:
            return f"the sysctl {sysctl} is 0, so that no such namespace can be made: raise it"
    if clone_flags & CLONE_NEWUSER and _depth_is_reached():
        return "user namespaces are 32 deep here, and the kernel allows no more: nest fewer of them"
    return ""


def _depth_is_reached() -> bool:
    """The kernel says ENOSPC for the depth as well as for the number; with room in the number it was the depth."""
    most = os.number_if_there("/proc/sys/user/max_user_namespaces")
    return most is not None and most > 10000


def _users() -> str:
    """EPERM of clone3 for who is not root: which sysctl forbids user namespaces."""
    if os.geteuid() == 0:
        return ""
    for name, allowed in USERS:
        found = os.number_if_there(f"/proc/sys/kernel/{name}")
        if found is not None and found != allowed:
            return f"the sysctl kernel.{name} is {found}, which keeps users from user namespaces: set it to {allowed}"
    return ""


def processes(controllers: dict[str, str]) -> str:
    """EAGAIN of clone3 and fork: the cgroup, the container's or above our own, that has reached pids.max."""
    ours = controllers.get("pids", controllers.get("", ""))
    directory, first = ours or _own_pids(), bool(ours)
    while directory and os.path.exists(f"{directory}/pids.max"):
        most, there = os.text_if_there(f"{directory}/pids.max"), os.number_if_there(f"{directory}/pids.current")
        if most.isdecimal() and there is not None and there >= int(most):
            if first:
                return f"the container has all the processes that linux.resources.pids.limit allows, {most}: raise it"
            return f"pids.max of the cgroup {directory} is {most}, which is reached: raise it"
        directory, first = os.path.split(directory)[0], False
    if os.number_if_there("/proc/sys/kernel/threads-max") is not None and os.geteuid() != 0:
        return "the user has as many processes as RLIMIT_NPROC allows: see ulimit -u"
    return ""


def _own_pids() -> str:
    """The directory of our own cgroup in the hierarchy that counts processes, "" when it is not mounted."""
    host = probe_host()
    if "pids" in host.cgroup_mounts:
        return os.path.join(host.cgroup_mounts["pids"], host.own_cgroups.get("pids", "/").lstrip("/")).rstrip("/")
    return f"{host.unified_mount}{host.own_cgroups.get('', '/')}".rstrip("/") if host.unified_mount else ""


def _keys(uid: int) -> str:
    """keyrings(7), "/proc files": uid: usage nkeys/nikeys qnkeys/maxkeys qnbytes/maxbytes."""
    for line in os.text_if_there("/proc/key-users").splitlines():
        who, _, rest = line.partition(":")
        if who.strip() == str(uid):
            keys, size = rest.split()[2:4]
            what, unit = ("maxkeys", keys) if _is_used_up(keys) else ("maxbytes", size)
            sysctl = f"kernel.keys.{'root_' if uid == 0 else ''}{what}"
            used, _, most = unit.partition("/")
            kind = "keys" if what == "maxkeys" else "bytes of keys"
            return (
                f"user {uid} of the host has {used} of {most} {kind}, no disk is full: raise the sysctl {sysctl}, or"
                " give --no-new-keyring"
            )
    return ""


def _is_used_up(counted: str) -> bool:
    used, _, most = counted.partition("/")
    return int(used) >= int(most)


def _mapping(step: WriteMapping) -> tuple[str, str]:
    """EPERM of a map: the first line whose ids are not ours to give."""
    if step.name not in ("uid_map", "gid_map"):
        return "", ""
    ours = [[int(word) for word in line.split()] for line in os.text_if_there(f"/proc/self/{step.name}").splitlines()]
    for index, line in enumerate(step.text.splitlines()):
        _, first, count = map(int, line.split())
        if not any(start <= first and first + count <= start + size for start, _, size in ours):
            last = first + count - 1
            ranges = ", ".join(f"{start} to {start + size - 1}" for start, _, size in ours)
            what = f"the ids {first} to {last} are not mapped where ocirt runs, which has {ranges}: map ids of those"
            return what, f"{step.at}/{index}"
    return "", ""


def _rlimit(step: SetRlimit) -> str:
    _, hard = rlimit(0, RESOURCES.index(step.name))
    return (
        f"ocirt runs under a hard limit of {hard}, and raising it needs CAP_SYS_RESOURCE: lower process.rlimits[].hard"
        " to that, or raise ocirt's own (ulimit -H, LimitNOFILE= and its like)"
    )


def _make(error: OcirtError, step: CreateCgroup) -> str:
    """A cgroup directory could not be made: whose the parent is."""
    if error.errno not in DENIED:
        return ""
    for directory in sorted(set(step.record["paths"].values())):
        there = directory
        while not os.path.exists(there):
            there = os.path.split(there)[0]
        if there == directory or os.access(there, os.W_OK | os.X_OK):
            continue
        if error.errno == errno.EROFS:
            return f"{there} is mounted read-only: mount the cgroups writable where ocirt runs"
        status = os.stat(there)
        return (
            f"{there} belongs to user {status.st_uid} (mode {status.st_mode & 0o7777:04o}): run as root, or have a"
            " cgroup delegated (systemd-run --user --scope -p Delegate=yes)"
        )
    return ""


def _write(error: OcirtError) -> str:
    """A limit was refused."""
    directory, file = os.path.split(error.detail)
    parent = os.path.split(directory)[0]
    if file.startswith("cpuset.") and error.errno in (errno.EINVAL, errno.EACCES, errno.ERANGE, errno.ENOSPC):
        available = os.text_if_there(f"{parent}/{file}.effective") or os.text_if_there(f"{parent}/{file}")
        return f"the cgroup above, {parent}, has {available or 'none'}: choose of these" if parent else ""
    if error.errno == errno.ENOENT:
        return _controller(parent, file.partition(".")[0])
    return ""


def _controller(parent: str, name: str) -> str:
    """v2: which cgroup on the way keeps a controller from those below it."""
    lacking = ""
    while os.path.exists(f"{parent}/cgroup.controllers"):
        if name in os.text_if_there(f"{parent}/cgroup.subtree_control").split():
            break
        lacking = parent
        if name in os.text_if_there(f"{parent}/cgroup.controllers").split():
            break
        parent = os.path.split(parent)[0]
    else:
        return f"this kernel offers no controller {name} on cgroup v2: remove the setting" if lacking else ""
    return f"the controller {name} is not given to what is below {lacking}: echo +{name} > cgroup.subtree_control there"
