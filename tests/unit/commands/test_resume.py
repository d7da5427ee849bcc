"""resume: only for what is paused."""

from __future__ import annotations

import pytest

from ocirt.commands import pause, resume
from ocirt.errors import StateError
from tests.support import records
from tests.support.cgroups import FakeContainer, fake

__all__ = ["fake"]


def test_it_thaws(fake: FakeContainer) -> None:
    records.run(pause, fake.root, fake.id)
    assert records.run(resume, fake.root, fake.id) == 0
    assert fake.read("freezer.state").startswith("THAWED")
    assert fake.load().status() == "running"


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_only_what_is_paused(fake: FakeContainer, state: str) -> None:
    if state == "stopped":
        records.run(pause, fake.root, fake.id)
        fake.stop()
    with pytest.raises(StateError) as caught:
        records.run(resume, fake.root, fake.id)
    assert (caught.value.code, caught.value.what) == ("status", "container not paused")
