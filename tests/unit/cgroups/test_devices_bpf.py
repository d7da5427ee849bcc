"""The program against the rules it is made from: an interpreter of the instructions beside one of the rules."""

from __future__ import annotations

import itertools
import random
import struct

import pytest

from ocirt.cgroups.devices_bpf import BLOCK, CHARACTER, program
from ocirt.cgroups.limits import DEFAULT_DEVICES

Rule = tuple[str, str, str, str]  # verb, type, major:minor, access
MKNOD, READ, WRITE = 1, 2, 4
LETTERS = {"m": MKNOD, "r": READ, "w": WRITE}


def verdict(code: bytes, kind: int, access: int, major: int, minor: int) -> bool:
    """Run the program as the kernel would; every instruction it knows is one that program() may use."""
    context = {0: access << 16 | kind, 4: major, 8: minor}
    registers = [0] * 11
    position = 0
    for _ in range(10000):
        opcode, pair, offset, immediate = struct.unpack_from("=BBhi", code, position * 8)
        to, source, value = pair & 15, pair >> 4, immediate & 0xFFFFFFFF
        position += 1
        if opcode == 0x61:
            assert source == 1
            registers[to] = context[offset]
        elif opcode == 0xBC:
            registers[to] = registers[source]
        elif opcode == 0xB4:
            registers[to] = value
        elif opcode == 0x54:
            registers[to] &= value
        elif opcode == 0x74:
            registers[to] >>= value
        elif opcode == 0x56:
            position += offset if registers[to] != value else 0
        elif opcode == 0x46:
            position += offset if registers[to] & value else 0
        elif opcode == 0x05:
            position += offset
        elif opcode == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(f"instruction {position - 1}: {opcode:#x}")
    raise AssertionError("no end")


def allowed(rules: list[Rule], kind: str, access: int, major: int, minor: int) -> bool:
    """What the list means: each access is decided by the last rule that names it, everything else is denied."""
    for bit in (MKNOD, READ, WRITE):
        if not access & bit:
            continue
        answer = False
        for verb, rule_kind, device, letters in rules:
            rule_major, rule_minor = device.split(":")
            if (
                rule_kind in ("a", kind)
                and rule_major in ("*", str(major))
                and rule_minor in ("*", str(minor))
                and any(LETTERS[letter] == bit for letter in letters)
            ):
                answer = verb == "allow"
        if not answer:
            return False
    return True


def text(rules: list[Rule]) -> str:
    """As limits_v2.device_write() has it: a rule of type a stands alone."""
    return "; ".join(
        f"{verb} a" if kind == "a" else f"{verb} {kind} {device} {access}" for verb, kind, device, access in rules
    )


def check(rules: list[Rule]) -> None:
    code = program(text(rules))
    assert len(code) % 8 == 0
    for kind, number in (("c", CHARACTER), ("b", BLOCK)):
        for access, major, minor in itertools.product(range(1, 8), (0, 1, 2, 259), (0, 3, 5)):
            expected = allowed(rules, kind, access, major, minor)
            assert verdict(code, number, access, major, minor) == expected, (rules, kind, access, major, minor)


ALL = "*:*"


@pytest.mark.parametrize(
    "rules",
    [
        [("deny", "a", ALL, "rwm")],
        [("allow", "a", ALL, "rwm")],
        [("deny", "a", ALL, "rwm"), ("allow", "c", "1:3", "rwm")],
        [("deny", "a", ALL, "rwm"), ("allow", "c", "1:3", "r"), ("allow", "c", "1:3", "w")],
        [("deny", "a", ALL, "rwm"), ("allow", "c", "1:*", "rwm"), ("deny", "c", "1:3", "w")],
        [("deny", "a", ALL, "rwm"), ("deny", "c", "1:3", "w"), ("allow", "c", "1:*", "rwm")],
        [("allow", "a", ALL, "rwm"), ("deny", "b", "259:*", "w"), ("deny", "c", "*:5", "m")],
        [("deny", "a", ALL, "rwm"), ("allow", "b", "*:3", "rm")],
    ],
)
def test_rules(rules: list[Rule]) -> None:
    check(rules)


def test_many_random_rules() -> None:
    dice = random.Random(7)
    for _ in range(300):
        rules: list[Rule] = [(dice.choice(("allow", "deny")), "a", ALL, "rwm")]
        for _ in range(dice.randrange(8)):
            device = f"{dice.choice(('*', '0', '1', '259'))}:{dice.choice(('*', '0', '3', '5'))}"
            access = "".join(dice.sample("rwm", dice.randint(1, 3)))
            rules.append((dice.choice(("allow", "deny")), dice.choice("cb"), device, access))
        check(rules)


def test_nothing_is_behind_a_rule_for_everything() -> None:
    """The kernel's verifier refuses instructions that cannot be reached."""
    short = program("deny a")
    assert program("allow c 1:3 rwm; deny a") == short
    assert len(short) == 8 * 8


def test_the_largest_numbers() -> None:
    """A major number has 12 bits and a minor one 20 in the kernel, the specification allows 32."""
    code = program("deny a; allow c 4294967295:4294967295 rwm")
    assert verdict(code, CHARACTER, READ, 0xFFFFFFFF, 0xFFFFFFFF)
    assert not verdict(code, CHARACTER, READ, 0xFFFFFFFF, 0)


def test_the_default_devices() -> None:
    rules: list[Rule] = [("deny", "a", ALL, "rwm")]
    for rule in DEFAULT_DEVICES:
        kind, device, access = rule.split()
        rules.append(("allow", kind, device, access))
    check(rules)
    code = program(text(rules))
    assert verdict(code, CHARACTER, READ | WRITE, 1, 3)
    assert verdict(code, BLOCK, MKNOD, 8, 0)
    assert not verdict(code, BLOCK, READ, 8, 0)
    assert not verdict(code, CHARACTER, READ, 1, 1)
