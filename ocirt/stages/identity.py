"""Who the process is: standard streams, HOME, groups, ids and capabilities.  The last privileged acts.

config.md, POSIX-platform User.  The order is the kernel's: the bounding set and the groups need
privileges, changing the user takes them away (all but what KEEPCAPS keeps), and only then are the
capability sets brought down to what was asked for.

User documentation: credentials(7), setgroups(2), setresuid(2), setresgid(2).
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt import system as os
from ocirt.errors import OcirtError
from ocirt.kernel.flags import AT_FDCWD, RESOLVE_NO_MAGICLINKS
from ocirt.pipeline import Step
from ocirt.stages.capabilities import limit_capabilities, set_capabilities
from ocirt.stages.directory import denied_directory
from ocirt.stages.payload import environment, lacks_home
from ocirt.stages.umask import SetUmask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.box import Box
    from ocirt.config.views import Process

DEFAULT_UMASK = 0o022
STANDARD_STREAMS = (0, 1, 2)
NULL_DEVICE = os.makedev(1, 3)
PASSWD_LIMIT = 1 << 20  # bytes; the image's file is read into the memory of the host's process
DEFAULT_HOME = "/"


class OwnStandardStreams(Step):
    """Give the standard streams to the user, who may want to open them again by /dev/stdout.

    /dev/null is shared with everybody and stays root's.  A stream on a file system that knows no such
    owner, or is read-only, stays as it is.
    """

    __slots__ = ("uid",)

    def __init__(self, at: str, uid: int) -> None:
        self.at = at
        self.uid = uid

    def describe(self) -> str:
        return f"give the standard streams to user {self.uid}"

    def apply(self, box: Box) -> None:
        for fd in STANDARD_STREAMS:
            try:
                status = box.kernel.fstat(fd)
                is_null = stat.S_ISCHR(status.st_mode) and status.st_rdev == NULL_DEVICE
                if status.st_uid != self.uid and not is_null:
                    box.kernel.fchown(fd, self.uid, -1)
            except OSError as error:
                if error.errno not in (errno.EBADF, errno.EINVAL, errno.EPERM, errno.EROFS):
                    raise


class FindHome(Step):
    """The user's home directory out of the container's /etc/passwd, "/" when it is not there.

    The file is the image's: it may be a pipe, a device, endless or no text at all.  It is read here,
    by hand, because pwd(3) would load the container's libraries into the runtime (CVE-2019-14271).
    """

    __slots__ = ("uid",)

    def __init__(self, at: str, uid: int) -> None:
        self.at = at
        self.uid = uid

    def describe(self) -> str:
        return f"look up the home of user {self.uid}"

    def apply(self, box: Box) -> None:
        try:
            fd = box.kernel.openat2(
                AT_FDCWD, "/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=RESOLVE_NO_MAGICLINKS
            )
        except OSError:  # an image need not have one
            box.facts["home"] = DEFAULT_HOME
            return
        try:
            text = _start_of(box, fd) if stat.S_ISREG(box.kernel.fstat(fd).st_mode) else b""
        finally:
            box.kernel.close(fd)
        box.facts["home"] = home_of(self.uid, text)


def _start_of(box: Box, fd: int) -> bytes:
    text = b""
    while len(text) < PASSWD_LIMIT:
        block = box.kernel.read(fd, PASSWD_LIMIT - len(text))
        if not block:
            break
        text += block
    return text


def home_of(uid: int, passwd: bytes) -> str:
    """Field 6 of the first line of passwd(5) whose field 3 is uid; DEFAULT_HOME for none or an empty one."""
    wanted = str(uid).encode()
    for line in passwd.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted and b"\0" not in fields[5]:
            return os.fsdecode(fields[5]) or DEFAULT_HOME
    return DEFAULT_HOME


class SetGroups(Step):
    """Exactly these supplementary groups, none for (): the runtime's own must not leak in."""

    __slots__ = ("gids", "in_userns")

    def __init__(self, at: str, gids: tuple[int, ...], in_userns: bool) -> None:
        self.at = at
        self.gids = gids
        self.in_userns = in_userns

    def describe(self) -> str:
        return f"set the supplementary groups to {list(self.gids)}"

    def apply(self, box: Box) -> None:
        # user_namespaces(7): who mapped the groups without privileges may not drop them either.
        try:
            explain_unmapped("setgroups to", self.gids, self.in_userns, lambda: box.kernel.setgroups(self.gids))
        except OSError as error:
            if error.errno != errno.EPERM or not self.in_userns:
                raise
            if self.gids:
                what = "cannot set any additional groups in a rootless container"
                raise OcirtError("step-failed", what, call="setgroups", errno=errno.EPERM) from error


class SetGroup(Step):
    """Real, effective and saved group id: setresgid(2)."""

    __slots__ = ("gid", "in_userns")

    def __init__(self, at: str, gid: int, in_userns: bool) -> None:
        self.at = at
        self.gid = gid
        self.in_userns = in_userns

    def describe(self) -> str:
        return f"become group {self.gid}"

    def apply(self, box: Box) -> None:
        gid = self.gid
        explain_unmapped("setgid to", (gid,), self.in_userns, lambda: box.kernel.setresgid(gid, gid, gid))


class SetUser(Step):
    """Real, effective and saved user id: setresuid(2)."""

    __slots__ = ("uid", "in_userns")

    def __init__(self, at: str, uid: int, in_userns: bool) -> None:
        self.at = at
        self.uid = uid
        self.in_userns = in_userns

    def describe(self) -> str:
        return f"become user {self.uid}"

    def apply(self, box: Box) -> None:
        uid = self.uid
        explain_unmapped("setuid to", (uid,), self.in_userns, lambda: box.kernel.setresuid(uid, uid, uid))


def explain_unmapped(verb: str, ids: tuple[int, ...], in_userns: bool, act: Callable[[], None]) -> None:
    """act(); its EINVAL in a user namespace means that an id has no mapping there."""
    try:
        act()
    except OSError as error:
        if error.errno != errno.EINVAL or not in_userns:
            raise
        kind = "uid" if verb == "setuid to" else "gid"
        named = ", ".join(str(value) for value in ids)
        what = f"cannot {verb} unmapped {kind} {named} in user namespace"
        raise OcirtError("step-failed", what, call=verb.split()[0], errno=errno.EINVAL) from error


def umask(process: Process) -> Iterator[Step]:
    """The configured one, else 0022 as in every other runtime: "unchanged" would be the caller's accident."""
    mask = process.user.umask
    yield SetUmask(f"{process.user.at}/umask" if mask is not None else "", DEFAULT_UMASK if mask is None else mask)


def home(process: Process) -> Iterator[Step]:
    """INIT, before a seccomp filter, which may refuse openat2(2)."""
    if lacks_home(environment(process.env)):
        yield FindHome(f"{process.user.at}/uid", process.user.uid)


def identity(process: Process, in_userns: bool) -> Iterator[Step]:
    """INIT, after working_directory(): from here on the process has the user's rights only."""
    user = process.user
    yield from limit_capabilities(process)
    yield OwnStandardStreams(f"{user.at}/uid", user.uid)
    yield SetGroups(f"{user.at}/additionalGids" if user.additional_gids else "", user.additional_gids, in_userns)
    yield SetGroup(f"{user.at}/gid", user.gid, in_userns)
    yield SetUser(f"{user.at}/uid", user.uid, in_userns)
    yield from denied_directory(process)
    yield from set_capabilities(process)
