"""run: output, exit codes, detaching, signals, and what stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocirt.container import never_executed
from tests.support.bundles import Bundle
from tests.support.host import alive
from tests.support.runtime import BOUND, Runtime, poll, wait_for


def test_output_goes_where_the_caller_says(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run(bundle.script("echo to-out; echo to-err >&2"))
    assert (result.code, result.out, result.err) == (0, "to-out\n", "to-err\n")


def test_input_comes_from_the_caller(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.inside(bundle, "tr a-z A-Z", stdin="hello\n") == "HELLO\n"


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
def test_exit_code_is_the_payloads(runtime: Runtime, bundle: Bundle, code: int) -> None:
    assert runtime.run(bundle.script(f"exit {code}")).code == code


def test_exit_code_of_a_killed_payload(runtime: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("pid")  # as PID 1 of its namespace it could not kill itself
    assert runtime.run(bundle.script("kill -KILL $$")).code == 128 + signal.SIGKILL


def test_nothing_is_left(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    with host_unchanged():
        runtime.inside(bundle, "true")
    runtime.fails("state", bundle.id, says="container does not exist")


@pytest.mark.differs(crun="1.8 has no --keep")
def test_keep(runtime: Runtime, bundle: Bundle) -> None:
    runtime.inside(bundle, "true", "--keep")
    assert runtime.status(bundle) == "stopped"
    runtime.ok("delete", bundle.id)


def test_detach(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    runtime.run_detached(bundle.script("sleep 1000"), "--pid-file", str(pid_file))
    state = runtime.state(bundle)
    assert state["status"] == "running"
    assert pid_file.read_bytes() == str(state["pid"]).encode()
    runtime.stop(bundle)


def test_detached_container_survives_its_runtime(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run_detached(bundle.script("read line < /dev/null; echo alive; exit 3"))
    assert runtime.wait(bundle) == 3
    assert result.out == "alive\n"
    assert runtime.status(bundle) == "stopped"
    runtime.ok("delete", bundle.id)


def test_pid_file_in_the_foreground(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.without_namespace("pid")
    out = runtime.inside(bundle, "echo $$", "--pid-file", str(tmp_path / "pid"))
    assert (tmp_path / "pid").read_text() == out.strip()


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "USR2", "QUIT"])
def test_signals_reach_the_payload(runtime: Runtime, bundle: Bundle, name: str, tmp_path: Path) -> None:
    bundle.script(f"trap 'echo got {name}; exit 42' {name}; echo ready; while :; do sleep 0.05; done").save()
    out = tmp_path / "out"
    with out.open("wb") as file:
        child = subprocess.Popen(
            runtime.arguments("run", "--bundle", str(bundle.path), bundle.id), stdin=subprocess.DEVNULL, stdout=file
        )
    poll(lambda: "ready" in out.read_text(), "the payload's trap")
    child.send_signal(getattr(signal, f"SIG{name}"))
    assert child.wait(30) == 42
    assert out.read_text() == f"ready\ngot {name}\n"


@pytest.mark.only_ocirt("the others wait for the hook")
def test_a_signal_ends_a_hook_after_the_payload(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, host_unchanged: Callable
) -> None:
    mark = tmp_path / "mark"
    bundle.hook("poststop", "/bin/sh", "-c", f"echo $$ > {mark}; exec sleep 1000").args(
        "/bin/sh", "-c", "exit 4"
    ).save()
    with host_unchanged():
        child = subprocess.Popen(
            runtime.arguments("run", "--bundle", str(bundle.path), bundle.id), stdin=subprocess.DEVNULL
        )
        hook = int(poll(lambda: mark.exists() and mark.read_text(), "the hook"))
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 4
        assert not alive(hook)


def test_children_that_the_caller_ignores(runtime: Runtime, bundle: Bundle) -> None:
    """Ignored SIGCHLD is inherited (execve(2)): the kernel would reap our children itself, and their status be lost."""
    bundle.hook("createRuntime", "/bin/true").args("/bin/sh", "-c", "exit 4")
    ignoring = runtime.started_by(f'#!/bin/sh\nexec env --ignore-signal=CHLD {runtime.command} "$@"\n')
    result = ignoring.run(bundle)
    assert (result.code, result.err) == (4, "")


@pytest.mark.differs(crun="waits for them")
def test_orphans_of_the_payload_do_not_keep_run(runtime: Runtime, bundle: Bundle) -> None:
    """In a shared pid namespace the payload's children become the runtime's."""
    bundle.without_namespace("pid")
    result = runtime.run(bundle.script("(exec sleep 1000 >/dev/null 2>&1 </dev/null) & echo $!; exit 4"))
    assert result.code == 4
    poll(lambda: not alive(int(result.out)), "the end of the orphan")


def test_failure_to_run_has_code_1_and_leaves_nothing(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable
) -> None:
    bundle.args("/no/such/file").save()
    with host_unchanged():
        runtime.fails(
            "run",
            "--bundle",
            str(bundle.path),
            bundle.id,
            says='exec: "/no/such/file": stat /no/such/file: no such file',
        )


def test_duplicate_id(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.fails("run", "--bundle", str(bundle.path), bundle.id, says="container with given ID already exists")
    assert runtime.status(bundle) == "running"
    runtime.stop(bundle)


def test_init_is_a_session_leader_without_a_terminal(runtime: Runtime, bundle: Bundle) -> None:
    seen = runtime.probe(bundle)
    assert (seen["pid"], seen["sid"], seen["pgid"]) == (1, 1, 1)


class Held:
    """`run` between the record and the program: it waits to connect to the full queue of a pidfd socket."""

    def __init__(self, runtime: Runtime, bundle: Bundle, directory: Path, *flags: str) -> None:
        path = str(directory / "pidfd")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(0)
        self._first = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._first.connect(path)
        self.directory = runtime.root / bundle.id
        self.out, self.err = directory / "run.out", directory / "run.err"
        bundle.save()
        words = ("run", "--pidfd-socket", path, *flags, "--bundle", str(bundle.path), bundle.id)
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.run = subprocess.Popen(runtime.arguments(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.pid = int(poll(lambda: self._recorded("pid"), "the record of init"))
        poll(lambda: "unix_wait_for_peer" in Path(f"/proc/{self.run.pid}/wchan").read_text(), "run's wait")

    def _recorded(self, name: str) -> object:
        path = self.directory / "state.json"
        return json.loads(path.read_text())[name] if path.exists() else None

    def release(self) -> int:
        """Let it go on; its exit status."""
        self._first.close()
        for _ in range(2):
            connection, _ = self._listener.accept()
            with connection:
                connection.recv(64)
        return self.run.wait(BOUND)

    def close(self) -> None:
        self.run.kill()
        self.run.wait()
        self._listener.close()
        self._first.close()


def has_open(pid: int, path: Path) -> bool:
    try:
        return any(link.readlink() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # one that it closed meanwhile
        return False


@pytest.fixture
def held(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> Iterator[Held]:
    run = Held(runtime, bundle.script("echo once"), tmp_path)
    yield run
    run.close()


no_pidfd_socket = pytest.mark.only_ocirt("runc and crun of Debian 12 have no --pidfd-socket")


@no_pidfd_socket
def test_the_record_is_there_before_the_program(runtime: Runtime, bundle: Bundle, held: Held) -> None:
    state = runtime.state(bundle)
    assert (state["pid"], state["status"]) == (held.pid, "running")
    assert never_executed(held.pid)
    assert sorted(path.name for path in held.directory.iterdir()) == ["config.json", "state.json", "state.json.new"]
    assert held.out.read_text() == ""
    assert held.release() == 0
    assert held.out.read_text() == "once\n"
    assert not held.directory.exists()


@no_pidfd_socket
def test_start_by_another_is_refused(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    held = Held(runtime, bundle.script("echo once; sleep 1000"), tmp_path, "--detach")
    start = subprocess.Popen(runtime.arguments("start", bundle.id), stderr=subprocess.PIPE, text=True)
    poll(lambda: has_open(start.pid, held.directory), "start's look at the lock")
    assert held.release() == 0
    _, err = start.communicate(timeout=BOUND)
    assert (start.returncode, "cannot start an already running container" in err) == (1, True)
    runtime.fails("start", bundle.id, says="cannot start an already running container")
    bundle.pid = held.pid
    runtime.stop(bundle)
    assert held.out.read_text() == "once\n"
    held.close()


@no_pidfd_socket
def test_run_killed_before_the_program(runtime: Runtime, bundle: Bundle, held: Held) -> None:
    """init ends with the conversation, and delete finds everything."""
    held.run.kill()
    held.run.wait()
    assert wait_for(held.pid) == 1
    assert runtime.status(bundle) == "stopped"
    runtime.fails("start", bundle.id, says="cannot start a container that has stopped")
    runtime.ok("delete", bundle.id)
    assert held.out.read_text() == ""


@no_pidfd_socket
@pytest.mark.parametrize("victim", ["run", "init"])
def test_interrupted_before_the_program(runtime: Runtime, bundle: Bundle, held: Held, victim: str) -> None:
    """SIGTERM to either ends both, and nothing is left."""
    if victim == "run":
        held.run.terminate()
        code = held.run.wait(BOUND)
    else:
        runtime.ok("kill", bundle.id, "TERM")
        code = held.release()
    assert code == 1
    assert "interrupted by signal 15" in held.err.read_text()
    assert not held.directory.exists()
    assert not alive(held.pid)
    assert held.out.read_text() == ""


@no_pidfd_socket
def test_init_killed_before_the_program(held: Held) -> None:
    os.kill(held.pid, signal.SIGKILL)
    assert held.release() == 1
    assert held.err.read_text().endswith("container init died before it executed the program\n")
    assert not held.directory.exists()
    assert held.out.read_text() == ""


@pytest.mark.only_ocirt("runc reports success with --detach: it does not wait for execve")
@pytest.mark.parametrize("flags", [(), ("--detach",), ("--keep",)])
def test_what_execve_refuses_is_the_error_of_run(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable, flags: tuple[str, ...]
) -> None:
    (bundle.root / "bin/rubbish").write_bytes(b"\x7fELF rubbish")
    (bundle.root / "bin/rubbish").chmod(0o755)
    bundle.args("/bin/rubbish").save()
    with host_unchanged():
        runtime.fails(
            "run", *flags, "--bundle", str(bundle.path), bundle.id, says="exec /bin/rubbish: exec format error"
        )
