"""run: output, exit codes, detaching, signals, and what stays behind."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import alive
from tests.support.runtime import Runtime, poll


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
