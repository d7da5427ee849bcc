"""Tests of arguments: every operator at every border, for 64-bit and 32-bit ABIs and both byte orders."""

from __future__ import annotations

import random

import pytest

from tests.support.profiles import (
    ALLOW,
    DENY,
    EDGES,
    OPERATORS,
    S390X,
    X32_BIT,
    X86,
    X86_64,
    Compiled,
    applies,
    profile,
    random_arguments,
    random_tests,
    rule,
)

# ABI, token, number of personality(2), bits
PERSONALITY = (
    (X86_64, 135, 64),
    (X86_64, X32_BIT + 135, 32),
    (X86, 136, 32),
)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_at_every_border(operator: str) -> None:
    for value in EDGES:
        entry = rule("personality", "ALLOW", (1, operator, value, value ^ 5))
        asked = Compiled(profile(entry))
        for argument in (*EDGES, value - 1 & 0xFFFFFFFFFFFFFFFF, value + 1 & 0xFFFFFFFFFFFFFFFF):
            for token, number, bits in PERSONALITY:
                wanted = ALLOW if applies(entry, (0, argument), bits) else DENY
                assert asked(number, 0, argument, token=token) == wanted, (value, argument, bits)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_big_endian_machine_compares_the_same_values(operator: str) -> None:
    for value in EDGES:
        entry = rule("personality", "ALLOW", (0, operator, value, value ^ 5))
        asked = Compiled(profile(entry, abis=("SCMP_ARCH_S390X",)), "s390x")
        for argument in EDGES:
            wanted = ALLOW if applies(entry, (argument,), 64) else DENY
            assert asked(136, argument, token=S390X) == wanted, (value, argument)


def test_tests_of_several_arguments_must_all_hold() -> None:
    asked = Compiled(profile(rule("personality", "ALLOW", (0, "EQ", 1), (2, "GE", 1 << 40), (5, "NE", 0))))
    assert asked(135, 1, 0, 1 << 40, 0, 0, 9) == ALLOW
    assert asked(135, 2, 0, 1 << 40, 0, 0, 9) == DENY
    assert asked(135, 1, 0, (1 << 40) - 1, 0, 0, 9) == DENY
    assert asked(135, 1, 0, 1 << 40, 0, 0, 0) == DENY


def test_one_argument_tested_twice_means_either() -> None:
    asked = Compiled(profile(rule("personality", "ALLOW", (0, "EQ", 1), (0, "EQ", 3), (1, "EQ", 7))))
    assert [asked(135, *pair) for pair in ((1, 0), (3, 0), (2, 7), (2, 0))] == [ALLOW, ALLOW, ALLOW, DENY]


def test_a_mask_of_no_bits_always_holds() -> None:
    asked = Compiled(profile(rule("personality", "ALLOW", (0, "MASKED_EQ", 0, 1))))
    assert asked(135, 5) == ALLOW


def test_a_mask_of_high_bits_means_nothing_to_a_32_bit_abi() -> None:
    asked = Compiled(profile(rule("personality", "ALLOW", (0, "MASKED_EQ", 1 << 32, 1 << 32))))
    assert (asked(135, 0), asked(135, 1 << 32)) == (DENY, ALLOW)
    assert asked(136, 0, token=X86) == ALLOW


def test_a_value_is_masked_too() -> None:
    asked = Compiled(profile(rule("personality", "ALLOW", (0, "MASKED_EQ", 0xF0, 0x1F))))
    assert (asked(135, 0x10), asked(135, 0x1F), asked(135, 0x20)) == (ALLOW, ALLOW, DENY)


def test_many_values_of_one_argument_become_one_search() -> None:
    values = range(100, 180, 2)
    asked = Compiled(profile(*(rule("personality", "ALLOW", (0, "EQ", value)) for value in values)))
    assert [asked(135, argument) == ALLOW for argument in range(98, 182)] == [a in values for a in range(98, 182)]
    assert asked(135, (1 << 32) + 100) == DENY
    single = Compiled(profile(rule("personality", "ALLOW", (0, "EQ", 100))))
    assert len(asked.instructions) - len(single.instructions) < 3 * 2 * len(values)


@pytest.mark.parametrize("seed", range(60))
def test_rules_of_one_action_mean_what_the_specification_says(seed: int) -> None:
    dice = random.Random(seed)
    entries = [rule("personality", "ALLOW", *random_tests(dice, 3)) for _ in range(dice.randint(1, 6))]
    asked = Compiled(profile(*entries))
    for _ in range(60):
        arguments = random_arguments(dice, entries)
        for token, number, bits in PERSONALITY:
            wanted = ALLOW if any(applies(entry, arguments, bits) for entry in entries) else DENY
            assert asked(number, *arguments, token=token) == wanted, (entries, arguments, bits)
