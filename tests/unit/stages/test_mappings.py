"""uid_map and gid_map: written by the runtime, or by newuidmap and newgidmap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocirt.config.views import Linux
from ocirt.errors import OcirtError
from ocirt.host import Host
from ocirt.stages.mappings import RunMappingTool, mappings
from tests.support.recorder import recorded_box

TOOLS = {"newuidmap": "/usr/bin/newuidmap", "newgidmap": "/usr/bin/newgidmap"}
RANGE = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65536}]
MAPS = {"uidMappings": RANGE, "gidMappings": [{"containerID": 0, "hostID": 1001, "size": 2}]}


def own(number: int, inside: int = 0) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": number, "size": 1}]


def plan(euid: int = 0, egid: int = 0, tools: dict[str, str] | None = None, **linux: Any) -> list[tuple[str, str]]:
    host = Host(euid=euid, egid=egid, mapping_tools=tools)
    return [(step.at, step.describe()) for step in mappings(Linux(linux, "/linux"), host)]


def test_root_writes_both() -> None:
    assert plan(**MAPS) == [
        ("/linux/uidMappings", "write uid_map: '0 1000 1\\n1 100000 65536'"),
        ("/linux/gidMappings", "write gid_map: '0 1001 2'"),
    ]


def test_a_user_writes_their_own_id_and_gives_up_setgroups() -> None:
    assert plan(1000, 1001, TOOLS, uidMappings=own(1000), gidMappings=own(1001, 5)) == [
        ("/linux/uidMappings", "write uid_map: '0 1000 1'"),
        ("/linux/gidMappings", "write setgroups: 'deny'"),
        ("/linux/gidMappings", "write gid_map: '5 1001 1'"),
    ]


def test_the_tools_map_what_is_not_the_users_own() -> None:
    assert plan(1000, 1001, TOOLS, **MAPS) == [
        ("/linux/uidMappings", "run /usr/bin/newuidmap to map '0 1000 1\\n1 100000 65536'"),
        ("/linux/gidMappings", "run /usr/bin/newgidmap to map '0 1001 2'"),
    ]


@pytest.mark.parametrize("kind", ["uid", "gid"])
def test_without_the_tools(kind: str) -> None:
    maps = {"uidMappings": own(1000), "gidMappings": own(1000), f"{kind}Mappings": RANGE}
    with pytest.raises(OcirtError) as caught:
        plan(1000, 1000, **maps)
    error = caught.value
    assert (error.code, error.at) == ("unsupported", f"/linux/{kind}Mappings")
    assert error.what == f"mapping ids other than your own needs new{kind}map, which is not installed"
    assert "package uidmap" in error.remedy
    assert '"hostID": 1000' in error.remedy


def tool(tmp_path: Path, script: str) -> RunMappingTool:
    path = tmp_path / "newuidmap"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return RunMappingTool("/linux/uidMappings", str(path), "0 1000 1\n1 100000 65536\n")


def test_what_the_tool_is_called_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's environment reaches a program with more rights."""
    monkeypatch.setenv("EVIL", "yes")
    box, _ = recorded_box()
    box.pid = 77
    tool(tmp_path, f"echo $# $* >{tmp_path}/args; env >{tmp_path}/env").apply(box)
    assert (tmp_path / "args").read_text() == "7 77 0 1000 1 1 100000 65536\n"
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "_", "SHLVL"} == {"PATH", "LC_ALL"}


def test_what_the_tool_says_is_in_the_error(tmp_path: Path) -> None:
    box, _ = recorded_box()
    with pytest.raises(OcirtError) as caught:
        tool(tmp_path, "echo range not allowed >&2; exit 1").apply(box)
    assert caught.value.what == "error running newuidmap: exit status 1, output: range not allowed"
    assert (caught.value.code, caught.value.at) == ("step-failed", "/linux/uidMappings")
