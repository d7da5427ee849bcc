"""The native launcher's memory is laid out by a profile of the modules as they were (ocirt/launcher/placement.py)."""

from __future__ import annotations

import pytest

from ocirt.launcher import native, placement, write
from tests.architecture.source import PACKAGE

OWNERS = placement.read(placement.PROFILE.read_text())
# Of the blocks.  What is no longer known is found where the imports put it: every start is so much slower.
MAY_BE_STALE = 0.25


def test_the_profile_knows_most_modules_as_they_are() -> None:
    trees, _ = native.code(write.read_sources(PACKAGE, native.LEFT_OUT), "/usr/lib/ocirt")
    digests = native.digests(trees) | {
        placement.CORE: OWNERS[placement.CORE].digest
    }  # of one Python, not of the source
    stale = placement.stale(OWNERS, digests)
    blocks = {name: len(owner.blocks) for name, owner in OWNERS.items()}
    share = sum(blocks[name] for name in stale) / sum(blocks.values())
    assert share <= MAY_BE_STALE, f"`make profile`: {share:.0%} of it are of modules that have changed: {stale}"


@pytest.mark.parametrize("name", ["python", "ocirt.cli", "ocirt.plan", "ocirt.process.init", "ocirt.commands.exec"])
def test_the_profile_has_what_a_container_needs(name: str) -> None:
    assert any(block.writers for block in OWNERS[name].blocks)


def test_the_profile_has_nothing_of_what_a_container_does_not_need() -> None:
    assert not {"ocirt.stats", "ocirt.commands.ps"} & OWNERS.keys()
