"""Whole profiles against libseccomp, as runc uses it; where the two differ on purpose is said and tested here.

On purpose: ENOSYS for calls newer than the profile (runc puts it before libseccomp's filter, we in
it); no rules for libseccomp's pseudo numbers, which no kernel has; several rules that test one
argument of one call mean what the specification says, where libseccomp 2.5 merges some wrongly.
"""

from __future__ import annotations

import ctypes
import json
import random
from pathlib import Path
from typing import Any

import pytest

from ocirt.config.views import Seccomp
from ocirt.errors import ConfigError, OcirtError
from ocirt.seccomp.architectures import ABIS, native_abi
from ocirt.seccomp.compiler import compile_filter
from tests.support import bpf, libseccomp
from tests.support.profiles import (
    ALLOW,
    DENY,
    EDGES,
    ENOSYS,
    X32_BIT,
    X86,
    X86_64,
    Compiled,
    profile,
    random_arguments,
    random_tests,
    rule,
)

DOCKER = Path(__file__).parents[2] / "configs" / "seccomp" / "docker-default.json"
SECTIONS = (("SCMP_ARCH_X86_64", X86_64, 0), ("SCMP_ARCH_X32", X86_64, X32_BIT), ("SCMP_ARCH_X86", X86, 0))
NAMES = ("read", "clone", "ioctl", "prctl", "personality", "socket", "shmget", "fcntl", "keyctl", "quotactl")


@pytest.fixture(scope="module")
def lib() -> ctypes.CDLL:
    return libseccomp.library()


def known(lib: ctypes.CDLL, value: dict[str, Any]) -> dict[str, Any]:
    """The profile without the names that this libseccomp has never heard of."""
    rules = []
    for entry in value["syscalls"]:
        names = [name for name in entry["names"] if libseccomp.knows(lib, name)]
        if names:
            rules.append(entry | {"names": names})
    return value | {"syscalls": rules}


class Reference:
    """libseccomp's filter, to be asked."""

    def __init__(self, lib: ctypes.CDLL, value: dict[str, Any]) -> None:
        self.instructions = bpf.instructions(libseccomp.export(lib, value))

    def __call__(self, number: int, *arguments: int, token: int) -> int:
        return bpf.run(self.instructions, bpf.seccomp_data(number, token, (*arguments, 0, 0, 0, 0, 0, 0)[:6]))


def newest(value: dict[str, Any], abi: str) -> int:
    numbers = ABIS[abi].numbers()
    return max(numbers.get(name, 0) for entry in value["syscalls"] for name in entry["names"])


def test_dockers_profile_is_libseccomps_for_every_number_of_every_abi(lib: ctypes.CDLL) -> None:
    value = known(lib, json.loads(DOCKER.read_text()))
    ours, theirs = Compiled(value), Reference(lib, value)
    rows = [(0,) * 6, (1,) * 6, (0xFFFFFFFF,) * 6]
    for abi, token, base in SECTIONS:
        last = newest(value, abi)
        for number in range(base, base + 1024):
            for arguments in rows:
                wanted = theirs(number, *arguments, token=token) if number <= last else ENOSYS
                assert ours(number, *arguments, token=token) == wanted, (abi, number - base, arguments)


def test_dockers_argument_tests_are_libseccomps(lib: ctypes.CDLL) -> None:
    value = known(lib, json.loads(DOCKER.read_text()))
    ours, theirs = Compiled(value), Reference(lib, value)
    tested = {name for entry in value["syscalls"] if "args" in entry for name in entry["names"]}
    tested |= {"socketcall", "ipc"}
    assert tested >= {"socket", "personality", "clone"}
    values = {
        v + d & (1 << 64) - 1
        for e in value["syscalls"]
        for a in e.get("args", ())
        for v in (a["value"],)
        for d in (-1, 0, 1)
    }
    values |= {v | 1 << 32 for v in values} | {1 << bit for bit in range(64)} | set(EDGES)
    asked = 0
    for abi, token, _base in SECTIONS:
        numbers = ABIS[abi].numbers()
        for number in (numbers[name] for name in tested if name in numbers):
            for argument in values:
                wanted = theirs(number, argument, argument, token=token)
                assert ours(number, argument, argument, token=token) == wanted, (abi, number, argument)
                asked += 1
    assert asked > 1500


@pytest.mark.parametrize("seed", range(40))
def test_random_profiles_of_one_rule_a_call_are_libseccomps(lib: ctypes.CDLL, seed: int) -> None:
    dice = random.Random(seed)
    entries = [
        rule(name, dice.choice(("ALLOW", "KILL_PROCESS", "TRAP", "LOG", "TRACE", "KILL")), *tests)
        for name in dice.sample(NAMES, 5)
        for tests in [random_tests(dice, 3) if dice.random() < 0.8 else []]
        # libseccomp compares socketcall's and ipc's other arguments with the call's own: tested elsewhere
        if name not in ("socket", "shmget") or not tests
    ]
    value = profile(*entries, default=dice.choice(("ERRNO", "ALLOW")))
    ours, theirs = Compiled(value), Reference(lib, value)
    for abi, token, base in SECTIONS:
        numbers = ABIS[abi].numbers()
        last = newest(value, abi) if value["defaultAction"] == "SCMP_ACT_ERRNO" else 1 << 32
        asked = [numbers[name] for name in NAMES if name in numbers] + [base + dice.randrange(500) for _ in range(20)]
        if abi == "SCMP_ARCH_X86":
            asked += [102, 117]
        for number in asked:
            for _ in range(20):
                arguments = random_arguments(dice, entries)
                wanted = theirs(number, *arguments, token=token) if number <= last else ENOSYS
                assert ours(number, *arguments, token=token) == wanted, (entries, abi, number, arguments)


@pytest.mark.parametrize("seed", range(40))
def test_many_values_with_different_actions_are_libseccomps(lib: ctypes.CDLL, seed: int) -> None:
    dice = random.Random(seed)
    entries = [
        rule("clone", dice.choice(("ALLOW", "LOG", "TRAP")), (0, "EQ", value)) for value in dice.sample(EDGES[:9], 6)
    ]
    value = profile(*entries)
    ours, theirs = Compiled(value), Reference(lib, value)
    for abi, token, _base in SECTIONS:
        number = ABIS[abi].numbers()["clone"]
        for argument in (*EDGES, *(edge + 1 for edge in EDGES[:-1])):
            assert ours(number, argument, token=token) == theirs(number, argument, token=token), (abi, argument, value)


def test_two_actions_for_one_test_are_refused_by_libseccomp_too(lib: ctypes.CDLL) -> None:
    value = profile(rule("read", "LOG", (0, "EQ", 1)), rule("read", "ALLOW", (0, "EQ", 1)))
    with pytest.raises(libseccomp.Contradiction):
        libseccomp.export(lib, value)


def test_low_or_high_is_not_everything() -> None:
    """libseccomp 2.5.4 lets 0x1_0000_0000 pass here, which neither rule allows."""
    asked = Compiled(
        profile(rule("write", "ALLOW", (1, "LE", 0xFFFFFFFE)), rule("write", "ALLOW", (1, "GE", 0x100000001)))
    )
    edges = (0, 0xFFFFFFFE, 0xFFFFFFFF, 0x100000000, 0x100000001, (1 << 64) - 1)
    assert [asked(1, 0, edge) for edge in edges] == [ALLOW, ALLOW, DENY, DENY, ALLOW, ALLOW]


def test_pseudo_numbers_have_no_rules() -> None:
    """libseccomp turns `ipc` on x86_64 into number -10024."""
    assert Compiled(profile(rule("ipc read"), default="KILL_PROCESS"))(-10024) == ENOSYS


def test_a_profile_too_large_for_the_kernel_is_refused() -> None:
    names = list(ABIS["SCMP_ARCH_X86_64"].numbers())[:300]
    rules = [
        rule(name, "ALLOW", *((index, "GE", (i + 1) * (index + 1) << 20) for index in range(6)))
        for i, name in enumerate(names)
    ]
    with pytest.raises(ConfigError, match=r"makes \d+ instructions, the kernel takes 4096") as refused:
        Compiled(profile(*rules))
    assert (refused.value.code, refused.value.at) == ("rule", "/linux/seccomp/syscalls")


def test_an_unknown_machine_is_unsupported() -> None:
    with pytest.raises(OcirtError) as refused:
        compile_filter(Seccomp(profile(), "/linux/seccomp"), "pdp11")
    assert (refused.value.code, refused.value.at) == ("unsupported", "/linux/seccomp")


@pytest.mark.parametrize(
    "machine", ["x86_64", "i686", "aarch64", "armv7l", "riscv64", "ppc64le", "s390x", "loongarch64"]
)
def test_a_native_filter_of_each_machine(machine: str) -> None:
    abi = native_abi(machine)
    assert abi is not None
    program, flags = compile_filter(Seccomp(profile(rule("read"), abis=()), ""), machine)
    made = bpf.instructions(program, abi.order)
    read, write = (
        bpf.run(made, bpf.seccomp_data(abi.numbers()[name], abi.token, (0,) * 6, abi.order))
        for name in ("read", "write")
    )
    assert (read, write, flags) == (ALLOW, DENY, 4)
