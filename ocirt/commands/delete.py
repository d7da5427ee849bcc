"""ocirt delete: undo create, from whatever point an earlier command was interrupted at."""

from __future__ import annotations

from ocirt.container import LOCK_DEADLINE, Container
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
FORCE_PATIENCE = 2.0  # seconds that --force leaves another command, which may hang in a hook, to end by itself


def main(g: Globals, options: Parsed) -> int:
    container_id, force = options.args[0], options.force
    try:
        _remove(g.root, container_id, force, FORCE_PATIENCE if force else LOCK_DEADLINE)
    except StateError as error:
        if error.code != "busy" or not force:
            raise
        from ocirt.lockholder import end_holder  # seldom: 0.1 ms

        end_holder(g.root, container_id)
        _remove(g.root, container_id, force, LOCK_DEADLINE)
    return 0


def _remove(root: str, container_id: str, force: bool, seconds: float) -> None:
    """seconds: how long another command may keep the container.  Raises StateError("busy")."""
    try:
        _delete(Container.load(root, container_id), force, seconds)
    except StateError as error:
        if error.code != "not-found" and not (error.code == "record" and force):
            raise
        remove_remains(root, container_id, seconds)
        if not force:
            raise


def _delete(container: Container, force: bool, seconds: float) -> None:
    with container.lock(seconds):
        status = container.status()
        if status not in DELETABLE and not force:
            raise StateError("status", f"cannot delete container {container.id} that is not stopped: {status}")
        destroy(container)
