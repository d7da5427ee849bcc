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
    from collections.abc import Collection, Iterable
    from types import CodeType

Documented = TypeVar("Documented", ast.Module, ast.ClassDef, ast.FunctionDef)

HERE = Path(__file__).resolve().parent
HEADER_SIZE = 24576
EXTENSIONS = ("_ctypes", "_json")  # the C modules that ocirt takes from the library's directories
HOT = ("state", "kill", "delete", "start", "exec", "create", "run")
# Never imported by the runtime; the portable launcher takes protect.py from the pack.
TOOLS = ("boot", "deb", "loader", "native", "packed", "placement", "rehearsal", "share", "write")
BUILDS = tuple(f"ocirt.launcher.{name}" for name in TOOLS)
LEFT_OUT = ("ocirt.seccomp.table_", *BUILDS)  # the tables are large, and a container needs one or none


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


def without_import_system(tree: ast.Module, modules: Collection[str]) -> ast.Module:
    """The module with `from ocirt.a import b` written as `b = _need("ocirt.a").b`: see loader.py for _need().

    The import system asks every module that is no package for its __path__, and makes an error that says there is
    none: 3 us a line.
    """
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in modules and node.names[0].name != "*":
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                found = f'_need("{below}")' if below in modules else f'_need("{node.module}").{alias.name}'
                made = ast.parse(f"{alias.asname or alias.name} = {found}").body
                body += [ast.increment_lineno(each, node.lineno - 1) for each in made]
        else:
            body.append(node)
    return ast.Module(body, [])


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

    def code(self, modules: Collection[str], installed: str) -> CodeType:
        """What the launchers execute; the file will lie below `installed`."""
        return compiled(without_import_system(self.tree, modules), f"{installed}/{self.file}")


def order(sources: dict[str, Source]) -> dict[str, tuple[str, ...]]:
    """Of what the command line imports by name, what that imports when it is loaded, in the order of execution."""

    def visit(name: str, seen: dict[str, None]) -> dict[str, None]:
        above = {**seen, name: None}
        for other in sorted(sources[name].imports() & sources.keys() - above.keys()):
            above |= visit(other, above)
        return {**{other: None for other in above if other != name}, name: None}

    return {name: tuple(visit(name, {}))[:-1] for name in ("ocirt.cli", *map("ocirt.commands.{}".format, HOT))}


def with_names(tree: ast.Module, names: dict[str, object]) -> ast.Module:
    """The module with these constants defined before everything else."""
    constants = [ast.parse(f"{name} = {value!r}").body[0] for name, value in names.items()]
    tree.body[:0] = constants
    return ast.fix_missing_locations(tree)


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
    sources = read_sources(package, LEFT_OUT)
    index: dict[str, tuple[int, int, tuple[str, ...]]] = {}
    body = b""
    for names in bundles(sources):
        codes = [sources[name].code(sources, installed) for name in names]
        content = marshal.dumps(codes)
        for name in names:
            index[name] = (HEADER_SIZE + len(body), len(content), names)
        body += content
    contents = (index, order(sources), packages(sources, installed), files_of(EXTENSIONS))
    start = [compiled(stripped(HERE / name), f"<{name} in ocirt.pack>") for name in ("loader.py", "packed.py")]
    header = MAGIC_NUMBER + marshal.dumps((*start, contents))
    assert len(header) <= HEADER_SIZE, "enlarge HEADER_SIZE"
    return header.ljust(HEADER_SIZE, b"\0") + body


def read_sources(package: Path, left_out: tuple[str, ...]) -> dict[str, Source]:
    """The package's modules by name, without those whose names begin like that."""
    sources = [Source(package, file) for file in sorted(package.rglob("*.py"))]
    return {source.name: source for source in sources if not source.name.startswith(left_out)}


def packages(sources: dict[str, Source], installed: str) -> dict[str, str]:
    """A package -> the directory where its modules will lie as files."""
    return {name: f"{installed}/{source.file.parent}" for name, source in sources.items() if source.is_package}


def files_of(modules: Iterable[str]) -> dict[str, str]:
    """A module of the standard library -> its file; without those that are built in."""
    found = {name: find_spec(name) for name in modules}
    return {name: spec.origin for name, spec in found.items() if spec and spec.has_location and spec.origin}


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
