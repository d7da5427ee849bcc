"""Values of which most have a form in JSON, by the thousand; the same ones for the same seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random


class Text(str):
    __slots__ = ()


class Number(int):
    def __repr__(self) -> str:
        return "a number"


class Fraction(float):
    def __repr__(self) -> str:
        return "a fraction"


class Array(list[object]):
    pass


class Object(dict[str, object]):
    pass


CHARACTERS = (
    *map(chr, range(0x180)),
    *"\u2028\ufeff\u0600\ud800\udbff\udc00\udcff\udfff\ue000\uffff\u4e16\U00010000\U0001f600\U000e0001\U0010ffff",
)
PLAIN = "abcXYZ /-_.0"
CONSTANTS = (None, True, False, 0, 1, "", "x", {}, [], (), Object(), Array())
INTEGERS = (2**63, -(2**63), 2**64, 10**40, -(10**300), 1 << 1999, 10**4299, Number(-7))
FLOATS = (0.0, -0.0, 1.5, 1e15, 1e16, -1e-5, 5e-324, 1.7976931348623157e308, Fraction(2.5))
REFUSED = (
    math.nan, math.inf, -math.inf, b"x", {1: 2}, {"a": object(), None: 2}, {1, 2}, object(), 1j, range(3),
    Fraction("nan"), Number, 10**4300, -(10**4300),
)  # fmt: skip


def values(seed: int, count: int) -> Iterator[object]:
    random = Random(seed)
    for _ in range(count):
        yield value(random, random.randrange(5))


def value(random: Random, levels: int) -> object:
    kind = random.randrange(16 if levels else 10)
    if kind < 4:
        return text(random)
    if kind == 4:
        return random.choice(CONSTANTS)
    if kind == 5:
        return random.randrange(-300, 300)
    if kind == 6:
        return random.choice(INTEGERS) if random.randrange(4) else random.randrange(1 << random.randrange(1, 2000))
    if kind == 7:
        return random.choice(FLOATS) if random.randrange(4) else random.random() * 10.0 ** random.randrange(-320, 308)
    if kind < 10:
        return random.choice(REFUSED if random.randrange(16) == 0 else CONSTANTS)
    if kind < 13:
        return random.choice((list, tuple, Array))(value(random, levels - 1) for _ in range(random.randrange(5)))
    members = [(text(random), value(random, levels - 1)) for _ in range(random.randrange(5))]
    return random.choice((dict, Object))(members)


def text(random: Random) -> str:
    kind = random.randrange(4)
    if kind == 0:
        return "".join(random.choice(PLAIN) for _ in range(random.randrange(40)))
    if kind == 1:
        return "".join(
            random.choice(CHARACTERS) for _ in range(random.randrange(300 if random.randrange(16) == 0 else 8))
        )
    if kind == 2:
        return "".join(chr(random.randrange(0x110000)) for _ in range(random.randrange(6)))
    return Text("".join(random.choice(CHARACTERS[:128]) for _ in range(random.randrange(10))))
