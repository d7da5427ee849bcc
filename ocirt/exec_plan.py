"""What `exec` does, in order: enter a running container and become a process in it."""

from __future__ import annotations

from ocirt import system as os
from ocirt.errors import StateError
from ocirt.kernel.flags import CLONE_NEWCGROUP, CLONE_NEWNS, CLONE_NEWUSER
from ocirt.pipeline import ANSWER, BESIDE, HOST, INIT, JOINER, START, Plan, Stage, Step
from ocirt.process_plan import (
    cgroup_stage,
    console,
    keyring,
    lsm,
    prepare_process,
    process_stages,
    seccomp,
    seccomp_listener,
)
from ocirt.stages.descriptors import close_host_descriptors
from ocirt.stages.limits import LIMITS, oom_score_adj, rlimits, rlimits_when_asked
from ocirt.stages.namespaces import NAMESPACES, has_namespace, joined_namespaces, prepare
from ocirt.stages.payload import payload
from ocirt.stages.scheduling import final_affinity, initial_affinity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.config.views import Config, Process
    from ocirt.container import Container
    from ocirt.host import Host


class FindNamespaces(Step):
    """Host: hold init by a pidfd, and see which of its namespaces are not our own."""

    __slots__ = ("container",)

    def __init__(self, container: Container) -> None:
        self.at = ""
        self.container = container

    def describe(self) -> str:
        return f"find the namespaces of init, process {self.container.pid}"

    def apply(self, box: Box) -> None:
        pidfd = self.container.open_pidfd()
        if pidfd is None:
            raise StateError("status", "cannot exec in a stopped container")
        box.fds["init"] = pidfd
        pid = self.container.pid
        box.facts["namespaces"] = sum(
            flag
            for flag, name in NAMESPACES.values()
            if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
        )
        box.root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


class EnterNamespaces(Step):
    """Joiner: setns(2) by the pidfd; the user namespace last, it gives up the rights over the others.

    without: CLONE_NEW* of what is left to the process itself.
    """

    __slots__ = ("user_last", "without")

    def __init__(self, user_last: bool, without: int = 0) -> None:
        self.at = "/linux/namespaces"
        self.user_last = user_last
        self.without = without

    def describe(self) -> str:
        return "enter the namespaces of init"

    def apply(self, box: Box) -> None:
        wanted = int(box.facts["namespaces"]) & ~self.without
        box.kernel.set_dumpable(0)
        last = wanted & CLONE_NEWUSER if self.user_last else 0
        for flags in (wanted & ~last, last):
            if flags:
                box.kernel.setns(box.fds["init"], flags)
        if not wanted & CLONE_NEWNS:  # a container without a mount namespace is a changed root
            box.kernel.fchdir(box.root)
            box.kernel.chroot(".")


class EnterCgroupNamespace(Step):
    """Init on cgroup v2: from inside, nsdelegate would not have let it be born in the container's cgroup."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = "/linux/namespaces"

    def describe(self) -> str:
        return "enter the cgroup namespace of init"

    def apply(self, box: Box) -> None:
        if int(box.facts["namespaces"]) & CLONE_NEWCGROUP:
            box.kernel.setns(box.fds["init"], CLONE_NEWCGROUP)


class OpenRoot(Step):
    """The container's root as this process sees it."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "open the container's root"

    def apply(self, box: Box) -> None:
        os.close(box.root)
        box.root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def make_exec_plan(
    config: Config, process: Process, container: Container, host: Host, preserve_fds: int, cgroups: tuple[str, ...]
) -> Plan:
    """config: of the container; process: what is to run; cgroups: values of --cgroup."""
    linux = config.linux
    record = container.record["cgroup"]
    attaches = attaches_to_unit(host, record)
    cgroup = cgroup_stage(host, "systemd" if attaches else "cgroupfs")
    early_filter = not process.no_new_privileges
    in_userns = has_namespace(linux, "user")
    # Of a namespace that was joined the owner may be somebody else: then only the joiner has the right to it.
    enters_cgroup = host.cgroup == "v2" and not (in_userns and "cgroup" in joined_namespaces(linux))
    without = CLONE_NEWCGROUP if enters_cgroup else 0
    return Plan(
        Stage("namespaces", HOST, (FindNamespaces(container),)),
        Stage("cgroup", HOST, cgroup.open_existing(host, record, container.pid, cgroups) if record else ()),
        # Of the parent: on v2 the process is born in a cgroup whose cpuset may have none of these CPUs.
        Stage("affinity", JOINER, initial_affinity(process)),
        # Of the parent, too: the file of a process that is not dumpable is closed to a user.
        Stage("limits", JOINER, oom_score_adj(process)),
        Stage("namespaces", JOINER, (EnterNamespaces(host.euid == 0 and not host.userns, without),)),
        Stage("cgroup", BESIDE, cgroup.attach(record, cgroups) if attaches else ()),
        Stage("resctrl", BESIDE, resctrl(container)),
        Stage("cgroup", INIT, cgroup.join_existing(host) if record else (), final_affinity(process)),
        Stage("namespaces", INIT, (EnterCgroupNamespace(),) if enters_cgroup else ()),
        Stage("prepare", INIT, (OpenRoot(),), prepare(linux), keyring(container.id, False, in_userns, process)),
        Stage("console", INIT, console(process, bind=False)),
        Stage("finish", INIT, lsm(process, host)),
        Stage("process", INIT, prepare_process(process, linux)),
        Stage("cgroup", INIT, cgroup.join_existing_late(host, record) if record else ()),
        Stage("close", INIT, close_host_descriptors(preserve_fds)),
        Stage("limits", INIT, rlimits(process, in_userns)),
        Stage(LIMITS, ANSWER, rlimits_when_asked(process, in_userns)),
        *process_stages(process, linux, host, in_userns or host.userns, early_filter, config.annotations),
        Stage("listener", ANSWER, seccomp_listener(linux, container.state)),
        Stage("exec", START, payload(process, preserve_fds, (), () if early_filter else seccomp(linux, host))),
        clone_flags=0,
        via_joiner=True,
        executes_at_once=True,
    )


def resctrl(container: Container) -> Iterator[Step]:
    if "resctrl" in container.record:
        from ocirt.stages import resctrl as stage

        yield from stage.join_recorded(container.record["resctrl"])


def attaches_to_unit(host: Host, record: dict[str, Any] | None) -> bool:
    """Whether only a user's systemd can bring a process into the container's cgroup."""
    if not record or not record.get("user"):
        return False
    from ocirt.stages.cgroup_systemd import must_attach

    return must_attach(host, record)
