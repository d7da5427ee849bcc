"""The ranges that are closed leave the conversation open."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ocirt.stages.descriptors import LAST_FD, close_host_descriptors
from tests.support.recorder import recorded_box


def closed(channel: int, start: int | None, preserve: int) -> list[tuple[Any, ...]]:
    box, recorder = recorded_box()
    box.channel = SimpleNamespace(fileno=lambda: channel)  # type: ignore[assignment]
    box.fds = {} if start is None else {"start": start}
    (step,) = close_host_descriptors(preserve)
    step.apply(box)
    assert (box.proc, box.root) == (-1, -1)
    return [call[1:] for call in recorder.calls if call[0] == "close_range"]


def test_everything_around_channel_and_start_socket() -> None:
    assert closed(7, 4, 0) == [(3, 3, 0), (5, 6, 0), (8, LAST_FD, 0)]


def test_neighbours_leave_no_empty_range() -> None:
    assert closed(3, 4, 0) == [(5, LAST_FD, 0)]


def test_preserved_descriptors_stay() -> None:
    assert closed(9, None, 2) == [(5, 8, 0), (10, LAST_FD, 0)]
