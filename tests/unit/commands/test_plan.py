"""plan: its forms, and two plans beside each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ocirt.commands import spec
from ocirt.config import jsontext
from tests.support.launcher import LAUNCHER


def ocirt(*words: str | Path) -> tuple[int, str, str]:
    command = [sys.executable, "-IS", "-c", LAUNCHER, *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def bundles(tmp_path: Path) -> tuple[Path, Path]:
    """Two of what `ocirt spec` writes; in the second another host name."""
    config = spec.example(None, False)
    for name, host in (("a", "first"), ("b", "second")):
        config["hostname"] = host
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(jsontext.dump(config, 4))
    return tmp_path / "a", tmp_path / "b"


def test_json_says_what_the_text_says(bundles: tuple[Path, Path]) -> None:
    code, out, _ = ocirt("plan", "--bundle", bundles[0], "--json", "x")
    found = json.loads(out)
    lines = [
        f"{stage['place']:6} {stage['name']:10} {step['what']}" + (f"  [{step['pointer']}]" if step["pointer"] else "")
        for stage in found["stages"]
        for step in stage["steps"]
    ]
    assert (code, found["bundle"]) == (0, str(bundles[0]))
    assert "\n".join(lines) + "\n" == ocirt("plan", "--bundle", bundles[0], "x")[1]
    assert {"what": "set the host name to 'first'", "pointer": "/hostname"} in [
        step for stage in found["stages"] for step in stage["steps"]
    ]


def test_the_difference_of_two_bundles(bundles: tuple[Path, Path]) -> None:
    code, out, err = ocirt("plan", "--bundle", bundles[0], "--diff", bundles[1])
    changed = [line for line in out.splitlines() if line[0] in "+-"]
    assert (code, err) == (1, "")
    assert [line.split(maxsplit=2)[-1] for line in changed[2:]] == [
        "set the host name to 'first'  [/hostname]",
        "set the host name to 'second'  [/hostname]",
    ]
    assert changed[:2] == [f"--- {bundles[0]}", f"+++ {bundles[1]}"]


def test_equal_bundles_have_no_difference(bundles: tuple[Path, Path]) -> None:
    (bundles[1] / "config.json").write_bytes((bundles[0] / "config.json").read_bytes())
    assert ocirt("plan", "--bundle", bundles[0], "--diff", bundles[1]) == (0, "", "")


def test_two_forms_at_once(bundles: tuple[Path, Path]) -> None:
    code, out, err = ocirt("plan", "--bundle", bundles[0], "--json", "--diff", bundles[1])
    assert (code, out) == (1, "")
    assert "--json and --diff are two forms: take one" in err
