"""ocirt start: let a created container execute its program."""

from __future__ import annotations

from ocirt.container import Container
from ocirt.process.lifecycle import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Option, Parsed

SUMMARY = "run the user's process in a created container"
ARGUMENTS = "<container-id>"
OPTIONS: tuple[Option, ...] = ()
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    start(Container.load(g.root, options.args[0]))
    return 0
