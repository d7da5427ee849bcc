"""sd_notify(3): the directory with the container's notification socket, bound into the container as its last mount.

The socket itself is made by `start` (process/notify.py); the container sees its directory, so that a socket made
later is there too.
"""

from __future__ import annotations

from ocirt.config.mountopts import parse_options
from ocirt.kernel.flags import OPEN_TREE_CLONE
from ocirt.pipeline import HOST
from ocirt.stages.binds import Bind, OpenSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.pipeline import Step

TARGET = "/run/notify"
VARIABLE = f"NOTIFY_SOCKET={TARGET}/notify.sock"
SOURCE = "notify"  # in box.fds: in a user namespace init may not walk to the state directory


def notify(place: str, directory: str) -> Iterator[Step]:
    """HOST and INIT, after all other mounts.  directory: on the host, as Container.make_notify_directory() says."""
    if place == HOST:
        yield OpenSource("", SOURCE, directory, OPEN_TREE_CLONE)
    else:
        yield Bind("", directory, TARGET, parse_options(("bind", "nosuid", "noexec", "nodev", "ro")), SOURCE)
