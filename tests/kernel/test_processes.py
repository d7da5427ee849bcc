"""ocirt.kernel.processes against the real kernel."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.errors import KernelError
from ocirt.kernel import ffi, flags, live, processes
from tests.support.namespaces import in_namespaces

pytestmark = pytest.mark.root

PLAIN = 0  # no namespace of its own


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def refusal(function: Callable[[], object]) -> tuple[str, str]:
    """(call, errno's name) of what function raises."""
    with pytest.raises(KernelError) as caught:
        function()
    return caught.value.call, errno.errorcode[caught.value.errno or 0]


def proc_status(field: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    raise AssertionError(field)


def test_clone3_is_a_fork() -> None:
    parent = os.getpid()
    pid, pidfd = live.clone3(0)
    if pid == 0:
        os._exit(7 if os.getppid() == parent and os.getpid() != parent else 1)
    assert pidfd == -1
    assert status_of(pid) == 7


def test_clone3_gives_a_pidfd_that_closes_on_exec() -> None:
    pid, pidfd = live.clone3(0, pidfd=True)
    if pid == 0:
        os._exit(3)
    try:
        assert fcntl.fcntl(pidfd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        select.select([pidfd], [], [])
        assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status == 3
    finally:
        os.close(pidfd)


def test_clone3_makes_namespaces() -> None:
    pid, _ = live.clone3(flags.CLONE_NEWPID | flags.CLONE_NEWUTS)
    if pid == 0:
        os._exit(0 if os.getpid() == 1 else 1)
    assert status_of(pid) == 0


def test_clone3_with_clone_parent_makes_a_sibling() -> None:
    reading, writing = os.pipe()
    child, _ = live.clone3(0)
    if child == 0:
        pid, _ = live.clone3(flags.CLONE_PARENT)
        if pid == 0:
            os._exit(5)
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.close(writing)
    assert status_of(child) == 0
    sibling = int(os.read(reading, 32))
    os.close(reading)
    assert status_of(sibling) == 5


def test_clone3_into_a_cgroup() -> None:
    mount = next(
        (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line),
        None,
    )
    if mount is None:
        pytest.skip("no cgroup v2 hierarchy")
    directory = Path(mount) / f"ocirt-test-{os.getpid()}"
    directory.mkdir()
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        pid, _ = live.clone3(0, cgroup=fd)
        if pid == 0:
            inside = Path("/proc/self/cgroup").read_text().rstrip().endswith(f"/{directory.name}")
            os._exit(0 if inside else 1)
        os.close(fd)
        assert status_of(pid) == 0
    finally:
        directory.rmdir()


def test_clone3_says_what_it_was_asked_for() -> None:
    with pytest.raises(KernelError) as caught:
        live.clone3(flags.CLONE_NEWNS | 0x200)  # CLONE_FS: a mount namespace of one's own cannot share it
    assert (caught.value.errno, caught.value.call, caught.value.detail) == (errno.EINVAL, "clone3", "CLONE_NEWNS|0x200")


def test_unshare_and_setns() -> None:
    def child() -> tuple[bool, bool]:
        before = os.readlink("/proc/self/ns/uts")
        old = os.open("/proc/self/ns/uts", os.O_RDONLY)
        live.unshare(flags.CLONE_NEWUTS)
        during = os.readlink("/proc/self/ns/uts")
        live.setns(old, flags.CLONE_NEWUTS)
        return during != before, os.readlink("/proc/self/ns/uts") == before

    assert in_namespaces(child, PLAIN) == (True, True)


def test_unshare_and_setns_refuse() -> None:
    assert refusal(lambda: live.unshare(0x1)) == ("unshare", "EINVAL")
    with open("/proc/self/ns/uts") as uts:
        assert refusal(lambda: live.setns(uts.fileno(), flags.CLONE_NEWNET)) == ("setns", "EINVAL")


def test_namespace_type() -> None:
    with open("/proc/self/ns/net") as net, open("/proc/self/status") as other:
        assert live.namespace_type(net.fileno()) == flags.CLONE_NEWNET
        assert refusal(lambda: live.namespace_type(other.fileno())) == ("ioctl", "ENOTTY")


def test_pidfds() -> None:
    reading, writing = os.pipe()
    pid, pidfd = live.clone3(0, pidfd=True)
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        again = live.pidfd_open(pid)
        copy = live.pidfd_getfd(pidfd, reading)
        os.write(writing, b"x")
        assert os.read(copy, 1) == b"x"
        assert refusal(lambda: live.pidfd_getfd(pidfd, 9999)) == ("pidfd_getfd", "EBADF")
        live.pidfd_send_signal(again, signal.SIGKILL)
        assert status_of(pid) == -signal.SIGKILL
        assert refusal(lambda: live.pidfd_send_signal(again, 0)) == ("pidfd_send_signal", "ESRCH")
        for fd in (again, copy):
            os.close(fd)
    finally:
        for fd in (reading, writing, pidfd):
            os.close(fd)
    assert refusal(lambda: live.pidfd_open(-5)) == ("pidfd_open", "EINVAL")


def test_prctl_settings() -> None:
    def child() -> tuple[str, str, int, int]:
        live.set_name("ocirt-init-name-too-long")
        live.set_no_new_privs()
        live.set_child_subreaper(True)
        live.set_dumpable(0)
        number = ffi.buffer(4)
        live.set_pdeathsig(signal.SIGUSR1)
        live.prctl("PR_GET_PDEATHSIG", flags.PR_GET_PDEATHSIG, number)
        dumpable = live.prctl("PR_GET_DUMPABLE", 3)
        return proc_status("Name"), proc_status("NoNewPrivs"), int.from_bytes(number.raw, "little"), dumpable

    assert in_namespaces(child, PLAIN) == ("ocirt-init-name", "1", signal.SIGUSR1, 0)


def test_prctl_names_its_option() -> None:
    with pytest.raises(KernelError) as caught:
        live.set_pdeathsig(99)
    assert (caught.value.errno, caught.value.call, caught.value.detail) == (errno.EINVAL, "prctl", "PR_SET_PDEATHSIG")


def test_prlimit_sets_and_returns() -> None:
    nofile = 7

    def child() -> tuple[tuple[int, int], tuple[int, int]]:
        live.prlimit(0, nofile, 100, 200)
        return live.prlimit(os.getpid(), nofile, 50, 60), live.prlimit(0, nofile, 50, 60)

    assert in_namespaces(child, PLAIN) == ((100, 200), (50, 60))
    assert refusal(lambda: live.prlimit(0, nofile, 2, 1)) == ("prlimit", "EINVAL")


def test_rlimit_tells() -> None:
    for number in range(resource.RLIMIT_RTTIME + 1):
        assert live.rlimit(0, number) == tuple(limit % 2**64 for limit in resource.getrlimit(number))
    assert refusal(lambda: live.rlimit(0, 99)) == ("prlimit", "EINVAL")


def test_getcwd_tells_what_is_out_of_reach(tmp_path: Path) -> None:
    def child() -> tuple[str, str]:
        os.chdir(tmp_path)
        inside = live.getcwd()
        (tmp_path / "root").mkdir()
        os.chroot("root")  # the working directory stays outside
        return inside, live.getcwd()

    assert in_namespaces(child) == (str(tmp_path), f"(unreachable){tmp_path}")


def test_getcwd_of_a_removed_directory(tmp_path: Path) -> None:
    def child() -> tuple[str, str]:
        gone = tmp_path / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
        return refusal(live.getcwd)

    assert in_namespaces(child, PLAIN) == ("getcwd", "ENOENT")


def test_reset_signals_leaves_nothing_ignored_and_nothing_blocked() -> None:
    def child() -> tuple[str, str, str, bool]:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGRTMAX})
        libc = ctypes.CDLL(None)
        ignore_33 = (1).to_bytes(8, "little") + bytes(24)  # a signal that glibc keeps for itself
        libc.syscall(ctypes.c_long(processes.numbers.rt_sigaction), 33, ignore_33, None, ctypes.c_long(8))
        before = proc_status("SigIgn")
        live.reset_signals()
        # What the test's own libraries catch behind Python's back execve resets.
        caught = bool(int(proc_status("SigCgt"), 16) >> signal.SIGUSR1 - 1 & 1)
        return before[-9], proc_status("SigIgn"), proc_status("SigBlk"), caught

    assert in_namespaces(child, PLAIN) == ("1", "0" * 16, "0" * 16, False)


def test_all_cpus_of_the_cpuset_are_allowed_again() -> None:
    def child() -> tuple[set[int], set[int]]:
        os.sched_setaffinity(0, range(8192))
        everything = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(everything)})
        live.allow_all_cpus()
        return everything, os.sched_getaffinity(0)

    everything, allowed = in_namespaces(child, PLAIN)
    assert allowed == everything


def descriptors() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("old_kernel", [False, True])
def test_close_range_marks_or_closes(old_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = processes.syscall

    def without_close_range(call: str, *arguments: object, **more: object) -> int:
        if call == "close_range":
            raise KernelError(errno.ENOSYS, "Function not implemented", call)
        return real(call, *arguments, **more)  # type: ignore[arg-type]

    if old_kernel:
        monkeypatch.setattr(processes, "syscall", without_close_range)

    def child() -> tuple[list[bool], list[bool]]:
        proc = os.open("/proc", os.O_PATH)
        for fd in (200, 201, 202):
            os.dup2(0, fd)  # inheritable
        live.close_range(201, 2**32 - 1, flags.CLOSE_RANGE_CLOEXEC, proc)
        marked = [bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC) for fd in (200, 201, 202)]
        live.close_range(200, 201, 0, proc)
        return marked, [fd in descriptors() for fd in (200, 201, 202)]

    assert in_namespaces(child, PLAIN) == ([False, True, True], [False, False, True])


def test_close_range_refuses() -> None:
    assert refusal(lambda: live.close_range(5, 4, 0)) == ("close_range", "EINVAL")


def run_in_child(function: Callable[[], object]) -> tuple[int, bytes]:
    """(exit status, standard output) of a child that executes something."""
    reading, writing = os.pipe()
    pid, _ = live.clone3(0)
    if pid == 0:
        try:
            os.dup2(writing, 1)
            function()
        finally:
            os._exit(99)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        output = pipe.read()
    return status_of(pid), output


def test_execve_gives_exactly_the_arguments_and_the_environment() -> None:
    image = live.prepare_exec(
        ["name", "-c", 'printf "%s," "$0" "$@"; echo; env', "zero", "ä\udcff", ""], ["B=2", "A=1 =x"]
    )
    status, output = run_in_child(lambda: live.execve("/bin/sh", image))
    lines = output.split(b"\n")
    assert status == 0
    assert lines[0].startswith(b"zero,\xc3\xa4\xff,,")
    assert {b"A=1 =x", b"B=2"} <= set(lines)


def test_execve_environment_is_nothing_else() -> None:
    status, output = run_in_child(
        lambda: live.execve("/bin/cat", live.prepare_exec(["cat", "/proc/self/environ"], ["A=1", "B="]))
    )
    assert (status, output) == (0, b"A=1\0B=\0")


def test_execveat_executes_a_descriptor() -> None:
    def child() -> None:
        fd = os.open("/bin/true", os.O_PATH)
        live.execveat(fd, "", live.prepare_exec(["true"], []), flags.AT_EMPTY_PATH)

    assert run_in_child(child)[0] == 0


def test_execve_refuses(tmp_path: Path) -> None:
    image = live.prepare_exec(["x"], [])
    empty = tmp_path / "empty"
    empty.touch(0o755)
    empty.chmod(0o755)
    assert refusal(lambda: live.execve(str(tmp_path / "none"), image)) == ("execve", "ENOENT")
    assert refusal(lambda: live.execve(str(tmp_path), image)) == ("execve", "EACCES")
    text = tmp_path / "text"
    text.write_bytes(b"\x7fnot a program")
    text.chmod(0o755)
    assert refusal(lambda: live.execve(str(text), image)) == ("execve", "ENOEXEC")
    with pytest.raises(KernelError):
        live.prepare_exec(["a\0b"], [])


def test_eaccess_asks_for_the_effective_user() -> None:
    with tempfile.TemporaryDirectory() as directory:  # pytest's own is closed to others
        Path(directory).chmod(0o755)
        program = Path(directory, "program")
        program.touch()
        program.chmod(0o700)
        live.eaccess(str(program))

        def child() -> tuple[str, str]:
            os.seteuid(65534)
            return refusal(lambda: live.eaccess(str(program)))

        assert in_namespaces(child, PLAIN) == ("faccessat2", "EACCES")
        assert live.stat_mode(str(program)) == 0o100700
        assert refusal(lambda: live.stat_mode(directory + "/none")) == ("stat", "ENOENT")
