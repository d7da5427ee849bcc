"""Every error code is in errors.CODES, every one of them is raised somewhere, and docs/errors.md knows them all."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from ocirt import remedies
from ocirt.errors import CODES
from tests.architecture.source import TREE, modules

MODULES = modules()
RAISED = ("OcirtError", "ConfigError", "StateError")


def texts(node: ast.expr) -> list[str]:
    """The texts an expression may be: a literal, or the branches of a conditional one."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def codes_of(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, code) of the literal codes that errors are made with."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        maker = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if maker in RAISED or (maker == "__init__" and isinstance(node.args[0], ast.Constant)):
            found += [(node.lineno, code) for code in texts(node.args[0])]
    return found


@pytest.mark.parametrize("name", MODULES)
def test_codes_exist(name: str) -> None:
    assert not [f"line {line}: {code}" for line, code in codes_of(MODULES[name]) if code not in CODES]


def test_every_code_is_used() -> None:
    used = {code for tree in MODULES.values() for _, code in codes_of(tree)}
    assert sorted(set(CODES) - used) == []


def test_remedies_name_stages_that_exist() -> None:
    stages = {
        name
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Stage"
        for name in texts(node.args[0])
    }
    named = {stage for rule in remedies.RULES for stage in rule.stages}
    assert sorted(named - stages - set(CODES)) == []


def test_page_is_fresh() -> None:
    script = [sys.executable, str(TREE / "docs" / "generate_errors.py"), "--check"]
    done = subprocess.run(script, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
