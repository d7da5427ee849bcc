"""diff and merge: what two profiles do with each call is compared, and joined, whatever way they are written in."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from ocirt.config import schema
from ocirt.config.views import Seccomp
from ocirt.errors import OcirtError
from ocirt.seccomp.architectures import ABIS
from ocirt.seccomp.compared import differences, merged
from tests.support.profiles import ALLOW, DENY, LOG, X86_64, Compiled, profile, random_arguments, random_tests, rule

DOCKER = json.loads((Path(__file__).parents[2] / "configs/seccomp/docker-default.json").read_text())
NUMBERS = ABIS["SCMP_ARCH_X86_64"].numbers()
NATIVE = ("SCMP_ARCH_X86_64",)


def told(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = differences(Seccomp(first), Seccomp(second), "x86_64")
    return [(" ".join(one.subjects), one.first, one.second) for one in found]


def joined(*profiles: dict[str, Any]) -> dict[str, Any]:
    value = merged([(f"file{i}", Seccomp(one)) for i, one in enumerate(profiles)], "x86_64")
    schema.validate(value, "seccomp")
    return value


def test_equal_in_meaning() -> None:
    """The order of names and rules, a name that no kernel has, and a rule that repeats the default."""
    first = profile(rule("read write"), rule("close_range"), rule("mkdir", "ERRNO", errno=1))
    second = profile(rule("close_range read nonesuch write"))
    assert told(first, second) == []


def test_calls_with_the_same_difference_are_told_together() -> None:
    first = profile(rule("read write mkdir rmdir close_range"), abis=NATIVE)
    second = profile(rule("read write close_range"), abis=NATIVE)
    assert told(first, second) == [("mkdir rmdir", "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO 1 EPERM")]


def test_tests_of_arguments_are_told() -> None:
    masked = ("MASKED_EQ", 0xF, 3)
    first = profile(rule("close_range"), rule("clone", "ALLOW", (0, *masked), (1, "NE", 2)), abis=NATIVE)
    second = profile(rule("close_range clone"), abis=NATIVE)
    words = "SCMP_ACT_ALLOW if arg 0 & 0xf == 0x3 and arg 1 != 0x2; else SCMP_ACT_ERRNO 1 EPERM"
    assert told(first, second) == [("clone", words, "SCMP_ACT_ALLOW")]


def test_what_the_profile_says_as_a_whole() -> None:
    first = profile(default="ALLOW", abis=NATIVE, flags=[])
    second = profile(default="LOG", abis=(*NATIVE, "SCMP_ARCH_X86"), listenerPath="/run/agent")
    subjects = {subject: (one, other) for subject, one, other in told(first, second)}
    assert subjects["defaultAction"] == ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
    assert subjects["architectures"] == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86, SCMP_ARCH_X86_64")
    assert subjects["flags"] == ("0x0", "0x4")
    assert subjects["listenerPath"] == ("none", "/run/agent")


def test_merged_with_itself_dockers_profile_stays() -> None:
    assert told(DOCKER, joined(DOCKER)) == []
    assert told(DOCKER, joined(DOCKER, DOCKER)) == []
    assert joined(joined(DOCKER)) == joined(DOCKER)


def test_recorded_profiles() -> None:
    first = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": list(NATIVE), "syscalls": [rule("write read")]}
    second = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": list(NATIVE), "syscalls": [rule("mkdir read")]}
    assert joined(first, second) == {**first, "syscalls": [rule("mkdir read write")]}


def test_of_two_errors_the_one_that_a_rule_gives() -> None:
    first = profile(rule("read write close_range"), rule("clone3", "ERRNO", errno=38))
    second = profile(rule("mkdir close_range"))
    assert rule("clone3", "ERRNO", errno=38) in joined(first, second)["syscalls"]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (profile(rule("write"), default="KILL"), "differ in defaultAction"),
        (profile(rule("write"), flags=[]), "differ in flags"),
        (profile(rule("mkdir", "ERRNO", errno=2)), "deny mkdir in different ways"),
        (profile(rule("mkdir", "ALLOW", (1, "EQ", 2))), "deny mkdir in different ways"),
    ],
)
def test_what_no_profile_can_say(second: dict[str, Any], says: str) -> None:
    with pytest.raises(OcirtError, match=says):
        joined(profile(rule("mkdir", "ERRNO", errno=38)), second)


WHEN_2, WHEN_3 = (1, "EQ", 2), (1, "EQ", 3)


@pytest.mark.parametrize("default", ["LOG", "ALLOW"])
def test_what_each_denies_alone_is_denied_by_neither(default: str) -> None:
    denies = [profile(rule(name, "ERRNO", errno=1), default=default, abis=NATIVE) for name in ("mkdir", "rmdir")]
    whole = Compiled(joined(*denies))
    assert [whole(NUMBERS[name]) for name in ("mkdir", "rmdir", "read")] == [ALLOW if default == "ALLOW" else LOG] * 3


@pytest.mark.parametrize(
    ("default", "first", "second", "two", "three", "else_"),
    [
        ("ERRNO", rule("mkdir", "LOG"), rule("mkdir", "ALLOW", WHEN_2), LOG, LOG, LOG),
        ("ERRNO", rule("mkdir", "LOG"), rule("mkdir", "ALLOW"), ALLOW, ALLOW, ALLOW),
        ("ERRNO", rule("mkdir", "LOG", WHEN_3), rule("mkdir", "ALLOW", WHEN_2), ALLOW, LOG, DENY),
        ("ERRNO", rule("mkdir", "ALLOW", WHEN_2), rule("mkdir", "LOG", WHEN_2), ALLOW, DENY, DENY),
        ("LOG", rule("mkdir", "ALLOW", WHEN_2), rule("mkdir", "ERRNO", WHEN_3), ALLOW, LOG, LOG),
        ("LOG", rule("mkdir", "ALLOW", WHEN_2), rule("mkdir", "ALLOW", WHEN_3), ALLOW, ALLOW, LOG),
    ],
)
def test_what_is_logged_is_let_through(
    default: str, first: dict[str, Any], second: dict[str, Any], two: int, three: int, else_: int
) -> None:
    parts = [profile(rule("close_range"), one, default=default, abis=NATIVE) for one in (first, second)]
    whole = Compiled(joined(*parts))
    assert [whole(NUMBERS["mkdir"], 0, mode) for mode in (2, 3, 4)] == [two, three, else_]


@pytest.mark.parametrize("seed", range(40))
def test_merged_lets_through_what_any_does_and_nothing_else(seed: int) -> None:
    dice = random.Random(seed)
    names = ("personality", "clone", "mkdir", "close_range")
    values = [
        profile(
            rule("close_range"),
            *(rule(dice.choice(names), "ALLOW", *random_tests(dice, 2)) for _ in range(3)),
            *(rule(dice.choice(names)) for _ in range(dice.randint(0, 1))),
            abis=NATIVE,
        )
        for _ in range(dice.randint(1, 3))
    ]
    parts, whole = [Compiled(value) for value in values], Compiled(joined(*values))
    for name in (*names, "read"):
        for _ in range(40):
            arguments = random_arguments(dice, list(itertools.chain(*(value["syscalls"] for value in values))))
            through = [part(NUMBERS[name], *arguments, token=X86_64) == ALLOW for part in parts]
            assert (whole(NUMBERS[name], *arguments, token=X86_64) == ALLOW) == any(through)
