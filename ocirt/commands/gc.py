"""ocirt gc: remove what commands that were killed have left; touches nothing that somebody may still want.

Garbage is a container whose creation never finished, and whose command is gone: nobody was told of it, so nobody will
delete it.  A container that was created, whatever became of it, is its engine's to delete.
"""

from __future__ import annotations

import time

from ocirt import log
from ocirt import system as os
from ocirt.config import jsontext
from ocirt.container import CONFIG, NOTIFY, RECORD, START_SOCKET, Container, check_id
from ocirt.errors import OcirtError, StateError, UsageError
from ocirt.options import VALUE, Option
from ocirt.process.lifecycle import destroy, remove_remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "remove what commands that were killed have left behind"
ARGUMENTS = ""
OPTIONS = (
    Option("dry-run", "n", help="only say what would be removed"),
    Option("format", "f", VALUE, '"text" (default) or "json": what was looked at, and what became of it', "FORMAT"),
)
MAX_ARGS = 0

# What create puts into the directory before the record; anything else in there is not ours to remove.
BEFORE_THE_RECORD = (CONFIG, CONFIG + ".new", RECORD + ".new", START_SOCKET, NOTIFY)
GRACE = 10.0  # seconds that a create has from making the directory to locking it; it takes microseconds

REMOVED, GARBAGE, KEPT, FAILED = "removed", "garbage", "kept", "failed"
UNFINISHED = "its creation did not finish, and the command is gone"


def main(g: Globals, options: Parsed) -> int:
    """1 when something could not be removed."""
    if options.format not in ("", "text", "json"):
        raise UsageError("invalid format option")
    try:
        names = sorted(os.listdir(g.root))
    except FileNotFoundError:
        if g.root_given:
            raise
        names = []  # nothing was created yet
    found = [(name, *look_at(g.root, name, options.dry_run)) for name in names]
    if options.format == "json":
        rows = [{"id": name, "action": action, "why": why} for name, action, why in found]
        log.show(jsontext.dump(rows, 2) + "\n")
    else:
        said = [f"{name}: {action}: {why}\n" for name, action, why in found if action != KEPT]
        log.show("".join(said) or f"nothing to remove in {g.root}\n")
    return int(any(action == FAILED for _, action, _ in found))


def look_at(root: str, name: str, dry_run: bool) -> tuple[str, str]:
    """What was done with the directory of this name, and why.  The lock is not waited for: a command is at work."""
    try:
        check_id(name)
        container = Container.load(root, name)
    except StateError as error:
        if error.code != "not-found":
            return KEPT, error.what
        return _look_at_remains(root, name, dry_run)
    try:
        with container.lock(0):
            if container.status() != "creating":
                return KEPT, "it was created: who created it deletes it"
            if dry_run:
                return GARBAGE, UNFINISHED
            destroy(container)
    except (OSError, OcirtError) as error:
        return _kept_or_failed(error)
    finally:
        container.close()
    return REMOVED, UNFINISHED


def _look_at_remains(root: str, name: str, dry_run: bool) -> tuple[str, str]:
    """A directory without a record."""
    path = os.path.join(root, name)
    try:
        status = os.lstat(path)
        foreign = set(os.listdir(path)) - set(BEFORE_THE_RECORD)
    except OSError as error:
        return KEPT, f"it cannot be looked at: {os.strerror(error.errno or 0).lower()}"
    if foreign:
        return KEPT, f"it is no container's: {min(foreign)}"
    if time.time() - status.st_mtime < GRACE:
        return KEPT, "it is younger than a create may take to lock it"
    if dry_run:
        return GARBAGE, UNFINISHED
    try:
        return (REMOVED, UNFINISHED) if remove_remains(root, name, 0) else (KEPT, "it is gone")
    except (OSError, OcirtError) as error:
        return _kept_or_failed(error)


def _kept_or_failed(error: OSError | OcirtError) -> tuple[str, str]:
    if isinstance(error, OcirtError):
        at_work = error.code in ("busy", "not-found")
        return (KEPT if at_work else FAILED), error.what
    return FAILED, f"{error.filename or 'a system call'}: {os.strerror(error.errno or 0).lower()}"
