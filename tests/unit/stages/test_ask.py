"""Init asks and waits for the answer."""

from __future__ import annotations

import pytest

from ocirt.box import Box
from ocirt.channel import ASK, DONE, GO, channel_pair
from ocirt.errors import OcirtError
from ocirt.stages.ask import Ask
from tests.support.recorder import recorded_box


def test_question_and_answer() -> None:
    box: Box = recorded_box()[0]
    box.channel, runtime = channel_pair()
    runtime.send(DONE)
    Ask("/hooks", "hooks").apply(box)
    record = runtime.receive()
    assert (record.kind, record.fields) == (ASK, ["hooks"])


def test_anything_else_is_an_error() -> None:
    box: Box = recorded_box()[0]
    box.channel, runtime = channel_pair()
    runtime.send(GO)
    with pytest.raises(OcirtError) as caught:
        Ask("/hooks", "hooks").apply(box)
    assert caught.value.code == "internal"
