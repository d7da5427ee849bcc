"""What a process may do and when it runs: seccomp, scheduling, I/O priority, memory policy."""

from __future__ import annotations

from struct import Struct

from ocirt.kernel import flags as f
from ocirt.kernel import numbers
from ocirt.kernel.ffi import address_of, buffer, syscall

# size policy flags nice priority runtime deadline period util_min util_max
_SCHED_ATTR = Struct("=IIQiIQQQII")
_LONG = Struct("=Q")
_SOCK_FPROG = Struct("=H6xQ")
INSTRUCTION_SIZE = 8  # struct sock_filter


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
