"""landlock(7): rules that a process lays on itself, and that its children inherit."""

from __future__ import annotations

from _struct import Struct  # built in; the public module is a file

from ocirt.kernel import numbers
from ocirt.kernel.ffi import syscall

# LANDLOCK_ACCESS_FS_* of linux/landlock.h, by the version of the ABI that has them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FS_RIGHTS = ((1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the others are of directories
BIND_TCP, CONNECT_TCP = 1, 2  # LANDLOCK_ACCESS_NET_*
NET_ABI = 4  # Linux 6.7
SCOPES = {"abstract-unix-socket": 1, "signal": 2}  # LANDLOCK_SCOPE_*
SCOPE_ABI = 6  # Linux 6.12

_CREATE_RULESET_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2  # LANDLOCK_RULE_*
_RULESET = Struct("=QQQ")  # struct landlock_ruleset_attr: fs, net, scoped
_BENEATH = Struct("=Qi")  # struct landlock_path_beneath_attr, which is packed
_PORT = Struct("=QQ")  # struct landlock_net_port_attr


def landlock_abi() -> int:
    """The version that the kernel has.  Raises KernelError: ENOSYS not compiled in, EOPNOTSUPP not enabled."""
    return syscall("landlock_create_ruleset", numbers.landlock_create_ruleset, None, 0, _CREATE_RULESET_VERSION)


def landlock_create_ruleset(abi: int, fs: int, net: int, scoped: int) -> int:
    """A ruleset's descriptor, close-on-exec.  fs, net, scoped: what it denies but for its rules."""
    size = 8 if abi < NET_ABI else 16 if abi < SCOPE_ABI else _RULESET.size
    attributes = _RULESET.pack(fs, net, scoped)[:size]
    return syscall("landlock_create_ruleset", numbers.landlock_create_ruleset, attributes, size, 0)


def landlock_allow_path(ruleset: int, path: int, rights: int) -> None:
    """path: O_PATH descriptor; the rights hold for all that is below it."""
    rule = _BENEATH.pack(rights, path)
    syscall("landlock_add_rule", numbers.landlock_add_rule, ruleset, _PATH_BENEATH, rule, 0)


def landlock_allow_port(ruleset: int, port: int, rights: int) -> None:
    rule = _PORT.pack(rights, port)
    syscall("landlock_add_rule", numbers.landlock_add_rule, ruleset, _NET_PORT, rule, 0, detail=f"port {port}")


def landlock_restrict_self(ruleset: int) -> None:
    """From now on.  EPERM: needs no_new_privs or CAP_SYS_ADMIN."""
    syscall("landlock_restrict_self", numbers.landlock_restrict_self, ruleset, 0)
