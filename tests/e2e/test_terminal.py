"""Terminals: the console socket, `run -t` and `exec -t` on a real pseudoterminal."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import ConsoleSocket, Runtime, poll, read_until, wait_for
from tests.support.terminal import OnTerminal


@pytest.fixture
def console(tmp_path: Path) -> Iterator[ConsoleSocket]:
    socket = ConsoleSocket(tmp_path / "console.sock")
    yield socket
    socket.close()


@pytest.fixture
def terminal(bundle: Bundle) -> Bundle:
    bundle.process["terminal"] = True
    return bundle


def test_create_sends_the_master(runtime: Runtime, terminal: Bundle, console: ConsoleSocket) -> None:
    terminal.script("tty; test -t 0 && test -t 1 && test -t 2 && echo three; read line; echo got $line; exit 6")
    runtime.create(terminal, "--console-socket", str(console.path))
    payload, master = console.receive()
    assert payload.rstrip(b"\0") in (b"/dev/ptmx", b"/dev/pts/0", b"console")
    runtime.start(terminal)
    assert read_until(master, b"three").split()[0] == (b"/dev/console" if runtime.name == "crun" else b"/dev/pts/0")
    os.write(master, b"hello\n")
    read_until(master, b"got hello")
    assert runtime.wait(terminal) == 6
    os.close(master)
    runtime.ok("delete", terminal.id)


def test_it_is_the_controlling_terminal(runtime: Runtime, terminal: Bundle, console: ConsoleSocket) -> None:
    """Else there would be no job control and no Ctrl-C."""
    terminal.script("trap 'echo interrupted; exit 0' INT; exec 3</dev/tty; echo ready; while :; do sleep 0.02; done")
    runtime.run_detached(terminal, "--console-socket", str(console.path))
    _, master = console.receive()
    read_until(master, b"ready")
    os.write(master, b"\x03")
    read_until(master, b"interrupted")
    assert runtime.wait(terminal) == 0
    os.close(master)
    runtime.ok("delete", terminal.id)


def test_console_is_the_same_terminal(runtime: Runtime, terminal: Bundle, console: ConsoleSocket) -> None:
    terminal.script("echo by-console > /dev/console; stat -c '%t:%T' /dev/console; ls -l /proc/self/fd/0")
    runtime.run_detached(terminal, "--console-socket", str(console.path))
    _, master = console.receive()
    seen = read_until(master, b"").decode()
    assert "by-console" in seen
    assert "88:0" in seen  # major 136, minor 0: the first of its own devpts
    runtime.wait(terminal)
    os.close(master)
    runtime.ok("delete", terminal.id)


def test_size(runtime: Runtime, terminal: Bundle, console: ConsoleSocket) -> None:
    terminal.process["consoleSize"] = {"height": 11, "width": 77}
    terminal.script("stty size; read hold")
    runtime.run_detached(terminal, "--console-socket", str(console.path))
    _, master = console.receive()
    if runtime.name != "crun":
        read_until(master, b"11 77")
    runtime.stop(terminal)
    os.close(master)


def test_owner_is_the_user(runtime: Runtime, terminal: Bundle, console: ConsoleSocket) -> None:
    terminal.process["user"] = {"uid": 1000, "gid": 1000}
    terminal.script("stat -c 'owner=%u' $(tty); echo works > $(tty)")
    runtime.run_detached(terminal, "--console-socket", str(console.path))
    _, master = console.receive()
    seen = read_until(master, b"")
    assert b"owner=1000" in seen
    assert b"works" in seen
    runtime.wait(terminal)
    os.close(master)
    runtime.ok("delete", terminal.id)


def test_read_only_root(runtime: Runtime, terminal: Bundle, console: ConsoleSocket) -> None:
    terminal.config["root"]["readonly"] = True
    runtime.run_detached(terminal.script("echo shown"), "--console-socket", str(console.path))
    _, master = console.receive()
    read_until(master, b"shown")
    runtime.wait(terminal)
    os.close(master)
    runtime.ok("delete", terminal.id)


def test_run_on_a_terminal(runtime: Runtime, terminal: Bundle) -> None:
    sized = "until stty size 2>/dev/null | grep 31; do sleep 0.02; done"  # runc sets the size when it runs already
    terminal.script(f"{sized}; read line; echo got $line; exit 7").save()
    run = OnTerminal(runtime.arguments("run", "--bundle", str(terminal.path), terminal.id), rows=31, columns=101)
    read_until(run.master, b"31 101")
    run.write(b"typed\n")
    read_until(run.master, b"got typed")
    assert run.finish() == 7


def test_resizing_reaches_the_container(runtime: Runtime, terminal: Bundle) -> None:
    terminal.script("trap 'stty size' WINCH; echo ready; while [ ! -e /end ]; do sleep 0.02; done").save()
    run = OnTerminal(runtime.arguments("run", "--bundle", str(terminal.path), terminal.id))
    read_until(run.master, b"ready")
    run.resize(44, 99)
    read_until(run.master, b"44 99")
    (terminal.root / "end").touch()
    assert run.finish() == 0


def test_interrupt_goes_to_the_payload(runtime: Runtime, terminal: Bundle) -> None:
    """The host's terminal is raw: Ctrl-C is a byte for the container, not a signal for the runtime."""
    terminal.script("trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.02; done").save()
    run = OnTerminal(runtime.arguments("run", "--bundle", str(terminal.path), terminal.id))
    read_until(run.master, b"ready")
    run.write(b"\x03")
    read_until(run.master, b"interrupted")
    assert run.finish() == 9


def test_terminate_while_on_a_terminal(runtime: Runtime, terminal: Bundle) -> None:
    terminal.script("trap 'echo terminated; exit 8' TERM; echo ready; while :; do sleep 0.02; done").save()
    run = OnTerminal(runtime.arguments("run", "--bundle", str(terminal.path), terminal.id))
    read_until(run.master, b"ready")
    run.child.send_signal(signal.SIGTERM)
    read_until(run.master, b"terminated")
    assert run.finish() == 8


def test_much_output_is_complete(runtime: Runtime, terminal: Bundle) -> None:
    """The last bytes come after the payload's end."""
    terminal.script("seq 1 20000; echo the-end").save()
    run = OnTerminal(runtime.arguments("run", "--bundle", str(terminal.path), terminal.id))
    seen = read_until(run.master, b"the-end", bound=30)
    assert run.finish() == 0
    assert seen.split()[:20000] == [str(number).encode() for number in range(1, 20001)]


def test_exec_on_a_terminal(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.args("/bin/probe", "pause"))
    run = OnTerminal(
        runtime.arguments("exec", "-t", bundle.id, "/bin/sh", "-c", "tty; read line; echo got $line; exit 5")
    )
    read_until(run.master, b"/dev/pts/0")
    run.write(b"typed\n")
    read_until(run.master, b"got typed")
    assert run.finish() == 5
    runtime.stop(bundle)


def test_exec_with_a_console_socket(runtime: Runtime, bundle: Bundle, console: ConsoleSocket, tmp_path: Path) -> None:
    runtime.launch(bundle.args("/bin/probe", "pause"))
    pid_file = tmp_path / "exec.pid"
    runtime.ok(
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        str(console.path),
        "--pid-file",
        str(pid_file),
        bundle.id,
        "/bin/sh",
        "-c",
        "tty; read line; echo got $line; exit 4",
    )
    _, master = console.receive()
    read_until(master, b"/dev/pts/0")
    os.write(master, b"typed\n")
    read_until(master, b"got typed")
    assert wait_for(int(pid_file.read_text())) == 4
    os.close(master)
    runtime.stop(bundle)


@pytest.mark.differs(crun="other words")
def test_detached_terminals_need_a_socket(runtime: Runtime, terminal: Bundle, host_unchanged: Callable) -> None:
    text = f"cannot allocate tty if {runtime.name} will detach without setting console socket"
    terminal.save()
    with host_unchanged():
        runtime.fails("run", "--detach", "--bundle", str(terminal.path), terminal.id, says=text)
    terminal.process["terminal"] = False
    runtime.launch(terminal.args("/bin/probe", "pause"))
    runtime.fails("exec", "--tty", "--detach", terminal.id, "true", code=255, says=text)
    runtime.stop(terminal)


@pytest.mark.differs(crun="ignores it")
def test_a_socket_needs_detaching_and_a_terminal(
    runtime: Runtime, terminal: Bundle, tmp_path: Path, host_unchanged: Callable
) -> None:
    text = f"cannot use console socket if {runtime.name} will not detach or allocate tty"
    flags = ("--console-socket", str(tmp_path / "s"), "--bundle", str(terminal.path), terminal.id)
    terminal.save()
    with host_unchanged():
        runtime.fails("run", *flags, says=text)
    terminal.process["terminal"] = False
    terminal.save()
    with host_unchanged():
        runtime.fails("create", *flags, says=text)


def test_missing_socket(runtime: Runtime, terminal: Bundle, tmp_path: Path, host_unchanged: Callable) -> None:
    terminal.save()
    with host_unchanged():
        runtime.fails("create", "--console-socket", str(tmp_path / "none"), "--bundle", str(terminal.path), terminal.id)


def test_standard_streams_without_a_terminal_are_the_callers(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run_detached(bundle.script("tty; test -c /dev/console || echo no console; exit 0"))
    runtime.wait(bundle)
    poll(lambda: "no console" in result.out, "the payload's output")
    assert "not a tty" in result.out
    runtime.ok("delete", bundle.id)
