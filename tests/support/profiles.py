"""linux.seccomp values for tests: short to write, random, and what they mean by the specification's words."""

from __future__ import annotations

import random
from typing import Any

from ocirt.config.views import Seccomp
from ocirt.seccomp.compiler import compile_filter
from tests.support import bpf

X86_64, X86, AARCH64, S390X = 0xC000003E, 0x40000003, 0xC00000B7, 0x80000016
X32_BIT = 0x40000000
DOCKER_ABIS = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")

ALLOW, LOG, DENY, ENOSYS = 0x7FFF0000, 0x7FFC0000, 0x00050001, 0x00050026
KILL_THREAD = 0

OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
# Both words' borders, and values that only one word tells apart.
EDGES = (
    *(0, 1, 2, 3, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
    *(1 << 32, (1 << 32) + 1, (2 << 32) - 1, (5 << 32) + 5, 1 << 63, (1 << 64) - 1),
)

Rule = dict[str, Any]


def rule(names: str, action: str = "ALLOW", *tests: tuple[Any, ...], errno: int | None = None) -> Rule:
    """names: separated by spaces; tests: (index, operator, value[, valueTwo])."""
    made: Rule = {"names": names.split(), "action": f"SCMP_ACT_{action}"}
    if errno is not None:
        made["errnoRet"] = errno
    if tests:
        made["args"] = [
            {"index": index, "op": f"SCMP_CMP_{op}", "value": value} | ({"valueTwo": two[0]} if two else {})
            for index, op, value, *two in tests
        ]
    return made


def profile(*rules: Rule, default: str = "ERRNO", abis: tuple[str, ...] = DOCKER_ABIS, **more: Any) -> dict[str, Any]:
    return {"defaultAction": f"SCMP_ACT_{default}", "architectures": list(abis), "syscalls": list(rules)} | more


class Compiled:
    """A profile's filter, to be asked."""

    def __init__(self, value: dict[str, Any], machine: str = "x86_64") -> None:
        self.order = ">" if machine == "s390x" else "<"
        self.program, self.flags = compile_filter(Seccomp(value, "/linux/seccomp"), machine)
        self.instructions = bpf.instructions(self.program, self.order)

    def __call__(self, number: int, *arguments: int, token: int = X86_64) -> int:
        filled = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
        return bpf.run(self.instructions, bpf.seccomp_data(number, token, filled, self.order))


def passes(test: dict[str, Any], arguments: tuple[int, ...], bits: int) -> bool:
    """The specification's operator on an argument, cut to the ABI's word."""
    word = (1 << bits) - 1
    argument, value, two = arguments[test["index"]] & word, test["value"] & word, test.get("valueTwo", 0) & word
    return bool(
        {
            "EQ": argument == value,
            "NE": argument != value,
            "LT": argument < value,
            "LE": argument <= value,
            "GT": argument > value,
            "GE": argument >= value,
            "MASKED_EQ": argument & value == two & value,
        }[test["op"].removeprefix("SCMP_CMP_")]
    )


def applies(entry: Rule, arguments: tuple[int, ...], bits: int) -> bool:
    """Whether an entry of syscalls[] (no argument tested twice) applies to a call it names."""
    return all(passes(test, arguments, bits) for test in entry.get("args", ()))


def random_tests(dice: random.Random, most: int, operators: tuple[str, ...] = OPERATORS) -> list[tuple[Any, ...]]:
    """Up to `most` tests of different arguments."""
    return [
        (index, dice.choice(operators), dice.choice(EDGES), dice.choice(EDGES))
        for index in dice.sample(range(most), dice.randint(1, most))
    ]


def random_arguments(dice: random.Random, entries: list[Rule]) -> tuple[int, ...]:
    """Six arguments at and beside the values that the rules test."""
    values = list(EDGES)
    for entry in entries:
        for test in entry.get("args", ()):
            values += [test["value"] - 1, test["value"], test["value"] + 1, test.get("valueTwo", 0)]
    return tuple(dice.choice(values) & 0xFFFFFFFFFFFFFFFF for _ in range(6))
