"""H1, H5: what compares the host before and after every test sees a difference of each kind; and two runtimes agree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Mounts, Place, differences
from tests.support.runtime import Runtime


@contextmanager
def mount(place: Place, runtime: Runtime, tmp_path: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True, timeout=30)
    yield
    subprocess.run(["umount", tmp_path], check=True, timeout=30)


@contextmanager
def cgroup(place: Place, runtime: Runtime, tmp_path: Path) -> Iterator[None]:
    path = next(iter(place.cgroups.values())) / "left"
    path.mkdir()
    yield
    path.rmdir()


@contextmanager
def process(place: Place, runtime: Runtime, tmp_path: Path) -> Iterator[None]:
    with subprocess.Popen(["sleep", "1000"]) as left:
        yield
        left.kill()


@contextmanager
def descriptor(place: Place, runtime: Runtime, tmp_path: Path) -> Iterator[None]:
    fd = os.open("/", os.O_PATH)
    yield
    os.close(fd)


@contextmanager
def device(place: Place, runtime: Runtime, tmp_path: Path) -> Iterator[None]:
    path = Path("/dev/shm").parent / place.name
    path.touch()
    yield
    path.unlink()


@contextmanager
def record(place: Place, runtime: Runtime, tmp_path: Path) -> Iterator[None]:
    (runtime.root / "left").mkdir(parents=True)
    yield
    shutil.rmtree(runtime.root)


@contextmanager
def sysctl(place: Place, runtime: Runtime, tmp_path: Path) -> Iterator[None]:
    path = Path("/proc/sys/kernel/msgmax")
    before = path.read_text()
    path.write_text(str(int(before) + 1))
    yield
    path.write_text(before)


@pytest.mark.parametrize("leave", [mount, cgroup, process, descriptor, device, record, sysctl])
def test_what_is_left_is_seen(place: Place, runtime: Runtime, tmp_path: Path, leave: Callable) -> None:
    before = place.snapshot(runtime.root)
    with ExitStack() as stack:
        stack.enter_context(leave(place, runtime, tmp_path))
        assert differences(before, place.snapshot(runtime.root))
    assert differences(before, place.snapshot(runtime.root)) == []


@pytest.mark.parametrize("who", ["here", "elsewhere"])
def test_mounts_of_others_may_end(place: Place, tmp_path: Path, who: str) -> None:
    """rmdir(2) of a mount point in another namespace takes the mount away here; what is unmounted here is missed."""
    point = tmp_path / "theirs"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True, timeout=30)
    mounts = Mounts()
    before = mounts.lines()
    assert str(point) in "".join(before)
    elsewhere = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"umount {point} && rmdir {point}"]
    subprocess.run(["umount", point] if who == "here" else elsewhere, check=True, timeout=30)
    assert str(point) not in Path("/proc/self/mountinfo").read_text()
    gone = {"here": {str(point)}, "elsewhere": set()}[who]
    assert {line.split()[4] for line in before - mounts.lines()} == gone
    mounts.close()


OTHERWISE = {
    "pid", "sid", "pgid", "boottime", "monotonic",  # of the moment
    "keyring",  # named after the container
}  # fmt: skip


@pytest.mark.only_ocirt("compares ocirt with runc")
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_inside_is_runcs(runtime: Runtime, new_bundle: Callable[[], Bundle], uid: int) -> None:
    """H5: descriptors, signals, scheduling, umask, dumpable, ...: as the program itself sees them."""
    bundle = new_bundle()
    bundle.process["user"] = {"uid": uid, "gid": uid}
    ours = runtime.probe(bundle)
    command = ["runc", "--root", str(runtime.directory / "runc"), "run", "--bundle", str(bundle.path), bundle.id]
    out = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    theirs = json.loads(out.stdout)
    assert {name: value for name, value in ours.items() if name not in OTHERWISE} == {
        name: value for name, value in theirs.items() if name not in OTHERWISE
    }


@pytest.mark.only_ocirt("compares ocirt with runc")
def test_proc_says_the_same_of_both(runtime: Runtime, bundle: Bundle) -> None:
    """H5: capabilities, seccomp, limits, groups.  Not the signals: runc hands one of Go's own on now and then."""
    names = "Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Threads|CoreDump"
    script = f"grep -E '^({names})' /proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; env; pwd; umask"
    ours = runtime.inside(bundle, script)
    command = ["runc", "--root", str(runtime.directory / "runc"), "run", "--bundle", str(bundle.path), bundle.id]
    out = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    assert ours == out.stdout
