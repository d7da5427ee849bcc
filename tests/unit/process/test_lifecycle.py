"""What create, start and delete do besides the plan."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ocirt.errors import OcirtError, StateError
from ocirt.process.lifecycle import (
    connect_console,
    destroy,
    remove_remains,
    require_startable,
    send_pidfd,
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
    """It was killed before it could note which cgroups it made: none of its processes was in them yet."""
    for name in ("mine/box", "theirs/box/used"):
        (tmp_path / name).mkdir(parents=True)
    wanted = [f"{tmp_path}/{name}" for name in ("mine", "mine/box", "theirs/box", "never/made")]
    container = records.make(tmp_path / "root", "web1", cgroup_wanted=wanted)
    destroy(container)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "theirs"]
    assert (tmp_path / "theirs/box/used").is_dir()
