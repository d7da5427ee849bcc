"""Compiled filters in the real kernel, each in a child of its own.  no_new_privs makes root unnecessary."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt.kernel import live
from ocirt.seccomp.architectures import ABIS
from tests.support.profiles import Compiled, profile, rule

DOCKER = Path(__file__).parents[1] / "configs" / "seccomp" / "docker-default.json"
NATIVE = ("SCMP_ARCH_X86_64",)

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers and machine code are x86_64's")


def filtered(value: dict[str, Any], act: Callable[[], object], flags: int | None = None) -> tuple[int, str]:
    """(wait status, what act returned or its errno's name) of a child under the filter."""
    compiled = Compiled(value)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = "no answer"
        try:
            live.set_no_new_privs()
            live.set_seccomp_filter(compiled.program, compiled.flags if flags is None else flags)
            try:
                answer = str(act())
            except OSError as error:
                answer = errno.errorcode[error.errno or 0]
        except BaseException as failure:
            answer = repr(failure)
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    return os.waitpid(pid, 0)[1], answer


def test_errno() -> None:
    deny = rule("getcwd", "ERRNO", errno=errno.EXDEV)
    assert filtered(profile(deny, default="ALLOW"), os.getcwd) == (0, "EXDEV")
    assert filtered(profile(rule("chroot", "ERRNO"), default="ALLOW"), os.getcwd) == (0, os.getcwd())


@pytest.mark.parametrize(
    ("action", "number"), [("KILL_PROCESS", signal.SIGSYS), ("KILL", signal.SIGSYS), ("TRAP", signal.SIGSYS)]
)
def test_deadly_actions(action: str, number: int) -> None:
    status, answer = filtered(profile(rule("getcwd", action), default="ALLOW"), os.getcwd)
    assert (os.WTERMSIG(status), answer) == (number, "")


def test_arguments_are_compared_in_full() -> None:
    value = profile(rule("lseek", "ERRNO", (1, "EQ", 1 << 40), errno=errno.EDOM), default="ALLOW")

    def act() -> list[object]:
        found: list[object] = []
        for offset in (1, 1 << 40, (1 << 40) + 1):
            try:
                found.append(os.lseek(reading, offset, os.SEEK_SET))
            except OSError as error:
                found.append(errno.errorcode[error.errno or 0])
        return found

    reading = os.memfd_create("file")
    try:
        assert filtered(value, act) == (0, str([1, "EDOM", (1 << 40) + 1]))
    finally:
        os.close(reading)


def test_a_call_newer_than_the_profile_does_not_exist() -> None:
    value = profile(rule(" ".join(ABIS["SCMP_ARCH_X86_64"].numbers())), abis=NATIVE)
    libc = ctypes.CDLL(None, use_errno=True)

    def act() -> str:
        assert libc.syscall(1000) == -1
        return errno.errorcode[ctypes.get_errno()]

    assert filtered(value, act) == (0, "ENOSYS")


@pytest.mark.parametrize("flags", [0, 2, 4, 6])
def test_every_flag_is_taken(flags: int) -> None:
    assert filtered(profile(rule("chroot", "ERRNO"), default="ALLOW"), lambda: "alive", flags) == (0, "alive")


def test_dockers_profile_runs_a_program() -> None:
    value = json.loads(DOCKER.read_text())
    image = live.prepare_exec(["true"], [])
    assert filtered(value, lambda: live.execve("/bin/true", image)) == (0, "")


def test_a_profile_of_three_calls_is_enough_to_start_a_program(tmp_path: Path) -> None:
    """The filter comes last: nothing but execve may happen after it (a profile need not know Python)."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "probe.c"
    source.write_text(
        "void _start(void) {"
        ' long r; __asm__ volatile("syscall" : "=a"(r) : "0"(1), "D"(1), "S"("hi"), "d"(2) : "rcx", "r11", "memory");'
        ' __asm__ volatile("syscall" : : "a"(231), "D"(7)); }'
    )
    program = tmp_path / "probe"
    subprocess.run([compiler, "-static", "-nostdlib", "-O1", "-o", program, source], check=True)
    value = profile(rule("execve write exit_group"), default="KILL_PROCESS", abis=NATIVE)
    compiled = Compiled(value)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writing, 1)
            image = live.prepare_exec(["probe"], [])
            path = str(program)
            live.set_no_new_privs()
            live.set_seccomp_filter(compiled.program, compiled.flags)
            live.execve(path, image)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "hi"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


# mov eax, edi; int 0x80; movsxd rax, eax; ret
INT_80 = b"\x89\xf8\xcd\x80\x48\x63\xc0\xc3"
I386_GETCWD, I386_GETPID = 183, 20


def int_80() -> Callable[[int], int]:
    """A function that makes an i386 system call without arguments."""
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(INT_80)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    function = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_int)(address)
    return lambda number: int(function(number)) if memory else 0


def test_the_32_bit_entry_is_filtered_by_its_own_numbers() -> None:
    call = int_80()
    status, answer = filtered(profile(rule("chroot", "ERRNO"), default="ALLOW"), lambda: call(I386_GETPID) > 0)
    if os.WIFSIGNALED(status):
        pytest.skip("this kernel has no 32-bit entry")
    assert answer == "True"
    value = profile(rule("getcwd", "ERRNO", errno=errno.EXDEV), default="ALLOW")
    assert filtered(value, lambda: (call(I386_GETCWD), call(I386_GETPID) > 0)) == (0, str((-errno.EXDEV, True)))


def test_the_32_bit_entry_is_deadly_when_the_profile_does_not_list_it() -> None:
    call = int_80()
    value = profile(rule("chroot", "ERRNO"), default="ALLOW", abis=NATIVE)
    status, answer = filtered(value, lambda: call(I386_GETPID))
    assert (os.WTERMSIG(status), answer) == (signal.SIGSYS, "")
