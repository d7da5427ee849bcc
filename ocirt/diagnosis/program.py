"""Why a program cannot be executed: execve(2) has a dozen errnos, and one of them stands for five mistakes.

Looked up by descriptor in the root that the program was to see, with the rights that it was to have.  A file is read
only when it is a regular one with an x bit, which none of procfs, sysfs or tracefs has, and at most its beginning.
"""

from __future__ import annotations

import _stat as stat
import errno
import struct

from ocirt import system as os
from ocirt.diagnosis.places import (
    ST_NOEXEC,
    Walk,
    close_walk,
    closed,
    denied,
    kind_of,
    let_in,
    missing,
    mount_of,
    owner,
    shown,
    walk,
)
from ocirt.kernel import files as kernel
from ocirt.kernel.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.diagnosis.places import Who

HEAD = 256  # bytes of a script's first line that the kernel looks at: BINPRM_BUF_SIZE
MOST_NESTED = 5  # interpreters of interpreters: execve(2)
ONE_ARGUMENT = 32 * 4096 - 1  # bytes: MAX_ARG_STRLEN, less the NUL
ALL_ARGUMENTS = 6 << 20  # bytes: three quarters of _STK_LIM
PT_INTERP = 3
MOST_HEADERS = 64  # program headers; a program has a dozen
VFS_CAP_EFFECTIVE = 1  # flag of security.capability: capabilities(7), "File capabilities"

# e_machine of elf(5) -> name; Python itself says which one is this machine's.
MACHINES = {
    2: "SPARC",
    3: "32-bit x86",
    4: "m68k",
    8: "MIPS",
    15: "PA-RISC",
    20: "32-bit PowerPC",
    21: "64-bit PowerPC",
    22: "S/390",
    40: "32-bit ARM",
    42: "SuperH",
    43: "64-bit SPARC",
    62: "x86-64",
    183: "64-bit ARM",
    243: "RISC-V",
    247: "BPF",
    258: "LoongArch",
}


class Call:
    """What was to be executed.

    path: of the program, "" when `name` was to be found in search_path.  cwd: what relative paths are relative to.
    args, env: as the program was to get them.  at: pointer of args.
    """

    __slots__ = ("args", "at", "cwd", "env", "name", "path", "search_path")

    def __init__(
        self,
        name: str,
        path: str = "",
        search_path: str = "",
        cwd: str = "/",
        args: tuple[str, ...] = (),
        env: tuple[str, ...] = (),
        at: str = "",
    ) -> None:
        self.name = name
        self.path = path
        self.search_path = search_path
        self.cwd = cwd
        self.args = args
        self.env = env
        self.at = at


class View:
    """root: O_PATH descriptor of the root directory it was looked for in.  proc: of the host's /proc.

    pid: whose mounts and rights count, "self" for our own.
    """

    __slots__ = ("pid", "proc", "root", "who")

    def __init__(self, root: int, proc: int, pid: str, who: Who) -> None:
        self.root = root
        self.proc = proc
        self.pid = pid
        self.who = who

    def mount_point(self, fd: int) -> str:
        return mount_of(self.proc, self.pid, fd)[0]


def cause(view: View, call: Call, number: int) -> tuple[str, str]:
    """(cause and remedy in one sentence, pointer of the setting that is wrong); "" for what is not known.

    number: the errno.  Raises OSError.
    """
    if not call.path:
        return _not_in_path(view, call), ""
    if number == errno.E2BIG:
        return _too_long(call)
    if number in SIMPLE:
        return SIMPLE[number], ""
    found = walk(view.root, os.path.join(call.cwd, call.path))
    try:
        text = missing(found)
        if text:
            return f"{text}: correct {call.at}, or put the program there", ""
        if found.end:  # we may not look ourselves
            return "", ""
        if stat.S_ISDIR(found.status.st_mode):
            return f"{shown(found.path)} is {kind_of(found.status.st_mode)}: name a program in it", ""
        return _file_cause(view, call, found, number, 0), ""
    finally:
        close_walk(found)


def directory_cause(view: View, path: str) -> str:
    """Why process.cwd cannot be entered, "" when not known.  Raises OSError."""
    found = walk(view.root, path)
    try:
        text = missing(found)
        if text:
            return f"{text}: correct process.cwd, or make it in the root file system"
        if found.end:
            return ""
        if not stat.S_ISDIR(found.status.st_mode):
            return f"{shown(found.path)} is {kind_of(found.status.st_mode)}: correct process.cwd"
        text = denied(found, view.who)
        if not text and not view.who.may(found.status, 1):
            text = closed(found.path, view.who, found.status)
        return text
    finally:
        close_walk(found)


SIMPLE = {
    errno.ETXTBSY: "somebody has the file open for writing: execute it when it is closed, and copy programs by"
    " writing a new file and renaming it (fuser -v names the process)",
    errno.EAGAIN: "the user has as many processes as RLIMIT_NPROC allows: raise it in process.rlimits",
    errno.ENOMEM: "memory ran out while the program was loaded: raise linux.resources.memory.limit, or RLIMIT_AS in"
    " process.rlimits",
    errno.ELIBBAD: "the loader that the program names is no ELF file: put the right one into the root file system",
    errno.EISDIR: "the loader that the program names is a directory: put the right file into the root file system",
    errno.ENFILE: "the host has no more open files to give: raise the sysctl fs.file-max",
}


def _file_cause(view: View, call: Call, found: Walk, number: int, depth: int) -> str:
    """Why the file at the end of the walk is not executed.  depth: how many interpreters led to it."""
    if number == errno.EACCES:
        text = _refusal(view, found)
        if text or depth:
            return text
    if number == errno.EPERM:
        return _capabilities_cause(view, found)
    if number in (errno.ENOENT, errno.ENOEXEC, errno.EACCES, errno.ELOOP) and depth <= MOST_NESTED:
        return _content_cause(view, call, found, number, depth)
    return ""


def _refusal(view: View, found: Walk) -> str:
    """EACCES: a directory on the way, the file's mode, its mount."""
    path, who = shown(found.path), view.who
    text = denied(found, who)
    if text:
        return text
    if not stat.S_ISREG(found.status.st_mode):
        return f"{path} is {kind_of(found.status.st_mode)}: name a program"
    if not found.status.st_mode & 0o111:
        return f"{path} has no x bit ({owner(who, found.status)}): chmod +x it"
    if not who.may(found.status, 1):
        return f"{path} ({owner(who, found.status)}) is not for {who.user()}: {let_in(who, found.status)}"
    if kernel.fstatvfs(found.fd).f_flag & ST_NOEXEC:
        mount_point = shown(view.mount_point(found.fd))
        return f"{mount_point} is mounted noexec, and {path} is on it: leave noexec out of its options"
    return ""


def _capabilities_cause(view: View, found: Walk) -> str:
    """EPERM: a file whose capabilities take effect at once is not executed without all of them."""
    try:
        value = os.getxattr(f"/proc/self/fd/{found.fd}", "security.capability")
    except OSError:
        return ""
    flags, low, _, high = struct.unpack_from("<IIII", value.ljust(16, b"\0"))
    lacking = (low | high << 32) & ~view.who.bounding
    if not flags & VFS_CAP_EFFECTIVE or not lacking:
        return ""
    names = " ".join(name for bit, name in enumerate(CAPABILITIES) if lacking >> bit & 1)
    return (
        f"{shown(found.path)} has the file capabilities {names}, which process.capabilities.bounding lacks:"
        " add them there, or take them from the file (setcap -r)"
    )


def _content_cause(view: View, call: Call, found: Walk, number: int, depth: int) -> str:
    path, head = shown(found.path), _head(view, found)
    if head[:4] == b"\x7fELF":
        return _elf_cause(view, call, found, head, number, depth)
    if head[:2] == b"#!":
        return _script_cause(view, call, found, head, number, depth)
    if number != errno.ENOEXEC or not _readable(found):
        return ""
    if not head:
        return f"{path} is empty: its build or copy went wrong"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:2] == b"#!":
        return f"something stands before the #! of {path}: #! must be its first two bytes (a byte order mark is three)"
    if head[:2] == b"MZ" or head[:4] in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        return f"{path} is a program for another operating system: build it for Linux"
    if b"\0" in head:
        return f"{path} is neither an ELF program nor a script: see what `file` says of it"
    return f"{path} is a text without #! and an interpreter in its first line: add one, such as #!/bin/sh"


def _readable(found: Walk) -> bool:
    return stat.S_ISREG(found.status.st_mode) and bool(found.status.st_mode & 0o111)


def _head(view: View, found: Walk) -> bytes:
    """The beginning of a program; b"" of anything else."""
    return _part(view, found, 0, HEAD) if _readable(found) else b""


def _part(view: View, found: Walk, offset: int, size: int) -> bytes:
    fd = kernel.reopen(view.proc, found.fd, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def _script_cause(view: View, call: Call, found: Walk, head: bytes, number: int, depth: int) -> str:
    path = shown(found.path)
    line = head[2:].partition(b"\n")[0].partition(b"\0")[0]  # as C reads it
    words = line.split(None, 1) if line.strip(b" \t") else []
    if line.endswith(b"\r") and len(words) < 2:
        return (
            f"the first line of {path} ends in CR LF, so that the CR belongs to the interpreter's name: write it with"
            r" LF alone (sed -i 's/\r$//')"
        )
    if not words:
        return f"no interpreter follows the #! of {path}: name one, such as #!/bin/sh"
    return _interpreter_cause(view, call, found, os.fsdecode(words[0]), "interpreter", number, depth)


def _interpreter_cause(view: View, call: Call, found: Walk, name: str, kind: str, number: int, depth: int) -> str:
    """The interpreter of a script, or the loader of a program: not there, or itself not executed."""
    wanted = walk(view.root, os.path.join(call.cwd, name))
    try:
        text = missing(wanted)
        if text and number != errno.EACCES:
            remedy = "correct that line, or put it there"
            if kind == "loader":
                remedy = "put the C library that it was linked with there, or link it statically"
            return f"{shown(found.path)} needs the {kind} {shown(name)}: {text}: {remedy}"
        text = "" if wanted.end else _file_cause(view, call, wanted, number, depth + 1)
        return f"{shown(found.path)} needs the {kind} {shown(name)}: {text}" if text else ""
    finally:
        close_walk(wanted)


def _elf_cause(view: View, call: Call, found: Walk, head: bytes, number: int, depth: int) -> str:
    path = shown(found.path)
    machine = _machine(head)
    own = _machine(_own_head())
    if number == errno.ENOEXEC:
        if machine != own:
            return (
                f"{path} is a program for {_name(machine)}, and this machine executes {_name(own)}: use an image for"
                " it, or register an emulator (binfmt_misc, qemu-user-static)"
            )
        return f"{path} is a damaged or incomplete ELF program: see what `readelf -hl` says of it"
    loader = _loader(view, found, head)
    if not loader:
        return ""
    return _interpreter_cause(view, call, found, loader, "loader", number, depth)


def _name(machine: tuple[int, int]) -> str:
    bits, number = machine
    return MACHINES.get(number, f"machine {number} of elf(5), {bits} bits")


def _order(head: bytes) -> str:
    return ">" if head[5:6] == b"\2" else "<"


def _machine(head: bytes) -> tuple[int, int]:
    """(bits, e_machine)."""
    if len(head) < 20:
        return 0, 0
    return (64 if head[4] == 2 else 32), struct.unpack_from(f"{_order(head)}H", head, 18)[0]


def _own_head() -> bytes:
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, HEAD, 0)
    finally:
        os.close(fd)


def _loader(view: View, found: Walk, head: bytes) -> str:
    """The path that PT_INTERP names, "" without one."""
    order, wide = _order(head), head[4:5] == b"\2"
    try:
        table = struct.unpack_from(f"{order}Q" if wide else f"{order}I", head, 32 if wide else 28)[0]
        size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
        headers = _part(view, found, table, size * min(count, MOST_HEADERS))
        for start in range(0, len(headers), max(size, 1)):
            if struct.unpack_from(f"{order}I", headers, start)[0] == PT_INTERP:
                layout = (f"{order}Q", 8, 32) if wide else (f"{order}I", 4, 16)
                offset = struct.unpack_from(layout[0], headers, start + layout[1])[0]
                length = struct.unpack_from(layout[0], headers, start + layout[2])[0]
                return os.fsdecode(_part(view, found, offset, min(length, 4096)).partition(b"\0")[0])
    except (struct.error, OverflowError):
        return ""
    return ""


def _not_in_path(view: View, call: Call) -> str:
    """Each directory of PATH: whether it is there, and whether what it has of that name is not to be executed."""
    gone = []
    directories = [directory or "." for directory in call.search_path.split(":")]
    for directory in directories:
        found = walk(view.root, os.path.join(call.cwd, directory, call.name))
        try:
            if not found.end:
                text = _refusal(view, found)
                if stat.S_ISDIR(found.status.st_mode):
                    text = f"{shown(found.path)} is {kind_of(found.status.st_mode)}: name a program in it"
                if text:
                    return text
            elif found.links and missing(found):
                return f"{missing(found)}: put it there"
            elif os.path.split(os.path.join(call.cwd, directory))[1] == found.name:
                gone.append(directory)
        finally:
            close_walk(found)
    there = [directory for directory in directories if directory not in gone]
    if not there:
        return f"none of the directories of PATH ({shown(call.search_path)}) is there: correct PATH in process.env"
    return f"{shown(call.name)} is not in {shown(', '.join(there))}: install it there, or correct PATH in process.env"


def _too_long(call: Call) -> tuple[str, str]:
    """E2BIG: one text, or all of them."""
    at = call.at.rpartition("/args")[0]
    for name, texts in (("args", call.args), ("env", call.env)):
        for number, text in enumerate(texts):
            length = len(os.fsencode(text))
            if length > ONE_ARGUMENT:
                what = f"it has {length} bytes, the kernel takes {ONE_ARGUMENT} for one: hand it over in a file"
                return what, f"{at}/{name}/{number}"
    total = sum(len(os.fsencode(text)) + 9 for text in (*call.args, *call.env))  # a NUL and a pointer each
    return (
        f"process.args and process.env have {total} bytes together; a quarter of RLIMIT_STACK is allowed, at most"
        f" {ALL_ARGUMENTS}: raise it in process.rlimits, or hand them over in a file"
    ), f"{at}/args"
