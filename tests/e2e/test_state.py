"""state and list: JSON for engines, a table for people."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

RFC3339_NANO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


def test_every_status(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.script("sleep 1000"))
    created = runtime.state(bundle)
    assert (created["status"], created["pid"]) == ("created", bundle.pid)
    runtime.start(bundle)
    running = runtime.state(bundle)
    assert running == {**created, "status": "running"}
    runtime.ok("pause", bundle.id)
    assert runtime.state(bundle) == {**created, "status": "paused"}
    runtime.ok("resume", bundle.id)
    assert runtime.state(bundle) == running
    runtime.ok("kill", bundle.id, "KILL")
    runtime.wait(bundle)
    assert runtime.state(bundle) == {**created, "status": "stopped", "pid": 0}
    runtime.ok("delete", bundle.id)
    runtime.fails("state", bundle.id, says="container does not exist")


@pytest.mark.differs(crun="other keys", runc="ociVersion is its own, not the configuration's")
def test_keys_and_values(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"b": "2", "a": "1"}
    runtime.create(bundle)
    text = runtime.ok("state", bundle.id).out
    state = json.loads(text)
    assert list(state) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"]
    assert text.rstrip("\n") == json.dumps(state, indent=2)
    assert RFC3339_NANO.fullmatch(state.pop("created"))
    assert state == {
        "ociVersion": bundle.config["ociVersion"],
        "id": bundle.id,
        "pid": bundle.pid,
        "status": "created",
        "bundle": str(bundle.path),
        "rootfs": str(bundle.root),
        "annotations": {"a": "1", "b": "2"},
        "owner": "",
    }
    runtime.stop(bundle)


@pytest.mark.differs(crun="always has the key")
def test_no_annotations_no_key(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle)
    assert "annotations" not in runtime.state(bundle)
    runtime.stop(bundle)


def test_zombie_is_stopped(runtime: Runtime, bundle: Bundle) -> None:
    """We are its parent and have not waited for it yet: what engines see between exit and wait."""
    runtime.launch(bundle.script("exit 0"))
    os.waitid(os.P_PID, bundle.pid, os.WEXITED | os.WNOWAIT)
    assert runtime.status(bundle) == "stopped"
    runtime.ok("delete", bundle.id)


def test_unknown(runtime: Runtime) -> None:
    runtime.fails("state", "none", says="container does not exist")


@pytest.mark.parametrize("args", [(), ("one", "two")])
@pytest.mark.differs(crun="argp's words and code")
def test_number_of_arguments(runtime: Runtime, args: tuple[str, ...]) -> None:
    runtime.fails("state", *args, says='"state" requires exactly 1 argument(s)')


@pytest.mark.differs(crun="other words")
def test_id_of_a_path_is_refused(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.create(bundle)
    runtime.fails("state", f"../state/{bundle.id}", says="invalid")
    runtime.stop(bundle)


@pytest.mark.differs(crun="other columns")
def test_list(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle)
    header, line = runtime.ok("list").out.splitlines()
    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    fields = line.split()
    assert RFC3339_NANO.fullmatch(fields.pop(4))
    assert fields == [bundle.id, str(bundle.pid), "created", str(bundle.path), "root"]
    assert [line.index(field) for field in (bundle.id, "created", str(bundle.path))] == [
        header.index(name) for name in ("ID", "STATUS", "BUNDLE")
    ]
    assert runtime.ok("list", "--quiet").out == f"{bundle.id}\n"
    assert runtime.ok("list", "-q").out == f"{bundle.id}\n"
    listed = json.loads(runtime.ok("list", "--format", "json").out)
    assert listed == [{**runtime.state(bundle), "owner": "root"}]
    assert json.loads(runtime.ok("list", "--format=json").out) == listed
    assert json.loads(runtime.ok("list", "-f", "json").out) == listed
    runtime.stop(bundle)
    assert runtime.ok("list").out.split() == header.split()
    assert runtime.ok("list", "--format", "json").out.strip() == "null"


@pytest.mark.differs(crun="ignores it")
def test_list_of_a_bad_format(runtime: Runtime) -> None:
    runtime.root.mkdir()
    runtime.fails("list", "--format", "yaml", says="invalid format option")


@pytest.mark.differs(crun="is content", runc="is content before 1.2")
def test_list_of_a_missing_root(runtime: Runtime) -> None:
    runtime.fails("list", says="no such file or directory")
