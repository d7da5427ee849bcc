"""What the annotations mean, and which are refused; what they do is seen in tests/e2e/test_landlock.py."""

from __future__ import annotations

import pytest

from ocirt.errors import ConfigError
from ocirt.kernel import landlock as kernel
from ocirt.process_plan import landlock as planned
from ocirt.stages.landlock import ALL, READ_ONLY, Restrict, landlock

AT = "/annotations/ocirt.landlock."


def only(**kinds: str) -> Restrict:
    (step,) = landlock({"org.example": "x", **{f"ocirt.landlock.{kind}": value for kind, value in kinds.items()}})
    assert isinstance(step, Restrict)
    return step


def test_off_without_an_annotation() -> None:
    assert list(planned({"org.example": "x", "ocirt.landlocked": "/"})) == []


def test_paths() -> None:
    step = only(ro="/usr:/etc", rw="/tmp")
    assert step.paths == (
        ("/usr", READ_ONLY, f"{AT}ro"),
        ("/etc", READ_ONLY, f"{AT}ro"),
        ("/tmp", ALL, f"{AT}rw"),
    )
    assert (step.net, step.scoped) == (0, 0)
    words = "read and execute below /usr, read and execute below /etc, all below /tmp"
    assert step.describe() == f"restrict the process by Landlock to: {words}"


def test_ports_and_scopes() -> None:
    step = only(bind="80, 443", connect="", scope="signal,abstract-unix-socket")
    assert step.ports == ((80, kernel.BIND_TCP), (443, kernel.BIND_TCP))
    assert step.net == kernel.BIND_TCP | kernel.CONNECT_TCP
    assert step.scoped == 3


@pytest.mark.parametrize(
    ("kind", "value", "at"),
    [
        ("ro", "", "ro"),
        ("ro", "/usr:tmp", "ro"),
        ("rw", "/usr:", "rw"),
        ("bind", "80,http", "bind"),
        ("connect", "65536", "connect"),
        ("connect", "-1", "connect"),
        ("scope", "", "scope"),
        ("scope", "signal,net", "scope"),
        ("read", "/", "read"),
        ("a/b~", "/", "a~1b~0"),
    ],
)
def test_refused(kind: str, value: str, at: str) -> None:
    with pytest.raises(ConfigError) as caught:
        only(**{kind: value})
    assert (caught.value.code, caught.value.at) == ("rule", f"{AT}{at}")
