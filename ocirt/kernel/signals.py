"""Signals by name, signal(7).  The numbers are those of every architecture in numbers.py."""

from __future__ import annotations

from ocirt.errors import OcirtError

# A name's index plus 1 is its number.
_IN_ORDER = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU "
    "URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
SIGNALS = tuple(_IN_ORDER.split())

ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}

# As glibc counts them: it keeps 32 and 33 for itself.
RTMIN = 34
RTMAX = 64


def signal_number(text: str) -> int:
    """The number of "TERM", "SIGTERM" (any case), "RTMIN+1", "RTMAX-2" or "15".

    Raises OcirtError "signal" for anything else, and for a number outside 0..64; 0 sends nothing
    and only asks whether the process is there, kill(2).
    """
    name = text.upper().removeprefix("SIG")
    number = _number(name)
    if number is None or not 0 <= number <= RTMAX:
        raise OcirtError("signal", f'unknown signal "{text}"')
    return number


def _number(name: str) -> int | None:
    if name.isascii() and name.isdigit():
        return int(name) if len(name) < 4 else None  # a longer one is out of range, and slow to read
    if name in SIGNALS:
        return SIGNALS.index(name) + 1
    if name in ALIASES:
        return ALIASES[name]
    for base, first, sign in (("RTMIN", RTMIN, "+"), ("RTMAX", RTMAX, "-")):
        if name == base:
            return first
        offset = name.removeprefix(base + sign)
        if offset != name and offset.isascii() and offset.isdigit() and len(offset) < 4:
            number = first + int(sign + offset)
            return number if RTMIN <= number <= RTMAX else None
    return None
