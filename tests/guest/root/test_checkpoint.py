"""checkpoint and restore through CRIU: what of a container survives, what is refused, what is left when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
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
    statistics,
    streams,
)
from tests.support.host import alive
from tests.support.podman import IMAGE, Podman
from tests.support.runtime import BOUND, ConsoleSocket, Runtime, poll, read_until, wait_for
from tests.support.units import left_of, show

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


def test_a_terminal_a_connection_and_a_tmpfs_file(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """One count over all of them, before and after."""
    network = NetworkNamespace()
    bundle.process["terminal"] = True
    serving(bundle, PORT).namespace("network", network.path)
    console = ConsoleSocket(tmp_path / "console")
    flag = ("--console-socket", str(console.path))
    runtime.run_detached(bundle, *flag)
    _, master = console.receive()
    read_until(master, b"ready")
    os.write(master, b"a\n")
    read_until(master, b"1 a\r\n")
    client = network.connect()
    assert client.ask("b") == "2 b\n"
    checkpoint(runtime, bundle, "--tcp-established")
    os.close(master)
    network.close()
    network = NetworkNamespace(up=False)
    try:
        bundle.namespace("network", network.path).save()
        pid_file = bundle.path / "restored.pid"
        words = ("--image-path", str(images(bundle)), "--bundle", str(bundle.path), "--pid-file", str(pid_file))
        runtime.ok("restore", "--detach", "--tcp-established", *flag, *words, bundle.id, bound=BOUND * 4)
        _, master = console.receive()
        network.up()
        os.write(master, b"c\n")
        read_until(master, b"3 c\r\n")
        assert client.ask("d") == "4 d\n"
        assert runtime.sh(bundle, "cat /tmp/count") == "4\n"
        bundle.pid = int(pid_file.read_bytes())
        session, terminal = Path(f"/proc/{bundle.pid}/stat").read_text().rpartition(")")[2].split()[3:5]
        assert (int(session), os.major(int(terminal))) == (bundle.pid, PTY)
        runtime.stop(bundle)
        os.close(master)
        client.close()
    finally:
        network.close()
        console.close()


@pytest.fixture
def network() -> Iterator[NetworkNamespace]:
    made = NetworkNamespace()
    yield made
    made.close()


def test_an_open_connection(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    """Its other end is outside, and notices nothing but the time; the namespace is made anew, as engines do."""
    network = NetworkNamespace()
    run(runtime, serving(bundle, PORT).namespace("network", network.path), before)
    before.hear("ready\n")
    client = network.connect()
    assert client.ask("a") == "1 a\n"
    checkpoint(runtime, bundle, "--tcp-established")
    network.close()
    client.say("b")  # while there is nobody: sent again until there is
    network = NetworkNamespace(up=False)
    try:
        bundle.namespace("network", network.path).save()
        restore(runtime, bundle, after, "--tcp-established")
        network.up()
        assert client.hear() == "2 b\n"
        assert client.ask("c") == "3 c\n"
        assert runtime.sh(bundle, "cat /tmp/count") == "3\n"
        client.close()
        runtime.stop(bundle)
    finally:
        network.close()


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


# -- what a container is made of -------------------------------------------------------------------


def test_mounts_from_outside(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams, tmp_path: Path) -> None:
    """Binds of a file and of a directory with another mount in it, by way of a link; masks and a read-only root."""
    (tmp_path / "hosts").write_text("127.0.0.1 here\n")
    (tmp_path / "data/inner").mkdir(parents=True)
    mount("tmpfs", tmp_path / "data/inner", "-t", "tmpfs")
    (tmp_path / "data/inner/file").write_text("inner\n")
    (bundle.root / "var/link").symlink_to("/srv")
    (bundle.root / "srv").mkdir()
    bundle.bind(tmp_path / "hosts", "/etc/hosts", "bind", "ro")
    bundle.bind(tmp_path / "data", "/var/link/data", "rbind", "rw")
    bundle.config["root"]["readonly"] = True
    try:
        run(runtime, serving(bundle), before)
        before.ask("a", "1 a")
        look = "cat /etc/hosts /srv/data/inner/file; wc -c < /proc/kcore; touch /x /etc/hosts; touch /srv/data/made"
        seen = runtime.call("exec", bundle.id, "sh", "-c", look)
        mounted = runtime.sh(bundle, "cut -d' ' -f4-6 /proc/self/mountinfo | sort")
        checkpoint(runtime, bundle)
        (tmp_path / "data/inner/file").write_text("changed\n")
        (tmp_path / "data/made").unlink()
        restore(runtime, bundle, after)
        after.ask("b", "2 b")
        again = runtime.call("exec", bundle.id, "sh", "-c", look)
        assert (again.out, again.err) == (seen.out.replace("inner", "changed"), seen.err)
        assert "Read-only file system" in seen.err
        assert (tmp_path / "data/made").exists()
        assert runtime.sh(bundle, "cut -d' ' -f4-6 /proc/self/mountinfo | sort") == mounted
        runtime.stop(bundle)
    finally:
        subprocess.run(["umount", tmp_path / "data/inner"], check=True)


def mount(source: Path | str, target: Path, *options: str) -> None:
    subprocess.run(["mount", *options, source, target], check=True, timeout=10)


def test_a_fresh_root_gets_its_mount_points(
    runtime: Runtime, bundle: Bundle, new_bundle: Callable[[], Bundle], before: Streams, after: Streams, tmp_path: Path
) -> None:
    """As when an engine restores from an archive: the image has none of the files that create made."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file").write_text("from outside\n")
    other = new_bundle()
    for each in (bundle, other):
        serving(each).bind(tmp_path / "deep/file", "/opt/one/file").bind(tmp_path / "deep", "/opt/two/dir")
        each.mount("/scratch/tmp", "tmpfs", "tmpfs")
    run(runtime, bundle, before)
    before.ask("a", "1 a")
    checkpoint(runtime, bundle)
    os.rename(images(bundle), images(other))
    other.save()
    restore(runtime, other, after)
    after.ask("b", "2 b")
    assert runtime.sh(other, "cat /opt/one/file /opt/two/dir/file; ls /scratch") == "from outside\nfrom outside\ntmp\n"
    runtime.stop(other)


def test_hooks(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    """At restore those that run in the runtime's namespaces, with the pid; the container's own were run at create."""
    log = bundle.path / "hooks.log"
    record = bundle.path / "record"
    record.write_text(f'#!/bin/sh\nread state\necho "$1 $state" >> {log}\n')
    record.chmod(0o755)
    serving(bundle)
    for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        bundle.hook(kind, record, kind)
    run(runtime, bundle, before)
    before.ask("a", "1 a")
    checkpoint(runtime, bundle)
    log.unlink()
    restore(runtime, bundle, after)
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    expected = [("prestart", "created"), ("createRuntime", "creating"), ("poststart", "running")]
    assert [(kind, json.loads(state)["status"]) for kind, state in lines] == expected
    assert {json.loads(state)["pid"] for _, state in lines} == {bundle.pid}
    runtime.stop(bundle)


def test_a_hook_that_fails_ends_the_restore(
    runtime: Runtime, bundle: Bundle, before: Streams, after: Streams, host_unchanged: Callable[[], object]
) -> None:
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    checkpoint(runtime, bundle)
    bundle.hook("createRuntime", "/bin/false").save()
    words = ("restore", "--detach", "--image-path", str(images(bundle)), "--bundle", str(bundle.path), bundle.id)
    with host_unchanged():  # type: ignore[attr-defined]
        said = after.call(runtime, *words, code=1)
    assert "createRuntime hook #0" in said or runtime.name != "ocirt"
    assert gone(runtime, bundle)


def test_a_loopback_of_its_own(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    run(runtime, serving(bundle, PORT), before)
    before.hear("ready\n")
    checkpoint(runtime, bundle)
    restore(runtime, bundle, after)
    asked = runtime.sh(bundle, f"echo a | timeout 5 nc 127.0.0.1 {PORT} & sleep 2")
    assert asked == "1 a\n"
    runtime.stop(bundle)


# -- options ---------------------------------------------------------------------------------------


def test_in_the_foreground(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    run(runtime, serving(bundle).script("read line; echo $line; exit 7"), before)
    checkpoint(runtime, bundle)
    after.say("go on")
    words = ("restore", "--image-path", str(images(bundle)), "--bundle", str(bundle.path), bundle.id)
    after.call(runtime, *words, code=7)
    after.hear("go on\n")
    assert gone(runtime, bundle)


def test_work_path_has_the_log(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    work = bundle.path / "work"
    checkpoint(runtime, bundle, "--work-path", str(work))
    assert {"dump.log", "stats-dump"} <= set(os.listdir(work))
    assert not (images(bundle) / "dump.log").exists()
    restore(runtime, bundle, after, "--work-path", str(work))
    assert {"restore.log", "stats-restore"} <= set(os.listdir(work))
    runtime.stop(bundle)


def test_parent_path_is_below_the_images(runtime: Runtime, bundle: Bundle, before: Streams) -> None:
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    words = ("checkpoint", "--image-path", str(images(bundle)), "--parent-path")
    runtime.fails(*words, "/absolute", bundle.id, says="--parent-path")
    runtime.fails(*words, "../none", bundle.id, says="invalid --parent-path")
    before.ask("b", "2 b")
    runtime.stop(bundle)


def test_a_pre_dump_shortens_the_freeze(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    """64 MiB, of which 64 pages change between."""
    run(runtime, serving(bundle, 0, 64), before)
    before.hear("ready\n")
    before.ask("a", "1 a")
    checkpoint(runtime, bundle, "--leave-running")
    whole = statistics(images(bundle))
    before.ask("b", "2 b")
    words = ("checkpoint", "--pre-dump", "--image-path", str(images(bundle, "before")), bundle.id)
    runtime.ok(*words, bound=120)
    assert runtime.status(bundle) == "running"
    before.ask("c", "3 c")
    os.rename(images(bundle), images(bundle, "whole"))
    checkpoint(runtime, bundle, "--parent-path", "../before")
    rest = statistics(images(bundle))
    assert whole["pages_written"] > 64 * 256 > 1000 > rest["pages_written"] >= 64
    assert rest["memdump_time"] < whole["memdump_time"] / 4
    assert rest["frozen_time"] < whole["frozen_time"]
    restore(runtime, bundle, after)
    after.ask("d", "4 d")
    runtime.stop(bundle)


def test_lazy_pages(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    """Memory stays in the old process until the new one asks for it."""
    run(runtime, serving(bundle, 0, 16), before)
    before.ask("a", "1 a")
    reading, writing = os.pipe()
    words = ("--lazy-pages", "--page-server", "127.0.0.1:27000", "--status-fd", str(writing))
    command = runtime.arguments("checkpoint", "--image-path", str(images(bundle)), *words, bundle.id)
    dumping = subprocess.Popen(command, pass_fds=(writing,))
    os.close(writing)
    assert os.read(reading, 1) == b"\0"
    os.close(reading)
    words = ("--page-server", "--address", "127.0.0.1", "--port", "27000", "-D", str(images(bundle)), "-W")
    pages = subprocess.Popen(["criu", "lazy-pages", *words, str(bundle.path)])
    poll((bundle.path / "lazy-pages.socket").exists, "criu lazy-pages")
    other = f"{bundle.id}-new"
    words = (
        "restore",
        "--detach",
        "--lazy-pages",
        "--image-path",
        str(images(bundle)),
        "--work-path",
        str(bundle.path),
    )
    after.call(runtime, *words, "--bundle", str(bundle.path), other)
    after.ask("b", "2 b")
    assert dumping.wait(60) == 0
    assert pages.wait(60) == 0
    assert gone(runtime, bundle)
    after.ask("c", "3 c")
    runtime.ok("delete", "--force", other)


def test_a_paused_container_stays_paused(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    runtime.ok("pause", bundle.id)
    checkpoint(runtime, bundle, "--leave-running")
    assert runtime.status(bundle) == "paused"
    runtime.ok("resume", bundle.id)
    before.ask("b", "2 b")
    runtime.ok("pause", bundle.id)
    checkpoint(runtime, bundle)
    restore(runtime, bundle, after)
    runtime.call("resume", bundle.id)
    after.ask("c", "3 c")
    runtime.stop(bundle)


@pytest.mark.parametrize("mode", ["soft", "full", "ignore"])
def test_cgroup_modes(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams, mode: str) -> None:
    bundle.resources(pids={"limit": 20})
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    checkpoint(runtime, bundle, "--manage-cgroups-mode", mode)
    restore(runtime, bundle, after, "--manage-cgroups-mode", mode)
    after.ask("b", "2 b")
    runtime.stop(bundle)


@pytest.mark.differs(runc="CRIU's yard is in a place that the container's processes do not see", crun="likewise")
@pytest.mark.parametrize("mode", ["soft", "full", "strict"])
def test_cgroups_below_its_own(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams, mode: str) -> None:
    """init has gone to one of them, another process to the other; also where a hierarchy delegates to namespaces."""
    serving(bundle).namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    bundle.script(
        "cd /sys/fs/cgroup; mkdir init other; sleep 1000 & echo $! >other/cgroup.procs; "
        "echo $$ >init/cgroup.procs; cd /; exec /bin/service"
    )
    run(runtime, bundle, before)
    before.ask("a", "1 a")
    own = group_of(bundle).parent
    look = "cat /proc/1/cgroup /proc/$(pidof sleep)/cgroup"
    assert runtime.sh(bundle, look) == "0::/init\n0::/other\n"
    checkpoint(runtime, bundle, "--manage-cgroups-mode", mode)
    assert not own.exists()
    restore(runtime, bundle, after, "--manage-cgroups-mode", mode)
    after.ask("b", "2 b")
    assert runtime.sh(bundle, look) == "0::/init\n0::/other\n"
    assert group_of(bundle) == own / "init"
    assert len((own / "other/cgroup.procs").read_text().split()) == 1
    runtime.stop(bundle)
    assert not own.exists()


def group_of(bundle: Bundle) -> Path:
    """The directory of the cgroup that init is in."""
    return Path("/sys/fs/cgroup") / Path(f"/proc/{bundle.pid}/cgroup").read_text().strip().removeprefix("0::/")


@pytest.mark.only_ocirt("the others make the cgroup themselves, and CRIU refuses it")
def test_strict_mode_wants_a_new_cgroup(
    runtime: Runtime, bundle: Bundle, before: Streams, after: Streams, host_unchanged: Callable[[], object]
) -> None:
    strict = ("--manage-cgroups-mode", "strict")
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    own = group_of(bundle)
    checkpoint(runtime, bundle)
    own.mkdir()
    words = ("restore", "--detach", *strict, "--image-path", str(images(bundle)), "--bundle", str(bundle.path))
    with host_unchanged():  # type: ignore[attr-defined]
        said = after.call(runtime, *words, bundle.id, code=1)
    assert f"the cgroup {own} is there already" in said
    own.rmdir()
    restore(runtime, bundle, after, *strict)
    after.ask("b", "2 b")
    runtime.stop(bundle)


@pytest.mark.only_ocirt("the others leave CRIU with images that the container's root may not read")
def test_a_user_namespace(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    """The container's root reads the images then, and they stay root's alone all the same."""
    serving(bundle).user_namespace().namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    run(runtime, bundle, before)
    before.ask("a", "1 a")
    for count, (here, line) in enumerate(((after, "b"), (before, "c")), start=2):
        checkpoint(runtime, bundle)
        assert images(bundle).stat().st_mode & 0o77 == 0
        modes = {path.name: path.stat().st_mode for path in images(bundle).iterdir()}
        restore(runtime, bundle, here)
        here.ask(line, f"{count} {line}")
        assert runtime.sh(bundle, "cat /tmp/count") == f"{count}\n"
        assert Path(f"/proc/{bundle.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
        assert group_of(bundle).stat().st_uid == 100000
        assert {name: (images(bundle) / name).stat().st_mode for name in modes} == modes
        os.rename(images(bundle), images(bundle, f"images-{count}"))
    runtime.stop(bundle)


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    made = Podman(tmp_path, os.environ.get("OCIRT_RUNTIME", "/usr/local/bin/ocirt"))
    made.make_image(tmp_path / "root.tar")
    yield made
    made("rm", "--all", "--force", "--time", "0")
    subprocess.run(["umount", "-q", made.storage], check=False, timeout=10)  # podman's own mount, if it has made it


@pytest.mark.only_ocirt("podman tells which runtime")
def test_podman(podman: Podman, tmp_path: Path) -> None:
    """In place, and from an archive into a container of another name."""
    podman.launch("one", IMAGE, "sh", "-c", "i=0; while sleep 0.1; do i=$((i+1)); echo $i >/count; done")

    def count(name: str) -> int:
        return int(podman("exec", name, "cat", "/count") or 0)

    poll(lambda: count("one") >= 20, "the count")
    podman("container", "checkpoint", "one")
    assert podman.state("one")["Status"] == "exited"
    podman("container", "restore", "one")
    assert podman.state("one")["Status"] == "running"
    reached = count("one")
    assert reached >= 20
    podman("container", "checkpoint", "--export", str(tmp_path / "one.tar"), "one")
    podman("rm", "one")
    podman("container", "restore", "--import", str(tmp_path / "one.tar"), "--name", "two")
    assert count("two") >= reached


def test_a_configuration_file_of_criu(runtime: Runtime, bundle: Bundle, before: Streams) -> None:
    """Its settings win; and where it puts the log, there it is looked for."""
    file, log = bundle.path / "criu.conf", bundle.path / "elsewhere.log"
    file.write_text(f"log-file {log}\n")
    bundle.config["annotations"] = {"org.criu.config": str(file)}
    run(runtime, serving(bundle), before)
    before.ask("a", "1 a")
    checkpoint(runtime, bundle, "--leave-running")
    assert "Dumping finished successfully" in log.read_text()
    runtime.stop(bundle)


def test_with_systemd(runtime: Runtime, bundle: Bundle, before: Streams, after: Streams) -> None:
    systemd = ("--systemd-cgroup",)
    bundle.resources(memory={"limit": 128 << 20})
    run(runtime, serving(bundle), before, options=systemd)
    before.ask("a", "1 a")
    unit = Path(f"/proc/{bundle.pid}/cgroup").read_text().strip().rpartition("/")[2]
    assert unit.endswith(f"{bundle.id}.scope")
    checkpoint(runtime, bundle, options=systemd)
    assert show(unit, "ActiveState") == {"ActiveState": "inactive"}
    restore(runtime, bundle, after, options=systemd)
    after.ask("b", "2 b")
    assert show(unit, "ActiveState", "MemoryMax") == {"ActiveState": "active", "MemoryMax": str(128 << 20)}
    assert Path(f"/proc/{bundle.pid}/cgroup").read_text().strip().rpartition("/")[2] == unit
    runtime.stop(bundle)
    assert left_of(bundle.id) == []


# -- checkpoint --check ----------------------------------------------------------------------------


@pytest.mark.only_ocirt("no other runtime has --check")
def test_check(runtime: Runtime, bundle: Bundle, before: Streams, network: NetworkNamespace) -> None:
    run(runtime, serving(bundle, PORT).namespace("network", network.path), before)
    before.hear("ready\n")
    words = ("checkpoint", "--check", "--image-path", str(images(bundle)))
    report = runtime.ok(*words, bundle.id).out
    assert all(line.startswith("ok    ") for line in report.splitlines()), report
    assert "\nok    kernel: criu check\n" in report
    client = network.connect()
    assert client.ask("a") == "1 a\n"
    result = runtime.fails(*words, "--page-server", "127.0.0.1:9", bundle.id)
    assert "FAULT TCP connections: 1 established - give --tcp-established\n" in result.out
    assert "FAULT page server 127.0.0.1:9: cannot be reached: connection refused\n" in result.out
    assert result.last_line.endswith("a checkpoint would not work: 2 of 11 checks failed")
    runtime.ok(*words, "--tcp-established", bundle.id)
    assert not images(bundle).exists()
    client.close()
    runtime.stop(bundle)
