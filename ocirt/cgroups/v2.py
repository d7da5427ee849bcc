"""cgroup v2: one directory for all controllers.

Source: Documentation/admin-guide/cgroup-v2.rst of the kernel; cgroups(7).
"""

from __future__ import annotations

import errno
import select
import time

from ocirt import system as os
from ocirt.cgroups import DEVICES, Manager
from ocirt.cgroups.claim import make_and_lock, new_mark
from ocirt.cgroups.files import (
    GONE,
    SIGKILL,
    kill_all,
    may_make,
    pids_below,
    pids_in,
    read_file,
    refuse_used,
    write_file,
)
from ocirt.cgroups.writer import read_all, write_all
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ocirt.cgroups import Write
    from ocirt.cgroups.oom import OomWatch
    from ocirt.config.views import Resources

FREEZE_DEADLINE = 10.0  # seconds; a process in uninterruptible sleep freezes when it wakes
# Controllers that count threads: the only ones that a threaded cgroup can have.
THREADED = ("cpu", "cpuset", "perf_event", "pids")
# What may be given to somebody else with the directory, where the kernel does not say (cgroup-v2.rst, Delegation).
DELEGATE = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


class V2Manager(Manager):
    """paths: {"": directory}."""

    __slots__ = ()

    kind = "v2"

    @property
    def directory(self) -> str:
        return self.paths[""]

    def home(self) -> str:
        return self.directory

    # -- the directory ---------------------------------------------------------------------------

    def exists(self) -> bool:
        return os.path.isdir(self.directory)

    def create(self, bear_denial: bool = False) -> None:
        """On failure `made` holds what is there, so that remove() can take it back."""
        above = self.directory.rpartition("/")[0]
        if bear_denial and not (may_move_below(above) and may_make(self.directory, self.made)):
            self.paths = {}
            return
        self.lock = make_and_lock(self.directory, self.made)
        if self.directory not in self.made:
            refuse_used(self.directory)
        enable_controllers(self.directory)
        self._follow_parents()
        if _event(self.directory, "frozen"):
            raise OcirtError("cgroup", "container's cgroup unexpectedly frozen", detail=self.directory)
        self.token = new_mark(self.directory)

    def _follow_parents(self) -> None:
        """Below a threaded cgroup a new one cannot be a domain, and is of no use as it is."""
        for directory in self.made:
            if read_file(directory, "cgroup.type") == "domain invalid":
                write_file(directory, "cgroup.type", "threaded")

    def delegate(self, uid: int) -> None:
        try:
            names = read_file("/sys/kernel/cgroup", "delegate").split()
        except OSError:  # before Linux 4.15, or no sysfs
            names = list(DELEGATE)
        os.chown(self.directory, uid, -1)
        for name in names:
            try:
                os.chown(f"{self.directory}/{name}", uid, -1)
            except FileNotFoundError:  # of a controller that is not enabled here
                continue

    def open_for_join(self) -> dict[str, int]:
        return {"": os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}

    def join(self, pid: int) -> None:
        write_file(self.directory, "cgroup.procs", str(pid))

    # -- settings and figures --------------------------------------------------------------------

    def limits(self, resources: Resources | None, *, devices: bool = True) -> tuple[Write, ...]:
        from ocirt.cgroups.limits_v2 import limits

        return limits(resources, self._present, devices=devices)

    def _present(self, file: str) -> str:
        """What a file says now, "" when there is no such file."""
        try:
            return read_file(self.directory, file)
        except OSError as error:
            if error.errno in GONE:
                return ""
            raise

    def write(self, writes: Iterable[Write]) -> None:
        writes = tuple(writes)
        self._require_controllers(writes)
        files = [write for write in writes if write.controller != DEVICES]
        for write in writes:
            if write.controller == DEVICES:
                from ocirt.cgroups.devices_bpf import set_devices  # create only

                set_devices(self.directory, write)
        write_all({write.controller: self.directory for write in files}, files)

    def read(self, writes: Iterable[Write]) -> tuple[Write, ...]:
        files = [write for write in writes if write.controller != DEVICES]
        return read_all({write.controller: self.directory for write in files}, files)

    def _require_controllers(self, writes: tuple[Write, ...]) -> None:
        """Better than "no such file": what is missing, and where."""
        missing = self._missing(writes)
        if missing and self.made and all(name in THREADED for name in missing):
            enable_controllers(self.directory, missing)
            self._follow_parents()
            missing = self._missing(writes)
        for write in writes:
            if write.controller in missing:
                raise OcirtError(
                    "cgroup",
                    f"cannot set {write.controller} limit: container could not join or create cgroup",
                    at=write.at,
                    detail=f"controller {write.controller} in {self.directory}",
                    remedy=why_missing(self.directory, write.controller),
                )

    def _missing(self, writes: tuple[Write, ...]) -> set[str]:
        enabled = {"", DEVICES, *read_file(self.directory, "cgroup.controllers").split()}
        return {write.controller for write in writes if not write.optional} - enabled

    def watch_oom(self) -> OomWatch:
        from ocirt.cgroups.oom import V2OomWatch

        if not os.path.exists(f"{self.directory}/memory.events"):
            raise OcirtError("cgroup", "the memory controller is not enabled: nothing tells of a lack of memory")
        return V2OomWatch(self.directory)

    def oom_kills(self) -> int:
        for line in self._present("memory.events").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def memory_limit(self) -> int:
        limit = self._present("memory.max")
        return int(limit) if limit.isdecimal() else 0

    def usage(self) -> dict[str, Any]:
        from ocirt.cgroups.usage_v2 import v2_usage  # not worth its time to the hot verbs

        return v2_usage(self.directory)

    # -- processes -------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        return pids_below(self.directory)

    def kill(self, signal: int) -> None:
        if signal == SIGKILL and self._kill_at_once():
            return
        try:
            self._kill_one_by_one(signal)
        except OSError as error:
            if error.errno not in GONE or self.exists():
                raise  # else the last process has ended, and systemd has removed the cgroup

    def _kill_one_by_one(self, signal: int) -> None:
        """Frozen first, so that nothing forks away from the list; a frozen process dies of SIGKILL all the same."""
        was_frozen = self.frozen()
        if not was_frozen:
            self._try_freeze(True)
        try:
            kill_all(self.pids(), signal)
        finally:
            if not was_frozen:
                write_file(self.directory, "cgroup.freeze", "0")

    def _kill_at_once(self) -> bool:
        """cgroup.kill: False before Linux 5.14, and for a threaded cgroup."""
        try:
            write_file(self.directory, "cgroup.kill", "1")
        except OSError as error:
            if error.errno in (*GONE, errno.EOPNOTSUPP):
                return False
            raise
        return True

    def frozen(self) -> bool:
        """By its own setting: a process that cannot stop just now does not make it less paused."""
        return self._present("cgroup.freeze") == "1"

    def freeze(self, on: bool) -> None:
        if not self._try_freeze(on):
            write_file(self.directory, "cgroup.freeze", "0")
            raise OcirtError("cgroup", f"unable to freeze within {FREEZE_DEADLINE:.0f} s", detail=self.directory)

    def _try_freeze(self, on: bool) -> bool:
        """Whether the processes have stopped in time.  What is thawed runs at once, if no parent is frozen."""
        write_file(self.directory, "cgroup.freeze", "1" if on else "0")
        if not on:
            return True
        deadline = time.monotonic() + FREEZE_DEADLINE
        fd = os.open(f"{self.directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            while b"frozen 1" not in os.read(fd, 4096):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                poll.poll(left * 1000)
                os.lseek(fd, 0, 0)
            return True
        finally:
            os.close(fd)


def _event(directory: str, name: str) -> bool:
    """A line of cgroup.events."""
    return f"{name} 1" in read_file(directory, "cgroup.events").splitlines()


def _parents(directory: str) -> list[str]:
    """The cgroups above, from the top of what is mounted."""
    parents: list[str] = []
    parent = directory.rpartition("/")[0]
    while os.path.exists(f"{parent}/cgroup.controllers"):
        parents.append(parent)
        parent = parent.rpartition("/")[0]
    return parents[::-1]


def enable_controllers(directory: str, needed: Iterable[str] = ()) -> None:
    """Give every controller that there is to the cgroups on the way to the directory.

    A parent with processes can give none, or become threaded for those that count threads, and all below with it:
    not asked of it but for controllers that are needed.  What a parent cannot give is no error here: only a limit
    that needs it is refused, see why_missing().
    """
    for parent in _parents(directory):
        given = read_file(parent, "cgroup.subtree_control").split()
        wanted = needed or read_file(parent, "cgroup.controllers").split()
        missing = [f"+{name}" for name in wanted if name not in given]
        if not missing or _try_enable(parent, " ".join(missing)):
            continue
        top = not os.path.exists(f"{parent}/cgroup.type")  # the only one that may have processes and give
        if needed or top or not _count_processes(parent):
            for name in missing:  # the kernel takes all or none
                _try_enable(parent, name)


def _try_enable(directory: str, names: str) -> bool:
    try:
        write_file(directory, "cgroup.subtree_control", names)
    except OSError:
        return False
    return True


def why_missing(directory: str, controller: str) -> str:
    """What to do about a controller that the cgroup does not have."""
    kind = read_file(directory, "cgroup.type")
    if kind != "domain" and controller not in THREADED:
        return f"the cgroup is {kind}, and {controller} needs a domain: choose another linux.cgroupsPath"
    for parent in _parents(directory):
        if controller not in read_file(parent, "cgroup.controllers").split():
            return f"this kernel has no {controller} controller, or cgroup v1 uses it, or it was not delegated"
        if controller not in read_file(parent, "cgroup.subtree_control").split():
            return _why_not_given(parent, controller)
    return ""


def _why_not_given(parent: str, controller: str) -> str:
    count = _count_processes(parent)
    if count:
        return (
            f"{parent} has {count} process(es) of its own and cannot give controllers to those below:"
            " choose another linux.cgroupsPath, or move them into a cgroup of their own"
        )
    return f"write +{controller} to {parent}/cgroup.subtree_control, or have it done by its owner"


def _count_processes(directory: str) -> int:
    """Those in the cgroup itself."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return len(pids_in(fd))
    finally:
        os.close(fd)


def may_move_below(directory: str) -> bool:
    """Whether the caller may move processes from one cgroup below the directory to another, or from itself.

    It takes the right to write to cgroup.procs of the nearest one above both (cgroup-v2.rst, Delegation Containment).
    """
    return os.access(f"{directory}/cgroup.procs", os.W_OK)
