"""spec/requirements.toml: every entry is complete, every test it names exists, docs/conformance.md is fresh."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from tests.architecture.source import TREE

DOCUMENTS = (
    *("bundle", "runtime", "runtime-linux", "config", "config-linux"),
    *("features", "features-linux", "glossary"),
)
FIELDS = {"id", "level", "text", "section", "status", "why", "tests", "cases"}
ALL: list[dict[str, Any]] = tomllib.loads((TREE / "spec" / "requirements.toml").read_text())["requirement"]


def node_ids(file: str) -> set[str]:
    """The node ids of a file's tests, without parameters."""
    found = set()
    for node in ast.parse((TREE / file).read_text(encoding="utf-8"), file).body:
        if isinstance(node, ast.FunctionDef):
            found.add(f"{file}::{node.name}")
        elif isinstance(node, ast.ClassDef):
            found |= {f"{file}::{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


def test_ids_are_unique_and_begin_with_their_document() -> None:
    names = [entry["id"] for entry in ALL]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    for entry in ALL:
        document, _, rest = entry["id"].partition(".")
        assert document in DOCUMENTS, entry["id"]
        assert rest
        assert entry["section"].startswith(f"{document}.md#"), entry["id"]


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry["id"])
def test_entry_is_complete(entry: dict[str, Any]) -> None:
    assert set(entry) <= FIELDS
    assert entry["level"] in ("MUST", "SHOULD")
    assert entry["status"] in ("done", "later", "deviates")
    assert entry["text"]
    assert "\n" not in entry["text"]
    if entry["status"] == "done":
        assert entry["tests"]
        assert "why" not in entry
    else:
        assert entry["why"]


def test_every_named_test_exists() -> None:
    named = {name for entry in ALL for name in entry.get("tests", ())}
    files = {name.partition("::")[0] for name in named}
    assert sorted(file for file in files if not (TREE / file).is_file()) == []
    there = {name for file in files for name in node_ids(file)}
    assert sorted(named - there) == []


def test_every_named_case_exists_and_is_read() -> None:
    for entry in ALL:
        for case in entry.get("cases", ()):
            assert (TREE / "tests" / "configs" / case).is_file(), entry["id"]
            reader = "bad" if case.startswith("bad/") else "good"
            assert any(f"/test_cases.py::test_{reader}_config" in name for name in entry["tests"]), entry["id"]


def test_page_is_fresh() -> None:
    script = [sys.executable, str(TREE / "spec" / "requirements.py"), "--check"]
    done = subprocess.run(script, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
