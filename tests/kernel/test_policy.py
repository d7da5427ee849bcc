"""ocirt.kernel.policy and links against the real kernel."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.errors import KernelError
from ocirt.kernel import flags, live, numbers
from tests.support.namespaces import in_namespaces

pytestmark = pytest.mark.root

PLAIN = 0
ALLOW, ERRNO, NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
RETURN = 0x06  # BPF_RET|BPF_K


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def refuse(number: int) -> bytes:
    load, equal = 0x20, 0x15
    return program((load, 0, 0, 0), (equal, 0, 1, number), (RETURN, 0, 0, ERRNO | 77), (RETURN, 0, 0, ALLOW))


def refusal(function: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(KernelError) as caught:
        function()
    return caught.value.call, errno.errorcode[caught.value.errno or 0]


def test_a_filter_decides_from_now_on() -> None:
    def child() -> tuple[int, int]:
        answer = live.set_seccomp_filter(refuse(numbers.personality), 0)
        try:
            live.personality(0xFFFFFFFF)
        except KernelError as error:
            return answer, error.errno or 0
        return answer, 0

    assert in_namespaces(child, PLAIN) == (0, 77)


def test_a_listener_is_a_descriptor() -> None:
    def child() -> str:
        fd = live.set_seccomp_filter(program((RETURN, 0, 0, ALLOW)), flags.SECCOMP_FILTER_FLAG_NEW_LISTENER)
        return os.readlink(f"/proc/self/fd/{fd}")

    assert in_namespaces(child, PLAIN) == "anon_inode:seccomp notify"


def test_a_filter_without_the_right_to_it() -> None:
    def child() -> tuple[str, str]:
        live.setresuid(65534, 65534, 65534)
        return refusal(lambda: live.set_seccomp_filter(program((RETURN, 0, 0, ALLOW)), 0))

    assert in_namespaces(child, PLAIN) == ("seccomp", "EACCES")


def test_a_filter_the_kernel_does_not_understand() -> None:
    with pytest.raises(KernelError) as caught:
        live.set_seccomp_filter(program((0xFF, 0, 0, 0)), 0)
    assert (caught.value.errno, caught.value.detail) == (errno.EINVAL, "1 instructions, 0x0")


def test_scheduler() -> None:
    def child() -> tuple[int, int]:
        live.sched_setattr(3, nice=5)
        return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)

    assert in_namespaces(child, PLAIN) == (os.SCHED_BATCH, 5)
    assert refusal(lambda: live.sched_setattr(4)) == ("sched_setattr", "EINVAL")  # SCHED_ISO


def test_io_priority() -> None:
    def child() -> tuple[str, str]:
        live.ioprio_set(flags.IOPRIO_WHO_PROCESS, 0, 2 << flags.IOPRIO_CLASS_SHIFT | 6)
        return refusal(lambda: live.ioprio_set(99, 0, 0))

    assert in_namespaces(child, PLAIN) == ("ioprio_set", "EINVAL")


def test_memory_policy() -> None:
    def child() -> str:
        live.set_mempolicy(2, (0,))
        return Path("/proc/self/numa_maps").read_text().split()[1]

    if not Path("/proc/self/numa_maps").exists():
        assert refusal(lambda: live.set_mempolicy(2, (0,))) == ("set_mempolicy", "ENOSYS")
        return
    assert in_namespaces(child, PLAIN) == "bind:0"
    assert refusal(lambda: live.set_mempolicy(2, ())) == ("set_mempolicy", "EINVAL")
    assert refusal(lambda: live.set_mempolicy(2, (63, 64))) == ("set_mempolicy", "EINVAL")


def test_loopback_carries_packets_once_it_is_up() -> None:
    def child() -> tuple[int, bytes]:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sender.sendto(b"early", ("127.0.0.1", 9))
            failed = 0
        except OSError as error:
            failed = error.errno or 0
        live.loopback_up()
        live.loopback_up()
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        sender.sendto(b"hello", receiver.getsockname())
        return failed, receiver.recv(16)

    assert in_namespaces(child, flags.CLONE_NEWNET) == (errno.ENETUNREACH, b"hello")


def test_loopback_of_somebody_else() -> None:
    def child() -> tuple[str, str]:
        live.unshare(flags.CLONE_NEWNET)
        live.setresuid(65534, 65534, 65534)
        return refusal(live.loopback_up)

    assert in_namespaces(child, PLAIN) == ("ioctl", "EPERM")
