"""events: the lines, and when there are none.  The watch itself is tested against the kernel."""

from __future__ import annotations

import json

import pytest

from ocirt.commands import events
from ocirt.errors import OcirtError
from tests.support import records
from tests.support.cgroups import FakeContainer, fake

__all__ = ["fake"]


def test_stats_once(fake: FakeContainer, capfd: pytest.CaptureFixture[str]) -> None:
    assert records.run(events, fake.root, "--stats", fake.id) == 0
    (line,) = capfd.readouterr().out.splitlines()
    event = json.loads(line)
    assert (event["type"], event["id"]) == ("stats", fake.id)
    assert event["data"]["memory"]["usage"] == {"limit": 1000, "failcnt": 0}
    assert line.startswith('{"type":"stats","id":"web1","data":{"cpu":{"usage":{')


@pytest.mark.parametrize("interval", ["0", "0s", "-5ms"])
def test_interval_must_pass(fake: FakeContainer, interval: str) -> None:
    with pytest.raises(OcirtError) as caught:
        records.run(events, fake.root, f"--interval={interval}", fake.id)
    assert (caught.value.code, caught.value.what) == ("usage", "duration interval must be greater than 0")


def test_stopped(fake: FakeContainer) -> None:
    fake.stop()
    with pytest.raises(OcirtError) as caught:
        records.run(events, fake.root, "--stats", fake.id)
    assert (caught.value.code, caught.value.what) == ("status", "container with id web1 is not running")


def test_without_a_memory_hierarchy_there_is_nothing_to_watch(fake: FakeContainer) -> None:
    container = fake.load()
    del container.record["cgroup"]["paths"]["memory"]
    container.save()
    with pytest.raises(OcirtError) as caught:
        records.run(events, fake.root, fake.id)
    assert caught.value.code == "cgroup"
