"""The host's state as the tests can see it, to be the same before and after whatever a container did.

The tests run in a place of their own, so that other work on the machine cannot change what they compare:
a mount namespace whose every mount is shared (as systemd makes a host: a leak from a container would show),
with a copy beside it that tells what others take away, a cgroup in every hierarchy, and a child subreaper,
so that every process a runtime leaves behind becomes our descendant.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE, MS_SHARED = 0x4000, 1 << 18, 1 << 20
PR_SET_CHILD_SUBREAPER = 36

SETTLE = 3.0  # seconds for the kernel to finish what it does behind a call's back: key collection, exits

WATCHED_FILES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/msgmax",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/fs/mqueue/msg_max",
)

_libc = ctypes.CDLL(None, use_errno=True)

Snapshot = dict[str, frozenset[str]]


def _call(name: str, *args: object) -> None:
    if getattr(_libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def token() -> str:
    """What every name made by this test session has in it."""
    return f"e2e{os.getpid()}"


def cgroup_mounts() -> dict[str, Path]:
    """Controller list (or "name=systemd", or "" for v2) to mount point."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, tail = line.partition(" - ")
        kind, _source, options = tail.split(" ", 2)
        if kind == "cgroup2":
            found[""] = Path(fields.split()[4])
        elif kind == "cgroup":
            names = [name for name in options.split(",") if name not in ("rw", "xattr", "clone_children")]
            found[",".join(names)] = Path(fields.split()[4])
    return found


def own_cgroups() -> dict[str, str]:
    """Controller list to the path of this process in that hierarchy."""
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}


def descendants(of: int) -> list[tuple[int, str]]:
    """(pid, command name) of every process below the given one, zombies left out."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                text = stat.read()
        except OSError:
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, parent = text[text.rindex(")") + 2 :].split()[:2]
        if state not in "ZX":
            children.setdefault(int(parent), []).append((int(entry), name))
    found: list[tuple[int, str]] = []
    queue = [of]
    while queue:
        below = children.get(queue.pop(), [])
        found.extend(below)
        queue.extend(pid for pid, _ in below)
    return found


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"


def reap() -> None:
    """Reap every zombie that is our child: subprocess waits for its own before a test ends."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


class Mounts:
    """The mounts of this process's namespace, and of those that were there at first, which others took away.

    Who removes a directory that is a mount point in other namespaces only takes the mounts away there (rmdir(2) since
    Linux 3.18), and so the end of another job's mount reaches our copy of it, but not what a container unmounts here:
    that is still in a second copy of the namespace, private, into which nobody goes.
    """

    def __init__(self) -> None:
        self._first = {_mount(line): line for line in _mountinfo("self")}
        # Made by a process that ends at once, so that who holds the copy is no child of the tests'.
        copy = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "exec 3<&0; cat <&3 >/dev/null & echo $!"]
        maker = subprocess.Popen(copy, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert maker.stdin is not None
        assert maker.stdout is not None
        self._life = maker.stdin  # it ends with this, or with the tests
        self._holder = maker.stdout.readline().decode().strip()
        maker.stdout.close()
        maker.wait()

    def lines(self) -> frozenset[str]:
        """Those of mountinfo; a mount that is gone here and in the copy is still among them."""
        ours = _mountinfo("self")
        there = {_mount(line) for line in _mountinfo(self._holder)}
        return frozenset((*ours, *(line for mount, line in self._first.items() if mount not in there)))

    def close(self) -> None:
        self._life.close()


def _mountinfo(process: str) -> list[str]:
    return Path(f"/proc/{process}/mountinfo").read_text().splitlines()


def _mount(line: str) -> tuple[str, ...]:
    """What is the same of a mount in a copy of its namespace: device, root, mount point."""
    return tuple(line.split()[2:5])


class Place:
    """The tests' own mount namespace, cgroups and subreaper; close() puts the process back where it was."""

    def __init__(self) -> None:
        self._host_mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        self._host_cwd = os.getcwd()
        _call("unshare", CLONE_NEWNS)
        _call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
        _call("mount", None, b"/", None, MS_REC | MS_SHARED, None)
        self.mounts = Mounts()
        _call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._origin = own_cgroups()
        self.name = token()
        self.cgroups: dict[str, Path] = {}
        self._hierarchies = cgroup_mounts()
        self._unified_alone = list(self._hierarchies) == [""]
        for controllers, mount in self._hierarchies.items():
            # On cgroup v2 a cgroup with controllers for those below it holds no process, nor do the runtimes then
            # look below their own for a place: the tests' process gets one beside those of the containers.
            parent = mount if self._unified_alone else mount / self._origin[controllers].lstrip("/")
            mine = parent / self.name
            mine.mkdir()
            if not self._unified_alone and (mine / "cpuset.cpus").exists():
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (mine / file).write_text((parent / file).read_text())
            tests = mine / "tests" if self._unified_alone else mine
            tests.mkdir(exist_ok=True)
            (tests / "cgroup.procs").write_text(str(os.getpid()))
            self.cgroups[controllers] = mine

    def cgroup(self, controller: str) -> Path:
        """The directory of this place's cgroup in the hierarchy of one controller."""
        for controllers, path in self.cgroups.items():
            if self._unified_alone or controller in controllers.split(","):
                return path
        raise LookupError(f"no {controller} hierarchy is mounted")

    def path(self, controller: str) -> str:
        """The same as config.json's cgroupsPath would name it: from the hierarchy's mount point."""
        for mount in cgroup_mounts().values():
            if mount in self.cgroup(controller).parents:
                return f"/{self.cgroup(controller).relative_to(mount)}"
        raise LookupError(controller)

    def remove_cgroups(self, name: str) -> None:
        """Remove what tests made, or made a runtime make, under the name in every hierarchy."""
        for mount in cgroup_mounts().values():
            for directory, _, _ in os.walk(mount / self.name, topdown=False):
                above_ours = Path(directory) == mount / self.name and Path(directory) not in self.cgroups.values()
                if above_ours or name in Path(directory).relative_to(mount).parts:
                    os.rmdir(directory)
        for path in self.cgroups.values():
            for directory, _, _ in os.walk(path / name, topdown=False):
                os.rmdir(directory)

    def close(self) -> None:
        reap()
        for controllers, path in self.cgroups.items():
            origin = self._hierarchies[controllers] / self._origin[controllers].lstrip("/")
            (origin / "cgroup.procs").write_text(str(os.getpid()))
            if self._unified_alone:
                (path / "tests").rmdir()
            path.rmdir()  # a cgroup that a test left would have failed that test
        self.mounts.close()
        _call("prctl", PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        _call("setns", self._host_mounts, CLONE_NEWNS)
        os.close(self._host_mounts)
        os.chdir(self._host_cwd)

    def snapshot(self, runtime_root: Path) -> Snapshot:
        """Everything that a container must leave as it was, as sets of lines."""
        reap()
        return {
            "mounts": self.mounts.lines(),
            "cgroups": frozenset(self._cgroup_directories()),
            "processes": frozenset(f"{pid} {name}" for pid, name in descendants(os.getpid())),
            "file descriptors": frozenset(_file_descriptors()),
            "keys": frozenset(_key(line) for line in Path("/proc/keys").read_text().splitlines() if self.name in line),
            "files": frozenset(f"{path}={_text(path)}" for path in WATCHED_FILES),
            "devices": frozenset(os.listdir("/dev")),
            "runtime root": frozenset(os.listdir(runtime_root) if runtime_root.is_dir() else ()),
        }

    def _cgroup_directories(self) -> Iterator[str]:
        for mount in cgroup_mounts().values():
            for entry in os.listdir(mount):
                if self.name in entry:
                    yield from (directory for directory, _, _ in os.walk(mount / entry))
        for path in self.cgroups.values():
            yield from (directory for directory, _, _ in os.walk(path))


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        return str(error)


def _file_descriptors() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        try:
            yield f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}"
        except FileNotFoundError:  # the one that listed the directory
            continue


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    found: list[str] = []
    for name, lines in before.items():
        found.extend(f"{name}: gone: {line}" for line in sorted(lines - after[name]))
        found.extend(f"{name}: new: {line}" for line in sorted(after[name] - lines))
    return found


def settled_differences(before: Snapshot, take: Callable[[], Snapshot]) -> list[str]:
    """The differences that are still there when the kernel had SETTLE seconds to finish."""
    deadline = time.monotonic() + SETTLE
    pause = 0.01
    while True:
        found = differences(before, take())
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


@contextmanager
def unchanged(place: Place, runtime_root: Path) -> Iterator[None]:
    """Assert that the body leaves the host exactly as it found it."""
    before = place.snapshot(runtime_root)
    yield
    found = settled_differences(before, lambda: place.snapshot(runtime_root))
    assert not found, "\n".join(found)


def _key(line: str) -> tuple[str, str]:
    """Serial number and description of a key: use count and time to live, of proc_keys(5), change by themselves."""
    fields = line.split()
    return fields[0], " ".join(fields[7:])
