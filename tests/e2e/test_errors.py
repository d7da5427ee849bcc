"""Errors: one complete last line, a JSON record for engines, never a traceback, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle, base_config
from tests.support.runtime import Runtime


def test_text_on_stderr(runtime: Runtime) -> None:
    result = runtime.fails("state", "none", says="container does not exist")
    assert len(result.err.splitlines()) == 1


def test_json_log(runtime: Runtime, tmp_path: Path) -> None:
    """containerd reads level, msg and time; podman reads the whole file as one object."""
    log = tmp_path / "log.json"
    result = runtime.fails("state", "none", options=("--log", str(log), "--log-format", "json"))
    record = json.loads(log.read_text())
    assert record["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["time"]) or runtime.name == "crun"
    if runtime.name == "crun":
        return
    assert "container does not exist" in record["msg"]
    assert result.err.strip() == record["msg"]
    if runtime.name == "runc":
        assert set(record) == {"level", "msg", "time"}
    else:
        assert record["code"] == "not-found"


def test_text_log(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    runtime.fails("state", "none", options=("--log", str(log)))
    if runtime.name != "crun":
        assert re.fullmatch(r'time="[^"]+" level=error msg=".*container does not exist.*"\n', log.read_text())


def test_log_is_appended_to(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    runtime.fails("state", "none", options=("--log", str(log)))
    assert log.read_text().startswith("before\n")
    assert len(log.read_text().splitlines()) == 2


def test_success_logs_nothing(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "log"
    bundle.save()
    result = runtime.ok("create", "--bundle", str(bundle.path), bundle.id, options=("--log", str(log)))
    assert (result.out, result.err) == ("", "")
    assert not log.exists() or log.read_text() == ""
    runtime.stop(bundle)


@pytest.mark.only_ocirt("the fields are ours")
def test_fields_of_a_failed_step(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    bundle.mount("/mnt", "nonesuchfs", "x").save()
    flags = ("--bundle", str(bundle.path), bundle.id)
    result = runtime.fails("create", *flags, options=("--log", str(log), "--log-format", "json"))
    record = json.loads(log.read_text())
    assert (record["code"], record["stage"], record["pointer"], record["errno"]) == (
        "step-failed",
        "mounts",
        f"/mounts/{len(bundle.mounts) - 1}",
        19,
    )
    assert record["call"] in ("mount", "fsopen")
    assert record["msg"] == result.last_line
    assert "no such device" in record["msg"]
    assert f"[/mounts/{len(bundle.mounts) - 1}]" in record["msg"]


@pytest.mark.only_ocirt("the fields are ours")
def test_fields_of_a_bad_value(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    bundle.process["user"]["uid"] = 2**32
    bundle.save()
    flags = ("--bundle", str(bundle.path), bundle.id)
    runtime.fails("create", *flags, options=("--log", str(log), "--log-format", "json"), says="[/process/user/uid]")
    record = json.loads(log.read_text())
    assert record["code"] in ("schema", "rule")
    assert record["pointer"] == "/process/user/uid"


@pytest.mark.differs(crun="is content", runc="1.1 takes some")
@pytest.mark.parametrize("options", [("--log-format", "yaml"), ("--nonesuch",), ("--root", "/")])
def test_bad_global_options(runtime: Runtime, options: tuple[str, ...]) -> None:
    runtime.fails("list", options=options)


def test_control_characters_are_escaped(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    """Names come from images: no line break and no terminal sequence may reach the log."""
    bundle.mount("/mnt", "x", "x\x1b[2J\ny").save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    assert "\x1b" not in result.err or runtime.name != "ocirt"
    assert len(result.err.splitlines()) == 1 or runtime.name != "ocirt"
    assert '"x\\x1b[2J\\ny"' in result.err or runtime.name != "ocirt"


# --- broken configurations: text that is no JSON, and JSON that is no configuration


def text_of(change: Callable[[dict[str, Any]], object]) -> str:
    config = base_config()
    change(config)
    return json.dumps(config)


BROKEN_TEXT = {
    "empty": "",
    "blank": " \n",
    "brace": "{",
    "array": "[]",
    "null": "null",
    "number": "1",
    "string": '"config"',
    "no members": "{}",
    "trailing comma": '{"ociVersion": "1.0.2",}',
    "trailing text": json.dumps(base_config()) + "x",
    "comment": "// config\n{}",
    "single quotes": "{'ociVersion': '1.0.2'}",
    "NaN": '{"ociVersion": NaN}',
    "infinity": '{"ociVersion": "1.0.2", "process": {"user": {"uid": Infinity}}}',
    "deep": "[" * 100_000,
    "deep object": '{"a":' * 100_000,
    "long number": '{"ociVersion": ' + "9" * 5000 + "}",
    "cut short": json.dumps(base_config())[:-20],
    "control character": '{"ociVersion": "1.0\x00.2"}',
    "byte order mark": "\ufeff" + json.dumps(base_config()),
}

BROKEN_VALUES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no root": lambda c: c.pop("root"),
    "root is a string": lambda c: c.update(root="rootfs"),
    "no args": lambda c: c["process"].pop("args"),
    "empty args": lambda c: c["process"].update(args=[]),
    "args is a string": lambda c: c["process"].update(args="sh"),
    "args of numbers": lambda c: c["process"].update(args=[1]),
    "no cwd": lambda c: c["process"].pop("cwd"),
    "empty cwd": lambda c: c["process"].update(cwd=""),
    "uid of 2^32": lambda c: c["process"]["user"].update(uid=2**32),
    "uid of -1": lambda c: c["process"]["user"].update(uid=-1),
    "uid is a string": lambda c: c["process"]["user"].update(uid="0"),
    "uid of 1.5": lambda c: c["process"]["user"].update(uid=1.5),
    "uid is true": lambda c: c["process"]["user"].update(uid=True),
    "process is an array": lambda c: c.update(process=[]),
    "mounts is an object": lambda c: c.update(mounts={}),
    "mount without destination": lambda c: c["mounts"].append({"type": "tmpfs"}),
    "options is a string": lambda c: c["mounts"].append({"destination": "/m", "type": "tmpfs", "options": "ro"}),
    "namespace without type": lambda c: c["linux"]["namespaces"].append({}),
    "namespaces is a string": lambda c: c["linux"].update(namespaces="all"),
    "hostname is a number": lambda c: c.update(hostname=1),
    "env is an object": lambda c: c["process"].update(env={}),
    "rlimit of a string": lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_CPU", "soft": "1", "hard": 1}]),
    "resources is an array": lambda c: c["linux"].update(resources=[]),
    "memory limit of 2^64": lambda c: c["linux"].update(resources={"memory": {"limit": 2**64}}),
    "hooks is an array": lambda c: c.update(hooks=[]),
    "annotation of a number": lambda c: c.update(annotations={"a": 1}),
}


@pytest.mark.parametrize("name", BROKEN_TEXT)
@pytest.mark.differs(crun="takes some")
def test_broken_text(runtime: Runtime, bundle: Bundle, name: str, host_unchanged: Callable) -> None:
    (bundle.path / "config.json").write_text(BROKEN_TEXT[name])
    if runtime.name == "runc" and name in ("trailing text", "null"):
        pytest.skip("runc: stops reading at the end of the object; dies of null")
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    if runtime.name == "ocirt":
        assert "RecursionError" not in result.last_line


@pytest.mark.only_ocirt("Go and yajl let the last of them count")
def test_duplicate_members(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    text = json.dumps(bundle.config)
    (bundle.path / "config.json").write_text(text[:-1] + ', "hostname": "again"}')
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="hostname")


@pytest.mark.only_ocirt("Go replaces what is not UTF-8")
def test_not_utf8(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    (bundle.path / "config.json").write_bytes(json.dumps(bundle.config).encode().replace(b"ocirt-e2e", b"\xff\xfe"))
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


@pytest.mark.parametrize("name", BROKEN_VALUES)
@pytest.mark.differs(crun="takes many", runc="1.1 takes some, dies of a nil pointer on others")
def test_broken_values(runtime: Runtime, bundle: Bundle, name: str, host_unchanged: Callable) -> None:
    (bundle.path / "config.json").write_text(text_of(BROKEN_VALUES[name]))
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    assert re.search(r"\[/[^]]+\]$|\[/[^]]+\] - |the property \"\w+\" is", result.last_line), result


@pytest.mark.parametrize("field", ["hostname", "args", "env", "destination", "cwd"])
def test_nul_in_a_string(runtime: Runtime, bundle: Bundle, field: str, host_unchanged: Callable) -> None:
    """C would read up to it: /safe\\0/evil is /safe."""
    changes: dict[str, Callable[[], object]] = {
        "hostname": lambda: bundle.config.update(hostname="a\0b"),
        "args": lambda: bundle.args("/bin/true", "a\0b"),
        "env": lambda: bundle.process.update(env=["A=a\0b"]),
        "destination": lambda: bundle.mount("/mnt\0x", "tmpfs", "tmpfs"),
        "cwd": lambda: bundle.process.update(cwd="/var\0x"),
    }
    changes[field]()
    bundle.save()
    if runtime.name != "ocirt":
        pytest.skip(f"{runtime.name}: cuts some of them")
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


def test_config_is_a_directory_or_cannot_be_read(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    (bundle.path / "config.json").mkdir()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


@pytest.mark.only_ocirt("runc and crun wait for a writer")
def test_config_is_a_fifo(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    os.mkfifo(bundle.path / "config.json")
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, bound=10)
