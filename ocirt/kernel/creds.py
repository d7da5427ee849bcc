"""Credentials: capabilities, groups and ids, keyrings; and what else a process is known by (persona, host name).

python-prctl was measured beside this file: docs/python-prctl.md.
"""

from __future__ import annotations

import errno
from _struct import Struct  # built in; the public module is a file

from ocirt.errors import KernelError
from ocirt.kernel import flags as f
from ocirt.kernel import numbers
from ocirt.kernel.capabilities import names_of
from ocirt.kernel.ffi import buffer, path, syscall
from ocirt.kernel.processes import prctl
from ocirt.system import fsdecode

_CAP_HEADER = Struct("=Ii").pack(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
_CAP_DATA = Struct("=6I")  # (effective, permitted, inheritable) of bits 0..31, then of 32..63
_ID = Struct("=I")
_LOW = 2**32 - 1


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) on the calling process.  The sets are bit masks, 1 << number."""
    data = _CAP_DATA.pack(
        *(mask & _LOW for mask in (effective, permitted, inheritable)),
        *(mask >> 32 for mask in (effective, permitted, inheritable)),
    )
    syscall("capset", numbers.capset, _CAP_HEADER, data, detail=lambda: f"permitted: {names_of(permitted)}")


def capget() -> tuple[int, int, int]:
    """capget(2): the calling process's (effective, permitted, inheritable) as bit masks."""
    data = buffer(_CAP_DATA.size)
    syscall("capget", numbers.capget, buffer(_CAP_HEADER), data)
    low_e, low_p, low_i, high_e, high_p, high_i = _CAP_DATA.unpack(data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def read_bounding(among: int = 2**64 - 1) -> int:
    """The capability bounding set as a bit mask (PR_CAPBSET_READ), as far as it is among those bits.

    EINVAL marks the end of what the kernel knows.
    """
    mask = 0
    for capability in range(among.bit_length()):
        if not among >> capability & 1:
            continue
        try:
            mask |= prctl("PR_CAPBSET_READ", f.PR_CAPBSET_READ, capability) << capability
        except KernelError as error:
            if error.errno == errno.EINVAL:
                break
            raise
    return mask


def drop_bounding(capability: int) -> None:
    """PR_CAPBSET_DROP; needs CAP_SETPCAP."""
    syscall("prctl", numbers.prctl, f.PR_CAPBSET_DROP, capability, detail=lambda: f"PR_CAPBSET_DROP {capability}")


def clear_ambient() -> None:
    """PR_CAP_AMBIENT_CLEAR_ALL."""
    prctl("PR_CAP_AMBIENT_CLEAR_ALL", f.PR_CAP_AMBIENT, f.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def raise_ambient(capability: int) -> None:
    """PR_CAP_AMBIENT_RAISE.  EPERM unless the capability is both permitted and inheritable."""
    prctl(f"PR_CAP_AMBIENT_RAISE {capability}", f.PR_CAP_AMBIENT, f.PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def set_keepcaps(on: bool) -> None:
    """PR_SET_KEEPCAPS: keep the permitted set when all user ids leave 0."""
    prctl("PR_SET_KEEPCAPS", f.PR_SET_KEEPCAPS, int(on))


def setgroups(gids: tuple[int, ...]) -> None:
    """setgroups(2): exactly these supplementary groups.  Raises KernelError EINVAL for a gid outside 0..2**32-2."""
    for gid in gids:
        _check_id(gid, "setgroups")
    packed = b"".join(_ID.pack(gid) for gid in gids)
    syscall("setgroups", numbers.setgroups, len(gids), packed or None, detail=f"{list(gids)}")


def setresgid(real: int, effective: int, saved: int) -> None:
    """setresgid(2).  Raises KernelError EINVAL for ids outside 0..2**32-2: -1 would mean "leave as it is"."""
    for gid in (real, effective, saved):
        _check_id(gid, "setresgid")
    syscall("setresgid", numbers.setresgid, real, effective, saved, detail=f"gid {real}")


def setresuid(real: int, effective: int, saved: int) -> None:
    """setresuid(2).  As setresgid."""
    for uid in (real, effective, saved):
        _check_id(uid, "setresuid")
    syscall("setresuid", numbers.setresuid, real, effective, saved, detail=f"uid {real}")


def _check_id(value: int, call: str) -> None:
    """The kernel's ids are 32 bits: 2**32 would be cut down to 0, root."""
    if not 0 <= value < 2**32 - 1:
        raise KernelError(errno.EINVAL, "Invalid argument", call, f"{value} is not a user or group id")


def join_session_keyring(name: str) -> int:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: create or join the session keyring of that name; its serial."""
    serial = syscall("keyctl", numbers.keyctl, f.KEYCTL_JOIN_SESSION_KEYRING, path(name), detail=f"join {name}")
    # 0: it is our session keyring already
    return serial or syscall(
        "keyctl", numbers.keyctl, f.KEYCTL_GET_KEYRING_ID, f.KEY_SPEC_SESSION_KEYRING, 0, detail="session keyring"
    )


def keyctl_setperm(serial: int, mask: int) -> None:
    """keyctl(2) KEYCTL_SETPERM."""
    syscall("keyctl", numbers.keyctl, f.KEYCTL_SETPERM, serial, mask, detail=f"key {serial}, permissions {mask:#x}")


def keyctl_describe(serial: int) -> str:
    """keyctl(2) KEYCTL_DESCRIBE: "type;uid;gid;permissions in hex;description"."""
    memory = buffer(4096)
    length = syscall("keyctl", numbers.keyctl, f.KEYCTL_DESCRIBE, serial, memory, 4096, detail=f"key {serial}")
    return fsdecode(memory.raw[: length - 1])


def personality(persona: int) -> int:
    """personality(2): the previous one."""
    return syscall("personality", numbers.personality, persona, detail=f"{persona:#x}")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = path(name)
    syscall("sethostname", numbers.sethostname, encoded, len(encoded), detail=name)


def setdomainname(name: str) -> None:
    """setdomainname(2): the NIS domain name."""
    encoded = path(name)
    syscall("setdomainname", numbers.setdomainname, encoded, len(encoded), detail=name)
