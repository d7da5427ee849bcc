"""What a waiting init holds open: nothing of the host (CVE-2016-9962, CVE-2024-21626).

User documentation: close_range(2).
"""

from __future__ import annotations

from ocirt.box import START_SOCKET, WATCHER
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box

FIRST_FREE_FD = 3
LAST_FD = 2**32 - 1


class CloseHostDescriptors(Step):
    """Close whatever is open and not the program's.  preserve_fds: how many descriptors from 3 on are."""

    __slots__ = ("preserve_fds",)

    def __init__(self, preserve_fds: int) -> None:
        self.at = ""
        self.preserve_fds = preserve_fds

    def describe(self) -> str:
        return "close every descriptor but the program's and the conversation with the runtime"

    def apply(self, box: Box) -> None:
        kept = {box.channel.fileno()}
        for name in (START_SOCKET, WATCHER):
            if name in box.fds:
                kept.add(box.fds[name])
        first = FIRST_FREE_FD + self.preserve_fds
        for fd in sorted(kept):
            if first < fd:
                box.kernel.close_range(first, fd - 1, 0)
            first = fd + 1
        box.kernel.close_range(first, LAST_FD, 0)
        box.proc = box.root = -1


def close_host_descriptors(preserve_fds: int) -> Iterator[Step]:
    """INIT, last: from here on nothing may use box.proc, box.root or any other descriptor of box.fds."""
    yield CloseHostDescriptors(preserve_fds)
