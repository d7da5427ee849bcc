"""The umask: what init, and the program, make files with.

User documentation: umask(2); config.md, POSIX-platform User.
"""

from __future__ import annotations

from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box

# What init makes on its way (mount targets, mostly) must not depend on the caller's umask.
UMASK = 0o022


class SetUmask(Step):
    """Which bits of a mode are taken away: umask(2)."""

    __slots__ = ("mask",)

    def __init__(self, at: str, mask: int) -> None:
        self.at = at
        self.mask = mask

    def describe(self) -> str:
        return f"set the umask to {self.mask:04o}"

    def apply(self, box: Box) -> None:
        box.kernel.umask(self.mask)
