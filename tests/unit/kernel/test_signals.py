"""Signals by name and number."""

from __future__ import annotations

import signal

import pytest

from ocirt.errors import OcirtError
from ocirt.kernel.signals import SIGNALS, signal_number


def test_the_table_is_the_machines() -> None:
    for name in SIGNALS:
        if name != "STKFLT" or hasattr(signal, "SIGSTKFLT"):
            assert signal_number(name) == getattr(signal, f"SIG{name}")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("sigKill", 9),
        ("9", 9),
        ("0", 0),
        ("64", 64),
        ("RTMIN", 34),
        ("SIGRTMIN+30", 64),
        ("RTMAX-30", 34),
        ("POLL", 29),
    ],
)
def test_known(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "SIG", "NOPE", "SIGSIGTERM", "65", "-1", "+9", "1.5", "٩", "RTMIN+31", "RTMAX+1", "RTMIN-1", "9" * 5000],
)
def test_unknown(text: str) -> None:
    with pytest.raises(OcirtError) as caught:
        signal_number(text)
    assert (caught.value.code, caught.value.what) == ("signal", f'unknown signal "{text}"')
