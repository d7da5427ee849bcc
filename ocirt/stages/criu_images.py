"""The images of a container in a user namespace: CRIU reads them with the rights of the container's root too.

They are root's alone, and their owner changes in the middle: the restored process is root of the host at first, of the
container later.  So criu gets them with other modes, by an overlay that nobody else sees; on the disk nothing changes,
and no content is copied.  Source: CRIU 3.17, open_image(); overlayfs.rst, "Metadata only copy up".

User documentation: criu(8), mount(2).
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms

from ocirt import system as os
from ocirt.errors import OcirtError
from ocirt.kernel.flags import AT_FDCWD, OPEN_TREE_CLONE
from ocirt.pipeline import Step
from ocirt.stages.aside import MOUNT_POINT, in_a_child, stay_aside
from ocirt.stages.binds import close_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box

IMAGES = "images"  # box.fds: the directory as criu shall have it
PARENT = "parent"  # in it: a link to the images of an earlier pre-dump
UPPER, WORK, MERGED = (f"{MOUNT_POINT}/{name}" for name in ("upper", "work", "images"))


class ShowImages(Step):
    """Host: a directory with the images, readable for everybody who has its descriptor, as box.fds["images"]."""

    __slots__ = ("directory",)

    def __init__(self, directory: str) -> None:
        self.at = "/linux/namespaces"
        self.directory = directory

    def describe(self) -> str:
        return f"open the images in {self.directory} for the container's root"

    def apply(self, box: Box) -> None:
        directory = box.kernel.openat(AT_FDCWD, self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if PARENT in os.listdir(directory):
                raise OcirtError(
                    "unsupported",
                    "images with a parent cannot be restored into a user namespace",
                    at=self.at,
                    remedy="checkpoint without --parent-path",
                )
            in_a_child(box, lambda: self._show(box, directory))
        finally:
            box.kernel.close(directory)

    def _show(self, box: Box, directory: int) -> None:
        kernel = box.kernel
        # As ".": what its path may have in it means something to overlayfs.  Before, because the mount must be one of
        # the new namespace, as that of the working directory then is.
        kernel.fchdir(directory)
        stay_aside(box)
        kernel.mount("tmpfs", MOUNT_POINT, "tmpfs", 0, "mode=700")
        for place in (UPPER, WORK, MERGED):
            kernel.mkdirat(AT_FDCWD, place, 0o755)
        layers = f"lowerdir=.,upperdir={UPPER},workdir={WORK},metacopy=on"
        kernel.mount("overlay", MERGED, "overlay", 0, layers)
        shown = kernel.openat(AT_FDCWD, MERGED, os.O_RDONLY | os.O_DIRECTORY)
        os.fchmod(shown, 0o755)
        for name in os.listdir(shown):
            if stat.S_ISREG(os.stat(name, dir_fd=shown, follow_symlinks=False).st_mode):
                os.chmod(name, 0o644, dir_fd=shown)
        kernel.close(shown)
        box.fds[IMAGES] = kernel.open_tree(AT_FDCWD, MERGED, OPEN_TREE_CLONE)

    def undo(self, box: Box) -> None:
        close_named(box, IMAGES)
