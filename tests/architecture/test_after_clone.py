"""Code that runs after the clone: the imports are sealed and the file system is the container's."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import functions, imports, modules

MODULES = modules()
AFTER_CLONE = [
    name
    for name in MODULES
    if name.startswith(("ocirt.kernel.", "ocirt.stages."))
    or name
    in (
        "ocirt.box",
        "ocirt.channel",
        "ocirt.errors",
        "ocirt.hooks",
        "ocirt.log",
        "ocirt.pipeline",
        "ocirt.process.init",
        "ocirt.process.joiner",
        "ocirt.trace.recorder",
    )
]
# These make glibc or Python read the container's files: nsswitch.conf, codecs, sources for a traceback.
FORBIDDEN_MODULES = {"pwd", "grp", "subprocess", "traceback", "socket", "ctypes", "encodings", "linecache", "shutil"}
FORBIDDEN_ATTRIBUTES = {"execvp", "execvpe", "execlp", "execlpe", "getaddrinfo", "expanduser", "system", "popen"}
# ffi's fallback for a Python without _ctypes; loaded before the clone.
MAY_IMPORT = {"ocirt.kernel.ffi_public": {"ctypes"}}


@pytest.mark.parametrize("name", AFTER_CLONE)
def test_no_import_inside_a_function(name: str) -> None:
    late = [
        f"line {line} in {function.name}(): {target}"
        for function in functions(MODULES[name])
        for line, target in imports(function, MODULES)
    ]
    assert not late


@pytest.mark.parametrize("name", AFTER_CLONE)
def test_nothing_that_reads_the_containers_files(name: str) -> None:
    loaded = {target.split(".")[0] for _, target in imports(MODULES[name], MODULES)}
    assert not (loaded & FORBIDDEN_MODULES) - MAY_IMPORT.get(name, set())
    used = {node.attr for node in ast.walk(MODULES[name]) if isinstance(node, ast.Attribute)}
    assert not used & FORBIDDEN_ATTRIBUTES
