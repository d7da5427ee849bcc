"""The native launcher keeps modules as another process has imported them (docs/launcher.md): none may look at its
process meanwhile."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ocirt import log
from ocirt.launcher import native, rehearsal, write
from tests.architecture.source import PACKAGE, imports, is_type_checking, modules

MODULES = modules()
READY = native.ready(write.read_sources(PACKAGE, native.LEFT_OUT))
# What the native launcher cannot import: C modules that Debian's interpreter has in files, and what needs them.
C_MODULES = {
    "_asyncio", "_bz2", "_contextvars", "_crypt", "_ctypes", "_curses", "_decimal", "_hashlib", "_json", "_lzma",
    "_multiprocessing", "_posixshmem", "_queue", "_sqlite3", "_ssl", "_typing", "_uuid", "audioop", "mmap", "nis",
    "readline", "resource", "termios",
    "asyncio", "contextvars", "crypt", "ctypes", "curses", "decimal", "fractions", "multiprocessing",
    "pty", "sqlite3", "ssl", "statistics", "tty",
}  # fmt: skip
PORTABLE = {  # where the native launcher has its own
    "ocirt.config.jsontext": {"_json"},
    "ocirt.kernel.ffi_private": {"_ctypes"},
    "ocirt.kernel.ffi_public": {"ctypes"},
    "ocirt.kernel.sharing": {"mmap"},
}
# It is built by a whole interpreter.
BUILDS = {"ocirt.launcher.native": {"resource"}}
# Of posix and its kin: what is the same in every process.
CONSTANT = {"fsencode", "fsdecode", "getfilesystemencoding", "makedev"}
# Modules that know the process; and functions of ocirt that ask it.
OF_THE_PROCESS = {"os", "posix", "time", "fcntl", "select", "_socket", "_signal", "sys", "files", "system"}
ASKING = {"getenv", "environ", "argv", "orig_argv", "open", "read", "read_whole", "modules"}


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """What the import of a module evaluates: everything but the bodies of functions, and what is for types only."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node) or isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.FunctionDef):
            for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
                yield part
                yield from executed(part)
            continue
        yield node
        yield from executed(node)


def looks(tree: ast.AST) -> list[str]:
    """What of its process a module asks for when it is imported."""
    found = []
    for node in executed(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            first, _, last = name.rpartition(".")
            if (first in OF_THE_PROCESS or name == "open") and last not in CONSTANT:
                found.append(name)
        elif isinstance(node, ast.Attribute) and node.attr in ASKING and ast.unparse(node.value) in OF_THE_PROCESS:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Name) and node.id in {"environ", "_environ"}:
            found.append(node.id)
    return found


@pytest.mark.parametrize("name", READY)
def test_no_module_looks_at_its_process_when_it_is_imported(name: str) -> None:
    assert looks(MODULES[name]) == []


@pytest.mark.parametrize(
    "text",
    [
        "home = os.getenv('HOME')",
        "home = os.environ['HOME']",
        "class C:\n    pid = os.getpid()",
        "def f(now=time.time()): pass",
        "debug = 'x' in sys.argv",
        "limits = open('/etc/x')",
    ],
)
def test_a_look_is_seen(text: str) -> None:
    assert len(looks(ast.parse(text))) >= 1


def test_a_function_may_look() -> None:
    assert looks(ast.parse("def f():\n    return os.getenv('HOME')\ng = lambda: os.getpid()")) == []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_needs_a_c_module_from_a_file(name: str) -> None:
    needed = {target.partition(".")[0] for _, target in imports(MODULES[name], MODULES)}
    assert (needed & C_MODULES) - BUILDS.get(name, set()) == PORTABLE.get(name, set())


def test_the_hot_commands_are_in_the_image() -> None:
    assert {f"ocirt.commands.{command}" for command in write.HOT} <= set(READY)


REHEARSED = """
import dis, gc, json, sys
from ocirt.launcher import rehearsal
import _json
for name in sys.argv[1:]:
    __import__(name)

def state():
    kept = {"modules": repr(sorted(sys.modules)), "finders": repr(sys.meta_path + sys.path_hooks + sys.path),
            "frozen": repr(gc.get_freeze_count())}
    for name, module in sys.modules.items():
        if name.partition(".")[0] in ("ocirt", "fcntl", "_signal", "time"):
            for owner in (module, *(value for value in vars(module).values() if isinstance(value, type))):
                kept |= {f"{name}.{owner.__name__}.{key}": repr(value) for key, value in vars(owner).items()
                         if key not in ("__builtins__", "__annotations__")}
    return kept

def specialised(function):
    return [found.opname for found in dis.get_instructions(function, adaptive=True) if "LOAD_GLOBAL_" in found.opname]

from ocirt.config import jsontext
from ocirt.kernel import ffi, processes
from ocirt.process import init, lifecycle
jsontext.parse(b"{}", "")  # the portable scanner is kept
asked = []
before = state()
sys.addaudithook(lambda event, arguments, asked=asked: asked.append([event, repr(arguments)]))
rehearsal.rehearse()
asked = asked[:]
after = state()
quick = [bool(specialised(function)) for function in (ffi.syscall, init.main, lifecycle.destroy, processes.unshare)]
print(json.dumps([asked, sorted(before.items() ^ after.items()), len(before), quick]))
"""


@pytest.fixture(scope="module")
def rehearsed() -> list[Any]:
    names = [name for name in READY if name != "ocirt.kernel.ffi_native"]
    ran = subprocess.run([sys.executable, "-c", REHEARSED, *names], check=True, stdout=subprocess.PIPE, timeout=60)
    found: list[Any] = json.loads(ran.stdout)
    return found


def test_the_rehearsal_asks_the_machine_nothing(rehearsed: list[Any]) -> None:
    """But for sockets, with which nothing is done, and ctypes for addresses."""
    assert {event for event, _ in rehearsed[0]} <= {"socket.__new__", "ctypes.addressof"}


def test_the_rehearsal_leaves_nothing_as_values(rehearsed: list[Any]) -> None:
    assert rehearsed[1] == []
    assert rehearsed[2] > 1000


def test_the_rehearsal_leaves_quicker_code(rehearsed: list[Any]) -> None:
    """Of what reaches the kernel, of init, of the end, and of what one version of cgroups alone has."""
    assert rehearsed[3] == [True] * 4


def test_a_command_that_fails_ends_the_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it said: the build shows it."""
    kernel = rehearsal.Kernel()
    kernel.begin(on_v2=False)
    monkeypatch.setattr(log, "_write_log", lambda fd, text: kernel.write(fd, text.encode()))
    with pytest.raises(RuntimeError, match=r"^state nobody: ocirt state nobody: container does not exist"):
        kernel.play(rehearsal.RUNTIME, ("state", "nobody"), ())


def test_what_the_rehearsal_has_no_answer_to_fails() -> None:
    kernel = rehearsal.Kernel()
    with pytest.raises(RuntimeError, match="no answer to fork"):
        kernel.function("fork")()
    with pytest.raises(RuntimeError, match="no answer to system call 57"):
        kernel.call(57)
