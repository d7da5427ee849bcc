"""A container run through an engine, from the engine's command to its end.  For bench.py."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crowds import head, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench import Bench, Runtime

ROUNDS = 8
PAYLOAD = ["/bin/busybox", "true"]
LIMITS = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1000:1000"]  # what may be had without CAP_SYS_RESOURCE
PATIENCE = 30  # seconds for the daemon
CONFIGURATION = """version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{0}/socket"
[ttrpc]
address = "{0}/ttrpc"
"""


def engines(bench: Bench) -> list[str]:
    """A table: a row for each engine that is installed."""
    rows = []
    if shutil.which("podman"):
        rows.append(times(bench, "podman run", podman))
    if shutil.which("containerd") and shutil.which("ctr"):
        with containerd(bench.work / "containerd"):
            rows.append(times(bench, "ctr run, containerd", ctr))
    return ["## Through an engine, ms", "", *head("", bench), *rows, ""] if rows else []


def times(bench: Bench, name: str, command: Callable[[Bench, Runtime, str], list[str]]) -> str:
    walls: dict[str, list[float]] = {}
    for number in range(ROUNDS + 1):
        for runtime in bench.runtimes:
            line = command(bench, runtime, f"{runtime.name}-{number}")
            began = time.perf_counter()
            subprocess.run(line, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=bench.errors)
            if number:  # the first one warms
                walls.setdefault(runtime.name, []).append((time.perf_counter() - began) * 1000)
    return row(name, [statistics.median(walls[runtime.name]) for runtime in bench.runtimes])


def root_file_system(bench: Bench) -> str:
    return f"{bench.run_bundles['run']}/rootfs"


def podman(bench: Bench, runtime: Runtime, _: str) -> list[str]:
    own = bench.work / "podman"
    places = [f"--root={own}/root", f"--runroot={own}/run", f"--tmpdir={own}/tmp"]
    quiet = ["--log-level=error", "--events-backend=none", "--cgroup-manager=cgroupfs"]
    rest = ["run", "--rm", "--network=none", *LIMITS, "--rootfs", root_file_system(bench), *PAYLOAD]
    return ["podman", *places, *quiet, f"--runtime={runtime.command}", *rest]


def ctr(bench: Bench, runtime: Runtime, name: str) -> list[str]:
    options = ["run", "--rm", "--runc-binary", runtime.command, "--rootfs"]
    return ["ctr", "--address", f"{bench.work}/containerd/socket", *options, root_file_system(bench), name, *PAYLOAD]


@contextmanager
def containerd(directory: Path) -> Iterator[None]:
    """A daemon of our own."""
    directory.mkdir()
    (directory / "config.toml").write_text(CONFIGURATION.format(directory))
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "--config", str(directory / "config.toml")], stdout=log, stderr=log)
    try:
        wait_for(directory)
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def wait_for(directory: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    ask = ["ctr", "--address", str(directory / "socket"), "version"]
    while subprocess.run(ask, check=False, capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError((directory / "log").read_text()[-2000:])
        time.sleep(0.05)
