"""Security modules: the AppArmor profile and the SELinux label of the program, set for the next execve.

config.md, apparmorProfile and selinuxLabel; proc_pid_attr(5).
"""

from __future__ import annotations

import errno

from ocirt.errors import OcirtError
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocirt.box import Box
    from ocirt.config.views import Process
    from ocirt.host import Host


class SetProfile(Step):
    """AppArmor.  Its own directory (Linux 5.8) is there beside other modules; the old file belongs to the first one.

    Written through the host's /proc: over the container's, a mount could swallow it (CVE-2019-16884).
    """

    __slots__ = ("profile",)

    def __init__(self, at: str, profile: str) -> None:
        self.at = at
        self.profile = profile

    def describe(self) -> str:
        return f"use AppArmor profile {self.profile} from execve on"

    def apply(self, box: Box) -> None:
        data = f"exec {self.profile}".encode()
        try:
            box.kernel.write_file(box.proc, "self/attr/apparmor/exec", data)
        except OSError as error:
            # ENOENT is the answer of open(2) on an old kernel, but of write(2) for a profile that is not loaded.
            if error.errno != errno.ENOENT or getattr(error, "call", "") == "write":
                raise
            box.kernel.write_file(box.proc, "self/attr/exec", data)


class SetLabel(Step):
    """SELinux."""

    __slots__ = ("label",)

    def __init__(self, at: str, label: str) -> None:
        self.at = at
        self.label = label

    def describe(self) -> str:
        return f"use SELinux label {self.label} from execve on"

    def apply(self, box: Box) -> None:
        box.kernel.write_file(box.proc, "self/attr/exec", self.label.encode())


class LabelKeys(Step):
    """SELinux.  label: of the keys and keyrings that are made from now on, "" for the kernel's own choice."""

    __slots__ = ("label",)

    def __init__(self, at: str, label: str) -> None:
        self.at = at
        self.label = label

    def describe(self) -> str:
        return f"use SELinux label {self.label} for new keys" if self.label else "let new keys have their own labels"

    def apply(self, box: Box) -> None:
        box.kernel.write_file(box.proc, "self/attr/keycreate", self.label.encode())


def labelled_keys(steps: Iterable[Step], process: Process) -> Iterator[Step]:
    """INIT.  The keyring belongs to the program, which has another label than the process that makes it."""
    at = f"{process.at}/selinuxLabel"
    yield LabelKeys(at, process.selinux_label or "")
    yield from steps
    yield LabelKeys(at, "")


def lsm(process: Process | None, host: Host) -> Iterator[Step]:
    """INIT.  Raises OcirtError "unsupported" when the host does not have the module."""
    if process is None:
        return
    if process.apparmor_profile:
        at = f"{process.at}/apparmorProfile"
        if not host.apparmor:
            raise OcirtError("unsupported", "apparmor: config provided but apparmor not supported", at=at)
        yield SetProfile(at, process.apparmor_profile)
    if process.selinux_label:
        at = f"{process.at}/selinuxLabel"
        if not host.selinux:
            what = "selinux label is specified in config, but selinux is disabled or not supported"
            raise OcirtError("unsupported", what, at=at)
        yield SetLabel(at, process.selinux_label)
