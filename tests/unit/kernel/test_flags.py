"""Flags back into words."""

from __future__ import annotations

import pytest

from ocirt.kernel.flags import CLONE_NEWNS, CLONE_NEWPID, MS_NODEV, MS_NOSUID, names


@pytest.mark.parametrize(
    ("prefix", "value", "text"),
    [
        ("MS_", MS_NOSUID | MS_NODEV, "MS_NOSUID|MS_NODEV"),
        ("CLONE_", CLONE_NEWNS | CLONE_NEWPID, "CLONE_NEWNS|CLONE_NEWPID"),
        ("MS_", 1 << 40 | MS_NODEV, "MS_NODEV|0x10000000000"),
        ("MS_", 0, "0x0"),
    ],
)
def test_names(prefix: str, value: int, text: str) -> None:
    assert names(prefix, value) == text
