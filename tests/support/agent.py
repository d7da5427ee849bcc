"""A seccomp agent: takes containers' listeners at a socket and answers their notifications (seccomp_unotify(2)).

As a script it is the agent; Agent starts it as a process of its own, which a test can kill.  A call that it has no
answer for goes on as if there were no filter.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_*
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id pid flags nr arch instruction_pointer args
ANSWER = struct.Struct("=Qqii")  # id val error flags
BOUND = 30.0
LONGEST = 4096


class Agent:
    """answers: system call number -> what is done instead: an errno, "mkdir", "getcwd", or None for never an answer.

    takes: "everything"; "descriptors" without ever an answer; "connections" that it never reads; "nothing": it
    listens, and its queue is full.
    """

    def __init__(self, directory: Path, takes: str = "everything", **answers: Any) -> None:
        self.path = directory / "agent.sock"
        self._log = directory / "agent.log"
        self._log.touch()
        arguments = [str(self.path), str(self._log), takes, json.dumps(answers)]
        self._process = subprocess.Popen([sys.executable, "-IS", __file__, *arguments], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], BOUND)
        assert ready
        assert self._process.stdout.read(1) == b"."

    def _records(self, kind: str) -> list[Any]:
        lines = self._log.read_text().splitlines()
        return [value for name, value in map(json.loads, lines) if name == kind]

    @property
    def received(self) -> list[dict[str, Any]]:
        """The container process states, one for each connection; "kinds" in it is what its descriptors are."""
        return self._records("state")

    @property
    def ends(self) -> list[str]:
        """Of each connection that was closed: what came after the first message."""
        return self._records("end")

    @property
    def calls(self) -> list[int]:
        """The numbers of the system calls that it was notified about."""
        return self._records("call")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


# The script.


class Server:
    def __init__(self, path: str, log: str, takes: str, answers: dict[str, Any]) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND)
        self.takes = takes
        self.answers = answers
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(0 if takes == "nothing" else 8)
        self.kept: list[Any] = []
        self.connections: dict[int, socket.socket] = {}
        if takes == "nothing":
            self.kept = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)]
            self.kept[0].connect(path)

    def note(self, kind: str, value: Any) -> None:
        os.write(self.log, json.dumps([kind, value]).encode() + b"\n")

    def serve(self) -> None:
        os.write(1, b".")
        poll = select.poll()
        if self.takes != "nothing":
            poll.register(self.listener, select.POLLIN)
        while True:
            for fd, events in poll.poll():
                if fd == self.listener.fileno():
                    self.accept(poll)
                elif fd in self.connections:
                    poll.unregister(fd)
                    with self.connections.pop(fd) as connection:
                        self.note("end", connection.recv(1 << 20).decode())
                elif events & select.POLLIN:
                    self.notified(fd)
                else:  # POLLHUP: no process has the filter any more
                    poll.unregister(fd)
                    os.close(fd)

    def accept(self, poll: Any) -> None:
        connection, _ = self.listener.accept()
        if self.takes == "connections":
            self.kept.append(connection)
            return
        data, ancillary, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(64))
        fds = array.array("i")
        for _, _, packed in ancillary:
            fds.frombytes(packed)
        self.note("state", {**json.loads(data), "kinds": [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]})
        self.connections[connection.fileno()] = connection
        poll.register(connection, select.POLLIN)
        if self.takes == "everything":
            poll.register(fds[0], select.POLLIN)
        self.kept.append(fds)

    def notified(self, fd: int) -> None:
        notification = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(fd, NOTIF_RECV, notification)
            number, pid, _, call, _, _, *arguments = NOTIFICATION.unpack(notification)
            self.note("call", call)
            answer = self.answers.get(str(call), CONTINUE)
            if answer is None:
                return
            value, error, flags = 0, 0, 0
            if answer == "mkdir":
                value, error = mkdir(pid, arguments[0])
            elif answer == "getcwd":
                value, error = getcwd(pid, arguments[0], arguments[1])
            elif str(call) in self.answers:
                error = -answer
            else:
                flags = CONTINUE
            fcntl.ioctl(fd, NOTIF_SEND, ANSWER.pack(number, value, error, flags))
        except FileNotFoundError:
            pass  # the process was killed meanwhile


def mkdir(pid: int, path: int) -> tuple[int, int]:
    """Make the directory with "-agent" at the end of its name."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        name = os.pread(memory.fileno(), LONGEST, path).split(b"\0")[0]
    os.mkdir(f"/proc/{pid}/root".encode() + name + b"-agent")
    return 0, 0


def getcwd(pid: int, buffer: int, size: int) -> tuple[int, int]:
    text = b"/the/agent/says\0"
    assert size >= len(text)
    with open(f"/proc/{pid}/mem", "r+b", 0) as memory:
        os.pwrite(memory.fileno(), text, buffer)
    return len(text), 0


if __name__ == "__main__":
    Server(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])).serve()
