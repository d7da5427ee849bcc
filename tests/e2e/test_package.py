"""`make deb` and `make wheel`: what they make runs a container where nothing else of ocirt is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ocirt import __version__
from tests.support.bundles import Bundle
from tests.support.runtime import CHECKOUT, Runtime

pytestmark = [
    pytest.mark.only_ocirt("their packages are others' work"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="packages of Debian are made on Debian"),
]


def made(kind: str, directory: Path, tree: Path = CHECKOUT) -> Path:
    """The one file that `make deb` or `make wheel` puts there."""
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    env.pop("MAKEFLAGS", None)
    command = ["make", "-s", kind, f"DIST={directory}"]
    subprocess.run(command, cwd=tree, env=env, check=True, capture_output=True, timeout=300)
    (file,) = directory.iterdir()
    return file


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("deb", tmp_path_factory.mktemp("package") / "dist")


def run_hello(runtime: Runtime, bundle: Bundle, command: Path) -> str:
    """What a container says that this command runs."""
    ran = runtime.started_by(f'#!/bin/sh\nPATH=/nowhere exec {command} "$@"\n').run(bundle.args("/bin/echo", "hello"))
    assert ran.code == 0, ran
    return ran.out


def test_the_debian_package_runs_without_a_compiler(
    runtime: Runtime, bundle: Bundle, package: Path, tmp_path: Path
) -> None:
    assert package.name.startswith(f"ocirt_{__version__}_")
    fields = subprocess.run(
        ["dpkg-deb", "--field", package, "Depends"], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    major, minor = sys.version_info[:2]
    assert f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1})" in fields
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "--extract", package, root], check=True, timeout=30)
    launcher = root / "usr/bin/ocirt"
    assert launcher.read_bytes()[:4] == b"\x7fELF"
    assert (launcher.stat().st_uid, launcher.stat().st_mode & 0o7777) == (0, 0o755)
    assert run_hello(runtime, bundle, launcher) == "hello\n"
    for file in ("man/man1/ocirt.1", "bash-completion/completions/ocirt", "zsh/site-functions/_ocirt"):
        assert (root / "usr/share" / file).stat().st_mode & 0o7777 == 0o644


def test_the_same_tree_gives_the_same_debian_package(package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("Makefile", "docs", "ocirt", "pyproject.toml"):
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    assert package.read_bytes() == made("deb", tmp_path / "dist", copy).read_bytes()


def test_the_wheel_has_every_module_and_the_launcher_s_sources(tmp_path: Path) -> None:
    with zipfile.ZipFile(made("wheel", tmp_path / "dist")) as wheel:
        names = set(wheel.namelist())
    assert {f"ocirt/{file.relative_to(CHECKOUT / 'ocirt')}" for file in (CHECKOUT / "ocirt").rglob("*.py")} <= names
