"""The manual pages: that man(1) has nothing against them, and that nothing of the tables is missing."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ocirt import cli
from ocirt.examples import EXAMPLES
from tests.support.launcher import TREE

NAMES = ["ocirt", *(f"ocirt-{name}" for name in cli.COMMANDS)]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, "-IB", str(TREE / "ocirt/launcher/share/install.py"), str(directory)], check=True)
    return directory


def test_the_files(share: Path) -> None:
    found = sorted(str(path.relative_to(share)) for path in share.rglob("*") if path.is_file())
    assert found == sorted(
        [f"man/man1/{name}.1" for name in NAMES]
        + ["bash-completion/completions/ocirt", "fish/vendor_completions.d/ocirt.fish", "zsh/site-functions/_ocirt"]
    )
    assert {oct((share / name).stat().st_mode) for name in found} == {"0o100644"}


def test_they_can_be_removed_again(tmp_path: Path) -> None:
    install = [sys.executable, "-IB", str(TREE / "ocirt/launcher/share/install.py")]
    subprocess.run([*install, str(tmp_path)], check=True)
    (tmp_path / "man/man1/other.1").touch()
    subprocess.run([*install, "--remove", str(tmp_path)], check=True)
    subprocess.run([*install, "--remove", str(tmp_path)], check=True)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["other.1"]


def shown(page: Path) -> str:
    """As groff formats it, 80 columns wide, without bold and underlined letters; no warnings."""
    command = ["groff", "-man", "-ww", "-Tutf8", "-P-c", "-rLL=78n", str(page)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    text = done.stdout
    while "\b" in text:
        at = text.index("\b")
        text = text[: at - 1] + text[at + 1 :]
    return text


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_a_page(share: Path, name: str) -> None:
    text = shown(share / f"man/man1/{name}.1")
    assert max(map(len, text.splitlines())) <= 80
    command = name.partition("-")[2]
    table = importlib.import_module(f"ocirt.commands.{command}").OPTIONS if command else cli.OPTIONS
    summary = cli.COMMANDS[command] if command else cli.SUMMARY
    words = " ".join(text.split())
    assert f"NAME {name} - {summary}" in words
    missing = [option.name for option in table if not option.hidden and f"--{option.name}" not in words]
    assert missing == []
    assert [option.name for option in table if option.hidden and f"--{option.name} " in words] == []
    assert [line for line, _ in EXAMPLES[command] if " ".join(line.split()) not in words] == []
    assert not [line for line in text.splitlines() if line.strip().endswith("..") and "[" not in line]
