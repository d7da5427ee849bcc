"""The log: --log, --log-format, --debug.  Whole lines, one write(2) each; nothing is buffered.

Engines parse it: containerd reads a stream of JSON objects with level, msg and time; podman
reads the file as ONE object, so at the default level exactly one record is written, the error.
"""

from __future__ import annotations

import os
import time

STDERR = 2

debugging = False
_fd = STDERR
_json = False
_relay: object = None  # in init: a function that sends the line over the channel


def configure(path: str, form: str, debug: bool) -> None:
    """Open the log.  path "" is standard error; form is "text" or "json".  Raises OSError."""
    global _fd, _json, debugging
    debugging = debug
    _json = form == "json"
    if path:
        _fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def relay(send: object) -> None:
    """From now on hand (level, text) to send: the process has no right to the log file any more."""
    global _relay
    _relay = send


def debug(text: str) -> None:
    if debugging:
        emit("debug", text)


def warning(text: str) -> None:
    emit("warning", text)


def to_file() -> bool:
    """Whether the log is a file, so that stderr must be told an error separately."""
    return _fd != STDERR


def timestamp() -> str:
    """Now in RFC 3339, UTC, with seconds, as go-runc parses it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def printable(text: str) -> str:
    """text with control characters and lone surrogates escaped: names come from hostile images."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quote(text: str) -> str:
    """text as a JSON string (RFC 8259), ASCII control characters and lone surrogates as \\u escapes."""
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _unicode_escape(c)) for c in text) + '"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _unicode_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def emit(level: str, text: str, fields: dict[str, str | int] | None = None) -> None:
    """Write one record.  fields are added to a JSON record beside level, msg and time."""
    if _relay is not None:
        _relay(level, text)  # type: ignore[operator]
        return
    if _json:
        more = "".join(
            f',"{name}":{value if isinstance(value, int) else quote(value)}' for name, value in (fields or {}).items()
        )
        line = f'{{"level":"{level}","msg":{quote(text)},"time":"{timestamp()}"{more}}}\n'
    else:
        line = f'time="{timestamp()}" level={level} msg={quote(text)}\n'
    os.write(_fd, line.encode("utf-8", "backslashreplace"))
