"""The mount option copy-symlink, crun's and podman's (no-dereference): a bind source that is a link is made again.

Anything else than a symbolic link is bound as ever.

User documentation: symlink(7), symlink(2).
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.config.mountopts import parse_options, wants_mapping
from ocirt.errors import ConfigError, OcirtError
from ocirt.kernel.flags import MS_BIND, MS_REMOUNT
from ocirt.stages.mounts import host_source
from ocirt.stages.targets import MountStep, check_place, clean, place_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box
    from ocirt.config.mountopts import MountOptions
    from ocirt.config.views import Config
    from ocirt.pipeline import Step


class CopyLink(MountStep):
    """Make a link with this text at the target; the same link there already is none to make."""

    __slots__ = ("text",)

    def __init__(self, at: str, source: str, target: str, options: MountOptions, text: str) -> None:
        super().__init__(at, source, target, options)
        self.text = text

    def describe(self) -> str:
        return f"make the link {self.target} to {self.text}, as {self.source} is"

    def attach(self, box: Box) -> None:
        kernel = box.kernel
        above, _, name = self.target.rpartition("/")
        directory = kernel.mkdir_in_root(box.root, above or "/")
        try:
            place = place_in_root(box, directory)
            check_place(f"{place.rstrip('/')}/{name}", False)
            try:
                kernel.symlinkat(self.text, directory, name)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
                self._compare(box, directory, name)
        finally:
            kernel.close(directory)

    def _compare(self, box: Box, directory: int, name: str) -> None:
        try:
            there = box.kernel.readlinkat(directory, name)
        except OSError:
            there = ""
        if there != self.text:
            what = f"{self.target} is in the image and is another file than the link to {self.text}"
            raise OcirtError("step-failed", what, call="symlinkat", errno=errno.EEXIST)


def links(config: Config, bundle: str) -> dict[int, Step]:
    """By its number in the list, each mount that is a link to make.  Raises ConfigError."""
    found: dict[int, Step] = {}
    for number, mount in enumerate(config.mounts):
        options = parse_options(mount.options)
        if "copy-symlink" not in options.extensions:
            continue
        if not options.flags & MS_BIND or options.flags & MS_REMOUNT:
            raise ConfigError("rule", "copy-symlink is for bind mounts only", f"{mount.at}/options")
        source = host_source(mount, bundle)
        text = link_text(source)
        if text:
            if wants_mapping(mount):
                raise ConfigError(
                    "rule", "the source is a link to copy: there are no ids to map", f"{mount.at}/options"
                )
            found[number] = CopyLink(mount.at, source, clean(mount.destination), options, text)
    return found


def link_text(path: str) -> str:
    """What the symbolic link says, "" when it is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""
