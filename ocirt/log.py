"""What ocirt writes: the log (--log, --log-format, --debug), the last line of a failure, and results on stdout.

Whole records, one write(2) each where the file takes it at once; nothing is buffered.
Engines parse the log: containerd reads a stream of JSON objects with level, msg and time, and keeps the last
error; podman reads the file as ONE object.  So at the default level a JSON file gets exactly one record when a
command fails, the error: warnings are held back until it is known that none comes, else go into its "warnings".
"""

from __future__ import annotations

import time

from ocirt import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirt.trace.recorder import Recorder

STDOUT, STDERR = 1, 2

debugging = False
tracer: Recorder | None = None  # with --trace
_fd = STDERR
_json = False
_relay: Callable[[str, str], None] | None = None
_held: list[str] = []  # warnings for a JSON file, as long as an error may still come


class ReaderGone(Exception):
    """Nobody reads standard output any more: `ocirt list | head -1`.  Not a failure worth a message."""


def configure(path: str, form: str, debug: bool) -> None:
    """Open the log.  path "" is standard error; form is "text" or "json".  Raises OSError."""
    global _fd, _json, debugging
    debugging = debug
    _json = form == "json"
    if path:
        # O_NONBLOCK: to open a FIFO would wait for a reader, to write to a full one for who reads.
        _fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)


def relay(send: Callable[[str, str], None] | None) -> None:
    """From now on hand (level, text) to send: init has no right to the log file any more.  None ends that."""
    global _relay
    _relay = send


def phase(what: str) -> None:
    """From now on the command does this, as an order: one line of --trace, up to the next."""
    if tracer is not None:
        tracer.phase(what)


def debug(text: str) -> None:
    if debugging:
        emit("debug", text)


def warning(text: str) -> None:
    if _json and to_file() and not debugging and _relay is None:
        _held.append(text)
    else:
        emit("warning", text)


def pass_on(level: str, text: str) -> None:
    """Write what init has relayed."""
    if level == "debug":
        debug(text)
    else:
        warning(text)


def release() -> None:
    """No error can follow: write the warnings held back.  For the end of a command, or before a long wait."""
    while _held:
        emit("warning", _held.pop(0))


def failure(line: str, fields: dict[str, str | int]) -> None:
    """Report why the command failed: the error record in the log, and line as the last line of stderr.

    Without a log file stderr is the log: then a JSON record or the plain line stands there, not both.
    """
    if _held:
        fields["warnings"] = "; ".join(_held)
        _held.clear()
    if to_file() or _json:
        emit("error", line, fields)
    if to_file() or not _json:
        _write_log(STDERR, printable(line) + "\n")


def emit(level: str, text: str, fields: dict[str, str | int] | None = None) -> None:
    """Write one record.  fields are added to a JSON record beside level, msg and time."""
    if _relay is not None:
        _relay(level, text)
        return
    if _json:
        more = "".join(
            f',"{name}":{value if isinstance(value, int) else quote(value)}' for name, value in (fields or {}).items()
        )
        line = f'{{"level":"{level}","msg":{quote(text)},"time":"{timestamp()}"{more}}}\n'
    else:
        line = f'time="{timestamp()}" level={level} msg={quote(text)}\n'
    _write_log(_fd, line)


def show(text: str) -> None:
    """Write a command's result to standard output, all of it.  Raises OSError, ReaderGone."""
    try:
        _write(STDOUT, text)
    except BrokenPipeError:
        raise ReaderGone from None


def to_file() -> bool:
    """Whether the log is a file, so that stderr must be told an error separately."""
    return _fd != STDERR


def timestamp() -> str:
    """Now in RFC 3339, UTC, with seconds, as go-runc parses it."""
    return utc_now().partition(".")[0] + "Z"


def utc_now() -> str:
    """Now as RFC 3339 with nanoseconds, UTC."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    days, seconds = divmod(seconds, 86400)
    minutes, seconds = divmod(seconds, 60)
    year, month, day = date_of(days)
    return f"{year}-{month:02}-{day:02}T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{nanoseconds:09}Z"


def date_of(days: int) -> tuple[int, int, int]:
    """Year, month and day so many days after 1970-01-01.  gmtime(3) does it too, and reads /etc/localtime first.

    Years are counted from March, so that the odd day is the last of its 4, 100 and 400 years.
    """
    era, day = divmod(days + 719468, 146097)  # days since 0000-03-01, days of 400 years
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153  # 0 is March; 153 days are five months of 31, 30, 31, 30, 31
    year += 400 * era + (month > 9)
    return year, (month + 2) % 12 + 1, day - (153 * month + 2) // 5 + 1


def printable(text: str) -> str:
    """text with control characters and lone surrogates escaped: names come from hostile images."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quote(text: str) -> str:
    """text as a JSON string (RFC 8259); what is not printable, and lone surrogates, as \\u escapes."""
    if text.isprintable() and '"' not in text and "\\" not in text:  # most are: 10 times quicker
        return f'"{text}"'
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _unicode_escape(c)) for c in text) + '"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _unicode_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _write_log(fd: int, text: str) -> None:
    try:
        _write(fd, text)
    except OSError:
        pass  # a full disk or a closed pipe must not stop a container; there is nowhere left to tell it


def _write(fd: int, text: str) -> None:
    os.write_all(fd, text.encode("utf-8", "backslashreplace"))
