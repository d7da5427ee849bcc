"""Build the native launcher: ocirt's modules, frozen, and the interpreter in one executable.  Run by `make install`:

    PYTHON -I -X no_debug_ranges ocirt/launcher/native.py DIRECTORY LAUNCHER [DESTDIR]
    PYTHON -I ocirt/launcher/native.py --check

DIRECTORY holds the installed package `ocirt`; LAUNCHER is the command's path; DESTDIR stands before both while writing.
Needs a C compiler and the static library of the interpreter that runs this file (Debian: gcc, python3-dev).  Ends with
status 3 and the reason where they are missing or fail, or Python is not 3.11: the portable launcher of write.py stays.
--check builds one that does nothing, and throws it away: to know before anything is written.
"""

from __future__ import annotations

import ast
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from ocirt.launcher import freeze, write  # noqa: E402

NOT_HERE = 3
# What Debian's built-in modules need; static, for every start would load the others.
LIBRARIES = ("-Wl,-Bstatic", "-lz", "-lexpat", "-Wl,-Bdynamic", "-lm", "-ldl")
# In place and in order: frozen.c lays together what is used together.  C modules find the interpreter in us.
OPTIONS = ("-O2", "-fno-toplevel-reorder", "-no-pie", "-s", "-Wl,--export-dynamic")
EXTENSIONS = ("_json", "termios")  # C modules that hot commands take from the library's directory
BOOT, LOADER = "ocirt.launcher.boot", "ocirt.launcher.loader"
# Of the standard library: Python asks for them as soon as text cannot be decoded, or is written to a file.
ENCODINGS = ("encodings", "encodings.aliases", "encodings.utf_8")
PROTECTIONS = ("ro-shared-page", "independent-data-copy")  # of the executable: see protect.c


class NotHere(Exception):
    """This machine cannot build the native launcher."""


def require_toolchain() -> tuple[list[str], Path]:
    """The compiler and its options, as $CC has them, and the directory of the static library.  Raises NotHere."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    directory = Path(sysconfig.get_config_var("LIBPL") or "")
    if sys.version_info[:2] != (3, 11):
        raise NotHere(f"it is made for Python 3.11, not {sys.version.split()[0]}")
    if shutil.which(compiler[0]) is None:
        raise NotHere("no C compiler")
    for needed in (directory / library(), Path(sysconfig.get_path("include")) / "Python.h"):
        if not needed.is_file():
            raise NotHere(f"no {needed} (Debian: python3-dev)")
    return compiler, directory


def library() -> str:
    return f"libpython{sysconfig.get_config_var('LDVERSION')}.a"


def frozen_c(package: Path, installed: str) -> str:
    """The C source of all modules of the package, whose files will lie below `installed`, and of boot.py."""
    sources = write.read_sources(package, ("ocirt.launcher",))
    order = write.order(sources)
    codes = {name: source.code(sources, installed) for name, source in sources.items()}
    for name, file in write.files_of(ENCODINGS).items():
        codes[name] = write.compiled(write.stripped(Path(file)), file)
    packages = write.packages(sources, installed)
    packages["encodings"] = os.path.dirname(codes["encodings"].co_filename)
    names = {"ORDER": order, "PACKAGES": packages, "EXTENSIONS": write.files_of(EXTENSIONS)}
    boot = write.with_names(write.stripped(HERE / "boot.py"), names)
    codes[BOOT] = write.compiled(boot, f"{installed}/ocirt/launcher/boot.py")
    codes[LOADER] = write.compiled(write.stripped(HERE / "loader.py"), f"{installed}/ocirt/launcher/loader.py")
    hot = [name for command in write.HOT for name in (*order[f"ocirt.commands.{command}"], f"ocirt.commands.{command}")]
    first = dict.fromkeys([BOOT, LOADER, *order["ocirt.cli"], "ocirt.cli", *hot])
    return freeze.c_source((name, codes[name]) for name in first | dict.fromkeys(codes))


def protection() -> str:
    """How the executable is protected unless the caller wishes otherwise: $SELF_EXE.  Raises SystemExit."""
    wanted = os.environ.get("SELF_EXE", "") or PROTECTIONS[0]
    if wanted not in PROTECTIONS:
        raise SystemExit(f"SELF_EXE={wanted}: neither {' nor '.join(PROTECTIONS)}")
    return wanted


def compile_c(frozen_source: str, executable: Path) -> None:
    """Raises NotHere."""
    compiler, directory = require_toolchain()
    paths = {
        "STDLIB": sysconfig.get_path("stdlib"),
        "DYNLOAD": f"{sysconfig.get_path('platstdlib')}/lib-dynload",
        "EXECUTABLE": os.path.abspath(sys.executable),
        "PREFIX": sys.base_prefix,
    }
    defines = [f'-DSELF_EXE="{protection()}"', *(f'-DPYTHON_{name}=L"{path}"' for name, path in paths.items())]
    with tempfile.TemporaryDirectory() as work:
        frozen, made = Path(work, "frozen.c"), Path(work, "ocirt")
        frozen.write_text(frozen_source)
        inputs = [HERE / "native.c", frozen, directory / library()]
        include = f"-I{sysconfig.get_path('include')}"
        command: list[str | Path] = [*compiler, *OPTIONS, include, *defines, *inputs, *LIBRARIES, "-o", made]
        if subprocess.run(command, check=False).returncode:  # no libc6-dev, no static zlib: its own lines say which
            raise NotHere("the C compiler failed")
        write.replace(executable, made.read_bytes(), 0o755)


def check() -> None:
    """Raises NotHere."""
    nothing = freeze.c_source([(BOOT, write.compiled(ast.Module([], []), "boot.py"))])
    with tempfile.TemporaryDirectory() as work:
        compile_c(nothing, Path(work, "launcher"))


def main(directory: str, launcher: str = "", destdir: str = "") -> int:
    try:
        require_toolchain()
        if directory == "--check":
            check()
        else:
            compile_c(frozen_c(Path(f"{destdir}{directory}/ocirt"), directory), Path(destdir + launcher))
    except NotHere as error:
        print(f"no native launcher: {error}", file=sys.stderr)
        return NOT_HERE
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
