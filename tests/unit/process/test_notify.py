"""sd_notify(3): what is taken from the container, and how the caller is told."""

from __future__ import annotations

import array
import os
import socket
import threading
from pathlib import Path

import pytest

from ocirt.container import Container
from ocirt.process import notify
from ocirt.process.notify import listen, tell, wait_ready


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """One whose init is this process."""
    facts = {"oci_version": "1.0.2", "bundle": "/b", "rootfs": "/b/r", "created": "", "owner": 0, "annotations": {}}
    record = {**facts, "poststop": False, "root_mount": [], "cgroup": None}
    made = Container.make(str(tmp_path), "c", record, b"{}")
    made.make_notify_directory()
    return made


def send(container: Container, *messages: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(container.notify_socket())
        for message in messages:
            sock.send(message)


def test_the_socket_is_for_everybody_and_its_directory_is_not(container: Container, tmp_path: Path) -> None:
    listen(container)
    assert (tmp_path / "c/notify").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "c/notify/notify.sock").stat().st_mode & 0o777 == 0o777
    container.remove()
    assert not (tmp_path / "c").exists()


def test_the_ready_line_of_the_first_message_that_has_one(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock = listen(container)
    monkeypatch.setattr(Container, "open_pidfd", lambda self: os.pidfd_open(os.getpid()))
    send(container, b"STATUS=READY=0", b"\xff\nREADY=1\nSTATUS=x", b"READY=2")
    assert wait_ready(container, sock) == "READY=1"


def test_an_init_that_is_gone_says_no_more(container: Container) -> None:
    sock = listen(container)
    assert wait_ready(container, sock) == ""
    send(container, b"READY=1")  # said before it went
    assert wait_ready(container, sock) == "READY=1"


@pytest.mark.parametrize("abstract", [False, True])
def test_tell_and_wait_until_it_was_read(tmp_path: Path, abstract: bool) -> None:
    name = f"ocirt-test-{os.getpid()}"
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    caller.bind(f"\0{name}" if abstract else str(tmp_path / "s"))
    caller.settimeout(10)
    teller = threading.Thread(target=tell, args=(f"@{name}" if abstract else str(tmp_path / "s"), b"READY=1\n"))
    teller.start()
    assert caller.recv(4096) == b"READY=1\n"
    data, ancillary, _, _ = caller.recvmsg(4096, socket.CMSG_SPACE(4))
    assert data == b"BARRIER=1"
    assert teller.is_alive()
    os.close(array.array("i", ancillary[0][2])[0])
    teller.join(10)
    assert not teller.is_alive()
    caller.close()


def test_a_caller_that_never_reads_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What fits into its queue waits to be read, what does not fit waits to be sent."""
    monkeypatch.setattr(notify, "TELL_DEADLINE", 0.2)
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    caller.bind(str(tmp_path / "s"))
    tell(str(tmp_path / "s"), b"READY=1")
    assert "the caller has not read NOTIFY_SOCKET within" in capfd.readouterr().err
    filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    filler.setblocking(False)
    filler.connect(str(tmp_path / "s"))
    with pytest.raises(BlockingIOError):
        while filler.send(b"x"):
            pass
    said: list[str] = []

    def tell_and_note() -> None:
        try:
            tell(str(tmp_path / "s"), b"READY=1")
        except OSError as error:
            said.append(str(error))

    teller = threading.Thread(target=tell_and_note, daemon=True)
    teller.start()
    teller.join(10)
    assert (teller.is_alive(), said) == (False, ["timed out"])
    filler.close()
    caller.close()


def test_nobody_to_tell_is_a_warning(
    container: Container, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sock = listen(container)
    send(container, b"READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/no/such/socket")
    monkeypatch.setattr(notify.os, "getenv", lambda name: "/no/such/socket")
    notify.forward(container, sock)
    assert "the caller could not be told that the container is ready" in capfd.readouterr().err
