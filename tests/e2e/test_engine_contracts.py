"""What engines call and parse, in their own words: one parser of theirs a test.

The parsers here are short retellings of what conmon, go-runc, containerd, moby, podman, cri-o and buildah do with a
runtime's output; a test that runc passes shows that the retelling is right.
"""

from __future__ import annotations

import array
import json
import os
import re
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import BOUND, Result, Runtime, poll, wait_for

MISSING, FORBIDDEN, DIRECTORY = ["no-such-program"], ["/etc/passwd"], ["/etc"]


# -- containerd: go-runc and its shim ----------------------------------------------------------------


def go_runc(runtime: Runtime, log: Path, *args: str, **how: Any) -> Result:
    """The order of arguments of go-runc: global options, command, options, container."""
    return runtime.call(*args, options=("--log", str(log), "--log-format", "json"), **how)


def shim_error(log: Path) -> str:
    """The shim reads a stream of JSON objects and keeps the last error; a bad time is an error of its own."""
    message = ""
    for line in log.read_text().splitlines():
        record = json.loads(line)
        datetime.strptime(
            record["time"], "%Y-%m-%dT%H:%M:%SZ" if record["time"].endswith("Z") else "%Y-%m-%dT%H:%M:%S%z"
        )
        if record["level"] == "error":
            message = record["msg"]
    return message


@pytest.mark.differs(crun="other words")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (MISSING, "executable file not found in $PATH"),
        (["/no"], "no such file or directory"),
        (FORBIDDEN, "permission denied"),
    ],
)
def test_containerd_create_error_is_the_last_error_of_the_log(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, args: list[str], words: str
) -> None:
    log, pid_file = tmp_path / "log.json", tmp_path / "init.pid"
    bundle.args(*args).save()
    result = go_runc(runtime, log, "create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), bundle.id)
    assert result.code == 1
    assert words in shim_error(log)
    assert not pid_file.exists()


def test_containerd_life_of_a_task(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log, pid_file = tmp_path / "log.json", tmp_path / "init.pid"
    bundle.script("sleep 1000").save()
    created = go_runc(runtime, log, "create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), bundle.id)
    assert created.code == 0
    pid = int(pid_file.read_bytes())  # Go's strconv.Atoi: no newline
    assert pid_file.read_bytes() == str(pid).encode()
    assert go_runc(runtime, log, "start", bundle.id).code == 0
    assert go_runc(runtime, log, "kill", bundle.id, "9").code == 0
    assert wait_for(pid) == 128 + 9
    late = go_runc(runtime, log, "kill", bundle.id, "9")
    assert late.code == 1
    assert re.search("os: process already finished|container not running|no such process", late.err.lower())
    assert go_runc(runtime, log, "delete", bundle.id).code == 0
    gone = go_runc(runtime, log, "delete", bundle.id)
    assert gone.code == 1
    assert "does not exist" in gone.err
    assert go_runc(runtime, log, "delete", "--force", bundle.id).code == 0


def test_containerd_exec(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    spec, pid_file = tmp_path / "process.json", tmp_path / "exec.pid"
    spec.write_text(json.dumps({**bundle.process, "args": ["/bin/sh", "-c", "echo done; exit 3"]}))
    words = ["exec", "--process", str(spec), "--detach", "--pid-file", str(pid_file), bundle.id]
    result = go_runc(runtime, tmp_path / "log.json", *words)
    assert result.code == 0
    assert wait_for(int(pid_file.read_bytes())) == 3
    assert result.out == "done\n"
    runtime.stop(bundle)


def test_containerd_update_reads_standard_input(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("update", "--resources=-", bundle.id, stdin='{"pids": {"limit": 77}}')
    own = re.search(r":pids:(.*)", Path(f"/proc/{bundle.pid}/cgroup").read_text())
    if own:
        assert Path(f"/sys/fs/cgroup/pids{own[1]}/pids.max").read_text() == "77\n"
    runtime.stop(bundle)


@pytest.mark.differs(crun="other output")
def test_containerd_processes(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000 & wait"))
    poll(lambda: len(json.loads(runtime.ok("ps", "--format", "json", bundle.id).out)) == 2, "the second process")
    header, *rows = runtime.ok("ps", "--format", "table", bundle.id, "-o", "pid,comm").out.splitlines()
    column = header.split().index("PID")
    assert bundle.pid in [int(row.split()[column]) for row in rows]
    assert [state["id"] for state in json.loads(runtime.ok("list", "--format=json").out)] == [bundle.id]
    runtime.stop(bundle)


@pytest.mark.differs(crun="has no events")
def test_containerd_stats(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    event = json.loads(runtime.ok("events", "--stats", bundle.id).out)
    assert (event["type"], event["id"]) == ("stats", bundle.id)
    assert event["data"]["pids"]["current"] == 1
    assert event["data"]["memory"]["usage"]["usage"] > 0
    assert event["data"]["cpu"]["usage"]["total"] > 0
    runtime.stop(bundle)


def test_containerd_shim_dies(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """The shim starts the runtime with PDEATHSIG SIGKILL; the container must not have it."""
    pid_file = tmp_path / "init.pid"
    bundle.script("sleep 1000").save()
    script = (
        "import ctypes, subprocess, sys\n"
        "prctl = ctypes.CDLL(None).prctl\n"
        "done = subprocess.run(sys.argv[1:], preexec_fn=lambda: prctl(1, 9, 0, 0, 0), stdin=subprocess.DEVNULL,"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "sys.exit(done.returncode)\n"
    )
    create = runtime.arguments("create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), bundle.id)
    assert subprocess.run(["python3", "-c", script, *create], timeout=BOUND, check=False).returncode == 0
    bundle.pid = int(pid_file.read_bytes())
    runtime.start(bundle)
    assert runtime.status(bundle) == "running"
    runtime.stop(bundle)


def version(text: str) -> dict[str, str]:
    """go-runc and moby: `name: value` lines, and a line with `version` in it."""
    lines = text.splitlines()
    found = dict(line.split(": ", 1) for line in lines if ": " in line)
    return found | {"version": next(line.rpartition("version ")[2] for line in lines if "version " in line)}


def test_version_lines(runtime: Runtime) -> None:
    found = version(runtime.ok("--version").out)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", found["version"])
    assert found["commit"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", found["spec"])


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 have fewer fields, or no such command")
def test_features_as_engines_read_them(runtime: Runtime) -> None:
    result = runtime.ok("features")
    assert result.err == ""  # cri-o reads both streams as one document
    features = json.loads(result.out)
    assert features["ociVersionMin"]
    assert features["ociVersionMax"]
    assert "rro" in features["mountOptions"]  # containerd: recursive read-only mounts
    assert "user" in features["linux"]["namespaces"]
    assert isinstance(features["linux"]["mountExtensions"]["idmap"]["enabled"], bool)


@pytest.mark.parametrize("words", [("-no-subreaper",), ("--no-subreaper",), ("-no-pivot=false",)])
@pytest.mark.differs(crun="argp takes a single dash for letters")
def test_a_long_option_with_one_dash(runtime: Runtime, bundle: Bundle, words: tuple[str, ...]) -> None:
    assert runtime.run(bundle.script("echo ran"), *words).out == "ran\n"


# -- moby and podman: exit statuses out of the runtime's words -------------------------------------------


def docker_status(text: str) -> int:
    """moby 20.10 and newer."""
    text = text.lower()
    if re.search("executable file not found|no such file or directory|system cannot find the file specified", text):
        return 127
    return 126 if re.search("permission denied|not a directory", text) else 125


def podman_status(text: str) -> int:
    if re.search("(?i)permission denied|operation not permitted", text):
        return 126
    return 127 if re.search("(?i)executable file not found in|no such file or directory|open executable", text) else 125


@pytest.mark.parametrize(("args", "status"), [(MISSING, 127), (["/no"], 127), (FORBIDDEN, 126), (DIRECTORY, 126)])
@pytest.mark.differs(crun="crun's words are read elsewhere")
def test_exit_status_from_the_words(runtime: Runtime, bundle: Bundle, args: list[str], status: int) -> None:
    created = runtime.fails("create", "--bundle", str(bundle.args(*args).save().path), bundle.id)
    assert docker_status(created.err) == podman_status(created.err) == status
    runtime.launch(bundle.script("sleep 1000"))
    executed = runtime.fails("exec", bundle.id, *args, code=255)
    assert docker_status(executed.err) == podman_status(executed.err) == status
    runtime.stop(bundle)


@pytest.mark.differs(crun="other words")
def test_a_file_mounted_on_a_directory(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, host_unchanged: Callable
) -> None:
    """moby adds its hint to an error with these words in it."""
    (tmp_path / "file").write_text("x")
    bundle.bind(tmp_path / "file", "/etc").save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    assert "not a directory" in result.err
    assert "error mounting" in result.err


def test_podman_reads_one_object(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "oci-log"
    bundle.args(*MISSING).save()
    flags = ["create", "--bundle", str(bundle.path), "--pid-file", str(tmp_path / "pid"), bundle.id]
    assert runtime.call(*flags, options=("--log-format=json", f"--log={log}")).code == 1
    assert json.loads(log.read_text())["level"] == "error"


def test_a_kill_that_comes_too_late(runtime: Runtime, bundle: Bundle) -> None:
    """cri-o and containerd look for these words, in lower case."""
    runtime.launch(bundle.script("exit 0"))
    runtime.wait(bundle)
    for words in (("kill", bundle.id, "TERM"), ("kill", bundle.id, "9")):
        assert re.search("no such process|container not running|invalid process", runtime.call(*words).err.lower())
    runtime.ok("delete", bundle.id)
    assert "does not exist" in runtime.call("state", bundle.id).err


@pytest.mark.differs(crun="argp's words, and a missing value is that of an option it does not know")
def test_checkpoint_probes(runtime: Runtime) -> None:
    """podman asks `checkpoint --help` for its status, and `restore --lsm-mount-context` for its words."""
    for verb in ("checkpoint", "restore"):
        assert "--image-path" in runtime.ok(verb, "--help").out
    assert "flag needs an argument" in runtime.fails("restore", "--lsm-mount-context").err


# -- conmon ------------------------------------------------------------------------------------------


@pytest.mark.differs(crun="other words")
def test_conmon_takes_a_missing_pid_file_for_failure(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    spec, pid_file = tmp_path / "process.json", tmp_path / "pid"
    spec.write_text(json.dumps({**bundle.process, "args": MISSING}))
    words = ["exec", "--pid-file", str(pid_file), "--process", str(spec), "--detach", bundle.id]
    assert "executable file not found in $PATH" in runtime.fails(*words, code=255).err
    assert not pid_file.exists()
    spec.write_text(json.dumps({**bundle.process, "args": ["/bin/true"]}))
    runtime.ok(*words)
    assert wait_for(int(pid_file.read_bytes())) == 0
    runtime.stop(bundle)


def test_conmon_pipes_do_not_reach_the_container(runtime: Runtime, bundle: Bundle) -> None:
    reading, writing = os.pipe()
    names = ("_OCI_SYNCPIPE", "_OCI_STARTPIPE", "_OCI_ATTACHPIPE")
    env = os.environ | {name: str(writing) for name in names}
    bundle.script("ls /proc/self/fd; env").save()
    result = runtime.call("run", "--bundle", str(bundle.path), bundle.id, env=env, pass_fds=(writing,))
    os.close(reading)
    os.close(writing)
    assert result.code == 0, result
    numbers = {line for line in result.out.splitlines() if line.isdecimal()}
    assert numbers <= {"0", "1", "2", "3"}  # 3 is ls's own
    assert "_OCI_" not in result.out


# -- sd_notify ---------------------------------------------------------------------------------------


class Caller:
    """systemd, or podman --sdnotify=container: a socket at which somebody waits for READY=1."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.settimeout(BOUND)
        self.env = os.environ | {"NOTIFY_SOCKET": self.address}

    def receive(self) -> tuple[bytes, bool]:
        """A message, and whether a descriptor came with it, which is closed: the barrier of sd_notify(3)."""
        data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(4))
        fds = array.array("i")
        for _, _, raw in ancillary:
            fds.frombytes(raw)
        for fd in fds:
            os.close(fd)
        return data, bool(fds)

    def take_ready(self, runtime: Runtime) -> None:
        """READY=1, and what follows: runc says MAINPID in a message of its own, and has no barrier in 1.1."""
        assert b"READY=1" in self.receive()[0]
        assert self.receive()[0].startswith(b"BARRIER=1" if runtime.name == "ocirt" else b"MAINPID=")

    def close(self) -> None:
        self.socket.close()
        os.unlink(self.address)


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    caller = Caller(tmp_path / "caller.sock")
    yield caller
    caller.close()


@pytest.mark.differs(crun="another directory")
@pytest.mark.parametrize("verb", ["start", "run"])
def test_notify_ready_is_handed_on(runtime: Runtime, bundle: Bundle, caller: Caller, verb: str) -> None:
    (bundle.root / "run").mkdir()
    bundle.script("echo $NOTIFY_SOCKET; /bin/probe notify READY=1; exec sleep 1000")
    started: list[Result] = []
    if verb == "start":
        output = runtime.create(bundle, env=caller.env)
        work = threading.Thread(target=lambda: started.append(runtime.ok("start", bundle.id, env=caller.env)))
    else:
        work = threading.Thread(target=lambda: started.append(runtime.run_detached(bundle, env=caller.env)))
    work.start()
    messages = []
    while not any(b"MAINPID=" in data for data, _ in messages):
        messages.append(caller.receive())
    if runtime.name == "ocirt":  # runc 1.1 does not wait for its caller
        assert caller.receive() == (b"BARRIER=1", True)
    work.join(BOUND)
    assert not work.is_alive()
    bundle.pid = runtime.pid(bundle)
    text = b"\n".join(data for data, _ in messages).decode()
    assert "READY=1" in text
    assert f"MAINPID={bundle.pid}" in text
    assert (output if verb == "start" else started[0]).out == "/run/notify/notify.sock\n"
    runtime.stop(bundle)


@pytest.mark.only_ocirt("runc 1.1 looks at the first message only")
def test_what_is_not_ready_is_not_handed_on(runtime: Runtime, bundle: Bundle, caller: Caller) -> None:
    (bundle.root / "run").mkdir()
    bundle.script("/bin/probe notify STATUS=soon 'STATUS=now\nREADY=1'; exec sleep 1000").save()
    bundle.process["args"][2] = bundle.process["args"][2].replace("\\n", "\n")
    runtime.create(bundle, env=caller.env)
    start = subprocess.Popen(runtime.arguments("start", bundle.id), env=caller.env)
    assert caller.receive() == (f"READY=1\nMAINPID={bundle.pid}\n".encode(), False)
    assert caller.receive() == (b"BARRIER=1", True)
    assert start.wait(BOUND) == 0
    runtime.stop(bundle)


@pytest.mark.differs(crun="another directory")
def test_start_waits_until_ready(runtime: Runtime, bundle: Bundle, caller: Caller) -> None:
    (bundle.root / "run").mkdir()
    runtime.create(
        bundle.script("until [ -e /tmp/go ]; do sleep 0.05; done; /bin/probe notify READY=1"), env=caller.env
    )
    start = subprocess.Popen(runtime.arguments("start", bundle.id), env=caller.env)
    poll(lambda: runtime.status(bundle) == "running", "running")
    assert start.poll() is None
    assert not select.select([caller.socket], [], [], 0)[0]
    (bundle.root / "tmp/go").touch()
    caller.take_ready(runtime)
    assert start.wait(BOUND) == 0
    runtime.wait(bundle)
    runtime.ok("delete", bundle.id)


@pytest.mark.differs(runc="1.1 waits for a zombie for ever", crun="another directory")
def test_start_does_not_wait_for_the_dead(runtime: Runtime, bundle: Bundle, caller: Caller) -> None:
    (bundle.root / "run").mkdir()
    runtime.create(bundle.script("exit 3"), env=caller.env)
    runtime.ok("start", bundle.id, env=caller.env)
    assert runtime.wait(bundle) == 3
    assert not select.select([caller.socket], [], [], 0)[0]
    runtime.ok("delete", bundle.id)


@pytest.mark.differs(crun="another directory")
def test_notify_in_the_foreground(runtime: Runtime, bundle: Bundle, caller: Caller) -> None:
    (bundle.root / "run").mkdir()
    bundle.script("/bin/probe notify READY=1; until [ -e /tmp/go ]; do sleep 0.05; done; exit 5").save()
    run = subprocess.Popen(runtime.arguments("run", "--bundle", str(bundle.path), bundle.id), env=caller.env)
    caller.take_ready(runtime)
    (bundle.root / "tmp/go").touch()
    assert run.wait(BOUND) == 5


@pytest.mark.differs(runc="1.1 waits for a zombie for ever", crun="another directory")
def test_the_container_cannot_change_its_notify_directory(runtime: Runtime, bundle: Bundle, caller: Caller) -> None:
    (bundle.root / "run").mkdir()
    bundle.script("touch /run/notify/x 2>/dev/null || echo refused; grep ' /run/notify ' /proc/mounts")
    created = runtime.create(bundle, env=caller.env)
    runtime.ok("start", bundle.id, env=caller.env)
    runtime.wait(bundle)
    refused, mounted = created.out.splitlines()
    assert refused == "refused"
    assert set(mounted.split()[3].split(",")) >= {"ro", "nosuid", "nodev", "noexec"}
    runtime.ok("delete", bundle.id)


@pytest.mark.differs(crun="another directory")
def test_notify_in_a_user_namespace(runtime: Runtime, bundle: Bundle, caller: Caller) -> None:
    """The state directory is root's, and init cannot walk to it."""
    bundle.user_namespace(host=100000)
    (bundle.root / "run/notify").mkdir(parents=True)
    bundle.script("/bin/probe notify READY=1; exec sleep 1000")
    runtime.create(bundle, env=caller.env)
    start = subprocess.Popen(runtime.arguments("start", bundle.id), env=caller.env)
    caller.take_ready(runtime)
    assert start.wait(BOUND) == 0
    runtime.stop(bundle)


def test_without_the_variable_nothing_is_mounted(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.inside(bundle, "ls /run 2>/dev/null; echo ${NOTIFY_SOCKET:-none}") == "none\n"


# -- podman --cgroups=disabled -----------------------------------------------------------------------


@pytest.mark.differs(runc="has no --cgroup-manager")
def test_no_cgroup_of_its_own(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.script("sleep 1000").save()
    pid_file = bundle.path / "init.pid"
    words = ["create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), bundle.id]
    runtime.ok(*words, options=("--cgroup-manager", "disabled"))
    bundle.pid = int(pid_file.read_bytes())
    runtime.start(bundle)
    assert Path(f"/proc/{bundle.pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    assert runtime.sh(bundle, "echo exec") == "exec\n"
    runtime.stop(bundle)
