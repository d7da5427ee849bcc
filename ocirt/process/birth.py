"""The birth of a process: in its cgroup, and in a network namespace that was made beforehand."""

from __future__ import annotations

import errno

from ocirt import log
from ocirt import system as os
from ocirt.errors import KernelError
from ocirt.kernel.flags import CLONE_NEWNET
from ocirt.stages.cgroup import BIRTH, BIRTH_INSTEAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box
    from ocirt.pipeline import Plan

SIGKILL = 9
OUTSIDE = "outside"  # in the joiner's PID: the runtime must move init

# Born outside and then moved: the cgroup has reached pids.max, which is no limit to moving; with nsdelegate no way
# leads into the cgroup namespace that the joiner is in already; the cgroup belongs to the container's user, and the
# joiner, root of the host with the rights of the user namespace, may not write to it; no CLONE_INTO_CGROUP before
# Linux 5.7.
MOVE = (errno.EAGAIN, errno.ENOENT, errno.EACCES, errno.E2BIG, errno.EINVAL)
# The cgroup gives controllers to those below it, or is threaded.
REFUSED = (errno.EBUSY, errno.EOPNOTSUPP, errno.ENODEV)


class NetworkAhead:
    """The new network namespace, made by another process while the host steps are taken: the kernel takes 0.7 ms for
    one, a tenth of a run.

    Left to init's clone where the plan has it so, where nobody else can make it (the portable launcher, processors
    other than x86-64), and where it could not be had: the clone will tell why.
    """

    __slots__ = ("_kernel", "_maker", "_fd")

    def __init__(self, box: Box, plan: Plan) -> None:
        self._kernel = box.kernel
        self._maker = box.kernel.begin_network() if plan.network_ahead else 0
        self._fd = -1

    def made(self) -> int:
        """Wait for it: CLONE_NEWNET, which the clone can do without; 0 when there is none."""
        if self._maker:
            log.phase("wait for the network namespace")
            maker, self._maker = self._maker, 0
            self._fd = self._kernel.end_network(maker)
        return CLONE_NEWNET if self._fd >= 0 else 0

    def enter(self) -> None:
        """In init.  It may make what it may not enter: the clone would have, with the same rights."""
        if self._fd >= 0:
            try:
                self._kernel.setns(self._fd, CLONE_NEWNET)
            except KernelError:
                self._kernel.unshare(CLONE_NEWNET)
            self.close()

    def close(self) -> None:
        """Let go of it, and of who still makes it: the host steps may have failed."""
        if self._maker:
            os.kill(self._maker, SIGKILL)
        if self.made():
            os.close(self._fd)
            self._fd = -1


def clone(box: Box, flags: int) -> tuple[int, bool]:
    """clone3 into the first cgroup of box.fds that takes it, if there is one: (pid, whether move_in() must follow);
    in the child (0, _).  Raises KernelError.
    """
    directories = _directories(box)
    for directory in directories:
        try:
            return box.kernel.clone3(flags, cgroup=directory)[0], False
        except KernelError as error:
            if error.errno in MOVE:
                break
            if error.errno not in REFUSED or directory == directories[-1]:
                raise
    return box.kernel.clone3(flags)[0], bool(directories)


def move_in(box: Box) -> None:
    """The runtime: move init to where it should have been born, while it waits for GO.  Raises OSError."""
    directories = _directories(box)
    for directory in directories:
        procs = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.write(procs, str(box.pid).encode())
            return
        except OSError as error:
            if error.errno not in REFUSED or directory == directories[-1]:
                raise
        finally:
            os.close(procs)


def _directories(box: Box) -> list[int]:
    return [box.fds[name] for name in (BIRTH, BIRTH_INSTEAD) if name in box.fds]
