"""seccomp: the compiled filter, loaded as the last act before execve, or, without no_new_privs, while
init still has CAP_SYS_ADMIN.  Where the stage stands is the plan's business.

User documentation: seccomp(2), prctl(2).
"""

from __future__ import annotations

from ocirt.kernel.flags import SECCOMP_FILTER_FLAG_NEW_LISTENER
from ocirt.kernel.numbers import ARCHITECTURE
from ocirt.pipeline import Step
from ocirt.seccomp.compiler import compile_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Linux


LISTENER = "listener"  # Box.fds: of a filter with SCMP_ACT_NOTIFY, close-on-exec; what is done with it: listener.py


class LoadFilter(Step):
    """Load the compiled filter, seccomp(2).  program: struct sock_filter[]; flags: SECCOMP_FILTER_FLAG_* bits."""

    __slots__ = ("program", "flags")
    confines = True

    def __init__(self, at: str, program: bytes, flags: int) -> None:
        self.at = at
        self.program = program
        self.flags = flags

    def describe(self) -> str:
        return f"load a seccomp filter of {len(self.program) // 8} instructions (flags {self.flags})"

    def apply(self, box: Box) -> None:
        fd = box.kernel.set_seccomp_filter(self.program, self.flags)
        if self.flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
            box.fds[LISTENER] = fd


def seccomp(linux: Linux) -> Iterator[Step]:
    """Raises what compile_filter raises."""
    view = linux.seccomp
    if view is not None:
        yield LoadFilter(view.at, *compile_filter(view, ARCHITECTURE))
