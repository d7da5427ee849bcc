"""exec: every property of the process that it starts, given by --process or taken from the container."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import ConsoleSocket, Runtime, read_until, wait_for

TWO_CPUS = {0, 1} <= os.sched_getaffinity(0)


@pytest.fixture
def running(runtime: Runtime, bundle: Bundle) -> Iterator[Bundle]:
    runtime.launch(bundle.args("/bin/probe", "pause"))
    yield bundle
    runtime.stop(bundle)


def probe(runtime: Runtime, bundle: Bundle, **process: Any) -> dict[str, Any]:
    """What the process sees of itself."""
    path = bundle.process_file("process.json", **{"args": ["/bin/probe"], **process})
    return json.loads(runtime.ok("exec", "--process", str(path), bundle.id).out)  # type: ignore[no-any-return]


def out(runtime: Runtime, bundle: Bundle, script: str, **process: Any) -> str:
    path = bundle.process_file("process.json", args=["/bin/sh", "-c", script], **process)
    return runtime.ok("exec", "--process", str(path), bundle.id).out


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.scheduler")
@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        ({"policy": "SCHED_OTHER", "nice": 5}, {"policy": 0, "nice": 5}),
        ({"policy": "SCHED_OTHER", "nice": -5}, {"policy": 0, "nice": -5}),
        ({"policy": "SCHED_BATCH", "nice": 3}, {"policy": 3, "nice": 3}),
        ({"policy": "SCHED_IDLE"}, {"policy": 5}),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 20000000, "period": 20000000},
            {"policy": 6, "runtime": 1000000, "deadline": 20000000, "period": 20000000},
        ),
    ],
    ids=lambda value: value.get("policy", "") if isinstance(value, dict) and "policy" in value else None,
)
def test_scheduler(runtime: Runtime, running: Bundle, setting: dict, seen: dict) -> None:
    scheduler = probe(runtime, running, scheduler=setting)["scheduler"]
    assert {name: scheduler[name] for name in seen} == seen


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.scheduler")
def test_scheduler_and_io_priority_of_the_configuration(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    runtime.launch(bundle.args("/bin/probe", "pause"))
    seen = json.loads(runtime.ok("exec", bundle.id, "/bin/probe").out)
    assert (seen["scheduler"]["policy"], seen["scheduler"]["nice"], seen["ioprio"]) == (3, 7, 2 << 13 | 6)
    runtime.stop(bundle)


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.ioPriority")
def test_io_priority(runtime: Runtime, running: Bundle) -> None:
    assert probe(runtime, running, ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0})["ioprio"] == 3 << 13


@pytest.mark.differs(runc="1.1 knows no linux.personality")
def test_personality_is_the_containers(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["personality"] = {"domain": "LINUX32"}
    runtime.launch(bundle.args("/bin/probe", "pause"))
    assert json.loads(runtime.ok("exec", bundle.id, "/bin/probe").out)["personality"] == 8
    assert probe(runtime, bundle)["personality"] == 8
    runtime.stop(bundle)


@pytest.mark.differs(crun="1.8 takes none of the configuration's")
def test_rlimits(runtime: Runtime, bundle: Bundle) -> None:
    """The configuration's, or those of --process and no others."""
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    runtime.launch(bundle.args("/bin/probe", "pause"))
    ask = "ulimit -Sn; ulimit -Hn; ulimit -c"
    assert runtime.sh(bundle, ask).split()[:2] == ["100", "200"]
    seen = out(runtime, bundle, ask, rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]).split()
    assert seen[2] == "0"
    assert seen[1] != "200"
    runtime.stop(bundle)


# --- CPU affinity


def cpus(runtime: Runtime, bundle: Bundle, prelude: str = "", **process: Any) -> str:
    """Of a process that --process starts."""
    arguments = ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]
    path = bundle.process_file("process.json", args=arguments, **process)
    caller = runtime.after(prelude) if prelude else runtime
    return caller.ok("exec", "--process", str(path), bundle.id).out.split()[1]


@pytest.mark.skipif(not TWO_CPUS, reason="needs the first two CPUs")
@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no execCPUAffinity, and leave the caller's")
@pytest.mark.parametrize(
    ("affinity", "allowed"),
    [
        (None, "0-1"),  # whatever the caller is bound to
        ({"initial": "1"}, "1"),
        ({"final": "1"}, "1"),
        ({"initial": "0", "final": "1"}, "1"),
        ({"initial": "1", "final": "0-1"}, "0-1"),
    ],
)
def test_affinity(runtime: Runtime, running: Bundle, affinity: dict | None, allowed: str) -> None:
    more = {"execCPUAffinity": affinity} if affinity else {}
    assert cpus(runtime, running, "taskset -pc 0 $$ > /dev/null", **more) == allowed


@pytest.mark.skipif(not TWO_CPUS, reason="needs the first two CPUs")
@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no execCPUAffinity")
def test_affinity_and_the_containers_cpuset(runtime: Runtime, bundle: Bundle) -> None:
    """initial is for outside of the cpuset; there the cpuset decides, and final is an error when it has no such CPU."""
    bundle.resources(cpu={"cpus": "1"})
    runtime.launch(bundle.args("/bin/probe", "pause"))
    assert cpus(runtime, bundle) == "1"
    assert cpus(runtime, bundle, execCPUAffinity={"initial": "0"}) == "1"
    path = bundle.process_file("process.json", args=["/bin/true"], execCPUAffinity={"initial": "1", "final": "0"})
    result = runtime.fails("exec", "--process", str(path), bundle.id, code=255, says="[/execCPUAffinity/final]")
    assert "run on CPUs [0]" in result.last_line
    runtime.stop(bundle)


# --- user and environment


def test_user_with_groups_and_umask(runtime: Runtime, running: Bundle) -> None:
    user = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6]}
    assert out(runtime, running, "id -u; id -g; id -G; umask", user=user).split("\n")[:4] == [
        "1000",
        "1001",
        "1001 5 6",
        "0022",
    ]


@pytest.mark.differs(runc="1.1 has 0022 at exec", crun="1.8 has 0022 at exec")
def test_umask(runtime: Runtime, running: Bundle) -> None:
    assert out(runtime, running, "umask", user={"uid": 0, "gid": 0, "umask": 0o077}) == "0077\n"


def test_capabilities_and_no_new_privileges(runtime: Runtime, running: Bundle) -> None:
    names = ["CAP_KILL", "CAP_CHOWN"]
    sets = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), names)
    ask = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status"
    seen = out(runtime, running, ask, capabilities=sets, noNewPrivileges=True, user={"uid": 1000, "gid": 1000})
    fields = dict(line.split(":\t") for line in seen.splitlines())
    assert {fields.pop(f"Cap{name}") for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {f"{1 << 5 | 1:016x}"}
    assert fields == {"NoNewPrivs": "1"}


def test_the_last_of_equal_variables_counts_and_home_is_filled_in(runtime: Runtime, running: Bundle) -> None:
    user = {"uid": 1000, "gid": 1000}
    ask = "echo $A $HOME"
    assert out(runtime, running, ask, env=["PATH=/bin", "A=1", "A=2"], user=user) == "2 /home/user\n"
    assert out(runtime, running, ask, env=["PATH=/bin", "A=1", "HOME=/x"], user=user) == "1 /x\n"


@pytest.mark.differs(crun="takes them, as sd_listen_fds(3) has it")
def test_listen_fds_are_for_the_container(runtime: Runtime, running: Bundle, tmp_path: Path) -> None:
    """Socket activation is of create and run; as in runc, exec has --preserve-fds."""
    caller = runtime.after(f"exec 3<{tmp_path}\nexport LISTEN_FDS=1 LISTEN_PID=$$")
    seen = caller.ok("exec", running.id, "/bin/sh", "-c", "env; /bin/probe").out
    assert "LISTEN" not in seen
    assert json.loads(seen.rpartition("\n{")[2].join(("{", "")))["fds"] == [0, 1, 2]


@pytest.mark.differs(runc="1.1 says so at create only", crun="passes none")
def test_preserved_descriptor_is_not_open(runtime: Runtime, running: Bundle) -> None:
    runtime.fails(
        "exec", "--preserve-fds", "1", running.id, "true", code=255, says="unable to stat preserved-fd 0 (of 1)"
    )


# --- terminal


@pytest.mark.differs(crun="1.8 leaves it at 0")
def test_console_size(runtime: Runtime, running: Bundle, tmp_path: Path) -> None:
    console = ConsoleSocket(tmp_path / "console")
    path = running.process_file(
        "process.json",
        args=["/bin/sh", "-c", "stty size; read line"],
        terminal=True,
        consoleSize={"height": 31, "width": 97},
    )
    pid_file = tmp_path / "pid"
    options = ("--process", str(path), "--detach", "--console-socket", str(console.path), "--pid-file", str(pid_file))
    runtime.ok("exec", *options, running.id)
    _, master = console.receive()
    assert b"31 97" in read_until(master, b"97")
    os.write(master, b"\n")
    assert wait_for(int(pid_file.read_text())) == 0
    os.close(master)
    console.close()


# --- who it is


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 have no such option")
def test_pidfd_sockets(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """The descriptor is of that very process, and with it comes which kind it is."""
    path = tmp_path / "pidfd"
    seen = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(2)
        listener.settimeout(10)
        runtime.create(bundle.args("/bin/probe", "pause"), "--pidfd-socket", str(path))
        runtime.start(bundle)
        pid_file = tmp_path / "exec.pid"
        options = ("--pidfd-socket", str(path), "--detach", "--pid-file", str(pid_file))
        runtime.ok("exec", *options, bundle.id, "sleep", "1000")
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                payload, fds, _, _ = socket.recv_fds(connection, 64, 1)
            lines = Path(f"/proc/self/fdinfo/{fds[0]}").read_text().splitlines()
            os.close(fds[0])
            seen.append((payload, next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))))
    assert seen == [(b"standard", bundle.pid), (b"setns", int(pid_file.read_text()))]
    runtime.ok("kill", bundle.id, "KILL")
    wait_for(seen[1][1])
    runtime.wait(bundle)
    runtime.ok("delete", bundle.id)


# --- a container that is paused or not yet started


@pytest.mark.differs(crun="1.8 has no such option")
def test_ignore_paused(runtime: Runtime, running: Bundle, tmp_path: Path) -> None:
    """The process waits with the others until the container is resumed."""
    runtime.ok("pause", running.id)
    with (tmp_path / "out").open("wb") as file:
        words = runtime.arguments("exec", "--ignore-paused", running.id, "echo", "resumed")
        executing = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file)
    with pytest.raises(subprocess.TimeoutExpired):
        executing.wait(0.5)
    assert (tmp_path / "out").read_text() == ""
    runtime.ok("resume", running.id)
    assert executing.wait(10) == 0
    assert (tmp_path / "out").read_text() == "resumed\n"


# --- --cgroup, controllers of v1


def places(runtime: Runtime, bundle: Bundle, *options: str) -> dict[str, str]:
    """controllers -> cgroup below the container's."""
    seen = runtime.ok("exec", *options, bundle.id, "cat", "/proc/self/cgroup").out
    return {line.split(":")[1]: line.split(":")[2].rpartition(bundle.id)[2] for line in seen.splitlines()}


@pytest.mark.differs(crun="wants a v2 cgroup")
@pytest.mark.cgroup_v1("chooses controllers")
@pytest.mark.parametrize(
    ("options", "below"),
    [
        (["pids:sub"], {"pids": "/sub"}),
        (["pids,freezer:sub", "memory:/sub/"], {"pids": "/sub", "freezer": "/sub", "memory": "/sub"}),
        (["name=systemd:sub"], {"name=systemd": "/sub"}),
    ],
)
def test_sub_cgroups(
    runtime: Runtime, running: Bundle, place: Place, options: list[str], below: dict[str, str]
) -> None:
    for controller in below:
        (place.cgroup(controller) / running.id / "sub").mkdir()
    seen = places(runtime, running, *(f"--cgroup={option}" for option in options))
    assert {controller: path for controller, path in seen.items() if path} == below
    assert seen["cpu"] == ""


@pytest.mark.differs(crun="other words", runc="1.1 has no name for an empty one")
@pytest.mark.cgroup_v1("chooses controllers")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["nonesuch:sub"], "unknown controller nonesuch in --cgroup"),
        (["pids:../.."], "bad sub cgroup path: .. leads out of the container's cgroup"),
        (["pids:a", "pids:b"], "invalid --cgroup argument(s): controller pids specified multiple times"),
        (["a", "pids:b"], "invalid --cgroup argument: a (missing <controller>: prefix)"),
        ([":a"], "invalid --cgroup argument: :a (empty <controller> prefix)"),
        (["pids:nonesuch"], "no such file or directory"),
    ],
)
def test_bad_sub_cgroups(runtime: Runtime, running: Bundle, options: list[str], says: str) -> None:
    runtime.fails("exec", *(f"--cgroup={option}" for option in options), running.id, "true", code=255, says=says)
