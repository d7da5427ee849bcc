"""The listing is the program, instruction for instruction, and says where each part is from."""

from __future__ import annotations

import json
from pathlib import Path

from ocirt.config.views import Seccomp
from ocirt.seccomp.listing import listing, text
from ocirt.seccomp.reasons import Reasons
from tests.support.profiles import Rule, profile, rule

DOCKER = json.loads((Path(__file__).parents[2] / "configs/seccomp/docker-default.json").read_text())


def shown(*rules: Rule, **more: object) -> str:
    return text(listing(Reasons(Seccomp(profile(*rules, abis=("SCMP_ARCH_X86_64",), **more)), "x86_64")))  # type: ignore[arg-type]


def test_small_filter() -> None:
    assert shown(rule("mkdir", "ERRNO", errno=28), rule("rmdir", "KILL"), default="ALLOW").splitlines() == [
        "   0  load arch",
        "   1  if == 0xc000003e (SCMP_ARCH_X86_64) goto 2 else 8",
        "   2  load nr",
        "   3  if >= 85 (creat) goto 6 else 4",
        "   4  if >= 83 (mkdir) goto 5 else 10",
        "   5  if >= 84 (rmdir) goto 8 else 9",
        "   6  if >= 1073741824 goto 7 else 10",
        "   7  if >= 4294967295 goto 10 else 8",
        "   8  return SCMP_ACT_KILL_THREAD                        /syscalls/1, /architectures",
        "   9  return SCMP_ACT_ERRNO 28 ENOSPC                    /syscalls/0",
        "  10  return SCMP_ACT_ALLOW                              /defaultAction",
    ]


def test_arguments_and_newer_calls() -> None:
    lines = shown(rule("write"), rule("personality", "ALLOW", (0, "EQ", 1 << 32)), rule("close_range")).splitlines()
    assert [line for line in lines if "personality  " in line] == [
        "  13  load arg 0 high                                     personality  /syscalls/1",
        "  14  if == 0x1 goto 15 else 18                           personality  /syscalls/1",
        "  15  load arg 0 low                                      personality  /syscalls/1",
        "  16  if >= 0x1 goto 18 else 17                           personality  /syscalls/1",
    ]
    assert lines[12] == "  12  return SCMP_ACT_ERRNO 38 ENOSYS                     newer than the profile"
    assert (
        lines[17] == "  17  return SCMP_ACT_ALLOW                               /syscalls/0, /syscalls/1, /syscalls/2"
    )


def test_every_instruction_of_dockers_profile_is_reached_and_every_rule_named() -> None:
    reasons = Reasons(Seccomp(DOCKER), "x86_64")
    lines = listing(reasons)
    assert [line.place for line in lines] == list(range(len(reasons.program) // 8))
    returns = [line for line in lines if line.text.startswith("return")]
    assert all(line.rules for line in returns)
    named = {pointer for line in returns for pointer in line.rules}
    effective = {
        view.at
        for rule, view in zip(reasons.filter.rules, reasons.view.syscalls, strict=True)
        if rule.action != reasons.filter.default
    }
    assert effective <= named
