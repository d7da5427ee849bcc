"""Many containers one after the other: what one leaves behind, two hundred make visible."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import Runtime, wait_for

CYCLES = int(os.environ.get("OCIRT_TEST_CYCLES", "200"))
CONCURRENT = int(os.environ.get("OCIRT_TEST_CONCURRENT", "80"))
WORKERS = 8
SLACK = 1 << 20  # bytes of kernel memory that come and go with what one command needs


def keys() -> int:
    """Keys of the machine's root: its quota is what leaked session keyrings use up."""
    line = next(line for line in Path("/proc/key-users").read_text().splitlines() if line.split()[0] == "0:")
    return int(line.split()[1])


@pytest.fixture
def shm(place: Place) -> Iterator[Path]:
    """/dev/shm of the tests alone."""
    path = Path("/dev/shm")
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True, timeout=30)
    yield path
    subprocess.run(["umount", path], check=True, timeout=30)


def kernel_memory(place: Place) -> int:
    """Bytes that the kernel holds for the tests' cgroup and cannot give back: the least of some looks."""
    cgroup = place.cgroup("memory")
    if not (cgroup / "memory.kmem.usage_in_bytes").exists():  # cgroup v2
        lines = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return next(int(value) for name, value in lines if name == "slab_unreclaimable")
    found = []
    for _ in range(10):
        (cgroup / "memory.force_empty").write_text("0")
        found.append(int((cgroup / "memory.kmem.usage_in_bytes").read_text()))
        time.sleep(0.2)  # what ends behind a call's back
    return min(found)


def test_cycles(runtime: Runtime, bundle: Bundle, shm: Path, place: Place, host_unchanged: Callable) -> None:
    """Nothing is left, and no memory of the kernel's is: in the second half it does not grow."""
    bundle.script("trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait; done")
    before = keys()
    with host_unchanged():
        for number in range(CYCLES):
            if number == CYCLES // 2:
                halfway = kernel_memory(place)
            runtime.create(bundle)
            runtime.start(bundle)
            assert runtime.ok("exec", bundle.id, "echo", str(number)).out == f"{number}\n"
            runtime.ok("kill", bundle.id, "KILL")
            assert wait_for(bundle.pid) == 137
            runtime.ok("delete", bundle.id)
    assert keys() < before + CYCLES // 2
    assert os.listdir(shm) == []
    grown = kernel_memory(place) - halfway
    print(f"kernel memory: {halfway} bytes after {CYCLES // 2} containers, {grown:+} after {CYCLES}")
    assert grown < SLACK


def lifecycle(runtime: Runtime, bundle: Bundle, number: int) -> None:
    runtime.launch(bundle)
    assert runtime.ok("exec", bundle.id, "echo", str(number)).out == f"{number}\n"
    runtime.ok("kill", bundle.id, "KILL")
    assert runtime.wait(bundle) == 137
    runtime.ok("delete", bundle.id)


def test_concurrent_cycles(
    runtime: Runtime, new_bundle: Callable[[], Bundle], shm: Path, host_unchanged: Callable
) -> None:
    """Each worker has a bundle of its own, and the same name again and again."""
    bundles = [new_bundle().args("/bin/probe", "pause").resources(pids={"limit": 20}) for _ in range(WORKERS)]
    before = keys()
    numbers = iter(range(CONCURRENT))

    def work(bundle: Bundle) -> int:
        done = 0
        for number in numbers:
            lifecycle(runtime, bundle, number)
            done += 1
        return done

    with host_unchanged(), ThreadPoolExecutor(WORKERS) as pool:
        done = list(pool.map(work, bundles))
    assert sum(done) == CONCURRENT
    assert min(done) > 0
    assert os.listdir(shm) == []
    assert keys() < before + CONCURRENT // 2 + WORKERS


def test_run_many_times(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.script("echo out").save()
    with host_unchanged():
        for _ in range(50):
            assert runtime.ok("run", "--bundle", str(bundle.path), bundle.id).out == "out\n"


def test_many_at_once(runtime: Runtime, new_bundle: Callable[[], Bundle], host_unchanged: Callable) -> None:
    bundles = [new_bundle().args("/bin/probe", "pause") for _ in range(20)]
    with host_unchanged():
        for bundle in bundles:
            runtime.launch(bundle)
        listed = runtime.ok("list", "-q").out.split()
        assert sorted(listed) == sorted(bundle.id for bundle in bundles)
        for bundle in bundles:
            runtime.stop(bundle)
