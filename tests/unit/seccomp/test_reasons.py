"""Which rule decides: the words agree with the program, whatever the profile."""

from __future__ import annotations

import random

import pytest

from ocirt.config.views import Seccomp
from ocirt.seccomp.architectures import ABIS, X32_BIT
from ocirt.seccomp.reasons import Reasons, describe_action
from tests.support.profiles import (
    ALLOW,
    DENY,
    ENOSYS,
    X86,
    X86_64,
    Compiled,
    Rule,
    applies,
    profile,
    random_arguments,
    random_tests,
    rule,
)

NUMBERS = ABIS["SCMP_ARCH_X86_64"].numbers()
NONE = (0,) * 6


def reasons(*rules: Rule, **more: object) -> Reasons:
    return Reasons(Seccomp(profile(*rules, **more), "/linux/seccomp"), "x86_64")  # type: ignore[arg-type]


def said(asked: Reasons, name: str, *arguments: int, token: int = X86_64) -> tuple[int, str, str]:
    abi = "SCMP_ARCH_X86_64" if token == X86_64 else "SCMP_ARCH_X86"
    verdict = asked.of(token, ABIS[abi].numbers()[name], (*arguments, *NONE)[:6])
    return verdict.action, verdict.at.removeprefix("/linux/seccomp"), verdict.why


def test_rule_without_tests() -> None:
    asked = reasons(rule("read write"), rule("mkdir", "ERRNO", errno=28))
    assert said(asked, "write") == (ALLOW, "/syscalls/0", "named by the rule")
    assert said(asked, "mkdir") == (0x5001C, "/syscalls/1", "named by the rule")


def test_rule_with_tests() -> None:
    asked = reasons(rule("personality", "ALLOW", (0, "EQ", 8)), rule("close_range"))
    hold = "named by the rule, and its tests of arguments hold"
    assert said(asked, "personality", 8) == (ALLOW, "/syscalls/0", hold)
    other = "the arguments are not those of any rule that names the call: the default action"
    assert said(asked, "personality", 9) == (DENY, "/defaultAction", other)


def test_default() -> None:
    asked = reasons(rule("close_range"), rule("mkdir", "ERRNO"))
    assert said(asked, "rmdir") == (DENY, "/defaultAction", "no rule names the call: the default action")
    assert said(asked, "mkdir") == (DENY, "/defaultAction", "a rule names the call, with the default action")


def test_newer_than_the_profile() -> None:
    action, at, why = said(reasons(rule("write")), "close_range")
    assert (action, at) == (ENOSYS, "/syscalls")
    assert why.startswith("newer than every call that the profile names")


def test_architecture_that_is_not_listed() -> None:
    asked = reasons(rule("read"), abis=("SCMP_ARCH_X86_64",))
    for token, number in ((X86, 3), (X86_64, X32_BIT), (0xC00000B7, 63)):
        verdict = asked.of(token, number, NONE)
        assert (verdict.action, verdict.at) == (0, "/linux/seccomp/architectures")
        assert verdict.why == "the profile does not list this architecture"


def test_by_way_of_a_multiplexer() -> None:
    asked = reasons(rule("socket", "ALLOW", (0, "EQ", 2)), rule("bind", "ERRNO", errno=13), rule("close_range"))
    assert said(asked, "socketcall", 1, token=X86) == (
        ALLOW,
        "/syscalls/0",
        "socket by way of socketcall, named by the rule",
    )
    assert said(asked, "socketcall", 2, token=X86)[:2] == (0x5000D, "/syscalls/1")
    assert said(asked, "socketcall", 3, token=X86)[:2] == (DENY, "/defaultAction")


@pytest.mark.parametrize("seed", range(60))
def test_what_is_said_of_random_profiles_is_true(seed: int) -> None:
    """The action is the program's; the rule named has it, names the call, and applies."""
    dice = random.Random(seed)
    actions = ("ALLOW", "ERRNO", "KILL_PROCESS", "LOG", "TRAP")
    names = ("personality", "clone", "mkdir", "close_range")
    # One action with tests and one without, per call: of several with tests libseccomp's order decides, not ours.
    tested = dice.choice(actions)
    rules = [rule(dice.choice(names), tested, *random_tests(dice, 3)) for _ in range(4)]
    rules += [rule(dice.choice(names), dice.choice(actions)) for _ in range(dice.randint(0, 2))]
    value = profile(*rules, default=dice.choice(actions))
    asked, compiled = Reasons(Seccomp(value, ""), "x86_64"), Compiled(value)
    for name in (*names, "read"):
        for _ in range(20):
            arguments = random_arguments(dice, rules)
            verdict = asked.of(X86_64, NUMBERS[name], arguments)
            assert verdict.action == compiled(NUMBERS[name], *arguments)
            if verdict.at.startswith("/syscalls/"):
                chosen = rules[int(verdict.at.rpartition("/")[2])]
                assert describe_action(verdict.action).split()[0] == chosen["action"]
                assert name in chosen["names"]
                assert applies(chosen, arguments, 64)
            elif verdict.at == "/defaultAction":
                assert verdict.action == asked.filter.default


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (ALLOW, "SCMP_ACT_ALLOW"),
        (DENY, "SCMP_ACT_ERRNO 1 EPERM"),
        (0x50000, "SCMP_ACT_ERRNO 0"),
        (0x7FF00007, "SCMP_ACT_TRACE 7"),
        (0, "SCMP_ACT_KILL_THREAD"),
        (0x80000000, "SCMP_ACT_KILL_PROCESS"),
    ],
)
def test_actions_in_words(action: int, words: str) -> None:
    assert describe_action(action) == words
