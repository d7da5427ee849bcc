"""create: everything but the payload; and every reason to refuse."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime


def test_payload_waits_for_start(runtime: Runtime, bundle: Bundle) -> None:
    created = runtime.create(bundle.script("echo ran > /ran; echo out"))
    assert runtime.status(bundle) == "created"
    assert not (bundle.root / "ran").exists()
    assert created.out == ""
    runtime.start(bundle)
    assert runtime.wait(bundle) == 0
    assert (bundle.root / "ran").read_text() == "ran\n"
    assert created.out == "out\n"
    runtime.ok("delete", bundle.id)


def test_pid_file_has_no_newline(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """go-runc gives the raw bytes to strconv.Atoi."""
    runtime.create(bundle, "--pid-file", str(tmp_path / "pid"))
    assert (tmp_path / "pid").read_bytes() == str(runtime.pid(bundle)).encode()
    assert [name for name in os.listdir(tmp_path) if "pid" in name] == ["pid"]
    runtime.stop(bundle)


@pytest.mark.differs(crun="relative to the bundle")
def test_pid_file_is_relative_to_the_callers_directory(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.create(bundle, "--pid-file", "here.pid", cwd=tmp_path)
    assert (tmp_path / "here.pid").read_text() == str(runtime.pid(bundle))
    runtime.stop(bundle)


def test_no_pid_file_on_failure(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.args("/none").save()
    runtime.fails("create", "--pid-file", str(tmp_path / "pid"), "--bundle", str(bundle.path), bundle.id)
    assert not (tmp_path / "pid").exists()


def test_bundle_is_the_callers_directory_by_default(runtime: Runtime, bundle: Bundle) -> None:
    bundle.save()
    runtime.ok("create", bundle.id, cwd=bundle.path)
    assert runtime.state(bundle)["bundle"] == str(bundle.path)
    runtime.stop(bundle)


@pytest.mark.parametrize(
    "form",
    [
        lambda b: ["-b", str(b.path), b.id],
        lambda b: [f"--bundle={b.path}", b.id],
        lambda b: ["-bundle", str(b.path), b.id],
        lambda b: ["--no-pivot=false", "--bundle", str(b.path), b.id],
    ],
    ids=["short", "equals", "one dash", "false"],
)
@pytest.mark.differs(crun="argp takes no long option with one dash, and no value for a switch")
def test_option_forms(runtime: Runtime, bundle: Bundle, form: Callable[[Bundle], list[str]]) -> None:
    bundle.save()
    runtime.ok("create", *form(bundle))
    assert runtime.state(bundle)["bundle"] == str(bundle.path)
    runtime.stop(bundle)


def test_changes_of_config_after_create_have_no_effect(runtime: Runtime, bundle: Bundle) -> None:
    created = runtime.create(bundle.script("echo first"))
    bundle.script("echo second").save()
    runtime.start(bundle)
    assert runtime.wait(bundle) == 0
    assert created.out == "first\n"
    runtime.ok("delete", bundle.id)


def test_config_may_vanish_after_create(runtime: Runtime, bundle: Bundle) -> None:
    created = runtime.create(bundle.script("echo first"))
    (bundle.path / "config.json").unlink()
    runtime.start(bundle)
    assert runtime.wait(bundle) == 0
    assert created.out == "first\n"
    runtime.ok("delete", bundle.id)


def test_id_can_be_used_again(runtime: Runtime, bundle: Bundle) -> None:
    for _ in range(2):
        runtime.create(bundle)
        runtime.ok("delete", bundle.id)


def test_duplicate_id(runtime: Runtime, bundle: Bundle, new_bundle: Callable[[], Bundle]) -> None:
    runtime.create(bundle)
    pid = runtime.pid(bundle)
    other = new_bundle().save()
    runtime.fails("create", "--bundle", str(other.path), bundle.id, says="container with given ID already exists")
    assert (runtime.pid(bundle), runtime.status(bundle)) == (pid, "created")
    runtime.stop(bundle)


@pytest.mark.parametrize("bad", ["", "a/b", "..", ".", "a b", "ä", "a\nb", "a:b"])
@pytest.mark.differs(crun="takes almost any ID", runc="1.1 takes '.' and gives the empty ID another text")
def test_bad_ids(runtime: Runtime, bundle: Bundle, bad: str, host_unchanged: Callable) -> None:
    bundle.save()
    text = "invalid container ID format" if bad else "container id cannot be empty"
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bad, says=text)


def test_good_ids(runtime: Runtime, bundle: Bundle) -> None:
    bundle.id += "_a+b-c.D9"
    runtime.create(bundle)
    assert runtime.state(bundle)["id"] == bundle.id
    runtime.stop(bundle)


@pytest.mark.parametrize("args", [(), ("one", "two")])
@pytest.mark.differs(crun="argp's words and code")
def test_number_of_arguments(runtime: Runtime, args: tuple[str, ...]) -> None:
    result = runtime.fails("create", *args, says='"create" requires exactly 1 argument(s)')
    assert result.out.startswith("Incorrect Usage.\n")


def test_no_config(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    with host_unchanged():
        runtime.fails(
            "create", "--bundle", str(bundle.path), bundle.id, says="JSON specification file config.json not found"
        )


def test_no_bundle(runtime: Runtime, tmp_path: Path, bundle: Bundle, host_unchanged: Callable) -> None:
    with host_unchanged():
        runtime.fails("create", "--bundle", str(tmp_path / "none"), bundle.id, says="no such file or directory")


def test_no_root(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.config["root"]["path"] = "none"
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="no such file or directory")


def test_root_may_be_absolute(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = str(bundle.root)
    assert runtime.inside(bundle, "ls -d /var/empty") == "/var/empty\n"


def test_root_may_be_the_bundle_itself(runtime: Runtime, bundle: Bundle) -> None:
    """As the runtime-tools suite has it."""
    for entry in bundle.root.iterdir():
        entry.rename(bundle.path / entry.name)
    bundle.config["root"]["path"] = "."
    assert runtime.inside(bundle, "ls /config.json") == "/config.json\n"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["no-such-program"], 'exec: "no-such-program": executable file not found in $PATH'),
        (["/no/such"], 'exec: "/no/such": stat /no/such: no such file or directory'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
        (["/etc"], 'exec: "/etc": is a directory'),
        (["passwd"], 'exec: "passwd": executable file not found in $PATH'),
    ],
    ids=["not in PATH", "absolute", "no x bit", "directory", "PATH has it without x"],
)
@pytest.mark.differs(crun="other words")
def test_executable_is_looked_up_at_create(
    runtime: Runtime, bundle: Bundle, args: list[str], text: str, host_unchanged: Callable
) -> None:
    if args == ["/etc"] and runtime.name == "runc":
        text = 'exec: "/etc": permission denied'  # "is a directory" came with Go 1.20
    bundle.process["env"] = ["PATH=/bin:/etc"]
    bundle.args(*args).save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says=text)


def test_path_is_the_containers(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.root / "opt").mkdir()
    script = bundle.root / "opt/here"
    script.write_text("#!/bin/sh\necho found in opt\n")
    script.chmod(0o755)
    bundle.process["env"] = ["PATH=/none:/opt:/bin"]
    assert runtime.run(bundle.args("here")).out == "found in opt\n"


def test_executable_with_a_slash_is_relative_to_cwd(runtime: Runtime, bundle: Bundle) -> None:
    script = bundle.root / "home/user/here"
    script.write_text("#!/bin/sh\necho found in cwd\n")
    script.chmod(0o755)
    bundle.process["cwd"] = "/home/user"
    assert runtime.run(bundle.args("./here")).out == "found in cwd\n"


def test_argv0_is_verbatim(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = ["PATH=/bin"]
    assert runtime.run(bundle.args("busybox", "cat", "/proc/self/cmdline")).out == "busybox\0cat\0/proc/self/cmdline\0"


def test_state_directory(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle)
    assert (runtime.root / bundle.id).stat().st_mode & 0o777 == (0o700 if runtime.name == "crun" else 0o711)
    runtime.stop(bundle)


@pytest.mark.differs(crun="other words", runc="is not told by a status but by opening the console")
@pytest.mark.parametrize("command", ["create"])
def test_terminal_needs_a_console_socket(
    runtime: Runtime, bundle: Bundle, command: str, host_unchanged: Callable
) -> None:
    bundle.process["terminal"] = True
    bundle.save()
    with host_unchanged():
        runtime.fails(
            command,
            "--bundle",
            str(bundle.path),
            bundle.id,
            says=f"cannot allocate tty if {runtime.name} will detach without setting console socket",
        )


@pytest.mark.differs(crun="ignores the socket")
def test_console_socket_needs_a_terminal(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, host_unchanged: Callable
) -> None:
    bundle.save()
    with host_unchanged():
        runtime.fails(
            "create",
            "--console-socket",
            str(tmp_path / "none"),
            "--bundle",
            str(bundle.path),
            bundle.id,
            says=f"cannot use console socket if {runtime.name} will not detach or allocate tty",
        )


def test_unknown_properties_and_annotations_are_accepted(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.example.key": "value", "other": ""}
    bundle.config["org.example.unknown"] = {"a": [1, 2.5, None]}
    bundle.process["unknown"] = 1
    bundle.linux["unknown"] = []
    assert runtime.inside(bundle, "echo ok") == "ok\n"


def test_killing_a_created_container_ends_it(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.script("echo ran > /ran"))
    runtime.ok("kill", bundle.id, "KILL")
    assert runtime.wait(bundle) == 137
    assert runtime.status(bundle) == "stopped"
    assert not (bundle.root / "ran").exists()
    runtime.fails("start", bundle.id, says="cannot start a container that has stopped")
    runtime.ok("delete", bundle.id)


@pytest.mark.only_ocirt("the specification's words; others refuse at create")
def test_without_process_create_succeeds_and_start_fails(runtime: Runtime, bundle: Bundle) -> None:
    del bundle.config["process"]
    runtime.create(bundle)
    assert runtime.status(bundle) == "created"
    runtime.fails("start", bundle.id, says="process")
    runtime.ok("delete", "--force", bundle.id)


@pytest.mark.only_ocirt("runc 1.1 does not validate it")
@pytest.mark.parametrize("version", ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "abc"])
def test_invalid_version(runtime: Runtime, bundle: Bundle, version: str) -> None:
    bundle.config["ociVersion"] = version
    bundle.save()
    runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="[/ociVersion]")


def test_state_is_json_of_the_specification(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"k": "v"}
    runtime.create(bundle)
    state = json.loads(runtime.ok("state", bundle.id).out)
    assert (state["id"], state["status"], state["bundle"], state["annotations"]) == (
        bundle.id,
        "created",
        str(bundle.path),
        {"k": "v"},
    )
    assert os.path.exists(f"/proc/{state['pid']}")
    runtime.stop(bundle)
