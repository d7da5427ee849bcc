"""pause: the freezer's file, and when it is refused."""

from __future__ import annotations

import pytest

from ocirt.commands import pause
from ocirt.errors import OcirtError, StateError
from tests.support import records
from tests.support.cgroups import FakeContainer, fake

__all__ = ["fake"]


def test_it_freezes(fake: FakeContainer) -> None:
    assert records.run(pause, fake.root, fake.id) == 0
    assert fake.read("freezer.state").startswith("FROZEN")
    assert fake.load().status() == "paused"


@pytest.mark.parametrize("state", ["stopped", "paused"])
def test_only_what_runs(fake: FakeContainer, state: str) -> None:
    if state == "stopped":
        fake.stop()
    else:
        records.run(pause, fake.root, fake.id)
    with pytest.raises(StateError) as caught:
        records.run(pause, fake.root, fake.id)
    assert (caught.value.code, caught.value.what) == ("status", "container not running")


def test_without_a_cgroup(fake: FakeContainer) -> None:
    container = fake.load()
    container.record["cgroup"] = None
    container.save()
    with pytest.raises(OcirtError) as caught:
        records.run(pause, fake.root, fake.id)
    assert caught.value.code == "cgroup"
