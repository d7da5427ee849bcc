"""checkpoint --check: whether a checkpoint can be expected to work, before anything is stopped.

It only looks.  What CRIU alone finds out, while it looks into every process, it cannot say.
"""

from __future__ import annotations

import _socket

from ocirt import system as os
from ocirt.criu import program
from ocirt.criu.mounts import not_understood
from ocirt.criu.request import check_parent, page_server
from ocirt.errors import OcirtError
from ocirt.process.checkpoint import (
    container_mounts,
    container_outside,
    require_checkpointable,
    require_features,
    standard_streams,
)
from ocirt.restore_plan import require_restorable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.container import Container
    from ocirt.options import Parsed

CONNECT_DEADLINE = 5.0  # seconds
ESTABLISHED = "01"  # net/tcp, column st
LOCK_PID = 4  # column of /proc/locks (proc_locks(5)), an arrow of a waiting one left out


class Finding:
    """One line of the report.  fault: "" when nothing speaks against it."""

    __slots__ = ("fault", "remedy", "what")

    def __init__(self, what: str, fault: str = "", remedy: str = "") -> None:
        self.what = what
        self.fault = fault
        self.remedy = remedy

    def describe(self) -> str:
        if not self.fault:
            return f"ok    {self.what}"
        return f"FAULT {self.what}: {self.fault}" + (f" - {self.remedy}" if self.remedy else "")


def findings(container: Container, options: Parsed, images: str) -> Iterator[Finding]:
    """In the order of a checkpoint; images: absolute path.  What is not there to look at is left out."""
    yield _asked("rights", _require_root)
    yield from _of_criu(options)
    status = container.status()
    yield _asked(f"container is {status}", lambda: require_checkpointable(status))
    yield _asked("configuration", lambda: require_restorable(container.config()))
    yield _images(container, images)
    if options.parent_path:
        yield _asked(f"parent {options.parent_path}", lambda: check_parent(images, options.parent_path))
    if options.page_server:
        yield _asked(f"page server {options.page_server}", lambda: _reach(options.page_server))
    if status in ("running", "paused"):
        yield from _of_processes(container, options)


def _asked(what: str, question: Callable[[], object]) -> Finding:
    """What the question raises is the fault."""
    try:
        question()
    except OcirtError as error:
        reason = f": {os.strerror(error.errno).lower()}" if error.errno else ""
        return Finding(what, error.what + reason, error.remedy)
    return Finding(what)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise OcirtError("criu", "CRIU needs root")


def _of_criu(options: Parsed) -> Iterator[Finding]:
    try:
        criu = program.find_criu()
        major, minor = program.version(criu)
    except OcirtError as error:
        yield Finding("criu", error.what, error.remedy)
        return
    yield Finding(f"criu {major}.{minor} ({criu})")
    yield _asked("kernel: criu check", lambda: program.check(criu))
    if options.pre_dump or options.parent_path:
        yield _asked("kernel: memory tracking", lambda: require_features(criu, ["mem_track"]))
    if options.lazy_pages:
        yield _asked("kernel: userfaultfd", lambda: require_features(criu, ["lazy_pages"]))


def _images(container: Container, images: str) -> Finding:
    """Whether the images can be written, and whether what is in memory fits."""
    there = images
    while not os.path.exists(there):
        there = os.path.split(there)[0]
    if not os.path.isdir(there) or not os.access(there, os.W_OK):
        return Finding(f"images in {images}", f"{there} is no directory to write to")
    room = os.statvfs(there)
    free, needed = room.f_bavail * room.f_frsize, _memory(container)
    what = f"images in {images}: {free >> 20} MiB free, at most {needed >> 20} MiB needed"
    return Finding(what, "too little room" if free < needed else "")


def _memory(container: Container) -> int:
    """Bytes that the container has in memory, 0 when nobody counts."""
    manager = container.manager()
    if manager is None or not manager.exists():
        return 0
    found: int = manager.usage().get("memory", {}).get("usage", {}).get("usage", 0)
    return found


def _reach(server: str) -> None:
    """Raises OcirtError.  A page server serves one connection and ends with it: it must be started again."""
    address, port = page_server(server) or ("", 0)
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    sock.settimeout(CONNECT_DEADLINE)
    try:
        sock.connect((address, port))
    except OSError as error:
        raise OcirtError("criu", "cannot be reached", errno=error.errno or 0) from None
    finally:
        sock.close()


# -- what the processes have open ------------------------------------------------------------------


def _of_processes(container: Container, options: Parsed) -> Iterator[Finding]:
    mounted = container_mounts(container)
    strange = not_understood(container_outside(container), mounted)
    what = "; ".join(f"{mount.fstype} on {mount.point}" for mount in strange)
    yield Finding("mounts", what and f"CRIU cannot make {what}", "have it in config.json as a bind, or unmount it")
    streams = standard_streams(container.pid, mounted)
    terminals = [name for name in streams if _is_terminal_outside(container, streams, name)]
    yield Finding(
        "standard streams",
        f"{terminals[0]} is a terminal of the host" if terminals and not options.shell_job else "",
        "give --shell-job, or have the container made with a terminal of its own",
    )
    pids = _pids(container)
    connections = 0 if options.tcp_established else _count_connections(container.pid, pids)
    yield Finding("TCP connections", f"{connections} established" if connections else "", "give --tcp-established")
    locks = 0 if options.file_locks else _count_locks(pids)
    yield Finding("file locks", f"{locks} held" if locks else "", "give --file-locks")


def _is_terminal_outside(container: Container, streams: list[str], name: str) -> bool:
    """file[...] of a device: standard_streams() calls so what is not on a mount of the container."""
    if not name.startswith("file["):
        return False
    fd = streams.index(name)
    return os.readlink(f"/proc/{container.pid}/fd/{fd}").startswith(("/dev/pts/", "/dev/tty"))


def _pids(container: Container) -> list[int]:
    manager = container.manager()
    return manager.pids() if manager is not None else [container.pid]


def _count_connections(pid: int, pids: list[int]) -> int:
    """Established connections of these processes; others may share the network namespace."""
    own = {name[len("socket:[") : -1] for name in _open_files(pids) if name.startswith("socket:[")}
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        if os.path.exists(f"/proc/{pid}/net/{table}")
        for line in os.read_whole(f"/proc/{pid}/net/{table}").decode().splitlines()[1:]
    ]
    return sum(1 for line in lines if line[3] == ESTABLISHED and line[9] in own)


def _open_files(pids: list[int]) -> Iterator[str]:
    for pid in pids:
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                yield os.readlink(f"/proc/{pid}/fd/{fd}")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended, or closed that file
            continue


def _count_locks(pids: list[int]) -> int:
    lines = [line.replace("-> ", "").split() for line in os.read_whole("/proc/locks").decode().splitlines()]
    return sum(1 for line in lines if line[LOCK_PID].isdecimal() and int(line[LOCK_PID]) in pids)
