"""An exclusive flock(2) that is waited for, for a bounded time."""

from __future__ import annotations

import fcntl
import time

PAUSE = 0.001  # seconds between two tries: flock(2) has no deadline of its own


def lock_within(fd: int, seconds: float) -> bool:
    """Whether the lock of the open file was to be had.  Raises OSError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        time.sleep(PAUSE)
