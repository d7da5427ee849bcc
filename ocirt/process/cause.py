"""Let a child look for the cause of a failure (ocirt/diagnosis), for a bounded time.

What it looks through may be on a file system whose server never answers, and the command must end all the same.  Nor
may the memory that the looking takes be missing when what was done is taken back.  Imported after a failure only.
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.kernel.processes import reap, set_pdeathsig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirt.errors import OcirtError

DEADLINE = 5.0  # seconds to look; it takes some milliseconds
SIGKILL = 9
SEPARATOR = "\0"
MOST = 65536  # bytes of an answer
BIRTHS = ("clone3", "fork")


def find(error: OcirtError, look: Callable[[], None]) -> None:
    """Call look, which may change the error's remedy and pointer, in a child; take over what it found.

    Raises OSError, and OcirtError("interrupted") when a signal ends the command meanwhile.
    """
    answer = os.memfd_create("cause", os.MFD_CLOEXEC)
    try:
        try:
            pid = os.fork()
        except BlockingIOError:
            if error.call not in BIRTHS:
                raise
            look()  # there are no more processes to have, and that is what it will say
            return
        if pid == 0:
            _child(error, look, answer)
        status = None
        try:
            status = reap(pid, DEADLINE)
        finally:
            if status is None:
                os.kill(pid, SIGKILL)
                reap(pid, DEADLINE)
        told = os.pread(answer, MOST, 0).decode("utf-8", "surrogateescape")
    finally:
        os.close(answer)
    if told:
        error.at, _, error.remedy = told.partition(SEPARATOR)


def _child(error: OcirtError, look: Callable[[], None], answer: int) -> None:
    """Never returns."""
    try:
        set_pdeathsig(SIGKILL)
        look()
        os.write(answer, f"{error.at}{SEPARATOR}{error.remedy}".encode("utf-8", "surrogateescape")[:MOST])
    finally:
        os._exit(0)
