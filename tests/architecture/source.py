"""The source tree as syntax trees, for the rules in this folder."""

from __future__ import annotations

import ast
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
PACKAGE = TREE / "ocirt"


def modules() -> dict[str, ast.Module]:
    """Every module of ocirt by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(TREE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(tree: ast.AST, known: dict[str, ast.Module]) -> list[tuple[int, str]]:
    """(line, dotted module name) of every import that is executed, wherever it stands; those for types only are not."""
    found: list[tuple[int, str]] = []
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            whole = node.module or ""
            names = [f"{whole}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name if name in known else whole) for name in names]
        else:
            found += imports(node, known)
    return found


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
