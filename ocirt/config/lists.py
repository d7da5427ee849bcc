"""Lists of CPUs and memory nodes as the kernel writes them, cpuset(7): "0-3,7"."""

from __future__ import annotations


def is_list(text: str) -> bool:
    """Whether text is such a list.  Blanks and empty elements are let pass, as every runtime does."""
    for element in text.split(","):
        first, dash, last = element.strip().partition("-")
        if not dash and not first:
            continue
        if not _is_number(first) or (dash and (not _is_number(last) or int(last) < int(first))):
            return False
    return True


def members(text: str) -> tuple[int, ...]:
    """The numbers of a list that is_list() accepts, in its order."""
    numbers: list[int] = []
    for element in text.split(","):
        first, dash, last = element.strip().partition("-")
        if first:
            numbers += range(int(first), int(last if dash else first) + 1)
    return tuple(numbers)


def _is_number(text: str) -> bool:
    """No machine has a CPU of more than five digits; and int() is slow on millions of them."""
    return text.isascii() and text.isdigit() and len(text) <= 5
