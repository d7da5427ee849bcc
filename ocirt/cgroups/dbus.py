"""A conversation with systemd over D-Bus: one call at a time, every wait with a bound.

The library jeepney makes and reads the messages (blocking; it is loaded here and nowhere else).  What it has no
call for is done here: systemd's own socket has no bus that says Hello, the user in a user namespace is known by its
credentials only, and each wait ends.
Sources: D-Bus Specification (Authentication Protocol, Message Bus), org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import _socket
import time
from _struct import Struct  # built in; the public module is a file

from ocirt import extras
from ocirt import system as os
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from jeepney import Message

TIMEOUT = 30.0  # seconds for each answer, as runc waits
SYSTEMD = "org.freedesktop.systemd1"
MANAGER_PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
JOB_REMOVED = f"type='signal',sender='{SYSTEMD}',path='{MANAGER_PATH}',interface='{MANAGER}',member='JobRemoved'"
SYSTEM_PRIVATE, SYSTEM_BUS = "/run/systemd/private", "/run/dbus/system_bus_socket"
ANSWER = "the answer to "
LONGEST_LINE = 1024  # of the authentication
# Method -> signature of its answer, where that is looked at.
ANSWERS = {"Get": "v", "GetAll": "a{sv}", "StartTransientUnit": "o", "StopUnit": "o"}


class Refused(OcirtError):
    """An error as the answer.  name: "org.freedesktop.systemd1.NoSuchUnit"; text: what it says."""

    def __init__(self, call: str, name: str, text: str) -> None:
        super().__init__("cgroup", f"systemd refuses {call}: {text or name}")
        self.name = name
        self.text = text


class Connection:
    """To systemd, directly or through a bus.  Raises OcirtError("timeout") and OcirtError("cgroup").

    jobs: path of a job -> who said how it ended, and how.
    """

    def __init__(self, sock: _socket.socket, *, direct: bool, seconds: float = TIMEOUT) -> None:
        """sock: connected.  direct: it is systemd's own, no bus is between."""
        jeepney = library()
        self._sock = sock
        self._seconds = seconds
        self._parser = jeepney.Parser()
        self._unread = b""  # what came with a line of the authentication, and after it
        self._serial = 0
        self.jobs: dict[str, tuple[str, str]] = {}
        deadline = self._deadline()
        self._authenticate(deadline)
        if not direct:
            self._call(BUS, BUS_PATH, BUS, "Hello")
            self._call(BUS, BUS_PATH, BUS, "AddMatch", "s", (JOB_REMOVED,))
            self._call(SYSTEMD, MANAGER_PATH, MANAGER, "Subscribe")

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- systemd ---------------------------------------------------------------------------------

    def call(self, member: str, signature: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        """A method of systemd's manager.  Raises Refused."""
        return self._call(SYSTEMD, MANAGER_PATH, MANAGER, member, signature, body).body  # type: ignore[no-any-return]

    def run_job(self, member: str, signature: str, body: tuple[Any, ...]) -> str:
        """A method that begins a job, up to the job's end: "done", "failed", "canceled", ...  Raises Refused."""
        return self.wait_for_job(self.begin_job(member, signature, body), f"the job of {member} {body[0]}")

    def begin_job(self, member: str, signature: str, body: tuple[Any, ...]) -> tuple[str, str]:
        """The job's path, and whose word on it counts.  Raises Refused."""
        answer = self._call(SYSTEMD, MANAGER_PATH, MANAGER, member, signature, body)
        return answer.body[0], _field(answer, "sender")

    def wait_for_job(self, job: tuple[str, str], what: str) -> str:
        path, sender = job
        deadline = self._deadline()
        while True:
            said_by, result = self.jobs.pop(path, ("", ""))
            if result and said_by == sender:  # anybody on a bus can send a signal
                return result
            self._note_job(self._receive(deadline, what))

    def property(self, path: str, interface: str, name: str) -> Any:
        """A property's value.  Raises Refused."""
        return self._call(SYSTEMD, path, PROPERTIES, "Get", "ss", (interface, name)).body[0][1]

    def properties(self, path: str, interface: str) -> dict[str, tuple[str, Any]]:
        """All properties of an interface: name -> (signature, value).  Raises Refused."""
        found: dict[str, tuple[str, Any]] = self._call(SYSTEMD, path, PROPERTIES, "GetAll", "s", (interface,)).body[0]
        return found

    # -- messages --------------------------------------------------------------------------------

    def _call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str | None = None,
        body: tuple[Any, ...] = (),
    ) -> Message:
        jeepney = library()
        message = jeepney.new_method_call(
            jeepney.DBusAddress(path, bus_name=destination, interface=interface), member, signature, body
        )
        self._serial += 1
        what = f"{ANSWER}{member}" + (f" {body[0]}" if body and isinstance(body[0], str) else "")
        deadline = self._deadline()
        self._send(message.serialise(serial=self._serial), deadline, what)
        while True:
            answer = self._receive(deadline, what)
            if _field(answer, "reply_serial") != self._serial:
                self._note_job(answer)
                continue
            if answer.header.message_type is jeepney.MessageType.error:
                raise Refused(
                    what.removeprefix(ANSWER), _field(answer, "error_name"), str(answer.body[0]) if answer.body else ""
                )
            if _field(answer, "signature") != ANSWERS.get(member, _field(answer, "signature")):
                raise _no_message(what)
            return answer

    def _note_job(self, message: Message) -> None:
        """Keep what JobRemoved says: it may come before the answer that names the job."""
        if (
            _field(message, "member") == "JobRemoved"
            and _field(message, "interface") == MANAGER
            and message.header.fields.get(library().HeaderFields.signature) == "uoss"
        ):
            _, path, _, result = message.body
            self.jobs[path] = (_field(message, "sender"), result)

    def _receive(self, deadline: float, what: str) -> Message:
        while True:
            try:
                message = self._parser.get_next_message()
            except Exception as error:  # jeepney checks nothing: KeyError, ValueError, AssertionError, ...
                raise _no_message(what) from error
            if message is not None:
                return message
            self._parser.add_data(self._read(deadline, what))

    # -- bytes -----------------------------------------------------------------------------------

    def _deadline(self) -> float:
        return time.monotonic() + self._seconds

    def _authenticate(self, deadline: float) -> None:
        """EXTERNAL without a name: the other side takes the user from the socket's credentials.

        BEGIN has no answer.  It goes before an answer is waited for: what systemd reads together with BEGIN it
        looks at only when more comes, and a first message sent right after it may be read so.
        """
        what = "the authentication by systemd"
        self._send(b"\0AUTH EXTERNAL\r\n", deadline, what)
        line = self._line(deadline, what)
        if line == b"DATA":
            self._send(b"DATA\r\nBEGIN\r\n", deadline, what)
            line = self._line(deadline, what)
        elif line.startswith(b"OK "):  # before systemd 240
            self._send(b"NEGOTIATE_UNIX_FD\r\nBEGIN\r\n", deadline, what)
            self._line(deadline, what)
        if not line.startswith(b"OK "):
            raise OcirtError(
                "cgroup", f"systemd refuses this user on D-Bus: {line.decode('ascii', 'backslashreplace')}"
            )
        self._parser.add_data(self._unread)

    def _line(self, deadline: float, what: str) -> bytes:
        """The next one of the authentication.  On its own socket systemd sends its signals right after the last."""
        found = self._unread
        while b"\r\n" not in found and len(found) <= LONGEST_LINE:
            found += self._read(deadline, what)
        line, _, self._unread = found.partition(b"\r\n")
        if len(line) > LONGEST_LINE:
            raise OcirtError("cgroup", "no D-Bus server answers on the socket")
        return line

    def _send(self, data: bytes, deadline: float, what: str) -> None:
        try:
            self._set_time(deadline)
            self._sock.sendall(data)
        except TimeoutError:
            raise self._too_late(what) from None
        except OSError as error:
            raise _broken(what, error) from None

    def _read(self, deadline: float, what: str) -> bytes:
        try:
            self._set_time(deadline)
            data = self._sock.recv(65536)
        except TimeoutError:
            raise self._too_late(what) from None
        except OSError as error:
            raise _broken(what, error) from None
        if not data:
            raise OcirtError("cgroup", f"systemd closed the connection before {what}")
        return data

    def _set_time(self, deadline: float) -> None:
        self._sock.settimeout(max(deadline - time.monotonic(), 0.001))  # 0 would mean: do not wait at all

    def _too_late(self, what: str) -> OcirtError:
        return OcirtError(
            "timeout",
            f"waited {self._seconds:g} s for {what}",
            remedy="systemd or the D-Bus daemon is stuck or overloaded: see systemctl is-system-running",
        )


def _broken(what: str, error: OSError) -> OcirtError:
    return OcirtError("cgroup", f"the connection to systemd broke before {what}", errno=error.errno or 0)


def _no_message(what: str) -> OcirtError:
    return OcirtError("cgroup", f"systemd sent what is no D-Bus message of the kind expected, as {what}")


def _field(message: Message, name: str) -> Any:
    """A header field, "" when it is not there."""
    return message.header.fields.get(library().HeaderFields[name], "")


# -- where systemd listens -----------------------------------------------------------------------


def connect(user: bool, seconds: float = TIMEOUT) -> Connection:
    """To the machine's systemd or the user's own.  Raises OcirtError."""
    library()
    places = _user_sockets() if user else [(SYSTEM_PRIVATE, True), (SYSTEM_BUS, False)]
    failures = []
    for place, direct in places:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            _connect(sock, place, seconds)
            return Connection(sock, direct=direct, seconds=seconds)
        except OSError as error:
            sock.close()
            failures.append(f"{place}: {os.strerror(error.errno or 0)}")
        except BaseException:
            sock.close()
            raise
    raise OcirtError(
        "cgroup",
        f"connect to {'the user' if user else 'the system'}'s systemd",
        detail="; ".join(failures) or "neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set",
        remedy="start a login session (ssh, machinectl shell) or loginctl enable-linger, and set XDG_RUNTIME_DIR"
        if user
        else "systemd must be running as the machine's first process",
    )


def _connect(sock: _socket.socket, place: str, seconds: float) -> None:
    """connect(2), which waits for room in the listener's queue; a non-blocking one would not.  EAGAIN: too long."""
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, Struct("@ll").pack(int(seconds), int(seconds % 1 * 1e6)))
    sock.connect(place)


def _user_sockets() -> list[tuple[str, bool]]:
    """Path, and whether it is systemd's own; as systemctl --user looks for them."""
    places = []
    directory = os.getenv("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    address = os.getenv("DBUS_SESSION_BUS_ADDRESS")
    places.append((f"{directory}/systemd/private", True))
    if address:
        library()
        from jeepney.bus import get_connectable_addresses

        places += [(place, False) for place in get_connectable_addresses(address)]
    places.append((f"{directory}/bus", False))
    return places


# -- the library ---------------------------------------------------------------------------------

_library: ModuleType | None = None


def library() -> ModuleType:
    """jeepney, loaded at the first call, which must come before the clone.  Raises OcirtError("unsupported")."""
    global _library
    if _library is None:
        # low_level: an empty directory can be imported too
        _library = extras.load("the systemd cgroup manager needs", "jeepney", "jeepney.low_level")[0]
    return _library
