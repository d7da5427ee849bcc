"""Hooks: when, where, with what on standard input, and what a failure does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

AT_CREATE = ["prestart", "createRuntime", "createContainer"]
ALL = [*AT_CREATE, "startContainer", "poststart", "poststop"]


@pytest.fixture
def hooks(bundle: Bundle) -> Bundle:
    """A bundle whose directory is also mounted at its own path inside, so that one script serves both sides."""
    script = bundle.path / "hook"
    log = bundle.path / "log"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {log}\n'
        f"cat > {bundle.path}/stdin-$1\n"
        f"for kind in mnt pid net uts ipc; do readlink /proc/self/ns/$kind; done > {bundle.path}/namespaces-$1\n"
        f"cat /proc/self/environ > {bundle.path}/env-$1\n"
        f"pwd > {bundle.path}/cwd-$1\n"
    )
    script.chmod(0o755)
    log.touch()
    bundle.bind(bundle.path, str(bundle.path), "rbind")
    return bundle


def log(bundle: Bundle) -> list[str]:
    return (bundle.path / "log").read_text().split()


@pytest.mark.differs(runc="before 1.5 poststart came at the end of create")
def test_order_and_time(runtime: Runtime, hooks: Bundle) -> None:
    script = hooks.path / "hook"
    for kind in reversed(ALL):
        hooks.hook(kind, script, f"{kind}-1").hook(kind, script, f"{kind}-2")
    runtime.create(hooks.script(f"echo payload >> {hooks.path}/log"))
    created = [f"{kind}-{number}" for kind in AT_CREATE for number in (1, 2)]
    assert log(hooks) == created
    runtime.start(hooks)
    runtime.wait(hooks)
    started = log(hooks)[len(created) :]
    assert started[:2] == ["startContainer-1", "startContainer-2"]
    assert [name for name in started[2:] if name != "payload"] == ["poststart-1", "poststart-2"]
    assert "payload" in started[2:]
    runtime.ok("delete", hooks.id)
    assert log(hooks)[-2:] == ["poststop-1", "poststop-2"]
    assert len(log(hooks)) == 13


def test_run_runs_them_all(runtime: Runtime, hooks: Bundle) -> None:
    for kind in ALL:
        hooks.hook(kind, hooks.path / "hook", kind)
    assert runtime.inside(hooks, "sleep 0.2; echo out") == "out\n"
    assert sorted(log(hooks)) == sorted(ALL)
    assert log(hooks)[-1] == "poststop"


def test_state_on_standard_input(runtime: Runtime, hooks: Bundle) -> None:
    hooks.config["annotations"] = {"key": "value"}
    for kind in ALL:
        hooks.hook(kind, hooks.path / "hook", kind)
    runtime.launch(hooks.args("/bin/probe", "pause"))
    runtime.stop(hooks)
    statuses = {
        "prestart": "created" if runtime.name == "ocirt" else "creating",  # the suite's hooks_stdin wants created
        "createRuntime": "creating",
        "createContainer": "creating",
        "startContainer": "created",
        "poststart": "running",
        "poststop": "stopped",
    }
    for kind, status in statuses.items():
        state = json.loads((hooks.path / f"stdin-{kind}").read_text())
        if runtime.name != "crun" and (runtime.name, kind) != ("runc", "poststart"):  # 1.1: it came too early
            assert state["status"] == status, kind
        assert state["id"] == hooks.id
        assert state["bundle"] == str(hooks.path)
        assert state["annotations"] == {"key": "value"}
        assert state["ociVersion"]
        if kind in ("prestart", "createRuntime", "poststart"):
            assert state["pid"] == hooks.pid, kind
        if kind == "poststop" and runtime.name != "crun":
            assert "pid" not in state


@pytest.mark.differs(runc="1.1 has the pid of its own namespace", crun="likewise")
def test_pid_in_the_containers_hooks(runtime: Runtime, hooks: Bundle) -> None:
    for kind in ("createContainer", "startContainer"):
        hooks.hook(kind, hooks.path / "hook", kind)
    runtime.launch(hooks.args("/bin/probe", "pause"))
    for kind in ("createContainer", "startContainer"):
        assert json.loads((hooks.path / f"stdin-{kind}").read_text())["pid"] in (hooks.pid, 1)
    runtime.stop(hooks)


def test_namespaces_they_run_in(runtime: Runtime, hooks: Bundle) -> None:
    for kind in ALL:
        hooks.hook(kind, hooks.path / "hook", kind)
    runtime.launch(hooks.args("/bin/probe", "pause"))
    container = [os.readlink(f"/proc/{hooks.pid}/ns/{name}") for name in ("mnt", "pid", "net", "uts", "ipc")]
    runtime.stop(hooks)
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "uts", "ipc")]
    for kind in ALL:
        seen = (hooks.path / f"namespaces-{kind}").read_text().split()
        if runtime.name == "crun":
            seen, host, container = seen[1:], host[1:], container[1:]  # the wrapper has a mount namespace of its own
        if kind in ("createContainer", "startContainer"):
            assert seen == container, kind
        else:
            assert seen == host, kind
        if runtime.name == "crun":
            break


def test_root_they_see(runtime: Runtime, bundle: Bundle) -> None:
    """createContainer still has the host's paths, startContainer the container's."""
    script = bundle.path / "look"
    script.write_text(f"#!/bin/sh\nls / > {bundle.path}/seen\n")
    script.chmod(0o755)
    bundle.hook("createContainer", script)
    inside = bundle.root / "look"
    inside.write_text("#!/bin/sh\nls / > /seen\n")
    inside.chmod(0o755)
    bundle.hook("startContainer", "/look")
    runtime.launch(bundle.args("/bin/probe", "pause"))
    runtime.stop(bundle)
    assert sorted((bundle.path / "seen").read_text().split()) == sorted(
        name for name in os.listdir("/") if not name.startswith(".")
    )
    assert "look" in (bundle.root / "seen").read_text().split()


@pytest.mark.differs(crun="the runtime's environment", runc="PATH and the like for startContainer")
def test_environment_is_the_hooks(runtime: Runtime, hooks: Bundle) -> None:
    """Byte for byte: Python adds LC_CTYPE to its own environment."""
    hooks.process["env"] = ["PATH=/bin", "SECRET=of-the-payload"]
    for kind in ALL:
        hooks.hook(kind, hooks.path / "hook", kind, env=["PATH=/bin:/usr/bin", f"KIND={kind}"])
    runtime.launch(hooks.args("/bin/probe", "pause"), env={**os.environ, "LEAK": "x"})
    runtime.stop(hooks)
    for kind in ALL:
        variables = (hooks.path / f"env-{kind}").read_bytes()
        names = {entry.split(b"=")[0] for entry in variables.split(b"\0") if entry}
        assert f"KIND={kind}\0".encode() in variables, kind
        assert names - {b"PWD", b"OLDPWD", b"SHLVL", b"_"} == {b"PATH", b"KIND"}, kind


@pytest.mark.differs(crun="the runtime's environment", runc="1.1: the runtime's environment")
def test_environment_is_empty_by_default(runtime: Runtime, bundle: Bundle) -> None:
    """By dd: a shell would make an environment of its own."""
    for kind in ("createRuntime", "poststop"):
        bundle.hook(kind, "/bin/busybox")
        bundle.config["hooks"][kind][0]["args"] = ["dd", "if=/proc/self/environ", f"of={bundle.path}/env-{kind}"]
    runtime.inside(bundle, "true")
    for kind in ("createRuntime", "poststop"):
        assert (bundle.path / f"env-{kind}").read_bytes() == b""


def test_arguments_are_verbatim(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("createRuntime", "/bin/busybox")
    script = f"/bin/busybox cat /proc/$$/cmdline > {bundle.path}/args; :"
    bundle.config["hooks"]["createRuntime"][0]["args"] = ["sh", "-c", script, "", "last one"]
    runtime.inside(bundle, "true")
    assert (bundle.path / "args").read_text().split("\0") == ["sh", "-c", script, "", "last one", ""]


def test_signals_are_at_their_defaults(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("createRuntime", "/bin/busybox")
    bundle.config["hooks"]["createRuntime"][0]["args"] = ["dd", "if=/proc/self/status", f"of={bundle.path}/status"]
    runtime.inside(bundle, "true")
    status = (bundle.path / "status").read_text()
    fields = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    internal = 1 << 31 | 1 << 32  # glibc's posix_spawn(3) ignores its own two, 32 and 33, for the child
    assert (int(fields["SigIgn"], 16) & ~internal, int(fields["SigBlk"], 16)) == (0, 0)


def test_descriptors_of_hooks(runtime: Runtime, bundle: Bundle) -> None:
    """A hook gets three: nothing of the runtime's, nothing of its caller's."""
    kinds = ("createRuntime", "poststart", "poststop")
    script = bundle.path / "fds"
    script.write_text(f"#!/bin/sh\nexec ls /proc/self/fd > {bundle.path}/fds-$1\n")
    script.chmod(0o755)
    for kind in kinds:
        bundle.hook(kind, script, kind, env=["PATH=/bin:/usr/bin"])
    leak = "\n".join(f"exec {number}</" for number in range(3, 9))
    caller = runtime.after(leak) if runtime.name == "ocirt" else runtime  # runc and crun hand the caller's on
    caller.inside(bundle, "sleep 0.1")
    for kind in kinds:
        assert (bundle.path / f"fds-{kind}").read_text().split() == ["0", "1", "2", "3"], kind  # 3: what ls reads


# --- failures


def failing(bundle: Bundle, kind: str) -> Bundle:
    script = bundle.path / "fail"
    script.write_text("#!/bin/sh\necho said-by-the-hook >&2\nexit 3\n")
    script.chmod(0o755)
    (bundle.root / "fail").write_bytes(script.read_bytes())
    (bundle.root / "fail").chmod(0o755)
    return bundle.hook(kind, "/fail" if kind == "startContainer" else script)


@pytest.mark.parametrize("kind", AT_CREATE)
def test_failure_at_create(runtime: Runtime, hooks: Bundle, kind: str, host_unchanged: Callable) -> None:
    failing(hooks, kind)
    hooks.hook(kind, hooks.path / "hook", "never").hook("poststop", hooks.path / "hook", "poststop")
    hooks.script("true").save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(hooks.path), hooks.id)
    if runtime.name != "crun":
        assert f"error running {'hook' if runtime.name == 'runc' else kind + ' hook'} #0" in result.last_line
        assert "exit status 3" in result.last_line
    assert "never" not in log(hooks)
    runtime.fails("state", hooks.id, says="container does not exist")
    if runtime.name == "ocirt":
        assert log(hooks) == ["poststop"]


def test_failure_at_start(runtime: Runtime, hooks: Bundle) -> None:
    failing(hooks, "startContainer")
    runtime.create(hooks.script(f"echo payload >> {hooks.path}/log"))
    result = runtime.call("start", hooks.id)
    if runtime.name == "ocirt":
        assert result.code == 1
        assert "error running startContainer hook #0" in result.last_line
    runtime.call("delete", "--force", hooks.id)
    assert "payload" not in log(hooks)


@pytest.mark.only_ocirt("before 1.3.0 of the specification it was a warning")
def test_failure_after_start(runtime: Runtime, hooks: Bundle) -> None:
    failing(hooks, "poststart")
    hooks.hook("poststop", hooks.path / "hook", "poststop")
    runtime.create(hooks.args("/bin/probe", "pause"))
    runtime.fails("start", hooks.id, says="error running poststart hook #0")
    assert runtime.wait(hooks) == 137
    runtime.call("delete", "--force", hooks.id)
    assert log(hooks) == ["poststop"]


def test_failure_after_delete_is_a_warning(runtime: Runtime, hooks: Bundle) -> None:
    failing(hooks, "poststop").hook("poststop", hooks.path / "hook", "second")
    runtime.launch(hooks.script("exit 0"))
    runtime.wait(hooks)
    result = runtime.call("delete", hooks.id)
    if runtime.name == "ocirt":
        assert result.code == 0
        assert "level=warning" in result.err
        assert log(hooks) == ["second"]
    runtime.fails("state", hooks.id, says="container does not exist")


def test_failing_program(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.hook("createRuntime", "/no/such/hook").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="no such file or directory")


def test_timeout(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    script = bundle.path / "slow"
    script.write_text("#!/bin/sh\nexec sleep 1000\n")
    script.chmod(0o755)
    bundle.hook("createRuntime", script, timeout=1).save()
    begun = time.monotonic()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="hook ran past specified timeout of 1.0s")
    assert 0.9 < time.monotonic() - begun < 6


@pytest.mark.only_ocirt("others do not check")
@pytest.mark.parametrize("hook", [{"path": "relative"}, {"path": "/bin/true", "timeout": 0}, {}])
def test_bad_hook(runtime: Runtime, bundle: Bundle, hook: dict, host_unchanged: Callable) -> None:
    bundle.config["hooks"] = {"createRuntime": [hook]}
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="[/hooks/createRuntime/0")


def test_hooks_see_the_cgroup(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Engines' hooks look the container's cgroup up by the pid they are given."""
    script = bundle.path / "look"
    script.write_text(
        f"#!/bin/sh\npid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\n/bin/cat /proc/$pid/cgroup > {tmp_path}/cgroup\n"
    )
    script.chmod(0o755)
    bundle.hook("createRuntime", script, env=["PATH=/bin:/usr/bin"])
    runtime.inside(bundle, "true")
    assert f"/{bundle.id}\n" in (tmp_path / "cgroup").read_text()
