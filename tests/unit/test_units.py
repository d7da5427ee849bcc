"""Sizes and durations of the command line."""

from __future__ import annotations

import pytest

from ocirt.errors import UsageError
from ocirt.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("32b", 32),
        ("4k", 4096),
        ("4K", 4096),
        ("64m", 64 << 20),
        ("64MB", 64 << 20),
        ("64 MiB", 64 << 20),
        ("1.5g", 3 << 29),
        ("1t", 1 << 40),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "g", "-5", "1e3", "0x10", "1_000", "inf", "12q", "5 k b", "1..5", "1.2.3", "5i", "5bk", "٣", "9" * 40]
)
def test_bad_size(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert caught.value.what == f"invalid size: '{text}'"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("5s", 5),
        ("100ms", 0.1),
        ("1.5h", 5400),
        ("1m30s", 90),
        ("250us", 0.00025),
        ("-1s", -1),
        ("2h45m", 9900),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1e3s", "5 s", "5x", "-", ".s", "1s0"])
def test_bad_duration(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_duration(text)
    assert caught.value.what == f'time: invalid duration "{text}"'
