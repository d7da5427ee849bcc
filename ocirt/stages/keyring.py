"""A session keyring of the container's own: the caller's keys are not the container's, keyrings(7)."""

from __future__ import annotations

import errno

from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box

# Who may search the keyring, and so join it (<linux/key.h>): its owner's user; in a user namespace the
# processes of a container have other owners in the kernel's eyes.
USER_SEARCH = 0x80000
OTHER_SEARCH = 0x8


class JoinSessionKeyring(Step):
    """Join the keyring of this name or make it; `exec` joins the same one.

    A kernel without keyrings (ENOSYS) has no keys to leak.
    """

    __slots__ = ("name", "permission")

    def __init__(self, name: str, permission: int) -> None:
        self.at = ""
        self.name = name
        self.permission = permission

    def describe(self) -> str:
        return f"join session keyring {self.name}"

    def apply(self, box: Box) -> None:
        try:
            serial = box.kernel.join_session_keyring(self.name)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                return
            raise
        described = box.kernel.keyctl_describe(serial)
        permissions = int(described.split(";")[3], 16)
        box.kernel.keyctl_setperm(serial, permissions | self.permission)


def session_keyring(name: str, in_userns: bool = False) -> Iterator[Step]:
    """INIT, before the user changes.  name: "_ses.<container id>", as runc and crun have it."""
    yield JoinSessionKeyring(name, OTHER_SEARCH if in_userns else USER_SEARCH)
