"""ocirt resume: let a paused container go on."""

from __future__ import annotations

from ocirt.cgroups import require
from ocirt.container import Container
from ocirt.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Option, Parsed

SUMMARY = "let a paused container go on"
ARGUMENTS = "<container-id>"
OPTIONS: tuple[Option, ...] = ()
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    container = Container.load(g.root, options.args[0])
    with container.lock():
        manager = require(container.manager())
        # Not the status: a container can be paused before it was started, and is `created` then.
        if not container.alive() or not manager.frozen():
            raise StateError("status", "container not paused")
        manager.freeze(False)
    return 0
