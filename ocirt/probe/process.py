"""What is set for the process itself: filters, modules, scheduling, limits; and the calls that look after it."""

from __future__ import annotations

import os

from ocirt.cgroups.layout import parse_resctrl_mount
from ocirt.criu.program import DIRECTORIES, find_program
from ocirt.kernel import flags as f
from ocirt.kernel.capabilities import CAPABILITIES
from ocirt.kernel.creds import capget, join_session_keyring, personality
from ocirt.kernel.policy import ioprio_set, sched_setattr, set_mempolicy, set_seccomp_filter
from ocirt.kernel.processes import (
    close_range,
    pidfd_getfd,
    pidfd_open,
    pidfd_send_signal,
    prlimit,
    set_no_new_privs,
)
from ocirt.kernel.questions import seccomp_action_known, seccomp_flag_known
from ocirt.probe import Check, Unavailable
from ocirt.probe.namespaces import run
from ocirt.probe.places import read, require, write
from ocirt.seccomp.profile import ACTIONS, FLAGS
from ocirt.stages.limits import RESOURCES
from ocirt.stages.scheduling import IO_CLASSES, MEMORY_MODES, POLICIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.host import Host

ALLOW_ALL = bytes.fromhex("0600000000 00ff7f".replace(" ", ""))  # BPF_RET | BPF_K, SECCOMP_RET_ALLOW
NO_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
LOW = 64  # descriptors; fewer than any service has


def checks(host: Host) -> Iterator[Check]:
    yield from _seccomp()
    yield Check("apparmor", "/process/apparmorProfile", lambda: apparmor(host))
    yield Check("selinux", "/process/selinuxLabel", lambda: selinux(host))
    yield Check("capabilities", "/process/capabilities", capabilities)
    yield Check("no_new_privileges", "/process/noNewPrivileges", no_new_privileges)
    yield Check("keyring", "", keyring)
    yield Check("rlimits.raise", "/process/rlimits", raise_limits)
    yield Check("oom_score.lower", "/process/oomScoreAdj", lower_oom_score)
    for policy in POLICIES:
        yield Check(f"scheduler.{policy}", "/process/scheduler", scheduler(policy))
    for name in IO_CLASSES:
        yield Check(f"io_priority.{name}", "/process/ioPriority", io_priority(name))
    yield Check("cpu_affinity", "/process/execCPUAffinity", affinity)
    for mode in MEMORY_MODES:
        yield Check(f"memory_policy.{mode}", "/linux/memoryPolicy", memory_policy(mode))
    yield Check("personality", "/linux/personality", linux32)
    yield Check("resctrl", "/linux/intelRdt", resctrl)
    yield Check("pidfd", "", pidfds)
    yield Check("close_range", "", marks_descriptors)
    yield Check("criu", "", criu)


def _seccomp() -> Iterator[Check]:
    yield Check("seccomp.filter", "/linux/seccomp", seccomp_filter)
    for name, action in sorted(ACTIONS.items()):
        yield Check(f"seccomp.{name}", "/linux/seccomp/syscalls/*/action", known(seccomp_action_known, action))
    for name in sorted(FLAGS):
        flag = getattr(f, name)
        yield Check(f"seccomp.{name}", "/linux/seccomp/flags", known(seccomp_flag_known, flag))
    yield Check("seccomp.notify", "/linux/seccomp/listenerPath", notify)


def known(ask: Callable[[int], bool], value: int) -> Callable[[], str]:
    def trial() -> str:
        require(ask(value), "this kernel does not know it")
        return ""

    return trial


def seccomp_filter() -> str:
    set_no_new_privs()
    set_seccomp_filter(ALLOW_ALL, 0)
    return ""


def notify() -> str:
    """A filter with a listener, Linux 5.0."""
    set_no_new_privs()
    os.close(set_seccomp_filter(ALLOW_ALL, f.SECCOMP_FILTER_FLAG_NEW_LISTENER))
    return ""


def apparmor(host: Host) -> str:
    require(host.apparmor, "the kernel has no AppArmor, or it is switched off")
    directory = "/proc/self/attr/apparmor"
    write(f"{directory if os.path.isdir(directory) else '/proc/self/attr'}/exec", "exec unconfined")
    return ""


def selinux(host: Host) -> str:
    require(host.selinux, "the kernel has no SELinux, or it is switched off")
    write("/proc/self/attr/exec", read("/proc/self/attr/current").rstrip("\0\n"))
    return ""


def capabilities() -> str:
    """Those of the runtime: a container gets no others."""
    permitted = capget()[1]
    missing = [name for number, name in enumerate(CAPABILITIES) if not permitted >> number & 1]
    require(len(missing) < len(CAPABILITIES), "the runtime has none itself")
    return f"without {' '.join(missing)}" if missing else "all of them"


def no_new_privileges() -> str:
    set_no_new_privs()
    return ""


def keyring() -> str:
    join_session_keyring("_ses.probe")
    return ""


def raise_limits() -> str:
    """A hard limit above the caller's: CAP_SYS_RESOURCE of the machine."""
    number = RESOURCES.index("RLIMIT_NOFILE")
    _, hard = prlimit(0, number, LOW, LOW)
    prlimit(0, number, LOW, hard)
    return ""


def lower_oom_score() -> str:
    write("/proc/self/oom_score_adj", str(max(-1000, int(read("/proc/self/oom_score_adj")) - 1)))
    return ""


def scheduler(policy: str) -> Callable[[], str]:
    def trial() -> str:
        times = {"runtime": 1000000, "deadline": 100000000, "period": 100000000} if policy == "SCHED_DEADLINE" else {}
        sched_setattr(POLICIES[policy], priority=int(policy in ("SCHED_FIFO", "SCHED_RR")), **times)
        return ""

    return trial


def io_priority(name: str) -> Callable[[], str]:
    def trial() -> str:
        ioprio_set(f.IOPRIO_WHO_PROCESS, 0, IO_CLASSES[name] << f.IOPRIO_CLASS_SHIFT)
        return ""

    return trial


def affinity() -> str:
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    return ""


def memory_policy(mode: str) -> Callable[[], str]:
    def trial() -> str:
        set_mempolicy(MEMORY_MODES[mode], () if mode in NO_NODES else (0,))
        return ""

    return trial


def linux32() -> str:
    personality(8)  # PER_LINUX32
    return ""


def resctrl() -> str:
    """Only looked for: each group takes one of the few that the processor has."""
    point = parse_resctrl_mount(read("/proc/self/mountinfo"))
    if point:
        require(os.access(point, os.W_OK), f"{point} cannot be written to")
        return f"at {point}: {' '.join(sorted(os.listdir(f'{point}/info')))}"
    offered = "\tresctrl\n" in read("/proc/filesystems")
    raise Unavailable("resctrl is not mounted" if offered else "the kernel or the processor has no resctrl")


def pidfds() -> str:
    """Linux 5.3 to 5.6."""
    descriptor = pidfd_open(os.getpid())
    pidfd_send_signal(descriptor, 0)
    os.close(pidfd_getfd(descriptor, descriptor))
    return ""


def marks_descriptors() -> str:
    """CLOSE_RANGE_CLOEXEC, Linux 5.11; without it descriptors are marked one by one."""
    close_range(1000, 1000, f.CLOSE_RANGE_CLOEXEC)
    return ""


def criu() -> str:
    """Checkpoints are made by this program."""
    found = find_program("criu")
    if not found:
        raise Unavailable(f"criu is in none of {' '.join(DIRECTORIES)}")
    run(found, "--version")
    return found
