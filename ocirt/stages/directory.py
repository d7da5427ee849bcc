"""The working directory: made when it is missing, entered, and proved to be inside the container.

A working directory is a descriptor that outlives everything: one that names a directory of the host
(by a leaked /proc/self/fd/N) lets the container out (CVE-2024-21626).
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.errors import OcirtError
from ocirt.kernel.flags import AT_FDCWD, RESOLVE_NO_MAGICLINKS
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Process

DENIED = (errno.EACCES, errno.EPERM)


class MakeDirectory(Step):
    """With its parents, mode 0755.  Where root of the container has no right to look, nothing is made."""

    __slots__ = ("path",)

    def __init__(self, at: str, path: str) -> None:
        self.at = at
        self.path = path

    def describe(self) -> str:
        return f"make sure that {self.path} exists"

    def apply(self, box: Box) -> None:
        try:
            box.kernel.close(box.kernel.mkdir_in_root(box.root, self.path, 0o755))
        except OSError as error:
            if error.errno not in DENIED:
                raise


class EnterDirectory(Step):
    """Enter it with root's rights; where those are refused (a user's own FUSE or NFS), leave it for later.

    It is verified at once, because a seccomp filter that comes before the change of user may refuse getcwd(2).
    """

    __slots__ = ("path",)

    def __init__(self, at: str, path: str) -> None:
        self.at = at
        self.path = path

    def describe(self) -> str:
        return f"change directory to {self.path}"

    def apply(self, box: Box) -> None:
        try:
            enter(box, self.path)
        except OSError as error:
            if error.errno not in DENIED:
                raise refusal(self.path, error) from error
            box.facts["chdir"] = "denied"
        else:
            verify(box)


class EnterDeniedDirectory(Step):
    """As the user: enter what root could not."""

    __slots__ = ("path",)

    def __init__(self, at: str, path: str) -> None:
        self.at = at
        self.path = path

    def describe(self) -> str:
        return f"change directory to {self.path}, if root was denied it"

    def apply(self, box: Box) -> None:
        if box.facts.pop("chdir", "") != "denied":
            return
        try:
            enter(box, self.path)
        except OSError as error:
            raise refusal(self.path, error) from error
        verify(box)


def enter(box: Box, path: str) -> None:
    """chdir(2), but not through the links of procfs that lead to other processes' directories."""
    fd = box.kernel.openat2(AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_NO_MAGICLINKS)
    try:
        box.kernel.fchdir(fd)
    finally:
        box.kernel.close(fd)


def verify(box: Box) -> None:
    """See that the kernel finds a way from our root to the working directory."""
    try:
        reached = box.kernel.getcwd()
    except OSError as error:
        if error.errno != errno.ENOENT:  # ENOENT: removed meanwhile, or out of reach
            raise
        reached = ""
    if not reached.startswith("/"):  # "(unreachable)/..."
        what = (
            "current working directory is outside of container mount namespace root "
            "-- possible container breakout detected"
        )
        raise OcirtError("step-failed", what)


def refusal(path: str, error: OSError) -> OcirtError:
    reason = os.strerror(error.errno or 0).lower()
    what = f'chdir to cwd ("{path}") set in config.json failed: {reason}'
    return OcirtError("step-failed", what, call="chdir", errno=error.errno or 0)


def make_directory(process: Process | None) -> Iterator[Step]:
    """INIT, after the mounts, before the root becomes read-only.  Only for create: exec makes nothing."""
    if process is not None and process.cwd != "/":
        yield MakeDirectory(f"{process.at}/cwd", process.cwd)


def working_directory(process: Process) -> Iterator[Step]:
    """INIT, before the change of user; denied_directory() belongs after it."""
    yield EnterDirectory(f"{process.at}/cwd", process.cwd)


def denied_directory(process: Process) -> Iterator[Step]:
    yield EnterDeniedDirectory(f"{process.at}/cwd", process.cwd)
