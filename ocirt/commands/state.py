"""ocirt state: the state of runtime.md as JSON, with runc's additions, in runc's order of keys."""

from __future__ import annotations

from ocirt import log
from ocirt.config import jsontext
from ocirt.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Option, Parsed

SUMMARY = "print the state of a container as JSON"
ARGUMENTS = "<container-id>"
OPTIONS: tuple[Option, ...] = ()
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    container = Container.load(g.root, options.args[0])
    log.show(jsontext.dump(container.state(), 2) + "\n")
    return 0
