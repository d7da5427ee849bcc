"""The birth of a process in its cgroup."""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.errors import KernelError
from ocirt.stages.cgroup import BIRTH, BIRTH_INSTEAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box

OUTSIDE = "outside"  # in the joiner's PID: the runtime must move init

# Born outside and then moved: the cgroup has reached pids.max, which is no limit to moving; with nsdelegate no way
# leads into the cgroup namespace that the joiner is in already; no CLONE_INTO_CGROUP before Linux 5.7.
MOVE = (errno.EAGAIN, errno.ENOENT, errno.E2BIG, errno.EINVAL)
# The cgroup gives controllers to those below it, or is threaded.
REFUSED = (errno.EBUSY, errno.EOPNOTSUPP, errno.ENODEV)


def clone(box: Box, flags: int) -> tuple[int, bool]:
    """clone3 into the cgroup of box.fds, if there is one: (pid, whether move_in() must follow); in the child (0, _).

    Raises KernelError.
    """
    cgroup = box.fds.get(BIRTH, -1)
    try:
        return box.kernel.clone3(flags, cgroup=cgroup)[0], False
    except KernelError as error:
        if cgroup < 0:
            raise
        if error.errno in REFUSED and BIRTH_INSTEAD in box.fds:
            return box.kernel.clone3(flags, cgroup=box.fds[BIRTH_INSTEAD])[0], False
        if error.errno not in MOVE:
            raise
    return box.kernel.clone3(flags)[0], True


def move_in(box: Box) -> None:
    """The runtime: move init to where it should have been born, while it waits for GO."""
    procs = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=box.fds[BIRTH])
    try:
        os.write(procs, str(box.pid).encode())
    finally:
        os.close(procs)
