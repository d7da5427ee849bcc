"""What start does besides for a filter with a listener: it waits no longer than the agent may take, and kills init."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any, cast

import pytest

from ocirt.channel import ASK, EOF, ERROR, GO, Channel, channel_pair
from ocirt.config.views import Config
from ocirt.container import Container
from ocirt.errors import OcirtError
from ocirt.process import agent
from ocirt.process.agent import execute_with_agent
from tests.support.profiles import profile, rule

HOOK = {"startContainer": [{"path": "/bin/true"}]}


class Stand:
    """As much of a Container as is asked for."""

    pid = 4711

    def __init__(self) -> None:
        self.signals: list[int] = []

    def state(self, status: str) -> dict[str, Any]:
        return {"ociVersion": "1.0.2", "id": "web1", "status": status, "pid": self.pid, "bundle": "/bundle"}

    def send_signal(self, signal: int) -> bool:
        self.signals.append(signal)
        return True


def config(action: str = "NOTIFY", no_new_privileges: bool = True, **more: Any) -> Config:
    seccomp = profile(rule("mkdir", action), listenerPath="/nonesuch/agent.sock")
    process = {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": no_new_privileges}
    return Config({"ociVersion": "1.3.0", "process": process, "linux": {"seccomp": seccomp}, **more})


def execution(config: Config) -> tuple[Stand, Channel, Any]:
    """(container, init's end, what execute_with_agent does)."""
    container = Stand()
    ours, init = channel_pair()
    return container, init, lambda: execute_with_agent(cast("Container", container), config, ours)


def test_a_filter_that_does_not_notify_is_like_any_other() -> None:
    container, init, execute = execution(config("ERRNO"))
    init.send(ERROR, *OcirtError("executable", "not there").to_record())
    assert execute().kind == ERROR
    init.expect(GO)
    assert container.signals == []


def test_init_that_ends_instead_of_asking() -> None:
    container, init, execute = execution(config())
    socket.socket(fileno=os.dup(init.fileno())).shutdown(socket.SHUT_WR)
    with pytest.raises(OcirtError) as caught:
        execute()
    assert (caught.value.code, caught.value.at) == ("init-died", "/linux/seccomp/listenerPath")
    assert container.signals == [9]


def test_an_agent_that_is_not_there() -> None:
    container, init, execute = execution(config())
    with socket.socket(fileno=os.dup(init.fileno())) as sock:
        init.send(ASK, "listener")
        socket.send_fds(sock, [b"listener"], [0])
    with pytest.raises(OcirtError) as caught:
        execute()
    assert (caught.value.code, caught.value.call, caught.value.errno) == ("step-failed", "connect", errno.ENOENT)
    assert (caught.value.stage, caught.value.at) == ("listener", "/linux/seccomp/listenerPath")
    assert container.signals == [9]


def test_init_that_waits_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "AGENT_DEADLINE", 0.0)
    container, _init, execute = execution(config(no_new_privileges=False))
    with pytest.raises(OcirtError) as caught:
        execute()
    assert (caught.value.code, caught.value.at) == ("timeout", "/linux/seccomp/listenerPath")
    assert container.signals == [9]


def test_hooks_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "AGENT_DEADLINE", 0.0)
    container, init, execute = execution(config(no_new_privileges=False, hooks=HOOK))
    later = threading.Timer(0.2, init.close)
    later.start()
    assert execute().kind == EOF
    assert container.signals == []
