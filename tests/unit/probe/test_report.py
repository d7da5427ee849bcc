"""The answer of --probe: its two forms, and the command's options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocirt import __version__
from ocirt.commands import features
from ocirt.errors import UsageError
from ocirt.host import Host
from ocirt.probe import Outcome, report
from tests.support import records
from tests.support.oracle import OURS

HOST = Host(cgroup="v2", systemd="system")
OUTCOMES = [
    Outcome("namespace.mount", "/linux/namespaces", True, ""),
    Outcome("cgroup.kill", "", False, "no such file or directory"),
]


def test_table() -> None:
    head, *lines = report.table(HOST, OUTCOMES).splitlines()
    assert head.endswith(" on x86_64, root")
    assert lines == [
        "CHECK            WORKS  PROPERTY           NOTE",
        "namespace.mount  yes    /linux/namespaces",
        "cgroup.kill      no     -                  no such file or directory",
        "1 of 2 work here",
    ]


def test_who_asks() -> None:
    assert "user 1000, in a user namespace" in report.table(Host(euid=1000, userns=True), [])


def test_document() -> None:
    value = report.document(HOST, OUTCOMES)
    assert value["host"]["ocirt"] == __version__
    assert (value["host"]["cgroup"], value["host"]["systemd"]) == ("v2", "system")
    assert value["checks"][1] == {
        "name": "cgroup.kill",
        "works": False,
        "property": "",
        "note": "no such file or directory",
    }


@pytest.mark.parametrize("cgroup", ["v1", "hybrid", "v2", "none"])
def test_names_are_unique_and_properties_exist(cgroup: str) -> None:
    host = Host(
        cgroup=cgroup,
        cgroup_mounts={"memory": "/cg/memory"} if cgroup in ("v1", "hybrid") else None,
        unified_mount="/cg/unified" if cgroup in ("hybrid", "v2") else "",
        own_cgroups={"memory": "/", "": "/"},
    )
    checks = report.all_checks(host)
    names = [check.name for check in checks]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    for check in checks:
        assert not check.at or has_property(check.at), check.name
        for directory in check.leftovers:
            assert directory.startswith("/cg/")
            assert "/ocirt-probe-" in directory


def has_property(pointer: str) -> bool:
    """Whether spec/schema knows it; * is any element."""
    files = {file.name: json.loads(file.read_text()) for file in OURS.glob("*.json")}
    file, node = "config.json", files["config.json"]
    for step in pointer.split("/")[1:]:
        while "$ref" in node:
            target, _, path = node["$ref"].partition("#")
            file = target or file
            node = files[file]
            for part in path.split("/")[1:]:
                node = node[part]
        if step == "*":
            node = node["items"]
        elif step in node.get("properties", {}):
            node = node["properties"][step]
        else:
            return False
    return True


@pytest.mark.parametrize("words", [("--format", "table"), ("--probe", "--format", "yaml")])
def test_formats_that_are_not(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        records.run(features, Path("/nonexistent"), *words)


def test_probe(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(report, "try_all", lambda: (HOST, OUTCOMES))
    assert records.run(features, Path("/nonexistent"), "--probe", "--format", "json") == 0
    out, err = capfd.readouterr()
    assert (len(json.loads(out)["checks"]), err) == (2, "")
    assert records.run(features, Path("/nonexistent"), "--probe") == 0
    out, err = capfd.readouterr()
    assert (out.splitlines()[-1], err) == ("1 of 2 work here", "")
