"""When and where the process runs: scheduler, I/O priority, execution domain, memory policy, CPU affinity.

config.md, Linux Process; config-linux.md, Memory policy and Personality.  That the numbers go with each
other is held by config/checks_process.py and checks_linux.py.

User documentation: sched_setattr(2), ioprio_set(2), personality(2), set_mempolicy(2), sched_setaffinity(2).
"""

from __future__ import annotations

from ocirt.config.lists import members
from ocirt.kernel.flags import IOPRIO_CLASS_SHIFT, IOPRIO_WHO_PGRP
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Linux, Process

# <linux/sched.h>
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,  # reserved by the kernel, never implemented: EINVAL
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# <linux/ioprio.h>
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
# <linux/personality.h>
DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
# <linux/mempolicy.h>
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}


class SetScheduler(Step):
    """Policy, nice value, priority or deadline: sched_setattr(2)."""

    __slots__ = ("policy", "flags", "nice", "priority", "runtime", "deadline", "period")

    def __init__(
        self, at: str, policy: str, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int
    ) -> None:
        self.at = at
        self.policy = policy
        self.flags = flags
        self.nice = nice
        self.priority = priority
        self.runtime = runtime
        self.deadline = deadline
        self.period = period

    def describe(self) -> str:
        return f"schedule by {self.policy}, nice {self.nice}, priority {self.priority}"

    def apply(self, box: Box) -> None:
        box.kernel.sched_setattr(
            POLICIES[self.policy], self.flags, self.nice, self.priority, self.runtime, self.deadline, self.period
        )


class SetIoPriority(Step):
    """Of the process group: init leads one, and so do its children until they leave it."""

    __slots__ = ("io_class", "priority")

    def __init__(self, at: str, io_class: str, priority: int) -> None:
        self.at = at
        self.io_class = io_class
        self.priority = priority

    def describe(self) -> str:
        return f"set the I/O priority to {self.io_class} {self.priority}"

    def apply(self, box: Box) -> None:
        box.kernel.ioprio_set(IOPRIO_WHO_PGRP, 0, IO_CLASSES[self.io_class] << IOPRIO_CLASS_SHIFT | self.priority)


class SetPersonality(Step):
    """The execution domain: personality(2)."""

    __slots__ = ("domain",)

    def __init__(self, at: str, domain: str) -> None:
        self.at = at
        self.domain = domain

    def describe(self) -> str:
        return f"set the execution domain to {self.domain}"

    def apply(self, box: Box) -> None:
        box.kernel.personality(DOMAINS[self.domain])


class SetMemoryPolicy(Step):
    """On which nodes memory is allocated: set_mempolicy(2)."""

    __slots__ = ("mode", "flags", "nodes")

    def __init__(self, at: str, mode: str, flags: int, nodes: tuple[int, ...]) -> None:
        self.at = at
        self.mode = mode
        self.flags = flags
        self.nodes = nodes

    def describe(self) -> str:
        return f"set the memory policy to {self.mode}, nodes {list(self.nodes)}"

    def apply(self, box: Box) -> None:
        box.kernel.set_mempolicy(MEMORY_MODES[self.mode] | self.flags, self.nodes)


class SetAffinity(Step):
    """The processors of a process of exec: sched_setaffinity(2)."""

    __slots__ = ("cpus",)

    def __init__(self, at: str, cpus: tuple[int, ...]) -> None:
        self.at = at
        self.cpus = cpus

    def describe(self) -> str:
        return f"run on CPUs {list(self.cpus)}"

    def apply(self, box: Box) -> None:
        box.kernel.sched_setaffinity(0, self.cpus)


class ResetAffinity(Step):
    """All CPUs: since Linux 6.2 a cpuset leaves in force what the caller was bound to, systemd's CPUAffinity= say."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "run on all CPUs of the cpuset"

    def apply(self, box: Box) -> None:
        box.kernel.allow_all_cpus()


def scheduling(process: Process, linux: Linux | None) -> Iterator[Step]:
    """INIT, before the user changes: real-time policies need CAP_SYS_NICE."""
    wanted = process.scheduler
    if wanted is not None:
        flags = sum(SCHED_FLAGS[flag] for flag in set(wanted.flags))
        numbers = (wanted.nice, wanted.priority, wanted.runtime, wanted.deadline, wanted.period)
        yield SetScheduler(wanted.at, wanted.policy, flags, *(number or 0 for number in numbers))
    if process.io_priority is not None:
        yield SetIoPriority(process.io_priority.at, process.io_priority.class_, process.io_priority.priority)
    if linux is None:
        return
    if linux.personality is not None:
        yield SetPersonality(f"{linux.personality.at}/domain", linux.personality.domain)
    policy = linux.memory_policy
    if policy is not None:
        flags = sum(MEMORY_FLAGS[flag] for flag in set(policy.flags))
        yield SetMemoryPolicy(policy.at, policy.mode, flags, members(policy.nodes or ""))


def initial_affinity(process: Process) -> Iterator[Step]:
    """JOINER of exec: the process inherits it, and has it before it enters the container's cgroup (config.md,
    execCPUAffinity)."""
    affinity = process.exec_cpu_affinity
    if affinity is not None and affinity.initial:
        yield SetAffinity(f"{affinity.at}/initial", members(affinity.initial))


def final_affinity(process: Process) -> Iterator[Step]:
    """exec only, after it entered the container's cgroup; without any wish the caller's is forgotten."""
    affinity = process.exec_cpu_affinity
    if affinity is not None and affinity.final:
        yield SetAffinity(f"{affinity.at}/final", members(affinity.final))
    elif affinity is None or not affinity.initial:
        yield ResetAffinity()
