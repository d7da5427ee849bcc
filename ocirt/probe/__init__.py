"""What works on this machine: every facility of a container is tried, in a process that leaves nothing behind.

Loaded by `features --probe` alone.  A Check is one line of the answer: a name, the property of config.json that needs
it, and a function that does it for real.  The function returns a note ("" for none), or raises: OSError with what the
kernel said, or Unavailable with what is missing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Unavailable(Exception):
    """It does not work here; the text says why."""


class Check:
    """One thing to try.

    name:      "group.thing".              at: JSON pointer of the property that needs it, "" for ocirt itself.
    trial:     called in a child; its text is the note.
    leftovers: directories that the child makes and that are removed after it, whatever became of it.
    """

    __slots__ = ("at", "leftovers", "name", "trial")

    def __init__(self, name: str, at: str, trial: Callable[[], str], leftovers: tuple[str, ...] = ()) -> None:
        self.name = name
        self.at = at
        self.trial = trial
        self.leftovers = leftovers


class Outcome:
    """What came of a check.  note: a detail when it works, the reason when it does not."""

    __slots__ = ("at", "name", "note", "works")

    def __init__(self, name: str, at: str, works: bool, note: str) -> None:
        self.name = name
        self.at = at
        self.works = works
        self.note = note
