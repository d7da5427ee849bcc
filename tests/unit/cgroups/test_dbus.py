"""The conversation with systemd, message by message, against a systemd that answers as it is told."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney import Message

from ocirt.cgroups import dbus
from ocirt.cgroups.dbus import JOB_REMOVED, Connection, Refused
from ocirt.errors import OcirtError
from tests.support.fakebus import Answer, FakeSystemd, Server, job_removed, member, refusal, reply
from tests.support.runtime import poll

SYSTEMD, MANAGER = "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
MANAGER_PATH, JOB = "/org/freedesktop/systemd1", "/org/freedesktop/systemd1/job/7"


def connection(
    answer: Answer, *, direct: bool = True, seconds: float = 10.0, **more: Any
) -> tuple[Connection, FakeSystemd]:
    ours, theirs = socket.socketpair()
    fake = FakeSystemd(theirs, answer, **more)
    sock = dbus._socket.socket(fileno=ours.detach())
    return Connection(sock, direct=direct, seconds=seconds), fake


def silence(call: Message) -> list[Message]:
    return []


def test_systemds_own_socket_has_no_bus() -> None:
    bus, fake = connection(lambda call: [reply(call, "s", "yes")])
    with bus:
        assert bus.call("GetUnit", "s", ("a.scope",)) == ("yes",)
    fake.join()
    assert fake.lines == [b"\0AUTH EXTERNAL", b"DATA", b"BEGIN"]
    assert fake.early == b"BEGIN\r\n"  # before the answer to DATA
    assert fake.calls == [(SYSTEMD, MANAGER_PATH, MANAGER, "GetUnit", "s", ("a.scope",))]


def test_a_server_that_asks_for_no_data() -> None:
    bus, fake = connection(lambda call: [reply(call)], lines=(b"OK 0123", b"AGREE_UNIX_FD"))
    with bus:
        bus.call("Reload", "", ())
    fake.join()
    assert fake.lines == [b"\0AUTH EXTERNAL", b"NEGOTIATE_UNIX_FD", b"BEGIN"]


@pytest.mark.parametrize("lines", [(b"DATA", b"OK 0123"), (b"OK 0123", b"AGREE_UNIX_FD")])
def test_signals_that_come_with_the_last_line_of_the_authentication(lines: tuple[bytes, ...]) -> None:
    """On its own socket systemd tells everybody of all jobs, also of those of others that begin at the same time."""
    news = tuple(job_removed(f"{JOB}{number}", f"{number}.scope", "done") for number in range(50))
    bus, _ = connection(lambda call: [reply(call, "s", "yes")], lines=lines, news=news)
    with bus:
        assert bus.call("GetUnit", "s", ("a.scope",)) == ("yes",)
        assert bus.jobs == {f"{JOB}{number}": ("", "done") for number in range(50)}


def test_a_bus_is_greeted_and_asked_for_the_signals_first() -> None:
    bus, fake = connection(lambda call: [reply(call)], direct=False)
    bus.close()
    fake.join()
    assert fake.calls == [
        ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "", ()),
        ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", (JOB_REMOVED,)),
        (SYSTEMD, MANAGER_PATH, MANAGER, "Subscribe", "", ()),
    ]


@pytest.mark.parametrize("first", [True, False])
def test_a_job_may_end_before_its_answer_comes(first: bool) -> None:
    def answer(call: Message) -> list[Message]:
        messages = [reply(call, "o", JOB), job_removed(JOB, "a.scope", "done")]
        other = job_removed(f"{JOB}7", "b.scope", "failed")
        return [other, *(reversed(messages) if first else messages)]

    bus, _ = connection(answer)
    with bus:
        assert bus.run_job("StopUnit", "ss", ("a.scope", "replace")) == "done"


def test_nobody_else_on_the_bus_ends_a_job() -> None:
    def answer(call: Message) -> list[Message]:
        if member(call) != "StopUnit":
            return [reply(call, sender=":1.1")]
        return [
            job_removed(JOB, "a.scope", "done", sender=":1.66"),
            reply(call, "o", JOB, sender=":1.1"),
            job_removed(JOB, "a.scope", "done", sender=":1.66"),
            job_removed(JOB, "a.scope", "canceled", sender=":1.1"),
        ]

    bus, _ = connection(answer, direct=False)
    with bus:
        assert bus.run_job("StopUnit", "ss", ("a.scope", "replace")) == "canceled"


def test_other_signals_are_passed_over() -> None:
    def answer(call: Message) -> list[Message]:
        from jeepney import DBusAddress, new_signal

        other = DBusAddress("/x", interface="org.example")
        return [new_signal(other, "JobRemoved", "uoss", (1, JOB, "a", "failed")), new_signal(other, "X"), reply(call)]

    bus, _ = connection(answer)
    with bus:
        bus.call("ResetFailedUnit", "s", ("a.scope",))
        assert bus.jobs == {}


def test_a_refusal_has_a_name() -> None:
    bus, _ = connection(lambda call: [refusal(call, f"{SYSTEMD}.NoSuchUnit", "Unit a.scope not loaded.")])
    with bus, pytest.raises(Refused) as caught:
        bus.call("StopUnit", "ss", ("a.scope", "replace"))
    assert (caught.value.name, caught.value.text) == (f"{SYSTEMD}.NoSuchUnit", "Unit a.scope not loaded.")
    assert caught.value.what == "systemd refuses StopUnit a.scope: Unit a.scope not loaded."


def test_an_answer_of_another_signature() -> None:
    bus, _ = connection(lambda call: [reply(call, "s", "/job")])
    with bus, pytest.raises(OcirtError) as caught:
        bus.run_job("StopUnit", "ss", ("a.scope", "replace"))
    what = "systemd sent what is no D-Bus message of the kind expected, as the answer to StopUnit a.scope"
    assert (caught.value.code, caught.value.what) == ("cgroup", what)


def test_bytes_that_are_no_message() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for piece in (b"DATA\r\n", b"OK 0123\r\n", b"\xff" * 64):
        theirs.send(piece)
    bus = Connection(dbus._socket.socket(fileno=ours.detach()), direct=True)
    with theirs, bus, pytest.raises(OcirtError) as caught:
        bus.call("Reload", "", ())
    what = "systemd sent what is no D-Bus message of the kind expected, as the answer to Reload"
    assert (caught.value.code, caught.value.what) == ("cgroup", what)


def test_properties() -> None:
    def answer(call: Message) -> list[Message]:
        if member(call) == "Get":
            return [reply(call, "v", ("s", "252.1"))]
        return [reply(call, "a{sv}", {"TasksMax": ("t", 5)})]

    bus, fake = connection(answer)
    with bus:
        assert bus.property(MANAGER_PATH, MANAGER, "Version") == "252.1"
        assert bus.properties("/unit", "org.freedesktop.systemd1.Scope") == {"TasksMax": ("t", 5)}
    fake.join()
    interface = "org.freedesktop.DBus.Properties"
    assert fake.calls == [
        (SYSTEMD, MANAGER_PATH, interface, "Get", "ss", (MANAGER, "Version")),
        (SYSTEMD, "/unit", interface, "GetAll", "s", ("org.freedesktop.systemd1.Scope",)),
    ]


# -- waits ---------------------------------------------------------------------------------------


def too_late(what: str) -> tuple[str, str]:
    return "timeout", f"waited 0.05 s for {what}"


def test_no_authentication() -> None:
    with pytest.raises(OcirtError) as caught:
        connection(silence, seconds=0.05, lines=())
    assert (caught.value.code, caught.value.what) == too_late("the authentication by systemd")


def test_no_answer() -> None:
    bus, _ = connection(silence, seconds=0.05)
    with bus, pytest.raises(OcirtError) as caught:
        bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", ("a.scope", "replace", [], []))
    assert (caught.value.code, caught.value.what) == too_late("the answer to StartTransientUnit a.scope")


def test_no_answer_from_the_bus() -> None:
    with pytest.raises(OcirtError) as caught:
        connection(silence, direct=False, seconds=0.05)
    assert (caught.value.code, caught.value.what) == too_late("the answer to Hello")


def test_a_job_without_an_end() -> None:
    bus, _ = connection(lambda call: [reply(call, "o", JOB)], seconds=0.05)
    with bus, pytest.raises(OcirtError) as caught:
        bus.run_job("StopUnit", "ss", ("a.scope", "replace"))
    assert (caught.value.code, caught.value.what) == too_late("the job of StopUnit a.scope")


def test_chatter_does_not_prolong_a_wait() -> None:
    """Each signal is a message, none is the answer."""
    ours, theirs = socket.socketpair()
    bus_socket = dbus._socket.socket(fileno=ours.detach())
    stop = []

    def answer(call: Message) -> list[Message]:
        while not stop:
            try:
                theirs.sendall(job_removed("/other", "b.scope", "done").serialise(serial=9))
            except OSError:
                break
            time.sleep(0.005)
        return []

    FakeSystemd(theirs, answer)
    bus = Connection(bus_socket, direct=True, seconds=0.1)
    with bus, pytest.raises(OcirtError) as caught:
        bus.call("GetUnit", "s", ("a.scope",))
    stop.append(True)
    assert (caught.value.code, caught.value.what) == ("timeout", "waited 0.1 s for the answer to GetUnit a.scope")


def test_a_message_that_nobody_reads() -> None:
    stuck = threading.Event()

    def answer(call: Message) -> list[Message]:
        stuck.wait(10)
        return []

    bus, _ = connection(answer, seconds=0.05)
    with bus:
        for text in ("a", "x" * 10_000_000):  # at the first it gets stuck, the second fills the socket
            with pytest.raises(OcirtError) as caught:
                bus.call("GetUnit", "s", (text,))
            assert (caught.value.code, caught.value.what) == too_late(f"the answer to GetUnit {text}")
    stuck.set()


def test_systemd_goes_away() -> None:
    ours, theirs = socket.socketpair()

    def leave(call: Message) -> list[Message]:
        theirs.shutdown(socket.SHUT_RDWR)
        return []

    FakeSystemd(theirs, leave)
    bus = Connection(dbus._socket.socket(fileno=ours.detach()), direct=True, seconds=10)
    with bus, pytest.raises(OcirtError) as caught:
        bus.call("GetUnit", "s", ("a.scope",))
    assert caught.value.what == "systemd closed the connection before the answer to GetUnit a.scope"


def test_refused_at_the_door() -> None:
    with pytest.raises(OcirtError) as caught:
        connection(silence, lines=(b"REJECTED EXTERNAL",))
    assert caught.value.what == "systemd refuses this user on D-Bus: REJECTED EXTERNAL"


def test_not_a_bus_at_all() -> None:
    with pytest.raises(OcirtError) as caught:
        connection(silence, lines=(b"x" * 5000,))
    assert caught.value.what == "no D-Bus server answers on the socket"


# -- where systemd listens -----------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dbus, "SYSTEM_PRIVATE", str(tmp_path / "private"))
    monkeypatch.setattr(dbus, "SYSTEM_BUS", str(tmp_path / "bus"))
    known = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    monkeypatch.setattr(dbus.os, "getenv", lambda name: known.get(name, ""))
    return tmp_path


@pytest.fixture
def serve() -> Iterator[Any]:
    """Listens on a path; what the tests get tells of the connections."""
    servers: list[Server] = []

    def listen(path: Path) -> Callable[[], list[FakeSystemd]]:
        server = Server(path, lambda call: [reply(call)])
        servers.append(server)
        return lambda: poll(lambda: server.served, "a connection")  # type: ignore[no-any-return]

    yield listen
    for server in servers:
        server.close()


def test_root_asks_systemd_itself(places: Path, serve: Any) -> None:
    served = serve(places / "private")
    dbus.connect(False).close()
    served()[0].join()
    assert served()[0].members() == []


def test_root_asks_by_the_bus_where_there_is_nothing_else(places: Path, serve: Any) -> None:
    served = serve(places / "bus")
    dbus.connect(False).close()
    served()[0].join()
    assert served()[0].members() == ["Hello", "AddMatch", "Subscribe"]


def test_a_user_asks_their_own_systemd(places: Path, serve: Any) -> None:
    served = serve(places / "run" / "systemd" / "private")
    dbus.connect(True).close()
    served()[0].join()
    assert served()[0].members() == []


def test_a_users_bus(places: Path, serve: Any) -> None:
    served = serve(places / "run" / "bus")
    dbus.connect(True).close()
    served()[0].join()
    assert served()[0].members() == ["Hello", "AddMatch", "Subscribe"]


def test_a_users_bus_elsewhere(places: Path, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address = {"DBUS_SESSION_BUS_ADDRESS": f"tcp:host=x,port=1;unix:path={places}/else%20where,guid=0"}
    monkeypatch.setattr(dbus.os, "getenv", lambda name: address.get(name, str(places / "run")))
    served = serve(places / "else where")
    dbus.connect(True).close()
    served()[0].join()
    assert served()[0].members() == ["Hello", "AddMatch", "Subscribe"]


def test_nobody_listens(places: Path) -> None:
    with pytest.raises(OcirtError) as caught:
        dbus.connect(False)
    assert (caught.value.code, caught.value.what) == ("cgroup", "connect to the system's systemd")
    assert caught.value.detail == (
        f"{places}/private: No such file or directory; {places}/bus: No such file or directory"
    )
    with pytest.raises(OcirtError, match="connect to the user's systemd"):
        dbus.connect(True)


def test_a_full_queue_of_connections_is_waited_for_only_so_long(places: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(places / "private"))
    listener.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(places / "private"))
    begin = time.monotonic()
    with pytest.raises(OcirtError) as caught:
        dbus.connect(False, seconds=0.05)
    assert 0.04 < time.monotonic() - begin < 5
    assert f"{places}/private: Resource temporarily unavailable" in caught.value.detail
    waiting.close()
    listener.close()


# -- the library ---------------------------------------------------------------------------------


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbus, "_library", None)
    monkeypatch.setitem(sys.modules, "jeepney", None)
    before = list(sys.path)
    with pytest.raises(OcirtError) as caught:
        dbus.library()
    assert (caught.value.code, caught.value.what) == (
        "unsupported",
        "the systemd cgroup manager needs the Python library jeepney",
    )
    assert "python3-jeepney" in caught.value.remedy
    assert sys.path == before
