"""What the files of tests/configs do not show; the rules themselves are tested there."""

from __future__ import annotations

import pytest

from ocirt.config import checks, checks_resources
from ocirt.config.views import Resources


@pytest.mark.parametrize("name", ["eth0", "a", "ctr%d", "x" * 15, "é0", "..."])
def test_interfaces(name: str) -> None:
    assert checks_resources.is_interface(name)


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 16, "é" * 8, "a b", "a/b", "a:b", "a\n", "\u00a0"])
def test_no_interfaces(name: str) -> None:
    assert not checks_resources.is_interface(name)


@pytest.mark.parametrize(
    "memory", [{"swap": 5}, {"limit": 0, "swap": 5}, {"limit": -1, "swap": 5}, {"limit": 5, "swap": -1}]
)
def test_an_update_may_rely_on_limits_given_earlier(memory: dict[str, int]) -> None:
    checks.check_resources(Resources({"memory": memory}))
