"""Write the installed launcher and the pack of modules it starts from.  Run by `make install`:

    PYTHON -I launcher/write.py DIRECTORY LAUNCHER [DESTDIR]

DIRECTORY holds the installed package `ocirt` and receives ocirt.pack; LAUNCHER is the command's path; DESTDIR stands
before both while writing.  The pack is bytecode of the interpreter that runs this file, which the launcher names; after
an upgrade of that interpreter the launcher falls back to the files in DIRECTORY.

ocirt.pack: a header of fixed size, then the modules' code.  The code lacks what only a reader needs, docstrings and
annotations: they are a fifth of what a start has to load.
"""

from __future__ import annotations

import ast
import marshal
import os
import sys
from importlib.util import MAGIC_NUMBER, find_spec
from pathlib import Path
from typing import TypeVar

Documented = TypeVar("Documented", ast.Module, ast.ClassDef, ast.FunctionDef)

HERE = Path(__file__).resolve().parent
HEADER_SIZE = 16384
EXTENSIONS = ("_ctypes", "_json")  # the two C modules that ocirt takes from the library's directories
LEFT_OUT = "ocirt.seccomp.table_"  # large, and a container needs one or none of them


class Strip(ast.NodeTransformer):
    """Removes docstrings, annotations and the import of __future__, which costs a start 0.1 ms."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

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


def compiled(source: bytes, path: str) -> bytes:
    """The marshalled code of a module's source, stripped; path is what a traceback shows."""
    tree = ast.fix_missing_locations(Strip().visit(ast.parse(source)))
    return marshal.dumps(compile(tree, path, "exec", dont_inherit=True))


def pack(package: Path, installed: str) -> bytes:
    """The pack of the package at this path, whose files will lie below `installed`."""
    codes: dict[str, tuple[bytes, bool]] = {}
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package.parent)
        is_package = path.stem == "__init__"
        name = ".".join((relative.parent if is_package else relative.with_suffix("")).parts)
        if not name.startswith(LEFT_OUT):
            codes[name] = compiled(path.read_bytes(), f"{installed}/{relative}"), is_package
    return header(codes).ljust(HEADER_SIZE, b"\0") + b"".join(code for code, _ in codes.values())


def header(codes: dict[str, tuple[bytes, bool]]) -> bytes:
    """What the launcher reads first: magic number, loader, where each module's code and the C modules' files are."""
    index = {}
    start = HEADER_SIZE
    for name, (code, is_package) in codes.items():
        index[name] = (start, len(code), is_package)
        start += len(code)
    extensions = {name: spec.origin for name in EXTENSIONS if (spec := find_spec(name)) and spec.has_location}
    loader = compile((HERE / "loader.py").read_bytes(), "<ocirt.pack>", "exec", dont_inherit=True)
    content = MAGIC_NUMBER + marshal.dumps((loader, index, extensions))
    assert len(content) <= HEADER_SIZE, "enlarge HEADER_SIZE"
    return content


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
