"""Many containers one after the other: what one leaves behind, two hundred make visible."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, wait_for

CYCLES = int(os.environ.get("OCIRT_TEST_CYCLES", "200"))
CONCURRENT = int(os.environ.get("OCIRT_TEST_CONCURRENT", "80"))
WORKERS = 8


def keys() -> int:
    """Keys of the machine's root: its quota is what leaked session keyrings use up."""
    line = next(line for line in Path("/proc/key-users").read_text().splitlines() if line.split()[0] == "0:")
    return int(line.split()[1])


def test_cycles(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.script("trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait; done")
    before = keys()
    with host_unchanged():
        for number in range(CYCLES):
            runtime.create(bundle)
            runtime.start(bundle)
            assert runtime.ok("exec", bundle.id, "echo", str(number)).out == f"{number}\n"
            runtime.ok("kill", bundle.id, "KILL")
            assert wait_for(bundle.pid) == 137
            runtime.ok("delete", bundle.id)
    assert keys() < before + CYCLES // 2


def lifecycle(runtime: Runtime, bundle: Bundle, number: int) -> None:
    runtime.launch(bundle)
    assert runtime.ok("exec", bundle.id, "echo", str(number)).out == f"{number}\n"
    runtime.ok("kill", bundle.id, "KILL")
    assert runtime.wait(bundle) == 137
    runtime.ok("delete", bundle.id)


def test_concurrent_cycles(runtime: Runtime, new_bundle: Callable[[], Bundle], host_unchanged: Callable) -> None:
    """Each worker has a bundle of its own, and the same name again and again."""
    bundles = [new_bundle().args("/bin/probe", "pause").resources(pids={"limit": 20}) for _ in range(WORKERS)]
    before, shared = keys(), sorted(os.listdir("/dev/shm"))
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
    assert sorted(os.listdir("/dev/shm")) == shared
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
