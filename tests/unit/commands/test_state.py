"""state: runc's keys in runc's order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.commands import state
from ocirt.errors import StateError
from tests.support import records


def test_running(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records.make(tmp_path, "web1", os.getpid())
    assert records.run(state, tmp_path, "web1") == 0
    assert capfd.readouterr().out == (
        "{\n"
        '  "ociVersion": "1.3.0",\n'
        '  "id": "web1",\n'
        f'  "pid": {os.getpid()},\n'
        '  "status": "running",\n'
        '  "bundle": "/b",\n'
        '  "rootfs": "/b/rootfs",\n'
        '  "created": "2026-01-02T03:04:05.000000006Z",\n'
        '  "owner": ""\n'
        "}\n"
    )


def test_stopped_with_annotations(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    container = records.make(tmp_path, "web1", os.getpid(), annotations={"a.b": 'c"'})
    container.record["start_time"] -= 1  # another process has the pid now
    container.save()
    assert records.run(state, tmp_path, "web1") == 0
    out = capfd.readouterr().out
    assert '  "pid": 0,\n  "status": "stopped",\n' in out
    assert '  "annotations": {\n    "a.b": "c\\""\n  },\n  "owner": ""\n' in out


def test_unknown(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        records.run(state, tmp_path, "web1")
    assert (caught.value.code, caught.value.what) == ("not-found", "container does not exist")
