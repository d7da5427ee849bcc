"""check: what it reads, its forms, its exit status; that it changes nothing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ocirt.commands import spec
from ocirt.config import jsontext
from tests.support.launcher import LAUNCHER


def ocirt(*words: str, cwd: Path, stdin: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-IS", "-c", LAUNCHER, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, input=stdin, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What `ocirt spec` writes, in tmp_path/b."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b/config.json").write_text(jsontext.dump(spec.example(None, False), 4))
    return tmp_path / "b"


ADVICE = "124:14: advice: no system call is filtered [/linux] (no-seccomp) - "
COUNT = "1 piece of advice\n"


def test_the_forms_of_its_argument(bundle: Path) -> None:
    above = bundle.parent
    for words, cwd, file in (
        (["b"], above, "b/config.json"),
        ([str(bundle)], above, f"{bundle}/config.json"),
        ([], bundle, "config.json"),
        (["."], bundle, "config.json"),
        (["b/config.json"], above, "b/config.json"),
    ):
        status, out, err = ocirt("check", *words, cwd=cwd)
        assert (status, err) == (0, "")
        assert out.startswith(f"{file}:{ADVICE}")
        assert out.endswith(f"\n{file}: {COUNT}")
    status, out, err = ocirt("check", "-", cwd=above, stdin='{"ociVersion": 1}')
    assert (status, err) == (1, "")
    assert out.startswith("-:1:16: error: expected a string, found 1 [/ociVersion] (schema) - ")


def test_status(bundle: Path) -> None:
    assert ocirt("check", "--strict", cwd=bundle)[0] == 1
    (bundle / "config.json").write_text("{")
    assert ocirt("check", cwd=bundle)[0] == 1
    (bundle / "config.json").unlink()
    status, out, err = ocirt("check", cwd=bundle)
    assert (status, out) == (2, "")
    assert err.startswith("ocirt check: JSON specification file config.json not found")
    for words in (["nowhere"], ["--format", "xml"], ["--sarif"], ["a", "b"]):
        assert ocirt("check", *words, cwd=bundle)[0] == 2


def test_nothing_is_loud_for_programs(bundle: Path) -> None:
    status, out, err = ocirt("check", "--format", "json", cwd=bundle)
    document = json.loads(out)
    assert (status, err, document["file"], document["errors"], document["advice"]) == (0, "", "config.json", 0, 1)
    status, out, err = ocirt("check", "--strict", "-f", "sarif", cwd=bundle)
    assert (status, err) == (1, "")
    assert json.loads(out)["runs"][0]["results"][0]["ruleId"] == "no-seccomp"


def test_the_bundle_stays_as_it_is(bundle: Path) -> None:
    before = [(path.name, path.stat().st_mtime_ns) for path in (bundle, *bundle.iterdir())]
    ocirt("check", "--host", cwd=bundle)
    assert [(path.name, path.stat().st_mtime_ns) for path in (bundle, *bundle.iterdir())] == before


@pytest.mark.parametrize(
    ("term", "no_colour", "painted"), [("xterm", "", True), ("xterm", "1", False), ("dumb", "", False)]
)
def test_colours_on_terminals(bundle: Path, term: str, no_colour: str, painted: bool) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-IS", "-c", LAUNCHER, "check"]
    environment = {"TERM": term, "NO_COLOR": no_colour}
    subprocess.run(command, check=True, stdout=slave, cwd=bundle, env=environment, timeout=60)
    os.close(slave)
    out = os.read(master, 65536).decode()
    os.close(master)
    assert out.startswith("\x1b[1mconfig.json:124:14:\x1b[0m" if painted else "config.json:124:14: ")
