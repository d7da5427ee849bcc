"""Control groups: where a container's cgroup is (Manager) and what is written into it (limits).

v1, v2 and systemd differ in where and in who writes; what is written is decided by limits.limits(),
a pure function.  A Manager works on directories alone, so a later command needs only the record.
"""

from __future__ import annotations

from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ocirt.cgroups.oom import OomWatch
    from ocirt.config.views import Resources
    from ocirt.host import Host


DEVICES = "devices"  # a Write's controller that may be no controller: on v2 its text becomes a BPF program


class Write:
    """One value for one file of a cgroup.

    file:       name in the cgroup directory, "memory.limit_in_bytes".     text: what is written.
    at:         JSON pointer of the setting.     controller: whose directory, "memory".
    group:      writes of the same non-empty group depend on each other in an order that only the kernel
                knows (quota and period, limit and swap): what it refuses is tried again after the others.
    instead:    the file to use where `file` does not exist.     instead_text: what is written there, "": the same.
    optional:   a missing file is no error: what is wanted is what such a kernel does anyway.
    clamped:    the kernel takes any number and silently clamps it: read back, and refuse a difference.
                The name of the setting for the message, "cpu-shares".
    must_exceed: nothing is written: refuse a text that is not above the sum of the files in `file`.
                The name of the setting for the message, "memory limit".
    whole:      the text is the whole file although it has a blank; else its first word is the key of a line.
    absent:     what the line of a key says while there is none, to restore that.
    """

    __slots__ = (
        "absent",
        "at",
        "clamped",
        "controller",
        "file",
        "group",
        "instead",
        "instead_text",
        "must_exceed",
        "optional",
        "text",
        "whole",
    )

    def __init__(
        self,
        file: str,
        text: str,
        at: str,
        controller: str,
        *,
        group: str = "",
        instead: str = "",
        instead_text: str = "",
        optional: bool = False,
        clamped: str = "",
        must_exceed: str = "",
        whole: bool = False,
        absent: str = "0",
    ) -> None:
        self.file = file
        self.text = text
        self.at = at
        self.controller = controller
        self.group = group
        self.instead = instead
        self.optional = optional
        self.clamped = clamped
        self.instead_text = instead_text or text
        self.must_exceed = must_exceed
        self.whole = whole
        self.absent = absent

    def __repr__(self) -> str:
        return f"Write({self.file!r}, {self.text!r}, {self.at!r})"


class Manager:
    """A container's cgroup: in v1 one directory per hierarchy, in v2 one directory.

    paths: controller -> absolute directory; controllers of one hierarchy share it; "" is the v2 hierarchy.
    made:  the directories that create() made, parents before children; only these are ever removed, and those that
           an earlier container left to this one.
    token: by which the cgroup's mark is compared, "" when it could not be marked.     lock: of create(), up to
           release().     Both: claim.py.

    Every method raises OcirtError("cgroup") or OSError.
    """

    __slots__ = ("lock", "made", "paths", "token")

    kind = ""  # in the record

    def __init__(self, paths: dict[str, str], made: list[str] | None = None, token: str = "") -> None:
        self.paths = paths
        self.made = made if made is not None else []
        self.token = token
        self.lock = -1

    def home(self) -> str:
        """The directory in which processes are looked up; it carries lock and mark."""
        raise NotImplementedError

    def exists(self) -> bool:
        """Whether the cgroup is there."""
        raise NotImplementedError

    def create(self, bear_denial: bool = False) -> None:
        """Make the directories, lock and mark the cgroup.  Raises OcirtError when it is in use or frozen.

        bear_denial: hierarchies in which the caller may not make any are left out of paths.
        """
        raise NotImplementedError

    def release(self) -> None:
        """End the lock of create(): init is inside."""
        if self.lock >= 0:
            from ocirt.cgroups.claim import unlock

            unlock(self.lock)
            self.lock = -1

    def ours(self) -> bool:
        """False when another container has the cgroup by now: its processes are not to be touched."""
        if not self.token:
            return True
        from ocirt.cgroups.claim import marked

        return marked(self.home()) in (self.token, None)

    def open_for_join(self) -> dict[str, int]:
        """Descriptors through which a single-threaded process joins by itself, without waiting for RCU.

        v1: controller -> fd of `tasks`, to which the process writes "0"; one per hierarchy.
        "": fd of the v2 directory, for clone3(CLONE_INTO_CGROUP).  The kernel checks the rights of the opener.
        """
        raise NotImplementedError

    def join(self, pid: int) -> None:
        """Move a foreign process, all threads.  Costs one RCU grace period (7-15 ms) per hierarchy."""
        raise NotImplementedError

    def delegate(self, uid: int) -> None:
        """Give the directory and the files that may be given away to this user of the host; v2 only."""

    def limits(self, resources: Resources | None, *, devices: bool = True) -> tuple[Write, ...]:
        """What linux.resources asks for, in order.

        devices: write the device rules too: not in a user namespace, where the kernel refuses it, and not for
        `update`, which leaves them alone.  Without resources only the default devices are allowed.
        Raises OcirtError("unsupported") for what this kind of cgroup does not have.
        """
        raise NotImplementedError

    def write(self, writes: Iterable[Write]) -> None:
        """Apply limits in their order.  Raises OcirtError naming file and pointer."""
        raise NotImplementedError

    def change(self, writes: Iterable[Write]) -> None:
        """As write(), for a container that runs already."""
        self.write(writes)

    def read(self, writes: Iterable[Write]) -> tuple[Write, ...]:
        """The writes that restore what the files of the given ones say now.  Raises OcirtError like write()."""
        raise NotImplementedError

    def freeze(self, on: bool) -> None:
        """Stop or resume every process; returns when it is so."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Whether the processes are stopped; False when the cgroup is gone."""
        raise NotImplementedError

    def pids(self) -> list[int]:
        """Ids, in the runtime's pid namespace, of the processes here and below, sorted; [] when the cgroup is gone."""
        raise NotImplementedError

    def kill(self, signal: int) -> None:
        """Signal every process, those below too; SIGKILL also reaches a frozen cgroup."""
        raise NotImplementedError

    def usage(self) -> dict[str, Any]:
        """The statistics in the shape of runc's `events`, see usage.py."""
        raise NotImplementedError

    def watch_oom(self) -> OomWatch:
        """A watch on processes killed for want of memory."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How many processes were killed for want of memory until now; 0 when nobody counts."""
        return 0

    def memory_limit(self) -> int:
        """In bytes, as the kernel has it: in whole pages; 0 when there is none."""
        return 0

    def remove(self, kill: bool = False) -> None:
        """Remove what create() made, and what the container made below.  Nothing there is no error.

        kill: end what is in the cgroup still, or again: exec may be bringing a process in.
        Where another container is by now, or is being created, only what is of no use to it goes.
        """
        from ocirt.cgroups.claim import REMOVE_DEADLINE, leave, try_lock, unmark
        from ocirt.cgroups.files import remove_made, removed_unused

        if (self.made or self.token) and self.lock < 0:
            try:
                found = try_lock(self.home())
                if found is None:
                    leave(self.made)  # first: whoever has the lock longer than this waits looks after that
                    found = try_lock(self.home(), REMOVE_DEADLINE)
            except OSError as error:
                if removed_unused(self.made, error):
                    return
                raise
            if found is None:
                return
            self.lock = found
        ours = self.ours()
        try:
            if ours:
                made = self.made + self._left()
                remove_made(made, set(self.paths.values()), kill)
                if self.token and self.home() not in made:
                    unmark(self.home())
            else:
                remove_made(self.made, set(), kill)
                leave(self.made)
        finally:
            self.release()

    def _left(self) -> list[str]:
        """Directories that an earlier container made and could not remove, for this one was in them; parents first.

        Without a token this one may be what was refused the cgroup, and a third one in it.
        """
        from ocirt.cgroups.claim import left

        found: set[str] = set()
        for directory in self.paths.values() if self.token else ():
            above = directory
            while above not in found and above not in self.made and left(above):
                found.add(above)
                above = above.rpartition("/")[0]
        return sorted(found, key=len)

    def record(self) -> dict[str, Any]:
        """Plain values for the container's record; manager_from_record() is the inverse."""
        return {"kind": self.kind, "paths": self.paths, "made": self.made, "token": self.token}


def open_manager(host: Host, cgroups_path: str | None, container_id: str) -> Manager:
    """The manager of a new container; touches nothing.

    An absolute cgroups_path is below each hierarchy's mount point; a relative one, or the container id
    when there is none, is below the runtime's own cgroup, on v2 beside it.  Raises OcirtError("cgroup").
    """
    if host.cgroup == "v2":
        from ocirt.cgroups.paths import v2_path
        from ocirt.cgroups.v2 import V2Manager

        return V2Manager({"": v2_path(host, cgroups_path, container_id)})
    if host.cgroup in ("v1", "hybrid"):
        from ocirt.cgroups.paths import v1_paths
        from ocirt.cgroups.v1 import V1Manager

        return V1Manager(v1_paths(host, cgroups_path, container_id))
    raise OcirtError("cgroup", "no cgroup hierarchy is mounted", remedy="mount the cgroup file systems")


def manager_from_record(record: dict[str, Any]) -> Manager:
    """The manager of an existing container.  What earlier versions recorded has no token."""
    if record["kind"] == "systemd":
        from ocirt.cgroups.systemd import systemd_manager_from_record

        return systemd_manager_from_record(record)
    if record["kind"] == "v2":
        from ocirt.cgroups.v2 import V2Manager

        return V2Manager(record["paths"], record["made"], record.get("token", ""))
    if record["kind"] != "v1":
        raise OcirtError("record", f"unknown kind of cgroup manager: {record['kind']}")
    from ocirt.cgroups.v1 import V1Manager

    return V1Manager(record["paths"], record["made"], record.get("token", ""))


def killed_for_memory(manager: Manager | None) -> OcirtError | None:
    """What to say of an init that was killed, if it was for want of memory."""
    if manager is None or not manager.oom_kills():
        return None
    what, limit = "container init was OOM-killed (memory limit too low?)", manager.memory_limit()
    return OcirtError(
        "init-died",
        f"{what}: linux.resources.memory.limit is {limit} bytes" if limit else what,
        at="/linux/resources/memory/limit" if limit else "",
        remedy="raise linux.resources.memory.limit",
    )


def require(manager: Manager | None) -> Manager:
    """The manager of a container that must have one.  Raises OcirtError("cgroup")."""
    if manager is None:
        raise OcirtError(
            "cgroup",
            "the container has no cgroup of its own",
            remedy="it was created without rights over cgroups: have a cgroup delegated, and create it there",
        )
    return manager
