"""The filter is compiled when it is planned, and loaded by one call."""

from __future__ import annotations

import types
from typing import Any

import pytest

from ocirt.box import Box
from ocirt.config.views import Linux
from ocirt.errors import OcirtError
from ocirt.stages.seccomp import LoadFilter, seccomp
from tests.support.profiles import Compiled, profile, rule


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


def test_notifications_are_refused_as_long_as_nobody_gets_them() -> None:
    value = profile(rule("mkdir", "NOTIFY"), listenerPath="/run/agent.sock")
    with pytest.raises(OcirtError) as refused:
        list(seccomp(linux(seccomp=value)))
    assert (refused.value.code, refused.value.at) == ("unsupported", "/linux/seccomp/listenerPath")
