"""What CRIU's log says of a failure: pure but for reading the file."""

from __future__ import annotations

import errno

from ocirt import system as os

TAIL = 1 << 20  # bytes at the end that are looked at: at level 4 a large container's log has many MiB
LINES = 3
# What CRIU says last of every failure, and what only repeats it.
SAYS_NOTHING = ("Dumping FAILED", "Restoring FAILED", "Pre-dumping FAILED")


def error_lines(text: str, most: int = LINES) -> list[str]:
    """The last error lines, each once, without time and process: "criu/mount.c:1230: no such mount"."""
    found: list[str] = []
    for line in text.splitlines():
        _, is_error, said = line.partition("Error (")
        if not is_error or any(phrase in said for phrase in SAYS_NOTHING):
            continue
        place, _, what = said.partition("): ")
        entry = f"{place}: {what.strip()}" if what else f"Error ({said.strip()}"
        if entry in found:
            found.remove(entry)
        found.append(entry)
    return found[-most:]


def excerpt(path: str) -> str:
    """The last error lines of the log, "" when there are none or no log."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return ""
    try:
        size = os.fstat(fd).st_size
        text = os.pread(fd, TAIL, max(0, size - TAIL)).decode("utf-8", "replace")
    finally:
        os.close(fd)
    return "; ".join(error_lines(text))


def log_file_of(configuration: str) -> str:
    """The log-file of a CRIU configuration file, which wins over ours; "" when it has none."""
    found = ""
    for line in configuration.splitlines():
        words = line.partition("#")[0].replace("=", " ", 1).split(None, 1)
        if len(words) == 2 and words[0] == "log-file":
            found = words[1].strip().strip('"')
    return found
