"""Commands that are killed or fail at one known event of theirs: the outside of faulty.py."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.runtime import Runtime

FAULTY = Path(__file__).with_name("faulty.py")
BOUND = 25.0  # seconds for any command; the longest wait of ocirt's own is 10
# What a delete says that goes on where one was killed while it removed the files.
NO_HOOKS = "poststop hooks are not run"
ALL = os.environ.get("OCIRT_TEST_FAULTS", "") == "all"


class Event:
    """role: runtime, joiner or init.  kind: call or step.  number: of this kind in that process.  name: what it is."""

    def __init__(self, role: str, kind: str, number: int, name: str) -> None:
        self.role = role
        self.kind = kind
        self.number = number
        self.name = name

    def __repr__(self) -> str:
        return f"{self.role} {self.kind} {self.number} ({self.name})"


class Ended:
    """A command that ended: status as subprocess gives it, its output, the code of its error or ""."""

    def __init__(self, args: list[str], status: int, err: str, code: str) -> None:
        self.args = args
        self.status = status
        self.err = err
        self.code = code

    def check(self) -> None:
        """Success, or a refusal with a code; before it is known where and how to log, with a line alone."""
        assert "Traceback" not in self.err, self.err
        if self.status:
            assert self.status > 0, f"killed by signal {-self.status}: {self.err}"
            assert self.code or self.err.startswith("ocirt: "), f"status {self.status} without an error: {self.err}"

    def __repr__(self) -> str:
        return f"{' '.join(self.args)}: {self.status} [{self.code}] {self.err}"


class Faulty:
    """The runtime with a fault."""

    def __init__(self, runtime: Runtime, args: list[str]) -> None:
        self.runtime = runtime
        self.args = args
        self._err = runtime.directory / "fault.err"
        self._log = runtime.directory / "fault.log"

    def events(self) -> list[Event]:
        """Run the command; what it does, in the order in which it did it."""
        with tempfile.TemporaryFile(dir=self.runtime.directory) as file:
            fd = os.open(f"/proc/self/fd/{file.fileno()}", os.O_WRONLY | os.O_APPEND)
            ended = self._end(self._begin({"do": "list"}, fd))
            assert ended.status == 0, ended
            lines = [line.split(" ", 3) for line in file.read().decode().splitlines()]
        return [Event(role, kind, int(number), name) for role, kind, number, name in lines]

    def fail(self, event: Event, errno: int) -> tuple[bool, Ended]:
        """Whether it came to the event, and how it ended."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            spec = {"do": "fail", "role": event.role, "kind": event.kind, "at": event.number, "errno": errno}
            ended = self._end(self._begin(spec, theirs.detach()))
            ours.setblocking(False)
            try:
                came = bool(ours.recv(1000))
            except BlockingIOError:
                came = False
        return came, ended

    @contextmanager
    def paused(self, event: Event) -> Iterator[Paused | None]:
        """The command, stopped at the event; None when it ended without coming there."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            process = self._begin(
                {"do": "pause", "role": event.role, "kind": event.kind, "at": event.number}, theirs.detach()
            )
            pidfd = os.pidfd_open(process.pid)
            ready, _, _ = select.select([ours, pidfd], [], [], BOUND)
            os.close(pidfd)
            assert ready, f"{self.args}: came neither to {event} nor to an end: {self._stop(process)}"
            pid = 0
            if ours in ready:
                _, ancillary, _, _ = ours.recvmsg(1000, 100)
                pid = struct.unpack("=iii", ancillary[0][2])[0] if ancillary else 0
            if not pid:
                yield None
                self._end(process)
                return
            yield Paused(self, process, pid)
            self._stop(process)

    # -- one process -----------------------------------------------------------------------------

    def _begin(self, spec: dict[str, Any], fd: int) -> subprocess.Popen[bytes]:
        self._log.unlink(missing_ok=True)
        options = ["--root", str(self.runtime.root), "--log", str(self._log), "--log-format", "json"]
        try:
            with self._err.open("wb") as output:
                return subprocess.Popen(
                    [sys.executable, "-IS", str(FAULTY), json.dumps(spec), str(fd), *options, *self.args],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(fd,),
                )
        finally:
            os.close(fd)

    def _end(self, process: subprocess.Popen[bytes]) -> Ended:
        try:
            status = process.wait(BOUND)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{' '.join(self.args)}: a hang: {self._stop(process)}") from None
        return Ended(self.args, status, self._output(), self._code())

    def _stop(self, process: subprocess.Popen[bytes]) -> str:
        process.kill()
        process.wait()
        return self._output()

    def _output(self) -> str:
        return self._err.read_text(errors="replace")

    def _code(self) -> str:
        """Of the error record; on standard error, when it was the log that could not be opened."""
        text = self._log.read_text() if self._log.exists() and self._log.stat().st_size else self._output()
        records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return next((record["code"] for record in reversed(records) if "code" in record), "")


def delete(runtime: Runtime, container_id: str) -> str:
    """`delete --force` as engines call it: who reaps the container's processes meanwhile; what is wrong, or ""."""
    err = runtime.directory / "delete.err"
    with err.open("wb") as output:
        words = runtime.arguments("delete", "--force", container_id)
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    deadline = time.monotonic() + BOUND
    while time.monotonic() < deadline:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            time.sleep(0.002)
        elif found.si_pid == process.pid:
            lines = err.read_text(errors="replace").splitlines()
            said = "\n".join(line for line in lines if NO_HOOKS not in line)
            return f"{' '.join(words)}: {said}" if process.wait() or said else ""
        else:
            os.waitpid(found.si_pid, 0)
    process.kill()
    process.wait()
    return f"{' '.join(words)}: a hang"


class Paused:
    """pid: who waits at the event."""

    def __init__(self, faulty: Faulty, process: subprocess.Popen[bytes], pid: int) -> None:
        self._faulty = faulty
        self._process = process
        self.pid = pid

    def kill_command(self) -> None:
        self._process.kill()
        self._process.wait()

    def kill_waiting(self) -> Ended:
        """Kill who waits there; how the command ends."""
        os.kill(self.pid, signal.SIGKILL)
        return self._faulty._end(self._process)
