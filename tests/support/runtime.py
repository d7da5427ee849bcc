"""The runtime under test: ocirt of this checkout, an installed ocirt, runc or crun.

RUNTIME=ocirt|runc|crun chooses (default ocirt); OCIRT_RUNTIME=/path/to/ocirt takes an installed one instead
of the checkout.  Every call has a bound; output goes to files, because a detached container keeps the
standard output of `create` open.
"""

from __future__ import annotations

import array
import copy
import itertools
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.bundles import Bundle

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = os.environ.get("RUNTIME", "ocirt")
BOUND = 30.0  # seconds; no call takes a tenth of it, a hang must still end

LAUNCHER = """#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, {checkout!r})
if not {{"create", "run", "exec", "restore"}}.isdisjoint(sys.argv):
    from ocirt.launcher.protect import protect
    protect()
from ocirt.cli import main
main()
"""

# ocirt of the checkout with a defence taken away: what docs/security.md calls a control.
WEAKENED = """#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, {checkout!r})
{code}
from ocirt.cli import main
main()
"""

# crun 1.8 refuses to create cgroups while a v2 hierarchy is mounted beside the v1 ones: hide it from crun alone
HIDE_V2 = """#!/bin/sh
exec unshare -m --propagation unchanged sh -c \
    'mount --make-rslave / && umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"' crun "$@"
"""


class Result:
    """One finished call."""

    def __init__(self, args: list[str], code: int, out: Path, err: Path) -> None:
        self.args = args
        self.code = code
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        """Standard output until now: a detached container goes on writing to it."""
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    @property
    def last_line(self) -> str:
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""

    def __repr__(self) -> str:
        return f"{' '.join(self.args)}\n  code {self.code}\n  out: {self.out}\n  err: {self.err}"


class Runtime:
    def __init__(self, directory: Path, name: str = NAME) -> None:
        self.name = name
        self.directory = directory
        self.root = directory / "state"
        self._numbers = itertools.count()
        self.command = self._command()

    def _command(self) -> str:
        installed = os.environ.get("OCIRT_RUNTIME", "")
        if self.name == "ocirt" and installed:
            return installed
        if self.name == "runc":
            return "runc"
        text = HIDE_V2 if self.name == "crun" else LAUNCHER.format(checkout=str(CHECKOUT))
        path = self.directory / self.name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    @property
    def is_portable(self) -> bool:
        """Whether the command is a script, and so not the native launcher."""
        with open(self.command, "rb") as launcher:
            return launcher.read(2) == b"#!"

    def after(self, prelude: str) -> Runtime:
        """The same runtime, started by a bash that first runs prelude in the same process."""
        return self.started_by(f'#!/bin/bash\n{prelude}\nexec {self.command} "$@"\n')

    def weakened(self, code: str = "") -> Runtime:
        """ocirt of the checkout, with code run in it first, and its executable not protected."""
        return self.started_by(WEAKENED.format(checkout=str(CHECKOUT), code=code))

    def started_by(self, script: str) -> Runtime:
        """The same state directory, another command."""
        other = copy.copy(self)
        path = self.directory / f"script-{next(self._numbers)}"
        path.write_text(script)
        path.chmod(0o755)
        other.command = str(path)
        return other

    def arguments(self, *args: str, options: tuple[str, ...] = ()) -> list[str]:
        return [self.command, "--root", str(self.root), *options, *args]

    def call(
        self,
        *args: str,
        options: tuple[str, ...] = (),
        stdin: str = "",
        env: dict[str, str] | None = None,
        cwd: Path | str | None = None,
        pass_fds: tuple[int, ...] = (),
        bound: float = BOUND,
    ) -> Result:
        """Run one command to its end.  options go before the command's name."""
        number = next(self._numbers)
        out, err = self.directory / f"out-{number}", self.directory / f"err-{number}"
        command = self.arguments(*args, options=options)
        with out.open("wb") as out_file, err.open("wb") as err_file:
            done = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                env=env,
                cwd=cwd,
                pass_fds=pass_fds,
            )
            try:
                done.communicate(stdin.encode() or None, timeout=bound)
            except subprocess.TimeoutExpired:
                done.kill()
                done.wait()
                raise AssertionError(f"{' '.join(command)} did not end in {bound} s: {err.read_text()}") from None
        return Result(command, done.returncode, out, err)

    def ok(self, *args: str, **how: Any) -> Result:
        """Run one command that must succeed."""
        result = self.call(*args, **how)
        assert result.code == 0, result
        return result

    def fails(self, *args: str, code: int = 1, says: str = "", **how: Any) -> Result:
        """Run one command that must fail with this code; says is in the last line (crun has other words)."""
        result = self.call(*args, **how)
        assert result.code == code, result
        assert result.last_line, result
        assert "Traceback" not in result.err, result
        if self.name != "crun":
            assert says in result.last_line.replace('\\"', '"'), result
        return result

    def refusal(self, bundle: Bundle) -> dict[str, Any]:
        """The log's record of a create that must fail; its fields are ocirt's own."""
        bundle.save()
        log = self.directory / f"log-{next(self._numbers)}"
        options = ("--log", str(log), "--log-format", "json")
        self.fails("create", "--bundle", str(bundle.path), bundle.id, options=options)
        return json.loads(log.read_text())  # type: ignore[no-any-return]

    def create(self, bundle: Bundle, *flags: str, **how: Any) -> Result:
        return self._begin("create", bundle, *flags, **how)

    def create_or_fail(self, bundle: Bundle, *flags: str) -> Result:
        """create, start and remove a container, or be refused with one clean error: for hostile bundles."""
        bundle.save()
        result = self.call("create", *flags, "--bundle", str(bundle.path), bundle.id)
        assert "Traceback" not in result.err, result
        if result.code == 0:
            self.call("start", bundle.id)
            self.ok("delete", "--force", bundle.id)
        return result

    def run_detached(self, bundle: Bundle, *flags: str, **how: Any) -> Result:
        return self._begin("run", bundle, "--detach", *flags, **how)

    def _begin(self, verb: str, bundle: Bundle, *flags: str, **how: Any) -> Result:
        bundle.save()
        pid_file = bundle.path / "init.pid"
        result = self.ok(verb, "--pid-file", str(pid_file), *flags, "--bundle", str(bundle.path), bundle.id, **how)
        if pid_file.exists():  # flags may have another
            bundle.pid = int(pid_file.read_bytes())
        return result

    def start(self, bundle: Bundle) -> Result:
        return self.ok("start", bundle.id)

    def launch(self, bundle: Bundle, *flags: str, **how: Any) -> Result:
        """create and start; the result is create's, whose output is the container's."""
        result = self.create(bundle, *flags, **how)
        self.start(bundle)
        return result

    def run(self, bundle: Bundle, *flags: str, **how: Any) -> Result:
        """run in the foreground, whatever the exit code."""
        bundle.save()
        return self.call("run", *flags, "--bundle", str(bundle.path), bundle.id, **how)

    def inside(self, bundle: Bundle, script: str = "", *flags: str, **how: Any) -> str:
        """Run a shell script (or what the bundle has) as the payload; what it printed.  It must exit with 0."""
        if script:
            bundle.script(script)
        result = self.run(bundle, *flags, **how)
        assert result.code == 0, result
        return result.out

    def probe(self, bundle: Bundle, *flags: str, **how: Any) -> dict[str, Any]:
        """What tests/support/probe.c sees as the payload."""
        result = self.run(bundle.args("/bin/probe"), *flags, **how)
        assert result.code == 0, result
        return json.loads(result.out)  # type: ignore[no-any-return]

    def exec(self, bundle: Bundle, *args: str, **how: Any) -> Result:
        """exec; args are options, then (after the ID is put in at "ID") the command."""
        return self.call("exec", *(bundle.id if arg == "ID" else arg for arg in args), **how)

    def sh(self, bundle: Bundle, script: str) -> str:
        """exec a shell script in the container; what it printed.  It must exit with 0."""
        return self.ok("exec", bundle.id, "/bin/sh", "-c", script).out

    def state(self, bundle: Bundle) -> dict[str, Any]:
        return json.loads(self.ok("state", bundle.id).out)  # type: ignore[no-any-return]

    def status(self, bundle: Bundle) -> str:
        return str(self.state(bundle)["status"])

    def pid(self, bundle: Bundle) -> int:
        return int(self.state(bundle)["pid"])

    def wait(self, bundle: Bundle, bound: float = BOUND) -> int:
        """Wait for the container's init, a child of ours since its runtime ended; exit code, or 128+signal."""
        return wait_for(bundle.pid, bound)

    def stop(self, bundle: Bundle) -> None:
        """Kill the container's init, wait, and delete the container."""
        pid = bundle.pid or self.pid(bundle)
        self.ok("kill", bundle.id, "KILL")
        wait_for(pid)
        self.ok("delete", bundle.id)

    def remove_all(self) -> None:
        for name in sorted(os.listdir(self.root)) if self.root.is_dir() else ():
            self.call("delete", "--force", name)


def wait_for(pid: int, bound: float = BOUND) -> int:
    """Wait for a child by pidfd and reap it; its exit code, or 128+signal."""
    pidfd = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([pidfd], [], [], bound)
    finally:
        os.close(pidfd)
    assert ready, f"process {pid} did not end in {bound} s"
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def poll(condition: Callable[[], object], what: str, bound: float = 10.0) -> Any:
    """The first true value of condition; an AssertionError when there is none within bound seconds."""
    deadline = time.monotonic() + bound
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {bound} s"
        time.sleep(0.005)
    return value


class ConsoleSocket:
    """A listener as engines have one: receives a terminal's master and the name that comes with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(BOUND)

    def receive(self) -> tuple[bytes, int]:
        """(payload, master fd)."""
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(BOUND)
            payload, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16))
        fds = array.array("i")
        for level, kind, data in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(data)
        assert len(fds) == 1, fds
        return payload, fds[0]

    def close(self) -> None:
        self._listener.close()
        self.path.unlink()


def read_until(fd: int, wanted: bytes, bound: float = 10.0) -> bytes:
    """Read a terminal's master until wanted was seen (or, with b"", until the other side is closed)."""
    seen = b""
    deadline = time.monotonic() + bound
    while not wanted or wanted not in seen:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{wanted!r} not seen in {bound} s, but {seen!r}"
        try:
            chunk = os.read(fd, 4096)
        except OSError:  # EIO: every slave is closed
            chunk = b""
        if not chunk:
            assert not wanted, f"closed before {wanted!r}: {seen!r}"
            return seen
        seen += chunk
    return seen
