"""The terminal: a pseudoterminal of the container's own devpts, its master sent out, its slave on 0, 1 and 2.

User documentation: pty(7), devpts; config.md, "process.terminal" and "process.consoleSize".
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt import system as os
from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.flags import AT_EMPTY_PATH, AT_FDCWD, OPEN_TREE_CLONE
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Process

DEVPTS_SUPER_MAGIC = 0x1CD1  # statfs(2)
PTMX_DEVICE = os.makedev(5, 2)
PTMX_INODE = 2  # fs/devpts/inode.c gives the multiplexer of every instance this number
STREAMS = (0, 1, 2)


class OpenConsole(Step):
    """Make the terminal the session's, and send its master over box.fds["console-socket"].

    rows, columns: the window, 0 to leave it.  uid: the owner.  bind: show it as /dev/console too.
    """

    __slots__ = ("bind", "columns", "rows", "uid")

    def __init__(self, at: str, rows: int, columns: int, uid: int, bind: bool) -> None:
        self.at = at
        self.rows = rows
        self.columns = columns
        self.uid = uid
        self.bind = bind

    def describe(self) -> str:
        size = f", {self.columns}x{self.rows}" if self.rows and self.columns else ""
        return f"open a terminal{' on /dev/console' if self.bind else ''}{size}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        if "console-socket" not in box.fds:
            raise OcirtError("console", "a terminal is wanted, but there is nobody to give its master to")
        dev = open_dev(box)
        try:
            master = open_master(box, dev)
            try:
                slave = self._open_slave(box, master)
                if self.bind:
                    bind_console(box, dev, slave)
                name = f"/dev/pts/{kernel.pty_number(master)}"
                kernel.send_fd(box.fds["console-socket"], name.encode(), master)
            finally:
                kernel.close(master)
        finally:
            kernel.close(dev)
        kernel.close(box.fds.pop("console-socket"))
        self._take(box, slave)

    def _open_slave(self, box: Box, master: int) -> int:
        kernel = box.kernel
        kernel.unlock_pty(master)
        slave: int = kernel.open_pty_peer(master)
        if self.rows and self.columns:
            kernel.set_window_size(master, self.rows, self.columns)
        kernel.fchown(slave, self.uid, -1)
        return slave

    def _take(self, box: Box, slave: int) -> None:
        kernel = box.kernel
        kernel.set_controlling_terminal(slave)
        for stream in STREAMS:
            kernel.dup2(slave, stream)
        if slave not in STREAMS:
            kernel.close(slave)


def open_dev(box: Box) -> int:
    """The container's /dev.  exec has no box.root: it stands in the container's mount namespace already."""
    kernel = box.kernel
    root = box.root if box.root >= 0 else kernel.openat(AT_FDCWD, "/", os.O_PATH | os.O_DIRECTORY)
    try:
        dev: int = kernel.open_in_root(root, "dev", os.O_PATH | os.O_DIRECTORY, symlinks=False)
        return dev
    finally:
        if root != box.root:
            kernel.close(root)


def open_master(box: Box, dev: int) -> int:
    """/dev/pts/ptmx, opened only after it is known to be the multiplexer of a devpts (CVE-2025-52565)."""
    kernel = box.kernel
    ptmx = kernel.open_in_root(dev, "pts/ptmx", os.O_PATH | os.O_NOFOLLOW, symlinks=False)
    try:
        status = kernel.fstat(ptmx)
        genuine = (
            stat.S_ISCHR(status.st_mode)
            and status.st_rdev == PTMX_DEVICE
            and status.st_ino == PTMX_INODE
            and kernel.statfs_type(ptmx) == DEVPTS_SUPER_MAGIC
        )
        if not genuine:
            raise OcirtError("console", "/dev/pts/ptmx is not the multiplexer of a devpts file system")
        master: int = kernel.reopen(box.proc, ptmx, os.O_RDWR | os.O_NOCTTY)
        return master
    finally:
        kernel.close(ptmx)


def bind_console(box: Box, dev: int, slave: int) -> None:
    """Show the terminal as /dev/console, which may be anything but a symbolic link or a directory."""
    kernel = box.kernel
    try:
        kernel.mknodat(dev, "console", stat.S_IFREG | 0o620)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
    target = kernel.openat(dev, "console", os.O_PATH | os.O_NOFOLLOW)
    try:
        kind = kernel.fstat(target).st_mode
        if stat.S_ISLNK(kind) or stat.S_ISDIR(kind):
            raise OcirtError("console", "/dev/console is a symbolic link or a directory")
        tree = kernel.open_tree(slave, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
        try:
            kernel.move_mount(tree, "", target, "")
        finally:
            kernel.close(tree)
    finally:
        kernel.close(target)


def console(process: Process, bind: bool = True) -> Iterator[Step]:
    """INIT, after the pivot and setsid; in exec (bind=False) after joining.  Nothing without process.terminal."""
    if process.terminal:
        size = process.console_size
        rows, columns = (size.height, size.width) if size else (0, 0)
        yield OpenConsole(f"{process.at}/terminal", rows, columns, process.user.uid, bind)
