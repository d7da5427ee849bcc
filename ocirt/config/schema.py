"""Hold a value to the JSON Schema of the runtime specification (spec/schema, as shapes.py has it).

The verdict is that of a JSON Schema draft-04 validator - the tests compare - at 1/100 of the price:
importing `jsonschema` takes 70 ms.  What draft-04 says and Python does not: true is no integer, and
neither is 1.0 or 1e3, so that no uid is ever rounded.

The native launcher asks launcher/shape.c first, which finds right what is right in a third of the time, or less.
"""

from __future__ import annotations

import sys

from ocirt import log
from ocirt.config import shapes
from ocirt.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.config.shapes import Shape

    Report = Callable[[ConfigError], None]

_DIGITS = "0123456789"
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NAMES: dict[type, str] = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}


def validate(value: object, kind: str = "config") -> None:
    """Check value, as jsontext.parse returned it.

    kind: config, process (the file of exec --process), resources (of update), seccomp (a profile
    alone), state or features.
    Raises ConfigError schema for the first contradiction in the order of the document; at is the
    pointer from value on.
    """
    shape = shapes.KINDS[kind]
    if log.debugging or not _is_right(value, shape):
        _check(value, shape, "", _refuse)


def faults(value: object, kind: str = "config") -> list[ConfigError]:
    """Every contradiction, in the order of the document."""
    found: list[ConfigError] = []
    _check(value, shapes.KINDS[kind], "", found.append)
    return found


def _refuse(error: ConfigError) -> None:
    raise error


def _check(value: Any, shape: Shape, at: str, report: Report) -> None:
    if shape is str or shape is bool:
        if type(value) is not shape:
            report(_wrong(_NAMES[shape], value, at))
        return
    _CHECKS[shape[0]](value, shape, at, report)


def _object(value: Any, shape: tuple[Any, ...], at: str, report: Report) -> None:
    if type(value) is not dict:
        report(_wrong("an object", value, at))
        return
    _, required, members = shape
    for name in required:
        if name not in value:
            report(ConfigError("schema", f'the required property "{name}" is missing', at=at))
    for name, member in value.items():
        inner = members.get(name)
        if inner is None:
            if log.debugging:
                log.debug(f"unknown property {at}/{_escape(name)} is ignored")
        elif inner is not type(member):  # true for str and bool, the most frequent
            _check(member, inner, f"{at}/{name}", report)


def _map(value: Any, shape: tuple[Any, ...], at: str, report: Report) -> None:
    if type(value) is not dict:
        report(_wrong("an object", value, at))
        return
    inner = shape[1]
    for name, member in value.items():
        if inner is not type(member):
            _check(member, inner, f"{at}/{_escape(name)}", report)


def _array(value: Any, shape: tuple[Any, ...], at: str, report: Report) -> None:
    if type(value) is not list:
        report(_wrong("an array", value, at))
        return
    _, inner, least = shape
    if len(value) < least:
        report(ConfigError("schema", f"expected at least {least} item, found {len(value)}", at=at))
    for index, item in enumerate(value):
        if inner is not type(item):
            _check(item, inner, f"{at}/{index}", report)


def _integer(value: Any, shape: tuple[Any, ...], at: str, report: Report) -> None:
    _, minimum, maximum = shape
    if type(value) is int and (minimum is None or minimum <= value) and (maximum is None or value <= maximum):
        return
    if minimum is None:
        expected = "an integer"
    elif maximum is None:
        expected = f"an integer of at least {minimum}"
    else:
        expected = f"an integer from {minimum} to {maximum}"
    report(_wrong(expected, value, at))


def _enum(value: Any, shape: tuple[Any, ...], at: str, report: Report) -> None:
    if type(value) is not str or value not in shape[1]:
        report(_wrong("one of " + ", ".join(shape[1]), value, at))


def _pattern(value: Any, shape: tuple[Any, ...], at: str, report: Report) -> None:
    words, test = PATTERNS[shape[1]]
    if type(value) is not str or not test(value):
        report(_wrong(words, value, at))


_CHECKS: dict[str, Callable[[Any, tuple[Any, ...], str, Report], None]] = {
    "object": _object,
    "map": _map,
    "array": _array,
    "integer": _integer,
    "enum": _enum,
    "pattern": _pattern,
}


def _is_rlimit(text: str) -> bool:
    return text.startswith("RLIMIT_") and _made_of_only(text[7:], _CAPITALS)


def _made_of_only(text: str, characters: str) -> bool:
    return text != "" and all(character in characters for character in text)


def _is_page_size(text: str) -> bool:
    number, unit = text[:-2], text[-2:]
    return unit in ("KB", "MB", "GB") and number[:1] != "0" and _made_of_only(number, _DIGITS)


# `re` costs 6 ms to import, so each expression of the schema has a test in words; $ means the very end here.
PATTERNS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "^RLIMIT_[A-Z]+$": ("a name such as RLIMIT_NOFILE", _is_rlimit),
    "^[1-9][0-9]*[KMG]B$": ("a page size such as 2MB or 64KB", _is_page_size),
    "^[0-9, -]*$": ("a list of numbers such as 0-3,7", lambda text: all(c in _DIGITS + ", -" for c in text)),
    "^MB:[^\\n]*$": ('one line that begins with "MB:"', lambda text: text.startswith("MB:") and "\n" not in text),
    "^CAP_[A-Z_]+$": (
        "a name such as CAP_CHOWN",
        lambda text: text.startswith("CAP_") and _made_of_only(text[4:], _CAPITALS + "_"),
    ),
}


if "_ocirt" in sys.builtin_module_names:
    from _ocirt import has_shape  # type: ignore[import-not-found]  # part of the native launcher

    def _is_right(value: object, shape: Shape) -> bool:
        """Whether _check() would find nothing wrong.  What is unknown it does not tell."""
        return has_shape(value, shape, PATTERNS)  # type: ignore[no-any-return]

else:

    def _is_right(value: object, shape: Shape) -> bool:
        """Not known before _check() has looked."""
        return False


def _wrong(expected: str, value: object, at: str) -> ConfigError:
    return ConfigError("schema", f"expected {expected}, found {found(value)}", at=at)


def found(value: object) -> str:
    """value as a message shows it: short, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return log.quote(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, int) and abs(value) >= 10**40:  # Python refuses to print one of 5000 digits
        return "a number of more than 40 digits"
    return _NAMES.get(type(value)) or repr(value)


def _escape(name: str) -> str:
    """name as a step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
