"""The listener of a seccomp filter with SCMP_ACT_NOTIFY: from init to the runtime, and from there to the agent.

config-linux.md, Seccomp and "The Container Process State"; seccomp_unotify(2).

Once the filter is loaded any call of init's may be one that waits for the agent, which has no listener yet to answer
by.  So init makes one call until the runtime has the listener, write(2), which no profile may notify about
(config/checks_linux.py); the runtime takes the listener out of init.  Where it may not (a user's runtime; before
Linux 5.6), init sends it, by sendmsg(2) right after.  Then the agent can answer: init reads that it may go on,
read(2), and closes its own listener, close(2), by which it would wait for an agent that is gone.
"""

from __future__ import annotations

import _socket
import _struct as struct  # built in; the public module is a file
import errno
import time

from ocirt import OCI_VERSION
from ocirt import system as os
from ocirt.channel import ASK, DONE
from ocirt.config import jsontext
from ocirt.errors import OcirtError
from ocirt.pipeline import Step
from ocirt.stages.seccomp import LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.config.views import Seccomp
    from ocirt.host import Host

AGENT_DEADLINE = 10.0  # seconds for the agent to take the listener, and for its answer to each call of init's own
PIDFD_GETFD = (5, 6)  # Linux
LONGEST_PATH = 107  # bytes of sun_path, unix(7)
DESCRIPTOR_NAME = "seccompFd"  # config-linux.md
STATE_MEMBERS = ("ociVersion", "id", "status", "bundle", "annotations")  # runtime.md, without pid


class HandOverListener(Step):
    """Init, right after the filter.  path: the agent's socket.  sends: the runtime may not take it."""

    __slots__ = ("path", "sends")

    def __init__(self, at: str, path: str, sends: bool) -> None:
        self.at = at
        self.path = path
        self.sends = sends

    def describe(self) -> str:
        return f"{'send' if self.sends else 'show'} the runtime the filter's listener, for the agent at {self.path}"

    def apply(self, box: Box) -> None:
        fd = box.fds.pop(LISTENER)
        if self.sends:
            box.channel.send(ASK, LISTENER)
            box.kernel.send_fd(box.channel.fileno(), LISTENER.encode(), fd)
        else:
            box.channel.send(ASK, LISTENER, str(fd))
        box.channel.expect(DONE)
        try:
            box.kernel.close(fd)
        except OSError:
            pass  # the filter refuses it; execve closes it all the same


class SendListener(Step):
    """The runtime: connect to the agent, send it the container process state and the listener of init.

    state: of the container, with status; pid: the pid in it, 0 for that of the process that has the filter.
    """

    __slots__ = ("metadata", "path", "pid", "state")

    def __init__(self, at: str, path: str, metadata: str, state: dict[str, Any], pid: int) -> None:
        self.at = at
        self.path = path
        self.metadata = metadata
        self.state = state
        self.pid = pid

    def describe(self) -> str:
        return f"send the filter's listener to the agent at {self.path}"

    def apply(self, box: Box) -> None:
        fd = take(box) if box.facts[LISTENER] else self.receive(box)
        try:
            send(self.path, jsontext.dump(self.message(box.pid)).encode(), fd)
        finally:
            box.kernel.close(fd)
        box.channel.bound = AGENT_DEADLINE, silent_agent(self.path, self.at)

    def receive(self, box: Box) -> int:
        what, remedy = "init cannot send the filter's listener", "without root, leave the sendmsg syscall to init"
        box.channel.bound = AGENT_DEADLINE, OcirtError("timeout", what, at=self.at, remedy=remedy)
        return box.channel.receive_descriptor()

    def message(self, pid: int) -> dict[str, Any]:
        """The container process state for the process pid."""
        document = {"ociVersion": OCI_VERSION, "fds": [DESCRIPTOR_NAME], "pid": pid}
        if self.metadata:
            document["metadata"] = self.metadata
        return {**document, "state": {**self.state, "pid": self.pid or pid}}


def take(box: Box) -> int:
    """Our own descriptor of the listener of process box.pid, which told its number as box.facts["listener"]."""
    pidfd = box.kernel.pidfd_open(box.pid)
    try:
        fd: int = box.kernel.pidfd_getfd(pidfd, int(box.facts[LISTENER]))
        return fd
    finally:
        box.kernel.close(pidfd)


def send(path: str, message: bytes, fd: int) -> None:
    """message over one connection to the socket at path, fd with its first bytes.  Raises OcirtError."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise _failure("connect with", path, errno.ENAMETOOLONG)
    deadline = time.monotonic() + AGENT_DEADLINE
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        # Not a timeout of Python's, which would make connect(2) fail at once on a full queue.
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("ll", int(AGENT_DEADLINE), 0))
        verb = "connect with"
        sock.connect(path)
        verb = "send the container process state to"
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))]
        message = message[sock.sendmsg([message], rights, _socket.MSG_NOSIGNAL) :]
        while message and time.monotonic() < deadline:
            message = message[sock.send(message, _socket.MSG_NOSIGNAL) :]
    except OSError as error:
        raise _failure(verb, path, error.errno or 0) from None
    finally:
        sock.close()
    if message:
        raise _failure(verb, path, errno.EAGAIN)


def _failure(verb: str, path: str, number: int) -> OcirtError:
    if number == errno.EAGAIN:
        return OcirtError("timeout", f"the seccomp agent at {path} does not read: waited {AGENT_DEADLINE:.0f} s")
    what = f"failed to {verb} seccomp agent at {path}"
    return OcirtError("step-failed", what, call=verb.split()[0], errno=number)


def silent_agent(path: str, at: str) -> OcirtError:
    """The error when init does not get on after the agent has the listener."""
    what = f"the seccomp agent at {path} does not answer: waited {AGENT_DEADLINE:.0f} s"
    remedy = "it must answer the calls that init itself makes after the filter"
    return OcirtError("timeout", what, at=at, remedy=remedy)


def hand_over(wanted: Seccomp, host: Host) -> Iterator[Step]:
    """INIT or START, after a filter that has a listener."""
    # init is not dumpable: to take something out of it needs CAP_SYS_PTRACE over the namespace of who began it.
    sends = host.euid != 0 or host.kernel < PIDFD_GETFD
    yield HandOverListener(f"{wanted.at}/listenerPath", wanted.listener_path or "", sends)


def listener(wanted: Seccomp, state: dict[str, Any]) -> Iterator[Step]:
    """ANSWER, and in `start` when init asks.

    state: the container's, with status, and with its pid unless that is init's own.  Members that runtime.md does
    not know are left out.
    """
    plain = {name: state[name] for name in STATE_MEMBERS if name in state}
    path = wanted.listener_path or ""
    if not path.startswith("/"):
        path = f"{state['bundle']}/{path}"
    metadata = wanted.listener_metadata or ""
    yield SendListener(f"{wanted.at}/listenerPath", path, metadata, plain, int(state.get("pid", 0)))
