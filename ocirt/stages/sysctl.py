"""linux.sysctl: kernel parameters of the container's own namespaces.

User documentation: config-linux.md, "Sysctl"; sysctl(8).
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.config.checks_linux import sysctl_path
from ocirt.errors import KernelError
from ocirt.kernel.flags import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Linux

# Not through another mount, not through a link, not upwards: the write reaches this parameter or none
# (CVE-2025-52881).
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS


class SetSysctl(Step):
    """Write one parameter through box.proc: /proc/sys shows the namespaces of who looks, here init's."""

    __slots__ = ("key", "value")

    def __init__(self, at: str, key: str, value: str) -> None:
        self.at = at
        self.key = key
        self.value = value

    def describe(self) -> str:
        return f"set {self.key} to {self.value!r}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        path = sysctl_path(self.key)
        fd = kernel.openat2(box.proc, f"sys/{path}", os.O_WRONLY, resolve=_RESOLVE)
        try:
            kernel.write_fd(fd, self.value.encode())
        except KernelError as error:
            error.detail = f"/proc/sys/{path}"
            raise
        finally:
            kernel.close(fd)


def sysctl(linux: Linux | None) -> Iterator[Step]:
    """INIT, after the pivot: the parameters in the order of config.json."""
    for key, value in linux.sysctl.items() if linux else ():
        at = "/linux/sysctl/" + key.replace("~", "~0").replace("/", "~1")
        yield SetSysctl(at, key, value)
