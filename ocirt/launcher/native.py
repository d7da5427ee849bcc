"""Build the native launcher: the interpreter, with ocirt's modules imported, in one executable.  Run by `make install`:

    PYTHON -I -X no_debug_ranges ocirt/launcher/native.py DIRECTORY LAUNCHER [DESTDIR]
    PYTHON -I ocirt/launcher/native.py --check

DIRECTORY holds the installed package `ocirt`; LAUNCHER is the command's path; DESTDIR stands before both while writing.
Needs a C compiler and the static library of the interpreter that runs this file (Debian: gcc, python3-dev).  Ends with
status 3 and the reason where they are missing or fail, or Python is not 3.11: the portable launcher of write.py stays.
--check builds one that does nothing, and throws it away: to know before anything is written.
"""

from __future__ import annotations

import ast
import marshal
import os
import resource
import shlex
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from ocirt.launcher import placement, write  # noqa: E402

NOT_HERE = 3
# What Debian's built-in modules need.
LIBRARIES = ("-lz", "-lexpat")
# What is ours in place of theirs: see image.c and native.c.
OURS = (
    "malloc",
    "calloc",
    "realloc",
    "free",
    "pthread_self",
    "_Py_Deepfreeze_Init",
    "dlopen",
    "dlsym",
    "dlerror",
    "getaddrinfo",
)
# At fixed addresses, without gaps, and with nothing to link when it starts.
LAYOUT = ("-static", "-no-pie", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code")
OPTIONS = ("-O2", "-DNDEBUG", *LAYOUT, *(f"-Wl,--wrap={name}" for name in OURS))
EXECUTED = ("loader", "rehearsal")  # by boot.py
LEFT_OUT = ("ocirt.launcher", "ocirt.__main__")
# Of the standard library: Python asks for them as soon as text cannot be decoded, or is written to a file.
ENCODINGS = ("encodings", "encodings.aliases", "encodings.utf_8")
PIECE = 16  # bytes before each piece of an image: address and size
FAILED = 1  # the interpreter's exit status when what it reads raises an exception
IMAGE_DEADLINE = 120  # seconds; it takes half of one
LOADED, WRITABLE = 1, 2  # PT_LOAD and PF_W of elf(5)
PROTECTIONS = ("ro-shared-page", "independent-data-copy")  # of the executable: see protect.c


class NotHere(Exception):
    """This machine cannot build the native launcher."""


class Fault(Exception):
    """What is executed for the image fails: a fault of ours, which a portable launcher in its place would hide."""


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


def entry() -> tuple[str, ...]:
    """The option by which the executable begins before the C library; none where early.c does not know how."""
    return ("-Wl,-e,early_start",) if sysconfig.get_config_var("MULTIARCH") == "x86_64-linux-gnu" else ()


def boot(package: Path, installed: str, profile: str) -> bytes:
    """What the launcher reads while its image is made: the places in its memory, as the profile has them; and boot.py
    and the names it wants, marshalled.

    The package's files will lie below `installed`.
    """
    sources = write.read_sources(package, LEFT_OUT)
    trees, files = code(sources, installed)
    numbers = owners(trees)
    packages = write.packages(sources, installed)
    packages["encodings"] = os.path.dirname(files["encodings"])
    names = {
        "CODES": {name: marshal.dumps(write.compiled(tree, files[name])) for name, tree in trees.items()},
        "READY": ready(sources),
        "OWNERS": numbers,
        "ORDER": write.order(sources),
        "PACKAGES": packages,
    }
    code_of_boot = write.compiled(write.stripped(HERE / "boot.py"), f"{installed}/ocirt/launcher/boot.py")
    places = placement.places(placement.read(profile), digests(trees), numbers)
    return places + marshal.dumps((code_of_boot, names))


def code(sources: dict[str, write.Source], installed: str) -> tuple[dict[str, ast.Module], dict[str, str]]:
    """The stripped modules by name, and the files they will have."""
    trees = {name: write.without_import_system(source.tree, sources) for name, source in sources.items()}
    files = {name: f"{installed}/{source.file}" for name, source in sources.items()}
    for name, file in write.files_of(ENCODINGS).items():
        trees[name], files[name] = write.stripped(Path(file)), file
    for name in EXECUTED:
        trees[f"ocirt.launcher.{name}"] = write.stripped(HERE / f"{name}.py")
        files[f"ocirt.launcher.{name}"] = f"{installed}/ocirt/launcher/{name}.py"
    return trees, files


def owners(modules: Iterable[str]) -> dict[str, int]:
    """The numbers that image.c has for what memory is taken for."""
    return {name: number for number, name in enumerate((placement.CORE, *modules))}


def digests(trees: dict[str, ast.Module]) -> dict[str, str]:
    """Of the owners of memory."""
    return {
        placement.CORE: placement.digest_of_core(),
        **{name: placement.digest(tree) for name, tree in trees.items()},
    }


def ready(sources: dict[str, write.Source]) -> tuple[str, ...]:
    """The modules that need nothing of the standard library but what is built in: those of the hot commands first, that
    they lie together."""
    built_in = {*sys.builtin_module_names, "_ocirt"}
    wanted = {name: {other for other in source.imports() if other} for name, source in sources.items()}
    left = {name for name in sources if all(root(other) in {"ocirt", *built_in} for other in wanted[name])}
    while lacking := {name for name in left if wanted[name] & sources.keys() - left}:
        left -= lacking
    hot = [f"ocirt.commands.{command}" for command in write.HOT]
    return tuple(dict.fromkeys(name for name in (*hot, *sources) if name in left))


def root(name: str) -> str:
    return name.partition(".")[0]


def protection() -> str:
    """How the executable is protected unless the caller wishes otherwise: $SELF_EXE.  Raises SystemExit."""
    wanted = os.environ.get("SELF_EXE", "") or PROTECTIONS[0]
    if wanted not in PROTECTIONS:
        raise SystemExit(f"SELF_EXE={wanted}: neither {' nor '.join(PROTECTIONS)}")
    return wanted


def build(boot: bytes, executable: Path, *options: str) -> None:
    """Write the launcher that has read this, which is as boot() has it; options: more for the compiler.

    Raises NotHere.
    """
    with tempfile.TemporaryDirectory() as work:
        interpreter = Path(work, "interpreter")
        compile_c(interpreter, *options)
        image = image_of(interpreter, boot)
        write.replace(executable, with_data(interpreter.read_bytes(), image), 0o755)


def compile_c(executable: Path, *options: str) -> None:
    """Raises NotHere."""
    compiler, directory = require_toolchain()
    paths = {
        "STDLIB": sysconfig.get_path("stdlib"),
        "DYNLOAD": f"{sysconfig.get_path('platstdlib')}/lib-dynload",
        "EXECUTABLE": os.path.abspath(sys.executable),
        "PREFIX": sys.base_prefix,
    }
    defines = [f'-DSELF_EXE="{protection()}"', *(f'-DPYTHON_{name}=L"{path}"' for name, path in paths.items())]
    inputs = [HERE / "native.c", directory / library()]
    include = f"-I{sysconfig.get_path('include')}"
    command: list[str | Path] = [*compiler, *OPTIONS, *entry(), *options, include, *defines]
    command += [*inputs, *LIBRARIES, HERE / "end.c", "-lm", "-o", executable]
    ran = subprocess.run(command, check=False, stderr=subprocess.PIPE)
    if ran.returncode:  # no libc6-dev, no static zlib: its own lines say which
        sys.stderr.buffer.write(ran.stderr)
        raise NotHere("the C compiler failed")


def image_of(interpreter: Path, boot: bytes) -> bytes:
    """The interpreter's data after it has executed boot, as save_image() writes them.

    Raises NotHere when they hold something of the process they were made in, such as a pointer to its stack: that would
    be another in each.
    """
    first = made_image(interpreter, boot)
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    # An unlimited stack has the kernel lay out a process from below (arch/x86/mm/mmap.c), even where nothing is random.
    resource.setrlimit(resource.RLIMIT_STACK, (hard, hard))
    try:
        second = made_image(interpreter, boot)
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
    if first != second:
        raise NotHere("no two images of the interpreter are the same")
    return first


def made_image(interpreter: Path, boot: bytes) -> bytes:
    """What the interpreter writes.  Raises NotHere, Fault."""
    try:
        made = subprocess.run(
            ["ocirt"],
            executable=interpreter,
            env={},
            input=boot,
            stdout=subprocess.PIPE,
            check=False,
            timeout=IMAGE_DEADLINE,
        )
    except subprocess.TimeoutExpired:
        raise Fault(f"what is executed before the image is kept has not ended in {IMAGE_DEADLINE} s") from None
    if made.returncode == FAILED:
        raise Fault("what is executed before the image is kept has failed, see above")
    if made.returncode:
        raise NotHere("the interpreter does not run")
    return made.stdout


def with_data(executable: bytes, image: bytes) -> bytes:
    """The executable with the image's pieces as its data.  They are in the last of its segments (elf(5)); what follows
    in the file, for debuggers, goes.  What belongs to the C library stays as it was linked."""
    header, offset, start = data_segment(executable)
    (size,) = struct.unpack_from("<Q", executable, header + 32)
    made = bytearray(executable[: offset + size])
    at = 0
    while at < len(image):
        address, size = struct.unpack_from("QQ", image, at)
        piece = image[at + PIECE : at + PIECE + size]
        made += bytes(max(0, offset + address - start + size - len(made)))
        made[offset + address - start : offset + address - start + size] = piece
        at += PIECE + size
    struct.pack_into("<Q", made, header + 32, len(made) - offset)
    struct.pack_into("<Q", made, 40, 0)  # no table of sections
    struct.pack_into("<HH", made, 60, 0, 0)
    return bytes(made)


def data_segment(executable: bytes | bytearray) -> tuple[int, int, int]:
    """Where an executable has the header of its data, the data, and their address.  Raises NotHere."""
    headers, size, count = struct.unpack_from("<Q14xHH", executable, 32)
    for header in range(headers, headers + count * size, size):
        kind, flags, offset, start = struct.unpack_from("<IIQQ", executable, header)
        if (kind, flags & WRITABLE) == (LOADED, WRITABLE):
            return header, offset, start
    raise NotHere("the executable has no data")


def check() -> None:
    """Raises NotHere."""
    with tempfile.TemporaryDirectory() as work:
        boot = marshal.dumps((write.compiled(ast.Module([], []), "boot.py"), {}))
        build(placement.places({}, {}, {}) + boot, Path(work, "launcher"))


def install(package: Path, installed: str, launcher: Path) -> None:
    """Put the launcher in its place if it runs, by the early start (early.c) too, as `run` does.  Raises NotHere."""
    with tempfile.TemporaryDirectory() as work:
        made = Path(work, "launcher")
        build(boot(package, installed, placement.PROFILE.read_text()), made)
        if subprocess.run([made, "--version", "run"], env={}, stdout=subprocess.DEVNULL, check=False).returncode:
            raise NotHere("the launcher that was made does not run")
        write.replace(launcher, made.read_bytes(), 0o755)


def main(directory: str, launcher: str = "", destdir: str = "") -> int:
    try:
        require_toolchain()
        if directory == "--check":
            check()
        else:
            install(Path(f"{destdir}{directory}/ocirt"), directory, Path(destdir + launcher))
    except NotHere as error:
        print(f"no native launcher: {error}", file=sys.stderr)
        return NOT_HERE
    except Fault as error:
        print(f"the native launcher cannot be made: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
