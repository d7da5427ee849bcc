"""systemd as the one who makes the cgroup: a transient scope (or slice) around what v1.py and v2.py do with files.

systemd is asked three times: to start the unit with init in it, to change it (update), and to stop it (delete).
Everything else, and what no property of a unit can say, goes through the files as without systemd.
Sources: org.freedesktop.systemd1(5), systemd.scope(5), "Control Group APIs and Delegation" of systemd's documentation.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms

from ocirt import log
from ocirt.cgroups import Manager, manager_from_record, open_manager
from ocirt.cgroups.claim import mark, marked, new_token
from ocirt.cgroups.files import read_file, refuse_used
from ocirt.cgroups.layout import parse_own_cgroups
from ocirt.cgroups.unit import SCOPE, slice_and_unit, unit_path
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ocirt.cgroups import Write
    from ocirt.cgroups.dbus import Connection
    from ocirt.cgroups.oom import OomWatch
    from ocirt.cgroups.unit_properties import Property
    from ocirt.config.views import Resources
    from ocirt.host import Host

ENDING_SIGNALS = (1, 2, 3, 15)  # SIGHUP SIGINT SIGQUIT SIGTERM
NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"


def open_systemd_manager(host: Host, cgroups_path: str | None, container_id: str) -> SystemdManager:
    """The manager of a new container; touches nothing.  Raises OcirtError."""
    if not host.systemd:
        raise OcirtError("unsupported", "systemd not running on this host, cannot use systemd cgroups manager")
    user = host.systemd == "user"
    if user and host.cgroup != "v2":
        raise OcirtError("unsupported", "cannot use rootless systemd cgroups manager on cgroup v1")
    slice_, unit = slice_and_unit(cgroups_path, container_id, user)
    files = open_manager(host, unit_path(slice_, unit), container_id)
    return SystemdManager(files, slice_, unit, user)


def systemd_manager_from_record(record: dict[str, Any]) -> SystemdManager:
    files = manager_from_record({**record, "kind": record["files"]})
    return SystemdManager(files, record["slice"], record["unit"], record["user"])


class SystemdManager(Manager):
    """A container's unit.

    files: the manager of its directories; paths, made, token and lock are this one's.  user: the unit is of the
    user's own systemd.  started: whether there may be something to stop.
    """

    __slots__ = ("files", "slice", "started", "unit", "user")

    kind = "systemd"

    def __init__(self, files: Manager, slice_: str, unit: str, user: bool, started: bool = True) -> None:
        super().__init__(files.paths, files.made)
        self.files = files
        self.slice = slice_
        self.unit = unit
        self.user = user
        self.started = started

    def record(self) -> dict[str, Any]:
        return {
            **self.files.record(),
            "kind": self.kind,
            "files": self.files.kind,
            "slice": self.slice,
            "unit": self.unit,
            "user": self.user,
        }

    # -- the unit's life -------------------------------------------------------------------------

    def create(self, bear_denial: bool = False) -> None:
        """Load the library, find where the unit will be, refuse a cgroup in use.  On v1 make the directories."""
        from ocirt.cgroups import dbus

        dbus.library()
        self.started = False
        if self.user:
            with dbus.connect(True) as bus:
                below = bus.property(dbus.MANAGER_PATH, dbus.MANAGER, "ControlGroup")
            path = unit_path(self.slice, self.unit)
            self.paths[""] = self.paths[""].removesuffix(path) + str(below).rstrip("/") + path
        if self.files.kind == "v1":
            self.files.create()
        else:
            refuse_used(self.paths[""])
            self.made.append(self.paths[""])
            self.files.token = new_token()  # recorded before the unit is started, and marked with after it

    def start(self, pid: int, properties: Iterable[Property]) -> None:
        """Start the unit with the process in it.  A slice takes no process: it is moved there afterwards."""
        from ocirt.cgroups import dbus

        properties = tuple(properties)
        scope = self.unit.endswith(SCOPE)
        with dbus.connect(self.user) as bus:
            wanted = known(properties, version(bus))
            if scope:
                wanted.append(("PIDs", ("au", [pid])))
            job = self._begin(bus, wanted, properties)
            result = bus.wait_for_job(job, f"the start of {self.unit}")
        if result != "done":
            raise OcirtError("cgroup", f"systemd could not start the unit {self.unit}: {result}")
        if self.files.kind == "v2":
            from ocirt.cgroups.v2 import enable_controllers

            enable_controllers(self.paths[""])  # systemd knows no hugetlb and no rdma
        if not scope:
            self.files.join(pid)
        self._check_place(pid)
        if self.files.kind == "v2":
            self._mark()

    def _mark(self) -> None:
        try:
            if not mark(self.home(), self.files.token):
                self.files.token = ""
        except FileNotFoundError:
            pass  # its only process has died already

    def _begin(self, bus: Connection, wanted: list[Any], properties: tuple[Property, ...]) -> tuple[str, str]:
        """Ask for the start; the job.  A unit that failed and was left behind has the name no longer than needed."""
        from ocirt.cgroups import dbus

        body: tuple[Any, ...] = (self.unit, "replace", wanted, [])
        for attempt in ("first", "last"):
            # No signal between the answer and the note that there is a unit to stop now.
            before = _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
            try:
                job = bus.begin_job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
                self.started = True
                return job
            except dbus.Refused as error:
                if error.name != UNIT_EXISTS:
                    raise with_pointer(error, properties) from None
                if attempt == "last":
                    raise OcirtError(
                        "cgroup",
                        f"systemd has a unit {self.unit} already",
                        at="/linux/cgroupsPath",
                        remedy=f"choose another linux.cgroupsPath, or look at it with: systemctl status {self.unit}",
                    ) from None
            except OcirtError:
                # The unit may come up later all the same.  A scope ends with init, a slice is for ever.
                self.started = not self.unit.endswith(SCOPE)
                raise
            finally:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
            self._reset_failed(bus)
        raise AssertionError

    def _check_place(self, pid: int) -> None:
        """Limits written elsewhere would limit somebody else."""
        controller = "" if self.files.kind == "v2" else "name=systemd"
        actual = parse_own_cgroups(read_file(f"/proc/{pid}", "cgroup")).get(controller, "/")
        expected = self.paths.get(controller, "")
        if actual == "/" or not expected.endswith(actual):
            raise OcirtError("cgroup", f"systemd put {self.unit} into {actual}", detail=f"expected: {expected}")

    def attach(self, pid: int, below: str) -> None:
        """Have systemd move a process into the unit's cgroup, or into one below it, "/sub"."""
        from ocirt.cgroups import dbus

        with dbus.connect(self.user) as bus:
            bus.call("AttachProcessesToUnit", "ssau", (self.unit, below, [pid]))

    def change(self, writes: Iterable[Write]) -> None:
        """The unit's properties for its lifetime, then the files; what only checks the usage before either."""
        from ocirt.cgroups import dbus, unit_properties

        writes = unit_properties.rounded(writes)
        self.write(write for write in writes if write.must_exceed)
        properties = unit_properties.properties_of(writes, scope=self.unit.endswith(SCOPE))
        if properties:
            with dbus.connect(self.user) as bus:
                try:
                    bus.call("SetUnitProperties", "sba(sv)", (self.unit, True, known(properties, version(bus))))
                except dbus.Refused as error:
                    raise with_pointer(error, properties) from None
        self.write(writes)

    def remove(self, kill: bool = False) -> None:
        """Stop the unit, let systemd forget it, and remove what is left of the cgroup.

        Where systemd cannot be reached and the cgroup is gone, there is nothing that could still be stopped:
        a user's systemd ends with their last session.
        """
        may_stop = self.started and self.ours()
        if may_stop:
            self._stop()
        elif self.started:
            log.warning(f"the unit {self.unit} is another container's by now: left alone")
        if may_stop or self.files.kind == "v1":  # else the cgroup, if there is one, is somebody else's
            self.files.remove(kill)
        self.started = False

    def _stop(self) -> None:
        from ocirt.cgroups import dbus

        try:
            bus = dbus.connect(self.user)
        except OcirtError as error:
            if self.exists():
                raise
            log.warning(f"the unit {self.unit} is left to systemd: {error.what}")
            return
        with bus:
            try:
                bus.run_job("StopUnit", "ss", (self.unit, "replace"))
            except dbus.Refused as error:
                if error.name != NO_SUCH_UNIT:
                    raise
            self._reset_failed(bus)

    def _reset_failed(self, bus: Connection) -> None:
        from ocirt.cgroups import dbus

        try:
            bus.call("ResetFailedUnit", "s", (self.unit,))
        except dbus.Refused as error:
            if error.name != NO_SUCH_UNIT:
                log.warning(error.what)

    def ours(self) -> bool:
        """As without systemd.  Killed between the start and the mark, create left a unit in which nobody is."""
        found = marked(self.home())
        return found is None or self.files.token in ("", found) or (not found and not self.files.pids())

    # -- through the files -----------------------------------------------------------------------

    def home(self) -> str:
        return self.files.home()

    def exists(self) -> bool:
        return self.files.exists()

    def release(self) -> None:
        self.files.release()

    def open_for_join(self) -> dict[str, int]:
        return self.files.open_for_join()

    def join(self, pid: int) -> None:
        self.files.join(pid)

    def delegate(self, uid: int) -> None:
        self.files.delegate(uid)

    def limits(self, resources: Resources | None, *, devices: bool = True) -> tuple[Write, ...]:
        return self.files.limits(resources, devices=devices and not self.user)

    def write(self, writes: Iterable[Write]) -> None:
        self.files.write(writes)

    def read(self, writes: Iterable[Write]) -> tuple[Write, ...]:
        return self.files.read(writes)

    def freeze(self, on: bool) -> None:
        self.files.freeze(on)

    # Before the start the cgroup, if there is one, is somebody else's: two creates may ask for the same unit.

    def frozen(self) -> bool:
        return self.started and self.files.frozen()

    def pids(self) -> list[int]:
        return self.files.pids() if self.started and self.ours() else []

    def kill(self, signal: int) -> None:
        self.files.kill(signal)

    def usage(self) -> dict[str, Any]:
        return self.files.usage()

    def watch_oom(self) -> OomWatch:
        return self.files.watch_oom()

    def oom_kills(self) -> int:
        return self.files.oom_kills()

    def memory_limit(self) -> int:
        return self.files.memory_limit()


def version(bus: Connection) -> int:
    """systemd's: 252 of "252.39-1~deb12u2" or "v252".  0 when it says something else."""
    from ocirt.cgroups import dbus

    text = str(bus.property(dbus.MANAGER_PATH, dbus.MANAGER, "Version")).removeprefix("v")
    return int(text[: len(text) - len(text.lstrip("0123456789"))] or 0)


def known(properties: Iterable[Property], version: int) -> list[tuple[str, tuple[str, object]]]:
    """As D-Bus wants them, without those that this systemd has not."""
    found = []
    for item in properties:
        if item.since <= version:
            found.append((item.name, (item.signature, item.value)))
        else:
            log.debug(f"systemd {version} has no {item.name} (since {item.since}): only the file says it")
    return found


def with_pointer(error: OcirtError, properties: Iterable[Property]) -> OcirtError:
    """The error with the setting whose property it names."""
    named = [item for item in properties if item.at and item.name in error.what]
    if named:
        error.at = max(named, key=lambda item: len(item.name)).at
    return error
