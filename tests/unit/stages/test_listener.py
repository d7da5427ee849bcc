"""The listener's way: init shows or sends it, the runtime passes it on with the container process state."""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.channel import ASK, DONE, Channel, channel_pair
from ocirt.config.views import Seccomp
from ocirt.errors import KernelError, OcirtError
from ocirt.host import Host
from ocirt.stages import listener as stage
from ocirt.stages.listener import HandOverListener, SendListener, hand_over, listener
from ocirt.stages.seccomp import LISTENER
from tests.support.recorder import kernel_error, recorded_box

STATE = {"ociVersion": "1.0.2", "id": "web1", "status": "creating", "bundle": "/bundle"}


def seccomp(**more: Any) -> Seccomp:
    return Seccomp({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock", **more}, "/linux/seccomp")


class Listening:
    """An agent's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen(1)
        self.first = self.rest = b""
        self.fds = array.array("i")

    def take(self) -> None:
        """One connection to its end: the first message, its descriptors, and what came after it."""
        connection, _ = self.socket.accept()
        with connection:
            self.first, ancillary, _, _ = connection.recvmsg(1 << 22, socket.CMSG_SPACE(64))
            for _, _, data in ancillary:
                self.fds.frombytes(data)
            while more := connection.recv(1 << 22):
                self.rest += more


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listening]:
    agent = Listening(tmp_path / "agent.sock")
    yield agent
    agent.socket.close()
    for fd in agent.fds:
        os.close(fd)


@pytest.fixture
def reading() -> Iterator[int]:
    """A descriptor that can be told from others: it reads "listener"."""
    fd, writing = os.pipe()
    os.write(writing, b"listener")
    os.close(writing)
    yield fd
    os.close(fd)


def sent(agent: Listening, metadata: str = "", pid: int = 0, **state: Any) -> Any:
    """What comes to the agent when init's descriptor is taken from it."""
    reading, writing = os.pipe()
    os.write(writing, b"listener")
    os.close(writing)
    box, kernel = recorded_box(pidfd_open=50, pidfd_getfd=reading, close=None)
    box.channel, _ = channel_pair()
    box.pid = 4711
    box.facts[LISTENER] = "7"
    receiver = threading.Thread(target=agent.take)
    receiver.start()
    SendListener("/linux/seccomp/listenerPath", str(agent.path), metadata, {**STATE, **state}, pid).apply(box)
    receiver.join(10)
    assert kernel.calls == [("pidfd_open", 4711), ("pidfd_getfd", 50, 7), ("close", 50), ("close", reading)]
    os.close(reading)
    assert box.channel.bound is not None
    assert box.channel.bound[0] == stage.AGENT_DEADLINE
    (fd,) = agent.fds
    assert os.read(fd, 100) == b"listener"
    return json.loads(agent.first + agent.rest)


def test_state_of_init(agent: Listening) -> None:
    assert sent(agent) == {
        "ociVersion": "1.3.0",
        "fds": ["seccompFd"],
        "pid": 4711,
        "state": {**STATE, "pid": 4711},
    }


def test_state_of_another_process_of_the_container(agent: Listening) -> None:
    found = sent(agent, "the agent's own", pid=100, status="running", annotations={"a": "b"})
    assert found["pid"] == 4711
    assert found["metadata"] == "the agent's own"
    assert found["state"] == {**STATE, "pid": 100, "status": "running", "annotations": {"a": "b"}}


def test_state_that_no_socket_holds_at_once(agent: Listening) -> None:
    long = "x" * (1 << 20)
    assert sent(agent, annotations={"long": long})["state"]["annotations"] == {"long": long}
    assert agent.rest


def test_members_that_are_not_of_the_specification_stay_here() -> None:
    state = {**STATE, "pid": 100, "rootfs": "/r", "created": "now", "owner": "", "annotations": {"a": "b"}}
    (step,) = listener(seccomp(listenerMetadata="m"), state)
    assert isinstance(step, SendListener)
    assert step.at == "/linux/seccomp/listenerPath"
    assert (step.path, step.metadata, step.pid) == ("/run/agent.sock", "m", 100)
    assert step.state == {**STATE, "annotations": {"a": "b"}}


def test_path_relative_to_the_bundle() -> None:
    (step,) = listener(seccomp(listenerPath="agent.sock"), STATE)
    assert isinstance(step, SendListener)
    assert step.path == "/bundle/agent.sock"


def refusal(path: Path | str, fd: int, message: bytes = b"{}") -> OcirtError:
    with pytest.raises(OcirtError) as caught:
        stage.send(str(path), message, fd)
    return caught.value


def test_no_agent(tmp_path: Path, reading: int) -> None:
    error = refusal(tmp_path / "none", reading)
    assert (error.code, error.call, error.errno) == ("step-failed", "connect", errno.ENOENT)
    assert error.what == f"failed to connect with seccomp agent at {tmp_path / 'none'}"


def test_path_that_no_socket_can_have(reading: int) -> None:
    error = refusal("/" + "x" * 107, reading)
    assert (error.code, error.call, error.errno) == ("step-failed", "connect", errno.ENAMETOOLONG)


@pytest.mark.parametrize("accepts", [True, False])
def test_agent_that_does_not_read(
    agent: Listening, reading: int, monkeypatch: pytest.MonkeyPatch, accepts: bool
) -> None:
    """Its queue is full, or the socket's buffer."""
    monkeypatch.setattr(stage, "AGENT_DEADLINE", 1.0)
    waiting = []
    if not accepts:
        for _ in range(2):  # listen(1) lets two in
            waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            waiting[-1].connect(str(agent.path))
    error = refusal(agent.path, reading, b"x" * (1 << 22))
    assert (error.code, error.what) == ("timeout", f"the seccomp agent at {agent.path} does not read: waited 1 s")
    for one in waiting:
        one.close()


def test_agent_that_hangs_up(agent: Listening, reading: int) -> None:
    def hang_up() -> None:
        connection, _ = agent.socket.accept()
        connection.close()

    receiver = threading.Thread(target=hang_up)
    receiver.start()
    error = refusal(agent.path, reading, b"x" * (1 << 22))
    receiver.join(10)
    assert (error.code, error.call) == ("step-failed", "send")
    assert error.errno in (errno.EPIPE, errno.ECONNRESET)
    assert error.what == f"failed to send the container process state to seccomp agent at {agent.path}"


# init


def init(**answers: Any) -> tuple[Any, Any, Channel]:
    box, kernel = recorded_box(**answers)
    box.channel, runtime = channel_pair()
    box.fds[LISTENER] = 9
    runtime.send(DONE)
    return box, kernel, runtime


@pytest.mark.parametrize("close", [None, kernel_error(errno.EPERM, "close")])
def test_init_shows_it_and_closes_its_own(close: KernelError | None) -> None:
    box, kernel, runtime = init(close=close)
    (step,) = hand_over(seccomp(), Host(kernel=(6, 1)))
    step.apply(box)
    record = runtime.receive()
    assert (record.kind, record.fields) == (ASK, [LISTENER, "9"])
    assert kernel.calls == [("close", 9)]
    assert box.fds == {}


@pytest.mark.parametrize("host", [Host(kernel=(6, 1), euid=1000), Host(kernel=(5, 5))])
def test_init_sends_it_to_a_runtime_that_may_not_take_it(host: Host) -> None:
    box, kernel, runtime = init()
    (step,) = hand_over(seccomp(), host)
    step.apply(box)
    record = runtime.receive()
    assert (record.kind, record.fields) == (ASK, [LISTENER])
    assert kernel.calls == [("send_fd", box.channel.fileno(), b"listener", 9), ("close", 9)]


def test_runtime_receives_it(agent: Listening, reading: int) -> None:
    box, kernel = recorded_box()
    box.channel, of_init = channel_pair()
    box.facts[LISTENER] = ""
    socket.send_fds(socket.socket(fileno=os.dup(of_init.fileno())), [b"listener"], [reading])
    receiver = threading.Thread(target=agent.take)
    receiver.start()
    SendListener("", str(agent.path), "", STATE, 0).apply(box)
    receiver.join(10)
    assert os.read(agent.fds[0], 100) == b"listener"
    ((call, fd),) = kernel.calls
    assert call == "close"
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_init_that_cannot_send_it(agent: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "AGENT_DEADLINE", 0.0)
    box, _ = recorded_box()
    box.channel, of_init = channel_pair()
    box.facts[LISTENER] = ""
    with pytest.raises(OcirtError) as caught:
        SendListener("/linux/seccomp/listenerPath", str(agent.path), "", STATE, 0).apply(box)
    assert (caught.value.code, caught.value.what) == ("timeout", "init cannot send the filter's listener")
    assert caught.value.at == "/linux/seccomp/listenerPath"
    of_init.close()


def test_order() -> None:
    assert [type(step) for step in hand_over(seccomp(), Host())] == [HandOverListener]
