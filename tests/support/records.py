"""Containers on disk without processes of their own, for tests of the commands that read them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ocirt import cli
from ocirt.container import Container, process_start
from ocirt.options import Globals, parse

RECORD: dict[str, Any] = {
    "oci_version": "1.3.0",
    "bundle": "/b",
    "rootfs": "/b/rootfs",
    "created": "2026-01-02T03:04:05.000000006Z",
    "owner": 0,
    "cgroup": None,
    "root_mount": [],
    "annotations": {},
    "poststop": False,
    "terminal": False,
}
CONFIG: dict[str, Any] = {"ociVersion": "1.3.0", "linux": {"namespaces": [{"type": "pid"}]}}


def make(root: Path, name: str, pid: int = 0, config: dict[str, Any] = CONFIG, **record: Any) -> Container:
    """A container whose init is the process pid; 0: it was never born."""
    container = Container.make(str(root), name, RECORD | record, json.dumps(config).encode())
    container.record["pid"] = pid
    container.record["start_time"] = process_start(pid) if pid else 0
    container.save()
    container.unlock()
    return container


def sleeper() -> subprocess.Popen[bytes]:
    """A process to be somebody's init.  The caller kills it."""
    return subprocess.Popen(["/bin/sleep", "60"])


def run(command: Any, root: Path, *words: str, given: bool = True) -> int:
    """The command's main() on these words, as cli would call it."""
    g = Globals()
    g.app, g.root, g.root_given = cli.APP, str(root), given
    status: int = command.main(g, parse(command.OPTIONS, list(words), getattr(command, "STOP_AT_POSITIONAL", False)))
    return status
