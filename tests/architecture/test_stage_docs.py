"""docs/stages.md is made of docstrings: each stage says what it is, and where the kernel's manual says more."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.architecture.source import TREE, modules

STAGES = {name: tree for name, tree in modules().items() if name.startswith("ocirt.stages.")}
PAGE = re.compile(r"\b[a-z][a-z0-9_.-]*\([1-8]\)")


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("name", STAGES)
def test_every_step_says_what_it_is(name: str) -> None:
    silent = [node.name for node in classes(STAGES[name]) if not ast.get_docstring(node)]
    assert silent == []


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_names_a_manual_page(name: str) -> None:
    tree = STAGES[name]
    docs = [ast.get_docstring(tree) or "", *(ast.get_docstring(node) or "" for node in classes(tree))]
    assert PAGE.search(" ".join(docs))


def test_pages_are_fresh() -> None:
    script = [sys.executable, str(TREE / "docs" / "generate_stages.py"), "--check"]
    done = subprocess.run(script, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_stage_of_the_plan_is_there() -> None:
    """By the source of plan.py, not by the plans that the page is made from."""
    made = [
        node.args
        for name in ("ocirt.plan", "ocirt.process_plan")
        for node in ast.walk(modules()[name])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Stage"
    ]
    names = {arguments[0].value for arguments in made if isinstance(arguments[0], ast.Constant)}
    headings = re.findall(r"^### \d+\. (\w+)$", (TREE / "docs" / "stages.md").read_text(), re.MULTILINE)
    assert names - {"limits"} <= set(headings)
    assert headings.count("hooks") == 3
