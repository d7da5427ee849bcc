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
# leads into the cgroup namespace that the joiner is in already; the cgroup belongs to the container's user, and the
# joiner, root of the host with the rights of the user namespace, may not write to it; no CLONE_INTO_CGROUP before
# Linux 5.7.
MOVE = (errno.EAGAIN, errno.ENOENT, errno.EACCES, errno.E2BIG, errno.EINVAL)
# The cgroup gives controllers to those below it, or is threaded.
REFUSED = (errno.EBUSY, errno.EOPNOTSUPP, errno.ENODEV)


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
