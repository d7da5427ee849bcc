"""Names that stand for a known danger, and file names that say nothing."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import is_type_checking, modules

MODULES = modules()
STAGES = [name for name in MODULES if name.startswith("ocirt.stages")]
MEANINGLESS = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "tools"}


@pytest.mark.parametrize("name", MODULES)
def test_no_shell_and_no_code_between_fork_and_exec(name: str) -> None:
    keywords = {
        keyword.arg for node in ast.walk(MODULES[name]) if isinstance(node, ast.Call) for keyword in node.keywords
    }
    assert not keywords & {"shell", "preexec_fn"}


@pytest.mark.parametrize("name", MODULES)
def test_annotations_are_not_evaluated(name: str) -> None:
    """What is imported for mypy only does not exist when the interpreter meets an annotation."""
    tree = MODULES[name]
    if any(is_type_checking(node) for node in ast.walk(tree)):
        futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        assert [alias.name for node in futures for alias in node.names] == ["annotations"]


@pytest.mark.parametrize("name", STAGES)
def test_paths_in_a_rootfs_are_not_joined_as_text(name: str) -> None:
    used = [
        f"line {node.lineno}: os.path.{node.attr}"
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Attribute)
        and node.attr in ("join", "realpath", "exists", "isdir", "islink")
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "path"
    ]
    assert not used


def test_file_names_say_something() -> None:
    assert not [name for name in MODULES if name.rsplit(".", 1)[-1] in MEANINGLESS]
