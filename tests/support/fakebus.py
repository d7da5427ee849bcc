"""A systemd on a socket that answers as a test tells it, with the messages it was sent."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    Parser,
    new_error,
    new_method_return,
    new_signal,
)

MANAGER = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")

Answer = Callable[[Message], list[Message]]


def job_removed(job: str, unit: str, result: str, sender: str = "") -> Message:
    signal = new_signal(MANAGER, "JobRemoved", "uoss", (7, job, unit, result))
    if sender:
        signal.header.fields[HeaderFields.sender] = sender
    return signal


def reply(call: Message, signature: str = "", *body: Any, sender: str = "") -> Message:
    message = new_method_return(call, signature or None, body)
    if sender:
        message.header.fields[HeaderFields.sender] = sender
    return message


def refusal(call: Message, name: str, text: str) -> Message:
    return new_error(call, name, "s", (text,))


def member(call: Message) -> str:
    name: str = call.header.fields[HeaderFields.member]
    return name


class FakeSystemd:
    """calls: (destination, path, interface, member, signature, body) of every message, in order.

    lines: the authentication as it was received.  early: what of it came before its last answer.
    answer: the messages to send for one; [] for silence.  news: what follows the last line at once.
    """

    def __init__(
        self,
        sock: socket.socket,
        answer: Answer,
        *,
        lines: tuple[bytes, ...] = (b"DATA", b"OK 0123"),
        news: tuple[Message, ...] = (),
    ) -> None:
        self.calls: list[tuple[str, str, str, str, str, tuple[Any, ...]]] = []
        self.lines: list[bytes] = []
        self.early = b""
        self._sock = sock
        self._answer = answer
        self._greeting = [line + b"\r\n" for line in lines]
        self._news = b"".join(message.serialise(serial=7) for message in news)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def members(self) -> list[str]:
        return [call[3] for call in self.calls]

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        _take_no_signals()
        with self._sock:
            rest = self._authenticate()
            parser = Parser()
            serial = 100
            while rest:
                for call in parser.feed(rest):
                    self._note(call)
                    for message in self._answer(call):
                        serial += 1
                        self._sock.sendall(message.serialise(serial=serial))
                try:
                    rest = self._sock.recv(65536)
                except ConnectionResetError:
                    return

    def _authenticate(self) -> bytes:
        """What came after it."""
        data = b""
        for number, line in enumerate(self._greeting, 1):
            data = self.early = self._line(data)
            self._sock.sendall(line + self._news if number == len(self._greeting) else line)
        data = self._line(data)
        return data or self._sock.recv(65536)

    def _line(self, data: bytes) -> bytes:
        while b"\r\n" not in data:
            block = self._sock.recv(1024)
            if not block:
                return b""
            data += block
        line, _, rest = data.partition(b"\r\n")
        self.lines.append(line)
        return rest

    def _note(self, call: Message) -> None:
        fields = call.header.fields
        self.calls.append(
            (
                fields.get(HeaderFields.destination, ""),
                fields[HeaderFields.path],
                fields.get(HeaderFields.interface, ""),
                fields[HeaderFields.member],
                fields.get(HeaderFields.signature, ""),
                call.body,
            )
        )


class Server:
    """Takes connections on a socket until close().  served: one FakeSystemd each, as soon as it comes."""

    def __init__(self, path: Path, answer: Answer) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.served: list[FakeSystemd] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(5)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends accept(); close() would not
        self._thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        _take_no_signals()
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.served.append(FakeSystemd(sock, self._answer))


def _take_no_signals() -> None:
    """They are meant for the thread that runs the tests."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
