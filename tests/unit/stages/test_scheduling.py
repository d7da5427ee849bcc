"""Numbers of scheduling settings, as the kernel's headers have them."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.config.views import Linux, Process
from ocirt.stages.scheduling import final_affinity, initial_affinity, scheduling
from tests.support.recorder import recorded_box


def applied(steps: Any) -> list[tuple[Any, ...]]:
    box, kernel = recorded_box()
    for step in steps:
        step.apply(box)
    return kernel.calls


def process(**members: Any) -> Process:
    return Process(members, "/process")


@pytest.mark.parametrize(
    ("scheduler", "call"),
    [
        ({"policy": "SCHED_BATCH", "nice": -3}, (3, 0, -3, 0, 0, 0, 0)),
        ({"policy": "SCHED_FIFO", "priority": 9, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, (1, 1, 0, 9, 0, 0, 0)),
        ({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}, (6, 0, 0, 0, 1, 2, 3)),
    ],
)
def test_scheduler(scheduler: dict[str, Any], call: tuple[int, ...]) -> None:
    assert applied(scheduling(process(scheduler=scheduler), None)) == [("sched_setattr", *call)]


def test_io_priority_is_of_the_process_group() -> None:
    wanted = process(ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 5})
    assert applied(scheduling(wanted, None)) == [("ioprio_set", 2, 0, 3 << 13 | 5)]


def test_execution_domain_and_memory_policy() -> None:
    linux = Linux(
        {
            "personality": {"domain": "LINUX32"},
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1, 3", "flags": ["MPOL_F_STATIC_NODES"]},
        },
        "/linux",
    )
    assert applied(scheduling(process(), linux)) == [("personality", 8), ("set_mempolicy", 2 | 1 << 15, (0, 1, 3))]


def test_affinity_belongs_to_exec_alone() -> None:
    assert applied(scheduling(process(execCPUAffinity={"initial": "0"}), None)) == []


@pytest.mark.parametrize(
    ("affinity", "before", "after"),
    [
        ({"initial": "0-1", "final": "1"}, [("sched_setaffinity", 0, (0, 1))], [("sched_setaffinity", 0, (1,))]),
        ({"initial": "0"}, [("sched_setaffinity", 0, (0,))], []),
        ({"final": "1"}, [], [("sched_setaffinity", 0, (1,))]),
        (None, [], [("allow_all_cpus",)]),
    ],
)
def test_affinity_before_and_after_the_cgroup(affinity: Any, before: Any, after: Any) -> None:
    wanted = process(execCPUAffinity=affinity) if affinity else process()
    assert applied(initial_affinity(wanted)) == before
    assert applied(final_affinity(wanted)) == after
