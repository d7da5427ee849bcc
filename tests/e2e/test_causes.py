"""Failures told with their cause: what is wrong, where in config.json, and what to do (docs/errors.md, Causes)."""

from __future__ import annotations

import json
import os
import platform
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.failures import FAILURES, Scene, line_of, normal, provoke
from tests.support.host import Place
from tests.support.runtime import CHECKOUT, Runtime
from tests.support.user import User, UserRuntime

pytestmark = pytest.mark.only_ocirt("docs/errors.md has what runc and crun say")

LINES = json.loads((CHECKOUT / "conformance/errors/lines.json").read_text())
ALL = {failure.__name__: failure for group in FAILURES.values() for failure in group}
OF_X86_64 = ("no_loader", "interpreter_without_loader", "wrong_machine")  # their texts name the machine
OF_CGROUP_V1 = ("cpus_that_are_not_there", "little_memory", "too_many_processes")

# Failure -> code, pointer, remedy.
EXPECTED = {
    "no_such_program": (
        "executable",
        "/process/args/0",
        "/opt/app is not there, /opt is: correct /process/args/0, or put the program there",
    ),
    "dangling_link": (
        "executable",
        "/process/args/0",
        "/bin/server is a link to /usr/lib/server/main: /usr/lib is not there, /usr is: correct /process/args/0,"
        " or put the program there",
    ),
    "not_in_path": (
        "executable",
        "/process/args/0",
        "server is not in /usr/local/bin, /bin: install it there, or correct PATH in process.env",
    ),
    "in_path_without_x": (
        "executable",
        "/process/args/0",
        "/bin/server has no x bit (mode 0644, of user 0 and group 0): chmod +x it",
    ),
    "no_x_bit": (
        "executable",
        "/process/args/0",
        "/app has no x bit (mode 0644, of user 0 and group 0): chmod +x it",
    ),
    "a_directory": (
        "executable",
        "/process/args/0",
        "/bin is of type directory: name a program in it",
    ),
    "a_file_on_the_way": (
        "executable",
        "/process/args/0",
        "/etc/passwd, on the way, is of type file: correct /process/args/0, or put the program there",
    ),
    "closed_directory": (
        "executable",
        "/process/args/0",
        "/root (mode 0700, of user 0 and group 0) does not let user 1000 pass: chmod +x it, or run as another user",
    ),
    "unmapped_owner": (
        "executable",
        "/process/args/0",
        "/app (mode 0700, of the unmapped user 5000 of the host and the unmapped group 5000 of the host) is not"
        " for user 0: chown it to ids that linux.uidMappings and gidMappings map, or map its own",
    ),
    "noexec_mount": (
        "executable",
        "/process/args/0",
        "/tools is mounted noexec, and /tools/app is on it: leave noexec out of its options",
    ),
    "script_without_interpreter": (
        "executable",
        "/process/args/0",
        "/app is a text without #! and an interpreter in its first line: add one, such as #!/bin/sh",
    ),
    "script_with_byte_order_mark": (
        "executable",
        "/process/args/0",
        "something stands before the #! of /app: #! must be its first two bytes (a byte order mark is three)",
    ),
    "script_with_cr": (
        "executable",
        "/process/args/0",
        "the first line of /app ends in CR LF, so that the CR belongs to the interpreter's name: write it with"
        " LF alone (sed -i 's/\\r$//')",
    ),
    "no_interpreter": (
        "executable",
        "/process/args/0",
        "/app needs the interpreter /usr/bin/python3: /usr/bin/python3 is not there, /usr/bin is: correct that"
        " line, or put it there",
    ),
    "no_loader": (
        "executable",
        "/process/args/0",
        "/app needs the loader /lib64/ld-linux-x86-64.so.2: /lib64 is not there: put the C library that it was"
        " linked with there, or link it statically",
    ),
    "interpreter_without_loader": (
        "executable",
        "/process/args/0",
        "/app needs the interpreter /bin/bash: /bin/bash needs the loader /lib64/ld-linux-x86-64.so.2: /lib64 is"
        " not there: put the C library that it was linked with there, or link it statically",
    ),
    "wrong_machine": (
        "executable",
        "/process/args/0",
        "/app is a program for 64-bit ARM, and this machine executes x86-64: use an image for it, or register an"
        " emulator (binfmt_misc, qemu-user-static)",
    ),
    "empty_program": (
        "executable",
        "/process/args/0",
        "/app is empty: its build or copy went wrong",
    ),
    "busy_program": (
        "executable",
        "/process/args/0",
        "somebody has the file open for writing: execute it when it is closed, and copy programs by writing a"
        " new file and renaming it (fuser -v names the process)",
    ),
    "file_capability": (
        "executable",
        "/process/args/0",
        "/app has the file capabilities CAP_NET_RAW, which process.capabilities.bounding lacks: add them there,"
        " or take them from the file (setcap -r)",
    ),
    "long_argument": (
        "executable",
        "/process/args/2",
        "it has 200000 bytes, the kernel takes 131071 for one: hand it over in a file",
    ),
    "exec_of_nothing": (
        "executable",
        "/args/0",
        "/usr/bin/bash is not there, /usr/bin is: correct /args/0, or put the program there",
    ),
    "directory_is_a_file": (
        "step-failed",
        "/process/cwd",
        "/etc/passwd is of type file: correct process.cwd",
    ),
    "no_root": (
        "step-failed",
        "/root/path",
        "/bundles/web1/root-fs is not there, /bundles/web1 is: correct root.path, which is relative to the bundle",
    ),
    "no_source": (
        "step-failed",
        "/mounts/6",
        "/bundles/web1/volumes/data is not there, /bundles/web1/volumes is: make it on the host, or correct the"
        " mount's source",
    ),
    "file_on_directory": (
        "step-failed",
        "/mounts/6",
        "/etc/app of the root file system is of type directory, and /bundles/web1/volumes/app.conf of the host"
        " is of type file: bind files on files and directories on directories",
    ),
    "directory_on_file": (
        "step-failed",
        "/mounts/6",
        "/etc/passwd of the root file system is of type file, and /bundles/web1/volumes of the host is of type"
        " directory: bind files on files and directories on directories",
    ),
    "file_system_on_file": (
        "step-failed",
        "/mounts/6",
        "/etc/passwd of the root file system is of type file, and a file system needs a directory: correct the"
        " mount's destination, or remove it from the image",
    ),
    "misspelt_type": (
        "step-failed",
        "/mounts/6",
        "this kernel does not know the file system tmfps: did you mean tmpfs?",
    ),
    "bind_as_type": (
        "step-failed",
        "/mounts/6",
        'bind is no file system: put "bind" or "rbind" among the mount\'s options',
    ),
    "wrong_option": (
        "step-failed",
        "/mounts/6",
        "the option sizze=64m is wrong (tmpfs: Unknown parameter 'sizze'): correct or remove it",
    ),
    "wrong_value": (
        "step-failed",
        "/mounts/6",
        "the option size=64meg is wrong (tmpfs: Bad value for 'size'): correct or remove it",
    ),
    "image_without_loop_device": (
        "step-failed",
        "/mounts/6",
        "/bundles/web1/volumes/disk.img is of type file, and the file system ext4 is on a disk: name a block"
        " device (losetup makes one of an image)",
    ),
    "overlay_without_lower": (
        "step-failed",
        "/mounts/6",
        "/bundles/web1/layers/base is not there, /bundles/web1/layers is: make it on the host, or correct the"
        " option lowerdir",
    ),
    "unmappable_source": (
        "unsupported",
        "/mounts/6",
        "/proc/sys is on proc, which cannot be id-mapped on this kernel, or something below it is mounted that"
        " cannot: use a source on ext4, xfs, btrfs or, since Linux 6.3, tmpfs, or idmap in place of ridmap",
    ),
    "no_network_namespaces": (
        "step-failed",
        "/linux/namespaces",
        "the sysctl user.max_net_namespaces is 0, so that no such namespace can be made: raise it",
    ),
    "unmapped_ids": (
        "step-failed",
        "/linux/uidMappings/1",
        "the ids 100000 to 165535 are not mapped where ocirt runs, which has 0 to 0: map ids of those",
    ),
    "joined_namespace_of_nobody": (
        "step-failed",
        "/linux/namespaces/4/path",
        "the process or file that held the namespace is gone: correct linux.namespaces[].path",
    ),
    "raised_limit": (
        "step-failed",
        "/process/rlimits/0",
        "ocirt runs under a hard limit of 4096, and raising it needs CAP_SYS_RESOURCE: lower"
        " process.rlimits[].hard to that, or raise ocirt's own (ulimit -H, LimitNOFILE= and its like)",
    ),
    "too_many_processes": (
        "step-failed",
        "",
        "pids.max of the cgroup /sys/fs/cgroup/pids/above/few is 20, which is reached: raise it",
    ),
    "no_process_for_a_hook": (
        "hook",
        "/hooks/startContainer/0",
        "the container has all the processes that linux.resources.pids.limit allows, 1: raise it",
    ),
    "used_up_keys": (
        "step-failed",
        "",
        "user 231072 of the host has 200 of 200 keys, no disk is full: raise the sysctl kernel.keys.maxkeys, or"
        " give --no-new-keyring",
    ),
    "little_memory": (
        "init-died",
        "/linux/resources/memory/limit",
        "raise linux.resources.memory.limit",
    ),
    "cpus_that_are_not_there": (
        "cgroup",
        "/linux/resources/cpu/cpus",
        "the cgroup above, /sys/fs/cgroup/cpuset/above, has 0-3: choose of these",
    ),
    "failing_hook": (
        "hook",
        "/hooks/createRuntime/0",
        "the hook itself fails: correct it, or its entry in hooks; its standard input is the container's state",
    ),
    "slow_hook": (
        "hook",
        "/hooks/createRuntime/0",
        "see what the hook waits for, or raise its timeout; its last output, if any, is in this line",
    ),
    "hook_without_x": (
        "hook",
        "/hooks/prestart/0",
        "/bundles/web1/network has no x bit (mode 0644, of user 0 and group 0): chmod +x it",
    ),
    "hook_without_interpreter": (
        "hook",
        "/hooks/startContainer/0",
        "/setup needs the interpreter /usr/bin/python3: /usr/bin/python3 is not there, /usr/bin is: correct that"
        " line, or put it there",
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_cause(runtime: Runtime, bundle: Bundle, place: Place, name: str, tmp_path: Path) -> None:
    if name in OF_X86_64 and platform.machine() != "x86_64":
        pytest.skip("the text is that of x86_64")
    if name in OF_CGROUP_V1 and not Path("/sys/fs/cgroup/cpuset").is_dir():
        pytest.skip("the text is that of cgroup v1")
    log = tmp_path / "log.json"
    result = provoke(ALL[name], runtime, bundle, place, "--log", str(log), "--log-format", "json")
    record = json.loads(log.read_text())
    told = (record["code"], record.get("pointer", ""), normal(record.get("remedy", ""), bundle, place))
    assert told == EXPECTED[name]
    assert result.code == (255 if name == "exec_of_nothing" else 1)
    assert normal(line_of(result), bundle, place) == LINES[name]["ocirt"], "docs/errors.md is old: make errors"


def test_every_failure_is_expected() -> None:
    assert sorted(EXPECTED) == sorted(ALL)


def refusal(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> dict[str, Any]:
    log = tmp_path / "log.json"
    result = runtime.run(bundle, options=("--log", str(log), "--log-format", "json"))
    assert result.code == 1, result
    return json.loads(log.read_text())  # type: ignore[no-any-return]


def test_start_tells_the_same_as_run_and_the_container_has_ended(
    runtime: Runtime, bundle: Bundle, place: Place
) -> None:
    """init waits for the end of the conversation, and with `start` it has ended."""
    Scene(bundle, place).program("/app", b"#!/usr/bin/python3\n")
    runtime.create(bundle)
    result = runtime.fails("start", bundle.id)
    assert result.last_line.endswith(" - " + EXPECTED["no_interpreter"][2])
    assert runtime.status(bundle) == "stopped"


def test_a_program_that_exec_found_in_path(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    """It was found: why it is not executed is another question than where it is."""
    Scene(bundle, place).program("/bin/app", b"#!/usr/bin/python3\n")
    runtime.run_detached(bundle.script("exec sleep 1000"))
    result = runtime.exec(bundle, "ID", "app")
    runtime.stop(bundle)
    assert result.last_line.endswith(
        "exec: exec /bin/app: no such file or directory [/args/0] - /bin/app needs the interpreter /usr/bin/python3:"
        " /usr/bin/python3 is not there, /usr/bin is: correct that line, or put it there"
    )


def test_a_user_other_than_root(tmp_path: Path, user: User, bundle: Bundle, place: Place) -> None:
    """init hides from its runtime there: its root directory comes out of its own hands."""
    runtime = UserRuntime(tmp_path, user)
    Scene(user.bundle(bundle), place).program("/app", b"#!/usr/bin/python3\n")
    assert runtime.run(bundle).last_line.endswith(" - " + EXPECTED["no_interpreter"][2])


@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_a_filter_that_forbids_to_stay(runtime: Runtime, bundle: Bundle, place: Place, default: str) -> None:
    """read(2) is refused, or the end of init: the error is told all the same."""
    Scene(bundle, place).program("/app", b"#!/usr/bin/python3\n")
    names = ["execve", "write", "exit_group", "exit", "close"]
    bundle.linux["seccomp"] = {
        "defaultAction": default,
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
    result = runtime.run(bundle)
    assert result.code == 1
    assert ": exec: exec /app: no such file or directory [/process/args/0] - " in result.last_line


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_nothing_of_the_image_is_opened(
    runtime: Runtime, bundle: Bundle, place: Place, kind: str, tmp_path: Path, host_unchanged: Callable
) -> None:
    """To open a FIFO would wait for a writer; a device may do anything."""
    path = bundle.root / "sh"
    if kind == "fifo":
        os.mkfifo(path, 0o755)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
        path.chmod(0o755)
    else:
        os.mknod(path, 0o755 | 0o020000, os.makedev(1, 3))
    Scene(bundle, place).program("/app", b"#!/sh\n")
    with host_unchanged():
        record = refusal(runtime, bundle, tmp_path)
    words = {"fifo": "FIFO", "socket": "socket", "device": "character device"}
    assert record["remedy"] == f"/app needs the interpreter /sh: /sh is of type {words[kind]}: name a program"


def test_links_of_the_image_lead_nowhere(
    runtime: Runtime, bundle: Bundle, place: Place, tmp_path: Path, host_unchanged: Callable
) -> None:
    """What the host has at the end of a link is not looked at."""
    secret = tmp_path / "secret"
    secret.write_text("#!/hidden\n")
    (bundle.root / "up").symlink_to(f"../../../../../../..{secret}")
    Scene(bundle, place).program("/app", b"#!/up\n")
    with host_unchanged():
        record = refusal(runtime, bundle, tmp_path)
    first = str(secret).split("/")[1]
    assert record["remedy"].startswith(
        f"/app needs the interpreter /up: /up is a link to ../../../../../../..{secret}: "
    )
    assert "hidden" not in record["msg"]
    assert f"/{first}" in record["remedy"]


def test_links_to_each_other(runtime: Runtime, bundle: Bundle, place: Place, tmp_path: Path) -> None:
    (bundle.root / "a").symlink_to("/b")
    (bundle.root / "b").symlink_to("/a")
    record = refusal(runtime, bundle.args("/a"), tmp_path)
    assert (record["code"], record["pointer"], record["errno"]) == ("executable", "/process/args/0", 40)
    assert record["remedy"] == (
        "/a is a link to /b: the links on the way lead to each other: correct /process/args/0, or put the program there"
    )


def test_names_of_the_image_are_cut(runtime: Runtime, bundle: Bundle, place: Place, tmp_path: Path) -> None:
    Scene(bundle, place).program("/app", b"#!/" + b"x" * 250 + b"\n")
    record = refusal(runtime, bundle, tmp_path)
    cut = "/" + "x" * 199 + "..."
    assert record["remedy"] == (
        f"/app needs the interpreter {cut}: {cut} is not there: correct that line, or put it there"
    )


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart"])
def test_hooks_of_the_host(runtime: Runtime, bundle: Bundle, kind: str, tmp_path: Path) -> None:
    record = refusal(runtime, bundle.script("sleep 1000").hook(kind, "/nonesuch/hook"), tmp_path)
    assert (record["code"], record["pointer"], record["remedy"]) == (
        "hook",
        f"/hooks/{kind}/0",
        f"/nonesuch is not there: correct /hooks/{kind}/0, or put the program there",
    )


def test_what_a_hook_was_called_with(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    record = refusal(runtime, bundle.hook("createRuntime", "/bin/false", "add", "web1"), tmp_path)
    assert record["detail"].startswith("/bin/false add web1, after 0.")
    assert record["detail"].endswith(" s")


def test_a_cgroup_of_somebody_else(tmp_path: Path, user: User, bundle: Bundle) -> None:
    """The directory that is not the user's, and whose it is."""
    runtime = UserRuntime(tmp_path, user)
    user.bundle(bundle).linux["cgroupsPath"] = "/nobodys/web1"
    line = runtime.run(bundle).last_line
    directory = line.partition(" [/linux/cgroupsPath] - ")[2].partition(" ")[0]
    mode = os.stat(directory).st_mode & 0o7777
    assert line.endswith(
        f" - {directory} belongs to user 0 (mode {mode:04o}): run as root, or have a cgroup delegated"
        " (systemd-run --user --scope -p Delegate=yes)"
    )
