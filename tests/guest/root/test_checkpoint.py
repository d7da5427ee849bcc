"""checkpoint and restore through CRIU: what of a container survives, what is refused, what is left when it fails."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.checkpoints import (
    PORT,
    NetworkNamespace,
    Streams,
    checkpoint,
    images,
    restore,
    run,
    serving,
    streams,
)
from tests.support.host import alive
from tests.support.runtime import ConsoleSocket, Runtime, read_until, wait_for

PTY = 136  # major number of /dev/pts/N


@pytest.fixture
def before() -> Iterator[Streams]:
    with streams() as made:
        yield made


@pytest.fixture
def after() -> Iterator[Streams]:
    with streams() as made:
        yield made


def gone(runtime: Runtime, bundle: Bundle) -> bool:
    return "does not exist" in runtime.call("state", bundle.id).err


# -- what survives -------------------------------------------------------------------------------


def test_memory_tmpfs_and_streams(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    run(runtime, serving(bundle), before)
    before.hear("ready\n")
    before.ask("a", "1 a")
    old = bundle.pid
    checkpoint(runtime, bundle)
    assert gone(runtime, bundle)
    assert not alive(old)
    restore(runtime, bundle, after)
    assert runtime.state(bundle)["status"] == "running"
    assert runtime.state(bundle)["pid"] == bundle.pid
    assert runtime.sh(bundle, "cat /tmp/count") == "1\n"
    after.ask("b", "2 b")
    assert runtime.sh(bundle, "cat /tmp/count") == "2\n"
    runtime.ok("kill", bundle.id, "KILL")
    assert wait_for(bundle.pid) == 128 + signal.SIGKILL
    runtime.ok("delete", bundle.id)


def test_a_restored_container_is_one_like_any_other(
    runtime: Runtime, bundle: Bundle, before: Streams, after: Streams
) -> None:
    bundle.resources(memory={"limit": 128 << 20}, pids={"limit": 20})
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    checkpoint(runtime, bundle)
    restore(runtime, bundle, after)
    group = Path("/sys/fs/cgroup") / Path(f"/proc/{bundle.pid}/cgroup").read_text().strip().removeprefix("0::/")
    assert (group / "cgroup.procs").read_text() == f"{bundle.pid}\n"
    assert (group / "memory.max").read_text() == f"{128 << 20}\n"
    assert (group / "pids.max").read_text() == "20\n"
    assert runtime.ok("exec", bundle.id, "hostname").out == "ocirt-e2e\n"
    assert json.loads(runtime.ok("ps", "--format", "json", bundle.id).out) == [bundle.pid]
    assert json.loads(runtime.ok("events", "--stats", bundle.id).out)["data"]["pids"]["current"] == 1
    runtime.ok("update", "--pids-limit", "30", bundle.id)
    assert (group / "pids.max").read_text() == "30\n"
    runtime.ok("pause", bundle.id)
    assert runtime.status(bundle) == "paused"
    runtime.ok("resume", bundle.id)
    after.ask("b", "2 b")
    runtime.stop(bundle)
    assert not group.exists()


def test_again_and_again(runtime: Runtime, bundle: Bundle, before: Streams) -> None:
    run(runtime, serving(bundle), before)
    before.ask("x", "1 x")
    with ExitStack() as kept:  # a closed pipe would tell the service that nobody asks any more
        for count in range(2, 4):
            checkpoint(runtime, bundle)
            after = kept.enter_context(streams())
            restore(runtime, bundle, after)
            after.ask("y", f"{count} y")
        runtime.stop(bundle)


def test_leave_running(runtime: Runtime, bundle: Bundle, before: Streams) -> None:
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    checkpoint(runtime, bundle, "--leave-running")
    assert runtime.status(bundle) == "running"
    before.ask("b", "2 b")
    assert (images(bundle) / "inventory.img").exists()
    runtime.stop(bundle)


def test_a_terminal(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.process["terminal"] = True
    serving(bundle)
    console = ConsoleSocket(tmp_path / "console")
    flag = ("--console-socket", str(console.path))
    runtime.run_detached(bundle, *flag)
    _, master = console.receive()
    read_until(master, b"ready")
    os.write(master, b"a\n")
    read_until(master, b"1 a\r\n")
    checkpoint(runtime, bundle)
    os.close(master)
    pid_file = bundle.path / "restored.pid"
    words = ("--image-path", str(images(bundle)), "--bundle", str(bundle.path), "--pid-file", str(pid_file))
    runtime.ok("restore", "--detach", *flag, *words, bundle.id)
    _, master = console.receive()
    os.write(master, b"b\n")
    read_until(master, b"2 b\r\n")
    bundle.pid = int(pid_file.read_bytes())
    session, terminal = Path(f"/proc/{bundle.pid}/stat").read_text().rpartition(")")[2].split()[3:5]
    assert (int(session), os.major(int(terminal))) == (bundle.pid, PTY)
    runtime.stop(bundle)
    os.close(master)
    console.close()


@pytest.fixture
def network() -> Iterator[NetworkNamespace]:
    made = NetworkNamespace()
    yield made
    made.close()


# -- what is refused -----------------------------------------------------------------------------


def test_a_container_that_does_not_run(runtime: Runtime, bundle: Bundle) -> None:
    bundle.script("exit 0")
    runtime.create(bundle)
    runtime.fails("checkpoint", bundle.id, says="Container cannot be checkpointed in created state", cwd=bundle.path)
    runtime.start(bundle)
    runtime.wait(bundle)
    runtime.fails("checkpoint", bundle.id, says="Container cannot be checkpointed in stopped state", cwd=bundle.path)
    runtime.ok("delete", bundle.id)


def test_a_failure_leaves_the_container_running(
    runtime: Runtime, bundle: Bundle, before: Streams, network: NetworkNamespace
) -> None:
    run(runtime, serving(bundle, PORT).namespace("network", network.path), before)
    before.hear("ready\n")
    client = network.connect()
    assert client.ask("a") == "1 a\n"
    result = runtime.fails("checkpoint", "--image-path", str(images(bundle)), bundle.id)
    assert "tcp-established" in (images(bundle) / "dump.log").read_text()
    if runtime.name == "ocirt":
        assert "Connected TCP socket, consider using --tcp-established option" in result.last_line
        assert f"(log file: {images(bundle)}/dump.log)" in result.last_line
    assert runtime.status(bundle) == "running"
    assert client.ask("b") == "2 b\n"
    client.close()
    runtime.stop(bundle)


def test_a_restore_that_fails_leaves_nothing(
    runtime: Runtime,
    bundle: Bundle,
    before: Streams,
    after: Streams,
    host_unchanged: Callable[[], object],
) -> None:
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    checkpoint(runtime, bundle)
    core = images(bundle) / "core-1.img"
    whole = core.read_bytes()
    core.write_bytes(whole[:100])
    words = ("restore", "--detach", "--image-path", str(images(bundle)), "--bundle", str(bundle.path), bundle.id)
    with host_unchanged():  # type: ignore[attr-defined]
        said = after.call(runtime, *words, code=1)
    if runtime.name == "ocirt":
        assert f"(log file: {images(bundle)}/restore.log)" in said
    assert gone(runtime, bundle)
    core.write_bytes(whole)
    restore(runtime, bundle, after)
    after.ask("b", "2 b")
    runtime.stop(bundle)
