"""The archive: a gzipped tar of one directory, whose README says what is in it and what is not."""

from __future__ import annotations

import io
import tarfile
import time

from ocirt import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.bugreport.gather import Report

README = """\
{title}
{underline}

Made by `ocirt bugreport`.  Nothing was sent anywhere, and nothing on the machine was changed.

Hidden, in {count} places: the values of environment variables (but {harmless}),
what is called like a secret (annotations, options, arguments), and what looks like one (private keys, tokens,
passwords in URLs); what was hidden of {shortest} characters or more is hidden wherever else it stood.

Left in: names, ids, paths, arguments and the host's mounts.  Look through it before you show it to others.

{parts}
"""


def readme(title: str, report: Report, harmless: tuple[str, ...], shortest: int) -> str:
    rows = [*((name, f"{len(text)} characters") for name, text in report.parts.items())]
    rows += [(name, f"not here: {why}") for name, why in report.problems.items()]
    width = max(len(name) for name, _ in rows)
    return README.format(
        title=title,
        underline="=" * len(title),
        count=report.redactor.count,
        harmless=", ".join(harmless),
        shortest=shortest,
        parts="\n".join(f"{name.ljust(width)}  {what}" for name, what in rows),
    )


def pack(directory: str, parts: dict[str, str]) -> bytes:
    """directory: the name that everything is below."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as archive:
        for name, text in parts.items():
            data = text.encode("utf-8", "backslashreplace")
            member = tarfile.TarInfo(f"{directory}/{name}")
            member.size, member.mtime, member.mode = len(data), int(time.time()), 0o644
            archive.addfile(member, io.BytesIO(data))
    return memory.getvalue()


def write(path: str, data: bytes) -> None:
    """A new file, for its owner alone; whole or not at all.  Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write_all(fd, data)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
