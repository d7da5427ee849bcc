"""Sizes and durations as the command line takes them: the forms of go-units' RAMInBytes and of Go's ParseDuration."""

from __future__ import annotations

from ocirt.errors import UsageError

_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_size(text: str) -> int:
    """Bytes of "512", "1.5g", "64 MiB" (1024-based, any case).  Raises UsageError."""
    number = text.rstrip("kKmMgGtTpPiIbB ")
    unit = text[len(number) :].strip(" ").lower().removesuffix("b").removesuffix("i")
    if unit not in _SIZE_UNITS or not _is_number(number) or (not unit and text != number and text[-1] in "iI"):
        raise UsageError(f"invalid size: '{text}'")
    return int(float(number) * _SIZE_UNITS[unit]) if "." in number else int(number) * _SIZE_UNITS[unit]


def parse_duration(text: str) -> float:
    """Seconds of "100ms", "1.5s", "1h2m".  Raises UsageError."""
    rest = text.removeprefix("+").removeprefix("-")
    seconds = 0.0
    if rest == "0":
        return seconds
    if not rest:
        raise UsageError(f'time: invalid duration "{text}"')
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = next((unit for unit in sorted(_SECONDS, key=len, reverse=True) if rest.startswith(unit)), "")
        if not unit or not _is_number(number):
            raise UsageError(f'time: invalid duration "{text}"')
        seconds += float(number) * _SECONDS[unit]
        rest = rest[len(unit) :]
    return -seconds if text.startswith("-") else seconds


def _is_number(text: str) -> bool:
    """Digits with at most one point, and at least one digit; float() would take "1e3", "inf" and "1_0" too."""
    digits = text.replace(".", "", 1)
    return digits.isascii() and digits.isdigit() and len(digits) < 30
