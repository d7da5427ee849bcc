"""What an interruption, a second command at the same time, or a broken record leaves behind: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import alive
from tests.support.runtime import Runtime, poll, read_until, wait_for
from tests.support.terminal import OnTerminal

pytestmark = pytest.mark.differs(crun="leaves more behind")


@pytest.fixture(autouse=True)
def _only_ocirt(runtime: Runtime) -> None:
    if runtime.name != "ocirt":
        pytest.skip("promises of ocirt's own")


def begin(runtime: Runtime, verb: str, bundle: Bundle, *flags: str) -> subprocess.Popen[bytes]:
    """Start a command and do not wait for it."""
    bundle.save()
    return subprocess.Popen(
        runtime.arguments(verb, *flags, "--bundle", str(bundle.path), bundle.id),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def end(child: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, errors = child.communicate(timeout=30)
    return child.returncode, errors.decode()


def hanging(bundle: Bundle, kind: str) -> Path:
    """A hook that says that it is there and never ends."""
    shared = bundle.path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    bundle.bind(shared, str(shared), "bind")
    bundle.hook(kind, "/bin/sh", "-c", f"echo $$ > {shared}/there; exec sleep 1000")
    return shared / "there"


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
@pytest.mark.parametrize("namespaces", ["own", "pid shared", "user"])
def test_interrupted_in_a_hook(
    runtime: Runtime, bundle: Bundle, kind: str, namespaces: str, host_unchanged: Callable
) -> None:
    if namespaces == "pid shared":
        bundle.without_namespace("pid")
    elif namespaces == "user":
        bundle.user_namespace()
    there = hanging(bundle, kind)
    with host_unchanged():
        child = begin(runtime, "create", bundle)
        poll(there.exists, "the hook")
        child.send_signal(signal.SIGTERM)
        code, errors = end(child)
        assert code == 1
        assert "interrupted by signal 15" in errors.strip().splitlines()[-1]
        assert "clean-up failed" not in errors


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
@pytest.mark.parametrize("namespaces", ["own", "pid shared", "user"])
def test_runtime_killed_in_a_hook(
    runtime: Runtime, bundle: Bundle, kind: str, namespaces: str, host_unchanged: Callable
) -> None:
    if namespaces == "pid shared":
        bundle.without_namespace("pid")
    elif namespaces == "user":
        bundle.user_namespace()
    there = hanging(bundle, kind)
    with host_unchanged():
        child = begin(runtime, "create", bundle)
        hook = poll(lambda: there.exists() and there.read_text(), "the hook")
        child.kill()
        end(child)
        runtime.ok("delete", "--force", bundle.id)
        if kind == "createRuntime":  # outside of the container: nobody but its caller knows it
            os.kill(int(hook), signal.SIGKILL)


def test_hook_past_its_timeout_leaves_no_children(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.without_namespace("pid").hook(
        "createContainer", "/bin/sh", "-c", "sleep 1000 & sleep 1000", timeout=1
    ).save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="ran past specified timeout")
        assert "clean-up failed" not in result.err


def test_poststop_runs_once_when_the_pid_file_cannot_be_written(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    bundle.hook("poststop", "/bin/sh", "-c", f"echo run >> {log}").save()
    (tmp_path / "directory").mkdir()
    with host_unchanged():
        runtime.fails("create", "--pid-file", str(tmp_path / "directory"), "--bundle", str(bundle.path), bundle.id)
    assert log.read_text() == "run\n"
    assert not (tmp_path / ".directory").exists()


def test_exec_with_a_pid_file_that_cannot_be_written(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable, tmp_path: Path
) -> None:
    """Nobody would know of the process: it is ended."""
    (tmp_path / "directory").mkdir()
    runtime.launch(bundle.script("sleep 1000"))
    with host_unchanged():
        runtime.fails("exec", "--pid-file", str(tmp_path / "directory"), bundle.id, "sleep", "1000", code=255)
        runtime.fails("exec", "-d", "--pid-file", str(tmp_path / "directory"), bundle.id, "sleep", "1000", code=255)
    runtime.stop(bundle)


def test_poststop_runs_once_when_another_command_deletes(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    bundle.hook("poststop", "/bin/sh", "-c", f"echo run >> {log}").script("sleep 1000")
    with host_unchanged():
        child = begin(runtime, "run", bundle)
        poll(lambda: runtime.call("ps", bundle.id).code == 0 and runtime.status(bundle) == "running", "running")
        runtime.ok("delete", "--force", bundle.id)
        assert end(child)[0] == 128 + signal.SIGKILL
    assert log.read_text() == "run\n"


DAMAGE = {
    "empty": "",
    "cut off": '{"version":1,"id":"',
    "no object": "[]",
    "another version": '{"version":77}',
    "nothing in it": '{"version":1}',
    "wrong types": '{"version":1,"pid":"x","start_time":[],"boot_id":1,"cgroup":7,"poststop":1,"root_mount":3}',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_record(runtime: Runtime, bundle: Bundle, damage: str, host_unchanged: Callable) -> None:
    with host_unchanged():
        runtime.create(bundle)
        record = runtime.root / bundle.id / "state.json"
        saved = record.read_text()
        record.write_text(DAMAGE[damage])
        assert runtime.ok("list", "-q").out == ""
        runtime.fails("state", bundle.id)
        runtime.fails("delete", bundle.id)
        runtime.ok("delete", "--force", bundle.id)
        assert not (runtime.root / bundle.id).exists()
        # What the lost record knew is the test's to remove.
        (runtime.root / bundle.id).mkdir()
        record.write_text(saved)
        runtime.ok("delete", "--force", bundle.id)


def test_record_that_still_tells_the_cgroup(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    with host_unchanged():
        runtime.create(bundle)
        record = runtime.root / bundle.id / "state.json"
        record.write_text(record.read_text().replace('"version":1', '"version":9'))
        runtime.ok("delete", "--force", bundle.id)


@pytest.mark.parametrize("name", ["state.json", "config.json"])
def test_missing_file(runtime: Runtime, bundle: Bundle, name: str, host_unchanged: Callable) -> None:
    bundle.hook("poststop", "/bin/true")
    with host_unchanged():
        runtime.create(bundle)
        path = runtime.root / bundle.id / name
        saved = path.read_text()
        path.unlink()
        runtime.ok("delete", "--force", bundle.id)
        assert not (runtime.root / bundle.id).exists()
        if name == "state.json":
            (runtime.root / bundle.id).mkdir()
            path.write_text(saved)
            runtime.ok("delete", "--force", bundle.id)


def test_foreign_entries_do_not_hide_the_others(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle)
    (runtime.root / "a-file").touch()
    (runtime.root / "a-link").symlink_to(bundle.id)
    (runtime.root / "a directory").mkdir()
    assert runtime.ok("list", "-q").out == f"{bundle.id}\n"
    (runtime.root / "a-file").unlink()
    (runtime.root / "a-link").unlink()
    (runtime.root / "a directory").rmdir()
    runtime.ok("delete", "--force", bundle.id)


def test_full_root(runtime: Runtime, bundle: Bundle, tmp_path: Path, host_unchanged: Callable) -> None:
    """The directory of a container whose record does not fit is removed again."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", small], check=True)
    try:
        (small / "filler").write_bytes(b"x" * 4096)
        bundle.save()
        with host_unchanged():
            runtime.fails("--root", str(small), "create", "--bundle", str(bundle.path), bundle.id, says="no space left")
        assert os.listdir(small) == ["filler"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_reader_of_a_terminal_goes(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    """The payload is not disturbed, and `run` removes the container at its end."""
    bundle.process["terminal"] = True
    bundle.script(
        "trap '' HUP; echo ready; i=0; while [ $i -lt 50 ]; do echo again; i=$((i+1)); sleep 0.01; done; exit 5"
    ).save()
    with host_unchanged():
        run = OnTerminal(runtime.arguments("run", "--bundle", str(bundle.path), bundle.id))
        read_until(run.master, b"ready")
        os.close(run.slave)
        os.close(run.master)
        assert run.child.wait(30) == 5


def test_output_to_a_closed_pipe(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.process["terminal"] = True
    bundle.script("i=0; while [ $i -lt 50 ]; do echo again; i=$((i+1)); sleep 0.01; done; exit 5").save()
    with host_unchanged():
        reading, writing = os.pipe()
        child = subprocess.Popen(
            runtime.arguments("run", "--bundle", str(bundle.path), bundle.id),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
        )
        os.close(writing)
        os.close(reading)
        assert end(child) == (5, "")


def test_much_input_that_is_echoed(runtime: Runtime, bundle: Bundle) -> None:
    """Both directions full at once must not block each other."""
    bundle.process["terminal"] = True
    bundle.script("stty raw; echo ready; dd bs=1000 count=1000 iflag=fullblock 2>/dev/null").save()
    command = runtime.arguments("run", "--bundle", str(bundle.path), bundle.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"  # before, the terminal would drop all but 4 KiB of a line
        out, _ = child.communicate(b"x" * 1_000_000, timeout=20)
    assert child.returncode == 0
    assert len(out) >= 1_000_000


def test_input_that_nobody_reads(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    bundle.script("stty raw -echo; sleep 1; exit 6").save()
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            runtime.arguments("run", "--bundle", str(bundle.path), bundle.id),
            stdin=source.stdout,
            capture_output=True,
            timeout=20,
            check=False,
        )
        source.kill()
    assert (done.returncode, done.stderr) == (6, b"")


def test_signals_while_nobody_reads_the_input(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.process["terminal"] = True
    bundle.script("stty raw -echo; echo ready; exec sleep 1000").save()
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as source, (tmp_path / "out").open("wb") as target:
        child = subprocess.Popen(
            runtime.arguments("run", "--bundle", str(bundle.path), bundle.id), stdin=source.stdout, stdout=target
        )
        poll(lambda: b"ready" in (tmp_path / "out").read_bytes(), "the payload")
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGUSR1)
        runtime.ok("kill", bundle.id, "KILL")
        assert child.wait(20) == 137
        source.kill()


def test_deep_cgroup(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    """Deeper than Python's stack."""
    bundle.linux["cgroupsPath"] = bundle.id + "/a" * 1100
    with host_unchanged():
        result = runtime.run(bundle.script("exit 3"))
        assert result.code == 3, result


@pytest.mark.parametrize("where", ["destination", "cwd"])
def test_deep_path(runtime: Runtime, bundle: Bundle, where: str, host_unchanged: Callable) -> None:
    bundle.mount("/tmp", "tmpfs", "tmpfs")
    if where == "destination":
        bundle.mount("/tmp" + "/a" * 1000, "tmpfs", "tmpfs")
    else:
        bundle.process["cwd"] = "/tmp" + "/a" * 1000
    with host_unchanged():
        result = runtime.run(bundle.script("exit 3"))
        assert result.code == 3, result


def test_more_arguments_than_execve_takes(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.process["env"].append("BIG=" + "x" * 200_000)
    bundle.save()
    with host_unchanged():
        runtime.fails("run", "--bundle", str(bundle.path), bundle.id, says="argument list too long")
    del bundle.process["env"][-1]
    runtime.launch(bundle.script("sleep 1000"))
    with host_unchanged():
        file = str(bundle.process_file("big.json", args=["/bin/echo", "x" * 200_000]))
        runtime.fails("exec", "--process", file, bundle.id, code=255, says="argument list too long")
    runtime.stop(bundle)


def test_error_with_long_names(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.process["env"] = ["PATH=" + "/ä字" * 8000]
    bundle.process["args"] = ["字" * 30_000]
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says='executable: exec: "字')


def test_keep_after_a_signal(runtime: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("pid")  # the kernel spares the first process of one
    assert runtime.run(bundle.script("kill -9 $$"), "--keep").code == 137
    assert runtime.status(bundle) == "stopped"
    runtime.ok("delete", bundle.id)
    runtime.fails("delete", bundle.id, says="container does not exist")
    runtime.ok("delete", "--force", bundle.id)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_interrupted_before_anything(runtime: Runtime, bundle: Bundle, name: str, host_unchanged: Callable) -> None:
    """At every system call that names the container's directory or its files."""
    bundle.save()
    with host_unchanged():
        for call, count in (("mkdir", 6), ("rename", 4), ("bind", 1), ("flock", 1), ("clone3", 1), ("chmod", 2)):
            for number in range(1, count + 1):
                subprocess.run(
                    [
                        *("strace", "-o", "/dev/null", "-e", f"inject={call}:signal=SIG{name}:when={number}"),
                        *runtime.arguments("create", "--bundle", str(bundle.path), bundle.id),
                    ],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=30,
                    check=False,
                )
                if runtime.call("state", bundle.id).code == 0:
                    runtime.ok("delete", "--force", bundle.id)
                assert not (runtime.root / bundle.id).exists(), (call, number)


def test_a_signal_after_the_container_was_made_comes_too_late(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """At the last system call that create makes for the container, which lets go of its lock."""
    bundle.save()
    create = runtime.arguments("create", "--bundle", str(bundle.path), bundle.id)
    log = tmp_path / "strace"

    def traced(*options: str) -> None:
        command = ["strace", "-o", str(log), *options, *create]
        null = subprocess.DEVNULL
        subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=30, check=True)

    traced("-e", "trace=flock")
    runtime.ok("delete", "--force", bundle.id)
    last = len([line for line in log.read_text().splitlines() if line.startswith("flock")])

    traced("-e", "trace=flock", "-e", f"inject=flock:signal=SIGTERM:when={last}")
    assert "--- SIGTERM" not in log.read_text()  # the one that was sent is still held back when the command ends
    assert runtime.status(bundle) == "created"


def test_second_interruption_does_not_stop_the_clean_up(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable, tmp_path: Path
) -> None:
    there = hanging(bundle, "createRuntime")
    slow = tmp_path / "slow"
    bundle.hook("poststop", "/bin/sh", "-c", f"touch {slow}; sleep 0.5; touch {slow}-end")
    with host_unchanged():
        child = begin(runtime, "create", bundle)
        poll(there.exists, "the hook")
        child.send_signal(signal.SIGTERM)
        poll(slow.exists, "the clean-up")
        child.send_signal(signal.SIGTERM)
        assert end(child)[0] == 1
    assert (tmp_path / "slow-end").exists()


def test_run_interrupted_in_start(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    there = hanging(bundle, "startContainer")
    with host_unchanged():
        child = begin(runtime, "run", bundle)
        poll(there.exists, "the hook")
        child.send_signal(signal.SIGTERM)
        assert end(child)[0] == 1


def test_run_interrupted_in_poststart(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    there = hanging(bundle.script("sleep 1000"), "poststart")
    with host_unchanged():
        child = begin(runtime, "run", bundle)
        poll(there.exists, "the hook")
        child.send_signal(signal.SIGTERM)
        assert end(child)[0] == 1


def test_paused(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.without_namespace("pid")
    with host_unchanged():
        runtime.launch(bundle.script("sleep 1000 & sleep 1000"))
        runtime.ok("pause", bundle.id)
        runtime.fails("exec", bundle.id, "true", code=255, says="cannot exec in a paused container")
        runtime.ok("kill", bundle.id, "KILL")
        assert wait_for(bundle.pid) == 137
        runtime.ok("delete", bundle.id)


def test_kill_all_finds_leftovers(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.without_namespace("pid")
    with host_unchanged():
        result = runtime.launch(bundle.script("(exec sleep 1000 >/dev/null 2>&1) & echo $!; exit 0"))
        runtime.wait(bundle)
        runtime.ok("kill", "--all", bundle.id, "KILL")
        poll(lambda: not alive(int(result.out)), "the end of the leftover")
        runtime.ok("delete", bundle.id)


def test_deleted_while_it_is_created(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    there = hanging(bundle, "createRuntime")
    with host_unchanged():
        child = begin(runtime, "create", bundle)
        poll(there.exists, "the hook")
        runtime.fails("kill", bundle.id, says="container not running")
        runtime.fails("start", bundle.id, says="another command has held the lock")
        runtime.fails("exec", bundle.id, "true", code=255, says="being created")
        assert runtime.status(bundle) == "creating"
        child.send_signal(signal.SIGINT)
        assert end(child)[0] == 1


def test_closed_standard_input_is_the_null_device(runtime: Runtime, bundle: Bundle) -> None:
    bundle.script("readlink /proc/$$/fd/0").save()
    result = runtime.after("exec 0<&-").call("run", "--bundle", str(bundle.path), bundle.id)
    assert (result.code, result.out) == (0, "/dev/null\n"), result


@pytest.mark.parametrize("limit", [8, 16])
def test_few_open_files_are_the_programs_limit_not_the_set_ups(runtime: Runtime, bundle: Bundle, limit: int) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}]
    assert runtime.inside(bundle, "ulimit -n") == f"{limit}\n"
