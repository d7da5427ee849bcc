"""Which profile has a listener."""

from __future__ import annotations

from ocirt.config.views import Seccomp
from ocirt.seccomp import notifies
from tests.support.profiles import profile, rule


def test_it_takes_a_rule_and_somebody_to_notify() -> None:
    wanted = {"listenerPath": "/run/agent.sock"}
    assert notifies(Seccomp(profile(rule("read"), rule("mkdir", "NOTIFY"), **wanted), "/linux/seccomp"))
    assert not notifies(Seccomp(profile(rule("mkdir"), **wanted), "/linux/seccomp"))
    assert not notifies(Seccomp(profile(rule("mkdir", "NOTIFY")), "/linux/seccomp"))
