"""cgroup v1: one directory per hierarchy.  On a hybrid host also one in the v2 hierarchy, as runc makes it.

Source: Documentation/admin-guide/cgroup-v1/ of the kernel; freezer-subsystem.rst for the states.
"""

from __future__ import annotations

import time

from ocirt import system as os
from ocirt.cgroups import Manager
from ocirt.cgroups.files import (
    GONE,
    make_directories,
    may_make,
    pids_below,
    read_file,
    remove_if_empty,
    remove_tree,
    write_file,
)
from ocirt.cgroups.layout import parse_own_cgroups
from ocirt.cgroups.writer import read_all, write_all
from ocirt.errors import OcirtError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ocirt.cgroups import Write
    from ocirt.cgroups.oom import OomWatch
    from ocirt.host import Host

SIGKILL = 9
# Freezing fails for good only when something keeps forking or sits in uninterruptible sleep.
FREEZE_DEADLINE = 2.0
# The hierarchies in which the processes are looked up, the best first: whoever pauses needs the freezer.
_FOR_PIDS = ("freezer", "devices", "pids", "memory", "name=systemd")


def v1_paths(host: Host, cgroups_path: str | None, container_id: str) -> dict[str, str]:
    """controller -> directory for every hierarchy of the host; see open_manager for the rules."""
    path = _normal(cgroups_path or container_id)
    absolute = (cgroups_path or "").startswith("/")
    mounts = dict(host.cgroup_mounts)
    if host.unified_mount:
        mounts[""] = host.unified_mount
    return {
        controller: (mount if absolute else own_directory(host, controller)) + path
        for controller, mount in mounts.items()
    }


def own_directory(host: Host, controller: str) -> str:
    """The runtime's own cgroup in a hierarchy, without a slash at the end."""
    return _directory(host, controller, host.own_cgroups.get(controller, "/"))


def _directory(host: Host, controller: str, path: str) -> str:
    """Where a cgroup that /proc/<pid>/cgroup calls path is in the file system.

    Inside a container the mount may show only a part of the hierarchy (its root), while /proc still
    says the whole path.
    """
    mount = host.cgroup_mounts[controller] if controller else host.unified_mount
    root = host.cgroup_roots.get(controller, "/")
    if root != "/" and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return (mount + "/" + path.strip("/")).rstrip("/")


def one_controller_each(paths: dict[str, str]) -> dict[str, str]:
    """directory -> controller, each directory once; memory is named wherever it is, others join it."""
    named = {directory: controller for controller, directory in reversed(paths.items())}
    if "memory" in paths:
        named[paths["memory"]] = "memory"
    return named


def _normal(path: str) -> str:
    """The path with one leading slash; ".." stops at the top (a cgroupsPath must not leave its hierarchy)."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def current_paths(host: Host, pid: int) -> dict[str, str]:
    """controller -> directory of the cgroup in which a process is now.  Raises OSError when it is gone."""
    own = parse_own_cgroups(read_file(f"/proc/{pid}", "cgroup"))
    mounts = {**host.cgroup_mounts, "": host.unified_mount} if host.unified_mount else host.cgroup_mounts
    return {controller: _directory(host, controller, own[controller]) for controller in mounts}


def sub_cgroups(paths: dict[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    """paths with the sub-cgroups of `exec --cgroup [CONTROLLER[,...]:]PATH`.  Raises UsageError."""
    chosen: dict[str, str] = {}
    for value in wanted:
        controllers, colon, path = value.rpartition(":")
        if not colon and len(wanted) > 1:
            raise UsageError(f"invalid --cgroup argument: {value} (missing <controller>: prefix)")
        for controller in controllers.split(",") if colon else paths:
            if colon and not controller:
                raise UsageError(f"invalid --cgroup argument: {value} (empty <controller> prefix)")
            if controller in chosen:
                raise UsageError(f"invalid --cgroup argument(s): controller {controller} specified multiple times")
            if controller not in paths:
                raise UsageError(f"unknown controller {controller} in --cgroup")
            chosen[controller] = path
    if any(".." in path.split("/") for path in chosen.values()):
        raise UsageError("bad sub cgroup path: .. leads out of the container's cgroup")
    return {name: (directory + _normal(chosen.get(name, ""))).rstrip("/") for name, directory in paths.items()}


class V1Manager(Manager):
    __slots__ = ()

    kind = "v1"

    # -- directories -----------------------------------------------------------------------------

    def directories(self) -> dict[str, str]:
        """directory -> one of its controllers: each hierarchy once, co-mounted controllers share one."""
        return one_controller_each(self.paths)

    def exists(self) -> bool:
        return os.path.isdir(self._process_directory())

    def create(self, bear_denial: bool = False) -> None:
        """On failure `made` holds what is there, so that remove() can take it back."""
        for directory in sorted(self.directories()):
            if bear_denial and not may_make(directory, self.made):
                self.paths = {name: path for name, path in self.paths.items() if path != directory}
                continue
            if not bear_denial:
                make_directories(directory, self.made)
            if directory not in self.made:
                _refuse_used(directory)
        if "cpuset" in self.paths:
            _fill_cpuset(self.paths["cpuset"])
        if self.frozen():
            raise OcirtError("cgroup", "container's cgroup unexpectedly frozen", detail=self.paths["freezer"])

    def open_for_join(self) -> dict[str, int]:
        opened: dict[str, int] = {}
        try:
            for directory, controller in self.directories().items():
                if controller:
                    opened[controller] = os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC)
                else:
                    opened[""] = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            for fd in opened.values():
                os.close(fd)
            raise
        return opened

    def join(self, pid: int) -> None:
        for directory in self.directories():
            write_file(directory, "cgroup.procs", str(pid))

    def remove(self) -> None:
        leaves = set(self.paths.values())
        for directory in reversed(self.made):
            if directory in leaves:
                remove_tree(directory)
            else:
                remove_if_empty(directory)

    # -- settings and figures --------------------------------------------------------------------

    def write(self, writes: Iterable[Write]) -> None:
        write_all(self.paths, writes)

    def read(self, writes: Iterable[Write]) -> tuple[Write, ...]:
        return read_all(self.paths, writes)

    def watch_oom(self) -> OomWatch:
        from ocirt.cgroups.oom import OomWatch

        if "memory" not in self.paths:
            raise OcirtError("cgroup", "no memory hierarchy is mounted: nothing tells of a lack of memory")
        return OomWatch(self.paths["memory"])

    def usage(self) -> dict[str, Any]:
        from ocirt.cgroups.usage import v1_usage  # `events` only: not worth its time to the hot verbs

        return v1_usage(self.paths)

    # -- processes -------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        return pids_below(self._process_directory())

    def _process_directory(self) -> str:
        return next(self.paths[name] for name in (*_FOR_PIDS, *self.paths) if name in self.paths)

    def kill(self, signal: int) -> None:
        """Frozen first, so that nothing forks away from the list."""
        freezable = "freezer" in self.paths
        was_frozen = self.frozen()
        if freezable and not was_frozen:
            _try_freeze(self.paths["freezer"])
        try:
            for pid in self.pids():
                try:
                    os.kill(pid, signal)
                except ProcessLookupError:
                    continue
        finally:
            if freezable and (signal == SIGKILL or not was_frozen):
                self.freeze(False)

    def frozen(self) -> bool:
        if "freezer" not in self.paths:
            return False
        try:
            state = read_file(self.paths["freezer"], "freezer.state")
            # A process that cannot stop just now keeps the state at FREEZING: paused all the same.
            return state == "FROZEN" or (
                state == "FREEZING" and read_file(self.paths["freezer"], "freezer.self_freezing") == "1"
            )
        except OSError as error:
            if error.errno in GONE:
                return False
            raise

    def freeze(self, on: bool) -> None:
        if "freezer" not in self.paths:
            raise OcirtError("cgroup", "no freezer hierarchy is mounted", remedy="mount the v1 freezer controller")
        directory = self.paths["freezer"]
        if not on:
            write_file(directory, "freezer.state", "THAWED")
        elif not _try_freeze(directory):
            write_file(directory, "freezer.state", "THAWED")
            raise OcirtError("cgroup", f"unable to freeze within {FREEZE_DEADLINE:.0f} s", detail=directory)


def _try_freeze(directory: str) -> bool:
    """Write FROZEN until it holds.  Processes that fork meanwhile are caught by writing again, those that
    do not stop by an occasional thaw (freezer-subsystem.rst).  False after FREEZE_DEADLINE."""
    deadline = time.monotonic() + FREEZE_DEADLINE
    attempt = 0
    while True:
        write_file(directory, "freezer.state", "FROZEN")
        if read_file(directory, "freezer.state") == "FROZEN":
            return True
        if time.monotonic() > deadline:
            return False
        attempt += 1
        if attempt % 50 == 0:
            write_file(directory, "freezer.state", "THAWED")
            time.sleep(0.01)
        else:
            time.sleep(0.0001)


def _refuse_used(directory: str) -> None:
    """A cgroup that was there before may be used if nobody is in it."""
    count = len(pids_below(directory))
    if count:
        raise OcirtError(
            "cgroup",
            f"container's cgroup is not empty: {count} process(es) found",
            detail=directory,
            at="/linux/cgroupsPath",
            remedy="choose another linux.cgroupsPath, or end the processes in it",
        )


def _fill_cpuset(directory: str) -> None:
    """A v1 cpuset is born without processors and nobody can join it: copy the parent's, from the top down.

    Only directories that are empty are filled; the walk begins at the first parent that is not.
    """
    to_fill: list[tuple[str, list[str]]] = []
    parent = directory
    try:
        while empty := [name for name in ("cpuset.cpus", "cpuset.mems") if not read_file(parent, name)]:
            to_fill.append((parent, empty))
            parent = parent.rpartition("/")[0]
    except FileNotFoundError:  # above the hierarchy's root
        raise OcirtError("cgroup", f"{directory} has no processors and no parent to copy them from") from None
    for child, empty in reversed(to_fill):
        for name in empty:
            write_file(child, name, read_file(parent, name))
        parent = child
