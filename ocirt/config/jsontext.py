"""JSON text <-> values (RFC 8259), through a scanner in C.

The native launcher has its own, and a writer (launcher/json.c).  The portable one takes the standard library's: `json`
itself costs 6-8 ms to import, because of `re`; its C half, `_json`, costs 0.15 ms.  This is the only file that uses it;
without it (another Python) the public `json` does the same work.

The standard scanner is laxer than the RFC and than Go's decoder: refused here are duplicate keys,
NaN and Infinity, lone surrogates, a byte order mark, and nesting deeper than MAX_DEPTH.  Whatever
is wrong, jsonfault.py reads the text again, slowly, to say in which line and column.
"""

from __future__ import annotations

import sys

from ocirt import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A config needs 8 levels.  Python's own limit is 1000 calls, two a level; and a text with fewer
# brackets than this, as engines write them (300), need not be measured, which takes 0.1 ms.
MAX_DEPTH = 384

_WHITESPACE = " \t\n\r"


class _Refused(Exception):
    """The text is not acceptable; jsonfault says why and where."""


def _refuse(constant: str) -> object:
    raise _Refused


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """One object."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused
    if None in members.values():
        without_nulls(members)
    return members


def without_nulls(members: dict[str, object]) -> None:
    """Drop the members of an object that are null: Go's decoder treats them as absent."""
    for name in [name for name, value in members.items() if value is None]:
        log.debug(f'property "{name}" is null, which is the same as absent')
        del members[name]


class _Context:
    """What the C scanner reads its settings from, once."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse)


def public_scanner() -> Callable[[str, int], tuple[object, int]]:
    """The same scanner through the public door, for a Python without `_json`."""
    import json

    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)
    return decoder.scan_once  # type: ignore[attr-defined, no-any-return]  # typeshed has only raw_decode


_scanners: list[Callable[[str, int], tuple[object, int]]] = []  # one, when the first text is read


def standard_scan(text: str, start: int) -> tuple[object, int]:
    """The value that begins there, and where it ends."""
    if not _scanners:
        try:
            from _json import make_scanner

            _scanners.append(make_scanner(_Context))  # type: ignore[arg-type]
        except ImportError:
            _scanners.append(public_scanner())
    return _scanners[0](text, start)


def parse(data: bytes, what: str) -> object:
    """The value that data (UTF-8 text of the file called what) stands for.

    Raises ConfigError json, with line and column, and the JSON pointer where there is one.
    """
    try:
        text = data.decode("utf-8")
        start = len(text) - len(text.lstrip(_WHITESPACE))
        value, end = _scan(text, start)
        if text[end:].strip(_WHITESPACE) or _has_surrogate(text) or _is_too_deep(text, value):
            raise _Refused
    except (_Refused, ValueError, StopIteration, RecursionError, SystemError):
        # SystemError: Python 3.11's scanner wants to raise json's JSONDecodeError and finds json not imported
        from ocirt.config.jsonfault import fault

        raise fault(data, what, MAX_DEPTH) from None
    return value


def _has_surrogate(text: str) -> bool:
    """Whether a string may hold half a surrogate pair, which no system call could be given."""
    if "\\ud" not in text and "\\uD" not in text:
        return False
    from ocirt.config.jsonfault import first_fault

    return first_fault(text, MAX_DEPTH) is not None


def _is_too_deep(text: str, value: object) -> bool:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    depth, level = 0, _containers([value])
    while level:
        depth += 1
        level = [inner for outer in level for inner in _containers(outer)]
    return depth > MAX_DEPTH


def _containers(values: dict[str, object] | list[object]) -> list[dict[str, object] | list[object]]:
    members = values.values() if isinstance(values, dict) else values
    return [member for member in members if isinstance(member, (dict, list))]


def dump(value: object, indent: int | None = None) -> str:
    """value as JSON text: one line, or with indent spaces per level as `json.dumps(indent=)` writes it.

    Accepts dict (string keys), list, tuple, str, int, float, bool and None; raises TypeError for others.
    """
    return _write(value, -1 if indent is None else indent)


def portable_write(value: object, indent: int) -> str:
    """The same; one line if indent is negative."""
    return "".join(_pieces(value, "\n" if indent >= 0 else "", " " * indent))


def _pieces(value: object, newline: str, step: str) -> list[str]:
    if value is None:
        return ["null"]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, str):
        return [log.quote(value)]
    if isinstance(value, int):
        return [int.__repr__(value)]
    if isinstance(value, float) and value == value:  # nan has no form
        return [float.__repr__(value).replace("inf", "1e999")]  # which is read as inf
    inner = newline and newline + step
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        colon = ": " if newline else ":"
        members = [[log.quote(name), colon, *_pieces(member, inner, step)] for name, member in value.items()]
        return _enclose("{", members, "}", newline, inner)
    if isinstance(value, (list, tuple)):
        return _enclose("[", [_pieces(item, inner, step) for item in value], "]", newline, inner)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _enclose(opening: str, items: list[list[str]], closing: str, newline: str, inner: str) -> list[str]:
    if not items:
        return [opening + closing]
    pieces = [opening]
    for item in items:
        pieces += [inner, *item, ","]
    pieces[-1] = newline
    pieces.append(closing)
    return pieces


if "_ocirt" in sys.builtin_module_names:  # part of the native launcher
    from _ocirt import dump_json, scan_json  # type: ignore[import-not-found]

    _write: Callable[[object, int], str] = dump_json

    def _scan(text: str, start: int) -> tuple[object, int]:
        """standard_scan() of the native launcher."""
        return scan_json(text, start, MAX_DEPTH, without_nulls)  # type: ignore[no-any-return]

else:
    _scan = standard_scan
    _write = portable_write
