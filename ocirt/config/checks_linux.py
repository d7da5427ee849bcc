"""The rules of config.json's linux, see checks.py."""

from __future__ import annotations

from ocirt import log
from ocirt.config.checks_process import MAX_ID
from ocirt.config.checks_resources import is_interface
from ocirt.config.lists import is_list
from ocirt.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.config.views import IdMapping, Linux, Seccomp, Syscall

MAX_MAPPINGS = 340  # lines; user_namespaces(7)
NANOSECONDS = 10**9
MAX_MAJOR, MAX_MINOR = 2**12 - 1, 2**20 - 1  # mknod(2) silently drops higher bits
MAX_ERRNO = 4095  # of SECCOMP_RET_ERRNO, seccomp(2)
MAX_TRACE = 65535  # of SECCOMP_RET_TRACE
RETURNS_NUMBER = {"SCMP_ACT_ERRNO": MAX_ERRNO, "SCMP_ACT_TRACE": MAX_TRACE}

# Which namespace keeps a kernel variable apart from the host's; "x/" is everything below x.
SYSCTL_NAMESPACES = {
    "kernel/msgmax": "ipc",
    "kernel/msgmnb": "ipc",
    "kernel/msgmni": "ipc",
    "kernel/sem": "ipc",
    "kernel/shmall": "ipc",
    "kernel/shmmax": "ipc",
    "kernel/shmmni": "ipc",
    "kernel/shm_rmid_forced": "ipc",
    "kernel/domainname": "uts",
    "fs/mqueue/": "ipc",
    "net/": "network",
    "user/": "user",
}


def namespaces(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, Namespaces: each type once; paths absolute.  "" is Go's word for no path."""
    seen = set()
    for namespace in linux.namespaces:
        if namespace.type in seen:
            yield ConfigError("rule", f'malformed spec file: duplicated ns "{namespace.type}"', at=namespace.at)
        if namespace.path and not namespace.path.startswith("/"):
            yield ConfigError("rule", "the path of a namespace must be absolute", at=f"{namespace.at}/path")
        seen.add(namespace.type)


def mappings(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, User namespace mappings: with a user namespace only, and a new one needs both."""
    given = {"uidMappings": linux.uid_mappings, "gidMappings": linux.gid_mappings}
    user = [namespace for namespace in linux.namespaces if namespace.type == "user"]
    for name, lines in given.items():
        at = f"{linux.at}/{name}"
        if lines and not user:
            text = "user namespace mappings specified, but user namespace isn't enabled in the config"
            yield ConfigError("rule", text, at=at)
        if not lines and user and not user[0].path:
            yield ConfigError("rule", f"a new user namespace needs {name}", at=user[0].at)
        yield from mapping_faults(lines, at)


def mapping_faults(lines: tuple[IdMapping, ...], at: str) -> Iterator[ConfigError]:
    """user_namespaces(7): no empty range, none past the last id, no id twice on either side.  at: the array's."""
    if len(lines) > MAX_MAPPINGS:
        yield ConfigError("rule", f"more than {MAX_MAPPINGS} mappings, the kernel's limit", at=at)
    for i, line in enumerate(lines):
        if line.size == 0:
            yield ConfigError("rule", "a mapping of size 0 maps nothing", at=f"{line.at}/size")
        if max(line.container_id, line.host_id) + line.size > MAX_ID + 1:
            yield ConfigError("rule", f"the mapping goes past the last id, {MAX_ID}", at=line.at)
        for earlier in lines[:i]:
            if _overlap(earlier.container_id, earlier.size, line.container_id, line.size):
                yield ConfigError("rule", f"the container's ids overlap those of {earlier.at}", at=line.at)
            if _overlap(earlier.host_id, earlier.size, line.host_id, line.size):
                yield ConfigError("rule", f"the host's ids overlap those of {earlier.at}", at=line.at)


def _overlap(one: int, one_size: int, two: int, two_size: int) -> bool:
    return one < two + two_size and two < one + one_size


def time_offsets(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, Offset for Time Namespace: for a new one, before anybody enters it."""
    at = f"{linux.at}/timeOffsets"
    if not linux.time_offsets:
        return
    spaces = [namespace for namespace in linux.namespaces if namespace.type == "time"]
    if not spaces:
        text = "time namespace offsets specified, but time namespace isn't enabled in the config"
        yield ConfigError("rule", text, at=at)
    elif spaces[0].path:
        text = "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one"
        yield ConfigError("rule", text, at=at)
    for offset in linux.time_offsets.values():
        if offset.nanosecs >= NANOSECONDS:
            yield ConfigError("rule", f"{offset.nanosecs} nanoseconds are a second or more", at=f"{offset.at}/nanosecs")


def devices(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, Devices.  Two entries of one path must agree; the numbers of a fifo mean nothing."""
    seen: dict[str, dict[str, object]] = {}
    for device in linux.devices:
        at = device.at
        if not device.path.startswith("/"):
            yield ConfigError("rule", "the path of a device must be absolute", at=f"{at}/path")
        if seen.setdefault(device.path, device.raw) != device.raw:
            yield ConfigError("rule", f"the device {log.quote(device.path)} is given twice", at=f"{at}/path")
        numbers = (("major", device.major, MAX_MAJOR), ("minor", device.minor, MAX_MINOR))
        for name, number, most in numbers:
            if device.type == "p":
                continue
            if number is None:
                yield ConfigError("rule", f"a device of type {device.type} needs {name}", at=at)
            elif not 0 <= number <= most:
                yield ConfigError("rule", f"{name} {number} is not from 0 to {most}", at=f"{at}/{name}")
        for name, owner in (("uid", device.uid), ("gid", device.gid)):
            if (owner or 0) > MAX_ID:
                yield ConfigError(
                    "rule", f"{owner} is not a user or group id, which end at {MAX_ID}", at=f"{at}/{name}"
                )


def net_devices(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, Network Devices: into a network namespace of the container's, under one name each."""
    at, names = f"{linux.at}/netDevices", set()
    if linux.net_devices and not any(namespace.type == "network" for namespace in linux.namespaces):
        yield ConfigError("rule", "unable to move network devices without a private NET namespace", at=at)
    for name, device in linux.net_devices.items():
        wanted = device.name or name
        for text, where in ((name, device.at), (wanted, f"{device.at}/name")):
            if not is_interface(text):
                yield ConfigError("rule", f"{log.quote(text)} is not the name of a network interface", at=where)
        if wanted.replace("%d", "", 1).count("%"):
            text = f"{log.quote(wanted)} has a % that is not the one %d which the kernel completes"
            yield ConfigError("rule", text, at=f"{device.at}/name" if device.name else device.at)
        if wanted in names and "%d" not in wanted:
            yield ConfigError(
                "rule", f"two network devices are to be called {log.quote(wanted)}", at=f"{device.at}/name"
            )
        names.add(wanted)


def hidden_paths(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, Masked Paths and Readonly Paths: absolute."""
    for name, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for i, path in enumerate(paths):
            if not path.startswith("/"):
                yield ConfigError("rule", f"{log.quote(path)} is not an absolute path", at=f"{linux.at}/{name}/{i}")


def sysctl(linux: Linux) -> Iterator[ConfigError]:
    """Only what a namespace of the container's own keeps apart from the host."""
    types = {namespace.type for namespace in linux.namespaces}
    for key in linux.sysctl:
        at = f"{linux.at}/sysctl/" + key.replace("~", "~0").replace("/", "~1")
        path = sysctl_path(key)
        if any(part in ("", ".", "..") for part in path.split("/")):
            yield ConfigError("rule", f"sysctl {log.quote(key)} is not the name of a kernel variable", at=at)
        elif path == "kernel/hostname":
            text = f'sysctl {log.quote(key)} is not allowed as it conflicts with the OCI "hostname" field'
            yield ConfigError("rule", text, at=at)
        elif _namespace_of(path) not in types:
            yield ConfigError("rule", f"sysctl {log.quote(key)} is not in a separate kernel namespace", at=at)


def _namespace_of(path: str) -> str | None:
    for known, namespace in SYSCTL_NAMESPACES.items():
        if path == known or (known.endswith("/") and path.startswith(known)):
            return namespace
    return None


def sysctl_path(key: str) -> str:
    """The path below /proc/sys of a kernel variable.

    sysctl.d(5): when the first separator is a slash, key is the path; otherwise dots separate, and a
    slash stands for a dot in a name: net.ipv4.conf.eth0/1.forwarding is of eth0.1.
    """
    slash, dot = key.find("/"), key.find(".")
    if dot == -1 or -1 < slash < dot:
        return key
    return key.translate({ord("/"): ".", ord("."): "/"})


def seccomp(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, Seccomp."""
    if linux.seccomp is not None:
        yield from seccomp_profile(linux.seccomp)


def seccomp_profile(wanted: Seccomp) -> Iterator[ConfigError]:
    if wanted.default_action == "SCMP_ACT_NOTIFY":
        text = "SCMP_ACT_NOTIFY cannot be used as default action"
        yield ConfigError("rule", text, at=f"{wanted.at}/defaultAction")
    yield from _number_fault(wanted, "defaultErrnoRet", wanted.default_action, wanted.default_errno_ret)
    if wanted.listener_metadata and not wanted.listener_path:
        text = "listenerMetadata must not be set without listenerPath"
        yield ConfigError("rule", text, at=f"{wanted.at}/listenerMetadata")
    for syscall in wanted.syscalls:
        if syscall.action == "SCMP_ACT_NOTIFY":
            yield from _notification(wanted, syscall)
        yield from _number_fault(syscall, "errnoRet", syscall.action, syscall.errno_ret)
        for argument in syscall.args:
            if argument.index > 5:
                text = f"a system call has arguments 0 to 5, not {argument.index}"
                yield ConfigError("rule", text, at=f"{argument.at}/index")


def _notification(wanted: Seccomp, syscall: Syscall) -> Iterator[ConfigError]:
    if not wanted.listener_path:
        # Nobody would answer: each of these calls would fail with ENOSYS.
        text = "SCMP_ACT_NOTIFY needs listenerPath, the socket of who is notified"
        yield ConfigError("rule", text, at=f"{syscall.at}/action")
    if "write" in syscall.names:
        # By it init tells that the filter is loaded: it would wait for an agent that has no listener yet.
        text = "SCMP_ACT_NOTIFY cannot be used for the write syscall"
        yield ConfigError("rule", text, at=f"{syscall.at}/names")


def _number_fault(view: Seccomp | Syscall, name: str, action: str, number: int | None) -> Iterator[ConfigError]:
    if number is None:
        return
    if action not in RETURNS_NUMBER:
        yield ConfigError("rule", f"{action} does not return a number", at=f"{view.at}/{name}")
    elif number > RETURNS_NUMBER[action]:
        yield ConfigError("rule", f"{action} returns at most {RETURNS_NUMBER[action]}", at=f"{view.at}/{name}")


def intel_rdt(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, IntelRdt: closID names one directory, "/" the root's; schemata are single lines."""
    rdt = linux.intel_rdt
    if rdt is None:
        return
    closid = rdt.clos_id
    if closid and closid != "/" and ("/" in closid or closid in (".", "..")):
        yield ConfigError("rule", f"closID {log.quote(closid)} is not the name of a directory", at=f"{rdt.at}/closID")
    if "\n" in (rdt.l3_cache_schema or ""):
        yield ConfigError("rule", "l3CacheSchema must be one line", at=f"{rdt.at}/l3CacheSchema")
    for i, line in enumerate(rdt.schemata):
        if "\n" in line:
            yield ConfigError("rule", "each of schemata must be one line", at=f"{rdt.at}/schemata/{i}")


def memory_policy(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, Memory policy; set_mempolicy(2): which modes want nodes."""
    policy = linux.memory_policy
    if policy is None:
        return
    if not policy.has("mode"):
        yield ConfigError("rule", 'the required property "mode" is missing', at=policy.at)
        return
    nodes = (policy.nodes or "").strip(", ")
    if not is_list(nodes):
        text = f"invalid memory policy node: {log.quote(nodes)} is not a list such as 0-3,7"
        yield ConfigError("rule", text, at=f"{policy.at}/nodes")
    if nodes and policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        yield ConfigError("rule", f"{policy.mode} takes no nodes", at=f"{policy.at}/nodes")
    if not nodes and policy.mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"):
        yield ConfigError("rule", f"{policy.mode} needs at least one node", at=policy.at)
    if {"MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"} <= set(policy.flags):
        text = "MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other"
        yield ConfigError("rule", text, at=f"{policy.at}/flags")


def personality(linux: Linux) -> Iterator[ConfigError]:
    """config-linux.md, Personality: domain is required."""
    if linux.personality is not None and not linux.personality.has("domain"):
        yield ConfigError("rule", 'the required property "domain" is missing', at=linux.personality.at)


RULES = (
    ("namespaces", namespaces),
    ("", mappings),  # a new user namespace needs them
    ("timeOffsets", time_offsets),
    ("devices", devices),
    ("netDevices", net_devices),
    ("", hidden_paths),
    ("sysctl", sysctl),
    ("seccomp", seccomp),
    ("intelRdt", intel_rdt),
    ("memoryPolicy", memory_policy),
    ("personality", personality),
)
