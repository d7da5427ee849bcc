"""seccomp: the compiled filter, loaded as the last act before execve, or, without no_new_privs, while
init still has CAP_SYS_ADMIN.  Where the stage stands is the plan's business.
"""

from __future__ import annotations

from ocirt.errors import OcirtError
from ocirt.kernel.flags import SECCOMP_FILTER_FLAG_NEW_LISTENER
from ocirt.kernel.numbers import ARCHITECTURE
from ocirt.pipeline import Step
from ocirt.seccomp.compiler import compile_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Linux


class LoadFilter(Step):
    """program: struct sock_filter[]; flags: SECCOMP_FILTER_FLAG_* bits."""

    __slots__ = ("program", "flags")

    def __init__(self, at: str, program: bytes, flags: int) -> None:
        self.at = at
        self.program = program
        self.flags = flags

    def describe(self) -> str:
        return f"load a seccomp filter of {len(self.program) // 8} instructions (flags {self.flags})"

    def apply(self, box: Box) -> None:
        box.kernel.set_seccomp_filter(self.program, self.flags)


def seccomp(linux: Linux) -> Iterator[Step]:
    """Raises what compile_filter raises, and OcirtError (code unsupported) for SCMP_ACT_NOTIFY."""
    view = linux.seccomp
    if view is None:
        return
    program, flags = compile_filter(view, ARCHITECTURE)
    if flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
        # A filter without anybody at its listener answers ENOSYS: better not to start.
        raise OcirtError(
            "unsupported", "seccomp notify: SCMP_ACT_NOTIFY is not supported", at=f"{view.at}/listenerPath"
        )
    yield LoadFilter(view.at, program, flags)
