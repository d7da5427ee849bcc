"""Write the installed launcher and the pack of modules it starts from.  Run by `make install`:

    PYTHON -I -X no_debug_ranges ocirt/launcher/write.py DIRECTORY LAUNCHER [DESTDIR]

DIRECTORY holds the installed package `ocirt` and receives ocirt.pack; LAUNCHER is the command's path; DESTDIR stands
before both while writing.  The pack is bytecode of the interpreter that runs this file, which the launcher names; after
an upgrade of that interpreter the launcher falls back to the files in DIRECTORY.

ocirt.pack: a header of fixed size, then the modules' code in bundles, one for all modules that the same commands load.
The code lacks what only a reader needs, docstrings, annotations, columns and what stands under TYPE_CHECKING: they are
a third of what a start has to load.
"""

from __future__ import annotations

import ast
import marshal
import os
import sys
from importlib.util import MAGIC_NUMBER, find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from types import CodeType

Documented = TypeVar("Documented", ast.Module, ast.ClassDef, ast.FunctionDef)

HERE = Path(__file__).resolve().parent
HEADER_SIZE = 16384
EXTENSIONS = ("_ctypes", "_json")  # the two C modules that ocirt takes from the library's directories
HOT = ("state", "kill", "delete", "start", "exec", "create", "run")
LEFT_OUT = ("ocirt.seccomp.table_", "ocirt.launcher")  # large, and a container needs one or none; never needed


class Strip(ast.NodeTransformer):
    """Removes docstrings, annotations and the import of __future__, which costs a start 0.1 ms."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """What only a type checker reads, and the assignment that hides it."""
        self.generic_visit(node)
        said = ast.unparse(node.test)
        if said == "not TYPE_CHECKING":
            return node.body
        return node.orelse if said == "TYPE_CHECKING" else node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        return self.without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self.without_docstring(node)

    def visit_Module(self, node: ast.Module) -> ast.Module:
        return self.without_docstring(node)

    def without_docstring(self, node: Documented) -> Documented:
        if ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        self.generic_visit(node)
        if not node.body and not isinstance(node, ast.Module):
            node.body.append(ast.Pass())
        return node


def stripped(file: Path) -> ast.Module:
    tree: ast.Module = Strip().visit(ast.parse(file.read_bytes()))
    return ast.fix_missing_locations(tree)


def compiled(tree: ast.Module, path: str) -> CodeType:
    """The code of a stripped module; path is what a traceback shows."""
    return compile(tree, path, "exec", dont_inherit=True)


class Source:
    """A module of the package: its stripped tree, its file, the modules it imports when it is loaded."""

    def __init__(self, package: Path, file: Path) -> None:
        self.file = file.relative_to(package.parent)
        self.is_package = file.stem == "__init__"
        self.name = ".".join((self.file.parent if self.is_package else self.file.with_suffix("")).parts)
        self.tree = stripped(file)

    def imports(self) -> set[str]:
        """Names of modules, and of what is taken from them, which may be modules too; with the packages above."""
        names = set()
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return names | {name.rpartition(".")[0] for name in names | {self.name}}


def bundles(sources: dict[str, Source]) -> list[tuple[str, ...]]:
    """The modules that the same hot commands load belong together: read, and their strings made, at once."""
    users: dict[str, tuple[str, ...]] = {}
    for command in HOT:
        waiting = ["ocirt.cli", f"ocirt.commands.{command}"]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in sources and name not in seen:
                seen.add(name)
                waiting += sources[name].imports()
        for name in seen:
            users[name] = (*users.get(name, ()), command)
    together: dict[tuple[str, ...], list[str]] = {}
    for name in sources:
        together.setdefault(users.get(name, (name,)), []).append(name)
    return [tuple(names) for names in together.values()]


def pack(package: Path, installed: str) -> bytes:
    """The pack of the package at this path, whose files will lie below `installed`."""
    files = [Source(package, file) for file in sorted(package.rglob("*.py"))]
    sources = {source.name: source for source in files if not source.name.startswith(LEFT_OUT)}
    index: dict[str, tuple[int, int, tuple[str, ...], bool]] = {}
    body = b""
    for names in bundles(sources):
        codes = [compiled(sources[name].tree, f"{installed}/{sources[name].file}") for name in names]
        content = marshal.dumps(codes)
        for name in names:
            index[name] = (HEADER_SIZE + len(body), len(content), names, sources[name].is_package)
        body += content
    extensions = {name: spec.origin for name in EXTENSIONS if (spec := find_spec(name)) and spec.has_location}
    loader = compiled(stripped(HERE / "loader.py"), "<ocirt.pack>")
    header = MAGIC_NUMBER + marshal.dumps((loader, index, extensions))
    assert len(header) <= HEADER_SIZE, "enlarge HEADER_SIZE"
    return header.ljust(HEADER_SIZE, b"\0") + body


def replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all: a command may start meanwhile."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(mode)
    new.rename(path)


def main(directory: str, launcher: str, destdir: str = "") -> None:
    text = (HERE / "launcher.in").read_text()
    names = {"python": os.path.abspath(sys.executable), "directory": directory, "header": str(HEADER_SIZE)}
    for name, value in names.items():
        text = text.replace(f"@{name}@", value)
    replace(Path(f"{destdir}{directory}/ocirt.pack"), pack(Path(f"{destdir}{directory}/ocirt"), directory), 0o644)
    replace(Path(destdir + launcher), text.encode(), 0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
