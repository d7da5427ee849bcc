"""Names of the UTS namespace."""

from __future__ import annotations

from ocirt.config.views import Config
from ocirt.stages.hostname import hostname
from tests.support.recorder import recorded_box


def test_both_names_are_set() -> None:
    steps = list(hostname(Config({"hostname": "web", "domainname": "example"})))
    box, kernel = recorded_box()
    for step in steps:
        step.apply(box)
    assert kernel.calls == [("sethostname", "web"), ("setdomainname", "example")]
    assert [step.at for step in steps] == ["/hostname", "/domainname"]
    assert steps[0].describe() == "set the host name to 'web'"


def test_absent_and_empty_names_change_nothing() -> None:
    assert list(hostname(Config({"hostname": ""}))) == []
