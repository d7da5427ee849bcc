"""Containers to be checkpointed: a service that counts, its streams as an engine holds them, its connections."""

from __future__ import annotations

import json
import os
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
    """A network namespace of its own with a loopback, as an engine would prepare it; path names it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 1000"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        self.path = f"/proc/{self._holder.pid}/ns/net"

    def connect(self, port: int = PORT) -> Client:
        return Client(self.path, port)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


CLIENT = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60)
for line in sys.stdin:
    sock.sendall(line.encode())
    print(sock.recv(4096).decode(), end="", flush=True)
"""


class Client:
    """A process in the namespace with one connection to the service."""

    def __init__(self, namespace: str, port: int) -> None:
        self._process = subprocess.Popen(
            ["nsenter", f"--net={namespace}", "python3", "-c", CLIENT, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
