"""ocirt pause: stop every process of a container by the cgroup freezer; they notice nothing."""

from __future__ import annotations

from ocirt.cgroups import require
from ocirt.container import Container
from ocirt.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Option, Parsed

SUMMARY = "suspend all processes of a container"
ARGUMENTS = "<container-id>"
OPTIONS: tuple[Option, ...] = ()
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    container = Container.load(g.root, options.args[0])
    with container.lock():
        manager = require(container.manager())
        if not container.alive() or manager.frozen():
            raise StateError("status", "container not running")
        manager.freeze(True)
    return 0
