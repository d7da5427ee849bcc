"""--seccomp-record and --seccomp-explain: what a container calls, and why a call of its is denied."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt.config import schema
from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll
from tests.support.user import User, UserRuntime

pytestmark = pytest.mark.only_ocirt("an option of its own")

DENIES = [
    {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
    {"names": ["rmdir"], "action": "SCMP_ACT_KILL_PROCESS"},
    {
        "names": ["chmod", "fchmodat"],
        "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}],
    },
]
both = pytest.mark.parametrize("no_new_privileges", [True, False])


def filtered(bundle: Bundle, *rules: dict[str, Any], no_new_privileges: bool = True, **more: Any) -> Bundle:
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **more}
    bundle.process["noNewPrivileges"] = no_new_privileges
    return bundle


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(profile: Path) -> list[str]:
    (rule,) = json.loads(profile.read_text())["syscalls"]
    return list(rule["names"])


def watchers() -> list[int]:
    """Processes of that name that still run, below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if (entry / "comm").read_text() == "ocirt:seccomp\n" and fields[0] != "Z" and int(fields[1]) == os.getpid():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def no_watcher() -> None:
    poll(lambda: not watchers(), "the watcher's end")


# Recording.


@both
def test_recorded_profile(runtime: Runtime, bundle: Bundle, tmp_path: Path, no_new_privileges: bool) -> None:
    """It is valid, sorted, lets the same program do the same, and denies it what it did not do."""
    profile = tmp_path / "profile.json"
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.linux.pop("seccomp", None)
    script = "mkdir /tmp/a; echo done"
    assert runtime.inside(bundle, script, "--seccomp-record", str(profile)) == "done\n"
    value = json.loads(profile.read_text())
    schema.validate(value, "seccomp")
    assert value == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": sorted(set(names(profile))), "action": "SCMP_ACT_ALLOW"}],
    }
    assert {"mkdir", "execve", "write", "exit_group"} <= set(names(profile))
    assert "rmdir" not in names(profile)
    assert "sendmsg" not in names(profile)  # by which init hands its listener over
    assert ("setresuid" in names(profile)) != no_new_privileges  # init's own, where the filter comes before them
    bundle.linux["seccomp"] = value
    (bundle.root / "tmp/a").rmdir()
    assert runtime.inside(bundle, script) == "done\n"
    denied = runtime.run(bundle.script("rmdir /tmp/a && echo done"))
    assert (denied.code, denied.out) == (1, "")
    assert "Operation not permitted" in denied.err


def test_a_second_run_adds_to_the_profile(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    bundle.process["noNewPrivileges"] = True
    runtime.inside(bundle, "mkdir /tmp/a", "--seccomp-record", str(profile))
    first = names(profile)
    runtime.inside(bundle, "rmdir /tmp/a", "--seccomp-record", str(profile))
    assert "rmdir" not in first
    assert names(profile) == sorted({*first, *names(profile), "rmdir"})


def test_debug_adds_nothing_that_hangs(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.process["noNewPrivileges"] = False
    bundle.script("echo through").save()
    arguments = ["run", "--bundle", str(bundle.path), "--seccomp-record", str(tmp_path / "p.json"), bundle.id]
    assert "through" in runtime.ok(*arguments, options=("--debug",)).out


def test_detached(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """The profile is there when the container has ended; the watcher holds nothing of the caller's open."""
    profile = tmp_path / "profile.json"
    bundle.process["noNewPrivileges"] = True
    runtime.run_detached(bundle.script("mkdir /tmp/a; exec /bin/probe pause"), "--seccomp-record", str(profile))
    (watcher,) = watchers()
    kinds = {os.readlink(f"/proc/{watcher}/fd/{fd}") for fd in os.listdir(f"/proc/{watcher}/fd")}
    assert {kind.partition(":")[0] for kind in kinds} == {"/dev/null", "anon_inode", "pipe"}
    assert os.getsid(watcher) == watcher
    assert not profile.exists()
    runtime.stop(bundle)
    poll(profile.exists, "the profile")
    assert "mkdir" in names(profile)
    no_watcher()


def test_container_that_never_starts(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    bundle.process["noNewPrivileges"] = True
    runtime.create(bundle.save(), "--seccomp-record", str(profile))
    assert len(watchers()) == 1
    runtime.ok("delete", "--force", bundle.id)
    no_watcher()
    assert not profile.exists()


@both
def test_failed_create_leaves_no_watcher(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, host_unchanged: Callable[[], Any], no_new_privileges: bool
) -> None:
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.args("/nonesuch").save()
    runtime.fails(
        "create", "--bundle", str(bundle.path), "--seccomp-explain", str(tmp_path / "why"), bundle.id, says="seccomp"
    )


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({"defaultAction": "SCMP_ACT_ALLOW"}, "no profile that was recorded"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": DENIES[:1]}, "no profile that was recorded"),
        ({"defaultAction": "SCMP_ACT_NONE"}, "[/defaultAction]"),
        ({"archMap": [], "defaultAction": "SCMP_ACT_ERRNO"}, "docker's own format"),
    ],
)
def test_other_profiles_are_not_added_to(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, what: dict[str, Any], says: str
) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(what))
    bundle.save()
    runtime.fails("run", "--bundle", str(bundle.path), "--seccomp-record", str(profile), bundle.id, says=says)
    assert json.loads(profile.read_text()) == what


def test_nowhere_to_write(runtime: Runtime, bundle: Bundle) -> None:
    bundle.save()
    runtime.fails(
        "run", "--bundle", str(bundle.path), "--seccomp-record", "/nonesuch/p.json", bundle.id, says="no such file"
    )


# Explaining.


@both
def test_explained_denials(runtime: Runtime, bundle: Bundle, tmp_path: Path, no_new_privileges: bool) -> None:
    """Each is denied as the rule has it, and told: by whom, with what, and by which rule."""
    why = tmp_path / "why.jsonl"
    filtered(bundle, *DENIES, no_new_privileges=no_new_privileges)
    script = "mkdir /tmp/a 2>&1; chmod 1 /tmp 2>&1; chmod 1777 /tmp; rmdir /tmp; echo $?"
    out = runtime.inside(bundle, script, "--seccomp-explain", str(why))
    assert [line.rpartition(": ")[2] for line in out.splitlines()] == [
        "No space left on device",
        "Operation not permitted",
        str(128 + signal.SIGSYS),
    ]
    told = lines(why)
    assert [(line["comm"], line["syscall"], line["action"], line.get("errno"), line["rule"]) for line in told] == [
        ("mkdir", "mkdir", "SCMP_ACT_ERRNO", 28, "/linux/seccomp/syscalls/0"),
        ("chmod", "chmod", "SCMP_ACT_ERRNO", 1, "/linux/seccomp/syscalls/2"),
        ("rmdir", "rmdir", "SCMP_ACT_KILL_PROCESS", None, "/linux/seccomp/syscalls/1"),
    ]
    assert told[1]["args"][1] == "0x1"
    assert told[0]["pid"] == told[0]["tid"] != told[1]["pid"]
    no_watcher()


def test_default_and_newer_calls(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    why = tmp_path / "why.jsonl"
    profile = tmp_path / "profile.json"
    bundle.process["noNewPrivileges"] = True
    runtime.inside(bundle, "/bin/true; echo hello", "--seccomp-record", str(profile))
    bundle.linux["seccomp"] = json.loads(profile.read_text())
    assert runtime.inside(bundle, "echo hello; mkdir /tmp/a || true", "--seccomp-explain", str(why)) == "hello\n"
    denied = {line["syscall"]: line for line in lines(why)}
    assert denied["mkdir"]["rule"] == "/linux/seccomp/defaultAction"
    assert denied["mkdir"]["errno"] == 1


def test_on_standard_error(runtime: Runtime, bundle: Bundle) -> None:
    filtered(bundle, *DENIES)
    result = runtime.run(bundle.script("mkdir /tmp/a 2>/dev/null; echo done"), "--seccomp-explain", "-")
    assert result.out == "done\n"
    assert json.loads(result.err)["syscall"] == "mkdir"


@pytest.mark.parametrize(("names", "code"), [(["chmod", "fchmodat"], 128 + signal.SIGKILL)])
def test_the_first_process_is_killed_too(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, names: list[str], code: int
) -> None:
    """Without the filter's right to do it by SIGSYS: the kernel spares the first process of a pid namespace."""
    filtered(bundle, {"names": names, "action": "SCMP_ACT_KILL"})
    result = runtime.run(bundle.args("/bin/chmod", "1777", "/tmp"), "--seccomp-explain", str(tmp_path / "why"))
    assert result.code == code
    assert lines(tmp_path / "why")[0]["action"] == "SCMP_ACT_KILL_THREAD"


def test_created_and_started(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    why = tmp_path / "why.jsonl"
    filtered(bundle, *DENIES)
    runtime.launch(bundle.script("mkdir /tmp/a; exec /bin/probe pause"), "--seccomp-explain", str(why))
    poll(why.read_text, "a line")
    assert lines(why)[0]["syscall"] == "mkdir"
    runtime.stop(bundle)
    no_watcher()


def test_set_up_that_the_profile_denies(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Without noNewPrivileges the filter is in force for a part of init's work: the lines say why that failed."""
    why = tmp_path / "why.jsonl"
    rule = {"names": ["setresuid"], "action": "SCMP_ACT_ERRNO"}
    filtered(bundle, rule, no_new_privileges=False)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.save()
    runtime.fails("create", "--bundle", str(bundle.path), "--seccomp-explain", str(why), bundle.id, says="identity")
    assert [(line["comm"], line["syscall"]) for line in lines(why)] == [("ocirt", "setresuid")]
    no_watcher()


def test_without_the_watcher_what_is_denied_stays_denied(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    filtered(bundle, *DENIES)
    bundle.mount("/go", "tmpfs", "tmpfs")
    script = "while ! [ -e /tmp/go ]; do :; done; mkdir /tmp/a 2>/tmp/said; exec /bin/probe pause"
    runtime.launch(bundle.script(script), "--seccomp-explain", str(tmp_path / "why"))
    (watcher,) = watchers()
    os.kill(watcher, signal.SIGKILL)
    os.waitpid(watcher, 0)
    (bundle.root / "tmp/go").touch()
    said = bundle.root / "tmp/said"
    poll(lambda: said.exists() and said.read_text(), "what mkdir says")
    assert "Function not implemented" in said.read_text()
    runtime.stop(bundle)


@pytest.mark.parametrize(
    ("options", "change", "says"),
    [
        (["--seccomp-explain", "why"], {}, "no seccomp profile whose denials could be explained [/linux/seccomp]"),
        (["--seccomp-record", "a", "--seccomp-explain", "b"], {}, "cannot be used with"),
        (
            ["--seccomp-record", "a"],
            {"listenerPath": "/x", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]},
            "[/linux/seccomp/listenerPath]",
        ),
        (["--detach", "--seccomp-explain", "-"], {"syscalls": DENIES}, "needs a run in the foreground"),
    ],
)
def test_refused(
    runtime: Runtime,
    bundle: Bundle,
    host_unchanged: Callable[[], Any],
    options: list[str],
    change: dict[str, Any],
    says: str,
) -> None:
    if change:
        bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", **change}
    bundle.save()
    runtime.fails("run", "--bundle", str(bundle.path), *options, bundle.id, says=says)
    assert not (bundle.path / "a").exists()


# Without root.


@both
def test_rootless(user: User, bundle: Bundle, tmp_path: Path, no_new_privileges: bool) -> None:
    runtime = UserRuntime(user.home, user)
    user.bundle(bundle)
    profile, why = user.home / "profile.json", user.home / "why"
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.linux.pop("seccomp", None)
    assert runtime.inside(bundle, "/bin/true; echo done", "--seccomp-record", str(profile)) == "done\n"
    assert "mkdir" not in names(profile)
    bundle.linux["seccomp"] = json.loads(profile.read_text())
    assert runtime.inside(bundle, "echo done; mkdir /tmp/a || true", "--seccomp-explain", str(why)) == "done\n"
    assert "mkdir" in {line["syscall"] for line in lines(why)}
