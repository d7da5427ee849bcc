"""What is wrong, and the line that mends it: of this machine (host.py), of one container (container.py).

Loaded by `ocirt doctor` alone.
"""

from __future__ import annotations


class Finding:
    """subject: what was looked at.  fine: nothing is wrong with it.  what: what was seen.

    mend: the command line that mends it, "" when nothing is wrong.
    """

    __slots__ = ("fine", "mend", "subject", "what")

    def __init__(self, subject: str, fine: bool, what: str, mend: str = "") -> None:
        self.subject = subject
        self.fine = fine
        self.what = what
        self.mend = mend if not fine else ""
