"""The loopback of a new namespace."""

from __future__ import annotations

from ocirt.config.views import Config
from ocirt.stages.network import network
from tests.support.recorder import recorded_box


def test_a_new_namespace_gets_its_loopback() -> None:
    config = Config({"linux": {"namespaces": [{"type": "pid"}, {"type": "network"}]}})
    (step,) = network(config)
    box, kernel = recorded_box()
    step.apply(box)
    assert (kernel.calls, step.at) == ([("loopback_up",)], "/linux/namespaces/1")


def test_a_joined_one_is_left_alone() -> None:
    assert list(network(Config({"linux": {"namespaces": [{"type": "network", "path": "/n"}]}}))) == []
    assert list(network(Config({}))) == []
