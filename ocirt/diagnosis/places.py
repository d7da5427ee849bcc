"""A path followed part by part below a root directory, to tell where it ends and who may pass.

What is looked through may belong to an image or to a running container: each part is opened with O_PATH and without
following, so that no link leads out of the root and no FIFO or device is opened (docs/security.md, P17).
"""

from __future__ import annotations

import _stat as stat
import errno

from ocirt import system as os
from ocirt.kernel import files as kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import stat_result

MOST_LINKS = 40  # as the kernel's MAXSYMLINKS
MOST_PARTS = 4096  # PATH_MAX: links of an image could make a path endless
SHOWN = 200  # characters of a name that an image chose

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2  # capabilities(7)
ST_NOEXEC = 8  # statvfs(3)

MISSING, FILE, LOOP, CLOSED = "missing", "file", "loop", "closed"


class Walk:
    """What was found on the way.

    passed: (path, status) of each directory in which a name was found, in order.  links: (path, target), in order.
    path: what was reached last; fd: its O_PATH descriptor; status: of it.
    end: "" when the whole path is there; MISSING: `name` is not in `path`; FILE: `path` is no directory and `name` was
    to come; LOOP: too many links; CLOSED: we may not look ourselves.
    """

    __slots__ = ("end", "fd", "links", "name", "passed", "path", "status")

    def __init__(self, root: int) -> None:
        self.fd = root
        self.path = "/"
        self.status: stat_result = kernel.fstat(root)
        self.passed: list[tuple[str, stat_result]] = []
        self.links: list[tuple[str, str]] = []
        self.end = ""
        self.name = ""


def walk(root: int, path: str) -> Walk:
    """Follow an absolute path below the root.  The caller closes `fd` by close_walk().  Raises OSError."""
    found = Walk(root)
    parts = _parts(path)
    fds = [root]
    try:
        for _ in range(MOST_PARTS):
            if not parts or found.end:
                break
            _step(found, parts, fds)
        else:
            found.end = LOOP
        found.fd = os.dup(fds[-1])
        found.status = kernel.fstat(found.fd)
        return found
    finally:
        for fd in fds[1:]:
            os.close(fd)


def close_walk(found: Walk) -> None:
    os.close(found.fd)


def _parts(path: str) -> list[str]:
    """The last part first; a "/" at the end asks for a directory, and is no part."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _step(found: Walk, parts: list[str], fds: list[int]) -> None:
    status = kernel.fstat(fds[-1])
    if not stat.S_ISDIR(status.st_mode):
        found.end, found.name = FILE, parts[-1]
        return
    part = parts.pop()
    if part == "..":
        if len(fds) > 1:
            os.close(fds.pop())
            found.path = os.path.split(found.path)[0]
        return
    try:
        fd = kernel.openat(fds[-1], part, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        found.end = MISSING if error.errno in (errno.ENOENT, errno.ENAMETOOLONG) else CLOSED
        found.name = part
        return
    found.passed.append((found.path, status))
    here = os.path.join(found.path, part)
    if stat.S_ISLNK(kernel.fstat(fd).st_mode):
        _follow(found, parts, fds, fd, here)
        return
    fds.append(fd)
    found.path = here


def _follow(found: Walk, parts: list[str], fds: list[int], link: int, here: str) -> None:
    try:
        target = kernel.readlinkat(link, "")
    finally:
        os.close(link)
    found.links.append((here, target))
    if len(found.links) > MOST_LINKS:
        found.end = LOOP
        return
    if target.startswith("/"):
        for fd in fds[1:]:
            os.close(fd)
        del fds[1:]
        found.path = "/"
    parts += _parts(target)


class Who:
    """Whose rights count: a process's, from proc_pid_status(5).  Ids are those of our own user namespace.

    uids, gids: /proc/PID/uid_map and gid_map as (first inside, first here, count), to speak as config.json does.
    """

    __slots__ = ("bounding", "effective", "gid", "gids", "groups", "uid", "uids")

    def __init__(self, proc: int, pid: str) -> None:
        """proc: descriptor of the host's /proc.  pid: a number, or "self".  Raises OSError."""
        lines = kernel.read_file(proc, f"{pid}/status").decode("utf-8", "replace").splitlines()
        fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
        self.uid = int(fields["Uid"][3])  # real, effective, saved, of the file system
        self.gid = int(fields["Gid"][3])
        self.groups = {int(gid) for gid in fields["Groups"]}
        self.effective = int(fields["CapEff"][0], 16)
        self.bounding = int(fields["CapBnd"][0], 16)
        self.uids, self.gids = (_map(kernel.read_file(proc, f"{pid}/{which}_map")) for which in ("uid", "gid"))

    def may(self, status: stat_result, wanted: int) -> bool:
        """Whether the mode allows all of wanted (4 read, 2 write, 1 execute or pass).  ACLs are not looked at."""
        mode, directory = stat.S_IMODE(status.st_mode), stat.S_ISDIR(status.st_mode)
        if inside(self.uids, status.st_uid) is not None and inside(self.gids, status.st_gid) is not None:
            if self.effective >> CAP_DAC_OVERRIDE & 1 and (directory or mode & 0o111 or not wanted & 1):
                return True
            if self.effective >> CAP_DAC_READ_SEARCH & 1 and directory and not wanted & 2:
                return True
        if status.st_uid == self.uid:
            mode >>= 6
        elif status.st_gid == self.gid or status.st_gid in self.groups:
            mode >>= 3
        return mode & wanted == wanted

    def user(self) -> str:
        """ "user 1000", as process.user has it."""
        return _spell("user", self.uids, self.uid)


def owner(who: Who, status: stat_result) -> str:
    """ "mode 0700, of user 0 and group 0", ids as who's user namespace has them."""
    user, group = _spell("user", who.uids, status.st_uid), _spell("group", who.gids, status.st_gid)
    return f"mode {stat.S_IMODE(status.st_mode):04o}, of {user} and {group}"


def let_in(who: Who, status: stat_result) -> str:
    """What is to be done about a file or directory whose mode keeps who out."""
    if inside(who.uids, status.st_uid) is None or inside(who.gids, status.st_gid) is None:
        return "chown it to ids that linux.uidMappings and gidMappings map, or map its own"
    return "chmod +x it, or run as another user"


def _spell(kind: str, mapping: list[tuple[int, int, int]], here: int) -> str:
    number = inside(mapping, here)
    return f"{kind} {number}" if number is not None else f"the unmapped {kind} {here} of the host"


def inside(mapping: list[tuple[int, int, int]], here: int) -> int | None:
    """The id in the user namespace of one of ours, None without a mapping."""
    return next((first + here - ours for first, ours, count in mapping if ours <= here < ours + count), None)


def _map(text: bytes) -> list[tuple[int, int, int]]:
    return [(int(a), int(b), int(c)) for a, b, c in (line.split() for line in text.splitlines())]


def shown(name: str) -> str:
    """A name for a sentence: an image may have chosen it."""
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}..."


def missing(found: Walk) -> str:
    """Why a walk did not arrive, "" when it did or that is not known."""
    text = ""
    if found.end == MISSING:
        text = f"{shown(os.path.join(found.path, found.name))} is not there"
        if found.path != "/":
            text += f", {shown(found.path)} is"
    elif found.end == FILE:
        text = f"{shown(found.path)}, on the way, is {kind_of(found.status.st_mode)}"
    elif found.end == LOOP:
        text = "the links on the way lead to each other"
    if text and found.links:
        link, target = found.links[-1]
        text = f"{shown(link)} is a link to {shown(target)}: {text}"
    return text


def denied(found: Walk, who: Who) -> str:
    """Which directory on the way does not let who pass, and what to do; "" when all do."""
    for path, status in found.passed:
        if not who.may(status, 1):
            return closed(path, who, status)
    return ""


def closed(path: str, who: Who, status: stat_result) -> str:
    return f"{shown(path)} ({owner(who, status)}) does not let {who.user()} pass: {let_in(who, status)}"


def kind_of(mode: int) -> str:
    """What a file is.  Not "is a directory": engines tell errors apart by such words, see remedies.py."""
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFIFO: "FIFO",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "character device",
        stat.S_IFBLK: "block device",
        stat.S_IFLNK: "symbolic link",
    }
    return f"of type {kinds.get(stat.S_IFMT(mode), 'unknown')}"


def mount_of(proc: int, pid: str, fd: int) -> tuple[str, str]:
    """(mount point, file system type) of what fd is on, as the process's mountinfo has it; ("", "") when it has not."""
    number = str(kernel.mount_id(fd)[0])
    for line in kernel.read_file(proc, f"{pid}/mountinfo").decode("utf-8", "replace").split("\n"):
        fields = line.split(" ")
        if fields[0] == number and "-" in fields:
            return fields[4], fields[fields.index("-") + 1]
    return "", ""
