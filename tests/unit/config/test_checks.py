"""What the files of tests/configs do not show: the warnings, and the order.  The rules are tested there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirt import log
from ocirt.config import checks, checks_linux, checks_process, checks_resources
from ocirt.config.views import Config, Process
from ocirt.errors import ConfigError
from tests.support.oracle import ROOT


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warning", lines.append)
    return lines


def config(**parts: object) -> Config:
    return Config({"ociVersion": "1.0.0", "root": {"path": "rootfs"}, **parts})


def test_nothing_to_say_of_a_small_config(warnings: list[str]) -> None:
    checks.check(config(process={"cwd": "/", "args": ["sh"]}))
    assert warnings == []


def test_unknown_capabilities_are_a_warning(warnings: list[str]) -> None:
    sets = {"bounding": ["CAP_CHOWN", "CAP_Z", "CAP_Y"], "ambient": ["chown"]}
    checks.check(config(process={"cwd": "/", "args": ["sh"], "capabilities": sets}))
    assert warnings == [
        "unknown capabilities are ignored: CAP_Y, CAP_Z [/process/capabilities/bounding]",
        "unknown capabilities are ignored: chown [/process/capabilities/ambient]",
    ]


VAIN = "ambient capabilities that are not permitted and inheritable too are ignored"


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"ambient": ["CAP_KILL", "CAP_CHOWN"]}, [f"{VAIN}: CAP_CHOWN, CAP_KILL"]),
        ({"ambient": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"]},
         [f"{VAIN}: CAP_CHOWN, CAP_KILL"]),
        ({"ambient": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"]},
         [f"{VAIN}: CAP_CHOWN"]),
        ({"ambient": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}, []),
        ({"ambient": [], "permitted": ["CAP_KILL"]}, []),
    ],
)  # fmt: skip
def test_ambient_capabilities_that_the_kernel_never_grants_are_a_warning(
    warnings: list[str], sets: dict[str, list[str]], said: list[str]
) -> None:
    process = {"cwd": "/", "args": ["sh"], "capabilities": sets}
    checks.check(config(process=process))
    assert warnings == [f"{line} [/process/capabilities/ambient]" for line in said]


def test_the_warnings_of_a_process_in_a_file(warnings: list[str]) -> None:
    checks.warn_of(Process({"cwd": "/", "args": ["sh"], "capabilities": {"ambient": ["CAP_KILL", "CAP_Y"]}}))
    assert warnings == [
        "unknown capabilities are ignored: CAP_Y [/capabilities/ambient]",
        f"{VAIN}: CAP_KILL [/capabilities/ambient]",
    ]


def test_a_relative_destination_is_a_warning(warnings: list[str]) -> None:
    checks.check(config(mounts=[{"destination": "/proc"}, {"destination": "data"}]))
    assert warnings == ['the destination "data" is not absolute; taken from / [/mounts/1]']


def test_personality_flags_are_a_warning(warnings: list[str]) -> None:
    checks.check(config(linux={"personality": {"domain": "LINUX", "flags": ["X"]}}))
    assert warnings == ["linux.personality.flags are ignored: none is defined [/linux/personality/flags]"]


def test_no_warning_beside_an_error(warnings: list[str]) -> None:
    with pytest.raises(ConfigError):
        checks.check(config(mounts=[{"destination": "data"}, {"destination": ""}]))
    assert warnings == []


@pytest.mark.parametrize(
    "version", ["1.0.0", "1.10.20", "1.0.0-rc.1", "1.0.0-0", "1.0.0-rc-x.7z", "1.2.3+build.5", "1.2.3-a+b-c.01"]
)
def test_versions(version: str) -> None:
    assert checks.is_semver(version)


@pytest.mark.parametrize(
    "version",
    ["", "1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.00.0", "1.0.0-", "1.0.0-rc..1", "1.0.0-01", "1.0.0+", "1.0.0-é",
     "1.0.x", " 1.0.0", "1.0.0\n", "1.0.\u0661", "-1.0.0", "1.0.0+a+b", "1.0.0-a_b"],
)  # fmt: skip
def test_no_versions(version: str) -> None:
    assert not checks.is_semver(version)


def test_every_rule_has_a_bad_case() -> None:
    """A rule that no file of tests/configs/bad breaks would be a rule that no test holds."""
    modules = (checks, checks_linux, checks_process, checks_resources)
    tables = (*(module.RULES for module in modules), checks.RULES_ACROSS, checks_resources.RULES_AT_CREATE)
    rules = {rule for table in tables for _, rule in table}
    broken = {_first_broken(file) for file in (ROOT / "tests/configs/bad").glob("rule-*.json")}
    assert {rule.__qualname__ for rule in rules} - broken == set()


def _first_broken(file: Path) -> str:
    """The name of the rule that file breaks, told by the generator that made the error."""
    from ocirt.config import jsontext

    try:
        checks.check(Config(jsontext.parse(file.read_bytes(), "x")))  # type: ignore[arg-type]
    except ConfigError as error:
        frames = error.__traceback__
        assert frames is not None
        while frames.tb_next is not None:
            frames = frames.tb_next
        rule = frames.tb_frame.f_locals.get("rule")
        return str(getattr(rule, "__qualname__", ""))
    return ""
