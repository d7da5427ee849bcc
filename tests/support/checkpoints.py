"""Containers to be checkpointed: a service that counts, its streams as an engine holds them, its connections."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.support.bundles import Bundle
from tests.support.runtime import BOUND, Result, Runtime, read_until

SOURCE = Path(__file__).with_name("service.c")
PORT = 5000


@cache
def service() -> Path:
    """The program of service.c, built once."""
    program = Path(mkdtemp(prefix="service-")) / "service"
    subprocess.run(["gcc", "-static", "-O1", "-o", program, SOURCE], check=True, timeout=120)
    return program


def serving(bundle: Bundle, *args: object) -> Bundle:
    """Let the payload be the service, with a tmpfs for its count."""
    (bundle.root / "bin/service").write_bytes(service().read_bytes())
    (bundle.root / "bin/service").chmod(0o755)
    return bundle.mount("/tmp", "tmpfs", "tmpfs").args("/bin/service", *(str(arg) for arg in args))


class Streams:
    """Pipes for a container's standard streams: CRIU takes no file that is outside of the container."""

    def __init__(self) -> None:
        self._in, self.stdin = os.pipe()
        self.stdout, self._out = os.pipe()
        self.stderr, self._err = os.pipe()
        self._fds = [self._in, self.stdin, self.stdout, self._out, self.stderr, self._err]

    def call(self, runtime: Runtime, *words: str, code: int = 0, **how: Any) -> str:
        """One command of the runtime with these streams; what is on standard error until now."""
        command = runtime.arguments(*words, **how)
        done = subprocess.run(
            command, stdin=self._in, stdout=self._out, stderr=self._err, timeout=BOUND * 4, check=False
        )
        os.set_blocking(self.stderr, False)
        try:
            said = os.read(self.stderr, 65536).decode(errors="replace")
        except BlockingIOError:
            said = ""
        assert done.returncode == code, (words, done.returncode, said)
        return said

    def say(self, line: str) -> None:
        os.write(self.stdin, f"{line}\n".encode())

    def hear(self, wanted: str) -> str:
        return read_until(self.stdout, wanted.encode(), BOUND).decode()

    def ask(self, line: str, answer: str) -> None:
        """The service's own way: "COUNT LINE"."""
        self.say(line)
        self.hear(f"{answer}\n")

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []


@contextmanager
def streams() -> Iterator[Streams]:
    made = Streams()
    try:
        yield made
    finally:
        made.close()


def run(runtime: Runtime, bundle: Bundle, made: Streams, *flags: str, **how: Any) -> None:
    """`run --detach` with these streams; bundle.pid is init."""
    bundle.save()
    pid_file = bundle.path / "init.pid"
    words = ("run", "--detach", "--pid-file", str(pid_file), *flags, "--bundle", str(bundle.path), bundle.id)
    made.call(runtime, *words, **how)
    bundle.pid = int(pid_file.read_bytes())


def images(bundle: Bundle, name: str = "images") -> Path:
    return bundle.path / name


def checkpoint(runtime: Runtime, bundle: Bundle, *flags: str, **how: Any) -> Result:
    return runtime.ok(
        "checkpoint", "--image-path", str(images(bundle)), *flags, bundle.id, **({"bound": BOUND * 4} | how)
    )


def restore(runtime: Runtime, bundle: Bundle, made: Streams, *flags: str, **how: Any) -> None:
    """`restore --detach` with these streams; bundle.pid is init."""
    pid_file = bundle.path / "restored.pid"
    words = ("restore", "--detach", "--pid-file", str(pid_file), "--image-path", str(images(bundle)), *flags)
    made.call(runtime, *words, "--bundle", str(bundle.path), bundle.id, **how)
    bundle.pid = int(pid_file.read_bytes())


def statistics(directory: Path, kind: str = "dump") -> dict[str, int]:
    """CRIU's stats-dump or stats-restore: microseconds and pages by name."""
    done = subprocess.run(
        ["crit", "show", str(directory / f"stats-{kind}")], check=True, capture_output=True, text=True, timeout=60
    )
    entry = json.loads(done.stdout)["entries"][0]
    return {name: int(value) for name, value in entry[kind].items()}


class NetworkNamespace:
    """A network namespace as an engine makes one: a loopback, and a veth pair whose other end stays with us.

    path names it.  A second one with the same addresses can take its place when it is closed.
    """

    ADDRESS, OURS = "10.213.7.2", "10.213.7.1"

    def __init__(self, up: bool = True) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 1000"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        pid = str(self._holder.pid)
        self.path = f"/proc/{pid}/ns/net"
        ip("link", "add", "ckpt0", "type", "veth", "peer", "name", "eth0", "netns", pid)
        ip("address", "add", f"{self.OURS}/24", "dev", "ckpt0")
        if up:
            self.up()
        for words in (("address", "add", f"{self.ADDRESS}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            subprocess.run(["nsenter", f"--net={self.path}", "ip", *words], check=True, timeout=10)

    def up(self) -> None:
        """Until then nothing of the peer's comes in, to which the kernel would answer that there is no connection."""
        ip("link", "set", "ckpt0", "up")

    def connect(self, port: int = PORT) -> Client:
        return Client(self.ADDRESS, port)

    def close(self) -> None:
        """With the namespace the pair goes; at once, so that another can have its name."""
        ip("link", "delete", "ckpt0")
        self._holder.kill()
        self._holder.communicate()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=10)


class Client:
    """One connection to the service, from outside of its namespace."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), timeout=BOUND * 3)

    def say(self, line: str) -> None:
        self._socket.sendall(f"{line}\n".encode())

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    def close(self) -> None:
        self._socket.close()
