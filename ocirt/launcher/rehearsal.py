"""What is executed before the native launcher's image is kept: a container's commands, on a kernel that does nothing.

Python notes what code meets when it is executed for the eighth time, and from then on does the same work with fewer
instructions (PEP 659); in a command nothing is executed so often that this pays.  It is a seventh of a run.

Every way to the kernel is closed meanwhile: the functions of the C modules that lead there are replaced wherever they
are.  What takes their place answers as for a container that comes up and ends; a command that asks for something else
fails here, and with it the build.
"""

from __future__ import annotations

import _socket
import _stat as stat
import errno
import gc
import posix
import sys

from ocirt import cli, container, log
from ocirt import system as os
from ocirt.commands.spec import example
from ocirt.config import jsontext
from ocirt.kernel import ffi, files, links, numbers
from ocirt.kernel.flags import KEYCTL_DESCRIBE, PR_CAPBSET_READ
from ocirt.process import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Namespace = dict[str, Any]

if "_ocirt" in sys.builtin_module_names:
    from _ocirt import stand_in  # type: ignore[import-not-found]  # part of the native launcher
else:

    def stand_in(builtin: object, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, called as the builtin is."""
        return function


TIMES = 16  # alternately on cgroup v1 and v2: eight times each
ID, PID = "rehearsal", 4242
# The process that is played, a command line, and the records that this process receives.
RUNTIME, CHILD = "the runtime", "the joiner, where there is one, and init"
OF_INIT, OF_RUNTIME = (b"READY", b"EXECUTES"), (b"GO", b"GO")
COMMANDS: tuple[tuple[str, tuple[str, ...], tuple[bytes, ...]], ...] = (
    (RUNTIME, ("run", "--bundle", "/bundle", ID), OF_INIT),
    (CHILD, ("run", "--bundle", "/bundle", ID), OF_RUNTIME),
    (RUNTIME, ("run", "--detach", "--bundle", "/bundle", ID), OF_INIT),
    (RUNTIME, ("state", ID), ()),
    (RUNTIME, ("exec", ID, "sh"), (f"PID\0{PID}\0".encode(), *OF_INIT)),
    (CHILD, ("exec", ID, "sh"), OF_RUNTIME),
    (RUNTIME, ("kill", ID, "TERM"), ()),
    (RUNTIME, ("delete", "--force", ID), ()),
)
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
# /proc/self/mountinfo and /proc/self/cgroup.
V1 = (
    "".join(f"3 2 0:2 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for name in CONTROLLERS)
    + "4 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n",
    "".join(f"{number}:{name}:/\n" for number, name in enumerate((*CONTROLLERS, ""))),
)
V2 = ("4 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/\n")
SECCOMP = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        {"names": ["read", "write", "openat", "close", "execve", "exit_group", "mmap"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["personality", "socket"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
        },
    ],
}

# C modules that lead to the kernel.  Let pass are sockets, whose other end is closed before anything is waited for, and
# select.poll(), which sees that, and knows none of the other descriptors.
WAYS = ("posix", "fcntl", "_signal", "time")
PURE = frozenset(
    ("fspath", "makedev", "major", "minor", "strerror", "waitstatus_to_exitcode", "WIFSIGNALED", "WTERMSIG")
)
# What has nothing to answer, and the system calls that only succeed.  Whatever else has no answer is a RuntimeError.
WITHOUT_ANSWER = (
    "chdir", "close", "fchdir", "fchmod", "flock", "get_inheritable", "mknod", "pidfd_send_signal", "rmdir", "setsid",
    "signal", "symlink", "umask", "unlink",
)  # fmt: skip
SUCCEED = (
    numbers.capset, numbers.close_range, numbers.faccessat2, numbers.fsconfig, numbers.keyctl, numbers.mount,
    numbers.mount_setattr, numbers.move_mount, numbers.pivot_root, numbers.prctl, numbers.prlimit64,
    numbers.rt_sigaction, numbers.rt_sigprocmask, numbers.sched_setaffinity, numbers.seccomp, numbers.setgroups,
    numbers.sethostname, numbers.setns, numbers.setresgid, numbers.setresuid, numbers.umount2, numbers.unshare,
)  # fmt: skip
ROOT = "/bundle/rootfs"
MISSING = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/proc/asound", "/proc/latency_stats", "/sys/fs/cgroup/cpu")
FIRST = 1000  # descriptor; lower ones are sockets, which are real


class Ended(BaseException):
    """What _exit(2) is here."""


class Empty:
    """A directory, as scandir() has it."""

    def __enter__(self) -> tuple[()]:
        return ()

    def __exit__(self, *_: object) -> None:
        pass


class Kernel:
    """The one that does nothing.  What was opened is known by the last part of its name."""

    def begin(self, on_v2: bool) -> None:
        """Another machine, with another container's bundle."""
        config = example(None, on_v2)
        config["linux"]["seccomp"] = SECCOMP
        config["process"]["terminal"] = False
        mountinfo, cgroup = V2 if on_v2 else V1
        self.files = {
            "config.json": jsontext.dump(config).encode(),
            "mountinfo": mountinfo.encode(),
            "cgroup": cgroup.encode(),
            "boot_id": b"00000000-0000-4000-8000-000000000000\n",
            "stat": f"{PID} (sh) S 1 {' '.join('0' * 50)}\n".encode(),
            "cgroup.controllers": b"cpu io memory pids\n",
            "cgroup.type": b"domain\n",
            "cpuset.cpus": b"0\n",
            "cpuset.mems": b"0\n",
            "freezer.state": b"THAWED\n",
        }
        self.opened: list[str] = []
        self.unread: dict[int, bytes] = {}
        self.attributes: dict[str, bytes] = {}
        self.mounts = 0
        self.errors = b""

    def play(self, who: str, words: tuple[str, ...], records: tuple[bytes, ...]) -> None:
        """One command.  Raises RuntimeError when it fails."""
        self.records = list(records)
        self.child = 0 if who == CHILD else PID
        self.executed = who != CHILD
        self.missing = set(MISSING)
        try:
            code = cli.run(["--root", "/run/ocirt", *words])
        except Ended:
            code = 0
        if code or self.records or not self.executed:
            raise RuntimeError(f"{' '.join(words)}: {self.errors.decode()}")

    def new(self, name: str) -> int:
        """A descriptor."""
        self.opened.append(name)
        return FIRST + len(self.opened) - 1

    # -- system calls by number ------------------------------------------------------------------

    def call(self, number: int, *arguments: Any) -> int:
        if number in (numbers.openat2, numbers.open_tree):
            name = arguments[1].decode()
            return -errno.ENOENT if name in self.missing else self.new(name)
        if number in (numbers.fsopen, numbers.fsmount, numbers.signalfd4):
            return self.new("")
        if number == numbers.clone3:
            return self.child
        if number == numbers.execve:
            self.executed = True
            return 0
        if number == numbers.statx:
            self.mounts += 1
            files._STATX.pack_into(arguments[4], 0, 0, files._STATX_ATTR_MOUNT_ROOT, self.mounts)
        elif number == numbers.capget:
            arguments[1][:] = b"\xff" * len(arguments[1])
        elif number == numbers.prctl and arguments[0] == PR_CAPBSET_READ:
            return 1
        elif number == numbers.getcwd:
            arguments[0][:2] = b"/\0"
            return 2
        elif number == numbers.keyctl and arguments[0] == KEYCTL_DESCRIBE:
            described = b"keyring;0;0;3f010000;_ses"
            arguments[2][: len(described)] = described
            return len(described)
        elif number == numbers.renameat2:
            one, other = arguments[1].decode(), arguments[3].decode()
            self.files[one], self.files[other] = self.files[other], self.files[one]
        elif number not in SUCCEED:
            raise RuntimeError(f"the rehearsal has no answer to system call {number}")
        return 0

    # -- functions of C modules by name ----------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = os.path.basename(path)
        if flags & posix.O_CREAT:
            self.files[name] = b""
        elif name == "enabled":  # AppArmor is not
            raise FileNotFoundError
        fd = self.new(path if dir_fd is None or path.startswith("/") else f"{self.opened[dir_fd - FIRST]}/{path}")
        self.unread[fd] = self.files.get(name, b"")
        return fd

    def read(self, fd: int, size: int) -> bytes:
        if fd < FIRST:
            return self.records.pop(0) if self.records else b""
        content, self.unread[fd] = self.unread[fd], b""
        return content

    def write(self, fd: int, data: bytes) -> int:
        if fd < FIRST:  # also what init says, such as why it failed
            self.errors += data
        elif (name := os.path.basename(self.opened[fd - FIRST])) in self.files:
            self.files[name] += data
        return len(data)

    def fstat(self, fd: int) -> posix.stat_result:
        return status(self.opened[fd - FIRST]) if fd >= FIRST else status("")

    def stat(self, path: str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> posix.stat_result:
        if path in ("/sys/fs/cgroup.controllers", "start.sock", "/run/systemd/system"):
            raise FileNotFoundError
        return status(path)

    def lstat(self, path: str, *, dir_fd: int | None = None) -> posix.stat_result:
        return status(path)

    def access(self, path: str, mode: int, *, dir_fd: int | None = None) -> bool:
        return not path.endswith(ID)

    def mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self.missing.discard(f"/dev/{path}")
        if dir_fd is None and not path.endswith(ID):
            raise FileExistsError

    def rename(self, src: str, dst: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        self.files[dst] = self.files.pop(src)

    def readlink(self, path: str, *, dir_fd: int | None = None) -> str:
        name = os.path.basename(path)
        return ROOT + self.opened[int(name) - FIRST] if name.isdecimal() else path

    def setxattr(self, path: str, attribute: str, value: bytes) -> None:
        self.attributes[path] = value

    def getxattr(self, path: str, attribute: str) -> bytes:
        return self.attributes[path]

    def scandir(self, path: object) -> Empty:
        return Empty()

    def listdir(self, path: object) -> list[str]:
        return []

    def uname(self) -> posix.uname_result:
        return posix.uname_result(("Linux", "", "6.18.0", "", "x86_64"))

    def urandom(self, size: int) -> bytes:
        return bytes(size)

    def geteuid(self) -> int:
        return 0

    getegid = time_ns = geteuid

    def getpid(self) -> int:
        return PID

    def getcwd(self) -> str:
        return "/bundle"

    def monotonic(self) -> float:
        return 0.0

    def pidfd_open(self, pid: int, flags: int = 0) -> int:
        return self.new("")

    def waitpid(self, pid: int, options: int) -> tuple[int, int]:
        return pid, 0

    def ioctl(self, fd: int, request: int, argument: Any = 0) -> Any:
        return argument

    def getsignal(self, number: int) -> int:
        return 0  # SIG_DFL

    def pthread_sigmask(self, how: int, mask: object) -> set[int]:
        return set()

    def _exit(self, code: int) -> None:
        raise Ended

    def nothing(self, *arguments: object, **named: object) -> None:
        pass

    def begin_network(self) -> int:
        return PID

    def end_network(self, maker: int) -> int:
        return self.new("")

    def function(self, name: str) -> Callable[..., Any]:
        """What takes the place of a function."""
        if name in WITHOUT_ANSWER:
            return self.nothing

        def refuse(*arguments: object, **named: object) -> None:
            raise RuntimeError(f"the rehearsal has no answer to {name}()")

        return getattr(self, name, refuse)


def status(path: str) -> posix.stat_result:
    kind, device = stat.S_IFDIR | 0o755, 0
    if path.endswith(("/sh", ".json")):
        kind = stat.S_IFREG | 0o755
    elif path.endswith("null"):
        kind, device = stat.S_IFCHR | 0o666, posix.makedev(1, 3)
    return posix.stat_result((kind, 1, 1, 1, 0, 0, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4096, 0, device))


def rehearse() -> None:
    hasattr(_socket.socket, "close")  # a type that Python makes ready on first use: 30 pages of the runtime, 30 of init
    import_system: list[tuple[list[Any], list[Any]]] = [
        (part, part[:]) for part in (sys.meta_path, sys.path_hooks, sys.path)
    ]
    modules = list(sys.modules)
    kernel = Kernel()
    real = replace(kernel)
    try:
        for number in range(TIMES):
            kernel.begin(on_v2=bool(number % 2))
            for command in COMMANDS:
                kernel.play(*command)
                log.relay(None)
                container._boot_id = ""
                for part, content in import_system:
                    part[:] = content
                lifecycle._kept.clear()
                gc.unfreeze()  # what spawn() has frozen: all of it is done with
                gc.collect()
    finally:
        for space, name, value in real:
            space[name] = value
    vars(cli).pop("__warningregistry__", None)  # of sockets that init leaves open
    if list(sys.modules) != modules:  # they would keep what took the place of functions
        raise RuntimeError(f"the rehearsal has imported {sys.modules.keys() - set(modules)}")


def replace(kernel: Kernel) -> list[tuple[Namespace, str, Any]]:
    """Close the ways to the kernel: in what imports a function, and in what is asked for it by its module's name (of
    posix ocirt has a copy, system.py).  What was where.
    """
    real: list[tuple[Namespace, str, Any]] = [(vars(ffi), "_call", ffi._call)]
    made: dict[Any, Any] = {}
    ffi._call = kernel.call
    for name, function in (("_begin_network", kernel.begin_network), ("_end_network", kernel.end_network)):
        value = vars(links)[name]
        real.append((vars(links), name, value))
        vars(links)[name] = stand_in(value, function)
    for module in [module for name, module in sys.modules.items() if name.startswith("ocirt.") or name in WAYS[1:]]:
        space = vars(module)
        for name, value in list(space.items()):
            if type(value) is type(len) and value.__module__ in WAYS and value.__name__ not in PURE:
                if value not in made:
                    made[value] = stand_in(value, kernel.function(value.__name__))
                real.append((space, name, value))
                space[name] = made[value]
    return real
