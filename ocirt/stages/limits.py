"""Resource limits and the OOM score.

The score, and in a user namespace the limits too, are set by the runtime on init while that waits: it may be allowed
what init is not.
config.md, POSIX process rlimits and oomScoreAdj; prlimit(2), proc_pid_oom_score_adj(5).
"""

from __future__ import annotations

from ocirt.pipeline import Step
from ocirt.stages.ask import Ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Process

# <asm-generic/resource.h>; index is the number.
RESOURCES = (
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
)
INFINITY = 2**64 - 1


LIMITS = "limits"  # the question, and so the name of the stage that answers


class SetRlimit(Step):
    """One of process.rlimits: prlimit(2)."""

    __slots__ = ("name", "soft", "hard")

    def __init__(self, at: str, name: str, soft: int, hard: int) -> None:
        self.at = at
        self.name = name
        self.soft = soft
        self.hard = hard

    def describe(self) -> str:
        return f"set {self.name} to {_spell(self.soft)}, at most {_spell(self.hard)}"

    def apply(self, box: Box) -> None:
        box.kernel.prlimit(box.pid, RESOURCES.index(self.name), self.soft, self.hard)


def _spell(value: int) -> str:
    return "unlimited" if value == INFINITY else str(value)


class SetOomScore(Step):
    """How likely the kernel kills it when memory runs out: proc_pid_oom_score_adj(5)."""

    __slots__ = ("score",)

    def __init__(self, at: str, score: int) -> None:
        self.at = at
        self.score = score

    def describe(self) -> str:
        return f"set oom_score_adj to {self.score}"

    def apply(self, box: Box) -> None:
        box.kernel.write_file(box.proc, f"{box.pid or 'self'}/oom_score_adj", str(self.score).encode())


def rlimits(process: Process | None, in_userns: bool) -> Iterator[Step]:
    """INIT, when its set-up is done: a small limit would end it.  Before the user changes: raising takes a privilege.

    The initial user namespace knows that privilege alone (prlimit(2), CAP_SYS_RESOURCE): init of another one asks
    the runtime.  Else it does it itself, for a question takes 0.2 ms.
    """
    if process is not None and process.rlimits:
        if in_userns:
            yield Ask(f"{process.at}/rlimits", LIMITS)
        else:
            yield from _set(process)


def rlimits_when_asked(process: Process | None, in_userns: bool) -> Iterator[Step]:
    """ANSWER to what rlimits() asks."""
    if process is not None and in_userns:
        yield from _set(process)


def _set(process: Process) -> Iterator[Step]:
    """The types are known, once each: config/checks_process.py."""
    for limit in process.rlimits:
        yield SetRlimit(limit.at, limit.type, limit.soft, limit.hard)


def oom_score_adj(process: Process | None) -> Iterator[Step]:
    """BESIDE, or JOINER on itself for init to inherit; nothing when it is not set."""
    if process is not None and process.oom_score_adj is not None:
        yield SetOomScore(f"{process.at}/oomScoreAdj", process.oom_score_adj)
