"""What is planned for linux.netDevices; tests/e2e/test_network_devices.py moves real ones."""

from __future__ import annotations

import pytest

from ocirt.config.checks_rootless import check
from ocirt.config.views import Config
from ocirt.errors import ConfigError
from ocirt.stages.network_devices import MoveDevice, find_devices, move_devices
from tests.support.recorder import recorded_box

CONFIG = Config(
    {
        "linux": {
            "namespaces": [{"type": "user"}],
            "netDevices": {"eth1": {}, "a.b": {"name": "eth%d"}, "c": {"name": "c"}},
        }
    }
)


def test_all_are_looked_for_before_one_is_moved() -> None:
    assert CONFIG.linux is not None
    (find,) = find_devices(CONFIG.linux)
    assert (find.describe(), find.at) == ("find the network devices eth1 a.b c", "/linux/netDevices")
    assert [(step.describe(), step.at) for step in move_devices(CONFIG.linux)] == [
        ("move the network device eth1 into the container", "/linux/netDevices/eth1"),
        ("move the network device a.b into the container as eth%d", "/linux/netDevices/a.b/name"),
        ("move the network device c into the container", "/linux/netDevices/c/name"),
    ]


def test_undo_bears_that_nothing_was_begun() -> None:
    box, kernel = recorded_box()
    MoveDevice("", "eth1", "eth1").undo(box)
    assert kernel.calls == []


def test_a_user_has_no_devices_to_give() -> None:
    with pytest.raises(ConfigError) as caught:
        check(CONFIG)
    assert (caught.value.code, caught.value.what, caught.value.at) == (
        "rule",
        "network devices are not supported for rootless containers",
        "/linux/netDevices",
    )
