"""A file of C of the native launcher, made into a module of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.launcher import TREE

MODULE = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include "{file}"
static PyMethodDef methods[] = {{{methods}, {{NULL}}}};
static struct PyModuleDef definition = {{PyModuleDef_HEAD_INIT, .m_name = "_ocirt", .m_methods = methods}};
PyMODINIT_FUNC PyInit__ocirt(void) {{ return PyModule_Create(&definition); }}
"""

# Every access is checked.
CHECKED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compiled(work: Path, file: str, methods: str, *options: str) -> Path:
    """methods: the file's macro.  The module's file, in work.  Skips the test where Python's headers are not there."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        pytest.skip(f"no {header}: `make test` installs it")
    source, module = work / "module.c", work / "m.so"
    source.write_text(MODULE.format(file=file, methods=methods))
    places = [f"-I{header.parent}", f"-I{TREE}/ocirt/launcher"]
    subprocess.run(["cc", "-shared", "-fPIC", *options, *places, "-o", module, source], check=True, timeout=60)
    return module


def environment_of_checked() -> dict[str, str]:
    """For a Python that loads what was compiled with CHECKED.  Skips the test where the compiler has no libasan."""
    found = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], check=False, capture_output=True, text=True, timeout=30
    )
    library = found.stdout.strip()
    if not os.path.isabs(library):
        pytest.skip("no libasan of the compiler's")
    return {
        "LD_PRELOAD": f"{library} {library.replace('asan', 'ubsan')}",
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }


def blocks_kept(work: Callable[[], None]) -> int:
    """How many blocks of Python's memory are taken after work that were not before, when it has been done twice."""
    work()
    work()
    before = sys.getallocatedblocks()
    work()
    return sys.getallocatedblocks() - before


def load(module: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_ocirt", module)
    assert spec is not None
    return importlib.util.module_from_spec(spec)
