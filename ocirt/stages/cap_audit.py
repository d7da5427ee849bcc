"""Which capabilities the container's processes ask for: `run --cap-audit`, by the tracepoint cap_capable (Linux 6.14).

Two counters for each capability, of init from its execve on and of all that it begins.  Nothing is sampled, so nothing
can be lost, and there is nothing to be removed.

User documentation: perf_event_open(2), capabilities(7).
"""

from __future__ import annotations

from errno import EACCES, ENODEV, ENOENT, ENOSYS, ENOTTY, EPERM

from ocirt import system as os
from ocirt.errors import OcirtError
from ocirt.kernel.capabilities import CAPABILITIES
from ocirt.kernel.perf import open_counter, read_counter, tracepoint
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box

EVENT = "capability/cap_capable"
GRANTED, DENIED = "granted", "denied"
FILTERS = {GRANTED: "ret==0", DENIED: "ret!=0"}
# No such event, call, file system or filter; no right to it.
UNSUPPORTED = (ENOENT, ENOSYS, ENODEV, ENOTTY, EPERM, EACCES)


class Audit:
    """counters: (capability, GRANTED or DENIED) -> descriptor."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, str], int] = {}

    def result(self) -> dict[str, dict[str, int]]:
        """{"CAP_CHOWN": {"granted": 2, "denied": 0}}: those that were asked for, in their own order."""
        counts = {key: read_counter(fd) for key, fd in self.counters.items()}
        return {
            name: {answer: counts[name, answer] for answer in FILTERS}
            for name in CAPABILITIES
            if any(counts[name, answer] for answer in FILTERS)
        }

    def close(self) -> None:
        while self.counters:
            os.close(self.counters.popitem()[1])


class CountCapabilities(Step):
    """The runtime, while init waits."""

    __slots__ = ("audit",)

    def __init__(self, audit: Audit) -> None:
        self.at = "/process/capabilities"
        self.audit = audit

    def describe(self) -> str:
        return "count the capabilities that the program will ask for"

    def apply(self, box: Box) -> None:
        try:
            event = tracepoint(EVENT)
            for number, name in enumerate(CAPABILITIES):
                for answer, passes in FILTERS.items():
                    counter = open_counter(event, f"cap=={number}&&{passes}", box.pid)
                    self.audit.counters[name, answer] = counter
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            raise OcirtError(
                "unsupported",
                "this kernel does not tell of capabilities, or not this user",
                call=getattr(error, "call", ""),
                errno=error.errno or 0,
                remedy="--cap-audit needs root on the host and Linux 6.14 with tracepoints",
            ) from None

    def undo(self, box: Box) -> None:
        self.audit.close()


def count(audit: Audit) -> Iterator[Step]:
    """BESIDE."""
    yield CountCapabilities(audit)
