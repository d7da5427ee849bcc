"""H2: images in which one standard path after the other is something else than it should be.

The host stays as it was (every test here looks at that, too), nothing waits, and what fails fails with one line.
"""

from __future__ import annotations

import itertools
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_attacks import Marked
from tests.support.bundles import Bundle
from tests.support.runtime import ConsoleSocket, Runtime

ALL = bool(os.environ.get("OCIRT_TEST_ALL_IMAGES"))  # every combination of WAYS: a quarter of an hour
PATHS = (
    "/proc", "/sys", "/dev", "/dev/null", "/dev/console", "/dev/ptmx", "/dev/pts", "/dev/shm", "/dev/mqueue",
    "/dev/fd", "/etc", "/etc/passwd", "/run", "/tmp", "/work",
)  # fmt: skip
KINDS = (
    "absent", "file", "dangling", "relative", "absolute", "loop", "fifo", "socket", "device", "closed", "itself",
)  # fmt: skip
FULL = os.makedev(1, 7)
# terminal, root.readonly, a user namespace, a mount on /dev
WAYS = tuple(itertools.product((False, True), repeat=4))


def place(bundle: Bundle, path: str, kind: str, outside: Path) -> None:
    """Make the path of the image that kind of file; outside is a directory of the host's."""
    where = bundle.root / path.lstrip("/")
    where.parent.mkdir(exist_ok=True)
    if where.is_dir():
        where.rename(where.with_name(f"{where.name}-before"))
    elif where.is_symlink() or where.exists():
        where.unlink()
    target = outside if path.count("/") == 1 else outside / "file"
    links = {
        "dangling": "/no/such/place",
        "relative": "../" * 30 + str(target).lstrip("/"),
        "absolute": str(target),
        "loop": where.name,
        "itself": f"/proc/self/root{target}",
    }
    if kind in links:
        where.symlink_to(links[kind])
    elif kind == "closed":
        where.mkdir(mode=0)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            directory = os.open(where.parent, os.O_PATH)
            server.bind(f"/proc/self/fd/{directory}/{where.name}")
            os.close(directory)
    elif kind != "absent":
        os.mknod(where, {"file": stat.S_IFREG, "fifo": stat.S_IFIFO, "device": stat.S_IFCHR}[kind] | 0o666, FULL)


def prepare(bundle: Bundle, terminal: bool, readonly: bool, user_namespace: bool, mount_on_dev: bool) -> None:
    if user_namespace:
        bundle.user_namespace()
    if not mount_on_dev:
        for target in ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"):
            bundle.without_mount(target)
        bundle.mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    bundle.config["root"]["readonly"] = readonly
    bundle.process.update(terminal=terminal, cwd="/work")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.differs(
    runc="1.1.5 acts outside where /dev is a link (CVE-2026-41579), and waits for a FIFO",
    crun="1.8 waits for a FIFO at /dev/console and /etc/passwd",
)
def test_one_path_is_something_else(runtime: Runtime, new_bundle: Callable[[], Bundle], path: str) -> None:
    for number, kind in enumerate(KINDS):
        ways = WAYS if ALL else (WAYS[(number * 5 + PATHS.index(path) * 3) % len(WAYS)],)
        for way in ways:
            try_one(runtime, new_bundle(), path, kind, way)


def try_one(runtime: Runtime, bundle: Bundle, path: str, kind: str, way: tuple[bool, ...]) -> None:
    marked = Marked(bundle.path / "outside")
    place(bundle, path, kind, marked.path)
    prepare(bundle, *way)
    bundle.script("echo x > /dev/null; echo x > /dev/console; true").save()
    console = ConsoleSocket(bundle.path / "console.sock")
    flags = ("--console-socket", str(console.path)) if way[0] else ()
    result = runtime.call("create", *flags, "--bundle", str(bundle.path), bundle.id, bound=10)
    said = (path, kind, way, result)
    assert "Traceback" not in result.err, said
    if result.code == 0:
        runtime.call("start", bundle.id, bound=10)
        runtime.ok("delete", "--force", bundle.id)
    else:
        assert len(result.err.splitlines()) == 1, said
    console.close()
    assert marked.unchanged(), said
