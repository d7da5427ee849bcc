"""Colours for people: on a terminal that has them, unless NO_COLOR says no (no-color.org)."""

from __future__ import annotations

from ocirt import system as os

CODES = {"bold": "1", "red": "1;31", "green": "32", "yellow": "1;33"}  # ECMA-48, select graphic rendition


def wanted(fd: int) -> bool:
    """Whether what is written to fd is for a terminal with colours."""
    return os.isatty(fd) and not os.getenv("NO_COLOR") and os.getenv("TERM") not in (None, "", "dumb")


def paint(text: str, colour: str, on: bool) -> str:
    return f"\x1b[{CODES[colour]}m{text}\x1b[0m" if on else text
