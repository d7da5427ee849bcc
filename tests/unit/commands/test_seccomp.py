"""seccomp test, show, diff and merge: their words, their exit status, and the files that they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocirt import cli
from tests.support.profiles import profile, rule

PROFILE = profile(rule("write read close_range"), rule("mkdir", "ERRNO", errno=28), abis=("SCMP_ARCH_X86_64",))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(PROFILE))
    return str(path)


def call(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.run(["seccomp", *words])
    out, err = capfd.readouterr()
    return code, out, err


def test_test(capfd: pytest.CaptureFixture[str], file: str) -> None:
    assert call(capfd, "test", file, "write") == (0, "SCMP_ACT_ALLOW  [/syscalls/0]  named by the rule\n", "")
    denied = "SCMP_ACT_ERRNO 28 ENOSPC  [/syscalls/1]  named by the rule\n"
    assert call(capfd, "test", "--", file, "mkdir", "0x7f00", "-1") == (1, denied, "")
    code, out, _ = call(capfd, "test", "--format", "json", "--", file, "rmdir", "0x7f00", "-1")
    assert code == 1
    assert json.loads(out) == {
        "syscall": "rmdir",
        "number": 84,
        "arch": "SCMP_ARCH_X86_64",
        "args": ["0x7f00", "0xffffffffffffffff", "0x0", "0x0", "0x0", "0x0"],
        "action": "SCMP_ACT_ERRNO 1 EPERM",
        "rule": "/defaultAction",
        "why": "no rule names the call: the default action",
    }
    code, out, _ = call(capfd, "test", "--arch", "SCMP_ARCH_X86", file, "write")
    assert (code, out.split()[0]) == (1, "SCMP_ACT_KILL_THREAD")


@pytest.mark.parametrize("kind", ["config.json", "a bundle"])
def test_profile_in_a_configuration(capfd: pytest.CaptureFixture[str], tmp_path: Path, kind: str) -> None:
    config = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "linux": {"seccomp": PROFILE}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    path = tmp_path if kind == "a bundle" else tmp_path / "config.json"
    code, out, _ = call(capfd, "test", str(path), "write")
    assert (code, out) == (0, "SCMP_ACT_ALLOW  [/linux/seccomp/syscalls/0]  named by the rule\n")


def test_show(capfd: pytest.CaptureFixture[str], file: str) -> None:
    code, out, _ = call(capfd, "show", file)
    assert code == 0
    assert out.startswith("   0  load arch\n")
    assert "return SCMP_ACT_ERRNO 28 ENOSPC" in out


def test_diff(capfd: pytest.CaptureFixture[str], file: str, tmp_path: Path) -> None:
    assert call(capfd, "diff", file, file) == (0, "", "")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(profile(rule("write read close_range mkdir"), abis=("SCMP_ARCH_X86_64",))))
    line = "mkdir (SCMP_ARCH_X86_64): SCMP_ACT_ERRNO 28 ENOSPC -> SCMP_ACT_ALLOW\n"
    assert call(capfd, "diff", file, str(other)) == (1, line, "")
    code, out, _ = call(capfd, "diff", "--format", "json", file, str(other))
    found = {"subjects": ["mkdir"], "architectures": ["SCMP_ARCH_X86_64"]}
    assert (code, json.loads(out)) == (1, [{**found, "first": "SCMP_ACT_ERRNO 28 ENOSPC", "second": "SCMP_ACT_ALLOW"}])


def test_merge(capfd: pytest.CaptureFixture[str], file: str, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(profile(rule("rmdir"), abis=("SCMP_ARCH_X86_64",))))
    code, out, _ = call(capfd, "merge", file, str(other))
    assert code == 0
    merged = profile(rule("close_range read rmdir write"), rule("mkdir", "ERRNO", errno=28), abis=("SCMP_ARCH_X86_64",))
    assert json.loads(out) == merged


REFUSED: list[tuple[list[str], str]] = [
    (["test", "FILE", "nonesuch"], 'SCMP_ARCH_X86_64 has no system call "nonesuch"'),
    (["test", "FILE", "mkdir", "one"], '"one" is not a number'),
    (["test", "FILE", "mkdir", "9" * 5000], "does not fit in 64 bits"),
    (["test", "--arch", "vax", "FILE", "mkdir"], 'unknown architecture "vax"'),
    (["test", "--format", "xml", "FILE", "mkdir"], "invalid format option"),
    (["test", "/nonesuch", "mkdir"], "no such file or directory"),
    (["show"], '"seccomp show" is given FILE'),
    (["diff", "FILE"], '"seccomp diff" is given FILE FILE'),
    (["grep", "FILE"], "No help topic for 'seccomp grep'"),
    ([], "requires a minimum of 1 argument"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED)
def test_refused(capfd: pytest.CaptureFixture[str], file: str, words: list[str], says: str) -> None:
    code, _, err = call(capfd, *(file if word == "FILE" else word for word in words))
    assert code == 2
    assert says in err


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]},
            "/syscalls/0/names",
        ),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "/defaultAction"),
        ({"ociVersion": "1.3.0", "root": {"path": "r"}, "linux": {}}, "/linux/seccomp"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "archMap": []}, "/archMap"),
    ],
)
def test_files_that_are_no_profile(capfd: pytest.CaptureFixture[str], tmp_path: Path, value: Any, at: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(value))
    code, _, err = call(capfd, "show", str(path))
    assert code == 2
    assert f"[{at}]" in err
