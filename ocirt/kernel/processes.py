"""Processes: their birth, namespaces, descriptors, signals, limits, and execve."""

from __future__ import annotations

import errno
import select
from _signal import SIG_DFL, getsignal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
from _struct import Struct  # built in; the public module is a file
from fcntl import F_GETFD, F_SETFD, FD_CLOEXEC, fcntl, ioctl

from ocirt import system as os
from ocirt.errors import KernelError
from ocirt.kernel import flags as f
from ocirt.kernel import numbers
from ocirt.kernel.ffi import address_of, buffer, path, string_array, syscall

# Steps reach everything through one namespace (live.py); these need no wrapper of ours.
from ocirt.system import fchown as fchown
from ocirt.system import fsdecode, listdir
from ocirt.system import open as os_open
from ocirt.system import read as read
from ocirt.system import sched_setaffinity as sched_setaffinity
from ocirt.system import set_inheritable as set_inheritable
from ocirt.system import setsid as setsid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

LAST_SIGNAL = 64
SIGSET_SIZE = 8  # the kernel's sigset_t, not glibc's

# flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup
_CLONE_ARGS = Struct("=11Q")
_RLIMIT = Struct("=QQ")
_INT = Struct("=i")
_SIGSET = Struct("=Q")
_SIGNALFD_SIGINFO = Struct("=I124x")  # ssi_signo, and what nobody asks for


def clone3(flags: int, *, exit_signal: int = 17, cgroup: int = -1, pidfd: bool = False) -> tuple[int, int]:
    """clone3(2) as fork: returns (pid, pidfd or -1) in the parent and (0, -1) in the child.

    cgroup is a descriptor of the cgroup v2 directory the child is born in (CLONE_INTO_CGROUP).  The
    child must leave by execve or os._exit: it stands in the caller's frames.  With CLONE_PARENT the
    exit signal is the caller's own; the kernel wants 0.
    """
    pidfd_memory = buffer(_INT.size)
    if pidfd:
        flags |= f.CLONE_PIDFD
    if cgroup >= 0:
        flags |= f.CLONE_INTO_CGROUP
    if flags & f.CLONE_PARENT:
        exit_signal = 0
    arguments = _CLONE_ARGS.pack(
        flags, address_of(pidfd_memory) if pidfd else 0, 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup, 0)
    )
    pid = syscall(
        "clone3", numbers.clone3, arguments, _CLONE_ARGS.size, detail=lambda: f.names("CLONE_", flags & ~f.CLONE_PIDFD)
    )
    return pid, _INT.unpack(pidfd_memory.raw)[0] if pidfd and pid else -1


def unshare(flags: int) -> None:
    """unshare(2)."""
    syscall("unshare", numbers.unshare, flags, detail=lambda: f.names("CLONE_", flags))


def setns(fd: int, nstype: int) -> None:
    """setns(2).  fd is a namespace's descriptor, or a pidfd with a mask of CLONE_NEW* (Linux 5.8)."""
    syscall("setns", numbers.setns, fd, nstype, detail=lambda: f.names("CLONE_", nstype))


def namespace_type(fd: int) -> int:
    """The CLONE_NEW* of a namespace's descriptor: ioctl_nsfs(2), NS_GET_NSTYPE.  ENOTTY: not a namespace."""
    try:
        return ioctl(fd, f.NS_GET_NSTYPE)
    except OSError as error:
        raise KernelError(error.errno or 0, error.strerror or "", "ioctl", "NS_GET_NSTYPE") from None


def pidfd_open(pid: int) -> int:
    """pidfd_open(2), close-on-exec."""
    return syscall("pidfd_open", numbers.pidfd_open, pid, 0, detail=f"pid {pid}")


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2)."""
    syscall("pidfd_send_signal", numbers.pidfd_send_signal, pidfd, signal, None, 0, detail=f"signal {signal}")


def reap(pid: int, seconds: float) -> int | None:
    """The wait status of a child, None when it was reaped before or does not end in time."""
    if pid <= 0:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(seconds * 1000)
    os.close(pidfd)
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if found else None


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2) (Linux 5.6): our duplicate, close-on-exec, of the process's descriptor fd."""
    return syscall("pidfd_getfd", numbers.pidfd_getfd, pidfd, fd, 0, detail=f"fd {fd}")


def prctl(name: str, option: int, *arguments: int | bytes | Any) -> int:
    """prctl(2); name is the option's, for messages."""
    return syscall("prctl", numbers.prctl, option, *arguments, detail=name)


def set_dumpable(dumpable: int) -> None:
    """PR_SET_DUMPABLE: 0 keeps /proc/PID/{exe,fd,mem} from processes without CAP_SYS_PTRACE; execve sets 1."""
    prctl("PR_SET_DUMPABLE", f.PR_SET_DUMPABLE, dumpable)


def set_pdeathsig(signal: int) -> None:
    """PR_SET_PDEATHSIG: the signal when the parent thread dies; 0 for none."""
    prctl("PR_SET_PDEATHSIG", f.PR_SET_PDEATHSIG, signal)


def set_name(name: str) -> None:
    """PR_SET_NAME: what ps shows; the kernel keeps the first 15 bytes."""
    prctl("PR_SET_NAME", f.PR_SET_NAME, path(name))


def set_child_subreaper(on: bool) -> None:
    """PR_SET_CHILD_SUBREAPER: orphaned descendants become our children."""
    prctl("PR_SET_CHILD_SUBREAPER", f.PR_SET_CHILD_SUBREAPER, int(on))


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS; there is no way back."""
    prctl("PR_SET_NO_NEW_PRIVS", f.PR_SET_NO_NEW_PRIVS, 1)


def close_range(first: int, last: int, flags: int, proc: int = -1) -> None:
    """close_range(2); CLOSE_RANGE_CLOEXEC only marks.

    Before Linux 5.11 (no CLOEXEC) or 5.9 (no call), and where a filter older than that refuses it, the descriptors
    are looked up in self/fd below proc, a descriptor of the host's /proc; without one the error is raised.
    """
    try:
        syscall("close_range", numbers.close_range, first, last, flags, detail=lambda: f"{first}..{last}")
    except KernelError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EPERM) or proc < 0 or first > last:
            raise
        _close_one_by_one(first, last, flags, proc)


def _close_one_by_one(first: int, last: int, flags: int, proc: int) -> None:
    directory = os_open("self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    try:
        descriptors = [int(name) for name in listdir(directory)]
    finally:
        os.close(directory)
    for fd in descriptors:
        if not first <= fd <= last:
            continue
        try:
            if flags & f.CLOSE_RANGE_CLOEXEC:
                fcntl(fd, F_SETFD, fcntl(fd, F_GETFD) | FD_CLOEXEC)
            else:
                os.close(fd)
        except OSError as error:
            if error.errno != errno.EBADF:  # the listing's own descriptor is gone
                raise


def prlimit(pid: int, resource: int, soft: int, hard: int) -> tuple[int, int]:
    """prlimit(2): set and return the old (soft, hard).  2**64 - 1 is RLIM_INFINITY; pid 0 is the caller."""
    return _prlimit(pid, resource, _RLIMIT.pack(soft, hard), f"soft {soft}, hard {hard}")


def rlimit(pid: int, resource: int) -> tuple[int, int]:
    """prlimit(2): (soft, hard), as they are."""
    return _prlimit(pid, resource, None, f"resource {resource}")


def _prlimit(pid: int, resource: int, new: bytes | None, detail: str) -> tuple[int, int]:
    old = buffer(_RLIMIT.size)
    syscall("prlimit", numbers.prlimit64, pid, resource, new, old, detail=detail)
    soft, hard = _RLIMIT.unpack(old.raw)
    return soft, hard


def getcwd() -> str:
    """getcwd(2), the call itself: glibc's would walk up the tree where the kernel says "(unreachable)"."""
    memory = buffer(4096)
    length = syscall("getcwd", numbers.getcwd, memory, 4096)
    return fsdecode(memory.raw[: length - 1])


def reset_signals() -> None:
    """Every disposition back to default, nothing blocked.

    CPython ignores SIGPIPE and SIGXFSZ, and SIG_IGN survives execve.  getsignal() knows what each was when the process
    began, and what has been set since, without a call; not so of 32 and 33, which glibc keeps for itself: its sigaction
    refuses them, so the call is made directly.
    """
    default = bytes(32)  # struct kernel_sigaction: SIG_DFL is 0, at least 24 bytes on every architecture
    for signal in range(1, LAST_SIGNAL + 1):
        if getsignal(signal) != SIG_DFL:
            syscall("rt_sigaction", numbers.rt_sigaction, signal, default, None, SIGSET_SIZE, detail=f"signal {signal}")
    set_mask = 2  # SIG_SETMASK
    syscall("rt_sigprocmask", numbers.rt_sigprocmask, set_mask, bytes(SIGSET_SIZE), None, SIGSET_SIZE)


def signal_set(signals: Iterable[int]) -> bytes:
    """The kernel's sigset_t."""
    return _SIGSET.pack(sum(1 << signal - 1 for signal in signals))


def signalfd(signals: bytes) -> int:
    """signalfd4(2), close-on-exec: the descriptor from which those of a signal_set() are read while they are blocked.

    A blocked signal waits there even when its disposition is to be ignored (SIGCHLD, SIGWINCH, SIGURG).
    """
    return syscall("signalfd", numbers.signalfd4, -1, signals, SIGSET_SIZE, os.O_CLOEXEC)


def read_signals(fd: int) -> list[int]:
    """The numbers of the signals that wait in a signalfd; blocks while there is none."""
    return [signal for (signal,) in _SIGNALFD_SIGINFO.iter_unpack(read(fd, 64 * _SIGNALFD_SIGINFO.size))]


def allow_all_cpus() -> None:
    """sched_setaffinity(2) on the caller, all bits set: the kernel takes the machine's CPUs and the cpuset's of them.

    As many bits as a kernel can be built for; os.sched_setaffinity would go through 8192 integers, for 0.4 ms.
    """
    mask = b"\xff" * (8192 // 8)
    syscall("sched_setaffinity", numbers.sched_setaffinity, 0, len(mask), mask, detail="all CPUs")


def stat_mode(program: str) -> int:
    """st_mode of stat(2) by path."""
    try:
        return os.stat(program).st_mode
    except OSError as error:
        raise KernelError(error.errno or 0, error.strerror or "", "stat", program) from None


def eaccess(program: str) -> None:
    """faccessat2(2), AT_EACCESS and X_OK: whether the effective user may execute it.  Raises KernelError.

    A kernel before 5.8 has no faccessat2, and a filter older than that refuses it: then access(2), which asks
    for the real user.
    """
    try:
        syscall("faccessat2", numbers.faccessat2, f.AT_FDCWD, path(program), os.X_OK, f.AT_EACCESS, detail=program)
    except KernelError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        if not os.access(program, os.X_OK):
            raise KernelError(errno.EACCES, os.strerror(errno.EACCES), "access", program) from error


class ExecImage:
    """argv and envp as execve(2) takes them, built while there is still memory to build them in."""

    __slots__ = ("argv", "envp")

    def __init__(self, argv: Any, envp: Any) -> None:
        self.argv = argv
        self.envp = envp


def prepare_exec(args: Sequence[str], env: Sequence[str]) -> ExecImage:
    """The arguments and environment ("NAME=value") of a later execve.  Raises KernelError EINVAL for a NUL."""
    return ExecImage(string_array(args), string_array(env))


def execve(program: str, image: ExecImage) -> None:
    """execve(2).  Returns only by raising KernelError."""
    syscall("execve", numbers.execve, path(program), image.argv, image.envp, detail=program)


def execveat(dirfd: int, program: str, image: ExecImage, flags: int = 0) -> None:
    """execveat(2); program "" with AT_EMPTY_PATH executes dirfd itself."""
    syscall("execveat", numbers.execveat, dirfd, path(program), image.argv, image.envp, flags, detail=program)
