"""Did you mean ...?  The word of a list that a misspelt one was to be; and what the schema allows at a pointer."""

from __future__ import annotations

import difflib

from ocirt.config import shapes
from ocirt.config.checks_process import RLIMITS
from ocirt.config.mountopts import RECOGNISED
from ocirt.kernel.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ALIKE = 0.7  # of 1.0; difflib's 0.6 takes "cwd" for "pid"
# What people write for a namespace, from the names in /proc/PID/ns and of clone(2).
OTHER_NAMES = {"net": "network", "mnt": "mount", "newnet": "network", "newns": "mount"}


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of words that is most like word, whatever the case; "" when none is."""
    small = {one.lower(): one for one in words}
    if OTHER_NAMES.get(word.lower()) in small:
        return OTHER_NAMES[word.lower()]
    wanted = word.lower()
    found = difflib.get_close_matches(wanted, small, 9, ALIKE)
    found.sort(key=lambda one: not (one.startswith(wanted) or wanted.startswith(one)))  # of the best, its beginning
    return small[found[0]] if found else ""


def capability(word: str) -> str:
    """Also for one without its CAP_."""
    return nearest(word if word.upper().startswith("CAP_") else f"CAP_{word}", CAPABILITIES)


def rlimit(word: str) -> str:
    return nearest(word if word.upper().startswith("RLIMIT_") else f"RLIMIT_{word}", RLIMITS)


def mount_option(word: str) -> str:
    return nearest(word, RECOGNISED)


def steps(pointer: str) -> list[str]:
    """The names and numbers of a JSON pointer (RFC 6901)."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def value_at(value: Any, pointer: str) -> Any:
    """What pointer names in value; None when it is not there."""
    for step in steps(pointer):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def shape_at(pointer: str) -> Any:
    """The shape (config/shapes.py) of what pointer names; None where anything may stand."""
    shape: Any = shapes.KINDS["config"]
    for step in steps(pointer):
        if type(shape) is not tuple:
            return None
        kind = shape[0]
        shape = shape[2].get(step) if kind == "object" else shape[1] if kind in ("array", "map") else None
    return shape
