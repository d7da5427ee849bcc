"""Too little of everything: each command works, or is refused with a code, and leaves the host as it was."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import Result, Runtime, poll

pytestmark = pytest.mark.only_ocirt("runc and crun are other programs with other needs")


def works_or_is_refused(runtime: Runtime, result: Result) -> bool:
    """Whether it worked."""
    assert "Traceback" not in result.err, result
    if result.code == 0:
        return True
    assert result.last_line.startswith(("ocirt ", "ocirt: ")), result
    assert "a fault in ocirt" not in result.last_line, result
    return False


def create_and_delete(scarce: Runtime, runtime: Runtime, bundle: Bundle) -> bool:
    """create, start and delete with what is scarce; whether create worked."""
    if not works_or_is_refused(scarce, scarce.call("create", "--bundle", str(bundle.path), bundle.id)):
        return False
    works_or_is_refused(scarce, scarce.call("start", bundle.id))
    works_or_is_refused(scarce, scarce.call("exec", bundle.id, "/bin/true"))
    works_or_is_refused(scarce, scarce.call("delete", "--force", bundle.id))
    runtime.ok("delete", "--force", bundle.id)
    return True


@pytest.fixture
def waiting(bundle: Bundle) -> Bundle:
    return bundle.args("/bin/probe", "pause").save()


def test_few_descriptors(runtime: Runtime, waiting: Bundle, host_unchanged: Callable) -> None:
    waiting.process.pop("rlimits")
    waiting.save()
    with host_unchanged():
        worked = []
        for most in range(3, 44):
            scarce = runtime.after(f"ulimit -n {most}")
            if scarce.call("--version").code == 0:  # else it is the interpreter that does not start
                worked.append(create_and_delete(scarce, runtime, waiting))
    assert worked[-1]
    assert not worked[0]


def test_few_processes(runtime: Runtime, waiting: Bundle, place: Place, host_unchanged: Callable) -> None:
    """pids.max of the cgroup that the runtime is called in: bash and ocirt are one, init the second."""
    cgroup = place.cgroup("pids") / "few"
    cgroup.mkdir()
    try:
        with host_unchanged():
            for most in (1, 2, 3):
                (cgroup / "pids.max").write_text(str(most))
                scarce = runtime.after(f"echo $$ > {cgroup}/cgroup.procs")
                assert create_and_delete(scarce, runtime, waiting) == (most > 1)
    finally:
        cgroup.rmdir()


def test_little_address_space(runtime: Runtime, waiting: Bundle, host_unchanged: Callable) -> None:
    """Below some 12 MB the interpreter itself does not start; it says so in its own words."""
    waiting.process["rlimits"] = [{"type": "RLIMIT_AS", "soft": 1 << 30, "hard": 1 << 30}]
    waiting.save()
    with host_unchanged():
        worked = []
        for mib in (14, 16, 18, 20, 22, 24, 28, 32, 48, 64):
            scarce = runtime.after(f"ulimit -S -v {mib << 10}")
            if scarce.call("--version").code == 0:
                worked.append(create_and_delete(scarce, runtime, waiting))
    assert worked[-1]


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[None]:
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "small", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_below_root(runtime: Runtime, waiting: Bundle, host_unchanged: Callable) -> None:
    """Of 4 KiB pages: one for config.json, one for the record, one for the record's successor."""
    worked = []
    for pages in range(1, 6):
        with small_disk(runtime.root, 4 * pages), host_unchanged():
            worked.append(create_and_delete(runtime, runtime, waiting))
    assert not worked[0]
    assert worked[-1]


def test_a_full_disk_below_root_with_a_trace(
    runtime: Runtime, waiting: Bundle, host_unchanged: Callable, tmp_path: Path
) -> None:
    """What init writes to is memory in a file there: a page that cannot be had must be missed before init is born."""
    trace = tmp_path / "trace.json"
    with host_unchanged():
        worked = []
        for size in range(12, 80, 4):
            runtime.root.mkdir(exist_ok=True)
            with small_disk(runtime.root, size):
                found = runtime.call(
                    "create", "--bundle", str(waiting.path), waiting.id, options=("--trace", str(trace))
                )
                worked.append(works_or_is_refused(runtime, found))
                runtime.call("delete", "--force", waiting.id)
    assert not worked[0]
    assert worked[-1]


def fill(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space"):
        while os.write(fd, b"x" * 4096):
            pass
    os.close(fd)


def test_a_disk_that_fills_up_after_create(runtime: Runtime, waiting: Bundle, host_unchanged: Callable) -> None:
    with small_disk(runtime.root, 64), host_unchanged():
        runtime.create(waiting)
        fill(runtime.root / "filler")
        runtime.start(waiting)
        runtime.ok("exec", waiting.id, "/bin/true")
        runtime.ok("pause", waiting.id)
        runtime.ok("resume", waiting.id)
        runtime.ok("kill", waiting.id, "KILL")
        runtime.wait(waiting)
        runtime.ok("delete", waiting.id)
        (runtime.root / "filler").unlink()


def test_frozen_at_kill_and_delete(runtime: Runtime, waiting: Bundle, host_unchanged: Callable) -> None:
    with host_unchanged():
        for command in (("kill", waiting.id, "KILL"), ("delete", "--force", waiting.id)):
            runtime.launch(waiting)
            runtime.ok("pause", waiting.id)
            runtime.fails("exec", waiting.id, "/bin/true", code=255, says="paused")
            runtime.fails("delete", waiting.id, says="is not stopped: paused")
            runtime.ok(*command)
            runtime.wait(waiting)
            runtime.ok("delete", "--force", waiting.id)


def reboot(runtime: Runtime, bundle: Bundle) -> None:
    """As if the record were of another boot; the process of that number is anybody's."""
    path = runtime.root / bundle.id / "state.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"boot_id": "00000000-0000-0000-0000-000000000000"}))


def test_after_a_reboot(runtime: Runtime, waiting: Bundle) -> None:
    """The container is stopped whatever runs under its numbers, and delete leaves that alone."""
    runtime.launch(waiting)
    somebody = subprocess.Popen(["sleep", "1000"])
    path = runtime.root / waiting.id / "state.json"
    before = path.read_text()
    record = json.loads(before)
    stat = Path(f"/proc/{somebody.pid}/stat").read_text()
    start = int(stat[stat.rindex(")") + 2 :].split()[19])
    other = {"pid": somebody.pid, "start_time": start, "cgroup": None, "cgroup_wanted": []}
    try:
        path.write_text(json.dumps(record | other))
        assert runtime.status(waiting) == "running"
        reboot(runtime, waiting)
        assert (runtime.state(waiting)["status"], runtime.state(waiting)["pid"]) == ("stopped", 0)
        for words, code, says in (
            (("start", waiting.id), 1, "cannot start a container that has stopped"),
            (("exec", waiting.id, "true"), 255, "cannot exec in a stopped container"),
            (("kill", waiting.id, "KILL"), 1, "container not running"),
            (("pause", waiting.id), 1, ""),
            (("resume", waiting.id), 1, ""),
            (("update", "--pids-limit", "5", waiting.id), 1, "container not running"),
            (("events", "--stats", waiting.id), 1, "is not running"),
        ):
            runtime.fails(*words, code=code, says=says)
        assert f"{waiting.id}: " not in runtime.ok("gc").out
        runtime.ok("delete", waiting.id)
        assert somebody.poll() is None
        assert not path.exists()
    finally:
        somebody.kill()
        somebody.wait()
        os.kill(waiting.pid, 9)
        runtime.wait(waiting)
        poll(lambda: _remove_cgroups(record["cgroup"]["made"]), "the cgroup's end")


def _remove_cgroups(made: list[str]) -> bool:
    try:
        for directory in reversed(made):
            if os.path.isdir(directory):
                os.rmdir(directory)
    except OSError:
        return False
    return True
