"""A watcher of the container's system calls, and the filter that tells it of them: seccomp_unotify(2).

The runtime begins the watcher before there is a container; init sends it the filter's listener, over a connection that
both have from birth.
"""

from __future__ import annotations

import _socket

from ocirt import system as os
from ocirt.box import WATCHER
from ocirt.kernel.processes import reap
from ocirt.pipeline import Step
from ocirt.seccomp import watcher
from ocirt.seccomp.watched import HAND_OVER
from ocirt.stages.binds import CloseDescriptors
from ocirt.stages.seccomp import LISTENER, LoadFilter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.seccomp.watcher import Watch

POINTER = "/linux/seccomp"
REAP_DEADLINE = 10.0  # seconds for the watcher to end when init has


class StartWatcher(Step):
    """The runtime.  Undone when init is dead: then the watcher ends by itself."""

    __slots__ = ("watch",)

    def __init__(self, watch: Watch) -> None:
        self.at = POINTER
        self.watch = watch

    def describe(self) -> str:
        return f"begin a watcher: {self.watch.watcher.describe()}"

    def apply(self, box: Box) -> None:
        self.watch.watcher.prepare()
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        box.fds[WATCHER] = ours.detach()
        self.watch.report, writing = os.pipe()
        pid, _ = box.kernel.clone3(0)
        if pid == 0:
            watcher.main(self.watch, theirs, writing)
        self.watch.pid = pid
        theirs.close()
        os.close(writing)

    def undo(self, box: Box) -> None:
        if WATCHER in box.fds:
            os.close(box.fds.pop(WATCHER))
        reap(self.watch.pid, REAP_DEADLINE)
        self.watch.watcher.undo()


class LoadWatchedFilter(LoadFilter):
    """init: one step, for between the filter and the watcher's having its listener no other call may be made: not even
    the one that --debug makes between two steps, nor a brk(2) for memory.  execve closes what init has of both."""

    __slots__ = ()

    def __init__(self, watch: Watch) -> None:
        super().__init__(POINTER, watch.program, watch.flags)

    def describe(self) -> str:
        return f"{super().describe()}, and send its listener to the watcher"

    def apply(self, box: Box) -> None:
        message, connection = box.kernel.FdMessage(LISTENER.encode()), box.fds.pop(WATCHER)
        listener = box.kernel.set_seccomp_filter(self.program, self.flags)  # not into box.fds, which may have to grow
        message.send(connection, listener, HAND_OVER)


def begin(watch: Watch) -> Iterator[Step]:
    """HOST."""
    yield StartWatcher(watch)


def let_go() -> Iterator[Step]:
    """BESIDE: init and the watcher have their own."""
    yield CloseDescriptors((WATCHER,), "the runtime's copy of the connection to the watcher")


def watched_filter(watch: Watch) -> Iterator[Step]:
    """INIT or START, in place of the profile's own filter."""
    yield LoadWatchedFilter(watch)
