"""What a watcher hears of, and the one call by which init gives it its listener."""

from __future__ import annotations

import random

import pytest

from ocirt.config.views import Seccomp
from ocirt.seccomp.architectures import ABIS
from ocirt.seccomp.compiler import compile_filter
from ocirt.seccomp.profile import ALLOW, NOTIFY
from ocirt.seccomp.watched import HAND_OVER, notify_about_all, notify_about_denials
from tests.support import bpf
from tests.support.profiles import X86, X86_64, Compiled, profile, random_arguments, random_tests, rule

NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "s390x": "SCMP_ARCH_S390X"}


def asked(program: bytes, number: int, *arguments: int, token: int = X86_64, order: str = "<") -> int:
    filled = (*arguments, *(0,) * 6)[:6]
    return bpf.run(bpf.instructions(program, order), bpf.seccomp_data(number, token, filled, order))


@pytest.mark.parametrize("machine", sorted(NATIVE))
def test_all_but_the_hand_over(machine: str) -> None:
    abi = ABIS[NATIVE[machine]]
    program = notify_about_all(abi)
    sendmsg = abi.numbers()["sendmsg"]

    def of(number: int, *arguments: int, token: int = abi.token) -> int:
        return asked(program, number, *arguments, token=token, order=abi.order)

    assert of(sendmsg, 5, 0x7FFF0000, HAND_OVER) == ALLOW
    assert of(sendmsg, 5, 0x7FFF0000, HAND_OVER | 1) == NOTIFY
    assert of(sendmsg, HAND_OVER, HAND_OVER, 0) == NOTIFY
    assert of(sendmsg, 5, 0, HAND_OVER, token=X86) == NOTIFY
    for number in {0, 1, *abi.numbers().values(), 1 << 30, 0xFFFFFFFF} - {sendmsg}:
        assert of(number, 5, 0, HAND_OVER) == NOTIFY


@pytest.mark.parametrize("seed", range(20))
def test_denials_and_nothing_else(seed: int) -> None:
    """The watcher hears of a call exactly when the profile denies it; else the profile's own action holds."""
    dice = random.Random(seed)
    actions = ("ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "LOG", "TRAP", "TRACE")
    names = ("personality", "clone", "mkdir", "sendmsg", "close_range")
    tested = dice.choice(actions)
    rules = [rule(dice.choice(names), tested, *random_tests(dice, 3)) for _ in range(4)]
    rules += [rule(dice.choice(names), dice.choice(actions)) for _ in range(2)]
    value = profile(*rules, default=dice.choice(actions))
    plain = Compiled(value)
    abi = ABIS["SCMP_ARCH_X86_64"]
    program = notify_about_denials(abi, compile_filter(Seccomp(value, ""), "x86_64")[0])
    for name in (*names, "read"):
        for _ in range(20):
            arguments = random_arguments(dice, rules)
            number = abi.numbers()[name]
            expected = plain(number, *arguments)
            if expected & 0xFFFF0000 in (0x50000, 0, 0x80000000):
                expected = NOTIFY
            if name == "sendmsg" and arguments[2] & 0xFFFFFFFF == HAND_OVER:
                expected = ALLOW
            assert asked(program, number, *arguments) == expected
