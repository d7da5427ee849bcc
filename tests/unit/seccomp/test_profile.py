"""linux.seccomp's words: actions with their data, flags, and what is refused where."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.config.views import Seccomp
from ocirt.errors import ConfigError
from ocirt.seccomp.profile import Filter
from tests.support.profiles import profile, rule


def made(value: dict[str, Any]) -> Filter:
    return Filter(Seccomp(value, "/linux/seccomp"), "x86_64")


@pytest.mark.parametrize(
    ("action", "errno", "word"),
    [
        ("KILL", None, 0x00000000),
        ("KILL_THREAD", None, 0x00000000),
        ("KILL_PROCESS", None, 0x80000000),
        ("TRAP", None, 0x00030000),
        ("ERRNO", None, 0x00050001),
        ("ERRNO", 0, 0x00050000),
        ("ERRNO", 38, 0x00050026),
        ("TRACE", None, 0x7FF00001),
        ("TRACE", 0xFFFF, 0x7FF0FFFF),
        ("ALLOW", None, 0x7FFF0000),
        ("LOG", None, 0x7FFC0000),
        ("NOTIFY", None, 0x7FC00000),
    ],
)
def test_actions(action: str, errno: int | None, word: int) -> None:
    assert made(profile(rule("read", action, errno=errno))).rules[0].action == word


def test_the_default_action_has_its_own_errno() -> None:
    assert made(profile(defaultErrnoRet=38)).default == 0x00050026
    assert made(profile()).default == 0x00050001


@pytest.mark.parametrize(
    ("flags", "bits"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 6),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0),
    ],
)
def test_flags(flags: list[str] | None, bits: int) -> None:
    assert made(profile() if flags is None else profile(flags=flags)).flags == bits


def test_a_notifying_filter_asks_for_its_listener() -> None:
    rules = rule("mkdir", "NOTIFY")
    assert made(profile(rules)).flags == 8 | 4
    assert made(profile(rules, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])).flags == 8 | 32


@pytest.mark.parametrize(
    ("value", "at", "word"),
    [
        (profile(default="FORGIVE"), "/defaultAction", '"SCMP_ACT_FORGIVE" is not known'),
        (profile(rule("read", "FORGIVE")), "/syscalls/0/action", '"SCMP_ACT_FORGIVE" is not known'),
        (profile(rule("read", errno=1), rule("read", "ERRNO", errno=65536)), "/syscalls/1/errnoRet", "at most 65535"),
        (profile(defaultErrnoRet=1 << 20), "/defaultErrnoRet", "at most 65535"),
        (profile(rule("read", "ALLOW", (0, "LIKE", 1))), "/syscalls/0/args/0/op", '"SCMP_CMP_LIKE" is not known'),
        (profile(abis=("SCMP_ARCH_X86", "SCMP_ARCH_PDP11")), "/architectures/1", '"SCMP_ARCH_PDP11" is not known'),
        (profile(abis=("SCMP_ARCH_S390X",)), "/architectures/0", "another byte order"),
        (profile(flags=["SECCOMP_FILTER_FLAG_NEW"]), "/flags/0", '"SECCOMP_FILTER_FLAG_NEW" is not known'),
    ],
)
def test_what_is_not_known_is_refused_with_its_place(value: dict[str, Any], at: str, word: str) -> None:
    with pytest.raises(ConfigError) as refused:
        made(value)
    assert (refused.value.code, refused.value.at) == ("rule", f"/linux/seccomp{at}")
    assert word in refused.value.what


def test_an_architecture_listed_twice_counts_once() -> None:
    found = made(profile(abis=("SCMP_ARCH_X86", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64")))
    assert [abi.name for abi in found.abis] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
