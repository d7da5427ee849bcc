"""SCMP_ACT_NOTIFY: the listener comes to the agent, the agent's answers to the container, and nothing hangs."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.seccomp.architectures import ABIS
from tests.support.agent import Agent
from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll, wait_for

GETCWD, MKDIR, EXECVE, CLOSE, SETGROUPS = 79, 83, 59, 3, 116  # of x86_64

Start = Callable[..., Agent]


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[Start]:
    started: list[Agent] = []

    def start(takes: str = "everything", answers: dict[int, Any] | None = None) -> Agent:
        started.append(Agent(tmp_path, takes, **{str(number): answer for number, answer in (answers or {}).items()}))
        return started[-1]

    yield start
    for agent in started:
        agent.close()


def notify(bundle: Bundle, agent: Agent | Path, *names: str, no_new_privileges: bool = True, **more: Any) -> Bundle:
    rule = {"names": list(names), "action": "SCMP_ACT_NOTIFY"}
    path = agent.path if isinstance(agent, Agent) else agent
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "listenerPath": str(path),
        "syscalls": [rule],
        **more,
    }
    bundle.process["noNewPrivileges"] = no_new_privileges
    return bundle


both = pytest.mark.parametrize("no_new_privileges", [True, False])


@both
@pytest.mark.parametrize("how", ["run", "run detached", "create and start"])
def test_agent_answers(
    runtime: Runtime, bundle: Bundle, start_agent: Start, tmp_path: Path, no_new_privileges: bool, how: str
) -> None:
    agent = start_agent(answers={MKDIR: "mkdir", GETCWD: "getcwd"})
    notify(bundle, agent, "mkdir", "getcwd", no_new_privileges=no_new_privileges)
    bundle.script("pwd -P; mkdir /made && ls -d /made*")
    if how == "run":
        result = runtime.run(bundle)
    else:
        result = runtime.run_detached(bundle) if how == "run detached" else runtime.launch(bundle)
        assert runtime.wait(bundle) == 0
    assert result.out.split() == ["/the/agent/says", "/made-agent"]
    assert set(agent.calls) == {MKDIR, GETCWD}


@pytest.mark.differs(crun="another ociVersion")
@both
def test_container_process_state(runtime: Runtime, bundle: Bundle, start_agent: Start, no_new_privileges: bool) -> None:
    """Of init as it is created or started, of exec's process beside init's."""
    agent = start_agent()
    bundle.config["annotations"] = {"org.example.key": "value"}
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges, listenerMetadata="MKDIR=yes")
    runtime.launch(bundle.args("/bin/probe", "pause"))
    pid_file = bundle.path / "exec.pid"
    runtime.ok("exec", "--pid-file", str(pid_file), bundle.id, "/bin/true")
    first, second = poll(lambda: len(agent.received) == 2 and agent.received, "two states")
    version = runtime.state(bundle)["ociVersion"]
    state = {"ociVersion": version, "id": bundle.id, "bundle": str(bundle.path), "pid": bundle.pid}
    state["annotations"] = {"org.example.key": "value"}
    # Our filter with noNewPrivileges is loaded by `start`.
    status = "created" if no_new_privileges and runtime.name == "ocirt" else "creating"
    common = {"ociVersion": "1.3.0" if runtime.name == "ocirt" else version, "fds": ["seccompFd"]}
    common |= {"metadata": "MKDIR=yes", "kinds": ["anon_inode:seccomp notify"]}
    assert first == {**common, "pid": bundle.pid, "state": {**state, "status": status}}
    assert second == {**common, "pid": int(pid_file.read_text()), "state": {**state, "status": "running"}}
    poll(lambda: agent.ends == ["", ""], "the end of both connections, with nothing more")
    runtime.stop(bundle)


@both
@pytest.mark.parametrize("detach", [True, False])
def test_exec(
    runtime: Runtime, bundle: Bundle, start_agent: Start, tmp_path: Path, no_new_privileges: bool, detach: bool
) -> None:
    agent = start_agent(answers={MKDIR: "mkdir"})
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges)
    runtime.launch(bundle.args("/bin/probe", "pause"))
    assert agent.calls == []
    pid_file = bundle.path / "exec.pid"
    runtime.ok("exec", *["--detach"] * detach, "--pid-file", str(pid_file), bundle.id, "/bin/mkdir", "/made")
    if detach:
        assert wait_for(int(pid_file.read_text())) == 0
    assert (bundle.root / "made-agent").is_dir()
    assert not (bundle.root / "made").exists()
    assert len(agent.received) == 2
    runtime.stop(bundle)


@both
def test_program_with_another_user(
    runtime: Runtime, bundle: Bundle, start_agent: Start, no_new_privileges: bool
) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    agent = start_agent(answers={MKDIR: errno.ENOSPC})
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges)
    assert "No space left" in runtime.inside(bundle, "mkdir /tmp/x 2>&1 || true")
    assert agent.received[0]["state"]["id"] == bundle.id


@pytest.mark.parametrize("kind", ["user", "pid"])
@both
def test_namespaces_change_nothing(
    runtime: Runtime,
    bundle: Bundle,
    new_bundle: Callable[[], Bundle],
    start_agent: Start,
    no_new_privileges: bool,
    kind: str,
) -> None:
    """A user namespace, and one that the joiner enters; the agent is told the pid that the runtime sees."""
    owner = new_bundle()
    if kind == "user":
        bundle.user_namespace()
    else:
        runtime.launch(owner.args("/bin/probe", "pause"))
        bundle.namespace("pid", f"/proc/{owner.pid}/ns/pid")
    agent = start_agent(answers={MKDIR: errno.ENOSPC})
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges)
    bundle.script("mkdir /x 2>/tmp/said; sleep 100")
    runtime.launch(bundle)
    said = bundle.root / "tmp/said"
    poll(lambda: said.exists() and "No space left" in said.read_text(), "the agent's answer")
    assert agent.received[0]["pid"] == bundle.pid
    runtime.stop(bundle)
    if kind == "pid":
        runtime.stop(owner)


@pytest.mark.only_ocirt("runc and crun make calls of their own before the agent has the listener")
@both
def test_every_call_but_write_is_notified_about(
    runtime: Runtime, bundle: Bundle, start_agent: Start, no_new_privileges: bool
) -> None:
    """The hand-over itself must not be in need of an answer."""
    agent = start_agent()
    names = sorted(set(ABIS["SCMP_ARCH_X86_64"].numbers()) - {"write"})
    notify(bundle, agent, *names, no_new_privileges=no_new_privileges)
    bundle.args("/bin/busybox", "echo", "through")
    runtime.launch(bundle.args("/bin/sh", "-c", "echo through; exec /bin/probe pause"))
    assert EXECVE in agent.calls
    assert runtime.ok("exec", bundle.id, "/bin/echo", "through too").out == "through too\n"
    runtime.stop(bundle)


@both
def test_hooks_before_the_program(
    runtime: Runtime, bundle: Bundle, start_agent: Start, no_new_privileges: bool
) -> None:
    """startContainer hooks have the filter where it is loaded before them: without noNewPrivileges."""
    agent = start_agent(answers={MKDIR: errno.ENOSPC})
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges)
    bundle.hook("startContainer", "/bin/sh", "-c", "mkdir /of-hook 2>/tmp/said || true")
    assert "No space left" in runtime.inside(bundle, "mkdir /x 2>&1 || true")
    filtered = not no_new_privileges or runtime.name != "ocirt"
    assert (bundle.root / "of-hook").is_dir() != filtered
    assert agent.calls == [MKDIR] * (1 + filtered)


@pytest.mark.differs(crun="connects whatever the rules")
def test_listener_without_a_rule_that_notifies(runtime: Runtime, bundle: Bundle) -> None:
    notify(bundle, Path("/nonesuch/agent.sock"), "mkdir", syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}])
    assert "not permitted" in runtime.inside(bundle, "mkdir /x 2>&1 || true")


@pytest.mark.only_ocirt("one of the flags is newer than these")
@both
def test_wait_killable(runtime: Runtime, bundle: Bundle, start_agent: Start, no_new_privileges: bool) -> None:
    agent = start_agent(answers={MKDIR: errno.ENOSPC})
    flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges, flags=flags)
    assert "No space left" in runtime.inside(bundle, "mkdir /x 2>&1 || true")


@pytest.mark.only_ocirt("relative to the bundle: to runc and crun, to wherever they are called")
def test_relative_path(runtime: Runtime, bundle: Bundle, start_agent: Start) -> None:
    agent = start_agent(answers={MKDIR: errno.ENOSPC})
    notify(bundle, Path(os.path.relpath(agent.path, bundle.path)), "mkdir")
    assert "No space left" in runtime.inside(bundle, "mkdir /x 2>&1 || true")


# When the agent is not what it should be.


def refused(runtime: Runtime, bundle: Bundle, verb: str, says: str) -> None:
    """The command that needs the agent says so; a container whose start failed has ended, and can be deleted."""
    bundle.save()
    if verb == "start":
        runtime.create(bundle)
        result = runtime.fails("start", bundle.id, says=says)
        runtime.wait(bundle)
        assert runtime.status(bundle) == "stopped"
        runtime.ok("delete", bundle.id)
    else:
        result = runtime.fails(verb, "--bundle", str(bundle.path), bundle.id, says=says)
    if runtime.name == "ocirt":
        assert "[/linux/seccomp/listenerPath]" in result.last_line
    assert not (bundle.root / "ran").exists()


# Whether the filter is loaded before init gives its privileges away, and the commands that then need the agent.
VERBS = [(True, "start"), (True, "run"), (False, "create"), (False, "run")]


@pytest.mark.differs(runc="loads every filter at create", crun="loads every filter at create")
@pytest.mark.parametrize(("no_new_privileges", "verb"), VERBS)
@pytest.mark.parametrize("what", ["no socket", "nobody listens"])
def test_agent_is_not_there(
    runtime: Runtime,
    bundle: Bundle,
    start_agent: Start,
    host_unchanged: Callable,
    tmp_path: Path,
    no_new_privileges: bool,
    verb: str,
    what: str,
) -> None:
    path = tmp_path / "nonesuch.sock"
    if what == "nobody listens":
        agent = start_agent()
        path = agent.path
        agent.kill()
    notify(bundle, path, "mkdir", no_new_privileges=no_new_privileges).args("/bin/touch", "/ran")
    says = "no such file or directory" if what == "no socket" else "connection refused"
    with host_unchanged():
        refused(runtime, bundle, verb, f"failed to connect with seccomp agent at {path}: {says}")


WAITS = [
    # takes, notified about, no_new_privileges, verb
    ("nothing", "mkdir", True, "start"),
    ("descriptors", "execve", True, "start"),
    ("descriptors", "setgroups", False, "create"),
]


@pytest.mark.only_ocirt("runc and crun wait for ever")
@pytest.mark.parametrize(("takes", "call", "no_new_privileges", "verb"), WAITS)
def test_agent_that_lets_init_wait(
    runtime: Runtime,
    bundle: Bundle,
    start_agent: Start,
    host_unchanged: Callable,
    takes: str,
    call: str,
    no_new_privileges: bool,
    verb: str,
) -> None:
    """It does not accept the connection, or never answers: the wait has an end."""
    does_not = "read" if takes == "nothing" else "answer"
    with host_unchanged():
        agent = start_agent(takes)
        notify(bundle, agent, call, no_new_privileges=no_new_privileges).args("/bin/touch", "/ran")
        refused(runtime, bundle, verb, f"the seccomp agent at {agent.path} does not {does_not}: waited 10 s")
        agent.close()  # a listener keeps the credentials of the process whose filter it is, and so its keyring


@pytest.mark.only_ocirt("runc and crun wait for ever")
def test_start_that_waits_for_an_answer(runtime: Runtime, bundle: Bundle, start_agent: Start) -> None:
    """Where the filter was loaded by create."""
    notify(bundle, start_agent("descriptors"), "execve", no_new_privileges=False).args("/bin/touch", "/ran")
    runtime.create(bundle)
    runtime.fails("start", bundle.id, says="does not answer: waited 10 s")
    assert runtime.wait(bundle) == 128 + signal.SIGKILL
    assert not (bundle.root / "ran").exists()


@both
@pytest.mark.only_ocirt("crun's and runc's exec succeed, or wait for ever")
def test_exec_without_an_agent(
    runtime: Runtime, bundle: Bundle, start_agent: Start, host_unchanged: Callable, no_new_privileges: bool
) -> None:
    agent = start_agent()
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges)
    runtime.launch(bundle.args("/bin/probe", "pause"))
    agent.kill()
    with host_unchanged():
        result = runtime.fails("exec", bundle.id, "/bin/touch", "/ran", code=255, says="connection refused")
    assert "[/linux/seccomp/listenerPath]" in result.last_line
    assert not (bundle.root / "ran").exists()
    assert runtime.status(bundle) == "running"
    runtime.stop(bundle)


@both
@pytest.mark.parametrize("takes", ["descriptors", "connections"])
def test_agent_that_never_reads(
    runtime: Runtime, bundle: Bundle, start_agent: Start, no_new_privileges: bool, takes: str
) -> None:
    """The program waits, for that is what it asked for; the container can be killed and deleted."""
    agent = start_agent(takes)
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges)
    runtime.launch(bundle.script("touch /before; mkdir /x; touch /after"))
    poll((bundle.root / "before").exists, "the program")
    poll(lambda: waits_in(bundle.pid, MKDIR), "the call that waits")
    assert runtime.status(bundle) == "running"
    runtime.stop(bundle)
    assert not (bundle.root / "after").exists()


def waits_in(pid: int, call: int) -> bool:
    """Whether the process, or the child that a shell makes, is in this system call (proc_pid_syscall(5))."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(Path(f"/proc/{one}/syscall").read_text().startswith(f"{call} ") for one in (pid, *children))


@both
def test_agent_that_is_killed(runtime: Runtime, bundle: Bundle, start_agent: Start, no_new_privileges: bool) -> None:
    """What waits for it, and every later call, fails with ENOSYS."""
    agent = start_agent(answers={MKDIR: None})
    notify(bundle, agent, "mkdir", no_new_privileges=no_new_privileges)
    result = runtime.launch(bundle.script("mkdir /x 2>&1; mkdir /y 2>&1; exec /bin/probe pause"))
    poll(lambda: agent.calls, "the call that waits")
    agent.kill()
    poll(lambda: result.out.count("Function not implemented") == 2, "both errors")
    runtime.stop(bundle)


@pytest.mark.differs(runc="its init waits for ever: it has a listener of its own", crun="likewise")
@both
def test_agent_that_is_killed_before_start(
    runtime: Runtime, bundle: Bundle, start_agent: Start, no_new_privileges: bool
) -> None:
    """init, which has no listener of its own left, does not wait for it."""
    agent = start_agent()
    notify(bundle, agent, "execve", no_new_privileges=no_new_privileges)
    runtime.create(bundle.script("true"))
    agent.kill()
    says = "connection refused" if no_new_privileges else "function not implemented"
    runtime.fails("start", bundle.id, says=says)
    runtime.wait(bundle)


@pytest.mark.only_ocirt("1.0.2: checked when it happens, if at all")
@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"listenerPath": ""}, "/linux/seccomp/syscalls/0/action"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "/linux/seccomp/defaultAction"),
        ({"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}, "/linux/seccomp/syscalls/0/names"),
    ],
)
def test_bad_profile(runtime: Runtime, bundle: Bundle, change: dict[str, Any], at: str) -> None:
    notify(bundle, Path("/nonesuch.sock"), "mkdir", **change).save()
    result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    assert f"[{at}]" in result.last_line
