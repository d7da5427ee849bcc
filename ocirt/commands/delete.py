"""ocirt delete: undo create, from whatever point an earlier command was interrupted at."""

from __future__ import annotations

from ocirt.container import Container
from ocirt.errors import StateError
from ocirt.options import Option
from ocirt.process.lifecycle import destroy, remove_remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "remove a stopped container and what create made for it"
ARGUMENTS = "<container-id>"
OPTIONS = (Option("force", "f", help="kill what runs first; no error when the container does not exist"),)
MIN_ARGS = MAX_ARGS = 1

# creating: its create does not hold the lock any more, so it was interrupted
DELETABLE = ("creating", "created", "stopped")


def main(g: Globals, options: Parsed) -> int:
    container_id = options.args[0]
    try:
        _delete(Container.load(g.root, container_id), options.force)
    except StateError as error:
        if error.code != "not-found" and not (error.code == "record" and options.force):
            raise
        remove_remains(g.root, container_id)
        if not options.force:
            raise
    return 0


def _delete(container: Container, force: bool) -> None:
    with container.lock():
        status = container.status()
        if status not in DELETABLE and not force:
            raise StateError("status", f"cannot delete container {container.id} that is not stopped: {status}")
        destroy(container)
