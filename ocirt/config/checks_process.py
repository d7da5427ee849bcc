"""The rules of a process, see checks.py.  Pointers are those of the view: /process/... or from the file of exec on."""

from __future__ import annotations

from ocirt import log
from ocirt.config.lists import is_list
from ocirt.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.config.views import Process

MAX_ID = 2**32 - 2  # 2^32-1 is "no change" to setresuid(2), and would leave the process root

# getrlimit(2): those of Linux
RLIMITS = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)


def cwd(process: Process) -> Iterator[ConfigError]:
    if not process.cwd:
        yield ConfigError("rule", "Cwd property must not be empty", at=f"{process.at}/cwd")
    elif not process.cwd.startswith("/"):
        yield ConfigError("rule", "Cwd must be an absolute path", at=f"{process.at}/cwd")


def args(process: Process) -> Iterator[ConfigError]:
    if not process.args:
        yield ConfigError("rule", "args must not be empty", at=f"{process.at}/args")


def env(process: Process) -> Iterator[ConfigError]:
    for i, entry in enumerate(process.env):
        if entry.find("=") < 1:
            yield ConfigError("rule", f"{log.quote(entry)} is not of the form NAME=value", at=f"{process.at}/env/{i}")


def ids(process: Process) -> Iterator[ConfigError]:
    user = process.user
    numbers = [("uid", user.uid), ("gid", user.gid)]
    numbers += [(f"additionalGids/{i}", gid) for i, gid in enumerate(user.additional_gids)]
    for name, number in numbers:
        if number > MAX_ID:
            yield ConfigError(
                "rule", f"{number} is not a user or group id, which end at {MAX_ID}", at=f"{user.at}/{name}"
            )
    if (user.umask or 0) > 0o777:
        yield ConfigError("rule", f"umask {user.umask} has more than the nine permission bits", at=f"{user.at}/umask")


def rlimits(process: Process) -> Iterator[ConfigError]:
    """config.md, POSIX process: known, once each; setrlimit(2): soft <= hard."""
    seen = set()
    for rlimit in process.rlimits:
        if rlimit.type not in RLIMITS:
            yield ConfigError("rule", f"wrong rlimit value: {rlimit.type}", at=f"{rlimit.at}/type")
        if rlimit.type in seen:
            yield ConfigError("rule", f"{rlimit.type} is given twice", at=f"{rlimit.at}/type")
        if rlimit.soft > rlimit.hard:
            yield ConfigError(
                "rule", f"the soft limit {rlimit.soft} is above the hard limit {rlimit.hard}", at=f"{rlimit.at}/soft"
            )
        seen.add(rlimit.type)


def oom_score(process: Process) -> Iterator[ConfigError]:
    """proc_pid_oom_score_adj(5)."""
    score = process.oom_score_adj
    if score is not None and not -1000 <= score <= 1000:
        yield ConfigError("rule", f"oomScoreAdj {score} is not from -1000 to 1000", at=f"{process.at}/oomScoreAdj")


def console(process: Process) -> Iterator[ConfigError]:
    """config.md, Process: consoleSize counts only with a terminal; struct winsize has 16 bits."""
    size = process.console_size
    if process.terminal and size is not None:
        for name, length in (("height", size.height), ("width", size.width)):
            if length > 65535:
                yield ConfigError("rule", "a terminal has at most 65535 rows and columns", at=f"{size.at}/{name}")


def scheduler(process: Process) -> Iterator[ConfigError]:
    """config.md, Linux Process; sched_setattr(2): which numbers go with which policy."""
    wanted = process.scheduler
    if wanted is None:
        return
    policy, at = wanted.policy, wanted.at
    if not -20 <= (wanted.nice or 0) <= 19:
        yield ConfigError("rule", f"nice {wanted.nice} is not from -20 to 19", at=f"{at}/nice")
    if wanted.nice and policy not in ("SCHED_OTHER", "SCHED_BATCH"):
        yield ConfigError("rule", "nice goes only with SCHED_OTHER and SCHED_BATCH", at=f"{at}/nice")
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= (wanted.priority or 0) <= 99:
            yield ConfigError("rule", f"{policy} needs a priority from 1 to 99", at=f"{at}/priority")
    elif wanted.priority:
        yield ConfigError("rule", "priority goes only with SCHED_FIFO and SCHED_RR", at=f"{at}/priority")
    times = (("runtime", wanted.runtime), ("deadline", wanted.deadline), ("period", wanted.period))
    for name, value in times:
        if value and policy != "SCHED_DEADLINE":
            yield ConfigError("rule", f"{name} goes only with SCHED_DEADLINE", at=f"{at}/{name}")


def io_priority(process: Process) -> Iterator[ConfigError]:
    """config.md, Linux Process: a priority from 0 (highest) to 7."""
    wanted = process.io_priority
    if wanted is None:
        return
    if not wanted.has("priority"):
        yield ConfigError("rule", 'the required property "priority" is missing', at=wanted.at)
    elif not 0 <= wanted.priority <= 7:
        yield ConfigError("rule", f"the I/O priority {wanted.priority} is not from 0 to 7", at=f"{wanted.at}/priority")


def exec_affinity(process: Process) -> Iterator[ConfigError]:
    affinity = process.exec_cpu_affinity
    if affinity is not None:
        for name, cpus in (("initial", affinity.initial), ("final", affinity.final)):
            if cpus and not is_list(cpus):
                yield ConfigError(
                    "rule", f"{log.quote(cpus)} is not a list of CPUs such as 0-3,7", at=f"{affinity.at}/{name}"
                )


RULES = (
    ("", cwd),
    ("", args),
    ("env", env),
    ("user", ids),
    ("rlimits", rlimits),
    ("oomScoreAdj", oom_score),
    ("consoleSize", console),
    ("scheduler", scheduler),
    ("ioPriority", io_priority),
    ("execCPUAffinity", exec_affinity),
)
