"""The recorder's profile: from numbers to names, for each architecture that was seen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocirt.errors import OcirtError
from ocirt.kernel.notifications import CONTINUE, Notification
from ocirt.seccomp.architectures import ABIS
from ocirt.seccomp.recorded import MOST, Recorder
from tests.support.profiles import X32_BIT, X86, X86_64


def recorded(path: Path, *calls: tuple[int, int]) -> dict[str, object]:
    recorder = Recorder(str(path), ABIS["SCMP_ARCH_X86_64"])
    recorder.prepare()
    for token, number in calls:
        assert recorder.answer(Notification(1, 2, number, token, (0,) * 6), -1) == (0, CONTINUE)
    recorder.end()
    found: dict[str, object] = json.loads(path.read_text())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    return found


def test_names_of_each_architecture(tmp_path: Path) -> None:
    calls = [(X86_64, 83), (X86_64, 1), (X86_64, 83), (X86, 4), (X86, 39), (X86_64, X32_BIT | 84), (X86_64, 1 << 20)]
    assert recorded(tmp_path / "profile.json", *calls) == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "rmdir", "write"], "action": "SCMP_ACT_ALLOW"}],
    }


def test_added_to_what_was_recorded_before(tmp_path: Path) -> None:
    recorded(tmp_path / "profile.json", (X86, 39))
    assert recorded(tmp_path / "profile.json", (X86_64, 1)) == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "write"], "action": "SCMP_ACT_ALLOW"}],
    }


def test_numbers_that_are_made_up_are_bounded(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path / "profile.json"), ABIS["SCMP_ARCH_X86_64"])
    for number in range(MOST + 100):
        recorder.answer(Notification(1, 2, 1000 + number, X86_64, (0,) * 6), -1)
    assert len(recorder._seen) == MOST


def test_what_is_no_file_is_refused_unopened(tmp_path: Path) -> None:
    """To open a FIFO would wait for a writer."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OcirtError, match=f"{tmp_path}/fifo is no regular file") as caught:
        Recorder(str(tmp_path / "fifo"), ABIS["SCMP_ARCH_X86_64"])
    assert caught.value.code == "usage"
