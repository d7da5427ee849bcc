"""The filter is compiled when it is planned, and loaded by one call."""

from __future__ import annotations

import types
from typing import Any

from ocirt.box import Box
from ocirt.config.views import Linux
from ocirt.kernel.flags import SECCOMP_FILTER_FLAG_NEW_LISTENER
from ocirt.stages.seccomp import LISTENER, LoadFilter, seccomp
from tests.support.profiles import Compiled, profile, rule
from tests.support.recorder import recorded_box


def linux(**value: Any) -> Linux:
    return Linux(value, "/linux")


def test_a_profile_is_one_step_that_loads_its_program() -> None:
    value = profile(rule("read"), flags=["SECCOMP_FILTER_FLAG_LOG"])
    (step,) = seccomp(linux(seccomp=value))
    assert isinstance(step, LoadFilter)
    program = Compiled(value).program
    assert step.at == "/linux/seccomp"
    assert step.describe() == f"load a seccomp filter of {len(program) // 8} instructions (flags 2)"
    calls: list[tuple[bytes, int]] = []
    kernel = types.ModuleType("kernel")
    kernel.set_seccomp_filter = lambda program, flags: calls.append((program, flags))  # type: ignore[attr-defined]
    step.apply(Box(kernel))
    assert calls == [(program, 2)]


def test_no_profile_is_no_step() -> None:
    assert list(seccomp(linux())) == []


def test_a_filter_that_notifies_has_a_listener() -> None:
    (step,) = seccomp(linux(seccomp=profile(rule("mkdir", "NOTIFY"), listenerPath="/run/agent.sock", flags=[])))
    box, kernel = recorded_box(set_seccomp_filter=9)
    step.apply(box)
    assert box.fds == {LISTENER: 9}
    assert kernel.calls[0][2] == SECCOMP_FILTER_FLAG_NEW_LISTENER


def test_another_filter_has_none() -> None:
    (step,) = seccomp(linux(seccomp=profile(rule("mkdir"), listenerPath="/run/agent.sock", flags=[])))
    box, kernel = recorded_box(set_seccomp_filter=0)
    step.apply(box)
    assert box.fds == {}
    assert kernel.calls[0][2] == 0
