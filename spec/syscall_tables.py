#!/usr/bin/python3
"""Write ocirt/seccomp/table_<abi>.py: the system call numbers of every SCMP_ARCH_*.

Usage: spec/syscall_tables.py [--check]

Three sources of the same facts, the kernel's ABI:
  libseccomp's seccomp_syscall_resolve_num_arch(3) for the ABIs it knows (package libseccomp2);
  the C preprocessor over asm/unistd.h for those it does not: loongarch64 has the generic table
  (linux-libc-dev), m68k and sh have their own (linux-libc-dev-m68k-cross, -sh4-cross);
  NEWER below: calls younger than both.  Since Linux 5.1 a new call has one number everywhere.
--check writes nothing and exits 1 when a table is stale.  ABIs whose source is not installed are
left alone.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = Path(__file__).resolve().parent.parent / "ocirt" / "seccomp"

# table -> libseccomp's name of the ABI, what its numbers begin with.
FROM_LIBSECCOMP = {
    "x86_64": ("x86_64", 0),
    "x86": ("x86", 0),
    "x32": ("x32", 0x40000000),
    "aarch64": ("aarch64", 0),
    "arm": ("arm", 0),
    "riscv64": ("riscv64", 0),
    "ppc64": ("ppc64le", 0),
    "ppc": ("ppc", 0),
    "s390x": ("s390x", 0),
    "s390": ("s390", 0),
    "mips": ("mips", 4000),
    "mips64": ("mips64", 5000),
    "mips64n32": ("mips64n32", 6000),
    "parisc": ("parisc", 0),
    "parisc64": ("parisc64", 0),
}
# table -> (unistd.h, macros that choose the right part of it)
GENERIC = (
    "-D__BITS_PER_LONG=64",
    "-D__ARCH_WANT_SYS_CLONE",
    "-D__ARCH_WANT_SYS_CLONE3",
    "-D__ARCH_WANT_MEMFD_SECRET",
    "-D__ARCH_WANT_NEW_STAT",  # loongarch64 has it since Linux 6.11
)
FROM_HEADERS = {
    "loongarch64": ("/usr/include/asm-generic/unistd.h", GENERIC),
    "m68k": ("/usr/m68k-linux-gnu/include/asm/unistd.h", ()),
    "sh": ("/usr/sh4-linux-gnu/include/asm/unistd.h", ()),
}
ARM_PRIVATE = 0x0F0000  # arm's own calls (breakpoint, cacheflush, ...) lie apart

# Numbers of calls that libseccomp 2.5.4 or the headers of Linux 6.1 do not have, up to Linux 7.0.
NEWER = {
    451: "cachestat",
    452: "fchmodat2",
    453: "map_shadow_stack",
    454: "futex_wake",
    455: "futex_wait",
    456: "futex_requeue",
    457: "statmount",
    458: "listmount",
    459: "lsm_get_self_attr",
    460: "lsm_set_self_attr",
    461: "lsm_list_modules",
    462: "mseal",
    463: "setxattrat",
    464: "getxattrat",
    465: "listxattrat",
    466: "removexattrat",
    467: "open_tree_attr",
    468: "file_getattr",
    469: "file_setattr",
    470: "listns",
    471: "rseq_slice_yield",
}
NEWER_ONLY = {"x86_64": {"uretprobe": 335, "uprobe": 336}, "riscv64": {"riscv_hwprobe": 258}}

NO_CALLS = ("__NR_syscalls", "__NR_arch_specific_syscall")
UNKNOWN = -1  # __NR_SCMP_ERROR: libseccomp has never heard of the name; another negative: not on this ABI
# libseccomp's pseudo numbers: -(100 + n) is call n of socketcall(2), -(200 + n) of ipc(2).
PSEUDO = {"socketcall": range(-120, -100), "ipc": range(-224, -200)}


class Libseccomp:
    """The two resolvers of libseccomp.so.2.  Raises OSError when it is not installed."""

    def __init__(self) -> None:
        library = ctypes.CDLL("libseccomp.so.2")
        self._token = library.seccomp_arch_resolve_name
        self._token.restype = ctypes.c_uint32
        self._name = library.seccomp_syscall_resolve_num_arch
        self._name.argtypes = [ctypes.c_uint32, ctypes.c_int]
        self._name.restype = ctypes.c_void_p  # malloc'ed; never freed, the generator ends soon
        self._number = library.seccomp_syscall_resolve_name_arch
        self._number.argtypes = [ctypes.c_uint32, ctypes.c_char_p]

    def name(self, abi: str, number: int) -> str | None:
        found = self._name(self._token(abi.encode()), number)
        return ctypes.string_at(found).decode() if found else None

    def number(self, abi: str, name: str) -> int:
        return int(self._number(self._token(abi.encode()), name.encode()))

    def table(self, abi: str, base: int) -> dict[str, int]:
        """The names that numbers have, and the further names (aliases) that have numbers."""
        numbers: dict[str, int] = {}
        for number in (*range(base, base + 1024), *range(ARM_PRIVATE, ARM_PRIVATE + 16)):
            name = self.name(abi, number)
            if name is not None:
                numbers.setdefault(name, number)
        for other, other_base in FROM_LIBSECCOMP.values():
            for number in range(other_base, other_base + 1024):
                name = self.name(other, number)
                if name is not None and name not in numbers and self.number(abi, name) >= 0:
                    numbers[name] = self.number(abi, name)
        return numbers

    def pseudo(self, multiplexer: str) -> dict[str, int]:
        """Call name -> first argument of the multiplexer.  x86 stands for all: the numbers are linux/net.h's."""
        calls = {}
        for name in {*self.table("x86", 0), *self.table("x86_64", 0), "recv", "send"}:
            number = self.number("x86", name)
            if number in PSEUDO[multiplexer]:
                calls[name] = -number % 100
        return dict(sorted(calls.items(), key=lambda item: item[1]))


def from_header(path: str, macros: tuple[str, ...]) -> dict[str, int]:
    """__NR_* of a unistd.h, by the C preprocessor."""
    command = ["cc", "-E", "-dM", f"-I{Path(path).parent.parent}", *macros, path]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    defined: dict[str, str] = dict(re.findall(r"^#define (__NR\w+) +(\w+)$", text, re.M))
    numbers = {}
    for name, value in defined.items():
        number = defined.get(value, value)
        if name.startswith("__NR_") and number.isdigit() and name not in NO_CALLS:
            numbers[name.removeprefix("__NR_")] = int(number)
    return numbers


def runs(numbers: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    """(first number, names with consecutive numbers); an alias makes a run of its own."""
    rest = sorted((number, name) for name, number in numbers.items())
    while rest:
        first = rest[0][0]
        names: list[str] = []
        aliases = []
        for number, name in rest:
            if number == first + len(names):
                names.append(name)
            else:
                aliases.append((number, name))
        yield first, names
        rest = aliases


def module(table: str, numbers: dict[str, int], pseudo: dict[str, dict[str, int]]) -> str:
    lines = [
        f'"""System call numbers of {table}.  GENERATED by spec/syscall_tables.py."""',
        "",
        "# fmt: off",
        "# (first number, names of consecutive numbers)",
        "RUNS = (",
    ]
    for first, names in runs(numbers):
        text = textwrap.wrap(" ".join(names), 104, break_long_words=False, break_on_hyphens=False)
        if len(text) == 1:
            lines.append(f'    ({first}, "{text[0]}"),')
            continue
        lines.append(f"    ({first},")
        lines += [f'     "{part} "' for part in text[:-1]] + [f'     "{text[-1]}"),']
    lines += [")", "", "# name: (the call it can also come through, that call's first argument)"]
    lines.append("MULTIPLEXED: dict[str, tuple[str, int]] = {")
    for multiplexer, calls in pseudo.items():
        if multiplexer in numbers:
            lines += [f'    "{name}": ("{multiplexer}", {call}),' for name, call in calls.items()]
    return "\n".join([*lines, "}", "# fmt: on", ""])


def tables() -> Iterator[tuple[Path, str]]:
    """(file, its text) for every table whose source is installed."""
    library = Libseccomp()
    pseudo = {multiplexer: library.pseudo(multiplexer) for multiplexer in PSEUDO}
    found = {table: library.table(abi, base) for table, (abi, base) in FROM_LIBSECCOMP.items()}
    for table, (path, macros) in FROM_HEADERS.items():
        if os.path.exists(path):
            found[table] = from_header(path, macros)
    for table, numbers in found.items():
        base = FROM_LIBSECCOMP.get(table, ("", 0))[1]
        taken = set(numbers.values())
        for number, name in NEWER.items():
            absent = table in FROM_LIBSECCOMP and library.number(FROM_LIBSECCOMP[table][0], name) != UNKNOWN
            if not absent and base + number not in taken:
                numbers.setdefault(name, base + number)
        numbers.update(NEWER_ONLY.get(table, {}))
        yield TABLES / f"table_{table}.py", module(table, numbers, pseudo)


def main(arguments: list[str]) -> int:
    stale = []
    for path, text in tables():
        if not path.exists() or path.read_text() != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text)
    if "--check" in arguments and stale:
        print("stale, run spec/syscall_tables.py:", *stale)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
