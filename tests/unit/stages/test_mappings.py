"""uid_map and gid_map texts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ocirt.config.views import Linux
from ocirt.stages.mappings import mappings

MAPS = {
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 1001, "size": 2}],
}


def plan(euid: int = 0, **linux: Any) -> list[tuple[str, str]]:
    host: Any = SimpleNamespace(euid=euid)
    return [(step.at, step.describe()) for step in mappings(Linux(linux, "/linux"), host)]


def test_both_maps_are_written_for_a_new_user_namespace() -> None:
    assert plan(namespaces=[{"type": "user"}], **MAPS) == [
        ("/linux/uidMappings", "write uid_map: '0 1000 1\\n1 100000 65536'"),
        ("/linux/gidMappings", "write gid_map: '0 1001 2'"),
    ]


def test_without_privileges_setgroups_is_denied_first() -> None:
    assert plan(euid=1000, namespaces=[{"type": "user"}], **MAPS)[0] == (
        "/linux/gidMappings",
        "write setgroups: 'deny'",
    )


def test_a_joined_user_namespace_has_its_maps_already() -> None:
    assert plan(namespaces=[{"type": "user", "path": "/u"}], **MAPS) == []
