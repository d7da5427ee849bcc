"""The part of the plan that create and exec share: what a process becomes before it executes."""

from __future__ import annotations

from ocirt.pipeline import INIT, Stage
from ocirt.stages.directory import working_directory
from ocirt.stages.identity import home, identity, umask
from ocirt.stages.payload import executable, no_new_privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

    from ocirt.config.views import Linux, Process
    from ocirt.host import Host
    from ocirt.pipeline import Step
    from ocirt.seccomp.watcher import Watch


def prepare_process(process: Process | None, linux: Linux | None) -> Iterator[Step]:
    """INIT, as root and before any filter: what needs the host's descriptors, or calls that a filter may refuse."""
    if process is not None:
        yield from no_new_privileges(process)
        yield from scheduling(process, linux)
        yield from umask(process)
        yield from working_directory(process)
        yield from home(process)


def process_stages(
    process: Process | None,
    linux: Linux | None,
    host: Host,
    in_userns: bool,
    early_filter: bool,
    annotations: dict[str, str],
    watch: Watch | None = None,
) -> tuple[Stage, ...]:
    """What the process becomes, the same for create and exec.

    The program is looked up at the end of create, with the user's own rights: a missing one is an error of
    create, not of start.
    """
    if process is None:
        return ()
    return (
        Stage("landlock", INIT, landlock(annotations)),
        Stage("seccomp", INIT, seccomp(linux, host, watch) if early_filter else ()),
        Stage("identity", INIT, identity(process, in_userns)),
        Stage("executable", INIT, executable(process)),
    )


# What few containers need is imported only for them: 0.1 ms each.


def keyring(container_id: str, unwanted: bool, in_userns: bool, process: Process | None) -> Iterator[Step]:
    if unwanted:
        return
    from ocirt.stages.keyring import session_keyring

    steps = session_keyring(f"_ses.{container_id}", in_userns)
    if process is not None and process.selinux_label:
        from ocirt.stages.lsm import labelled_keys

        steps = labelled_keys(steps, process)
    yield from steps


def console(process: Process | None, *, bind: bool = True) -> Iterator[Step]:
    """bind: also as /dev/console, which exec does not."""
    if process is not None and process.terminal:
        from ocirt.stages import console as stage

        yield from stage.console(process, bind)


def lsm(process: Process | None, host: Host) -> Iterator[Step]:
    if process is not None and (process.apparmor_profile or process.selinux_label):
        from ocirt.stages import lsm as stage

        yield from stage.lsm(process, host)


def scheduling(process: Process, linux: Linux | None) -> Iterator[Step]:
    if process.scheduler or process.io_priority or (linux and (linux.personality or linux.memory_policy)):
        from ocirt.stages import scheduling as stage

        yield from stage.scheduling(process, linux)


def landlock(annotations: dict[str, str]) -> Iterator[Step]:
    if any(name.startswith("ocirt.landlock.") for name in annotations):
        from ocirt.stages import landlock as stage

        yield from stage.landlock(annotations)


def seccomp(linux: Linux | None, host: Host, watch: Watch | None = None) -> Iterator[Step]:
    if watch is not None:
        from ocirt.stages import watch as watching

        yield from watching.watched_filter(watch)
    elif linux is not None and linux.seccomp is not None:
        from ocirt.seccomp import notifies
        from ocirt.stages import seccomp as stage

        yield from stage.seccomp(linux)
        if notifies(linux.seccomp):
            from ocirt.stages import listener

            yield from listener.hand_over(linux.seccomp, host)


def seccomp_listener(linux: Linux | None, state: Callable[[], dict[str, Any]]) -> Iterator[Step]:
    """ANSWER.  state: of the container, see stages/listener.py."""
    if linux is not None and linux.seccomp is not None:
        from ocirt.seccomp import notifies

        if notifies(linux.seccomp):
            from ocirt.stages import listener

            yield from listener.listener(linux.seccomp, state())


def cgroup_stage(host: Host, manager: str = "cgroupfs") -> ModuleType:
    """cgroup_v1, cgroup_v2 or, for create, cgroup_systemd or cgroup_none, which offer the same functions."""
    if manager == "systemd":
        from ocirt.stages import cgroup_systemd

        return cgroup_systemd
    if manager == "disabled":
        from ocirt.stages import cgroup_none

        return cgroup_none
    if host.cgroup == "v2":
        from ocirt.stages import cgroup_v2

        return cgroup_v2
    from ocirt.stages import cgroup_v1

    return cgroup_v1
