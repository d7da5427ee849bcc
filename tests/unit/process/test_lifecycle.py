"""What create, start and delete do besides the plan."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.channel import EXECUTES, Channel, channel_pair
from ocirt.container import Container
from ocirt.errors import OcirtError, StateError
from ocirt.process.lifecycle import (
    connect_console,
    destroy,
    remove_remains,
    require_startable,
    send_pidfd,
    start,
    write_pid_file,
)
from tests.support import records


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("stopped", "cannot start a container that has stopped"),
        ("running", "cannot start an already running container"),
        ("paused", "cannot start an already running container"),
        ("creating", "cannot start a container in the creating state"),
    ],
)
def test_only_a_created_container_starts(status: str, text: str) -> None:
    require_startable("created")
    with pytest.raises(StateError) as caught:
        require_startable(status)
    assert (caught.value.code, caught.value.what) == ("status", text)


CONFIG = {"ociVersion": "1.3.0", "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/x"]}}


def start_at_once(root: Path, init: Callable[[Channel, int], None]) -> Container:
    """start() of what create has left in the hands of `run`, with a process that executed long ago."""
    process = records.sleeper()
    try:
        container = records.make(root, "web1", process.pid, CONFIG)
        container.locked = True
        container.conversation, theirs = channel_pair()
        playing = threading.Thread(target=init, args=(theirs, process.pid))
        playing.start()
        start(container)
        playing.join(10)
        return container
    finally:
        process.kill()
        process.wait()


def test_run_goes_on_with_the_conversation_of_create(tmp_path: Path) -> None:
    heard: list[str] = []

    def init(channel: Channel, _pid: int) -> None:
        heard.append(channel.receive().kind)
        channel.send(EXECUTES)
        channel.close()

    container = start_at_once(tmp_path, init)
    assert heard == ["GO"]
    assert not container.locked
    assert container.conversation is not None
    assert container.conversation.fileno() == -1


def test_what_init_reports_in_that_conversation_is_raised(tmp_path: Path) -> None:
    def init(channel: Channel, pid: int) -> None:
        channel.receive()
        channel.send_error(OcirtError("executable", "exec /x: exec format error", errno=8))
        assert channel.receive().kind == ""
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(OcirtError) as caught:
        start_at_once(tmp_path, init)
    assert (caught.value.code, caught.value.what, caught.value.errno) == ("executable", "exec /x: exec format error", 8)


def test_an_init_that_died_silently_and_is_not_gone_yet(tmp_path: Path) -> None:
    """Its descriptors are closed before it is a zombie."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        container = records.make(tmp_path, "web1", pid, CONFIG)
        container.conversation, theirs = channel_pair()
        theirs.close()
        with pytest.raises(OcirtError) as caught:
            start(container)
        what = "container init died before it executed the program"
        assert (caught.value.code, caught.value.what) == ("init-died", what)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_pid_file_has_digits_only_and_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text("old content that is longer")
    write_pid_file(str(file), 4711)
    assert file.read_bytes() == b"4711"
    assert [entry.name for entry in tmp_path.iterdir()] == ["pid"]


def test_a_missing_console_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(OcirtError) as caught:
        connect_console(str(tmp_path / "none"), "/process/terminal")
    assert (caught.value.code, caught.value.call, caught.value.errno) == ("console", "connect", 2)
    assert caught.value.at == "/process/terminal"


def test_pidfd_is_sent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        send_pidfd(str(tmp_path / "s"), 1, "standard")
        connection, _ = listener.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 64, 1)
    assert data == b"standard"
    info = Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
    socket.close(fds[0])
    assert "Pid:\t1\n" in info


def test_remains_of_an_interrupted_create_go(tmp_path: Path) -> None:
    (tmp_path / "web1").mkdir()
    (tmp_path / "web1" / "config.json").write_text("{}")
    assert remove_remains(str(tmp_path), "web1") is True
    assert remove_remains(str(tmp_path), "web1") is False
    assert list(tmp_path.iterdir()) == []


def test_a_recorded_container_is_no_remains(tmp_path: Path) -> None:
    records.make(tmp_path, "web1")
    assert remove_remains(str(tmp_path), "web1") is False
    assert (tmp_path / "web1" / "state.json").exists()


def test_what_a_killed_create_may_have_made_is_removed_unless_somebody_uses_it(tmp_path: Path) -> None:
    """It was killed before it could note which cgroups it made."""
    for name in ("mine/box", "theirs/box/used"):
        (tmp_path / name).mkdir(parents=True)
    wanted = [f"{tmp_path}/{name}" for name in ("mine", "mine/box", "theirs/box", "never/made")]
    container = records.make(tmp_path / "root", "web1", cgroup_wanted=wanted)
    destroy(container)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "theirs"]
    assert (tmp_path / "theirs/box/used").is_dir()
