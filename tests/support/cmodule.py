"""A file of C of the native launcher, made into a module of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sysconfig
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


def load(module: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_ocirt", module)
    assert spec is not None
    return importlib.util.module_from_spec(spec)
