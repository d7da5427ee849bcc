"""The pack: what is left of a module, what is bundled, and that the installed command runs from it."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

from ocirt.launcher import write

TREE = Path(__file__).resolve().parents[3]

MODULE = '''"""Read by readers."""
from __future__ import annotations
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
if not TYPE_CHECKING:
    kept = 1
class A:
    """Too."""
    field: Any
    def method(self, value: Any = 2) -> Any:
        """And this."""
'''


def test_only_what_runs_is_left(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODULE)
    assert ast.unparse(write.stripped(tmp_path / "m.py")).split("\n") == [
        "TYPE_CHECKING = False",
        "kept = 1",
        "",
        "class A:",
        "",
        "    def method(self, value=2):",
        "        pass",
    ]


def test_imports_of_our_own_modules_do_without_the_import_system() -> None:
    tree = ast.parse("from a.b import c, D as E\nfrom a import b\nfrom a.b import *\nfrom os import path\nimport a.b")
    changed = write.without_import_system(tree, {"a", "a.b"})
    assert ast.unparse(changed).split("\n") == [
        "c = _need('a.b').c",
        "E = _need('a.b').D",
        "b = _need('a.b')",
        "from a.b import *",
        "from os import path",
        "import a.b",
    ]
    assert [node.lineno for node in changed.body] == [1, 1, 2, 3, 4, 5]


def test_modules_are_executed_after_what_they_import() -> None:
    sources = write.read_sources(TREE / "ocirt", write.LEFT_OUT)
    for name, needed in write.order(sources).items():
        done: set[str] = set()
        for module in (*needed, name):
            assert sources[module].imports() & sources.keys() - {module} <= done
            done.add(module)


def test_what_the_same_commands_load_is_bundled() -> None:
    files = [write.Source(TREE / "ocirt", file) for file in sorted((TREE / "ocirt").rglob("*.py"))]
    sources = {source.name: source for source in files if not source.name.startswith(write.LEFT_OUT)}
    bundles = write.bundles(sources)
    assert sorted(name for names in bundles for name in names) == sorted(sources)
    found = {name: names for names in bundles for name in names}
    assert found["ocirt.errors"] is found["ocirt.log"]  # every command
    assert found["ocirt.stages.mounts"] is found["ocirt.stages.devices"]  # create and run
    assert found["ocirt.commands.state"] is not found["ocirt.commands.kill"]
    assert found["ocirt.remedies"] == ("ocirt.remedies",)  # nothing hot


def installed(tmp_path: Path) -> Path:
    library = tmp_path / "lib"
    library.mkdir()
    shutil.copytree(TREE / "ocirt", library / "ocirt", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-I", str(TREE / "ocirt/launcher/write.py"), str(library), str(tmp_path / "ocirt")]
    subprocess.run(command, check=True, timeout=60)
    return tmp_path / "ocirt"


def test_the_command_runs_from_the_pack_and_without_it(tmp_path: Path) -> None:
    launcher = installed(tmp_path)
    pack = tmp_path / "lib" / "ocirt.pack"
    packed = subprocess.run([launcher, "--version"], check=True, capture_output=True, timeout=30).stdout
    pack.write_bytes(b"\0\0\0\0" + pack.read_bytes()[4:])  # another interpreter's
    assert subprocess.run([launcher, "--version"], check=True, capture_output=True, timeout=30).stdout == packed
    assert packed.startswith(b"ocirt version ")
    assert not list((tmp_path / "lib").rglob("*.pyc"))  # root would write what another interpreter's start had left out


def test_the_launcher_names_an_absolute_and_isolated_interpreter(tmp_path: Path) -> None:
    first = installed(tmp_path).read_text().split("\n")[0]
    assert first == f"#!{sys.executable} -IS"
