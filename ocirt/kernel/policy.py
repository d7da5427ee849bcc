"""What a process may do and when it runs: seccomp, devices by BPF, scheduling, I/O priority, memory policy."""

from __future__ import annotations

from _struct import Struct  # built in; the public module is a file

from ocirt.kernel import flags as f
from ocirt.kernel import numbers
from ocirt.kernel.ffi import address_of, buffer, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# size policy flags nice priority runtime deadline period util_min util_max
_SCHED_ATTR = Struct("=IIQiIQQQII")
_LONG = Struct("=Q")
_SOCK_FPROG = Struct("=H6xQ")
INSTRUCTION_SIZE = 8  # struct sock_filter, struct bpf_insn

# union bpf_attr.  BPF_PROG_LOAD: type, number of instructions, instructions, license, no log, name
_BPF_LOAD = Struct("=IIQQIIQII16s")
_BPF_ATTACH = Struct("=IIIII")  # cgroup, program, attach type, flags, program to replace
_BPF_QUERY = Struct("=IIIIQI4x")  # cgroup, attach type, query flags, attach flags, ids, their number
_BPF_ID = Struct("=I")
_MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS of the kernel


def set_seccomp_filter(program: bytes, flags: int) -> int:
    """seccomp(2) SECCOMP_SET_MODE_FILTER.  program: struct sock_filter's, 8 bytes each.

    Returns the listener's descriptor (close-on-exec) with SECCOMP_FILTER_FLAG_NEW_LISTENER, else 0.
    EACCES: needs no_new_privs or CAP_SYS_ADMIN.  EINVAL: an instruction the kernel refuses.
    """
    instructions = buffer(program)
    header = _SOCK_FPROG.pack(len(program) // INSTRUCTION_SIZE, address_of(instructions))
    return syscall(
        "seccomp",
        numbers.seccomp,
        f.SECCOMP_SET_MODE_FILTER,
        flags,
        header,
        detail=lambda: f"{len(program) // INSTRUCTION_SIZE} instructions, {f.names('SECCOMP_FILTER_FLAG_', flags)}",
    )


def bpf_load_device_program(program: bytes) -> int:
    """bpf(2) BPF_PROG_LOAD of type BPF_PROG_TYPE_CGROUP_DEVICE; its descriptor, close-on-exec.

    program: struct bpf_insn's, 8 bytes each.  EPERM: needs CAP_BPF (Linux 5.8) or CAP_SYS_ADMIN on the host.
    """
    instructions, license = buffer(program), buffer(b"Apache\0")
    attributes = _BPF_LOAD.pack(
        f.BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // INSTRUCTION_SIZE,
        address_of(instructions),
        address_of(license),
        *(0, 0, 0, 0, 0),
        b"ocirt_devices",
    )
    return _bpf(f.BPF_PROG_LOAD, attributes, f"BPF_PROG_LOAD, {len(program) // INSTRUCTION_SIZE} instructions")


def bpf_attach_device_program(cgroup: int, program: int, instead_of: int = -1) -> None:
    """BPF_PROG_ATTACH beside those of other owners; instead_of: an attached program that gives way (Linux 5.6)."""
    flags = f.BPF_F_ALLOW_MULTI | (f.BPF_F_REPLACE if instead_of >= 0 else 0)
    attributes = _BPF_ATTACH.pack(cgroup, program, f.BPF_CGROUP_DEVICE, flags, max(instead_of, 0))
    _bpf(f.BPF_PROG_ATTACH, attributes, "BPF_PROG_ATTACH")


def bpf_detach_device_program(cgroup: int, program: int) -> None:
    """BPF_PROG_DETACH."""
    _bpf(f.BPF_PROG_DETACH, _BPF_ATTACH.pack(cgroup, program, f.BPF_CGROUP_DEVICE, 0, 0), "BPF_PROG_DETACH")


def bpf_device_programs(cgroup: int) -> list[int]:
    """BPF_PROG_QUERY: the ids of the device programs that are attached to this cgroup itself."""
    ids = buffer(_MOST_PROGRAMS * _BPF_ID.size)
    attributes = buffer(_BPF_QUERY.pack(cgroup, f.BPF_CGROUP_DEVICE, 0, 0, address_of(ids), _MOST_PROGRAMS))
    _bpf(f.BPF_PROG_QUERY, attributes, "BPF_PROG_QUERY")
    count = _BPF_QUERY.unpack(attributes.raw)[5]
    return [_BPF_ID.unpack_from(ids.raw, position * _BPF_ID.size)[0] for position in range(count)]


def bpf_program(number: int) -> int:
    """BPF_PROG_GET_FD_BY_ID: a descriptor, close-on-exec."""
    return _bpf(f.BPF_PROG_GET_FD_BY_ID, _BPF_ID.pack(number) + bytes(8), f"BPF_PROG_GET_FD_BY_ID {number}")


def _bpf(command: int, attributes: Any, detail: str) -> int:
    size = len(attributes if isinstance(attributes, bytes) else attributes.raw)
    return syscall("bpf", numbers.bpf, command, attributes, size, detail=detail)


def sched_setattr(
    policy: int,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> None:
    """sched_setattr(2) on the calling process.  runtime, deadline and period in nanoseconds."""
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, flags, nice, priority, runtime, deadline, period, 0, 0)
    syscall("sched_setattr", numbers.sched_setattr, 0, attributes, 0, detail=f"policy {policy}")


def ioprio_set(which: int, who: int, ioprio: int) -> None:
    """ioprio_set(2).  ioprio: class << IOPRIO_CLASS_SHIFT | level; who 0 is the caller, or its group."""
    syscall("ioprio_set", numbers.ioprio_set, which, who, ioprio, detail=f"ioprio {ioprio:#x}")


def set_mempolicy(mode: int, nodes: tuple[int, ...]) -> None:
    """set_mempolicy(2).  mode: MPOL_* with its MPOL_F_* flags or-ed in; nodes: node numbers, () for none."""
    words = [0] * (max(nodes) // 64 + 1) if nodes else []
    for node in nodes:
        words[node // 64] |= 1 << node % 64
    mask = b"".join(_LONG.pack(word) for word in words)
    # The kernel reads one bit less than it is told.
    syscall(
        "set_mempolicy",
        numbers.set_mempolicy,
        mode,
        mask or None,
        len(mask) * 8 + 1 if mask else 0,
        detail=f"mode {mode:#x}, nodes {list(nodes)}",
    )
