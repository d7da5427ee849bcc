"""The conversation between the runtime and the container's init: records over a SEQPACKET socket.

A record is NUL-separated UTF-8 fields, the first one its kind.  No JSON, no pickle: the peer may one day be
hostile.  It is moved by plain read(2) and write(2), which every seccomp profile allows; SIGPIPE is ignored by
Python until the program is executed.

 runtime (host)                                   init (the container's first process)
 ---------------------------------------------    --------------------------------------------
 clone3 --------------------------------------->  born; waits
 [joiner only: PID n, then the joiner ends]
 id maps [a cgroup that could not be born in]
 GO ------------------------------------------->  joins its cgroup, seals the imports, mounts
 prestart, createRuntime  <----------------- ASK hooks
 DONE ----------------------------------------->  createContainer, pivot_root, finish
 [user namespace: rlimits <----------------- ASK limits
 DONE]----------------------------------------->  rlimits, identity, looks the program up
 [seccomp notification: the filter's listener, taken out of init, goes to the agent
                          <-------- ASK listener N
  (a user's runtime cannot: ASK listener, and a record with the listener itself)
 DONE]----------------------------------------->  closes its own
 saves record, pid-file   <------------------- READY
 SAVED ---------------------------------------->  closes this channel, waits on start.sock
 exit 0

 [exec, restore, run: GO instead of SAVED; init executes, and what follows is said in this channel.
  run: the pid-file before GO]

 start: connect, unlink start.sock, GO -------->  startContainer hooks
                          <-------------- EXECUTES  seccomp, execve
 EOF = running / ERROR = failed                   (the accepted end is close-on-exec)
 EOF without EXECUTES = init died
 poststart

 at any time:   <-- ERROR code what stage step at call errno detail remedy; init then waits for the end
                --> ASK root: it sends its root directory, where the runtime cannot open that itself
                <-- LOG level text
                EOF instead of READY = init died; the runtime reports its wait status
"""

from __future__ import annotations

import _socket
import select
import sys

from ocirt import log
from ocirt import system as os
from ocirt.errors import RECORD_FIELDS, OcirtError, system_error

GO, ASK, DONE, READY, SAVED, PID, ERROR, LOG = "GO", "ASK", "DONE", "READY", "SAVED", "PID", "ERROR", "LOG"
EXECUTES = "EXECUTES"
EOF = ""

# Kind -> how many fields it may have.
FIELDS = {
    GO: (0,),
    ASK: (1, 2),
    DONE: (0,),
    READY: (0,),
    SAVED: (0,),
    PID: (2,),
    EXECUTES: (0,),
    ERROR: (len(RECORD_FIELDS),),
    LOG: (2,),
}
MAX_RECORD = 65536  # bytes; of a longer SEQPACKET record the rest is lost
MAX_FIELD = 6400  # bytes; an error text can hold names that an image chose, and ten of them must make a record


class Record:
    """kind: one of the constants above, EOF when the peer is gone.  fields: text."""

    __slots__ = ("kind", "fields")

    def __init__(self, kind: str, fields: list[str]) -> None:
        self.kind = kind
        self.fields = fields


class Channel:
    """One end.  Blocking; a process holds one conversation at a time.

    bound: how long the peer may be silent (seconds), and the error when it is; None for ever.
    """

    def __init__(self, sock: _socket.socket) -> None:
        self._socket = sock
        self.bound: tuple[float, OcirtError] | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, kind: str, *fields: str) -> None:
        """Send one record.  Raises OSError (BrokenPipeError when the peer is gone)."""
        texts = (field.replace("\0", "\\0").encode("utf-8", "backslashreplace")[:MAX_FIELD] for field in fields)
        os.write(self._socket.fileno(), b"\0".join((kind.encode(), *texts)))

    def receive(self) -> Record:
        """The next record; kind EOF when the peer has closed.

        Raises OSError, the bound's error, and OcirtError("internal") for what is no record.
        """
        self.wait()
        return self.take()

    def take(self) -> Record:
        """As receive(), of what is there: the bound is the caller's to keep."""
        try:
            data = os.read(self._socket.fileno(), MAX_RECORD)
        except ConnectionResetError:
            return Record(EOF, [])
        kind, *fields = data.decode("utf-8", "replace").split("\0")
        if kind and len(fields) not in FIELDS.get(kind, ()):
            raise OcirtError("internal", f"received {len(data)} bytes that are no record")
        return Record(kind, fields)

    def receive_descriptor(self) -> int:
        """The descriptor that comes with the next record, close-on-exec.  Raises OSError, the bound's error."""
        self.wait()
        size = _socket.CMSG_LEN(4)
        kind, ancillary, _, _ = self._socket.recvmsg(MAX_RECORD, size, _socket.MSG_CMSG_CLOEXEC)
        if not ancillary:
            raise OcirtError("internal", f"expected a descriptor, received {kind.decode() or 'the end'}")
        return int.from_bytes(ancillary[0][2], sys.byteorder)

    def wait(self) -> None:
        """Until there is something to receive.  Raises the bound's error."""
        if self.bound is not None:
            seconds, error = self.bound
            poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN)
            if not poll.poll(seconds * 1000):
                raise error

    def receive_past_log(self) -> Record:
        """The next record that is not a log line; those are written to the log.  Raises OSError."""
        while True:
            record = self.receive()
            if record.kind != LOG:
                return record
            log.pass_on(*record.fields)

    def expect(self, kind: str) -> Record:
        """The next record, which must be of this kind.  Raises OcirtError("internal") when it is not."""
        record = self.receive()
        if record.kind != kind:
            raise OcirtError("internal", f"expected the record {kind}, received {record.kind or 'the end'}")
        return record

    def send_error(self, error: BaseException) -> None:
        """Report a failure to the runtime; whatever it is, something is sent."""
        if isinstance(error, OSError) and error.errno:
            error = system_error(error)
        elif not isinstance(error, OcirtError):
            error = OcirtError("internal", f"{type(error).__name__}: {error}")
        self.send(ERROR, *error.to_record())

    def send_log(self, level: str, text: str) -> None:
        self.send(LOG, level, text)


def channel_pair() -> tuple[Channel, Channel]:
    """Two connected ends, both close-on-exec (the _socket module sets that)."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    return Channel(ours), Channel(theirs)


def accept(listening: int) -> Channel:
    """Wait for one connection on a listening socket and close the listener.

    The sockets are told what they are: else Python asks getsockname(2), which a seccomp filter may refuse.
    """
    what = (_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)
    listener = _socket.socket(*what, listening)
    fd, _ = listener._accept()  # type: ignore[attr-defined]  # typeshed has only the public one
    listener.close()
    os.set_inheritable(fd, False)
    return Channel(_socket.socket(*what, fd))
