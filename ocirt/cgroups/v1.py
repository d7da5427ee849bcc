"""cgroup v1: one directory per hierarchy.  On a hybrid host also one in the v2 hierarchy, as runc makes it.

Source: Documentation/admin-guide/cgroup-v1/ of the kernel; freezer-subsystem.rst for the states.
"""

from __future__ import annotations

import time

from ocirt import system as os
from ocirt.cgroups import Manager
from ocirt.cgroups.claim import make_and_lock, new_mark
from ocirt.cgroups.files import (
    GONE,
    SIGKILL,
    kill_all,
    make_directories,
    may_make,
    pids_below,
    read_file,
    refuse_used,
    write_file,
)
from ocirt.cgroups.paths import one_controller_each
from ocirt.cgroups.writer import not_mounted, read_all, write_all
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ocirt.cgroups import Write
    from ocirt.cgroups.oom import OomWatch
    from ocirt.config.views import Resources

UNLIMITED = 2**62  # what memory.limit_in_bytes says without a limit depends on the size of a page
# Freezing fails for good only when something keeps forking or sits in uninterruptible sleep.
FREEZE_DEADLINE = 2.0
# The hierarchies in which the processes are looked up, the best first: whoever pauses needs the freezer.
_FOR_PIDS = ("freezer", "devices", "pids", "memory", "name=systemd")
_CPUSET = ("cpuset.cpus", "cpuset.mems")  # what a cpuset cannot be joined without


class V1Manager(Manager):
    __slots__ = ()

    kind = "v1"

    # -- directories -----------------------------------------------------------------------------

    def directories(self) -> dict[str, str]:
        """directory -> one of its controllers: each hierarchy once, co-mounted controllers share one."""
        return one_controller_each(self.paths)

    def exists(self) -> bool:
        return os.path.isdir(self.home())

    def create(self, bear_denial: bool = False) -> None:
        """On failure `made` holds what is there, so that remove() can take it back."""
        if bear_denial:
            self.paths = {name: path for name, path in self.paths.items() if may_make(path, self.made)}
            if not self.paths:
                return
        for directory in dict.fromkeys((self.home(), *sorted(self.directories()))):
            if self.lock < 0:
                self.lock = make_and_lock(directory, self.made)
            else:
                make_directories(directory, self.made)
            if directory not in self.made:
                refuse_used(directory)
        if "cpuset" in self.paths:
            _fill_cpuset(self.paths["cpuset"], self.made)
        if self.frozen():
            raise OcirtError("cgroup", "container's cgroup unexpectedly frozen", detail=self.paths["freezer"])
        self.token = new_mark(self.home())

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

    # -- settings and figures --------------------------------------------------------------------

    def limits(self, resources: Resources | None, *, devices: bool = True) -> tuple[Write, ...]:
        """Raises OcirtError("cgroup") too, when the host does not have a controller."""
        from ocirt.cgroups.limits import limits

        writes = limits(resources, devices=devices)
        for write in writes:
            if write.controller not in self.paths:
                raise not_mounted(write)
        return writes

    def write(self, writes: Iterable[Write]) -> None:
        write_all(self.paths, writes)

    def read(self, writes: Iterable[Write]) -> tuple[Write, ...]:
        return read_all(self.paths, writes)

    def watch_oom(self) -> OomWatch:
        from ocirt.cgroups.oom import OomWatch

        if "memory" not in self.paths:
            raise OcirtError("cgroup", "no memory hierarchy is mounted: nothing tells of a lack of memory")
        return OomWatch(self.paths["memory"])

    def oom_kills(self) -> int:
        try:
            return int(read_file(self.paths["memory"], "memory.oom_control").rpartition("oom_kill ")[2])
        except (KeyError, OSError, ValueError):
            return 0

    def memory_limit(self) -> int:
        try:
            limit = int(read_file(self.paths["memory"], "memory.limit_in_bytes"))
        except (KeyError, OSError, ValueError):
            return 0
        return limit if limit < UNLIMITED else 0

    def usage(self) -> dict[str, Any]:
        from ocirt.cgroups.usage import v1_usage  # not worth its time to the hot verbs

        return v1_usage(self.paths)

    # -- processes -------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        return pids_below(self.home())

    def home(self) -> str:
        return next(self.paths[name] for name in (*_FOR_PIDS, *self.paths) if name in self.paths)

    def kill(self, signal: int) -> None:
        """Frozen first, so that nothing forks away from the list."""
        freezable = "freezer" in self.paths
        was_frozen = self.frozen()
        if freezable and not was_frozen:
            _try_freeze(self.paths["freezer"])
        try:
            kill_all(self.pids(), signal)
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


def _fill_cpuset(directory: str, made: list[str]) -> None:
    """A v1 cpuset is born without processors and nobody can join it: copy the parent's, from the top down.

    Only directories that are empty, as those just made are, are filled; the walk begins at the first parent that is
    not.
    """
    to_fill: list[tuple[str, dict[str, str]]] = []
    parent = directory
    try:
        while not all((values := dict.fromkeys(_CPUSET, "") if parent in made else _cpuset(parent)).values()):
            to_fill.append((parent, values))
            parent = parent.rpartition("/")[0]
    except FileNotFoundError:  # above the hierarchy's root
        raise OcirtError("cgroup", f"{directory} has no processors and no parent to copy them from") from None
    for child, own in reversed(to_fill):
        for name in _CPUSET:
            if own[name]:
                values[name] = own[name]
            else:
                write_file(child, name, values[name])


def _cpuset(directory: str) -> dict[str, str]:
    return {name: read_file(directory, name) for name in _CPUSET}
