"""The mount options src-nofollow and dest-nofollow, crun's: a symbolic link itself is bound, or bound on.

The first is a flag of open_tree(2), see binds.tree_flags; here is what the second needs.
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.errors import ConfigError, KernelError
from ocirt.kernel.flags import MS_BIND, MS_REMOUNT
from ocirt.stages.binds import Bind
from ocirt.stages.mounts import host_source, options_of
from ocirt.stages.targets import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box
    from ocirt.config.mountopts import MountOptions
    from ocirt.config.views import Config
    from ocirt.pipeline import Step

SOURCE, DESTINATION = "src-nofollow", "dest-nofollow"


class BindOnLink(Bind):
    """Bind on what has the destination's last name, even a link.  Links above it are followed, within the root."""

    __slots__ = ()

    def open_target(self, box: Box, directory: bool) -> int:
        kernel = box.kernel
        above, _, name = self.target.rpartition("/")
        parent = kernel.mkdir_in_root(box.root, above or "/")
        try:
            return self._open_last(box, parent, name or ".", directory)
        finally:
            kernel.close(parent)

    def _open_last(self, box: Box, parent: int, name: str, directory: bool) -> int:
        """Without following: a link that comes between the two calls is refused by the second."""
        try:
            there: int = box.kernel.openat(parent, name, os.O_PATH | os.O_NOFOLLOW)
            return there
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        mode = 0o755 if directory else 0o644
        made: int = box.kernel.make_in_root(parent, name, mode, directory=directory, symlinks=False)[0]
        return made


def binds(config: Config, bundle: str) -> dict[int, Step]:
    """By its number in the list, each bind with dest-nofollow.  Raises ConfigError."""
    found: dict[int, Step] = {}
    for number, mount in enumerate(config.mounts):
        options = options_of(mount)
        check(options, f"{mount.at}/options")
        if DESTINATION in options.extensions:
            source, target = host_source(mount, bundle), clean(mount.destination)
            found[number] = BindOnLink(mount.at, source, target, options, f"mount/{number}")
    return found


def check(options: MountOptions, at: str) -> None:
    """Raises ConfigError where one of the words means nothing, or contradicts another."""
    word = SOURCE if SOURCE in options.extensions else DESTINATION
    if word not in options.extensions:
        return
    if not options.flags & MS_BIND or options.flags & MS_REMOUNT:
        raise ConfigError("rule", f"{word} is for bind mounts only", at)
    if "copy-symlink" in options.extensions:
        raise ConfigError("rule", f"copy-symlink makes a link and {word} binds one: only one of them can be done", at)
