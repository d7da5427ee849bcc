"""The five sets, and what cannot be granted."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ocirt import log
from ocirt.config.views import Process
from ocirt.errors import KernelError
from ocirt.kernel.capabilities import CAPABILITIES, names_of
from ocirt.stages.capabilities import (
    LimitBoundingSet,
    SetCapabilities,
    limit_capabilities,
    mask_of,
    set_capabilities,
)
from tests.support.recorder import kernel_error, recorded_box

CHOWN, KILL, SETPCAP = 1 << 0, 1 << 5, 1 << 8
ALL = (1 << len(CAPABILITIES)) - 1


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(log, "warning", said.append)
    return said


def process(**sets: list[str]) -> Process:
    return Process({"cwd": "/", "capabilities": sets}, "/process")


def test_masks_have_the_kernels_numbers() -> None:
    assert mask_of(("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "CAP_CHOWN", "CAP_NO_SUCH")) == 1 | 1 << 40


def test_names_of_a_mask_include_what_the_table_does_not_know() -> None:
    assert names_of(CHOWN | KILL | 1 << 63) == "CAP_CHOWN, CAP_KILL, capability 63"


def test_what_is_not_wanted_is_dropped_up_to_the_last_one_that_the_kernel_knows() -> None:
    box, kernel = recorded_box(drop_bounding=[None] * 3 + [kernel_error(errno.EINVAL)])
    LimitBoundingSet("", KILL | CHOWN | 1 << 2).apply(box)
    assert kernel.calls == [("drop_bounding", number) for number in (1, 3, 4, 6)]


def test_who_may_drop_nothing_need_not_drop_what_is_not_there() -> None:
    refused = kernel_error(errno.EPERM, "prctl")
    box, kernel = recorded_box(drop_bounding=refused, read_bounding=0)
    LimitBoundingSet("", ALL).apply(box)
    assert kernel.calls[:4] == [
        ("drop_bounding", 41),
        ("read_bounding", 1 << 41),
        ("drop_bounding", 42),
        ("read_bounding", 1 << 42),
    ]
    box, kernel = recorded_box(drop_bounding=refused, read_bounding=CHOWN)
    with pytest.raises(KernelError) as caught:
        LimitBoundingSet("", KILL).apply(box)
    assert caught.value is refused
    assert kernel.calls == [("drop_bounding", 0), ("read_bounding", CHOWN)]


def test_sets_are_set_exactly(warnings: list[str]) -> None:
    box, kernel = recorded_box(capget=(ALL, ALL, 0), read_bounding=ALL)
    SetCapabilities("", CHOWN, CHOWN | KILL, KILL, KILL).apply(box)
    assert kernel.calls == [
        ("set_keepcaps", False),
        ("capget",),
        ("read_bounding", KILL),
        ("clear_ambient",),
        ("capset", CHOWN, CHOWN | KILL, KILL),
        ("raise_ambient", 5),
    ]
    assert warnings == []


def test_what_the_runtime_does_not_have_is_a_warning(warnings: list[str]) -> None:
    box, kernel = recorded_box(capget=(KILL, KILL, 0), read_bounding=KILL)
    SetCapabilities("", CHOWN | KILL, CHOWN | KILL, CHOWN, 0).apply(box)
    assert ("capset", KILL, KILL, 0) in kernel.calls
    assert warnings == ["capabilities that cannot be granted: CAP_CHOWN"]


def test_an_ambient_capability_that_is_refused_is_a_warning(warnings: list[str]) -> None:
    box, _ = recorded_box(capget=(ALL, ALL, 0), read_bounding=ALL, raise_ambient=kernel_error(errno.EPERM))
    SetCapabilities("", KILL, KILL, KILL, KILL).apply(box)
    assert warnings == ["capabilities that cannot be granted: CAP_KILL"]


def test_what_is_not_both_permitted_and_inheritable_is_not_raised(warnings: list[str]) -> None:
    box, kernel = recorded_box(capget=(ALL, ALL, 0), read_bounding=ALL)
    SetCapabilities("", 0, CHOWN | SETPCAP, KILL | SETPCAP, CHOWN | KILL | SETPCAP).apply(box)
    assert kernel.calls[-1] == ("raise_ambient", 8)
    assert kernel.names().count("raise_ambient") == 1
    assert warnings == ["capabilities that cannot be granted: CAP_CHOWN, CAP_KILL"]


def test_absent_capabilities_drop_everything() -> None:
    bare = Process({"cwd": "/"}, "/process")
    limit, _ = limit_capabilities(bare)
    (sets,) = set_capabilities(bare)
    box, kernel = recorded_box(read_bounding=0, capget=(ALL, ALL, 0))
    limit.apply(box)
    sets.apply(box)
    assert [call[1] for call in kernel.calls if call[0] == "drop_bounding"] == list(range(64))
    assert ("capset", 0, 0, 0) in kernel.calls


def test_an_empty_object_means_none_at_its_pointer() -> None:
    (step,) = set_capabilities(process())
    assert step.at == "/process/capabilities"
    assert step.describe() == "set capabilities: effective none; permitted none; inheritable none; ambient none"


def test_every_set_comes_from_its_own_member() -> None:
    wanted: Any = process(
        bounding=["CAP_SETPCAP"],
        effective=["CAP_CHOWN"],
        permitted=["CAP_KILL", "CAP_LEASE"],
        inheritable=["CAP_FOWNER", "CAP_LEASE"],
        ambient=["CAP_LEASE"],
    )
    limit, _ = limit_capabilities(wanted)
    (sets,) = set_capabilities(wanted)
    assert isinstance(limit, LimitBoundingSet)
    assert limit.mask == SETPCAP
    assert isinstance(sets, SetCapabilities)
    lease = 1 << 28
    assert (sets.effective, sets.permitted) == (CHOWN, KILL | lease)
    assert (sets.inheritable, sets.ambient) == (1 << 3 | lease, lease)


def test_what_is_never_raised_is_not_asked_for() -> None:
    """config/checks.py has warned of it."""
    for one, other in (("permitted", "inheritable"), ("inheritable", "permitted")):
        (step,) = set_capabilities(process(ambient=["CAP_KILL"], **{one: ["CAP_KILL"], other: ["CAP_CHOWN"]}))
        assert isinstance(step, SetCapabilities)
        assert step.ambient == 0
