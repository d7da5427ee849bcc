"""Nothing that hangs keeps a container for ever: `delete --force` wins, and every command says what it waited for."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll

pytestmark = pytest.mark.only_ocirt("runc and crun have no lock, and leave the hook behind")


@contextmanager
def hanging(runtime: Runtime, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that will not end by itself."""
    with (runtime.directory / "hanging.err").open("wb") as err:
        process = subprocess.Popen(runtime.arguments(*args), stdin=subprocess.DEVNULL, stdout=err, stderr=err)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def mark_and_hang(bundle: Bundle, kind: str, trap: str = "") -> Path:
    """A hook that writes its pid and sleeps; the file it writes to."""
    mark = bundle.path / "mark" if kind not in ("startContainer",) else bundle.root / "mark"
    path = "/bin/sh"
    inside = "/mark" if kind == "startContainer" else str(mark)
    bundle.hook(kind, path, "-c", f"{trap} echo $$ > {inside}; exec sleep 1000")
    return mark


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_hangs_in_create(runtime: Runtime, bundle: Bundle, kind: str, host_unchanged: Callable) -> None:
    mark = mark_and_hang(bundle, kind)
    bundle.save()
    with host_unchanged(), hanging(runtime, "create", "--bundle", str(bundle.path), bundle.id) as create:
        poll(lambda: mark.exists() and mark.read_text(), "the hook")
        before = time.monotonic()
        deleted = runtime.ok("delete", "--force", bundle.id)
        assert time.monotonic() - before < 8
        assert f"delete --force ends process {create.pid}" in deleted.err
        assert create.wait(5) == 1
    assert "interrupted by signal 15" in (runtime.directory / "hanging.err").read_text()


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_hook_that_hangs_in_start(runtime: Runtime, bundle: Bundle, kind: str, host_unchanged: Callable) -> None:
    mark = mark_and_hang(bundle, kind)
    bundle.args("/bin/probe", "pause")
    with host_unchanged():
        runtime.create(bundle)
        with hanging(runtime, "start", bundle.id) as start:
            poll(lambda: mark.exists() and mark.read_text(), "the hook")
            runtime.ok("delete", "--force", bundle.id)
            assert start.wait(5) == 1
    said = (runtime.directory / "hanging.err").read_text()
    assert "init died before it executed" in said or "interrupted by signal 15" in said


def test_a_command_that_does_not_end_when_asked(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    """Its undo hangs too, in a poststop hook: it is killed, with the hook."""
    mark = mark_and_hang(bundle, "createRuntime")
    after = bundle.path / "after"
    bundle.hook("poststop", "/bin/sh", "-c", f"echo $$ > {after}; exec sleep 1000").save()
    with host_unchanged(), hanging(runtime, "create", "--bundle", str(bundle.path), bundle.id) as create:
        poll(lambda: mark.exists() and mark.read_text(), "the hook")
        os.kill(create.pid, 15)
        hook = int(poll(lambda: after.exists() and after.read_text(), "the poststop hook"))
        assert runtime.call("delete", "--force", bundle.id).code == 0  # the directory is gone already
        create.kill()
        create.wait()
        os.kill(hook, 9)


def test_busy_names_who_has_the_lock(runtime: Runtime, bundle: Bundle) -> None:
    mark = mark_and_hang(bundle, "poststart")
    bundle.args("/bin/probe", "pause")
    runtime.create(bundle)
    with hanging(runtime, "start", bundle.id) as start:
        poll(lambda: mark.exists() and mark.read_text(), "the hook")
        failed = runtime.fails("delete", bundle.id, says="has held the lock")
        assert f"(process {start.pid}: " in failed.last_line
        os.kill(start.pid, 15)
        assert start.wait(5) == 1


def test_start_of_a_paused_container(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("/bin/probe", "pause")
    runtime.create(bundle)
    runtime.ok("pause", bundle.id)
    runtime.fails("start", bundle.id, says="cannot start a paused container")
    runtime.ok("resume", bundle.id)
    runtime.start(bundle)
    assert runtime.status(bundle) == "running"


def test_a_log_that_nobody_reads(runtime: Runtime, bundle: Bundle) -> None:
    fifo = runtime.directory / "log"
    os.mkfifo(fifo)
    bundle.save()
    failed = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, options=("--log", str(fifo)))
    assert "no such device or address" in failed.last_line


def test_a_pid_file_that_is_a_fifo(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    os.mkfifo(runtime.directory / ".pid")
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--pid-file", str(runtime.directory / "pid"), "--bundle", str(bundle.path), bundle.id)


def test_doctor_and_gc_after_a_killed_create(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    mark = mark_and_hang(bundle, "createRuntime")
    bundle.save()
    with host_unchanged():
        with hanging(runtime, "create", "--bundle", str(bundle.path), bundle.id) as create:
            hook = int(poll(lambda: mark.exists() and mark.read_text(), "the hook"))
            said = runtime.call("doctor", bundle.id)
            assert said.code == 1
            assert f"held by process {create.pid}" in said.out
            assert f"-> kill {hook}   # or {runtime.command.rpartition('/')[2]}" in said.out
            assert runtime.ok("gc", "--dry-run").out == f"nothing to remove in {runtime.root}\n"
        os.kill(hook, 9)
        told = "creating, and nobody creates it any more"
        poll(lambda: told in runtime.call("doctor", bundle.id).out, "the end of init, which has a copy of the lock")
        because = "its creation did not finish, and the command is gone"
        assert runtime.ok("gc").out == f"{bundle.id}: removed: {because}\n"


def test_doctor_sees_a_paused_container(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("/bin/probe", "pause")
    runtime.launch(bundle)
    assert runtime.ok("doctor", bundle.id).out.startswith("ok     status     running\n")
    runtime.ok("pause", bundle.id)
    assert f" resume {bundle.id}\n" in runtime.call("doctor", bundle.id).out
