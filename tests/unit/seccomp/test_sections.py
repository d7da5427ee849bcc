"""Which action a system call gets: ENOSYS for newer calls, ABIs, multiplexers, rules that meet."""

from __future__ import annotations

import pytest

from ocirt import log
from ocirt.errors import ConfigError
from tests.support.profiles import (
    AARCH64,
    ALLOW,
    DENY,
    ENOSYS,
    KILL_THREAD,
    LOG,
    S390X,
    X32_BIT,
    X86,
    X86_64,
    Compiled,
    profile,
    rule,
)

ONLY_NATIVE = ("SCMP_ARCH_X86_64",)
NO_CALL = 0xFFFFFFFF


def test_a_call_newer_than_the_newest_named_gets_enosys() -> None:
    asked = Compiled(profile(rule("read statx")))
    assert [asked(n) for n in (0, 1, 332, 333, 0x3FFFFFFF)] == [ALLOW, DENY, ALLOW, ENOSYS, ENOSYS]
    assert [asked(X32_BIT + n) for n in (0, 1, 332, 333)] == [ALLOW, DENY, ALLOW, ENOSYS]
    assert [asked(n, token=X86) for n in (3, 4, 383, 384, NO_CALL)] == [ALLOW, DENY, ALLOW, ENOSYS, ENOSYS]


def test_a_name_counts_as_newest_whatever_its_action() -> None:
    asked = Compiled(profile(rule("read"), rule("statx", "ERRNO")))
    assert [asked(n) for n in (331, 332, 333)] == [DENY, DENY, ENOSYS]


@pytest.mark.parametrize("default", ["ALLOW", "LOG", "TRACE"])
def test_no_enosys_when_the_default_lets_calls_through(default: str) -> None:
    asked = Compiled(profile(rule("read", "KILL"), default=default))
    assert asked(400) == asked(1) != ENOSYS


@pytest.mark.parametrize("default", ["KILL", "KILL_PROCESS", "TRAP", "ERRNO"])
def test_enosys_with_every_default_that_refuses(default: str) -> None:
    asked = Compiled(profile(rule("read statx"), default=default))
    assert (asked(333), asked(1) != ENOSYS) == (ENOSYS, True)


def test_no_enosys_on_an_abi_that_the_profile_does_not_list() -> None:
    asked = Compiled(profile(rule("read statx"), abis=("SCMP_ARCH_X86",)))
    assert (asked(0), asked(333)) == (ALLOW, DENY)
    assert asked(384, token=X86) == ENOSYS
    assert Compiled(profile(rule("read statx"), abis=()))(333) == DENY


def test_no_enosys_when_nothing_is_named() -> None:
    assert Compiled(profile())(333) == DENY


def test_call_0_of_s390x_is_every_call_its_kernel_does_not_know() -> None:
    asked = Compiled(profile(rule("read"), abis=("SCMP_ARCH_S390X",)), "s390x")
    assert [asked(n, token=S390X) for n in (0, 1, 3)] == [ENOSYS, DENY, ALLOW]


def test_an_architecture_without_a_section_is_killed() -> None:
    assert Compiled(profile(rule("read")))(63, token=AARCH64) == KILL_THREAD


def test_x32_is_killed_unless_listed_and_a_cancelled_call_is_not() -> None:
    asked = Compiled(profile(rule("read"), abis=ONLY_NATIVE))
    assert [asked(n) for n in (X32_BIT, X32_BIT + 1, 0xFFFFFFFE)] == [KILL_THREAD] * 3
    assert asked(NO_CALL) == DENY


def test_the_native_architecture_need_not_be_listed() -> None:
    asked = Compiled(profile(rule("read"), abis=("SCMP_ARCH_X86",)))
    assert (asked(0), asked(3, token=X86)) == (ALLOW, ALLOW)


def test_a_little_endian_foreign_architecture_has_its_own_numbers() -> None:
    asked = Compiled(profile(rule("read"), abis=(*ONLY_NATIVE, "SCMP_ARCH_AARCH64")))
    assert (asked(63, token=AARCH64), asked(0, token=AARCH64)) == (ALLOW, DENY)


def test_socketcall_tells_the_call_in_its_first_argument() -> None:
    asked = Compiled(profile(rule("socket connect shmget accept4", "ALLOW")))
    assert [asked(102, call, token=X86) for call in (1, 2, 3, 18)] == [ALLOW, DENY, ALLOW, ALLOW]
    assert [asked(117, call, token=X86) for call in (23, 24)] == [ALLOW, DENY]
    assert [asked(n, token=X86) for n in (359, 362, 395, 364)] == [ALLOW] * 4


def test_a_test_of_the_family_is_lost_in_socketcall() -> None:
    asked = Compiled(profile(rule("socket", "ALLOW", (0, "EQ", 16), (2, "EQ", 9))))
    assert [asked(359, *args, token=X86) for args in ((16, 0, 9), (2, 0, 9))] == [ALLOW, DENY]
    assert [asked(102, *args, token=X86) for args in ((1, 0, 9), (1, 0, 8), (2, 0, 9))] == [ALLOW, DENY, DENY]


def test_a_rule_for_the_multiplexer_itself_is_final() -> None:
    asked = Compiled(profile(rule("socket"), rule("socketcall", "LOG")))
    assert asked(102, 1, token=X86) == LOG


def test_the_first_rule_without_tests_wins() -> None:
    asked = Compiled(profile(rule("read", "LOG"), rule("read", "ALLOW"), rule("read", "KILL")))
    assert asked(0) == LOG


def test_a_rule_without_tests_wins_over_rules_with_tests() -> None:
    tested = rule("read", "LOG", (0, "EQ", 1))
    assert Compiled(profile(tested, rule("read")))(0, 1) == ALLOW
    assert Compiled(profile(rule("read"), tested))(0, 1) == ALLOW


def test_a_rule_with_the_default_action_says_nothing() -> None:
    asked = Compiled(profile(rule("read", "ERRNO"), rule("read", "ALLOW", (0, "EQ", 1))))
    assert (asked(0, 1), asked(0, 2)) == (ALLOW, DENY)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        ((1, "EQ", 7), (0, "EQ", 5)),  # the higher argument
        ((0, "EQ", 5), (0, "LE", 5)),  # the operator
        ((0, "LE", 5), (0, "GE", 5)),
        ((0, "GE", 5), (0, "GE", 4)),  # the narrower value
        ((0, "LE", 5), (0, "LE", 6)),
    ],
)
def test_of_two_rules_that_meet_the_more_special_one_wins(
    winner: tuple[int, str, int], loser: tuple[int, str, int], turned: bool
) -> None:
    rules = [rule("read", "LOG", winner), rule("read", "ALLOW", loser)]
    assert Compiled(profile(*(rules[::-1] if turned else rules)))(0, 5, 7) == LOG


def test_the_same_tests_with_two_actions_are_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        Compiled(profile(rule("read", "LOG", (0, "EQ", 1)), rule("read", "ALLOW", (0, "EQ", 1))))
    assert (refused.value.code, refused.value.at) == ("rule", "/linux/seccomp/syscalls")
    assert "read" in refused.value.what


def test_unknown_names_are_ignored_and_told_to_the_debug_log(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "debugging", True)
    monkeypatch.setattr(log, "emit", lambda level, text: told.append(f"{level}: {text}"))
    asked = Compiled(profile(rule("read no_such_call fcntl64"), abis=("SCMP_ARCH_X86",)))
    assert told == ['debug: unknown seccomp syscall "no_such_call" ignored', "debug: seccomp filter flags: 4"]
    assert asked(0) == ALLOW
    assert asked(X86_64) == KILL_THREAD
