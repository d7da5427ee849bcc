"""A unit's life, as systemd is asked for it."""

from __future__ import annotations

import _signal
import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney import Message

from ocirt.cgroups import Write, claim, dbus, manager_from_record, systemd
from ocirt.cgroups.systemd import SystemdManager, known, open_systemd_manager
from ocirt.cgroups.unit_properties import Property
from ocirt.errors import OcirtError
from ocirt.host import Host
from tests.support.fakebus import Answer, Server, job_removed, member, refusal, reply

UNIT, JOB = "ocirt-web1.scope", "/org/freedesktop/systemd1/job/7"
SYSTEMD = "org.freedesktop.systemd1"
PROPERTIES = (Property("Description", "s", "x"), Property("OOMPolicy", "s", "kill", "/r/unified", since=253))


class Bus:
    """A systemd with answers by member; a list of answers is used up one by one.  calls: (member, body)."""

    def __init__(self, path: Path, **answers: Any) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: dict[str, Any] = {"Get": ok("v", ("s", "252.39-1~deb12u2")), **answers}
        self.server = Server(path, self._answer)

    def _answer(self, call: Message) -> list[Message]:
        name = member(call)
        self.calls.append((name, call.body))
        answer = self.answers[name]
        if isinstance(answer, list):
            answer = answer.pop(0)
        return answer(call)  # type: ignore[no-any-return]

    def members(self) -> list[str]:
        return [name for name, _ in self.calls if name != "Get"]


def ok(signature: str = "", *body: Any) -> Answer:
    return lambda call: [reply(call, signature, *body)]


def no(name: str, text: str = "no") -> Answer:
    return lambda call: [refusal(call, f"{SYSTEMD}.{name}" if "." not in name else name, text)]


def job(result: str) -> Answer:
    return lambda call: [reply(call, "o", JOB), job_removed(JOB, UNIT, result)]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cgroup will be; the process is found there."""
    monkeypatch.setattr(dbus, "SYSTEM_PRIVATE", str(tmp_path / "private"))
    monkeypatch.setattr(dbus, "SYSTEM_BUS", str(tmp_path / "no-bus"))
    monkeypatch.setattr(systemd, "read_file", lambda directory, name: f"0::/system.slice/{UNIT}\n")
    return tmp_path / "cgroup" / "system.slice" / UNIT


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Any]:
    made: list[Bus] = []

    def make(**answers: Any) -> Bus:
        made.append(Bus(tmp_path / "private", **answers))
        return made[-1]

    yield make
    for one in made:
        one.server.close()


def record(group: Path, **more: Any) -> dict[str, Any]:
    unit = {"slice": "system.slice", "unit": UNIT, "user": False}
    return {"kind": "systemd", "files": "v2", "paths": {"": str(group)}, "made": [], "token": "", **unit, **more}


def manager(group: Path, **more: Any) -> SystemdManager:
    made = manager_from_record(record(group, **more))
    assert isinstance(made, SystemdManager)
    return made


def new_manager(group: Path) -> SystemdManager:
    made = manager(group)
    made.create()
    return made


def test_before_the_start_the_cgroup_is_not_ours(group: Path, bus: Any) -> None:
    """Two creates asked for the same unit: the end of the second must not kill or thaw the first."""
    bus(StartTransientUnit=no("UnitExists"), ResetFailedUnit=ok())
    made = new_manager(group)
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("4242\n")
    (group / "cgroup.freeze").write_text("1\n")
    with pytest.raises(OcirtError, match="systemd has a unit"):
        made.start(4243, ())
    assert (made.pids(), made.frozen()) == ([], False)
    assert manager(group).pids() == [4242]
    assert manager(group).frozen()


# -- names ---------------------------------------------------------------------------------------

V2 = Host(cgroup="v2", unified_mount="/c", own_cgroups={"": "/user.slice"}, systemd="system")


def test_a_new_manager() -> None:
    opened = open_systemd_manager(V2, "machine.slice:libpod:1", "web1")
    assert opened.record() == {
        "kind": "systemd",
        "files": "v2",
        "paths": {"": "/c/machine.slice/libpod-1.scope"},
        "made": [],
        "token": "",
        "slice": "machine.slice",
        "unit": "libpod-1.scope",
        "user": False,
    }


def test_the_record_gives_the_manager_again(group: Path) -> None:
    assert manager(group).record() == record(group)
    assert manager(group).started


def test_every_hierarchy_of_v1() -> None:
    host = Host(
        cgroup="hybrid", cgroup_mounts={"pids": "/p", "name=systemd": "/s"}, unified_mount="/u", systemd="system"
    )
    opened = open_systemd_manager(host, None, "web1")
    below = "/system.slice/ocirt-web1.scope"
    assert opened.paths == {"pids": f"/p{below}", "name=systemd": f"/s{below}", "": f"/u{below}"}
    assert opened.record()["files"] == "v1"


def test_without_systemd() -> None:
    with pytest.raises(OcirtError) as caught:
        open_systemd_manager(Host(cgroup="v2", unified_mount="/c"), None, "web1")
    assert (caught.value.code, caught.value.what) == (
        "unsupported",
        "systemd not running on this host, cannot use systemd cgroups manager",
    )


def test_a_user_on_v1() -> None:
    host = Host(cgroup="v1", cgroup_mounts={"pids": "/p"}, systemd="user")
    with pytest.raises(OcirtError) as caught:
        open_systemd_manager(host, None, "web1")
    assert caught.value.what == "cannot use rootless systemd cgroups manager on cgroup v1"


# -- create --------------------------------------------------------------------------------------


def test_create_asks_for_nothing_and_makes_nothing(group: Path) -> None:
    made = new_manager(group)
    assert not made.started
    assert made.record()["made"] == [str(group)]
    assert not group.exists()


def test_a_cgroup_in_use(group: Path) -> None:
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("1\n2\n")
    made = manager(group)
    with pytest.raises(OcirtError, match="container's cgroup is not empty: 2 process"):
        made.create()
    made.remove()
    assert group.exists()


def test_a_users_unit_is_below_the_users_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bus: Any) -> None:
    monkeypatch.setattr(dbus, "_user_sockets", lambda: [(str(tmp_path / "private"), True)])
    asked = bus(Get=ok("v", ("s", "/user.slice/user-1000.slice/user@1000.service")))
    path = Path("/c/user.slice") / UNIT
    made = manager(path, user=True, slice="user.slice")
    made.create()
    whole = f"/c/user.slice/user-1000.slice/user@1000.service/user.slice/{UNIT}"
    assert made.record()["paths"] == {"": whole}
    assert made.record()["made"] == [whole]
    assert made.files.paths == {"": whole}
    assert asked.calls == [("Get", (f"{SYSTEMD}.Manager", "ControlGroup"))]


# -- start ---------------------------------------------------------------------------------------


def test_start(group: Path, bus: Any) -> None:
    asked = bus(StartTransientUnit=job("done"))
    made = new_manager(group)
    made.start(42, PROPERTIES)
    assert made.started
    assert asked.calls == [
        ("Get", (f"{SYSTEMD}.Manager", "Version")),
        ("StartTransientUnit", (UNIT, "replace", [("Description", ("s", "x")), ("PIDs", ("au", [42]))], [])),
    ]


def test_a_slice_takes_no_process(tmp_path: Path, group: Path, bus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "read_file", lambda directory, name: "0::/a.slice/a-b.slice\n")
    directory = tmp_path / "a.slice" / "a-b.slice"
    asked = bus(StartTransientUnit=job("done"))
    made = manager(directory, unit="a-b.slice", slice="a.slice")
    made.create()
    directory.mkdir(parents=True)
    (directory / "cgroup.procs").touch()
    made.start(42, ())
    assert asked.calls[1] == ("StartTransientUnit", ("a-b.slice", "replace", [], []))
    assert (directory / "cgroup.procs").read_text() == "42"


def test_a_unit_that_failed_earlier_gives_way(group: Path, bus: Any) -> None:
    asked = bus(StartTransientUnit=[no("UnitExists"), job("done")], ResetFailedUnit=ok())
    made = new_manager(group)
    made.start(42, PROPERTIES)
    assert made.started
    assert asked.members() == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_somebody_elses_unit_stays(group: Path, bus: Any) -> None:
    asked = bus(StartTransientUnit=no("UnitExists"), ResetFailedUnit=no("NoSuchUnit"))
    made = new_manager(group)
    with pytest.raises(OcirtError) as caught:
        made.start(42, PROPERTIES)
    assert (caught.value.code, caught.value.what) == ("cgroup", f"systemd has a unit {UNIT} already")
    assert not made.started
    made.remove()
    assert asked.members() == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_a_property_that_systemd_refuses(group: Path, bus: Any) -> None:
    text = "Cannot set property TasksMax, or unknown property."
    bus(StartTransientUnit=no("org.freedesktop.DBus.Error.PropertyReadOnly", text))
    with pytest.raises(OcirtError) as caught:
        new_manager(group).start(42, (Property("Tasks", "t", 1, "/no"), Property("TasksMax", "t", 1, "/r/pids/limit")))
    assert caught.value.what == f"systemd refuses StartTransientUnit {UNIT}: {text}"
    assert caught.value.at == "/r/pids/limit"


def test_a_start_that_fails_is_taken_back(group: Path, bus: Any) -> None:
    asked = bus(StartTransientUnit=job("failed"), StopUnit=job("done"), ResetFailedUnit=ok())
    made = new_manager(group)
    with pytest.raises(OcirtError) as caught:
        made.start(42, PROPERTIES)
    assert caught.value.what == f"systemd could not start the unit {UNIT}: failed"
    made.remove()
    assert asked.members() == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]


def test_a_process_that_is_elsewhere(group: Path, bus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "read_file", lambda directory, name: "0::/other\n")
    bus(StartTransientUnit=job("done"))
    with pytest.raises(OcirtError) as caught:
        new_manager(group).start(42, PROPERTIES)
    assert caught.value.what == f"systemd put {UNIT} into /other"


def test_ending_signals_wait_for_the_answer_to_the_start(group: Path, bus: Any) -> None:
    """Else nobody would know whether there is a unit to stop."""
    seen: list[set[int]] = []
    begin = dbus.Connection.begin_job

    def note(self: dbus.Connection, *arguments: Any) -> Any:
        seen.append(_signal.pthread_sigmask(_signal.SIG_BLOCK, ()))
        return begin(self, *arguments)

    bus(StartTransientUnit=job("done"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbus.Connection, "begin_job", note)
        new_manager(group).start(42, PROPERTIES)
    assert {1, 2, 3, 15} <= seen[0]
    assert not {1, 2, 3, 15} & _signal.pthread_sigmask(_signal.SIG_BLOCK, ())


def test_attach(group: Path, bus: Any) -> None:
    asked = bus(AttachProcessesToUnit=ok())
    manager(group).attach(42, "/sub")
    assert asked.calls == [("AttachProcessesToUnit", (UNIT, "/sub", [42]))]


# -- change --------------------------------------------------------------------------------------


@pytest.fixture
def files(group: Path) -> Path:
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("cpu memory pids io\n")
    for name in ("memory.max", "cpu.max", "pids.max", "io.max", "memory.current"):
        (group / name).write_text("5\n")
    return group


def test_change_tells_systemd_and_writes_the_files(files: Path, bus: Any) -> None:
    asked = bus(SetUnitProperties=ok())
    writes = (
        Write("memory.max", "4096", "/m", "memory"),
        Write("cpu.max", "12345 100000", "/c", "cpu", whole=True),
        Write("io.max", "8:0 rbps=1", "/i", "io"),
    )
    manager(files).change(writes)
    wanted = [("MemoryMax", ("t", 4096)), ("CPUQuotaPeriodUSec", ("t", 100000)), ("CPUQuotaPerSecUSec", ("t", 130000))]
    assert asked.calls[1] == ("SetUnitProperties", (UNIT, True, wanted))
    assert (files / "memory.max").read_text() == "4096"
    assert (files / "cpu.max").read_text() == "13000 100000"
    assert (files / "io.max").read_text() == "8:0 rbps=1"


def test_change_asks_nobody_when_systemd_has_no_word_for_it(files: Path) -> None:
    manager(files).change([Write("io.max", "8:0 rbps=1", "/i", "io")])
    assert (files / "io.max").read_text() == "8:0 rbps=1"


def test_a_refused_change_writes_nothing(files: Path, bus: Any) -> None:
    bus(SetUnitProperties=no("org.freedesktop.DBus.Error.InvalidArgs", "MemoryMax= is out of range"))
    with pytest.raises(OcirtError) as caught:
        manager(files).change([Write("memory.max", "4096", "/m", "memory")])
    assert caught.value.at == "/m"
    assert (files / "memory.max").read_text() == "5\n"


def test_the_usage_is_checked_before_systemd_is_told(files: Path) -> None:
    check = Write("memory.current", "4", "/m", "memory", must_exceed="memory limit")
    with pytest.raises(OcirtError, match="rejecting memory limit 4 <= usage 5"):
        manager(files).change([check, Write("memory.max", "4", "/m", "memory")])


# -- remove --------------------------------------------------------------------------------------


def test_remove(group: Path, bus: Any) -> None:
    group.mkdir(parents=True)
    asked = bus(StopUnit=job("done"), ResetFailedUnit=ok())
    manager(group, made=[str(group)]).remove()
    assert asked.calls == [("StopUnit", (UNIT, "replace")), ("ResetFailedUnit", (UNIT,))]
    assert not group.exists()


def test_a_unit_that_is_gone_is_no_error(group: Path, bus: Any) -> None:
    asked = bus(StopUnit=no("NoSuchUnit"), ResetFailedUnit=no("NoSuchUnit"))
    manager(group).remove()
    assert asked.members() == ["StopUnit", "ResetFailedUnit"]


def test_a_stop_that_is_refused(group: Path, bus: Any) -> None:
    bus(StopUnit=no("org.freedesktop.DBus.Error.AccessDenied", "Access denied"))
    with pytest.raises(OcirtError, match=f"systemd refuses StopUnit {UNIT}: Access denied"):
        manager(group).remove()


def test_without_systemd_and_without_a_cgroup_there_is_nothing_to_stop(
    group: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manager(group).remove()
    assert f"the unit {UNIT} is left to systemd: connect to the system's systemd" in capfd.readouterr().err


def test_without_systemd_a_cgroup_is_not_removed_behind_its_back(group: Path) -> None:
    group.mkdir(parents=True)
    with pytest.raises(OcirtError, match="connect to the system's systemd"):
        manager(group, made=[str(group)]).remove()
    assert group.exists()


# -- whose it is ---------------------------------------------------------------------------------


@pytest.fixture
def attributes(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], bytes]:
    """A file system's extended attributes: (path, name) -> value."""
    found: dict[tuple[str, str], bytes] = {}

    def setxattr(path: str, name: str, value: bytes) -> None:
        Path(path).stat()
        found[path, name] = value

    def getxattr(path: str, name: str) -> bytes:
        Path(path).stat()
        if (path, name) not in found:
            raise OSError(errno.ENODATA, "no data", path)
        return found[path, name]

    monkeypatch.setattr(claim.os, "setxattr", setxattr)
    monkeypatch.setattr(claim.os, "getxattr", getxattr)
    return found


def comes_up(group: Path, processes: str = "") -> Answer:
    """systemd starts the unit."""

    def answer(call: Message) -> list[Message]:
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text(processes)
        return job("done")(call)

    return answer


def test_what_was_started_is_marked_as_the_record_says(group: Path, bus: Any, attributes: Any) -> None:
    asked = bus(StartTransientUnit=comes_up(group, "42\n"), StopUnit=job("done"), ResetFailedUnit=ok())
    made = new_manager(group)
    noted = made.record()  # while init is on its way
    made.start(42, PROPERTIES)
    assert attributes == {(str(group), "trusted.ocirt"): noted["token"].encode()}
    assert len(noted["token"]) == 16
    manager_from_record(noted).pids()
    assert manager_from_record(noted).pids() == [42]
    (group / "cgroup.procs").unlink()  # systemd's stop, as rmdir(2) of a cgroup has it
    manager_from_record(noted).remove()
    assert asked.members() == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]
    assert not group.exists()


def test_another_containers_unit_is_left_alone(
    group: Path, bus: Any, attributes: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two creates asked for one unit, and the one that did not get it was killed before it could take that back."""
    asked = bus(StartTransientUnit=comes_up(group, "42\n"))
    killed = new_manager(group).record()
    new_manager(group).start(42, PROPERTIES)
    left = manager_from_record(killed)
    assert not left.ours()
    assert left.pids() == []
    left.remove()
    assert asked.members() == ["StartTransientUnit"]
    assert group.exists()
    assert f"the unit {UNIT} is another container's by now: left alone" in capfd.readouterr().err


@pytest.mark.parametrize("processes", ["", "42\n"])
def test_a_unit_without_a_mark(group: Path, bus: Any, attributes: Any, processes: str) -> None:
    """Somebody else's, or that of a create that was killed before it could mark it: in that is nobody."""
    asked = bus(StopUnit=job("done"), ResetFailedUnit=ok())
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(processes)
    left = manager(group, token="0123456789abcdef")
    assert left.ours() == (not processes)
    left.remove()
    assert asked.members() == ([] if processes else ["StopUnit", "ResetFailedUnit"])


def test_where_nothing_can_be_marked_the_name_counts(
    group: Path, bus: Any, attributes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, name: str, value: bytes) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported", path)

    monkeypatch.setattr(claim.os, "setxattr", refuse)
    bus(StartTransientUnit=comes_up(group, "42\n"))
    made = new_manager(group)
    made.start(42, PROPERTIES)
    assert made.record()["token"] == ""
    assert manager_from_record(made.record()).pids() == [42]


@pytest.mark.parametrize(("unit", "stopped"), [(UNIT, []), ("a-b.slice", ["StopUnit", "ResetFailedUnit"])])
def test_a_start_that_is_not_answered_in_time(
    group: Path, bus: Any, monkeypatch: pytest.MonkeyPatch, unit: str, stopped: list[str]
) -> None:
    """It may come up later all the same: a scope for a process that is dead by then, a slice for ever."""
    asked = bus(StartTransientUnit=lambda call: [], StopUnit=job("done"), ResetFailedUnit=ok())
    made = manager(group, unit=unit)
    made.create()
    with monkeypatch.context() as patch:
        patch.setattr(dbus.Connection, "_deadline", lambda self: time.monotonic() + 0.3)
        with pytest.raises(OcirtError) as caught:
            made.start(42, ())
    assert caught.value.code == "timeout"
    made.remove()
    assert asked.members() == ["StartTransientUnit", *stopped]


# -- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [("252.39-1~deb12u2", 252), ("v245.4-1.fc32", 245), ("v250", 250), ("257", 257), ("rolling", 0), ("", 0)],
)
def test_version(group: Path, bus: Any, text: str, number: int) -> None:
    bus(Get=ok("v", ("s", text)))
    with dbus.connect(False) as connection:
        assert systemd.version(connection) == number


def test_what_this_systemd_does_not_know_is_left_out() -> None:
    assert known(PROPERTIES, 252) == [("Description", ("s", "x"))]
    assert known(PROPERTIES, 253) == [("Description", ("s", "x")), ("OOMPolicy", ("s", "kill"))]
