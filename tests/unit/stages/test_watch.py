"""The filter and its listener's way to the watcher: nothing lies between that could itself be watched."""

from __future__ import annotations

import array
import os
import socket

import pytest

from ocirt.box import WATCHER
from ocirt.kernel import terminals
from ocirt.seccomp.architectures import ABIS
from ocirt.seccomp.recorded import Recorder
from ocirt.seccomp.watched import notify_about_all
from ocirt.seccomp.watcher import Watch
from ocirt.stages.watch import LoadWatchedFilter
from tests.support.recorder import recorded_box

NATIVE = ABIS["SCMP_ARCH_X86_64"]


def test_the_message_is_made_before_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory too: a brk(2) for it would wait for a watcher that has no listener yet."""
    reading, writing = os.pipe()
    os.write(writing, b"listener")

    def no_more(content: int | bytes) -> None:
        raise AssertionError("memory, when the filter is in force")

    def load(program: bytes, flags: int) -> int:
        monkeypatch.setattr(terminals, "buffer", no_more)
        return reading

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    box, kernel = recorded_box(set_seccomp_filter=load, FdMessage=terminals.FdMessage)
    box.fds[WATCHER] = ours.fileno()
    watch = Watch(Recorder("/nonesuch", NATIVE), notify_about_all(NATIVE), 8)
    LoadWatchedFilter(watch).apply(box)
    assert kernel.calls == [("FdMessage", b"listener"), ("set_seccomp_filter", notify_about_all(NATIVE), 8)]
    assert box.fds == {}
    data, ancillary, _, _ = theirs.recvmsg(100, socket.CMSG_SPACE(64))
    ((_, _, rights),) = ancillary
    (fd,) = array.array("i", rights)
    assert (data, os.read(fd, 100)) == (b"listener", b"listener")
    for one in (fd, reading, writing):
        os.close(one)
    ours.close()
    theirs.close()
