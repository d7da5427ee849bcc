"""Make small random changes to a JSON value: other types, numbers out of range, other words, more and fewer members."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

# No text ends in a newline: Python's re, and so jsonschema, lets $ match before it; ECMA's $ and ours do not.
SCALARS: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 1.0, 1.5, 1e3, 511, 512, 65535, 65536, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1,
    2**32 - 1, 2**32, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**30, float("inf"),
    "", "0", "x", "private", "rslave", "mount", "c", "MB:0=1", "MB:\nL3:", "2MB", "0MB", "1TB", "64kB", "RLIMIT_CPU",
    "RLIMIT_", "RLIMIT_CPU2", "rlimit_cpu", "0-3,7", "0-a", "SCMP_ACT_ALLOW", "scmp_act_allow", "SCMP_CMP_EQ",
    "SCHED_OTHER", "MPOL_BIND", "LINUX", "\u0660", "1\u0661MB", "\ud7ff",
)  # fmt: skip

NAMES = (
    "type", "path", "limit", "size", "uid", "names", "args", "action", "class", "policy", "mode", "flags", "priority",
    "major", "swap", "shares", "readonly", "options", "timeout", "annotations", "unknown", "a/b", "c~d", "weight",
    "rate", "allow",
)  # fmt: skip


def mutated(value: Any, random: Random) -> Any:
    """A copy of value with one to three changes."""
    value = {"": copy.deepcopy(value)}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        holder, key = random.choice(places(value))
        change(holder, key, random)
    return value[""]


def places(value: Any) -> list[tuple[Any, Any]]:
    """All (container, key) in value."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            found.append((node, key))
            if isinstance(node[key], (dict, list)):
                waiting.append(node[key])
    return found


def change(holder: Any, key: Any, random: Random) -> None:
    """Change what holder has at key: in kind, in value, in size, or away with it."""
    old = holder[key]
    kind = random.randrange(4)
    if kind == 0 and key != "":
        del holder[key]
    elif kind == 1 and isinstance(old, dict):
        old[random.choice(NAMES)] = anything(random)
    elif kind == 1 and isinstance(old, list):
        old.insert(random.randrange(len(old) + 1), anything(random))
    elif kind == 2 and type(old) is int:
        holder[key] = random.choice((old + 1, -old - 1, old + 2**32, old * 2**33, float(old), str(old)))
    elif kind == 2 and isinstance(old, str):
        holder[key] = random.choice((old.lower(), old + "X", old[:-1], " " + old))
    else:
        holder[key] = anything(random)


def anything(random: Random) -> object:
    kind = random.randrange(8)
    if kind == 0:
        return [random.choice(SCALARS) for _ in range(random.randrange(3))]
    if kind == 1:
        return {random.choice(NAMES): random.choice(SCALARS) for _ in range(random.randrange(3))}
    return random.choice(SCALARS)
