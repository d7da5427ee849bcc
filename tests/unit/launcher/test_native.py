"""The native launcher: constants survive being frozen, and a machine that cannot build it says why."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ocirt.launcher import freeze, native

TREE = Path(__file__).resolve().parents[3]

CONSTANTS = r"""
'', 'a', 'plain "quoted" ?? \\ \n', '\xe4', '\u20ac', '\U0001f600', '\udc80', b'', b'\0\xff"7',
0, 1, -5, 256, 257, -6, 2**30, -(2**64), 123456789012345678901234567890, 0.5, -1e300, True, False, None, ...,
(), (1, ('two', b'3', (4.0, None))), 'x' in {'x', 'y'}, 3 in {1, 2}, 1 == True, type(1), type(True), type(1.0)
"""
PROGRAM = f"""
import posix, sys
class C:
    def method(self, a, /, b=1, *rest, c, **more):
        inner = a
        def closure():
            return inner, b, rest, c, more
        return closure
def fails():
    try:
        raise ValueError('w\\xe4h')
    except ValueError as error:
        return error.args, error.__traceback__.tb_lineno
def numbers():
    yield from range(3)
values = ({CONSTANTS})
found = values, C().method(0, 2, 3, c=4, d=5)(), fails(), [*numbers()], C.method.__qualname__, sys.argv[1:]
posix.write(1, ascii(found).encode())
posix._exit(0)
"""


def built(tmp_path: Path, source: str) -> Path:
    """A native launcher that executes this and nothing else."""
    try:
        native.require_toolchain()
    except native.NotHere as error:
        pytest.skip(f"{error}: `make test` installs it")
    frozen = freeze.c_source([(native.BOOT, compile(source, "boot.py", "exec", dont_inherit=True))])
    native.compile_c(frozen, tmp_path / "launcher")
    return tmp_path / "launcher"


def test_what_is_frozen_is_what_was_compiled(tmp_path: Path) -> None:
    ours = subprocess.run([built(tmp_path, PROGRAM), "a\udc80"], check=True, capture_output=True, timeout=30)
    theirs = subprocess.run([sys.executable, "-c", PROGRAM, "a\udc80"], check=True, capture_output=True, timeout=30)
    assert ours.stdout == theirs.stdout
    assert theirs.stdout.endswith(b"'C.method', ['a\\udc80'])")


def test_the_core_is_completed_when_the_library_is_needed(tmp_path: Path) -> None:
    source = "import _ocirt, sys, posix; before = 'json' in sys.modules; _ocirt.complete(); import json\n"
    source += "posix.write(1, json.dumps([before, len(sys.path)]).encode()); posix._exit(0)"
    assert (
        subprocess.run([built(tmp_path, source)], check=True, capture_output=True, timeout=30).stdout == b"[false, 2]"
    )


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("/nowhere/cc", "no C compiler"),
        ("/bin/false", "the C compiler failed"),
        ("/bin/false -m64", "the C compiler failed"),
    ],
)
def test_without_a_compiler_that_works(tmp_path: Path, compiler: str, reason: str) -> None:
    """Status 3 has `make install` keep the portable launcher.  CC may hold options, as make has it."""
    shutil.copytree(TREE / "ocirt", tmp_path / "lib/ocirt")
    script = TREE / "ocirt/launcher/native.py"
    command = [sys.executable, "-I", script, tmp_path / "lib", tmp_path / "ocirt"]
    result = subprocess.run(command, env={"CC": compiler}, check=False, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (native.NOT_HERE, f"no native launcher: {reason}\n")
    assert not (tmp_path / "ocirt").exists()


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "/bin/false"])
def test_an_install_that_must_have_it_writes_nothing_without(tmp_path: Path, compiler: str) -> None:
    command = ["make", "-s", "install", "NATIVE=yes", f"CC={compiler}", f"PREFIX={tmp_path}/made", "DESTDIR="]
    result = subprocess.run(command, cwd=TREE, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("no native launcher: ")
    assert not (tmp_path / "made").exists()
