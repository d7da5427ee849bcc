"""A conversation with a criu that answers as it is told."""

from __future__ import annotations

import _socket
import array
import os
import socket
import threading
from collections.abc import Callable

import pytest

from ocirt.criu import rpc, wire
from ocirt.criu.rpc import Conversation, CriuFailed
from ocirt.criu.wire import decode, encode
from ocirt.errors import OcirtError

Answer = dict[str, object]


class FakeCriu:
    """Answers each request with the next answer; requests are kept.  fd: goes with every answer that has it."""

    def __init__(self, *answers: Answer, status: int = 0, prints: bytes = b"") -> None:
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.requests: list[dict[str, object]] = []
        self._answers = list(answers)
        output = os.memfd_create("criu")
        os.write(output, prints)
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {status}"], {})
        self.conversation = Conversation(_socket.socket(fileno=ours.detach()), pid, output)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._theirs:
            while request := self._theirs.recv(1 << 20):
                self.requests.append(decode("criu_req", request))
                if not self._answers:
                    return
                answer = self._answers.pop(0)
                fd = answer.pop("fd", None)
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd is not None else []
                self._theirs.sendmsg([encode("criu_resp", answer)], ancillary)

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


def notify(script: str, pid: int = 0, **more: object) -> Answer:
    return {"type": wire.NOTIFY, "success": True, "notify": {"script": script, "pid": pid}, **more}


def ignore(script: str, pid: int, fds: list[int]) -> None:
    """Nothing to do."""


def test_version() -> None:
    criu = FakeCriu({"type": wire.VERSION, "success": True, "version": {"major_number": 3, "minor_number": 17}})
    with criu.conversation as conversation:
        assert conversation.version() == (3, 17)
    criu.join()
    assert criu.requests == [{"type": wire.VERSION}]


def test_features() -> None:
    criu = FakeCriu({"type": wire.FEATURE_CHECK, "success": True, "features": {"mem_track": True}})
    with criu.conversation as conversation:
        assert conversation.features("mem_track", "lazy_pages") == {"mem_track": True, "lazy_pages": False}
    assert criu.requests == [{"type": wire.FEATURE_CHECK, "features": {"mem_track": True, "lazy_pages": True}}]


def test_notifications_are_answered_when_they_are_dealt_with() -> None:
    reading, writing = os.pipe()
    criu = FakeCriu(
        notify("setup-namespaces", 7),
        notify("orphan-pts-master", fd=writing),
        {"type": wire.RESTORE, "success": True, "restore": {"pid": 42}},
    )
    heard: list[tuple[str, int]] = []

    def notified(script: str, pid: int, fds: list[int]) -> None:
        heard.append((script, pid))
        assert len(criu.requests) == len(heard)  # not answered yet
        for fd in fds:
            assert not os.get_inheritable(fd)
            os.write(fd, b"through")

    with criu.conversation as conversation:
        answer = conversation.perform(wire.RESTORE, {"images_dir_fd": 5}, notified)
    os.close(writing)
    assert answer["restore"] == {"pid": 42}
    assert heard == [("setup-namespaces", 7), ("orphan-pts-master", 0)]
    agreed = {"type": wire.NOTIFY, "notify_success": True}
    assert criu.requests == [{"type": wire.RESTORE, "opts": {"images_dir_fd": 5}}, agreed, agreed]
    assert os.read(reading, 100) == b"through"
    assert os.read(reading, 100) == b""  # our descriptor is closed
    os.close(reading)


def test_a_failure_says_why() -> None:
    criu = FakeCriu({"type": wire.DUMP, "success": False, "cr_errno": 3, "cr_errmsg": "no such task"})
    with (
        criu.conversation as conversation,
        pytest.raises(CriuFailed, match=r"^criu failed: dump: no such task$") as caught,
    ):
        conversation.perform(wire.DUMP, {}, ignore)
    assert (caught.value.code, caught.value.errno) == ("criu", 3)


def test_what_a_notification_raises_ends_the_conversation() -> None:
    criu = FakeCriu(notify("setup-namespaces", 7), {"type": wire.RESTORE, "success": True})

    def notified(script: str, pid: int, fds: list[int]) -> None:
        raise OcirtError("hook", "no")

    with pytest.raises(OcirtError, match=r"^no$"), criu.conversation as conversation:
        conversation.perform(wire.RESTORE, {}, notified)
    criu.join()
    assert len(criu.requests) == 1  # no success was told


def hear_nothing(criu: FakeCriu) -> None:
    criu.conversation.perform(wire.DUMP, {}, ignore)


def ask_for_the_version(criu: FakeCriu) -> None:
    criu.conversation.version()


@pytest.mark.parametrize("act", [hear_nothing, ask_for_the_version])
def test_a_criu_that_ends(act: Callable[[FakeCriu], None]) -> None:
    criu = FakeCriu(status=127, prints=b"criu: error while loading\nshared libraries: libnet.so.1\n")
    says = "criu ended without an answer (exit status 127): criu: error while loading shared libraries: libnet.so.1"
    with criu.conversation, pytest.raises(OcirtError) as caught:
        act(criu)
    assert (caught.value.code, caught.value.what) == ("criu", says)


def test_an_answer_to_another_question() -> None:
    criu = FakeCriu({"type": wire.RESTORE, "success": True})
    with criu.conversation as conversation, pytest.raises(OcirtError, match=r"^criu answered 2 to dump$"):
        conversation.perform(wire.DUMP, {}, ignore)


def test_closing_waits_for_criu_and_can_be_repeated() -> None:
    criu = FakeCriu(status=1)
    criu.conversation.close()
    assert criu.conversation.reap() == 0
    criu.conversation.close()


def test_a_signal_that_comes_right_before_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python notes it and waits on in the kernel: it must be looked for again."""

    class Poll:
        """select.poll, before whose first wait a signal comes; the kernel does not end the wait for it."""

        waits = 0

        def register(self, *_: int) -> None:
            """Nothing is registered."""

        def poll(self, milliseconds: int) -> list[tuple[int, int]]:
            assert 0 < milliseconds <= 1000
            Poll.waits += 1
            if Poll.waits == 3:
                raise OcirtError("interrupted", "seen")
            return []

    monkeypatch.setattr(rpc.select, "poll", Poll)
    criu = FakeCriu()
    with criu.conversation as conversation, pytest.raises(OcirtError, match=r"^seen$"):
        conversation.version()
