"""The SCMP_ARCH_* of the runtime specification: what the kernel calls them and where their numbers are.

Sources: AUDIT_ARCH_* of linux/audit.h, X32_SYSCALL_BIT of asm/unistd.h, seccomp(2).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

X32_BIT = 0x40000000  # an x32 call has the audit token of x86_64 and this bit in its number


class Abi:
    """One system call convention.

    name:  SCMP_ARCH_*.       token: AUDIT_ARCH_*, which seccomp_data.arch carries.
    bits:  64 or 32: how much of an argument is compared.
    order: byte order, "<" or ">"; a kernel runs ABIs of its own order only.
    table: its module ocirt.seccomp.table_<table>.
    """

    __slots__ = ("bits", "name", "order", "table", "token")

    def __init__(self, name: str, token: int, bits: int, order: str, table: str) -> None:
        self.name = name
        self.token = token
        self.bits = bits
        self.order = order
        self.table = table

    def numbers(self) -> dict[str, int]:
        """Syscall name -> number as seccomp_data.nr has it.  Loads the table."""
        numbers: dict[str, int] = {}
        for first, names in _table(self.table).RUNS:
            numbers.update(zip(names.split(), range(first, first + 1024), strict=False))
        return numbers

    def multiplexed(self) -> Mapping[str, tuple[str, int]]:
        """Calls that may also come through socketcall(2) or ipc(2): name -> (multiplexer, its first argument)."""
        calls: Mapping[str, tuple[str, int]] = _table(self.table).MULTIPLEXED
        return calls


def _table(name: str) -> ModuleType:
    module = f"ocirt.seccomp.table_{name}"
    __import__(module)  # only the tables a profile names are read: each costs about 0.15 ms
    return sys.modules[module]


ABIS = {
    abi.name: abi
    for abi in (
        Abi("SCMP_ARCH_X86_64", 0xC000003E, 64, "<", "x86_64"),
        Abi("SCMP_ARCH_X86", 0x40000003, 32, "<", "x86"),
        Abi("SCMP_ARCH_X32", 0xC000003E, 32, "<", "x32"),
        Abi("SCMP_ARCH_AARCH64", 0xC00000B7, 64, "<", "aarch64"),
        Abi("SCMP_ARCH_ARM", 0x40000028, 32, "<", "arm"),
        Abi("SCMP_ARCH_RISCV64", 0xC00000F3, 64, "<", "riscv64"),
        Abi("SCMP_ARCH_LOONGARCH64", 0xC0000102, 64, "<", "loongarch64"),
        Abi("SCMP_ARCH_PPC64LE", 0xC0000015, 64, "<", "ppc64"),
        Abi("SCMP_ARCH_PPC64", 0x80000015, 64, ">", "ppc64"),
        Abi("SCMP_ARCH_PPC", 0x00000014, 32, ">", "ppc"),
        Abi("SCMP_ARCH_S390X", 0x80000016, 64, ">", "s390x"),
        Abi("SCMP_ARCH_S390", 0x00000016, 32, ">", "s390"),
        Abi("SCMP_ARCH_MIPS", 0x00000008, 32, ">", "mips"),
        Abi("SCMP_ARCH_MIPS64", 0x80000008, 64, ">", "mips64"),
        Abi("SCMP_ARCH_MIPS64N32", 0xA0000008, 32, ">", "mips64n32"),
        Abi("SCMP_ARCH_MIPSEL", 0x40000008, 32, "<", "mips"),
        Abi("SCMP_ARCH_MIPSEL64", 0xC0000008, 64, "<", "mips64"),
        Abi("SCMP_ARCH_MIPSEL64N32", 0xE0000008, 32, "<", "mips64n32"),
        Abi("SCMP_ARCH_PARISC", 0x0000000F, 32, ">", "parisc"),
        Abi("SCMP_ARCH_PARISC64", 0x8000000F, 64, ">", "parisc64"),
        Abi("SCMP_ARCH_M68K", 0x00000004, 32, ">", "m68k"),
        Abi("SCMP_ARCH_SH", 0x4000002A, 32, "<", "sh"),
        Abi("SCMP_ARCH_SHEB", 0x0000002A, 32, ">", "sh"),
    )
}

# Debian's multiarch word and uname(2)'s machine for the ABI of a native process.
_NATIVE = {
    "x86_64": "SCMP_ARCH_X86_64",
    "i386": "SCMP_ARCH_X86",
    "i686": "SCMP_ARCH_X86",
    "aarch64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "armv6l": "SCMP_ARCH_ARM",
    "armv7l": "SCMP_ARCH_ARM",
    "armv8l": "SCMP_ARCH_ARM",
    "riscv64": "SCMP_ARCH_RISCV64",
    "loongarch64": "SCMP_ARCH_LOONGARCH64",
    "powerpc64le": "SCMP_ARCH_PPC64LE",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "powerpc64": "SCMP_ARCH_PPC64",
    "ppc64": "SCMP_ARCH_PPC64",
    "powerpc": "SCMP_ARCH_PPC",
    "ppc": "SCMP_ARCH_PPC",
    "s390x": "SCMP_ARCH_S390X",
    "mips64el": "SCMP_ARCH_MIPSEL64",
    "mipsel": "SCMP_ARCH_MIPSEL",
    "hppa": "SCMP_ARCH_PARISC",
    "parisc": "SCMP_ARCH_PARISC",
    "m68k": "SCMP_ARCH_M68K",
    "sh4": "SCMP_ARCH_SH",
}


def native_abi(machine: str) -> Abi | None:
    """The ABI of a native process on the machine ("x86_64", "aarch64", ...), None when unknown."""
    return ABIS.get(_NATIVE.get(machine, ""))
