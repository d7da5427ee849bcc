"""Device programs against the kernel: in a v2 cgroup of our own, with a child that opens devices."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.cgroups import DEVICES, Write
from ocirt.cgroups.devices_bpf import program, set_devices
from ocirt.errors import KernelError
from ocirt.host import probe_host
from ocirt.kernel import policy, processes

MOUNT = probe_host().unified_mount

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not MOUNT, reason="no v2 hierarchy is mounted"),
]


@pytest.fixture
def cgroup() -> Iterator[str]:
    path = Path(MOUNT, f"ocirt-test-devices-{os.getpid()}")
    path.mkdir()
    yield str(path)
    path.rmdir()


def opens(cgroup: str, flags: int, *devices: str) -> list[str]:
    """What a process in the cgroup is told when it opens these."""
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    result, tell = os.pipe()
    pid, _ = processes.clone3(0, cgroup=fd)
    if pid == 0:
        said = []
        for device in devices:
            try:
                os.open(device, flags)
                said.append("yes")
            except OSError as error:
                said.append(errno.errorcode[error.errno or 0])
        os.write(tell, " ".join(said).encode())
        os._exit(0)
    for end in (fd, tell):
        os.close(end)
    answer = os.read(result, 1000).decode().split()
    os.close(result)
    os.waitpid(pid, 0)
    return answer


def attached(cgroup: str) -> list[int]:
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return policy.bpf_device_programs(fd)
    finally:
        os.close(fd)


def rules(text: str) -> Write:
    return Write(DEVICES, text, "/devices", DEVICES)


def test_rules_hold(cgroup: str) -> None:
    set_devices(cgroup, rules("deny a; allow c 1:3 rw; allow c 1:5 r"))
    assert opens(cgroup, os.O_RDWR, "/dev/null", "/dev/zero", "/dev/full") == ["yes", "EPERM", "EPERM"]
    assert opens(cgroup, os.O_RDONLY, "/dev/null", "/dev/zero", "/dev/full") == ["yes", "yes", "EPERM"]


def test_a_new_program_replaces_the_old_one(cgroup: str) -> None:
    set_devices(cgroup, rules("deny a"))
    (first,) = attached(cgroup)
    set_devices(cgroup, rules("deny a; allow c 1:5 rwm"))
    (second,) = attached(cgroup)
    assert first != second
    assert opens(cgroup, os.O_RDONLY, "/dev/null", "/dev/zero") == ["EPERM", "yes"]


def test_of_several_old_programs_none_stays(cgroup: str) -> None:
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    for text in ("deny a", "deny a; allow c 1:3 rwm"):
        loaded = policy.bpf_load_device_program(program(text))
        policy.bpf_attach_device_program(fd, loaded)
        os.close(loaded)
    os.close(fd)
    assert len(attached(cgroup)) == 2
    set_devices(cgroup, rules("allow a"))
    assert len(attached(cgroup)) == 1
    assert opens(cgroup, os.O_RDONLY, "/dev/null", "/dev/zero") == ["yes", "yes"]


def test_a_long_list(cgroup: str) -> None:
    text = "; ".join(["deny a", *(f"allow c {1 + number % 4}:{number} rw" for number in range(500)), "allow c 1:3 r"])
    set_devices(cgroup, rules(text))
    assert opens(cgroup, os.O_RDONLY, "/dev/null") == ["yes"]


def test_a_program_that_the_verifier_refuses() -> None:
    with pytest.raises(KernelError) as caught:
        policy.bpf_load_device_program(bytes(8))
    assert (caught.value.call, caught.value.errno) == ("bpf", errno.EINVAL)
