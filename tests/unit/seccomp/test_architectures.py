"""The number tables: complete, equal to libseccomp's, and as their generator writes them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ocirt.seccomp.architectures import ABIS, X32_BIT, native_abi
from tests.support import libseccomp

ROOT = Path(__file__).parents[3]
GENERATED_FROM = (2, 5, 4)
OFFICIAL = 23  # SCMP_ARCH_* in defs-linux.json


def test_every_architecture_of_the_specification_has_a_table() -> None:
    assert len(ABIS) == OFFICIAL
    for abi in ABIS.values():
        numbers = abi.numbers()
        assert {"read", "execve", "statx", "cachestat", "mseal", "listns"} <= numbers.keys(), abi.name
        assert len(numbers) > 300


@pytest.mark.parametrize("name", ABIS)
def test_numbers_are_libseccomps(name: str) -> None:
    lib = libseccomp.library()
    token = lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
    if not token:
        pytest.skip("not known to this libseccomp")
    lib.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    multiplexed = ABIS[name].multiplexed()
    for call, number in ABIS[name].numbers().items():
        theirs = lib.seccomp_syscall_resolve_name_arch(token, call.encode())
        if theirs != libseccomp.UNKNOWN and call not in multiplexed:
            assert theirs == number, call


def test_tokens_say_word_size_and_byte_order() -> None:
    assert ABIS["SCMP_ARCH_X32"].token == ABIS["SCMP_ARCH_X86_64"].token == 0xC000003E
    for abi in ABIS.values():
        assert bool(abi.token & 0x40000000) == (abi.order == "<"), abi.name  # __AUDIT_ARCH_LE
        wide = bool(abi.token & 0x80000000)  # __AUDIT_ARCH_64BIT
        assert wide == (abi.bits == 64 or abi.name in ("SCMP_ARCH_X32", *N32)), abi.name


N32 = ("SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL64N32")


def test_x32_numbers_carry_their_bit() -> None:
    assert all(number & X32_BIT for number in ABIS["SCMP_ARCH_X32"].numbers().values())


def test_the_words_for_a_machine() -> None:
    words = {"x86_64": "X86_64", "i386": "X86", "i686": "X86", "aarch64": "AARCH64", "s390x": "S390X"}
    words |= {"powerpc64le": "PPC64LE", "ppc64le": "PPC64LE", "armv7l": "ARM", "riscv64": "RISCV64"}
    for machine, name in words.items():
        assert native_abi(machine) is ABIS[f"SCMP_ARCH_{name}"]
    assert native_abi("pdp11") is None


def test_tables_are_as_generated() -> None:
    if libseccomp.version(libseccomp.library()) != GENERATED_FROM or shutil.which("cc") is None:
        pytest.skip("another libseccomp than Debian 12's, or no C compiler: the generator would find other names")
    done = subprocess.run(
        [sys.executable, ROOT / "spec" / "syscall_tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
