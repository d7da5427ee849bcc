"""The machine's users, out of passwd(5).

Of that file alone: whatever else knows users (nsswitch.conf(5)) is a library, and glibc would load it.
"""

from __future__ import annotations

from ocirt.system import text_if_there

PASSWD = "/etc/passwd"


def names(uid: int) -> list[str]:
    """All that this user has, in the file's order."""
    lines = [line.split(":") for line in text_if_there(PASSWD).splitlines()]
    return [fields[0] for fields in lines if len(fields) > 2 and fields[2] == str(uid)]
