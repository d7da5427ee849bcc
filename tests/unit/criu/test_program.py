"""Where criu is found, and how it is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirt.criu import program
from ocirt.errors import OcirtError


@pytest.fixture
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The only two that are searched."""
    made = tmp_path / "first", tmp_path / "second"
    for directory in made:
        directory.mkdir()
    monkeypatch.setattr(program, "DIRECTORIES", tuple(str(directory) for directory in made))
    return made


def put(directory: Path, text: str) -> str:
    path = directory / "criu"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_path_is_not_asked(directories: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OcirtError, match=r"^CRIU is not installed$") as caught:
        program.find_criu()
    assert (caught.value.code, caught.value.remedy) == ("criu", "install the package criu (criu.org)")


def test_the_first_that_can_be_executed(directories: tuple[Path, Path]) -> None:
    (directories[0] / "criu").touch()
    second = put(directories[1], "")
    assert program.find_criu() == second
    assert program.find_criu() == second
    first = put(directories[0], "")
    assert program.find_criu() == first


# A server in a shell: bash has no SEQPACKET, so each answer is one printf to descriptor 3.
VERSION = r"""[ "$1 $2" = "swrk 3" ] || exit 9
dd bs=4096 count=1 <&3 >/dev/null 2>&1
printf '\010\012\020\001\122\004\010\{major:03o}\020\{minor:03o}' >&3
"""


@pytest.mark.parametrize("version", [(3, 15), (3, 17), (4, 2)])
def test_a_version_that_will_do(directories: tuple[Path, Path], version: tuple[int, int]) -> None:
    criu = put(directories[0], VERSION.format(major=version[0], minor=version[1]))
    assert program.version(criu) == version


def test_a_version_that_is_too_old(directories: tuple[Path, Path]) -> None:
    criu = put(directories[0], VERSION.format(major=3, minor=14))
    with pytest.raises(OcirtError, match=r"^CRIU 3\.14 is too old$") as caught:
        program.version(criu)
    assert caught.value.remedy == "install CRIU 3.15 or newer"


def test_its_environment_is_ours(directories: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    criu = put(directories[0], "env; ls -l /proc/self/fd | grep -c socket; exit 3")
    with pytest.raises(OcirtError) as caught:
        program.version(criu)
    assert caught.value.what.startswith("criu ended without an answer (exit status 3): ")
    said = caught.value.what
    assert f"PATH={program.ENVIRONMENT['PATH']}" in said
    assert "LD_PRELOAD" not in said
    assert said.endswith(" 1")  # one socket, and nothing else of ours


def test_what_cannot_be_executed(directories: tuple[Path, Path]) -> None:
    with pytest.raises(OcirtError, match=r"^execute /no/criu$") as caught:
        program.start("/no/criu")
    assert (caught.value.code, caught.value.errno) == ("criu", 2)


def test_what_criu_check_says(directories: tuple[Path, Path]) -> None:
    program.check(put(directories[0], '[ "$*" = check ] && echo Looks good.'))
    criu = put(directories[1], "echo 'Error (criu/cr-check.c:7): no such thing'; echo Looks bad; exit 1")
    with pytest.raises(OcirtError, match=r"^criu check failed: criu/cr-check\.c:7: no such thing$") as caught:
        program.check(criu)
    assert caught.value.code == "criu"
    with pytest.raises(OcirtError, match=r"^criu check failed: Not on this machine$"):
        program.check(put(directories[1], "echo Not on; echo this machine; exit 1"))
