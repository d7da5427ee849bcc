"""Texts that are JSON, nearly JSON and not at all, by the thousand; the same ones for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

SPACE = ("", "", "", " ", "\n", "\t\r ", "\u00a0", "\f")
NUMBERS = (
    "0", "-0", "1", "-1", "12345678901234567890123", "0.5", "-1.5e-3", "1E+2", "1e999", "5e-324", "123456789.123456789",
    "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "1_0", "--1", "NaN", "Infinity", "-Infinity", "\u0661",
)  # fmt: skip
WORDS = ("true", "false", "null", "tru", "nul", "True", "nulll", "")
CHARACTERS = (
    "a", "process", "\u00e9", "\u4e16", "\U0001f600", " ", "\x7f", "\u2028", "\\n", '\\"', "\\\\", "\\/", "\\u0041",
    "\\u00e9", "\\uD83D\\uDE00", "\\ud83d", "\\ude00", "\\ud83dx", "\\ud83d\\u0041", "\\ud83d\\ud83d\\ude00", "\\u0000",
)  # fmt: skip
WRONG_CHARACTERS = ("\\x", "\\u12", "\\u00g0", "\\ud83d\\u12", "\x00", "\x1f", "\n", '"', "\\", "\\U0041")
NAMES = ("a", "b", "args", "\u00e9", "\\u0061", "")
PIECES = (
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"',
    "\\",
    "\\u",
    "\\ud83d",
    "0",
    "1",
    "-",
    ".",
    "e",
    "null",
    " ",
    "\0",
    "\u4e16",
)


def texts(seed: int, count: int) -> Iterator[str]:
    random = Random(seed)
    for _ in range(count):
        text = space(random) + value(random, 4) + space(random)
        for _ in range(random.choice((0, 0, 0, 0, 1, 2))):
            text = mutated(text, random)
        yield text


def mutated(text: str, random: Random) -> str:
    """With a piece taken out, put in or exchanged, or cut off."""
    here = random.randrange(len(text) + 1)
    if random.randrange(6) == 0:
        return text[:here]
    return text[:here] + random.choice((*PIECES, "")) + text[here + random.randrange(3) :]


def value(random: Random, levels: int) -> str:
    kind = random.randrange(9)
    if kind < 2 or (levels == 0 and kind > 4):
        return string(random)
    if kind == 2:
        return random.choice(NUMBERS[:11] if random.randrange(8) else NUMBERS)
    if kind < 5:
        return random.choice(WORDS[:3] if random.randrange(16) else WORDS)
    if kind < 7:
        items = [space(random) + value(random, levels - 1) + space(random) for _ in range(random.randrange(4))]
        return f"[{','.join(items) or space(random)}]"
    members = [member(random, levels - 1) for _ in range(random.randrange(5))]
    return f"{{{','.join(members) or space(random)}}}"


def member(random: Random, levels: int) -> str:
    name = f'"{random.choice(NAMES)}"' if random.randrange(2) else string(random)
    return space(random) + name + space(random) + ":" + space(random) + value(random, levels) + space(random)


def string(random: Random) -> str:
    characters = CHARACTERS if random.randrange(16) else (*CHARACTERS, *WRONG_CHARACTERS)
    return f'"{"".join(random.choice(characters) for _ in range(random.randrange(6)))}"'


def space(random: Random) -> str:
    return random.choice(SPACE[:6] if random.randrange(200) else SPACE)
